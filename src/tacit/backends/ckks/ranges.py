"""Ranges that hold for every input of the region, and what errors made on the way amount to at the outputs.

Every pre-activation is bounded twice, by the box (sums of magnitudes) and by the ball (Cauchy–Schwarz); the tighter
bound counts. Deeper layers follow by the slopes of the activations on those ranges. Functions are then approximated on
exactly these ranges, so no accepted input can leave them.

Deep networks of squares have no useful bound of this kind: it grows doubly exponentially. For them, and only where no
function is approximated, ranges may be `Observed` on samples, with a margin; a promise then holds for samples whose
hidden values stay within it, and a plan says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, log2

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.approximate import Approximation, approximate
from tacit.backends.ckks.matrix import Matrix, absolute, row_norms, scaled, spectral_bound, with_entries
from tacit.backends.ckks.partition import Activation, Affine, Partition
from tacit.backends.ckks.region import Region
from tacit.errors import NoAdmissiblePlanError, PrecisionError

__all__ = ["Model", "Observed", "ScaledAffine", "Step", "lower"]

FloatArray = npt.NDArray[np.float64]

_GRID = np.linspace(-1.0, 1.0, 2049)
ROUNDING = 2.0**-52
"""Relative error of a float64 operation, with one bit to spare."""
_WIDEN = 1.01
"""Intervals are this much wider than the bound, for the errors that earlier layers add."""
OBSERVED_MARGIN = 2.0
"""Observed ranges are this much wider than what the samples reach."""
_HUGE = 1e100
"""Values and slopes from here on count as not finite: their squares would overflow."""
_FLOOR = 0.25
"""No element's observed range is narrower than this part of the widest of its layer."""


@dataclass(frozen=True, eq=False)
class ScaledAffine:
    """An affine map between values that are scaled into [-1, 1]; ``bound``: (outputs,) on |result|.

    ``shape``: of the result, unflattened.
    """

    matrix: Matrix
    bias: FloatArray
    bound: FloatArray
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Step:
    """A function on [-1, 1]: the exact square where ``approximation`` is ``None``."""

    approximation: Approximation | None

    @property
    def depth(self) -> int:
        from tacit.backends.ckks.polynomial import depth_of

        return 1 if self.approximation is None else depth_of(self.approximation.degree)


@dataclass(frozen=True, eq=False)
class Model:
    """The encrypted part in normal form: inputs in units of the region's box, every activation on [-1, 1].

    Results come in multiples of ``unit``, a power of two, so that they too are in [-1, 1].
    ``low``, ``high``: (outputs,) sound range of the results times ``unit``.
    ``error``: (outputs,) what approximations add at most.
    """

    affines: tuple[ScaledAffine, ...]
    steps: tuple[Step, ...]
    low: FloatArray
    high: FloatArray
    error: FloatArray
    unit: float
    input_shape: tuple[int, ...]

    @property
    def depth(self) -> int:
        """Levels, with one for every affine map."""
        return len(self.affines) + sum(step.depth for step in self.steps)

    @property
    def is_affine(self) -> bool:
        return not self.steps


@dataclass(frozen=True, eq=False)
class Observed:
    """``samples``: (samples, features) whose hidden values, with a margin, are taken as ranges."""

    samples: FloatArray


@dataclass(frozen=True, eq=False)
class _Range:
    """Of one affine map's results: intervals, the value at the region's mean, and a bound on the distance from it."""

    low: FloatArray
    high: FloatArray
    at_mean: FloatArray
    distance: float


