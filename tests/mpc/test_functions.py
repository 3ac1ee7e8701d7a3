"""Every function over its whole range: never more than the declared error off, and the declared one not idle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

from tacit.backends.mpc.fixedpoint import decode, encode
from tacit.backends.mpc.functions.reciprocal import quotient, quotient_error
from tacit.backends.mpc.functions.roots import power, power_error
from tacit.backends.mpc.functions.softmax import softmax, softmax_error
from tacit.backends.mpc.functions.table import FUNCTIONS
from tacit.backends.mpc.rehearsal import Rehearsal, rehearse
from tacit.errors import InvalidParameterError, PrecisionError

Floats = np.ndarray[Any, np.dtype[np.float64]]

REAL: dict[str, Callable[[Floats], Floats]] = {
    "Abs": np.abs,
    "Erf": special.erf,
    "Exp": np.exp,
    "Gelu": lambda x: x * special.ndtr(x),
    "Log": np.log,
    "Reciprocal": lambda x: 1 / x,
    "Relu": lambda x: np.maximum(x, 0),
    "Rsqrt": lambda x: 1 / np.sqrt(x),
    "Sigmoid": special.expit,
    "Silu": lambda x: x * special.expit(x),
    "Sqrt": np.sqrt,
    "Tanh": np.tanh,
}

COMMON = [(-8.0, 8.0), (-1000.0, 1000.0), (-50.0, 2.5), (0.5, 1.5), (-3.0, -3.0)]
RANGES: dict[str, list[tuple[float, float]]] = {
    "Exp": [
        (-20.0, 0.0),
        (-1000.0, 0.0),
        (-4.0, 0.0),
        (-100.0, 8.0),
        (-3.0, 12.0),
        (0.0, 1.0),
        (-90.0, -50.0),
    ],
    "Log": [(0.5, 8.0), (2.0**-11, 1000.0), (1.0, 1.1), (3.0, 3.0)],
    "Rsqrt": [(0.5, 8.0), (2.0**-10, 500.0), (1e-2, 30000.0), (4.0, 4.0)],
    "Sqrt": [(0.0, 8.0), (0.0, 5000.0), (1.0, 1.5), (300.0, 40000.0)],
    "Reciprocal": [(1.0, 128.0), (0.01, 10.0), (2.0**-8, 1024.0), (-5.0, -0.5), (1.0, 1.2), (300.0, 40000.0)],
}

CASES = [(name, f, span) for name in FUNCTIONS for f in (12, 16, 20) for span in RANGES.get(name, COMMON)]


def arguments(f: int, low: float, high: float) -> Floats:
    """Words of the whole range, denser near its ends and near 0."""
    even = np.linspace(low, high, 6001)
    near = np.geomspace(2.0**-f, max(abs(low), abs(high)), 3001)
    x = np.concatenate([even, near, -near, low + near, high - near])
    x = decode(encode(x, f), f)
    return x[(x >= low) & (x <= high)]


@pytest.mark.parametrize(("name", "f", "span"), CASES)
def test_errors_are_as_declared(name: str, f: int, span: tuple[float, float]) -> None:
    function, (low, high) = FUNCTIONS[name], span
    x = arguments(f, low, high)
    engine = Rehearsal()
    steps = function.apply(engine, engine.public(encode(x, f)), f=f, low=low, high=high)
    found = decode(rehearse(steps).words, f)
    declared = function.error(f, low, high)
    worst = float(np.max(np.abs(found - REAL[name](x))))
    assert worst <= declared + 2.0**-50 * float(np.max(np.abs(found)))
    assert declared <= max(20 * worst, 2.0 ** -(f + 1))
    least, most = function.output(f, low, high)
    assert least <= found.min()
    assert found.max() <= most
    # At most eight units, but where large results have fewer bits.
    assert declared <= max(2.0 ** (3 - f), 2.0**-20 * max(abs(least), abs(most)))


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_slopes_bound_what_an_error_of_the_argument_does(name: str) -> None:
    for low, high in RANGES.get(name, COMMON)[:3]:
        x = np.linspace(low, high, 20001)
        changes = np.abs(np.diff(REAL[name](x))) / np.diff(x)
        slope = FUNCTIONS[name].slope(16, low, high)
        assert changes.max() <= slope * (1 + 1e-6)
        assert slope <= 2 * changes.max() or low > -1.3 or high < 1.5


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_bad_ranges_are_errors_before_anything_runs(name: str) -> None:
    engine = Rehearsal()
    x = engine.public(encode(np.ones(3), 16))
    with pytest.raises((InvalidParameterError, PrecisionError)):
        rehearse(FUNCTIONS[name].apply(engine, x, f=16, low=2.0, high=1.0))
    with pytest.raises(PrecisionError):
        rehearse(FUNCTIONS[name].apply(engine, x, f=16, low=-1.0, high=2.0**60))


def test_a_denominator_that_may_be_zero_is_refused() -> None:
    for low, high in ((-1.0, 1.0), (0.0, 1.0), (-1.0, 0.0)):
        with pytest.raises(PrecisionError, match="zero"):
            FUNCTIONS["Reciprocal"].error(16, low, high)
        with pytest.raises(PrecisionError, match="zero"):
            quotient_error(16, 1.0, low, high)


def test_what_leaves_the_ring_is_never_selected() -> None:
    """Far in the tails the powers wrap around; the rehearsal puts random words there."""
    engine = Rehearsal()
    x = np.array([-40000.0, -500.0, 500.0, 40000.0, 0.0])
    steps = FUNCTIONS["Sigmoid"].apply(engine, engine.public(encode(x, 16)), f=16, low=-40000.0, high=40000.0)
    np.testing.assert_allclose(decode(rehearse(steps).words, 16), [0, 0, 1, 1, 0.5], atol=3 * 2.0**-16)


@pytest.mark.parametrize("f", [12, 16, 20])
@pytest.mark.parametrize("n", [1, 2, 10, 128])
@pytest.mark.parametrize("reach", [1.0, 8.0, 100.0])
def test_softmax(f: int, n: int, reach: float) -> None:
    x = np.random.default_rng(3).uniform(-reach, reach, (200, n))
    x[0], x[1], x[1, 0] = 0, -reach, reach
    x = decode(encode(x, f), f)
    engine = Rehearsal()
    steps = softmax(engine, engine.public(encode(x, f)), 1, f=f, low=-reach, high=reach)
    worst = float(np.max(np.abs(decode(rehearse(steps).words, f) - special.softmax(x, axis=1))))
    declared = softmax_error(f, -reach, reach, n)
    assert worst <= declared <= 8 * 2.0**-f
    turned = softmax(engine, engine.public(encode(x.T, f)), 0, f=f, low=-reach, high=reach)
    assert np.max(np.abs(decode(rehearse(turned).words, f).T - special.softmax(x, axis=1))) <= declared


@pytest.mark.parametrize("f", [12, 16, 20])
@pytest.mark.parametrize(
    ("low", "high", "reach"), [(0.5, 20.0, 100.0), (-3.0, -0.125, 8.0), (1.0, 1000.0, 1.0)]
)
def test_quotient(f: int, low: float, high: float, reach: float) -> None:
    random = np.random.default_rng(4)
    x, y = random.uniform(-reach, reach, (50, 40)), random.uniform(low, high, (50, 1))
    x[0], y[0], y[1] = reach, low, high
    x, y = decode(encode(x, f), f), decode(encode(y, f), f)
    engine = Rehearsal()
    steps = quotient(
        engine, engine.public(encode(x, f)), engine.public(encode(y, f)), f=f, reach=reach, low=low, high=high
    )
    worst = float(np.max(np.abs(decode(rehearse(steps).words, f) - x / y)))
    assert worst <= quotient_error(f, reach, low, high) <= 20 * worst


@pytest.mark.parametrize("exponent", [-2.0, -1.5, 0.25, 1.5, 2.5, 5.0])
def test_constant_powers(exponent: float) -> None:
    x = decode(encode(np.geomspace(0.25, 6.0, 3000), 16), 16)
    engine = Rehearsal()
    steps = power(engine, engine.public(encode(x, 16)), exponent, f=16, low=0.25, high=6.0)
    worst = float(np.max(np.abs(decode(rehearse(steps).words, 16) - x**exponent)))
    assert worst <= power_error(exponent, 16, 0.25, 6.0) <= 10 * worst
    with pytest.raises(PrecisionError, match="negative"):
        power_error(exponent, 16, -1.0, 1.0)


def test_powers_that_are_products_are_refused() -> None:
    with pytest.raises(PrecisionError, match="a product"):
        power_error(2.0, 16, 1.0, 2.0)
