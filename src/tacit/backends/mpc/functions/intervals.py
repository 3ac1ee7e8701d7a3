"""Tables of intervals for powers and logarithms: where they begin, the polynomial of each, and the errors of all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev, polynomial

from tacit.backends.mpc.fixedpoint import width_of
from tacit.errors import PrecisionError

__all__ = ["HALF_BITS", "Octaves", "interval_tables"]

Floats = npt.NDArray[np.float64]

HALF_BITS = 30
"""Bits of a factor: a product of two is at most 2^60."""

RATIOS = tuple(
    2.0**e for e in (8, 6, 4, 3, 2, 1.5, 1, 3 / 4, 1 / 2, 1 / 3, 1 / 4, 1 / 6, 1 / 8, 1 / 12, 1 / 16, 1 / 24)
)
"""Of the ends of an interval, the widest first."""

_LEAST = {2: 0.999, 4: 0.9}
"""By degree: on shorter intervals the last coefficients would be noise of float64."""

MOST_INTERVALS = 400


@dataclass(frozen=True)
class Octaves:
    """Tables of words, by interval. Interval k: thresholds[k-1] <= x < thresholds[k].

    y = x·inverse, u = x·left[0] + left[1], g = x·right + middles; of degree 4 the factors are y·u + left[2] and
    y·g + ends, of degree 2 they are y and g; ``offset`` is added to their product. ``cuts``: of y, u, g and the result.
    """

    degree: int
    thresholds: tuple[int, ...]
    width: int
    inverse: tuple[int, ...]
    left: tuple[tuple[int, ...], ...]
    right: tuple[int, ...]
    middles: tuple[int, ...]
    ends: tuple[int, ...]
    offset: tuple[int, ...]
    cuts: tuple[int, int, int, int]
    error: float


@dataclass(frozen=True, eq=False)
class _Factors:
    """On [least, 1] y^power, or the logarithm, is about first·second; coefficients of 1, y, y². ``error``: of it.

    Of degree 4 ``first`` is at most 1; of degree 2 it is y, and ``second`` leaves out the constant ``rest``.
    """

    first: Floats
    second: Floats
    rest: float
    error: float
    most: tuple[float, float, float, float]
    """Of u, of the first factor, of g and of the second one."""


def interval_tables(power: float | None, unit: float, low: int, high: int, out: int, degree: int) -> Octaves:
    """The fewest intervals that come within three units of the result, or near, where its size leaves fewer bits."""
    allowed = math.ldexp(1.25, -out)
    while True:
        intervals = _intervals(power, unit, low, high, degree, allowed)
        if intervals is not None:
            return _tables(power, unit, intervals, out, degree)
        allowed *= 2.0


def _intervals(
    power: float | None, unit: float, low: int, high: int, degree: int, allowed: float
) -> list[tuple[int, int, _Factors]] | None:
    """First and last word and polynomial of each; None where there are too many."""
    found: list[tuple[int, int, _Factors]] = []
    start = low
    while start <= high:
        for ratio in RATIOS:
            top = min(max(math.floor(start * ratio), start), high)
            least = min(start / top if top else 1.0, _LEAST[degree])
            # Rounded down to one of few values, so that intervals share polynomials.
            factors = _factors(power, math.floor(least * 2.0**12) * 2.0**-12, degree)
            if factors.error * _size(power, unit, top) <= allowed:
                break
        found.append((start, top, factors))
        if len(found) > MOST_INTERVALS:
            return None
        start = top + 1
    return found


def _tables(
    power: float | None, unit: float, intervals: list[tuple[int, int, _Factors]], out: int, degree: int
) -> Octaves:
    tops = np.array([top for _, top, _ in intervals], dtype=np.float64)
    inverse = np.divide(1.0, tops, out=np.zeros_like(tops), where=tops > 0)
    sizes = np.array([_size(power, unit, top) for _, top, _ in intervals])
    first = np.array([each.first for _, _, each in intervals])
    second = np.array([each.second for _, _, each in intervals]) * sizes[:, None]
    rest = np.array([each.rest for _, _, each in intervals]) * sizes
    approximation = np.array([each.error for _, _, each in intervals]) * sizes
    u_most, one_most, g_most, two_most = np.array([each.most for _, _, each in intervals]).T
    g_most, two_most = g_most * sizes, two_most * sizes
    if power is None:
        rest = rest + np.log(tops * unit)
    left_bits = HALF_BITS - _log2(max(1.0, float(u_most.max()), float(np.abs(first).max())))
    right_bits = HALF_BITS - _log2(
        max(float(g_most.max()), float(two_most.max()), float(np.abs(second).max()))
    )
    left_word = 2 * HALF_BITS - _log2(float(np.abs(first[:, 2]).max()) or 1.0)
    leading = second[:, 2] if degree == 4 else second[:, 1]
    right_word = 2 * HALF_BITS - _log2(float(np.abs(leading).max()))
    cut = (left_bits if degree == 4 else HALF_BITS) + right_bits - out
    if cut < 0:
        raise PrecisionError(
            f"results of {sizes.max():.3g} leave fewer than {out} fractional bits",
            hint="bound the argument, or plan with fewer fractional bits",
        )
    # Errors, each at most: of the table's rounding, of truncations, of rounded constants.
    unit_left, unit_right = math.ldexp(1.0, -left_bits), math.ldexp(1.0, -right_bits)
    e_y = tops * 2.0 ** (-2 * HALF_BITS - 1) + 2.0**-HALF_BITS
    e_g = tops * math.ldexp(0.5, -right_word) + 1.5 * unit_right
    if degree == 4:
        e_u = tops * math.ldexp(0.5, -left_word) + 1.5 * unit_left
        e_one = u_most * e_y + e_u + e_y * e_u + 1.5 * unit_left
        e_two = g_most * e_y + e_g + e_y * e_g + 1.5 * unit_right
    else:
        e_one, e_two = e_y, e_g
    error = one_most * e_two + two_most * e_one + e_one * e_two + approximation
    starts = [start for start, _, _ in intervals]
    return Octaves(
        degree,
        tuple(starts[1:]),
        width_of(starts[0] - starts[-1], intervals[-1][1] - starts[min(1, len(starts) - 1)]),
        _table(inverse, 2 * HALF_BITS),
        (
            _table(first[:, 2] * inverse, left_word),
            _table(first[:, 1], left_bits),
            _table(first[:, 0], left_bits),
        ),
        _table(leading * inverse, right_word),
        _table(second[:, 1] if degree == 4 else second[:, 0], right_bits),
        _table(second[:, 0], right_bits),
        _table(rest, out),
        (HALF_BITS, left_word - left_bits, right_word - right_bits, cut),
        float(error.max()) + math.ldexp(1.5, -out),
    )


@lru_cache(maxsize=4096)
def _factors(power: float | None, least: float, degree: int) -> _Factors:
    """The interpolation at Chebyshev nodes, cut after ``degree``, and its factors."""
    nodes = np.cos(np.pi * (np.arange(32) + 0.5) / 32)
    middle, half = (1 + least) / 2, (1 - least) / 2

    def real(y: Floats) -> Floats:
        return np.log(y) if power is None else np.asarray(y**power)

    series = chebyshev.chebvander(nodes, degree).T @ real(middle + half * nodes) * (2.0 / 32)
    series[0] /= 2
    local = chebyshev.cheb2poly(series)
    t = np.concatenate([np.cos(np.pi * (np.arange(352) + 0.5) / 352), [-1.0, 1.0]])
    y = middle + half * t
    error = 1.011 * float(np.max(np.abs(polynomial.polyval(t, local) - real(y))))
    if degree == 2:
        inner = np.array([-middle / half, 1 / half])
        slope = polynomial.polyadd(local[1:2], local[2] * inner)
        whole = polynomial.polyadd(local[:1], polynomial.polymul(inner, slope))
        first, second, rest = np.array([0.0, 1.0, 0.0]), np.array([whole[1], whole[2], 0.0]), float(whole[0])
        u, g = np.ones_like(y), polynomial.polyval(y, second)
    else:
        # Roots of the polynomial of t = (y - middle)/half; those of y follow.
        roots = middle + half * polynomial.polyroots(local)
        order: list[Any] = sorted(roots, key=lambda z: (-abs(z.imag), abs(z.imag) and z.real, z.real))
        first, second = (np.real(polynomial.polyfromroots(pair)) for pair in (order[:2], order[2:]))
        scale = float(np.max(np.abs(polynomial.polyval(y, first))))
        first, second, rest = first / scale, second * (scale * local[4] / half**4), 0.0
        u, g = first[2] * y + first[1], second[2] * y + second[1]
    parts = u, polynomial.polyval(y, first), g, polynomial.polyval(y, second)
    largest = [1.01 * float(np.max(np.abs(part))) for part in parts]
    return _Factors(first, second, rest, error, (largest[0], largest[1], largest[2], largest[3]))


def _size(power: float | None, unit: float, top: int) -> float:
    """What the polynomial of an interval is multiplied by; 0 for the interval of 0 alone."""
    return (top * unit) ** (power or 0.0) if top else 0.0


def _table(values: Floats, bits: int) -> tuple[int, ...]:
    return tuple(round(math.ldexp(float(value), bits)) for value in values)


def _log2(value: float) -> int:
    """The least n with value <= 2^n."""
    mantissa, exponent = math.frexp(value)
    return exponent - 1 if mantissa == 0.5 else exponent
