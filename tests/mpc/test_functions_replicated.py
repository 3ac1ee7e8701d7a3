"""The same functions on three parties: as exact as in rehearsal, and the rounds and bits that it declares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

from tacit.backends.mpc.engine import Engine
from tacit.backends.mpc.fixedpoint import decode, encode
from tacit.backends.mpc.functions.maximum import argmax, max_pool
from tacit.backends.mpc.functions.softmax import softmax, softmax_error
from tacit.backends.mpc.functions.table import FUNCTIONS
from tacit.backends.mpc.rehearsal import Rehearsal, rehearse
from tacit.backends.mpc.replicated_prices import ReplicatedPrices
from tacit.backends.mpc.steps import Steps, Tally, Words
from tests.mpc.test_functions import RANGES, REAL, Floats
from tests.mpc.trio import opened, shared, together_run, trio

F = 16


def run(x: Words, function: Callable[[Engine[Any, Any], Any], Steps[Any]]) -> Words:
    """What three parties open; their traffic is that of the rehearsal."""
    parts, tally, declared = shared(x), Tally(), Tally()
    found = together_run(trio(), lambda party: function(party, parts[party.index]), tally=tally)
    engine = Rehearsal(ReplicatedPrices())
    rehearse(function(engine, engine.public(x)), declared)
    assert (tally.rounds, tally.bits) == (declared.rounds, declared.bits)
    return opened(found)


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_three_parties(name: str) -> None:
    function = FUNCTIONS[name]
    low, high = RANGES.get(name, [(-40000.0, 40000.0)])[0]
    near = np.linspace(max(low, -12.0), min(high, 12.0), 500)
    x: Floats = decode(encode(np.concatenate([np.linspace(low, high, 300), near]), F), F)
    found = run(encode(x, F), lambda engine, part: function.apply(engine, part, f=F, low=low, high=high))
    assert np.max(np.abs(decode(found, F) - REAL[name](x))) <= function.error(F, low, high)


def test_softmax_of_three_parties() -> None:
    x = decode(encode(np.random.default_rng(1).uniform(-9, 9, (30, 11)), F), F)
    found = run(encode(x, F), lambda engine, part: softmax(engine, part, 1, f=F, low=-9.0, high=9.0))
    worst = np.max(np.abs(decode(found, F) - special.softmax(x, axis=1)))
    assert worst <= softmax_error(F, -9.0, 9.0, 11)


def test_largest_of_three_parties() -> None:
    x = np.random.default_rng(1).integers(-3, 4, (2, 3, 6, 6)).astype(np.float64)
    placement = {"kernel": (3, 3), "strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
    found = run(
        encode(x, F),
        lambda engine, part: max_pool(engine, part, **placement, f=F, low=-3.0, high=3.0),  # type: ignore[arg-type]
    )
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
    np.testing.assert_array_equal(decode(found, F), windows.max((-1, -2)))
    places = run(encode(x, F), lambda engine, part: argmax(engine, part, 3, f=F, low=-3.0, high=3.0))
    np.testing.assert_array_equal(places, np.argmax(x, 3))
