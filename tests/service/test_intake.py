"""Bodies on their way in: limits hold while they come, and a slow caller holds nothing for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tacit.errors import BusyError, MalformedMessageError, PeerTimeoutError, TooLargeError
from tacit.service import intake
from tacit.service.intake import Disconnected, Intake, pieces

Messages = list[tuple[float, dict[str, Any]]]


def receiving(messages: Messages) -> tuple[Callable[[], Awaitable[dict[str, Any]]], list[int]]:
    """An ASGI `receive` that gives each message after its pause, and counts what was taken."""
    taken: list[int] = []

    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.sleep(3600)
        pause, message = messages.pop(0)
        await asyncio.sleep(pause)
        taken.append(len(message.get("body", b"")))
        return message

    return receive, taken


def part(body: bytes, *, more: bool = True, pause: float = 0.0) -> tuple[float, dict[str, Any]]:
    return pause, {"type": "http.request", "body": body, "more_body": more}


def read(messages: Messages, *, declared: str | None = None, limit: int = 10) -> tuple[bytes, list[int]]:
    receive, taken = receiving(messages)

    async def all_of() -> bytes:
        return b"".join([piece async for piece in pieces(receive, declared=declared, limit=limit)])

    return asyncio.run(all_of()), taken


def test_bodies_come_through() -> None:
    assert read([part(b"abc"), part(b""), part(b"de", more=False)])[0] == b"abcde"
    assert read([part(b"", more=False)])[0] == b""
    assert read([part(b"x" * 10, more=False)], declared="10")[0] == b"x" * 10


def test_what_is_declared_too_large_is_not_read() -> None:
    receive, taken = receiving([part(b"x")])

    async def first() -> None:
        async for _ in pieces(receive, declared="11", limit=10):
            pass

    with pytest.raises(TooLargeError):
        asyncio.run(first())
    assert taken == []


def test_what_turns_out_too_large_is_not_read_on() -> None:
    messages = [part(b"x" * 6), part(b"x" * 6), part(b"x" * 6)]
    receive, taken = receiving(messages)

    async def all_of() -> None:
        async for _ in pieces(receive, declared="5", limit=10):
            pass

    with pytest.raises(TooLargeError):
        asyncio.run(all_of())
    assert len(taken) == 2 and len(messages) == 1


@pytest.mark.parametrize("declared", ["-1", "x", "", "1e3", "9" * 20, "\uff11"])
def test_lengths_that_are_none(declared: str) -> None:
    with pytest.raises(MalformedMessageError):
        read([part(b"", more=False)], declared=declared)


def test_a_caller_that_leaves() -> None:
    with pytest.raises(Disconnected):
        read([part(b"x"), (0.0, {"type": "http.disconnect"})])


def test_silence_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "IDLE_S", 0.05)
    with pytest.raises(PeerTimeoutError):
        read([part(b"x")])


def test_drops_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never silent for long, but on the whole slower than the pace."""
    monkeypatch.setattr(intake, "IDLE_S", 0.1)
    with pytest.raises(PeerTimeoutError):
        read([part(b"x", pause=0.03)] * 100, limit=1000)


def test_room_is_bounded_over_all_callers_and_given_back() -> None:
    found = Intake(10)
    with found.hold() as first, found.hold() as second:
        first(6)
        second(4)
        with pytest.raises(BusyError):
            second(1)
        assert found.held_bytes == 10
    assert found.held_bytes == 0
    with pytest.raises(BusyError), found.hold() as third:
        third(11)
    assert found.held_bytes == 0
