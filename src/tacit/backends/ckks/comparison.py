"""The sign of a number as a composition of odd minimax polynomials (ia.cr/2019/1234; ia.cr/2020/834, section 3).

The first polynomial is the odd minimax approximation of 1 on [margin, 1], scaled so that it stays in [-1, 1]; the
next one is that on the image of this interval, and so on: each polynomial of degree d widens the gap around 0, the
last one leaves values within ``error`` of ±1. What an encrypted evaluation adds to the argument of each polynomial
is part of the interval of the next one, so noise does not travel through the composition as long as it stays
within ``noise``.

Every bound is proven, not sampled: a polynomial of degree d that is at most M on m Chebyshev nodes of an interval is at
most M / cos(π·d / 2m) on all of it (Ehlich and Zeller 1964, Satz 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import cos, pi

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev

from tacit.backends.ckks.polynomial import depth_of, recipe
from tacit.errors import InvalidParameterError, PrecisionError

__all__ = ["BEST", "DEGREES", "Comparison", "compose", "minimax", "search", "sharpest"]

FloatArray = npt.NDArray[np.float64]

DEGREES = (3, 7, 15, 31)
"""The largest degrees of 2, 3, 4 and 5 levels: a smaller degree of the same depth is never better."""
BEST = {
    4: (15,),
    5: (3, 7),
    6: (7, 7),
    7: (7, 15),
    8: (15, 15),
    9: (7, 7, 7),
    10: (7, 7, 15),
    11: (7, 15, 15),
    12: (15, 15, 15),
    13: (15, 15, 31),
    14: (7, 7, 15, 15),
    15: (7, 15, 15, 15),
    16: (15, 15, 15, 15),
    17: (15, 15, 15, 31),
    18: (7, 7, 15, 15, 15),
}
"""Degrees for a number of levels: margins within one bit of the smallest (a test compares with ``search``) for up to a
third fewer products."""
_OVERSAMPLING = 512
"""Nodes per degree in proofs: bounds are loose by a factor of 1 + 5e-6 at most."""
_NARROWEST = {3: 0.95, 7: 0.95, 15: 0.9, 31: 0.55}
"""Intervals [low, 1] that are narrower are widened to this one, where float64 still finds the best polynomial."""
_MAX_EXCHANGES = 100


@dataclass(frozen=True, eq=False)
class Comparison:
    """sign(t) for margin <= |t| <= 1 within ``error``, as Chebyshev series on [-1, 1] to be applied in order.

    Holds with an error of up to ``entry`` in t and of up to ``noise`` in the value of every polynomial but the last.
    On all of [-1, 1] the values of every polynomial but the last stay in [-1 + noise, 1 - noise], those of the last in
    [-1 - error, 1 + error]: nothing explodes inside the margin. ``flip``: what the composition makes at most of a t of
    the wrong sign or 0, noise included: a value above it proves the sign of t.
    """

    series: tuple[tuple[float, ...], ...]
    margin: float
    error: float
    entry: float
    noise: float
    flip: float

    @property
    def degrees(self) -> tuple[int, ...]:
        return tuple(len(series) - 1 for series in self.series)

    @property
    def depth(self) -> int:
        """Levels that the composition takes."""
        return sum(depth_of(degree) for degree in self.degrees)

    @property
    def multiplications(self) -> int:
        """Products of ciphertexts."""
        return sum(recipe(series).multiplications for series in self.series)

    def __call__(self, t: npt.ArrayLike) -> FloatArray:
        """The composition in float64, for t in [-1, 1]."""
        values: FloatArray = np.asarray(t, dtype=np.float64)
        for series in self.series:
            values = np.asarray(chebyshev.chebval(values, series), dtype=np.float64)
        return values


@lru_cache(maxsize=1024)
def minimax(degree: int, low: float) -> tuple[tuple[float, ...], float, float]:
    """The odd minimax polynomial of 1 on [low, 1]: (Chebyshev series, error there, bound on |p| on [-1, 1]).

    Remez exchange (Lee et al., ia.cr/2020/834, section 2.3): odd polynomials are a Haar system on [low, 1], so the best
    one of ``terms`` coefficients equioscillates in ``terms`` + 1 points.
    """
    if degree not in DEGREES or not 0 < low < 1:
        raise InvalidParameterError(
            f"a sign takes a degree in {DEGREES} and a margin in (0, 1). Got {degree} and {low} instead."
        )
    terms = (degree + 1) // 2
    odd = np.arange(1, degree + 1, 2)
    steps = np.arange(terms + 1)
    signs = (-1.0) ** steps
    grid = _nodes(low, 1.0, 64 * degree)
    grid = np.unique(np.concatenate([[low, 1.0], grid, np.geomspace(low, 1.0, 64 * degree)]))
    basis = chebyshev.chebvander(grid, degree)[:, odd]
    points = np.unique(
        np.searchsorted(grid, (1 + low) / 2 - (1 - low) / 2 * np.cos(steps * pi / terms)).clip(
            0, len(grid) - 1
        )
    )
    solution = np.zeros(terms + 1)
    for _ in range(_MAX_EXCHANGES):
        system = np.concatenate([basis[points], signs[:, None]], axis=1)
        solution = np.linalg.solve(system, np.ones(terms + 1))
        difference = 1 - basis @ solution[:-1]
        peaks = _alternation(difference, terms + 1)
        if peaks is None or np.abs(difference).max() <= abs(solution[-1]) * (1 + 1e-6) + 1e-15:
            break
        points = peaks
    series = np.zeros(degree + 1)
    series[odd] = solution[:-1]
    slack = 1 / cos(pi / (2 * _OVERSAMPLING))
    error = np.abs(1 - chebyshev.chebval(_nodes(low, 1.0, _OVERSAMPLING * degree), series)).max()
    high = np.abs(chebyshev.chebval(_nodes(-1.0, 1.0, _OVERSAMPLING * degree), series)).max()
    return tuple(series.tolist()), float(error) * slack + 1e-14, float(high) * slack + 1e-14


def compose(degrees: tuple[int, ...], margin: float, *, entry: float = 0.0, noise: float = 0.0) -> Comparison:
    """The composition of minimax polynomials of the given degrees for a margin; see ``Comparison``.

    Raises ``PrecisionError`` where noise swallows the margin.
    """
    low = margin - entry
    flip = entry
    made: list[tuple[float, ...]] = []
    error = 1.0
    for position, degree in enumerate(degrees):
        if low <= 0:
            raise PrecisionError(
                f"noise of {max(entry, noise):.2g} swallows a comparison margin of {margin:.2g}",
                hint="allow a wider margin, or a larger max_error",
            )
        series, error, high = minimax(degree, min(low, _NARROWEST[degree]))
        if position == len(degrees) - 1:
            made.append(series)
            flip = _highest(series, flip)
            error = max(error, high - 1)
            break
        shrink = (1 - noise) / high
        made.append(tuple(c * shrink for c in series))
        low = (1 - error) * shrink - noise
        flip = min(1.0, _highest(made[-1], flip) + noise)
    return Comparison(tuple(made), margin, error, entry, noise, flip)


@lru_cache(maxsize=256)
def sharpest(depth: int, error: float, *, entry: float = 0.0, noise: float = 0.0) -> Comparison:
    """The composition of ``depth`` levels (``BEST``) with the smallest margin at which the result is within ``error``.

    Raises ``PrecisionError`` where no margin does.
    """
    best = _smallest_margin(BEST[depth], error, entry, noise)
    if best is None:
        raise PrecisionError(
            f"no comparison of {depth} levels is within {error:.2g}", hint="allow a larger max_error"
        )
    return best


def search(depth: int, error: float) -> Comparison:
    """The smallest margin of all compositions of a depth, without noise: what ``BEST`` is within one bit of."""
    made = [_smallest_margin(degrees, error, 0.0, 0.0) for degrees in _compositions(depth)]
    return min((c for c in made if c is not None), key=lambda c: c.margin)


def _smallest_margin(degrees: tuple[int, ...], error: float, entry: float, noise: float) -> Comparison | None:
    """By bisection of log2(margin), to a sixteenth of a bit."""
    low, high = -20.0, -1.0
    best: Comparison | None = None
    while high - low > 1 / 16:
        middle = (low + high) / 2
        try:
            made = compose(degrees, 2.0**middle, entry=entry, noise=noise)
        except PrecisionError:
            low = middle
            continue
        if made.error <= error:
            best, high = made, middle
        else:
            low = middle
    return best


def _compositions(depth: int) -> Iterator[tuple[int, ...]]:
    """Degrees, in ascending order, whose levels add up to ``depth``."""

    def extend(left: int, first: int) -> Iterator[tuple[int, ...]]:
        if left == 0:
            yield ()
        for degree in DEGREES:
            if degree >= first and depth_of(degree) <= left:
                for rest in extend(left - depth_of(degree), degree):
                    yield (degree, *rest)

    yield from extend(depth, DEGREES[0])


def _nodes(low: float, high: float, count: int) -> FloatArray:
    """Chebyshev nodes of an interval, ascending."""
    angles = (np.arange(count) + 0.5) * np.pi / count
    nodes: FloatArray = (low + high) / 2 - (high - low) / 2 * np.cos(angles)
    return nodes


def _highest(series: tuple[float, ...], reach: float) -> float:
    """A bound on the polynomial on [0, reach]."""
    if reach <= 0:
        return 0.0
    nodes = _nodes(0.0, reach, _OVERSAMPLING * (len(series) - 1))
    return float(np.abs(chebyshev.chebval(nodes, series)).max() / cos(pi / (2 * _OVERSAMPLING)))


def _alternation(difference: FloatArray, count: int) -> npt.NDArray[np.int64] | None:
    """Indices of ``count`` extrema of alternating sign; ``None`` when there are fewer."""
    runs = np.split(np.arange(len(difference)), np.flatnonzero(np.diff(np.sign(difference))) + 1)
    peaks = [int(run[np.argmax(np.abs(difference[run]))]) for run in runs]
    while len(peaks) > count:
        peaks.pop(0 if abs(difference[peaks[0]]) < abs(difference[peaks[-1]]) else -1)
    return np.array(peaks) if len(peaks) == count else None
