"""Square roots, their inverses, constant powers and logarithms: tables of `octaves`."""

from __future__ import annotations

import math
from functools import lru_cache

from tacit.backends.mpc.engine import B, Engine, S
from tacit.backends.mpc.fixedpoint import words_of_range
from tacit.backends.mpc.functions.octaves import Octaves, evaluate_octaves, octaves
from tacit.backends.mpc.steps import Steps
from tacit.errors import PrecisionError

__all__ = [
    "inverse_root",
    "inverse_root_error",
    "inverse_root_output",
    "inverse_root_slope",
    "logarithm",
    "logarithm_error",
    "logarithm_output",
    "logarithm_slope",
    "power",
    "power_error",
    "root",
    "root_error",
    "root_output",
    "root_slope",
]


def root(engine: Engine[S, B], x: S, *, f: int, low: float, high: float) -> Steps[S]:
    """√x, for a range that may begin with 0."""
    return evaluate_octaves(engine, x, _table(0.5, f, low, high))


def root_error(f: int, low: float, high: float) -> float:
    return _table(0.5, f, low, high).error


def root_output(f: int, low: float, high: float) -> tuple[float, float]:
    error = root_error(f, low, high)
    return math.sqrt(low) - error, math.sqrt(high) + error


def root_slope(f: int, low: float, high: float) -> float:
    """Of words: near 0 the root of one unit is 2^f times as large as it."""
    return math.sqrt(math.ldexp(1.0, f)) if low < math.ldexp(1.0, -f) else 0.5 / math.sqrt(low)


def inverse_root(engine: Engine[S, B], x: S, *, f: int, low: float, high: float) -> Steps[S]:
    """1/√x, for a positive range."""
    return evaluate_octaves(engine, x, _table(-0.5, f, low, high))


def inverse_root_error(f: int, low: float, high: float) -> float:
    return _table(-0.5, f, low, high).error


def inverse_root_output(f: int, low: float, high: float) -> tuple[float, float]:
    error = inverse_root_error(f, low, high)
    return 1 / math.sqrt(high) - error, 1 / math.sqrt(low) + error


def inverse_root_slope(f: int, low: float, high: float) -> float:
    return 0.5 / (low * math.sqrt(low))


def logarithm(engine: Engine[S, B], x: S, *, f: int, low: float, high: float) -> Steps[S]:
    """ln x, for a positive range."""
    return evaluate_octaves(engine, x, _table(None, f, low, high))


def logarithm_error(f: int, low: float, high: float) -> float:
    return _table(None, f, low, high).error


def logarithm_output(f: int, low: float, high: float) -> tuple[float, float]:
    error = logarithm_error(f, low, high)
    return math.log(low) - error, math.log(high) + error


def logarithm_slope(f: int, low: float, high: float) -> float:
    return 1 / low


def power(engine: Engine[S, B], x: S, exponent: float, *, f: int, low: float, high: float) -> Steps[S]:
    """x^exponent, for a positive range and an exponent that is no integer from 0 to 4: those are products."""
    return evaluate_octaves(engine, x, _table(exponent, f, low, high))


def power_error(exponent: float, f: int, low: float, high: float) -> float:
    return _table(exponent, f, low, high).error


@lru_cache(maxsize=256)
def _table(exponent: float | None, f: int, low: float, high: float) -> Octaves:
    if exponent in (0.0, 1.0, 2.0, 3.0, 4.0):
        raise PrecisionError(
            f"a power of {exponent:g} is a product, not a table", hint="multiply the value by itself"
        )
    least, most = words_of_range(f, low, high)
    positive = exponent is None or exponent < 0
    if low < 0 or (positive and low == 0):
        raise PrecisionError(
            f"an argument may be {'zero or ' if positive else ''}negative",
            hint="bound it away from zero, for instance by a larger epsilon",
        )
    return octaves(exponent, unit=2.0**-f, low=max(least, 1 if positive else 0), high=most, out=f)
