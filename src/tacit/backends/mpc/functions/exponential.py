"""e^x: 0 below the least number that is worth a unit, polynomials above it, squared where results are large."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tacit.backends.mpc.engine import SLACK_BITS, B, Engine, S
from tacit.backends.mpc.fixedpoint import words_of_range
from tacit.backends.mpc.functions.piecewise import Affine, Pieces, evaluate, piece_error, search
from tacit.backends.mpc.steps import Steps
from tacit.errors import PrecisionError

__all__ = ["exponential", "exponential_error", "exponential_output", "exponential_slope"]

MOST_SQUARES = 3
"""e^x is e^(x/2) squared, where the polynomials of e^x itself would be too coarse."""


def exponential(
    engine: Engine[S, B], x: S, *, f: int, low: float, high: float, out: int | None = None
) -> Steps[S]:
    """e^x with ``out`` fractional bits, f if not given."""
    recipe = _recipe(f, low, high, f if out is None else out)
    value = yield from evaluate(engine, x, recipe.root)
    for before, after in itertools.pairwise(recipe.bits):
        value = yield from engine.multiply(value, value, cut=2 * before - after)
    return value


def exponential_error(f: int, low: float, high: float, out: int | None = None) -> float:
    return _recipe(f, low, high, f if out is None else out).error


def exponential_output(f: int, low: float, high: float, out: int | None = None) -> tuple[float, float]:
    error = exponential_error(f, low, high, out)
    return math.exp(low) - error, math.exp(high) + error


def exponential_slope(f: int, low: float, high: float) -> float:
    return math.exp(high)


@dataclass(frozen=True)
class _Recipe:
    """``root``: e^(x/2^k). ``bits``: fractional bits of it and of its k squares, one after the other."""

    root: Pieces
    bits: tuple[int, ...]
    error: float


@lru_cache(maxsize=256)
def _recipe(f: int, low: float, high: float, out: int) -> _Recipe:
    """The fewest squares that keep the error at three units, or at 2^-24 of the largest result; else the best."""
    if high * math.log2(math.e) + out > SLACK_BITS - 3:
        raise PrecisionError(
            f"e^x for x up to {high:.3g} does not fit into words with {out} fractional bits",
            hint="bound the argument of the exponential, or plan with fewer fractional bits",
        )
    best: _Recipe | None = None
    for squares in range(MOST_SQUARES + 1):
        try:
            found = _squared(f, low, high, out, squares)
        except PrecisionError:
            if squares == MOST_SQUARES and best is None:
                raise
            continue
        if best is None or found.error < best.error / 2:
            best = found
        if best.error <= max(math.ldexp(3.0, -out), math.exp(high) * 2.0**-24):
            break
    if best is None:
        raise PrecisionError(f"e^x for x up to {high:.3g} has no approximation")
    return best


def _squared(f: int, low: float, high: float, out: int, squares: int) -> _Recipe:
    domain = words_of_range(f, low, high)
    bits = [out]
    for k in range(1, squares + 1):
        # Of e^(x/2^k), whose square must stay below 2^62.
        bits.insert(0, min(30, (SLACK_BITS - 2 - math.ceil(high / 2**k * 2 * math.log2(math.e))) // 2))
    if any(2 * before <= after for before, after in itertools.pairwise(bits)):
        raise PrecisionError(
            f"e^x for x up to {high:.3g} leaves no precision", hint="bound the argument of the exponential"
        )
    # Below, e^x is less than half a unit.
    start = math.floor(math.ldexp(-(out + 1) * math.log(2.0), f))
    tail = Affine(0, 0, math.exp(math.ldexp(start, -f - squares)))
    root = search(np.exp, f + squares, domain, (start, domain[1] + 1), (tail, tail), out=bits[0])
    error = max((piece_error(each, bits[0]) for each in root.pieces if each is not tail), default=0.0)
    largest = math.exp(math.ldexp(domain[1], -f - squares))
    for after in bits[1:]:
        error = 2 * largest * error + error * error + math.ldexp(1.0, -after)
        largest = largest * largest
    if domain[0] < start:
        # What is taken for 0 stays 0 when it is squared.
        error = max(error, math.exp(math.ldexp(start, -f)))
    return _Recipe(root, tuple(bits), error)
