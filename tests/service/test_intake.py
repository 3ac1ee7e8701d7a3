"""Bodies on their way in: limits hold while they come, and a slow caller holds nothing for ever."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest
from starlette.requests import Request

from tacit.errors import BusyError, MalformedMessageError, PeerTimeoutError, RateLimitError, TooLargeError
from tacit.service import intake
from tacit.service.app import _whole
from tacit.service.intake import Disconnected, Intake, pieces

Result = TypeVar("Result")


class Timeless(asyncio.SelectorEventLoop):
    """Time passes only where nothing is left to do, and then at once: pauses are exact, however busy the machine is."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        wait = self._selector.select

        def select(timeout: float | None = None) -> Any:
            found = wait(0)
            if not found:
                self._now += timeout or 0.0
            return found

        self._selector.select = select

    def time(self) -> float:
        return self._now


def run(work: Coroutine[Any, Any, Result]) -> Result:
    with asyncio.Runner(loop_factory=Timeless) as runner:
        return runner.run(work)


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

    return run(all_of()), taken


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
        run(first())
    assert taken == []


def test_what_turns_out_too_large_is_not_read_on() -> None:
    messages = [part(b"x" * 6), part(b"x" * 6), part(b"x" * 6)]
    receive, taken = receiving(messages)

    async def all_of() -> None:
        async for _ in pieces(receive, declared="5", limit=10):
            pass

    with pytest.raises(TooLargeError):
        run(all_of())
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


def test_a_fast_start_is_no_credit_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that is almost whole and then drips is given up as soon as one that dripped from the start."""
    monkeypatch.setattr(intake, "IDLE_S", 0.1)
    messages = [part(b"x" * (1 << 20)), *[part(b"x", pause=0.03)] * 100]
    receive, taken = receiving(messages)

    async def all_of() -> None:
        async for _ in pieces(receive, declared=None, limit=1 << 21):
            pass

    with pytest.raises(PeerTimeoutError):
        run(all_of())
    assert len(taken) < 10


def test_a_body_that_keeps_the_pace_comes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also past the first window, and in bursts."""
    monkeypatch.setattr(intake, "IDLE_S", 1.0)
    burst = b"x" * int(intake.PACE * 1.0)
    body, _ = read(
        [part(burst, pause=0.3), part(burst, pause=0.4), part(burst, pause=0.3)] * 2
        + [part(b"", more=False, pause=0.05)],
        limit=1 << 20,
    )
    assert len(body) == 6 * len(burst)


def test_time_that_is_ours_is_not_held_against_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "IDLE_S", 0.1)
    receive, _ = receiving([part(b"x"), part(b"y"), part(b"z", more=False)])

    async def slowly() -> int:
        count = 0
        async for _ in pieces(receive, declared=None, limit=10):
            await asyncio.sleep(0.2)  # a disk that is busy
            count += 1
        return count

    assert run(slowly()) == 3


def test_one_account_holds_its_part_and_no_more() -> None:
    found = Intake(40)
    with found.hold("alice") as first, found.hold("alice") as second, found.hold("bob") as other:
        first(6)
        second(4)
        with pytest.raises(RateLimitError):
            first(1)
        other(10)
    with found.hold("alice") as again:
        again(10)
    assert found.held_bytes == 0 and not found._accounts


def test_room_is_bounded_over_all_callers_and_given_back() -> None:
    found = Intake(10, 100)
    with found.hold("a") as first, found.hold("b") as second:
        first(6)
        second(4)
        with pytest.raises(BusyError):
            second(1)
        assert found.held_bytes == 10
    assert found.held_bytes == 0
    with pytest.raises(BusyError), found.hold("a") as third:
        third(11)
    assert found.held_bytes == 0


def test_a_body_lies_in_memory_once() -> None:
    size, piece = 32 << 20, 1 << 16
    told, left = [0], size

    async def receive() -> dict[str, Any]:
        nonlocal left
        left -= piece
        return {"type": "http.request", "body": bytes(piece), "more_body": left > 0}

    def take(count: int) -> None:
        told[0] += count

    request = Request({"type": "http", "headers": [(b"content-length", str(size).encode())]}, receive)
    tracemalloc.start()
    try:
        body = asyncio.run(_whole(request, size, take))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(body) == told[0] == size and body.readonly
    assert peak < 1.3 * size
