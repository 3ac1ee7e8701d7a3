"""Intervals of what is held, for every input of a declared region, and by how much it may differ from the truth.

Intervals are those of the numbers that parties hold, with all errors made on the way; so no error of an earlier step
can leave them. They are kept per element of one sample. From them follow the bits of comparisons and truncations.

Beside boxes two facts are kept where they help: what layer normalisation gives lies in a ball (the next matrix is
bounded by Cauchy-Schwarz), and rows of a softmax are weights of a mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, log2

import numpy as np
import numpy.typing as npt

from tacit.errors import DataError, ShapeError

__all__ = [
    "MARGIN",
    "Ball",
    "Box",
    "ConstantProduct",
    "Range",
    "bits_of",
    "mapped",
    "secret_product",
    "widened",
]

FloatArray = npt.NDArray[np.float64]
Bilinear = Callable[[FloatArray, FloatArray], FloatArray]

MARGIN = 0.1
"""A region reaches beyond its calibration data by this part of their width, on both sides."""
_ROUNDING = 2.0**-40
"""Relative widening for what float64 loses in these computations."""
_MOST_ERROR = 1e30


@dataclass(frozen=True, eq=False)
class Box:
    """The region of inputs: ``low`` and ``high`` broadcast to (samples, …)."""

    low: FloatArray
    high: FloatArray

    @classmethod
    def of(cls, samples: FloatArray, *, margin: float = MARGIN) -> Box:
        """Of calibration data (samples, …): per feature of a table, per channel of images, one interval otherwise."""
        if samples.ndim < 2 or not samples.size or not np.isfinite(samples).all():
            raise DataError("calibration data must be numbers with one row for every sample")
        axes = (0,) if samples.ndim == 2 else (0, 2, 3) if samples.ndim == 4 else tuple(range(samples.ndim))
        low, high = samples.min(axis=axes, keepdims=True), samples.max(axis=axes, keepdims=True)
        room = margin * (high - low + 1e-5)
        return cls(low - room, high + room)

    def contains(self, samples: FloatArray) -> bool:
        return bool(((samples >= self.low) & (samples <= self.high)).all())


@dataclass(frozen=True, eq=False)
class Ball:
    """x = centre + scale · u along the last axis, with |u|₂ <= radius, up to ``slack`` for every element."""

    radius: float
    scale: FloatArray
    centre: FloatArray
    slack: float = 0.0


@dataclass(frozen=True, eq=False)
class Range:
    """``low``, ``high``, ``error``: of the elements of one sample, (1, …).

    ``stochastic``: along the last axis they are the weights of a mean, each up to this error.
    """

    low: FloatArray
    high: FloatArray
    error: FloatArray
    ball: Ball | None = None
    stochastic: float | None = None

    def __post_init__(self) -> None:
        if self.low.shape != self.high.shape:
            raise ShapeError("an interval has two ends of one shape")
        object.__setattr__(
            self, "error", np.minimum(np.broadcast_to(self.error, self.low.shape), _MOST_ERROR)
        )

    @property
    def magnitude(self) -> FloatArray:
        return np.maximum(np.abs(self.low), np.abs(self.high))

    @property
    def most(self) -> float:
        return float(self.magnitude.max(initial=0.0))

    @property
    def lowest(self) -> float:
        return float(self.low.min(initial=np.inf)) if self.low.size else 0.0

    @property
    def highest(self) -> float:
        return float(self.high.max(initial=-np.inf)) if self.high.size else 0.0

    def structured(self, change: Callable[[FloatArray], FloatArray]) -> Range:
        """Elements moved, parted, repeated; the same for the ends and for the error."""
        return Range(change(self.low), change(self.high), change(self.error))

    def times(self, factor: float) -> Range:
        ends = self.low * factor, self.high * factor
        return Range(np.minimum(*ends), np.maximum(*ends), self.error * abs(factor))

    def clipped(self, low: float, high: float) -> Range:
        return replace(self, low=np.clip(self.low, low, high), high=np.clip(self.high, low, high))


def bits_of(most: float, frac_bits: int) -> int:
    """Width of a comparison of numbers of at most ``most`` in magnitude with this many fractional bits."""
    return max(1, ceil(log2(most * 2.0**frac_bits + 2.0) + 1e-9)) + 1


def widened(r: Range, by: float | FloatArray) -> Range:
    """What is held is off by ``by`` more."""
    return Range(r.low - by, r.high + by, r.error + by)


def mapped(r: Range, image: Callable[[FloatArray], FloatArray], slope: float) -> Range:
    """By a function that does not fall and is nowhere steeper than ``slope``."""
    low, high = image(r.low), image(r.high)
    return Range(low, high, np.minimum(slope * r.error, high - low))


@dataclass(frozen=True, eq=False)
class ConstantProduct:
    """``product(x, weights)``, bilinear, whose weights are yet to be rounded.

    ``last_axis``: it is a matrix product with the last axis of x, so that a ball can be used.
    """

    x: Range
    weights: FloatArray
    product: Bilinear
    last_axis: bool = False

    @cached_property
    def most(self) -> float:
        """Of its magnitude, with weights as they are."""
        low, high, _ = self._ends(0.0)
        return _rounded(low, high, np.zeros(())).most

    def rounded(self, rounding: float) -> Range:
        """With weights that were each rounded by at most ``rounding``."""
        low, high, lost = self._ends(rounding)
        return _rounded(low, high, self.product(self.x.error, np.abs(self.weights) + rounding) + lost)

    @cached_property
    def _middle(self) -> FloatArray:
        return self.product((self.x.low + self.x.high) / 2, self.weights)

    def _ends(self, rounding: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The interval, and by how much rounding moves the product."""
        x, weights, product, middle = self.x, self.weights, self.product, self._middle
        size = np.abs(weights) + rounding
        lost = product(x.magnitude, np.full_like(weights, rounding)) if rounding else np.zeros_like(middle)
        away = product((x.high - x.low) / 2, size) + lost
        low, high = middle - away, middle + away
        if self.last_axis and x.ball is not None:
            centre = product(np.broadcast_to(x.ball.centre, x.low.shape), weights)
            steep = x.ball.scale[..., None] * weights
            slack = product(np.full_like(x.low, x.ball.slack), size)
            reach = x.ball.radius * np.linalg.norm(steep, axis=-2) + lost + slack
            low, high = np.maximum(low, centre - reach), np.minimum(high, centre + reach)
        return low, high, lost


def secret_product(x: Range, y: Range, product: Bilinear) -> Range:
    """``product(x, y)``, bilinear, of two values that are both unknown."""
    xc, xr = (x.low + x.high) / 2, (x.high - x.low) / 2
    yc, yr = (y.low + y.high) / 2, (y.high - y.low) / 2
    middle = product(xc, yc)
    away = product(np.abs(xc), yr) + product(xr, np.abs(yc) + yr)
    error = product(x.magnitude, y.error) + product(x.error, y.magnitude + y.error)
    return _rounded(middle - away, middle + away, error)


def _rounded(low: FloatArray, high: FloatArray, error: FloatArray) -> Range:
    room = _ROUNDING * np.maximum(np.abs(low), np.abs(high))
    return Range(low - room, high + room, error)
