"""Powers and logarithms of positive secrets, whose size may be anything: one comparison, then four products.

The range is cut at public thresholds into intervals of a constant ratio; all are compared at once. The bits choose
from public tables: a, the inverse of the interval's upper end, so that y = x·a lies in [1/ratio, 1], and what the
result is scaled by. There y^p is nearly a polynomial of degree 4, and every real one of degree 4 is a product of two
real quadratics: top^p·P(y) = (y·u + c)·(y·g + t), where u, g and t are linear in x and the bits, with all scaling in
the tables. So: y, u and g in one round, both factors in the next, their product in the third.

Catrina and Saxena (Secure Computation with Fixed-Point Numbers, FC 2010) scale to [1/2, 1) by a decomposition into
bits and divide by Goldschmidt's iteration; here the ratio is 2 or less, and one polynomial is enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev, polynomial

from tacit.backends.mpc.engine import B, Engine, S
from tacit.backends.mpc.fixedpoint import width_of
from tacit.backends.mpc.steps import Steps, Words, together
from tacit.errors import PrecisionError

__all__ = ["Octaves", "evaluate_octaves", "octaves"]

HALF_BITS = 30
"""Bits of a factor: a product of two is at most 2^60."""

PER_OCTAVE = (1, 2, 3, 4, 6, 8)
"""Intervals within a factor of 2 that are tried."""

MOST_THRESHOLDS = 400


@dataclass(frozen=True)
class Octaves:
    """Tables of words, by interval. Interval k: thresholds[k-1] <= x < thresholds[k].

    y = x·inverse, u = x·left + left_constants[0], g = x·right + middles; the factors are y·u + left_constants[1] and
    y·g + ends; ``offset`` is added to their product. ``cuts``: of y, u, g and the result.
    """

    thresholds: tuple[int, ...]
    width: int
    inverse: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    middles: tuple[int, ...]
    ends: tuple[int, ...]
    offset: tuple[int, ...]
    left_constants: tuple[int, int]
    cuts: tuple[int, int, int, int]
    error: float


@lru_cache(maxsize=256)
def octaves(power: float | None, *, unit: float, low: int, high: int, out: int) -> Octaves:
    """(word·unit)^power, or the logarithm for None, of words low … high; the result has ``out`` fractional bits.

    ``low`` may be 0 where the power is positive. Raises ``PrecisionError`` where the result does not fit.
    """
    if low < (1 if power is None or power < 0 else 0):
        raise PrecisionError(
            "this function needs arguments that are proven to be positive",
            hint="bound its argument away from zero, for instance by a larger epsilon",
        )
    found: Octaves | None = None
    for per_octave in PER_OCTAVE:
        intervals = _intervals(low, high, 2.0 ** (1 / per_octave))
        if found is not None and len(intervals) > MOST_THRESHOLDS:
            break
        tried = _tables(power, unit, intervals, out)
        if found is None or tried.error < found.error:
            found = tried
        if found.error <= math.ldexp(3.0, -out):
            break
    if found is None:
        raise PrecisionError("there is no interval to work on")
    return found


def evaluate_octaves(engine: Engine[S, B], x: S, table: Octaves) -> Steps[S]:
    """The function of x, element by element."""
    columns = np.array(
        [table.inverse, table.left, table.right, table.middles, table.ends, table.offset], dtype=object
    )
    chosen = yield from _choose(engine, x, table, columns)
    inverse, left, right, middle, end, offset = (chosen[i] for i in range(6))
    y, u, g = yield from together(
        engine.multiply(x, inverse, cut=table.cuts[0]),
        engine.multiply(x, left, cut=table.cuts[1]),
        engine.multiply(x, right, cut=table.cuts[2]),
    )
    u = engine.add_public(u, _word(table.left_constants[0]))
    one, two = yield from together(
        engine.multiply(y, u, cut=HALF_BITS), engine.multiply(y, g + middle, cut=HALF_BITS)
    )
    one = engine.add_public(one, _word(table.left_constants[1]))
    product: S = yield from engine.multiply(one, two + end, cut=table.cuts[3])
    return product + offset


def _choose(engine: Engine[S, B], x: S, table: Octaves, columns: npt.NDArray[Any]) -> Steps[S]:
    """The columns' words of the interval of each element: (columns, *x.shape)."""
    ones = (1,) * len(x.shape)
    last = _words(columns[:, -1]).reshape(-1, *ones)
    if not table.thresholds:
        return engine.public(np.ascontiguousarray(np.broadcast_to(last, (len(columns), *x.shape))))
    count = len(table.thresholds)
    spread = x.local(lambda w: np.repeat(w[None], count, axis=0))
    moved = engine.add_public(spread, _words([-t for t in table.thresholds]).reshape(-1, *ones))
    below = yield from engine.negative(moved, table.width)
    bits = yield from engine.to_ring(engine.reshape_bits(below, (count, *x.shape)))
    steps = _words(columns[:, :-1] - columns[:, 1:]).reshape(len(columns), count)

    def linear(w: Words) -> Words:
        return np.asarray(np.tensordot(steps, w, axes=1))

    return engine.add_public(bits.local(linear), last)


def _intervals(low: int, high: int, ratio: float) -> list[tuple[int, int]]:
    """Of words, both ends included; the quotient of the ends is at most ``ratio``."""
    found = []
    start = low
    while start <= high:
        top = min(max(math.floor(start * ratio), start), high)
        found.append((start, top))
        start = top + 1
    return found