def lower(part: Partition, region: Region, tolerance: float, observed: Observed | None = None) -> Model:
    """The normal form with approximations whose errors together stay within ``tolerance`` at every output.

    ``observed``: narrows the ranges to what samples show, for models of squares only.
    Raises ``PrecisionError`` where no polynomial is good enough.
    """
    ranges = _ranges(part, region)
    if observed is not None:
        ranges = _narrowed(part, ranges, observed)
    slopes = [_slope(activation, r) for activation, r in zip(part.activations, ranges[:-1], strict=True)]
    gains = _gains(part, slopes)
    inexact = sum(activation.kind != "square" for activation in part.activations)
    affines: list[ScaledAffine] = []
    steps: list[Step] = []
    column_scale = region.radius
    shift = region.centre
    error = _cancellation(part.affines[0], region)
    unit = 1.0
    for index, affine in enumerate(part.affines):
        matrix = scaled(affine.matrix, columns=column_scale)
        bias: FloatArray = affine.bias + (affine.matrix @ shift if index == 0 else 0.0)
        here = ranges[index]
        if index:
            error = np.asarray(absolute(affine.matrix) @ error)
        if index == len(part.activations):
            bound = np.maximum(np.abs(here.low), np.abs(here.high)) + error
            unit = 2.0 ** ceil(log2(max(float(bound.max()), 1e-300)))
            matrix = scaled(matrix, rows=np.full(len(bound), 1 / unit))
            affines.append(ScaledAffine(matrix, bias / unit, bound / unit, affine.shape))
            break
        activation = part.activations[index]
        reach = np.maximum(np.abs(here.low), np.abs(here.high)) * _WIDEN + error
        reach = np.maximum(reach, max(float(reach.max()) * 1e-3, 1e-9))
        if activation.kind == "smooth":
            reach = np.full_like(reach, float(reach.max()))
        matrix = scaled(matrix, rows=1 / reach)
        affines.append(ScaledAffine(matrix, bias / reach, np.ones(len(reach)), affine.shape))
        step, column_scale, own = _step(activation, reach, gains[index], tolerance / max(1, inexact))
        steps.append(step)
        error = slopes[index] * error + own
    low, high = ranges[-1].low - error, ranges[-1].high + error
    return Model(tuple(affines), tuple(steps), low, high, error, unit, part.input_shape)


def _cancellation(affine: Affine, region: Region) -> FloatArray:
    """(outputs,) bound on what float64 loses where large numbers cancel, as for a feature that is almost constant.

    Composing the map (`partition`) rounds an entry by the size of the bias at most, applying it every product.
    """
    size = np.abs(region.centre) + region.radius
    loss: FloatArray = absolute(affine.matrix) @ size + np.abs(affine.bias) * (1.0 + float(size.sum()))
    return loss * ROUNDING


def _step(
    activation: Activation, reach: FloatArray, gain: FloatArray, tolerance: float
) -> tuple[Step, FloatArray, FloatArray]:
    """The step, the scale of each of its results, and the error of each (in the units of the model)."""
    if activation.kind == "square":
        return Step(None), reach**2, np.zeros_like(reach)
    if activation.kind == "relu":
        worst = float((gain @ reach).max(initial=0.0))
        found = approximate(activation.function, "relu", tolerance / max(worst, 1e-300))
        return Step(found), reach, found.error * reach
    width = float(reach[0])
    worst = float(gain.sum(axis=1).max(initial=0.0))
    found = approximate(lambda t: activation.function(width * t), "smooth", tolerance / max(worst, 1e-300))
    if not found.series[1:].any():
        raise NoAdmissiblePlanError(
            f"the function of node `{activation.name}` ({activation.op}) is the same for every input: there is nothing "
            "to protect",
            hint="check that the model was fitted",
        )
    return Step(found), np.ones_like(reach), np.full_like(reach, found.error)


