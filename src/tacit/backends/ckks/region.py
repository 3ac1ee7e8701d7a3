"""The inputs for which a plan promises its bound: a box and a ball, taken from calibration data with a margin.

Both are public: whoever encrypts checks them before anything is sent, so that no value ever leaves an interval that the
plan relies on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.codes import Codes, make_codes
from tacit.errors import DataError, DataRangeError

__all__ = ["Region", "calibrate", "calibrate_codes"]

FloatArray = npt.NDArray[np.float64]

BOX_MARGIN = 0.5
"""Part of a feature's calibrated range that the box adds on either side."""
BALL_MARGIN = {"exact": 2.0, "approximate": 1.25}
"""The ball's radius over the largest calibrated norm: wide where width costs no precision."""
COMMENSURATE = 4.0
"""Features (pixels, standardised columns) share one box if it is at most this many times wider than the median."""


@dataclass(frozen=True, eq=False)
class Region:
    """All x with |x_j - centre_j| <= radius_j for every feature j, and ‖(x - mean) / radius‖₂ <= ball.

    Arrays are (features,) float64; every radius is positive. ``codes``: of the features, for models that only compare
    them; else ``None``.
    """

    centre: FloatArray
    radius: FloatArray
    mean: FloatArray
    ball: float
    codes: Codes | None = None

    @property
    def features(self) -> int:
        return int(self.centre.size)

    @property
    def columns(self) -> int:
        """Numbers that are encrypted for a sample."""
        return self.features if self.codes is None else self.codes.columns

    def normalise(self, x: FloatArray) -> FloatArray | npt.NDArray[np.complex128]:
        """(samples, features) → (samples, columns): what is encrypted of samples of the region.

        In units of the box, every entry is in [-1, 1]; with codes, digits of the features.
        """
        if self.codes is not None:
            return self.codes.columns_of(np.atleast_2d(x))
        units: FloatArray = (x - self.centre) / self.radius
        return units

    def check(self, x: FloatArray) -> None:
        """Raises ``DataRangeError`` naming a sample and feature outside. ``x``: (samples, features) finite."""
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
        if self.codes is not None:
            self.codes.check(x)


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


def calibrate_codes(
    data: FloatArray, *, bits: int, group: int = 2, paired: bool = False, digits: int | None = None
) -> Region:
    """The box around calibration data (samples, features) with codes, for models that only compare inputs.

    ``bits``, ``group``, ``paired``, ``digits``: as `make_codes` takes them.
    """
    box = calibrate(data, exact=False)
    low, high = box.centre - box.radius, box.centre + box.radius
    whole_box = float(np.linalg.norm(1 + np.abs(box.centre - box.mean) / box.radius))
    codes = make_codes(data, low, high, bits=bits, group=group, paired=paired, digits=digits)
    return Region(box.centre, box.radius, box.mean, max(whole_box, 1e-6), codes)
