"""Codes of features: a public, never decreasing map from a feature's values to integers, and their digits.

A model that only compares a feature with thresholds gives the same answer on integers in the same order. The owner
knows its values in the clear, so it can afford what the provider could not: it cuts the integers into digits of one
or two bits. It encrypts a digit as *indicators*, whether it is 1, 2, 3, or *paired* as high + j·low (j² = -1). To the
provider, who knows the threshold's digits, "greater" and "equal" of one digit are sums of these (and of high·low);
whole integers compare from digit to digit (`ordering.py`), without any approximation of a sign.

Two kinds of code. A *grid* is for values that are decimal numbers, such as counts, money, or measurements
as people write them down: every value has an integer of its own, so a comparison is decided whatever the threshold is.
*Ranks* are for anything else: 2^bits cells that follow the distribution of the calibration values; only a value in the
cell of the threshold is undecided.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.errors import DataRangeError, InvalidParameterError

__all__ = ["KNOTS", "MAX_BITS", "Codes", "make_codes"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

KNOTS = 33
"""Points of the map from values to ranks. 32 pieces of 2^bits cells each begin at the edge of a cell, so that rounding
at a knot never reverses the order of two values (bits >= 5)."""
LINEAR_SHARE = 0.25
"""Part of that map that follows the values themselves, so that it is never steeper than ranks make it, nor flat."""
MAX_DECIMALS = 6
MIN_BITS = 5
MAX_BITS = 32


@dataclass(frozen=True, eq=False)
class Codes:
    """How ``features`` values of a sample become integers and digits.

    ``group``: bits of a digit. ``paired``: how it is encrypted; of two bits only. ``digits``: (features,) int64 of each
    code, the most significant first. ``decimals``: (features,) int64: the grid of the numbers of so many decimals, -1
    for ranks. ``first``, ``count``: (features,) int64, the lowest number of a grid in units of its last decimal, and
    how many there are. ``single``: (features,) whether grid values are decimals rounded to float32 (else to float64).
    ``bits``: of codes by ranks. ``knots``: (features by ranks, KNOTS) ascending.
    """

    group: int
    paired: bool
    digits: IntArray
    decimals: IntArray
    first: IntArray
    count: IntArray
    single: npt.NDArray[np.bool_]
    bits: int
    knots: FloatArray

    def __post_init__(self) -> None:
        ranked = self.decimals < 0
        sizes = {len(a) for a in (self.digits, self.decimals, self.first, self.count, self.single)}
        fits = len(sizes) == 1 and self.group in (1 + self.paired, 2) and MIN_BITS <= self.bits <= MAX_BITS
        fits = (
            fits and self.knots.shape == (int(ranked.sum()), KNOTS) and bool((np.diff(self.knots) > 0).all())
        )
        fits = fits and bool(((self.digits >= 1) & (self.digits <= 2 * MAX_BITS)).all())
        fits = (
            fits
            and bool((self.decimals <= MAX_DECIMALS).all())
            and bool((np.abs(self.first) < 1 << 52).all())
        )
        fits = fits and bool(((self.count >= 1) & (self.count <= 1 << MAX_BITS)).all())
        if not fits or any(self.width(j) > self.group * self.digits[j] for j in range(len(ranked))):
            raise InvalidParameterError("the codes of features do not fit each other")

    @property
    def features(self) -> int:
        return len(self.digits)

    @property
    def largest(self) -> int:
        """The largest digit."""
        return (1 << self.group) - 1

    @property
    def starts(self) -> IntArray:
        """(features + 1,) first column of each feature, and how many columns there are."""
        return np.concatenate([[0], np.cumsum(self.digits * (1 if self.paired else self.largest))])

    @property
    def columns(self) -> int:
        """Numbers that are encrypted for a sample."""
        return int(self.starts[-1])

    def width(self, feature: int) -> int:
        """Bits of a feature's code."""
        if self.decimals[feature] < 0:
            return self.bits
        return max(1, int(self.count[feature] - 1).bit_length())

    def is_grid(self, feature: int) -> bool:
        return bool(self.decimals[feature] >= 0)

    def encode(self, values: FloatArray, feature: int) -> IntArray:
        """The codes of values of one feature; values outside go to the first or the last."""
        if self.is_grid(feature):
            raw = np.rint(values * 10.0 ** int(self.decimals[feature])) - float(self.first[feature])
            return np.clip(raw, 0, float(self.count[feature] - 1)).astype(np.int64)
        cells = float(1 << self.bits)
        knots = self.knots[int((self.decimals[:feature] < 0).sum())]
        position = np.interp(values, knots, np.linspace(0.0, cells, KNOTS))
        return np.clip(np.floor(position), 0, cells - 1).astype(np.int64)

    def value_of(self, code: int, feature: int) -> float:
        """The number that a code of a grid stands for."""
        value = float(int(self.first[feature]) + code) / 10.0 ** int(self.decimals[feature])
        return float(np.float32(value)) if self.single[feature] else value

    def threshold(self, limit: float, feature: int) -> int:
        """The code t for which x > limit if its code is above t and not if it is below; on a grid nor if it is t.

        -1 where every value is greater, 2^width where none is.
        """
        if not self.is_grid(feature):
            knots = self.knots[int((self.decimals[:feature] < 0).sum())]
            if limit < knots[0]:
                return -1
            return 1 << self.bits if limit >= knots[-1] else int(self.encode(np.array([limit]), feature)[0])
        last = int(self.count[feature]) - 1
        code = int(self.encode(np.array([np.clip(limit, -1e18, 1e18)]), feature)[0])
        while code >= 0 and self.value_of(code, feature) > limit:
            code -= 1
        while code < last and self.value_of(code + 1, feature) <= limit:
            code += 1
        return code if code < last else 1 << self.width(feature)

    def digits_of(self, codes: IntArray, feature: int) -> IntArray:
        """(…,) codes → (…, digits), the most significant first."""
        shifts = self.group * np.arange(int(self.digits[feature]))[::-1]
        return np.asarray((codes[..., None] >> shifts) & self.largest)

    def columns_of(self, x: FloatArray) -> FloatArray | npt.NDArray[np.complex128]:
        """(samples, features) → (samples, columns).

        Columns go from feature to feature; those of a feature are its digits, or whether its digits are 1, then 2, 3.
        """
        shape = (len(x), self.columns)
        made: FloatArray | npt.NDArray[np.complex128]
        made = np.empty(shape, dtype=np.complex128) if self.paired else np.empty(shape)
        starts = self.starts
        for j in range(self.features):
            digits = self.digits_of(self.encode(x[:, j], j), j)
            if self.paired:
                found = (digits >> 1) + 1j * (digits & 1)
            else:
                found = (digits[:, None, :] == np.arange(1, self.largest + 1)[:, None]).reshape(len(x), -1)
            made[:, starts[j] : starts[j + 1]] = found
        return made

    def check(self, x: FloatArray) -> None:
        """Raises ``DataRangeError`` for a value that is not on the grid of its feature. ``x``: (samples, features)."""
        for j in np.flatnonzero(self.decimals >= 0).tolist():
            numbers = (self.encode(x[:, j], j) + self.first[j]).astype(np.float64)
            exact = numbers / 10.0 ** int(self.decimals[j])
            exact = exact.astype(np.float32).astype(np.float64) if self.single[j] else exact
            off = np.flatnonzero(exact != x[:, j])
            if off.size:
                raise DataRangeError(
                    f"feature {j} of sample {int(off[0])} (counted from 0) is not a number of "
                    f"{int(self.decimals[j])} decimals, as all of its calibration values are",
                    hint="recalibrate the plan with samples like this one, round the value, or leave the sample out",
                )


