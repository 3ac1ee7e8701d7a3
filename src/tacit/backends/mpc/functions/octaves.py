"""Powers and logarithms of positive secrets, whose size may be anything: one comparison, then two or three products.

The range is cut at public thresholds into intervals, whose ends have a ratio that the wanted error allows; all are
compared at once. The bits choose from public tables: a, the inverse of the interval's upper end, so that y = x·a lies
in [1/ratio, 1], and what the result is scaled by. There y^p is nearly a polynomial. Of degree 2, for many intervals:
top^p·P(y) = y·g + t, where g and t are linear in x and the bits, with all scaling in the tables. Or of degree 4, for
fewer ones: every real polynomial of degree 4 is a product of two real quadratics, top^p·P(y) = (y·u + c)·(y·g + t).
So: y, u and g in one round, both factors in the next, their product in the third.

Catrina and Saxena (Secure Computation with Fixed-Point Numbers, FC 2010) scale to [1/2, 1) by a decomposition into
bits and divide by Goldschmidt's iteration; here the ratio is 2 or less, and one polynomial is enough.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from tacit.backends.mpc.engine import B, Engine, S
from tacit.backends.mpc.functions.intervals import HALF_BITS, Octaves, interval_tables
from tacit.backends.mpc.steps import Steps, Words, together
from tacit.errors import InvalidParameterError, PrecisionError

__all__ = ["Octaves", "evaluate_octaves", "octaves"]


@lru_cache(maxsize=256)
def octaves(
    power: float | None, *, unit: float, low: int, high: int, out: int, round_bits: float = 200.0
) -> Octaves:
    """(word·unit)^power, or the logarithm for None, of words low … high; the result has ``out`` fractional bits.

    ``low`` may be 0 where the power is positive. ``round_bits``: how many bits for an element a round is worth; more
    for one that stands for a whole row. Raises ``PrecisionError`` where the result does not fit.
    """
    if low < (1 if power is None or power < 0 else 0):
        raise PrecisionError(
            "this function needs arguments that are proven to be positive",
            hint="bound its argument away from zero, for instance by a larger epsilon",
        )
    if high < low:
        raise InvalidParameterError("a range must have a lower end that is not above its upper end")
    wanted = math.ldexp(3.0, -out)
    tried = [interval_tables(power, unit, low, high, out, degree) for degree in (2, 4)]
    good = [each for each in tried if each.error <= wanted]
    if not good:
        return min(tried, key=lambda each: each.error)
    return min(good, key=lambda each: _cost(each, round_bits))


def evaluate_octaves(engine: Engine[S, B], x: S, table: Octaves) -> Steps[S]:
    """The function of x, element by element."""
    columns = [table.inverse, table.right, table.middles, table.offset]
    if table.degree == 2:
        inverse, right, middle, offset = yield from _choose(engine, x, table, columns)
        y, g = yield from together(
            engine.multiply(x, inverse, cut=table.cuts[0]), engine.multiply(x, right, cut=table.cuts[2])
        )
        value: S = yield from engine.multiply(y, g + middle, cut=table.cuts[3])
        return value + offset
    columns += [table.ends, *table.left]
    inverse, right, middle, offset, end, left, first, last = yield from _choose(engine, x, table, columns)
    y, u, g = yield from together(
        engine.multiply(x, inverse, cut=table.cuts[0]),
        engine.multiply(x, left, cut=table.cuts[1]),
        engine.multiply(x, right, cut=table.cuts[2]),
    )
    one, two = yield from together(
        engine.multiply(y, u + first, cut=HALF_BITS), engine.multiply(y, g + middle, cut=HALF_BITS)
    )
    product: S = yield from engine.multiply(one + last, two + end, cut=table.cuts[3])
    return product + offset


def _choose(engine: Engine[S, B], x: S, table: Octaves, columns: Sequence[tuple[int, ...]]) -> Steps[list[S]]:
    """The word of each column for the interval of each element."""
    ones = (1,) * len(x.shape)
    last = _words([column[-1] for column in columns]).reshape(-1, *ones)
    if not table.thresholds:
        whole = engine.public(np.ascontiguousarray(np.broadcast_to(last, (len(columns), *x.shape))))
        return [whole[i] for i in range(len(columns))]
    count = len(table.thresholds)
    spread = x.local(lambda w: np.repeat(w[None], count, axis=0))
    moved = engine.add_public(spread, _words([-t for t in table.thresholds]).reshape(-1, *ones))
    below = yield from engine.negative(moved, table.width)
    bits = yield from engine.to_ring(engine.reshape_bits(below, (count, *x.shape)))
    steps = _words([[a - b for a, b in itertools.pairwise(column)] for column in columns])
    steps = steps.reshape(len(columns), count)

    def linear(w: Words) -> Words:
        return np.asarray(np.tensordot(steps, w, axes=1))

    chosen = engine.add_public(bits.local(linear), last)
    return [chosen[i] for i in range(len(columns))]


def _cost(table: Octaves, round_bits: float) -> float:
    """Bits that a party sends for an element in `replicated3`, with those that its rounds are worth."""
    return len(table.thresholds) * (1.5 * table.width + 64) + table.degree * (144 + round_bits)


def _words(values: Any) -> Words:
    flat = [int(value) % (1 << 64) for value in np.asarray(values, dtype=object).reshape(-1)]
    return np.array(flat, dtype=np.uint64)
