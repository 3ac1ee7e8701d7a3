"""1/x and quotients, for denominators that keep away from zero."""

from __future__ import annotations

import math
from functools import lru_cache

from tacit.backends.mpc.engine import SLACK_BITS, B, Engine, S
from tacit.backends.mpc.fixedpoint import words_of_range
from tacit.backends.mpc.functions.octaves import Octaves, evaluate_octaves, octaves
from tacit.backends.mpc.steps import Steps
from tacit.errors import PrecisionError

__all__ = [
    "quotient",
    "quotient_error",
    "reciprocal",
    "reciprocal_error",
    "reciprocal_output",
    "reciprocal_slope",
]


def reciprocal(
    engine: Engine[S, B],
    x: S,
    *,
    f: int,
    low: float,
    high: float,
    out: int | None = None,
    round_bits: float = 200.0,
) -> Steps[S]:
    """1/x with ``out`` fractional bits, f if not given. The range may be negative, but not contain 0.

    ``round_bits``: as in `octaves`.
    """
    table = _table(f, low, high, f if out is None else out, round_bits)
    if high < 0:
        return -(yield from evaluate_octaves(engine, -x, table))
    return (yield from evaluate_octaves(engine, x, table))


def reciprocal_error(
    f: int, low: float, high: float, out: int | None = None, round_bits: float = 200.0
) -> float:
    return _table(f, low, high, f if out is None else out, round_bits).error


def reciprocal_output(f: int, low: float, high: float, out: int | None = None) -> tuple[float, float]:
    error = reciprocal_error(f, low, high, out)
    return 1 / high - error, 1 / low + error


def reciprocal_slope(f: int, low: float, high: float) -> float:
    return 1 / min(low * low, high * high)


def quotient(engine: Engine[S, B], x: S, y: S, *, f: int, reach: float, low: float, high: float) -> Steps[S]:
    """x/y; ``reach``: largest |x|; the range is that of y. Shapes broadcast: y may be one for a whole row."""
    bits = _quotient_bits(f, reach, low, high)
    inverse = yield from reciprocal(engine, y, f=f, low=low, high=high, out=bits)
    return (yield from engine.multiply(x, inverse, cut=bits))


def quotient_error(f: int, reach: float, low: float, high: float) -> float:
    bits = _quotient_bits(f, reach, low, high)
    return reach * reciprocal_error(f, low, high, bits) + math.ldexp(1.0, -f)


def _quotient_bits(f: int, reach: float, low: float, high: float) -> int:
    """Fractional bits of 1/y: as many as leave room for both it and the product."""
    if low <= 0.0 <= high:
        raise PrecisionError(
            "a denominator may be zero", hint="bound it away from zero, for instance by a larger epsilon"
        )
    inverse = 1 / min(abs(low), abs(high))
    room = SLACK_BITS - 1 - f - math.ceil(math.log2(max(reach, 2.0**-f) * inverse))
    bits = min(room, 28 - max(0, math.ceil(math.log2(inverse))), f + 8)
    if bits < 1:
        raise PrecisionError(
            f"quotients of up to {reach * inverse:.3g} do not fit into words with {f} fractional bits",
            hint="bound the denominator away from zero, or plan with fewer fractional bits",
        )
    return bits


@lru_cache(maxsize=256)
def _table(f: int, low: float, high: float, out: int, round_bits: float) -> Octaves:
    if low <= 0.0 <= high:
        raise PrecisionError(
            "the argument of a reciprocal may be zero",
            hint="bound it away from zero, for instance by a larger epsilon",
        )
    least, most = words_of_range(f, *((low, high) if low > 0 else (-high, -low)))
    return octaves(-1.0, unit=2.0**-f, low=max(least, 1), high=most, out=out, round_bits=round_bits)
