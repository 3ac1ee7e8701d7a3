"""The search for forests: how sharp a comparison, on which chain, in which packing.

Sharper comparisons take more levels. The search takes the fewest levels at which no more than ``CLOSE_ROWS`` of the
calibration rows have a comparison on their way that falls within the margin, or as many as the largest ring up to
``MAX_LOG_N`` has room for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, log2

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.bound import worst_noise
from tacit.backends.ckks.comparison import BEST, sharpest
from tacit.backends.ckks.forest import Forest
from tacit.backends.ckks.forest_program import comparison_noise, schedule_forest
from tacit.backends.ckks.levels import Chain, chains, moduli
from tacit.backends.ckks.program import Program
from tacit.backends.ckks.region import Region
from tacit.backends.ckks.selection import Selection, in_units, precision_for, select, with_noise
from tacit.errors import DepthError, PrecisionError

__all__ = ["Distances", "ForestPlan", "distances", "margin_of_range", "plan_forest"]

FloatArray = npt.NDArray[np.float64]

CLOSE_ROWS = 0.01
"""Part of the calibration rows that may have a comparison within the margin, where levels suffice."""
MAX_LOG_N = 15
"""Ring degree up to which margins are sharpened; larger ones are used where nothing else fits."""
SELECTION_SHARE = 0.7
"""Part of the tolerated error that comparisons may take; noise gets the rest."""
MIN_SCALE_BITS = 28
"""Scales below drown comparisons in noise."""
_FIRST_NOISE = 2.0**-13
_MIN_LEVELS = min(BEST)


@dataclass(frozen=True, eq=False)
class Distances:
    """How far calibration rows are from thresholds on their way: (rows,) for each packing, in units of its argument."""

    latency: FloatArray
    throughput: FloatArray

    def within(self, layout: str, margin: float) -> int:
        """Rows with a comparison within the margin."""
        return int((getattr(self, layout) < margin).sum())


@dataclass(frozen=True, eq=False)
class ForestPlan:
    """One chain and packing. ``noise``: bound on the noise of a result slot."""

    model: Selection
    chain: Chain
    program: Program
    noise: float
    layout: str
    close: int

    @property
    def score_error(self) -> float:
        return self.noise + float(self.model.error.max())


def distances(forest: Forest, units: FloatArray) -> Distances:
    """``forest``: thresholds in units of the box. ``units``: (rows, features) calibration data, normalised."""
    found: list[list[FloatArray]] = [[], []]
    reach = 1 + np.abs(forest.thresholds)
    for start in range(0, len(units), 512):
        gaps = units[start : start + 512][:, forest.features] - forest.thresholds
        reached = forest.reached(gaps > 0)
        for which, scaled in enumerate((np.abs(gaps) / reach, np.abs(gaps) / 2)):
            nearest = np.full(len(gaps), np.inf)
            for step in range(forest.depth):
                used = forest.sides[:, step] != 0
                on_way = np.where(reached[:, used], scaled[:, forest.comparisons[used, step]], np.inf)
                nearest = np.minimum(nearest, on_way.min(axis=1, initial=np.inf))
            found[which].append(nearest)
    return Distances(np.concatenate(found[0]), np.concatenate(found[1]))


def plan_forest(
    forest: Forest, region: Region, data: FloatArray, tolerance: float, layout: str
) -> list[ForestPlan]:
    """The plans of one packing on the sharpest comparison that is worth its levels; one for each chain.

    ``forest``: thresholds in the units of the features. ``data``: (rows, features) calibration. ``tolerance``: largest
    error of a score. Raises ``DepthError`` where no ring has the levels or slots, ``PrecisionError`` where noise is
    too much.
    """
    inner = in_units(forest, region)
    if not inner.leaves:
        raise PrecisionError(
            "the model is constant on the calibrated region", hint="calibrate on data with a wider range"
        )
    near = distances(inner, region.normalise(data))
    error = precision_for(inner, SELECTION_SHARE * tolerance)
    wanted = _wanted_levels(near, layout, error, len(data))
    problem: PrecisionError | None = None
    for log_n in (13, 14, 15, 16):
        least = wanted if log_n < MAX_LOG_N else _MIN_LEVELS
        for levels in range(wanted, least - 1, -1):
            found = []
            try:
                for plan in _plans(inner, near, error, levels, log_n, layout, region.features):
                    if plan.score_error <= tolerance:
                        found.append(plan)
                    else:
                        problem = PrecisionError(
                            f"noise of {plan.noise:.2g} is more than {tolerance:.2g} allows"
                        )
            except PrecisionError as failure:
                problem = failure
            if found:
                return found
    raise problem or DepthError(
        f"paths of {inner.depth} steps to {inner.leaves} leaves need more levels or slots than any secure parameter "
        "set has",
        hint="limit `max_depth` or `n_estimators`, or send batches (one sample a slot)",
    )


def _wanted_levels(near: Distances, layout: str, error: float, rows: int) -> int:
    for levels in range(_MIN_LEVELS, max(BEST)):
        try:
            margin = sharpest(levels, _rounded(error), entry=2.0**-18, noise=_FIRST_NOISE).margin
        except PrecisionError:
            continue
        if near.within(layout, margin) <= CLOSE_ROWS * rows:
            return levels
    return max(BEST)


def _plans(
    forest: Forest, near: Distances, error: float, levels: int, log_n: int, layout: str, width: int
) -> Iterator[ForestPlan]:
    comparison = sharpest(levels, _rounded(error), entry=2.0**-18, noise=_FIRST_NOISE)
    model = select(forest, comparison)
    if layout == "latency" and max(model.slots, width) > 1 << (log_n - 1):
        return
    for chain in chains(model.depth(layout), log_n, switches_keys=True):
        if chain.log_scale < MIN_SCALE_BITS:
            continue
        q, p = moduli(chain.log_n, chain.log_q, chain.log_p)
        found = _fitted(model, chain, q, p, layout, width, error)
        if found is None:
            continue
        fitted, program, noise = found
        close = near.within(layout, fitted.comparison.margin)
        yield ForestPlan(fitted, chain, program, noise, layout, close)


def _fitted(
    model: Selection,
    chain: Chain,
    q: tuple[int, ...],
    p: tuple[int, ...],
    layout: str,
    width: int,
    error: float,
) -> tuple[Selection, Program, float] | None:
    """The selection with a comparison made for the noise of this chain, its program, and the noise of its results."""
    program = schedule_forest(model, chain, q, layout, width)
    entry, noise = comparison_noise(program, chain, q, p)
    levels = model.comparison.depth
    for extra in (1.2, 2.4):
        if max(entry, noise) * extra > 0.1:
            return None
        try:
            comparison = sharpest(
                levels, _rounded(error), entry=_power(extra * entry), noise=_power(extra * noise)
            )
            made = select(model.forest, comparison)
            program = schedule_forest(made, chain, q, layout, width)
            slot_noise = worst_noise(program, chain, q, p) * made.unit
            return with_noise(made, slot_noise), program, slot_noise
        except PrecisionError:
            continue
    return None


def _power(value: float) -> float:
    """The next quarter power of two: few different values, so that compositions are computed once."""
    return float(2.0 ** (ceil(4 * log2(value)) / 4))


def _rounded(error: float) -> float:
    """The quarter power of two below."""
    return float(2.0 ** (np.floor(4 * log2(error)) / 4))


def margin_of_range(plan: ForestPlan, region: Region) -> float:
    """The widest comparison margin in the units of a feature, over the feature's calibrated range (half the box)."""
    widest = 0.0
    if region.knots is None:
        return widest
    units = np.linspace(-1.0, 1.0, region.knots.shape[1])
    inner = plan.model.forest
    for feature, threshold in zip(inner.features.tolist(), inner.thresholds.tolist(), strict=True):
        reach = plan.model.comparison.margin * (1 + abs(threshold) if plan.layout == "latency" else 2.0)
        low, high = np.interp([threshold - reach, threshold + reach], units, region.knots[feature])
        widest = max(widest, float(high - low) / 2 / float(region.radius[feature]))
    return widest
