"""Each request once, whatever the clocks do, in bounded memory."""

from __future__ import annotations

import random
import secrets
import tracemalloc

import pytest

from tacit.errors import BusyError, ClockSkewError, RateLimitError, ReplayError, TacitError
from tacit.net.envelope import Request
from tacit.service.replay import WINDOW_MS, ReplayWindow

START = 1_760_000_000_000
ALICE, BOB = "a" * 64, "b" * 64


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


def request(sent_at_ms: int, id: bytes | None = None) -> Request:
    return Request("m", bytes(32), bytes(32), id or secrets.token_bytes(16), sent_at_ms, memoryview(b""))


def test_a_request_is_accepted_once() -> None:
    clock = Clock()
    window = ReplayWindow(clock_ms=clock, started_ms=START - 1000)
    asked = request(START)
    window.admit(ALICE, asked)
    for later in (0, 1, 1000, WINDOW_MS):
        clock.now = START + later
        with pytest.raises(ReplayError):
            window.admit(ALICE, asked)
    window.admit(BOB, request(clock.now, asked.id))  # ids are of an owner
    clock.now = START + WINDOW_MS + 1
    with pytest.raises(ClockSkewError):
        window.admit(ALICE, asked)


@pytest.mark.parametrize(
    "ahead_ms", [WINDOW_MS + 1, 10 * WINDOW_MS, -WINDOW_MS - 1, -START, (1 << 64) - 1 - START]
)
def test_a_clock_that_is_off_is_told_by_how_much(ahead_ms: int) -> None:
    window = ReplayWindow(clock_ms=Clock(), started_ms=0)
    with pytest.raises(ClockSkewError) as refusal:
        window.admit(ALICE, request(START + ahead_ms))
    assert refusal.value.skew_s == pytest.approx(ahead_ms / 1000)
    assert ("ahead of" if ahead_ms > 0 else "behind") in str(refusal.value)


@pytest.mark.parametrize("ahead_ms", [WINDOW_MS, -WINDOW_MS, 0])
def test_a_clock_within_the_window_is_taken(ahead_ms: int) -> None:
    ReplayWindow(clock_ms=Clock(), started_ms=0).admit(ALICE, request(START + ahead_ms))


def test_a_restart_opens_no_replay() -> None:
    clock = Clock()
    asked = request(START - 1)
    ReplayWindow(clock_ms=clock, started_ms=START - 5000).admit(ALICE, asked)
    restarted = ReplayWindow(clock_ms=clock)
    with pytest.raises(BusyError) as refusal:
        restarted.admit(ALICE, asked)
    assert refusal.value.retry_after_s == pytest.approx(0.001)
    restarted.admit(ALICE, request(START))


def test_a_full_window_refuses_and_forgets_nothing() -> None:
    clock = Clock()
    window = ReplayWindow(clock_ms=clock, started_ms=0, capacity=10, capacity_of_one=7)
    asked = [request(START) for _ in range(7)]
    for one in asked:
        window.admit(ALICE, one)
    with pytest.raises(RateLimitError):
        window.admit(ALICE, request(START))
    for _ in range(3):
        window.admit(BOB, request(START))
    with pytest.raises(BusyError, match="remembered"):
        window.admit(BOB, request(START))
    for one in asked:
        with pytest.raises(ReplayError):
            window.admit(ALICE, one)
    clock.now += WINDOW_MS + 1001
    window.admit(BOB, request(clock.now))
    assert len(window) == 1


JUMPS_MS = (260_000, 3_600_000, -5_000, -130_000, -600_000)


@pytest.mark.parametrize("seed", range(20))
def test_no_request_is_accepted_twice_whatever_the_clock_does(seed: int) -> None:
    """The clock jumps both ways by minutes; every request that was ever accepted is tried again and again."""
    source = random.Random(seed)
    clock = Clock()
    window = ReplayWindow(clock_ms=clock, started_ms=START)
    accepted: list[Request] = []
    for _ in range(400):
        jump = source.random() < 0.05
        clock.now += source.choice(JUMPS_MS) if jump else source.randrange(30_000)
        fresh = request(max(0, clock.now + source.randrange(-WINDOW_MS, WINDOW_MS)))
        try:
            window.admit(ALICE, fresh)
            accepted.append(fresh)
        except (BusyError, ClockSkewError):
            pass
        for old in source.sample(accepted, min(len(accepted), 20)):
            with pytest.raises(TacitError):
                window.admit(ALICE, old)
    assert len(accepted) > 20
    assert len(window) <= len(accepted)


def test_memory_is_given_back() -> None:
    clock = Clock()
    window = ReplayWindow(clock_ms=clock, started_ms=0)
    for _ in range(2000):
        clock.now += 1000
        window.admit(secrets.token_hex(32), request(clock.now))
        assert len(window) <= WINDOW_MS // 1000 + 2
    assert len(window._counts) == len(window)


def test_an_id_takes_little_memory() -> None:
    """Also where each request brings a text of its own that says whose it is, as those of a server do."""
    owners, count = [secrets.token_hex(32) for _ in range(8)], 4000
    requests = [request(START + 1 + number % 1000) for number in range(count)]
    window = ReplayWindow(clock_ms=Clock(), started_ms=START)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number, each in enumerate(requests):
            window.admit(owners[number % 8][:32] + owners[number % 8][32:], each)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(window) == count
    texts = [text for ids in window._seconds.values() for text in ids.values()]
    assert len(texts) == count and len({id(text) for text in texts}) == len(owners), "one text for each owner"
    # An id of 16 bytes takes some 50 as an object, and its place in a dictionary, which may be twice as large as it is
    # full, about as much; how much exactly is a matter of the version of Python.
    assert taken / count < 250, taken / count
