"""Pieces of keys on their way to the store: nothing that may wait for a disk runs on the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from tacit.errors import OffsetError
from tacit.service.access import Principal
from tacit.service.endpoint import Endpoint
from tacit.service.keys import Keys


class Part:
    """Notes for each of its calls whether it ran in the thread of the event loop."""

    def __init__(self, error: Exception | None) -> None:
        self.offset = 0
        self.on_loop: dict[str, bool] = {}
        self._error = error

    def write(self, piece: bytes) -> None:
        self.on_loop["write"] = threading.current_thread() is threading.main_thread()
        if self._error is not None:
            raise self._error
        self.offset += len(piece)

    def close(self) -> None:
        self.on_loop["close"] = threading.current_thread() is threading.main_thread()


class Parts:
    """An endpoint and its store, as far as a piece that does not end an upload needs them."""

    is_draining = False

    def __init__(self, error: Exception | None) -> None:
        self.store = self
        self.part = Part(error)

    def owner(self, principal: Principal, client: str | None) -> tuple[str, bytes]:
        return "a" * 64, bytes(32)

    def program_of(self, model: str, plan: str) -> str:
        return "p"

    def key_limit(self, model: str, plan: str) -> int:
        return 100

    def receive(self, *_: Any, **__: Any) -> Part:
        return self.part


@pytest.mark.parametrize("error", [None, OffsetError("another connection goes on", offset=0)])
def test_parts_are_written_and_closed_beside_the_loop(error: OffsetError | None) -> None:
    parts = Parts(error)

    async def body() -> AsyncIterator[bytes]:
        yield b"12"

    async def take() -> tuple[int, bool]:
        keys = Keys(cast(Endpoint, parts))
        who = Principal("open", "open")
        return await keys.take(who, None, "b" * 64, offset=0, length=9, model="m", plan="q", body=body())

    if error is None:
        assert asyncio.run(take()) == (2, False)
    else:
        with pytest.raises(OffsetError):
            asyncio.run(take())
    assert parts.part.on_loop == {"write": False, "close": False}
