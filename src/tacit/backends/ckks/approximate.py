"""Functions of one variable as Chebyshev polynomials on [-1, 1], with an error bound that holds on the whole interval.

Bounds rest on a fact on sampled polynomials (Ehlich and Zeller 1964, Satz 1): a polynomial of degree D that is at
most M in magnitude on m > D Chebyshev nodes of an interval is at most M / cos(π·D / 2m) on all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev

from tacit.backends.ckks.kinks import Kinked, find_kinks
from tacit.errors import PrecisionError

__all__ = [
    "INNER",
    "MAX_DEGREE",
    "Approximation",
    "absolute",
    "absolute_within",
    "approximate",
    "at_degree",
    "fitted_absolute",
    "relu_of",
    "relu_series",
    "sup_norm",
]

FloatArray = npt.NDArray[np.float64]

MAX_DEGREE = 255
INNER = 0.996
"""Arguments stay inside, noise included: at the very ends of [-1, 1] a minimax polynomial is needlessly steep."""
_RESOLUTION = 2048
"""Degree at which a smooth function is resolved before it is shortened."""
_BINS = 2000
"""Arguments are counted in so many parts of [0, 1]."""
_EVERYWHERE = 0.05
"""Weight of the whole interval against that of the samples."""


@dataclass(frozen=True, eq=False)
class Approximation:
    """``series``: Chebyshev coefficients c_0 … c_d of p; |f(t) - p(t)| <= ``error`` on [-1, 1].

    ``slope``: a bound on |p'| on [-``INNER``, ``INNER``]; ``high``: a bound on |p| on [-1, 1].
    """

    series: FloatArray
    error: float
    slope: float
    high: float

    @property
    def degree(self) -> int:
        return len(self.series) - 1


def sup_norm(series: FloatArray, inner: float = 1.0) -> float:
    """An upper bound, tight to 2 %, on |p| over [-inner, inner] for a Chebyshev series."""
    degree = max(1, len(series) - 1)
    nodes = inner * np.cos((np.arange(8 * degree) + 0.5) * np.pi / (8 * degree))
    return float(np.abs(chebyshev.chebval(nodes, series)).max() / np.cos(np.pi / 16))


def approximate(function: Callable[[FloatArray], FloatArray], kind: str, error: float) -> Approximation:
    """The polynomial of least depth, then least degree, within ``error`` of ``function`` on [-1, 1].

    ``kind``: ``relu`` for max(t, 0), else a function that is smooth or straight between kinks. Raises
    ``PrecisionError`` where no degree up to ``MAX_DEGREE`` does it.
    """
    resolved = None if kind == "relu" else _resolve(function)
    is_smooth = isinstance(resolved, tuple)
    degree = 2
    while degree <= MAX_DEGREE:
        found = _at_degree(resolved, degree)
        if found.error <= error:
            break
        degree = degree + 1 if degree == 2 else 2 * degree + 1
    else:
        raise PrecisionError(
            f"no polynomial of degree <= {MAX_DEGREE} is within {error:.2g} of the function on its interval",
            hint="allow a larger error, or calibrate on data with a narrower range",
        )
    low, high = degree // 2, degree
    while is_smooth and high - low > 1:
        middle = (low + high) // 2
        candidate = _at_degree(resolved, middle)
        if candidate.error <= error:
            found, high = candidate, middle
        else:
            low = middle
    return found


def at_degree(function: Callable[[FloatArray], FloatArray], kind: str, degree: int) -> Approximation:
    """The approximation of one degree, with its bounds."""
    return _at_degree(None if kind == "relu" else _resolve(function), degree)


def _at_degree(resolved: tuple[FloatArray, float] | Kinked | None, degree: int) -> Approximation:
    if resolved is None:
        series, error = relu_series(degree)
    elif isinstance(resolved, Kinked):
        even = max(2, (degree - resolved.times_t) // 2 * 2)
        series = resolved.series(absolute(even).series)
        error = resolved.distance(series)
    else:
        full, tail = resolved
        series = full[: degree + 1].copy()
        series[np.abs(series) < 1e-16 * np.abs(series).max(initial=1e-300)] = 0.0
        difference = full.copy()
        difference[: len(series)] -= series
        error = sup_norm(difference) + tail if difference.any() else tail
    slope = sup_norm(np.atleast_1d(chebyshev.chebder(series)), INNER) if len(series) > 1 else 0.0
    return Approximation(series, error, slope, sup_norm(series))


@lru_cache(maxsize=32)
def absolute(degree: int) -> Approximation:
    """|t| by its minimax polynomial of even ``degree`` >= 2."""
    series, error = _absolute_minimax(degree)
    return _with_bounds(series, error)


def absolute_within(error: float) -> Approximation:
    """|t| within ``error`` on [-1, 1], of least depth. Raises ``PrecisionError`` as ``approximate`` does."""
    degree = 2
    while degree <= MAX_DEGREE:
        found = absolute(degree)
        if found.error <= error:
            return found
        degree = 2 * degree + 2
    raise PrecisionError(
        f"no polynomial of degree <= {MAX_DEGREE} is within {error:.2g} of a maximum on its interval",
        hint="allow a larger error, or calibrate on data with a narrower range",
    )


def fitted_absolute(degree: int, arguments: FloatArray, wanted: FloatArray) -> Approximation:
    """An even polynomial near |t| on [-1, 1], by least squares where ``arguments`` lie; its error bound is as proven.

    ``slope`` is that at the arguments, not that of the whole interval.
    ``arguments``, ``wanted``: of one length; what the polynomial should make of samples of its argument. A part
    ``_EVERYWHERE`` of the weight goes to |t| on the whole interval, so that no argument is forgotten.
    """
    sizes = np.minimum((np.abs(arguments) * _BINS).astype(np.int64), _BINS - 1)
    counts = np.bincount(sizes, minlength=_BINS).astype(np.float64)
    middles = (np.arange(_BINS) + 0.5) / _BINS
    means = np.where(counts > 0, np.bincount(sizes, wanted, _BINS) / np.maximum(counts, 1), middles)
    weights = np.sqrt(counts / max(counts.sum(), 1.0))
    # With the density of Chebyshev nodes the polynomial stays near |t| at the ends, too.
    everywhere = np.sqrt(_EVERYWHERE * 2 / (np.pi * _BINS * np.sqrt(1 - middles**2)))
    basis = chebyshev.chebvander(middles, degree)[:, ::2]
    system = np.concatenate([basis * weights[:, None], basis * everywhere[:, None]])
    series = np.zeros(degree + 1)
    series[::2] = np.linalg.lstsq(system, np.concatenate([means * weights, middles * everywhere]))[0]
    found = _with_bounds(series, _distance_from_absolute(series))
    return replace(found, slope=_slope_met(series, arguments))


def relu_of(found: Approximation) -> Approximation:
    """max(t, 0) = (t + |t|)/2 from an approximation of |t|."""
    series = found.series / 2
    series[1] += 0.5
    return Approximation(series, found.error / 2, (1 + found.slope) / 2, sup_norm(series))


def _slope_met(series: FloatArray, arguments: FloatArray) -> float:
    """The largest |p'| at samples of the argument, with 5 % to spare."""
    return 1.05 * float(np.abs(chebyshev.chebval(arguments, chebyshev.chebder(series))).max(initial=0.0))


