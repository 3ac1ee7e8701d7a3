"""The inputs for which a plan promises its bound: a box and a ball, taken from calibration data with a margin.

Both are public: whoever encrypts checks them before anything is sent, so that no value ever leaves an interval that the
plan relies on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.errors import DataError, DataRangeError

__all__ = ["Region", "calibrate", "calibrate_ranks"]

FloatArray = npt.NDArray[np.float64]

BOX_MARGIN = 0.5
"""Part of a feature's calibrated range that the box adds on either side."""
BALL_MARGIN = {"exact": 2.0, "approximate": 1.25}
"""The ball's radius over the largest calibrated norm: wide where width costs no precision."""
COMMENSURATE = 4.0
"""Features (pixels, standardised columns) share one box if it is at most this many times wider than the median."""

KNOTS = 33
"""Knots of the map from a feature to its units, where there is one."""
LINEAR_SHARE = 0.25
"""Part of that map that follows the values themselves, so that it is never steeper than ranks make it, nor flat."""


@dataclass(frozen=True, eq=False)
class Region:
    """All x with |x_j - centre_j| <= radius_j for every feature j, and ‖(x - mean) / radius‖₂ <= ball.

    Arrays are (features,) float64; every radius is positive. ``knots``: (features, knots) ascending, from one end
    of the box to the other, where inputs are warped for models that only compare them (`calibrate_ranks`); else
    ``None``.
    """

    centre: FloatArray
    radius: FloatArray
    mean: FloatArray
    ball: float
    knots: FloatArray | None = None

    @property
    def features(self) -> int:
        return int(self.centre.size)

    def normalise(self, x: FloatArray) -> FloatArray:
        """(samples, features) → the same, in units of the box: every entry of a sample of the region is in [-1, 1].

        With knots by the piecewise linear, increasing map that takes them to equally spaced points.
        """
        if self.knots is None:
            units: FloatArray = (x - self.centre) / self.radius
            return units
        x = np.atleast_2d(x)
        return np.stack([self.warp(x[:, j], j) for j in range(self.features)], axis=1)

    def warp(self, values: FloatArray, feature: int) -> FloatArray:
        """Values of one feature in units of the box, by the knots; what lies outside goes to ±1."""
        if self.knots is None:
            inside: FloatArray = np.clip((values - self.centre[feature]) / self.radius[feature], -1.0, 1.0)
            return inside
        points = np.linspace(-1.0, 1.0, self.knots.shape[1])
        warped: FloatArray = np.interp(values, self.knots[feature], points)
        return warped

    def check(self, x: FloatArray) -> None:
        """Raises ``DataRangeError`` naming the first sample and feature outside. ``x``: (samples, features) finite."""
        outside = np.abs(x - self.centre) > self.radius * (1 + 1e-12)
        if outside.any():
            sample, feature = (int(i) for i in np.argwhere(outside)[0])
            raise DataRangeError(
                f"feature {feature} of sample {sample} (counted from 0) is outside the calibrated range",
                hint="recalibrate the plan with samples like this one, or leave the sample out",
            )
        deviations = np.abs(x - self.mean) / self.radius
        norms = np.sqrt(np.einsum("ij,ij->i", deviations, deviations))
        if (norms > self.ball * (1 + 1e-12)).any():
            sample = int(np.argmax(norms > self.ball))
            feature = int(np.argmax(deviations[sample]))
            raise DataRangeError(
                f"sample {sample} is outside the calibrated region; feature {feature} deviates most (counted from 0)",
                hint="recalibrate the plan with samples like this one, or leave the sample out",
            )


def calibrate(data: FloatArray, *, exact: bool) -> Region:
    """The region around calibration data (samples, features). ``exact``: no function of the model is approximated."""
    if not np.isfinite(data).all():
        raise DataError("calibration data hold NaN or infinity", hint="fill in or drop missing values")
    low, high = data.min(axis=0), data.max(axis=0)
    ranges = high - low
    moving = ranges[ranges > 0]
    if moving.size and high.max() - low.min() <= COMMENSURATE * np.median(moving):
        low, high = np.full_like(low, low.min()), np.full_like(high, high.max())
        ranges = high - low
    magnitude = np.maximum(np.abs(low), np.abs(high))
    ranges = np.where(ranges > 0, ranges, np.where(magnitude > 0, magnitude, 1.0))
    centre = (low + high) / 2
    radius = (high - low) / 2 + BOX_MARGIN * ranges
    mean = data.mean(axis=0)
    norms = np.linalg.norm((data - mean) / radius, axis=1)
    farthest = float(norms.max()) * BALL_MARGIN["exact" if exact else "approximate"]
    whole_box = float(np.linalg.norm(1 + np.abs(centre - mean) / radius))
    ball = min(whole_box, farthest) if len(data) > 1 else whole_box
    return Region(centre, radius, mean, max(ball, 1e-6))


def calibrate_ranks(data: FloatArray) -> Region:
    """The box around calibration data (samples, features) with knots, for models that only compare inputs.

    An increasing map of a feature changes no comparison with a threshold that is mapped with it. This one follows the
    ranks of the distinct calibration values, so that values lie as far from each other, in units of the box, as they
    can: a comparison margin of m units is missed by about m·rows values however a feature is distributed.
    """
    box = calibrate(data, exact=False)
    low, high = box.centre - box.radius, box.centre + box.radius
    knots = np.empty((box.features, KNOTS))
    for j in range(box.features):
        distinct = np.unique(data[:, j])
        points = np.concatenate([[low[j]], distinct, [high[j]]])
        ranks = np.linspace(0.0, 1.0, len(points))
        values = (points - low[j]) / (high[j] - low[j])
        position = (1 - LINEAR_SHARE) * ranks + LINEAR_SHARE * values
        knots[j] = np.interp(np.linspace(0.0, 1.0, KNOTS), position, points)
        knots[j, 0], knots[j, -1] = low[j], high[j]
    whole_box = float(np.linalg.norm(1 + np.abs(box.centre - box.mean) / box.radius))
    return Region(box.centre, box.radius, box.mean, max(whole_box, 1e-6), knots)
