"""What of a body is read on the event loop, and what in a thread: by the work that it claims, not by its size alone."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from tacit.errors import TooLargeError
from tacit.net.tensors import MAX_STRINGS, InferRequest, Limits, Tensor
from tacit.service import app

LARGE = 200_000


def read(*tensors: Tensor, binary: bool = True) -> tuple[InferRequest, bool]:
    """The request as the server reads it, and whether a thread did."""
    parts, length = InferRequest(inputs=tensors).encode(binary=binary)
    threads: list[object] = []
    kept = asyncio.to_thread

    async def noted(work: Any, *arguments: Any) -> Any:
        threads.append(work)
        return await kept(work, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app.asyncio, "to_thread", noted)
        found = asyncio.run(app._decoded(b"".join(parts), length))
    return found, bool(threads)


def test_one_large_element_is_read_at_once() -> None:
    found, in_thread = read(Tensor.of_bytes("request", [bytes(LARGE)]))
    assert bytes(found.inputs[0].elements()[0]) == bytes(LARGE)
    assert not in_thread


@pytest.mark.parametrize(
    ("tensors", "binary"),
    [
        ([Tensor.of_bytes("x", [b""] * (LARGE // 4))], True),
        ([Tensor.of(f"x{number}", np.zeros(4000)) for number in range(5)], True),
        ([Tensor.of("x", np.zeros(LARGE // 4))], False),
    ],
    ids=["many elements", "many tensors", "numbers in JSON"],
)
def test_what_takes_longer_is_read_in_a_thread(tensors: list[Tensor], binary: bool) -> None:
    found, in_thread = read(*tensors, binary=binary)
    assert in_thread
    for given, got in zip(tensors, found.inputs, strict=True):
        assert bytes(got.data) == bytes(given.data)


def test_elements_above_the_limit_are_refused_before_they_are_walked() -> None:
    parts, length = InferRequest(inputs=(Tensor.of_bytes("x", [b"a"] * 65),)).encode()
    body = b"".join(parts)
    assert len(InferRequest.decode(body, length, Limits(strings=65)).inputs[0].elements()) == 65
    with pytest.raises(TooLargeError, match="at most 64"):
        InferRequest.decode(body, length, Limits(strings=64))
    head = b'{"inputs":[{"name":"x","datatype":"BYTES","shape":[%d],"parameters":{"binary_data_size":0}}]}'
    with pytest.raises(TooLargeError, match=f"at most {MAX_STRINGS}"):
        asyncio.run(app._decoded((head % (MAX_STRINGS + 1)).ljust(LARGE), LARGE))