def make_codes(
    data: FloatArray,
    low: FloatArray,
    high: FloatArray,
    *,
    bits: int,
    group: int = 2,
    paired: bool = False,
    digits: int | None = None,
) -> Codes:
    """Codes for the box ``low`` … ``high`` around calibration data (samples, features).

    ``bits``: of codes by ranks, and the most that a grid may take. ``digits``: of every feature; by default as many as
    it needs.
    """
    grids = [_grid(data[:, j], low[j], high[j], bits) for j in range(data.shape[1])]
    knots = [_knots(data[:, j], low[j], high[j]) for j, grid in enumerate(grids) if grid is None]
    rows = [grid or (-1, 0, 1, False) for grid in grids]
    decimals, first, count = (np.array([row[i] for row in rows], dtype=np.int64) for i in range(3))
    widths = np.array(
        [bits if grid is None else max(1, (grid[2] - 1).bit_length()) for grid in grids], dtype=np.int64
    )
    return Codes(
        group=group,
        paired=paired,
        digits=-(-widths // group) if digits is None else np.full(len(rows), digits, dtype=np.int64),
        decimals=decimals,
        first=first,
        count=count,
        single=np.array([row[3] for row in rows], dtype=np.bool_),
        bits=bits,
        knots=np.array(knots).reshape(-1, KNOTS),
    )


def _grid(values: FloatArray, low: float, high: float, bits: int) -> tuple[int, int, int, bool] | None:
    """(decimals, first, count, single) of the coarsest grid that holds all values; ``None`` where there is none."""
    for decimals in range(MAX_DECIMALS + 1):
        unit = 10.0**decimals
        if not np.abs(values * unit).max() < 1 << 52:
            return None
        exact = np.rint(values * unit) / unit
        for single in (False, True):
            made = exact.astype(np.float32).astype(np.float64) if single else exact
            if (made == values).all():
                first, last = int(np.ceil(low * unit)), int(np.floor(high * unit))
                return (decimals, first, last - first + 1, single) if last - first < 1 << bits else None
    return None


def _knots(values: FloatArray, low: float, high: float) -> FloatArray:
    distinct = _apart(np.unique(values), low, high)
    points = np.concatenate([[low], distinct, [high]])
    position = (1 - LINEAR_SHARE) * np.linspace(0.0, 1.0, len(points))
    position = position + LINEAR_SHARE * (points - low) / (high - low)
    knots: FloatArray = np.interp(np.linspace(0.0, 1.0, KNOTS), position, points)
    knots[0], knots[-1] = low, high
    return knots


def _apart(values: FloatArray, low: float, high: float) -> FloatArray:
    """The first of every run of values that differ by rounding only: knots between those would be no different floats.

    ``values``: ascending.
    """
    least = max((high - low) * 2.0**-40, 2 * KNOTS * float(np.spacing(max(abs(low), abs(high)))))
    cells = np.floor((values - low) / least)
    kept: FloatArray = values[np.concatenate([[True], np.diff(cells) > 1])]
    return kept
