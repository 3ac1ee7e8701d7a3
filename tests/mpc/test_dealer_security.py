"""What each party of `dealer2` sees, what is used once, and what is refused."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tacit.backends.mpc import dealer_computing, dealer_dealing, dealer_streams
from tacit.backends.mpc.dealer import combine, deal, open_engine
from tacit.backends.mpc.dealer_streams import Stream
from tacit.backends.mpc.steps import Round, Steps, Transcript, Words, lockstep
from tacit.errors import (
    InternalError,
    InvalidParameterError,
    MalformedMessageError,
    PeerIncompatibleError,
    RevealError,
    ShapeError,
)
from tests.mpc.pair import all_run, given, opened_session, seeded


def every_primitive(x: Words, y: Words, *, reveal: bool = False) -> Callable[[Any], Steps[Any]]:
    """Uses all that the engine offers, on secret x of party 0 and y of party 1."""

    def program(engine: Any) -> Steps[Any]:
        a = yield from given(engine, 0, x)
        b = yield from given(engine, 1, y)
        c = yield from engine.multiply(a, b, cut=8)
        d = yield from engine.matmul(c.reshape(4, -1), b.reshape(-1, 4))
        e = yield from engine.rectify(c, 40)
        below = yield from engine.negative(e - a, 50)
        above = yield from engine.both(engine.flip(below), below)
        f = yield from engine.select(above, e)
        g = yield from engine.to_ring(below)
        h = yield from engine.truncate(f + g, 3)
        i = yield from engine.multiply(h, d.reshape(-1)[:1])
        if reveal:
            yield from engine.reveal(i, (0, 1), "y")
        return i

    return program


def inputs(value: int) -> tuple[Words, Words]:
    x = np.full(200, value, dtype=np.int64).view(np.uint64)
    return x, x ^ np.uint64(1)


def test_the_dealer_awaits_nothing_and_sends_the_same_for_all_inputs() -> None:
    sent: list[list[Words]] = []
    for value in (0, -70000):
        transcript: Transcript = []
        all_run(opened_session(), every_primitive(*inputs(value), reveal=True), transcript=transcript)
        assert not any(receiver == 2 for _, _, receiver, _ in transcript)
        sent.append([words for _, sender, _, words in transcript if sender == 2])
    assert len(sent[0]) > 10
    for one, other in zip(*sent, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_dealer_runs_to_its_end_alone() -> None:
    *_, dealer = opened_session()
    x, y = inputs(5)
    steps = every_primitive(x, y, reveal=True)(dealer)
    rounds: list[Round] = []
    inbox: Any = None
    while True:
        try:
            rounds.append(steps.send(inbox))
        except StopIteration:
            break
        inbox = {}
    assert sum(bool(each.sends) for each in rounds) > 5
    assert not any(each.awaits for each in rounds)


def views(value: int, runs: int) -> dict[tuple[int, int, int], Words]:
    """By receiver, sender and place: the words of a message, of many fresh sessions."""
    seen: dict[tuple[int, int, int], list[Words]] = {}
    for run in range(runs):
        transcript: Transcript = []
        all_run(opened_session((value, run)), every_primitive(*inputs(value)), transcript=transcript)
        for place, (_, sender, receiver, words) in enumerate(transcript):
            seen.setdefault((receiver, sender, place), []).append(words)
    return {key: np.concatenate(each) for key, each in seen.items()}


def deviation(one: Words, other: Words) -> float:
    """Of the numbers of ones at each place of a word: the largest difference, in standard deviations."""
    ones = [
        np.unpackbits(words.view(np.uint8).reshape(-1, 8), axis=1).sum(0, dtype=np.int64)
        for words in (one, other)
    ]
    return float(np.max(np.abs(ones[0] - ones[1])) / np.sqrt(0.5 * one.size))


def histogram_deviation(one: Words, other: Words) -> float:
    """Chi-squared of the bytes of both samples, in standard deviations from its mean."""
    counts = [np.bincount(words.view(np.uint8), minlength=256).astype(float) for words in (one, other)]
    total = np.maximum(counts[0] + counts[1], 1)
    return (float(np.sum((counts[0] - counts[1]) ** 2 / total)) - 255) / np.sqrt(2 * 255)


def test_what_a_party_sees_does_not_depend_on_the_inputs() -> None:
    zero, large = views(0, 40), views(-70000, 40)
    assert zero.keys() == large.keys()
    assert {key[:2] for key in zero} == {(0, 1), (1, 0), (0, 2), (1, 2)}
    for key, one in zero.items():
        assert one.size == large[key].size >= 40
        assert deviation(one, large[key]) < 6, key
        assert histogram_deviation(one, large[key]) < 7, key


def test_a_leak_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same statistics with masks of zero."""

    class Zero:
        def __init__(self, key: bytes, number: int) -> None: ...

        def words(self, size: int) -> Words:
            return np.zeros(size, dtype=np.uint64)

    for module in (dealer_computing, dealer_dealing):
        monkeypatch.setattr(module, "Stream", Zero)
    zero, large = views(0, 2), views(-70000, 2)
    for receiver, sender in ((0, 1), (1, 0)):
        keys = [key for key in zero if key[:2] == (receiver, sender)]
        assert max(deviation(zero[key], large[key]) for key in keys) > 15
        assert max(histogram_deviation(zero[key], large[key]) for key in keys) > 15