def _tables(power: float | None, unit: float, intervals: list[tuple[int, int]], out: int) -> Octaves:
    tops = np.array([top for _, top in intervals], dtype=np.float64)
    least = min([s / top for s, top in intervals if top] + [0.999])
    first, second, approximation = _factors(power, least)
    y = np.linspace(least, 1.0, 257)
    # u = scale·(y + p), its factor scale·(y² + p·y + q) at most 1; the other factor has the rest.
    scale = 1 / float(np.max(np.abs(polynomial.polyval(y, first))))
    left = first * scale
    right = second / scale
    u, one = left[2] * y + left[1], polynomial.polyval(y, left)
    g, two = right[2] * y + right[1], polynomial.polyval(y, right)
    sizes = np.where(tops > 0, (np.maximum(tops, 1.0) * unit) ** (power or 0.0), 0.0)
    most = float(sizes.max())
    u_most, one_most = 1.01 * float(np.max(np.abs(u))), 1.01 * float(np.max(np.abs(one)))
    g_most, two_most = 1.01 * float(np.max(np.abs(g))), 1.01 * float(np.max(np.abs(two)))
    left_bits = HALF_BITS - _log2(max(u_most, one_most, abs(left[0]), abs(left[1])))
    right_bits = HALF_BITS - _log2(most * max(g_most, two_most, abs(right[0]), abs(right[1])))
    left_word = 2 * HALF_BITS - _log2(abs(left[2]))
    right_word = 2 * HALF_BITS - _log2(abs(right[2]) * most)
    cut = left_bits + right_bits - out
    if cut < 0:
        raise PrecisionError(
            f"results of {most:.3g} leave fewer than {out} fractional bits",
            hint="bound the argument, or plan with fewer fractional bits",
        )
    # Errors, each at most: of the table's rounding, of truncations, of rounded constants.
    unit_left, unit_right = math.ldexp(1.0, -left_bits), math.ldexp(1.0, -right_bits)
    e_y = tops * 2.0 ** (-2 * HALF_BITS - 1) + 2.0**-HALF_BITS
    e_u = tops * math.ldexp(0.5, -left_word) + 1.5 * unit_left
    e_g = tops * math.ldexp(0.5, -right_word) + 1.5 * unit_right
    e_one = u_most * e_y + e_u + e_y * e_u + 1.5 * unit_left
    e_two = sizes * g_most * e_y + e_g + e_y * e_g + 1.5 * unit_right
    error = one_most * e_two + sizes * two_most * e_one + e_one * e_two + sizes * approximation
    offsets = [0.0] * len(intervals) if power is not None else [math.log(top * unit) for top in tops]
    rounding = math.ldexp(1.0 if power is not None else 1.5, -out)
    starts = [start for start, _ in intervals]
    return Octaves(
        tuple(starts[1:]),
        width_of(starts[0] - starts[-1], intervals[-1][1] - starts[min(1, len(starts) - 1)]),
        _table(1 / _not_zero(tops) * (tops > 0), 2 * HALF_BITS),
        _table(left[2] / _not_zero(tops) * (tops > 0), left_word),
        _table(right[2] * sizes / _not_zero(tops), right_word),
        _table(right[1] * sizes, right_bits),
        _table(right[0] * sizes, right_bits),
        _table(np.array(offsets), out),
        (round(math.ldexp(left[1], left_bits)), round(math.ldexp(left[0], left_bits))),
        (HALF_BITS, left_word - left_bits, right_word - right_bits, cut),
        float(error.max()) + rounding,
    )


@lru_cache(maxsize=256)
def _factors(
    power: float | None, least: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float]:
    """Two quadratics whose product is y^power, or the logarithm, on [least, 1]; and its error. The first is monic."""
    nodes = np.cos(np.pi * (np.arange(32) + 0.5) / 32)
    middle, half = (1 + least) / 2, (1 - least) / 2

    def real(y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.log(y) if power is None else np.asarray(y**power)

    series = chebyshev.chebvander(nodes, 4).T @ real(middle + half * nodes) * (2.0 / 32)
    series[0] /= 2
    local = chebyshev.cheb2poly(series)
    # Roots of the polynomial of t = (y - middle)/half; those of y follow.
    roots = middle + half * polynomial.polyroots(local)
    order = sorted(roots, key=lambda z: (-abs(z.imag), abs(z.imag) and z.real, z.real))
    pairs = [order[:2], order[2:]]
    first, second = (np.real(polynomial.polyfromroots(pair)) for pair in pairs)
    second = second * (local[4] / half**4)
    fine = middle + half * np.cos(np.pi * (np.arange(352) + 0.5) / 352)
    fine = np.concatenate([fine, [least, 1.0]])
    product = polynomial.polyval(fine, first) * polynomial.polyval(fine, second)
    return first, second, 1.011 * float(np.max(np.abs(product - real(fine))))


def _table(values: npt.NDArray[np.float64], bits: int) -> tuple[int, ...]:
    return tuple(round(math.ldexp(float(value), bits)) for value in values)


def _words(values: Any) -> Words:
    flat = [int(value) % (1 << 64) for value in np.asarray(values, dtype=object).reshape(-1)]
    return np.array(flat, dtype=np.uint64)


def _word(value: int) -> Words:
    return np.array(value % (1 << 64), dtype=np.uint64)


def _not_zero(tops: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.maximum(tops, 1.0))


def _log2(value: float) -> int:
    """The least n with value <= 2^n."""
    mantissa, exponent = math.frexp(value)
    return exponent - 1 if mantissa == 0.5 else exponent
