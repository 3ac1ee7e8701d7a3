"""Steps side by side share rounds; parties that are out of step are found."""

from __future__ import annotations

import numpy as np
import pytest

from tacit.backends.mpc.rehearsal import Free, Rehearsal, rehearse
from tacit.backends.mpc.steps import Round, Steps, Tally, Words, lockstep, together
from tacit.errors import InternalError


def swap(index: int, words: Words, times: int) -> Steps[Words]:
    """Two parties exchange what they have, so many times."""
    for _ in range(times):
        inbox = yield Round({1 - index: [words]}, {1 - index: [words.size]})
        (words,) = inbox[1 - index]
    return words


def test_together_shares_rounds() -> None:
    tally = Tally()

    def party(index: int) -> Steps[list[Words]]:
        one = np.full(3, index, dtype=np.uint64)
        two = np.full(5, 10 + index, dtype=np.uint64)
        result = yield from together(swap(index, one, 1), swap(index, two, 3))
        return result

    first, second = lockstep([party(0), party(1)], tally=tally)
    assert tally.rounds == 3
    assert tally.bits == [64 * (3 + 15)] * 2
    np.testing.assert_array_equal(first[0], [1, 1, 1])
    np.testing.assert_array_equal(first[1], [11] * 5)
    np.testing.assert_array_equal(second[1], [10] * 5)


def test_parties_out_of_step_are_an_error() -> None:
    words = np.zeros(2, dtype=np.uint64)
    with pytest.raises(InternalError, match="equally many"):
        lockstep([swap(0, words, 1), swap(1, words, 2)])
    with pytest.raises(InternalError, match="does not send"):
        lockstep([swap(0, words, 1), swap(1, np.zeros(3, dtype=np.uint64), 1)])


def test_a_rehearsal_refuses_what_wraps_around() -> None:
    engine = Rehearsal(Free())
    large = engine.public(np.array([1 << 40], dtype=np.uint64))
    with pytest.raises(InternalError, match="too small a range"):
        rehearse(engine.multiply(large, large, cut=16))
    with pytest.raises(InternalError, match="comparison"):
        rehearse(engine.negative(large, 40))