def test_openings_are_masked_afresh_each_time() -> None:
    """The same program on the same inputs twice in one session: no word that a party sends comes again."""
    engines = opened_session()
    transcript: Transcript = []
    x, y = inputs(3)

    def twice(engine: Any) -> Steps[None]:
        for _ in range(2):
            yield from every_primitive(x, y, reveal=True)(engine)
            engine.begin_run()

    all_run(engines, twice, transcript=transcript)
    for index in (0, 1):
        words = np.concatenate([words for _, sender, _, words in transcript if sender == index])
        assert np.unique(words).size == words.size


def test_no_stream_is_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[tuple[bytes, int]] = []

    def recorded(key: bytes, number: int) -> Stream:
        used.append((key, number))
        return Stream(key, number)

    monkeypatch.setattr(dealer_computing, "Stream", recorded)
    x, y = inputs(3)
    seen: set[tuple[bytes, int]] = set()
    # The same seeds, which a real session never has again, under other names and another plan.
    for session, plan in ((b"one", b"plan"), (b"two", b"plan"), (b"one", b"plan2"), (b"onep", b"lan")):
        used.clear()
        all_run(opened_session(session=session, plan=plan), every_primitive(x, y, reveal=True))
        times = Counter(used)
        # Both parties know the streams of reveals, of which there was one.
        assert sorted(times.values()) == [1] * (len(times) - 1) + [2]
        assert len(times) > 20
        assert not seen & times.keys()
        seen |= times.keys()


def test_trees_of_each_call_and_session_have_a_key_of_their_own() -> None:
    keys = {dealer_streams.prg_key(tag, number) for tag in (b"a" * 32, b"b" * 32) for number in range(9)}
    assert len(keys) == 18


def broken(size: int) -> bytes:
    raise OSError("no entropy")


@pytest.mark.parametrize("entropy", [broken, lambda size: bytes(size - 1)])
@pytest.mark.parametrize("index", [0, 2])
def test_no_randomness_no_session(index: int, entropy: Callable[[int], bytes]) -> None:
    steps = open_engine(index, session=b"s", plan=b"p", reveals=(), entropy=entropy)
    with pytest.raises(InternalError, match="random"):
        next(steps)
    with pytest.raises(InternalError, match="random"):
        deal(np.zeros(9, dtype=np.uint64), entropy=entropy)


def test_randomness_is_the_systems() -> None:
    for function in (open_engine, deal):
        assert (function.__kwdefaults__ or {})["entropy"] is os.urandom


@pytest.mark.parametrize("odd", [0, 1, 2])
def test_another_plan_is_refused(odd: int) -> None:
    openings = [
        open_engine(
            i, session=b"s", plan=b"other" if i == odd else b"plan", reveals=(), entropy=seeded((i, odd))
        )
        for i in range(3)
    ]
    with pytest.raises(PeerIncompatibleError, match="another session or plan"):
        lockstep(openings)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_openings_are_those_of_the_plan_and_made_once(index: int) -> None:
    engine: Any = opened_session(reveals=["y", "z"])[index]
    secret = engine.public(np.zeros(3, dtype=np.uint64))
    with pytest.raises(RevealError, match="not one of the plan"):
        next(engine.reveal(secret, (0,), "x"))
    next(engine.reveal(secret, (0,), "y"))
    with pytest.raises(RevealError, match="second time"):
        next(engine.reveal(secret, (0,), "y"))
    with pytest.raises(RevealError, match="second time"):
        next(engine.reveal_outside(secret, "y"))
    with pytest.raises(InvalidParameterError, match="dealer"):
        next(engine.reveal(secret, (0, 2), "z"))
    engine.begin_run()
    next(engine.reveal_outside(secret, "y"))


def test_the_dealer_takes_no_value() -> None:
    first, _, dealer = opened_session()
    x = np.zeros(3, dtype=np.uint64)
    with pytest.raises(InternalError, match="dealer"):
        next(dealer.share(0, x, (3,)))
    with pytest.raises(InvalidParameterError, match="own no input"):
        next(dealer.share(2, None, (3,)))
    with pytest.raises(MalformedMessageError, match="dealer"):
        dealer.adopt([x], (3,))
    with pytest.raises(MalformedMessageError, match="given"):
        first.adopt([x], (4,))
    with pytest.raises(ShapeError, match="must give"):
        next(first.share(0, None, (3,)))


@pytest.mark.parametrize("size", [1, 4, 5, 1000])
def test_a_client_outside(size: int) -> None:
    x = np.arange(size, dtype=np.uint64) << np.uint64(40)
    dealt = deal(x, entropy=seeded("client"))
    again = deal(x, entropy=seeded("client again"))
    assert dealt[2] == [] and not np.array_equal(dealt[0][0], again[0][0])

    def program(engine: Any) -> Steps[list[Words]]:
        secret = engine.adopt(dealt[engine.index], (size,))
        kept = engine.adopt(engine.arrays(secret), (size,))
        result = yield from engine.multiply(secret, kept, cut=30)
        return (yield from engine.reveal_outside(result, "y"))  # type: ignore[no-any-return]

    parts = all_run(opened_session(), program)
    found = combine(parts)
    floor = (x * x) >> np.uint64(30)
    assert np.all((found - floor) <= 1)
    with pytest.raises(MalformedMessageError):
        combine([parts[0], parts[1], parts[1]])


def test_secrets_do_not_print() -> None:
    first, _, dealer = opened_session()
    secret = first.public(np.full(3, 4242, dtype=np.uint64))
    mask = dealer.public(np.full(3, 4242, dtype=np.uint64))
    for item in (secret, mask, first, dealer, Stream(bytes(32), 0)):
        assert "4242" not in repr(item) and "\\x" not in repr(item)