@lru_cache(maxsize=8)
@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def _ranges(part: Partition, region: Region) -> tuple[_Range, ...]:
    """Ranges of the results of every affine map."""
    first: Affine = part.affines[0]
    units = scaled(first.matrix, columns=region.radius)
    centre = first.matrix @ region.centre + first.bias
    at_mean = first.matrix @ region.mean + first.bias
    box = absolute(units) @ np.ones(units.shape[1])
    ball = row_norms(units) * region.ball
    ranges = [
        _Range(
            np.maximum(centre - box, at_mean - ball),
            np.minimum(centre + box, at_mean + ball),
            at_mean,
            spectral_bound(units) * region.ball,
        )
    ]
    for activation, affine in zip(part.activations, part.affines[1:], strict=True):
        before = ranges[-1]
        slope = _slope(activation, before)
        low, high = _image(activation, before)
        if not all((np.abs(values) < _HUGE).all() for values in (slope, low, high)):
            raise PrecisionError(
                f"the function of node `{activation.name}` ({activation.op}) is not finite on its calibrated interval",
                hint="calibrate on a narrower range, or bound the input of that function",
            )
        matrix = affine.matrix
        up = with_entries(matrix, np.maximum(matrix.data, 0))
        down = with_entries(matrix, np.minimum(matrix.data, 0))
        box_low = up @ low + down @ high + affine.bias
        box_high = up @ high + down @ low + affine.bias
        at_mean = matrix @ activation.function(before.at_mean) + affine.bias
        steep = scaled(matrix, columns=slope)
        ball = row_norms(steep) * before.distance
        ranges.append(
            _Range(
                np.maximum(box_low, at_mean - ball),
                np.minimum(box_high, at_mean + ball),
                at_mean,
                spectral_bound(steep) * before.distance,
            )
        )
    return tuple(ranges)


def _narrowed(part: Partition, ranges: tuple[_Range, ...], observed: Observed) -> tuple[_Range, ...]:
    """The part of each range that samples reach, times the margin; a floor helps elements that hardly move in them."""
    narrowed = []
    values: npt.NDArray[np.float64] = observed.samples.T
    for index, affine in enumerate(part.affines):
        z = affine.matrix @ values + affine.bias[:, None]
        largest: FloatArray = np.abs(z).max(axis=1)
        reach = OBSERVED_MARGIN * np.maximum(largest, _FLOOR * largest.max())
        sound = ranges[index]
        low, high = np.maximum(sound.low, -reach), np.minimum(sound.high, reach)
        narrowed.append(_Range(low, high, sound.at_mean, sound.distance))
        if index < len(part.activations):
            values = part.activations[index].function(z)
    return tuple(narrowed)


def _image(activation: Activation, r: _Range) -> tuple[FloatArray, FloatArray]:
    """(outputs,) bounds on the function over each interval: sampled, then widened by slope times half the spacing."""
    values = activation.function(_points(r))
    slack = _slope(activation, r) * (r.high - r.low) / (len(_GRID) - 1) / 2
    return values.min(axis=0) - slack, values.max(axis=0) + slack


def _slope(activation: Activation, r: _Range) -> FloatArray:
    """(outputs,) bound on |f'| over each interval."""
    if activation.kind == "relu":
        return np.ones_like(r.low)
    if activation.kind == "square":
        return 2.0 * np.maximum(np.abs(r.low), np.abs(r.high)) * _WIDEN
    points = _points(r)
    spacing = np.maximum((r.high - r.low) / (len(_GRID) - 1), 1e-300)
    steepness = np.abs(np.diff(activation.function(points), axis=0)) / spacing
    slope: FloatArray = steepness.max(axis=0) * 1.05
    return slope


def _points(r: _Range) -> FloatArray:
    """(2049, outputs) points that run through each interval, a little beyond its ends."""
    middle, half = (r.low + r.high) / 2, (r.high - r.low) / 2 * _WIDEN
    return middle + _GRID[:, None] * half


def _gains(part: Partition, slopes: list[FloatArray]) -> list[FloatArray]:
    """For each activation, (outputs, elements): what an error of 1 in an element's result amounts to at each output."""
    gain = absolute(part.affines[-1].matrix).toarray()
    gains = [gain]
    for affine, slope in zip(reversed(part.affines[1:-1]), reversed(slopes[1:]), strict=True):
        gain = (gain * slope) @ absolute(affine.matrix)
        gains.append(gain)
    return gains[::-1]