def _with_bounds(series: FloatArray, error: float) -> Approximation:
    slope = sup_norm(np.atleast_1d(chebyshev.chebder(series)), INNER)
    return Approximation(series, error, slope, sup_norm(series))


def _distance_from_absolute(series: FloatArray) -> float:
    """A bound, tight to 0.5 %, on |p(t) - |t|| over [-1, 1] for an even Chebyshev series of degree >= 2."""
    degree = len(series) - 1
    nodes = np.cos((np.arange(16 * degree) + 0.5) * np.pi / (16 * degree))
    halves = (nodes + 1) / 2
    return float(np.abs(chebyshev.chebval(halves, series) - halves).max() / np.cos(np.pi / 32))


def _resolve(function: Callable[[FloatArray], FloatArray]) -> tuple[FloatArray, float] | Kinked:
    """The Chebyshev series to machine precision (trailing coefficients below it cut off), and a bound on the rest.

    The kinks of a function that is straight between them.
    """
    nodes = np.cos((np.arange(_RESOLUTION) + 0.5) * np.pi / _RESOLUTION)
    values = function(nodes)
    if not np.isfinite(values).all():
        raise PrecisionError(
            "the function is not finite on the whole calibrated interval",
            hint="the function of this node has a pole or leaves its domain; bound its input first",
        )
    series = np.asarray(_cosine_transform(values))
    size = max(1.0, float(np.abs(values).max()))
    last = np.abs(series[-_RESOLUTION // 8 :]).max()
    if last > 1e-9 * size:
        kinked = find_kinks(function)
        if kinked is not None:
            return kinked
        raise PrecisionError(
            "the function is not smooth enough on the calibrated interval to be approximated",
            hint="smooth functions and such that are straight between kinks are approximated",
        )
    kept = int(np.max(np.nonzero(np.abs(series) > 1e-17 * size)[0], initial=1)) + 1
    noise = 1e-15 * size * np.sqrt(_RESOLUTION) + float(last) * _RESOLUTION
    return series[: min(kept, _RESOLUTION // 2)], noise


def _cosine_transform(values: FloatArray) -> FloatArray:
    """Chebyshev coefficients of the interpolant through values at the nodes cos((j + ½)π/n), by an FFT of length 2n."""
    n = len(values)
    spectrum = np.fft.fft(np.concatenate([values, values[::-1]]))[:n]
    series = np.real(spectrum * np.exp(-0.5j * np.pi * np.arange(n) / n)) / n
    series[0] /= 2
    result: FloatArray = series
    return result


@lru_cache(maxsize=64)
def _relu_coefficients(degree: int) -> tuple[tuple[float, ...], float]:
    even = degree - degree % 2
    absolute, error = _absolute_minimax(even)
    series = absolute / 2
    series[1] += 0.5
    return tuple(series.tolist()), error / 2


def relu_series(degree: int) -> tuple[FloatArray, float]:
    """max(t, 0) = (t + |t|)/2 with |t| by its minimax polynomial; (series, error bound)."""
    coefficients, error = _relu_coefficients(max(2, degree))
    return np.array(coefficients), error


def _absolute_minimax(degree: int) -> tuple[FloatArray, float]:
    """The minimax polynomial of |t| of even degree, by Remez exchange on u = t²: √u on [0, 1].

    Returns the series in t and an error bound.

    √u - Σ c_j T_j(2u - 1) equioscillates in degree/2 + 2 points; T_2j(t) = T_j(2t² - 1) gives the series in t.
    """
    terms = degree // 2 + 1
    nodes = np.arange(terms + 1)
    t = np.sort(np.abs(np.cos(nodes * np.pi / (2 * terms + 1e-9))))
    t[0] = 0.0
    signs = (-1.0) ** nodes
    grid = np.concatenate(
        [[0.0], np.geomspace(1e-9, 1, 200 * terms), np.sin(np.linspace(0, np.pi / 2, 400 * terms))]
    )
    grid = np.unique(grid)
    coefficients = np.zeros(terms)
    for _ in range(60):
        system = np.concatenate([chebyshev.chebvander(2 * t * t - 1, terms - 1), signs[:, None]], axis=1)
        solution = np.linalg.solve(system, t)
        coefficients, level = solution[:-1], abs(solution[-1])
        error = grid - chebyshev.chebval(2 * grid * grid - 1, coefficients)
        extrema = _alternating_extrema(error, terms + 1)
        if extrema is None:
            break
        t = grid[extrema]
        if np.abs(error).max() <= level * (1 + 1e-3):
            break
    series = np.zeros(degree + 1)
    series[0::2] = coefficients
    return series, _distance_from_absolute(series)


def _alternating_extrema(error: FloatArray, count: int) -> npt.NDArray[np.int64] | None:
    """Indices of ``count`` extrema of alternating sign, one per run of equal sign; ``None`` when there are fewer."""
    runs = np.flatnonzero(np.diff(np.sign(error))) + 1
    pieces = np.split(np.arange(len(error)), runs)
    peaks = [int(piece[np.argmax(np.abs(error[piece]))]) for piece in pieces]
    while len(peaks) > count:
        if abs(error[peaks[0]]) < abs(error[peaks[-1]]):
            peaks.pop(0)
        else:
            peaks.pop()
    return np.array(peaks) if len(peaks) == count else None
