"""What a party sees tells nothing: its messages are uniform whatever the inputs, and no mask comes twice.

Seeds are fixed, so that every run gives the same numbers; limits are those of a test that is wrong once in a million.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tacit.backends.mpc.engine import Convolution
from tacit.backends.mpc.replicated import Replicated, Shares
from tacit.backends.mpc.replicated_roles import THIRDS_FROM
from tacit.backends.mpc.steps import Steps, Transcript, Words, together
from tests.mpc.trio import shared, together_run, trio

N = 4096
RARE = 1e-6


def convolved(party: Replicated, x: Shares) -> Steps[Any]:
    return party.convolve(x.reshape(4, 4, 16, 16), x[:144].reshape(4, 4, 3, 3), Convolution(), cut=8)


def chosen(party: Replicated, x: Shares) -> Steps[Any]:
    below = yield from party.negative(x, 40)
    again = yield from party.both(below, party.flip(below))
    yield from together(party.select(below, x), party.to_ring(again))


def network(party: Replicated, x: Shares) -> Steps[Any]:
    """Layers side by side, so that streams of several calls are open at once."""
    one, two = yield from together(
        party.matmul(x.reshape(64, 64), x.reshape(64, 64), cut=16), party.multiply(x, x, cut=33)
    )
    yield from together(party.rectify(one, 33), party.rectify(two, 21), party.truncate(x, 5))


PROGRAMS: dict[str, Callable[[Replicated, Shares], Steps[Any]]] = {
    "multiply": lambda party, x: party.multiply(x, x),
    "truncate": lambda party, x: party.multiply(x, x, cut=16),
    "truncate much": lambda party, x: party.truncate(x, 40),
    "matmul": lambda party, x: party.matmul(x.reshape(64, 64), x.reshape(64, 64)),
    "convolve": convolved,
    "rectify": lambda party, x: party.rectify(x, 25),
    "rectify words": lambda party, x: party.rectify(x, 64),
    "rectify little": lambda party, x: party.rectify(x, 4),
    "sign": lambda party, x: party.negative(x, 1),
    "choose": chosen,
    "network": network,
}


def zeros() -> Words:
    return np.zeros(N, dtype=np.uint64)


def spread() -> Words:
    return np.random.default_rng(8).integers(-(1 << 24), 1 << 24, N, dtype=np.int64).view(np.uint64)


def views(name: str, secrets: list[Shares], seed: int) -> dict[tuple[int, int, int, int], Words]:
    """Words by round, sender, receiver and place in the message."""
    transcript: Transcript = []
    together_run(trio(seed), lambda party: PROGRAMS[name](party, secrets[party.index]), transcript=transcript)
    found: dict[tuple[int, int, int, int], Words] = {}
    for number, sender, receiver, words in transcript:
        place = sum(key[:3] == (number, sender, receiver) for key in found)
        found[number, sender, receiver, place] = words
    return found


def histogram(words: Words) -> np.ndarray[Any, np.dtype[np.intp]]:
    return np.bincount(words.view(np.uint8), minlength=256)


@pytest.mark.parametrize("name", PROGRAMS)
def test_messages_are_uniform_where_all_shares_are_zero(name: str) -> None:
    """A message without a mask would be constant here."""
    public = [party.public(zeros()) for party in trio()]
    for words in views(name, public, 1).values():
        if words.size >= 64:
            assert stats.chisquare(histogram(words)).pvalue > RARE


@pytest.mark.parametrize("name", PROGRAMS)
def test_messages_have_one_distribution_for_two_inputs(name: str) -> None:
    """Two samples of what each party receives: inputs that are all 0, and others. Bytes, also with own components."""
    samples = [(shared(zeros(), 2), 3), (shared(spread(), 4), 5)]
    one, two = (views(name, secrets, seed) for secrets, seed in samples)
    assert one.keys() == two.keys()
    for key in one:
        if one[key].size < 64:
            continue
        table = np.stack([histogram(one[key]), histogram(two[key])])
        assert stats.chi2_contingency(table[:, table.sum(axis=0) > 0]).pvalue > RARE
        # The receiver's own components must not help: differences are as uniform as the words.
        for (secrets, _), found in zip(samples, (one, two), strict=True):
            known = secrets[key[2]]
            for own in (known.own, known.following):
                size = min(own.size, found[key].size)
                for mixed in (found[key][:size] - own[:size], found[key][:size] ^ own[:size]):
                    assert stats.chisquare(histogram(mixed)).pvalue > RARE


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_same_inputs_twice_give_other_messages(name: str) -> None:
    secrets = shared(spread())
    transcript: Transcript = []

    def twice(party: Replicated) -> Steps[None]:
        yield from PROGRAMS[name](party, secrets[party.index])
        yield from PROGRAMS[name](party, secrets[party.index])

    together_run(trio(), twice, transcript=transcript)
    half = len(transcript) // 2
    for (_, *who, before), (_, *again, after) in zip(transcript[:half], transcript[half:], strict=True):
        assert who == again
        assert np.mean(before == after) < 0.01


def test_no_mask_comes_twice() -> None:
    """Where all shares are 0, messages are nothing but masks and products of what they hid: no word is seen twice."""
    transcript: Transcript = []

    def everything(party: Replicated) -> Steps[None]:
        for name in ("multiply", "truncate", "matmul", "rectify", "choose", "network", "multiply"):
            yield from PROGRAMS[name](party, party.public(zeros()))
        yield from party.share(0, zeros() if party.index == 0 else None, (N,))
        large = party.public(np.zeros(THIRDS_FROM + 128, dtype=np.uint64))
        yield from together(party.rectify(large, 25), party.multiply(large, large, cut=16))

    together_run(trio(), everything, transcript=transcript)
    words = np.concatenate([words for *_, words in transcript])
    assert words.size > 400_000
    assert np.unique(words).size == words.size


def test_calls_take_numbers_in_order() -> None:
    engines = trio()
    secrets = shared(spread())
    together_run(engines, lambda party: network(party, secrets[party.index]))
    counts = {engine._calls for engine in engines}
    assert counts == {engines[0]._calls}
    assert engines[0]._calls > 6


def test_who_knows_the_mask_of_a_quotient_receives_nothing() -> None:
    receivers = {key[2] for key in views("truncate", shared(spread()), 1)}
    assert receivers == {0, 1}
