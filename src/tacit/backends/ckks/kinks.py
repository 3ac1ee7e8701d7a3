"""Functions that are straight between kinks: f(t) = α + β·t + Σ_k w_k·|t - κ_k| on [-1, 1], or t times such an f.

Clip, Abs, LeakyReLU, HardSigmoid and HardSwish are such functions. With a polynomial A near |·| on [-1, 1],
r·A((t - κ)/r) for r = 1 + |κ| is near |t - κ| there, so one polynomial for |·| serves all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev

__all__ = ["MAX_KINKS", "Kinked", "find_kinks"]

FloatArray = npt.NDArray[np.float64]

MAX_KINKS = 8
_CELLS = 4096
_STRAIGHT = 1e-9
"""Part of the size of a function by which it may deviate from straight lines, for rounding."""
_FEWEST = 4
"""Points of the grid between two kinks, at least."""


@dataclass(frozen=True, eq=False)
class Kinked:
    """α = ``offset``, β = ``slope``, κ = ``places`` ascending in (-1, 1), w = ``weights``; t·f(t) for ``times_t``.

    ``slack``: how far the function was found to deviate from this.
    """

    offset: float
    slope: float
    places: FloatArray
    weights: FloatArray
    times_t: bool
    slack: float

    def __call__(self, t: FloatArray) -> FloatArray:
        return self._sum(t, lambda u: np.abs(u))

    def series(self, absolute: FloatArray) -> FloatArray:
        """The Chebyshev series with that of a polynomial for |·| in the place of |·|."""
        count = len(absolute) + self.times_t
        nodes = np.cos((np.arange(count) + 0.5) * np.pi / count)
        values = self._sum(nodes, lambda u: np.asarray(chebyshev.chebval(u, absolute), dtype=np.float64))
        # A polynomial of a lower degree than there are nodes is its own interpolant.
        series: FloatArray = chebyshev.chebvander(nodes, count - 1).T @ values * (2.0 / count)
        series[0] /= 2.0
        series[np.abs(series) < 1e-15 * np.abs(series).max()] = 0.0
        return series

    def distance(self, series: FloatArray) -> float:
        """A bound, tight to 0.5 %, on |p - f| over [-1, 1] for a Chebyshev series.

        Between two kinks the difference is a polynomial: Ehlich and Zeller 1964, Satz 1, as in `approximate`.
        """
        degree = max(2, len(series) - 1)
        nodes = np.cos((np.arange(16 * degree) + 0.5) * np.pi / (16 * degree))
        ends = np.concatenate([[-1.0], self.places, [1.0]])
        largest = 0.0
        for low, high in pairwise(ends):
            t = (low + high) / 2 + (high - low) / 2 * nodes
            largest = max(largest, float(np.abs(chebyshev.chebval(t, series) - self(t)).max()))
        return largest / float(np.cos(np.pi / 32)) + self.slack

    def _sum(self, t: FloatArray, absolute: Callable[[FloatArray], FloatArray]) -> FloatArray:
        value = self.offset + self.slope * t
        for place, weight in zip(self.places, self.weights, strict=True):
            reach = 1.0 + abs(place)
            value = value + weight * reach * absolute((t - place) / reach)
        return value * t if self.times_t else value


def find_kinks(function: Callable[[FloatArray], FloatArray]) -> Kinked | None:
    """The form of a function, ``None`` for one that is not straight between at most ``MAX_KINKS`` kinks."""
    t = -1.0 + (2.0 * np.arange(_CELLS) + 1.0) / _CELLS
    values = np.asarray(function(t), dtype=np.float64)
    for times_t in (False, True):
        found = _straight(t, values / t if times_t else values, times_t=times_t)
        if found is None:
            continue
        between = t + 0.37 / _CELLS
        size = max(float(np.abs(values).max()), 1e-300)
        off = float(np.abs(function(between) - found(between)).max())
        if off <= _STRAIGHT * size:
            return Kinked(*_fields(found), times_t, 2 * off + 1e-15 * size)
    return None


def _fields(found: Kinked) -> tuple[float, float, FloatArray, FloatArray]:
    return found.offset, found.slope, found.places, found.weights


def _straight(t: FloatArray, values: FloatArray, *, times_t: bool) -> Kinked | None:
    """Lines through the pieces between bends of the samples, and the kinks where neighbours meet."""
    size = max(float(np.abs(values).max()), 1e-300)
    bends = np.flatnonzero(np.abs(np.diff(values, 2)) > _STRAIGHT * size) + 1
    if not 0 < len(bends) <= 2 * MAX_KINKS:
        return None
    groups = np.split(bends, np.flatnonzero(np.diff(bends) > 1) + 1)
    starts = [0, *(int(group[-1]) + 1 for group in groups)]
    stops = [*(int(group[0]) - 1 for group in groups), len(t) - 1]
    lines = []
    for start, stop in zip(starts, stops, strict=True):
        if stop - start < _FEWEST:
            return None
        slope = (values[stop] - values[start]) / (t[stop] - t[start])
        lines.append((slope, values[start] - slope * t[start]))
    places, weights = [], []
    for (before, above), (after, below), group in zip(lines[:-1], lines[1:], groups, strict=True):
        if abs(after - before) < _STRAIGHT * size:
            return None
        place = (above - below) / (after - before)
        if not t[group[0] - 1] <= place <= t[group[-1] + 1]:
            return None
        places.append(place)
        weights.append((after - before) / 2)
    offset = lines[0][1] - float(np.dot(weights, places))
    slope = (lines[0][0] + lines[-1][0]) / 2
    return Kinked(offset, slope, np.array(places), np.array(weights), times_t, 0.0)
