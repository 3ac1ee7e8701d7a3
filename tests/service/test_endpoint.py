"""What arrays a prediction in the clear may become: claims are compared with the model before anything is built."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest

from tacit.errors import DataError, ShapeError, TacitError
from tacit.net.tensors import InferRequest, Tensor
from tacit.service.access import Principal
from tacit.service.catalog import Catalog, Served
from tacit.service.endpoint import READ_ELSEWHERE, Endpoint, Settings
from tacit.service.metrics import Metrics


@dataclass(frozen=True)
class Input:
    name: str
    dtype: str
    shape: tuple[int | None, ...]


SERVED = Served(
    name="risk",
    version="1",
    protection="clear",
    program_id="p",
    inputs=(Input("x", "float32", (None, 4)), Input("city", "str", (None, 1))),
    outputs=(Input("y", "float32", (None, 1)),),
)


class Pool:
    """Answers, and notes what it was asked."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}

    async def predict(self, program: str, arrays: dict[str, Any], **_: Any) -> dict[str, Any]:
        self.arrays = arrays
        return {"y": np.zeros((len(arrays["x"]), 1), np.float32)}


class Models:
    def find(self, name: str, version: str = "") -> Served:
        return SERVED


def predict(*inputs: Tensor) -> dict[str, np.ndarray[Any, Any]]:
    pool = Pool()
    endpoint = Endpoint(
        catalog=cast(Catalog, Models()),
        pool=cast(Any, pool),
        store=cast(Any, None),
        access=cast(Any, None),
        replay=cast(Any, None),
        metrics=Metrics(),
        settings=Settings(version="0"),
    )
    asked = InferRequest(inputs=inputs)
    asyncio.run(endpoint.infer("risk", "", asked, principal=Principal("open", "open")))
    return pool.arrays


def texts(count: int, *more: int) -> Tensor:
    return Tensor("city", "BYTES", (count, *more), b"\1\0\0\0a" * count)


def test_what_fits() -> None:
    found = predict(Tensor.of("x", np.ones((3, 4))), texts(3, 1))
    assert found["x"].dtype == np.float32 and found["city"].tolist() == [["a"]] * 3


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (Tensor("x", "BYTES", (3, 4), bytes(48)), DataError),
        (Tensor("x", "FP32", (12,), bytes(48)), ShapeError),
        (Tensor("x", "FP32", (4, 3), bytes(48)), ShapeError),
        (Tensor("x", "INT32", (3, 4), bytes(48)), DataError),
    ],
)
def test_nothing_is_built_of_what_the_model_does_not_take(
    wrong: Tensor, error: type[TacitError], monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    real = Tensor.array

    def array(tensor: Tensor) -> Any:
        built.append(tensor.name)
        return real(tensor)

    monkeypatch.setattr(Tensor, "array", array)
    with pytest.raises(error):
        predict(texts(3, 1), wrong)
    with pytest.raises(error):
        predict(wrong, texts(3, 1))
    assert built == []
    predict(Tensor.of("x", np.ones((3, 4))), texts(3, 1))
    assert built == ["x", "city"]


def test_large_inputs_are_read_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    where: list[bool] = []
    real = Tensor.array

    def array(tensor: Tensor) -> Any:
        where.append(threading.current_thread() is threading.main_thread())
        return real(tensor)

    monkeypatch.setattr(Tensor, "array", array)
    count = READ_ELSEWHERE // 5 + 1
    predict(Tensor.of("x", np.ones((count, 4), np.float32)), texts(count, 1))
    assert where == [False, False]
