"""The same functions with two parties and a dealer: as exact as in rehearsal, also where the powers leave the ring."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import special

from tacit.backends.mpc.fixedpoint import decode, encode
from tacit.backends.mpc.functions.softmax import softmax, softmax_error
from tacit.backends.mpc.functions.table import FUNCTIONS
from tacit.backends.mpc.steps import Steps
from tests.mpc.pair import given
from tests.mpc.test_dealer import result
from tests.mpc.test_functions import RANGES, REAL, Floats

F = 16


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_two_parties(name: str) -> None:
    function = FUNCTIONS[name]
    low, high = RANGES.get(name, [(-40000.0, 40000.0)])[0]
    near = np.linspace(max(low, -12.0), min(high, 12.0), 300)
    x: Floats = decode(encode(np.concatenate([np.linspace(low, high, 300), near]), F), F)

    def program(engine: Any) -> Steps[Any]:
        secret = yield from given(engine, 0, encode(x, F))
        return (yield from function.apply(engine, secret, f=F, low=low, high=high))

    found = decode(result(program), F)
    assert np.max(np.abs(found - REAL[name](x))) <= function.error(F, low, high)


def test_softmax_of_two_parties() -> None:
    x = decode(encode(np.random.default_rng(1).uniform(-9, 9, (30, 11)), F), F)

    def program(engine: Any) -> Steps[Any]:
        secret = yield from given(engine, 0, encode(x, F))
        return (yield from softmax(engine, secret, 1, f=F, low=-9.0, high=9.0))

    worst = np.max(np.abs(decode(result(program), F) - special.softmax(x, axis=1)))
    assert worst <= softmax_error(F, -9.0, 9.0, 11)
