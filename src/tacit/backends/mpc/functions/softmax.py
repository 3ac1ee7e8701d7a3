"""e^x over its sum: the largest is taken off first, and there is one reciprocal for each row."""

from __future__ import annotations

import math

import numpy as np

from tacit.backends.mpc.engine import B, Engine, S
from tacit.backends.mpc.functions.exponential import exponential, exponential_error
from tacit.backends.mpc.functions.maximum import largest
from tacit.backends.mpc.functions.reciprocal import reciprocal, reciprocal_error
from tacit.backends.mpc.steps import Steps
from tacit.errors import PrecisionError

__all__ = ["softmax", "softmax_error"]


def softmax(engine: Engine[S, B], x: S, axis: int, *, f: int, low: float, high: float) -> Steps[S]:
    """Along ``axis``, for elements of [low, high]."""
    n = x.shape[axis]
    inner = _inner(f, n)
    most, total = _total(f, n, low, high)
    top = yield from largest(engine, x, axis, f=f, low=low, high=high)
    below = x.local(lambda w, t: w - np.expand_dims(t, axis), top)
    powers = yield from exponential(engine, below, f=f, low=low - high, high=0.0, out=inner)
    sums = powers.sum(axis, keepdims=True)
    inverse = yield from reciprocal(
        engine, sums, f=inner, low=most, high=total, out=_INVERSE_BITS, round_bits=200.0 * n
    )
    return (yield from engine.multiply(powers, inverse, cut=inner + _INVERSE_BITS - f))


def softmax_error(f: int, low: float, high: float, n: int) -> float:
    """|ê/ŝ - e/s| <= ε·(1 + n·e/s)/ŝ for errors of at most ε of the powers, and e <= s."""
    inner = _inner(f, n)
    least, total = _total(f, n, low, high)
    each = exponential_error(f, low - high, 0.0, inner)
    inverse = reciprocal_error(inner, least, total, _INVERSE_BITS, 200.0 * n)
    return each * (1 + n) / least + (1 + each) * inverse + math.ldexp(1.0, -f)


_INVERSE_BITS = 26


def _inner(f: int, n: int) -> int:
    """Fractional bits of the powers: n of them are added."""
    return min(f + max(n, 1).bit_length(), 27)


def _total(f: int, n: int, low: float, high: float) -> tuple[float, float]:
    """The range of a sum of powers: one of them is 1."""
    each = exponential_error(f, low - high, 0.0, _inner(f, n))
    least = 1.0 + (n - 1) * math.exp(low - high) - n * each
    if least < 0.5:
        raise PrecisionError(
            f"a softmax of {n} elements has no precision left at {f} fractional bits",
            hint="plan with more fractional bits",
        )
    return least, n * (1.0 + each)
