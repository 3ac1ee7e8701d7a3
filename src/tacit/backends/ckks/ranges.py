"""Ranges that hold for every input of the region, and what errors made on the way amount to at the outputs.

Every pre-activation is bounded twice, by the box (sums of magnitudes) and by the ball (Cauchy–Schwarz); the tighter
bound counts. Deeper layers follow by the slopes of the activations on those ranges. Functions are then approximated on
exactly these ranges, so no accepted input can leave them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2, sqrt

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.approximate import Approximation, approximate
from tacit.backends.ckks.partition import Activation, Affine, Partition
from tacit.backends.ckks.region import Region
from tacit.errors import PrecisionError

__all__ = ["Model", "ScaledAffine", "Step", "lower"]

FloatArray = npt.NDArray[np.float64]

_GRID = np.linspace(-1.0, 1.0, 2049)
ROUNDING = 2.0**-52
"""Relative error of a float64 operation, with one bit to spare."""
_WIDEN = 1.01
"""Intervals are this much wider than the bound, for the errors that earlier layers add."""


@dataclass(frozen=True, eq=False)
class ScaledAffine:
    """An affine map between values that are scaled into [-1, 1]; ``bound``: (outputs,) on |result|."""

    matrix: FloatArray
    bias: FloatArray
    bound: FloatArray


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

    @property
    def depth(self) -> int:
        """Levels, with one for every affine map."""
        return len(self.affines) + sum(step.depth for step in self.steps)

    @property
    def is_affine(self) -> bool:
        return not self.steps


@dataclass(frozen=True, eq=False)
class _Range:
    """Of one affine map's results: intervals, the value at the region's mean, and a bound on the distance from it."""

    low: FloatArray
    high: FloatArray
    at_mean: FloatArray
    distance: float


def lower(part: Partition, region: Region, tolerance: float) -> Model:
    """The normal form with approximations whose errors together stay within ``tolerance`` at every output.

    Raises ``PrecisionError`` where no polynomial is good enough.
    """
    ranges = _ranges(part, region)
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
        matrix = affine.matrix * column_scale
        bias = affine.bias + (affine.matrix @ shift if index == 0 else 0.0)
        here = ranges[index]
        if index:
            error = np.abs(affine.matrix) @ error
        if index == len(part.activations):
            bound = np.maximum(np.abs(here.low), np.abs(here.high)) + error
            unit = 2.0 ** ceil(log2(max(float(bound.max()), 1e-300)))
            affines.append(ScaledAffine(matrix / unit, bias / unit, bound / unit))
            break
        activation = part.activations[index]
        reach = np.maximum(np.abs(here.low), np.abs(here.high)) * _WIDEN + error
        reach = np.maximum(reach, max(float(reach.max()) * 1e-3, 1e-9))
        if activation.kind == "smooth":
            reach = np.full_like(reach, float(reach.max()))
        affines.append(ScaledAffine(matrix / reach[:, None], bias / reach, np.ones(len(reach))))
        step, column_scale, own = _step(activation, reach, gains[index], tolerance / max(1, inexact))
        steps.append(step)
        error = slopes[index] * error + own
    return Model(tuple(affines), tuple(steps), ranges[-1].low - error, ranges[-1].high + error, error, unit)


def _cancellation(affine: Affine, region: Region) -> FloatArray:
    """(outputs,) bound on what float64 loses where large numbers cancel, as for a feature that is almost constant.

    Composing the map (`partition`) rounds an entry by the size of the bias at most, applying it every product.
    """
    size = np.abs(region.centre) + region.radius
    loss: FloatArray = np.abs(affine.matrix) @ size + np.abs(affine.bias) * (1.0 + float(size.sum()))
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
    return Step(found), np.ones_like(reach), np.full_like(reach, found.error)


def _ranges(part: Partition, region: Region) -> list[_Range]:
    """Ranges of the results of every affine map."""
    first: Affine = part.affines[0]
    scaled = first.matrix * region.radius
    centre = first.matrix @ region.centre + first.bias
    at_mean = first.matrix @ region.mean + first.bias
    box = np.abs(scaled).sum(axis=1)
    ball = np.linalg.norm(scaled, axis=1) * region.ball
    ranges = [
        _Range(
            np.maximum(centre - box, at_mean - ball),
            np.minimum(centre + box, at_mean + ball),
            at_mean,
            _largest_stretch(scaled) * region.ball,
        )
    ]
    for activation, affine in zip(part.activations, part.affines[1:], strict=True):
        before = ranges[-1]
        slope = _slope(activation, before)
        low, high = _image(activation, before)
        if not all(np.isfinite(values).all() for values in (slope, low, high)):
            raise PrecisionError(
                f"the function of node `{activation.name}` ({activation.op}) is not finite on its calibrated interval",
                hint="calibrate on a narrower range, or bound the input of that function",
            )
        matrix = affine.matrix
        up, down = np.maximum(matrix, 0), np.minimum(matrix, 0)
        box_low = up @ low + down @ high + affine.bias
        box_high = up @ high + down @ low + affine.bias
        at_mean = matrix @ activation.function(before.at_mean) + affine.bias
        steep = matrix * slope
        ball = np.linalg.norm(steep, axis=1) * before.distance
        ranges.append(
            _Range(
                np.maximum(box_low, at_mean - ball),
                np.minimum(box_high, at_mean + ball),
                at_mean,
                _largest_stretch(steep) * before.distance,
            )
        )
    return ranges


def _largest_stretch(matrix: FloatArray) -> float:
    """Bound on the largest singular value: from the smaller Gram matrix, which costs far less than singular values."""
    largest = float(np.abs(matrix).max(initial=0.0))
    if not 0.0 < largest < np.inf:
        return largest
    scaled = matrix / largest
    gram = scaled @ scaled.T if matrix.shape[0] <= matrix.shape[1] else scaled.T @ scaled
    rounding = 4.0 * sum(matrix.shape) * np.finfo(np.float64).eps
    trace = float(np.trace(gram))
    return largest * sqrt(float(np.linalg.eigvalsh(gram)[-1]) + rounding * trace)


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
    gain = np.abs(part.affines[-1].matrix)
    gains = [gain]
    for affine, slope in zip(reversed(part.affines[1:-1]), reversed(slopes[1:]), strict=True):
        gain = (gain * slope) @ np.abs(affine.matrix)
        gains.append(gain)
    return gains[::-1]
