"""A forest on encrypted comparisons: what each comparison, leaf and tree may be off by, and what that promises.

The comparison polynomial makes b = 1 or 0 within ε of t = ±1 for |t| >= margin, and some number of [-ε, 1 + ε]
inside. A leaf's indicator I is the product of b or 1 - b along its path, padded to P factors with comparisons that
always hold. b and 1 - b add up to 1 whatever t is, so the indicators of a tree add up to 1 but for the padding. The
*doubt* of a tree, 1 - Σ I², is about 0 where one leaf has it all and grows where a comparison on the way is undecided.
The sum of the doubts is computed with the scores and decrypted with them. Let off = P·ε·(1 + 2ε)^P.

*Decided rows pass.* If every comparison on the way of a row through a tree is outside the margin, the indicator of the
right leaf is at least 1 - off, so the doubt of the tree is at most 2·off.

*Rows that pass are right.* Σ I is within off of 1, and indicators are negative by at most off together (the sums of
|b| + |1 - b| are <= 1 + 2ε), so every doubt is >= -6·off. If the sum is at most Δ, that of one tree is at most
Δ + 6·Σ off. With a = 1 - max I, the doubt of the tree is at least 2a(1 - a) - off, as far as a < 1/6; a larger a
makes a doubt above 1/4. So Δ' = Δ + 7·Σ off < 1/4 proves 2a(1 - a) <= Δ'. The path of the largest indicator then has
b > 1 - 2Δ' everywhere, which no comparison of the other sign can make (`Comparison.flip`): it is the right leaf. Leaf
values are centred in each tree, so scores are off by at most the spread of a tree times a + 3·off.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.comparison import DEGREES, Comparison
from tacit.backends.ckks.forest import MAX_DEPTH, MAX_LEAVES, Forest
from tacit.backends.ckks.layout import power_of_two
from tacit.backends.ckks.region import Region
from tacit.errors import PrecisionError

__all__ = [
    "Selection",
    "in_units",
    "precision_for",
    "select",
    "selection_from_fields",
    "selection_to_fields",
    "with_noise",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MAX_DOUBT = 0.1
"""Most doubt that comparisons outside the margin may add up to."""


@dataclass(frozen=True, eq=False)
class Selection:
    """``forest``: thresholds in units of the region's box. The scores of the forest and, last, the weighted doubt.

    ``weight``: of the doubt, so that it is as large as the scores. ``low``, ``high``, ``error``: (scores + 1,) sound
    range, and largest error of rows that pass; the doubt's error is 0. ``limit``: a row passes when its decrypted
    doubt is at most this plus the noise of a slot.
    """

    forest: Forest
    comparison: Comparison
    weight: float
    low: FloatArray
    high: FloatArray
    error: FloatArray
    limit: float

    @property
    def steps(self) -> int:
        """Levels of the products along paths."""
        return power_of_two(self.forest.depth).bit_length() - 1

    @property
    def slots(self) -> int:
        """Of a sample in latency packing: one for every leaf and step."""
        return power_of_two(self.forest.leaves) << self.steps

    @property
    def unit(self) -> float:
        """Results come in multiples of it, a power of two, so that they are in [-1, 1]."""
        return float(2.0 ** np.ceil(np.log2(max(float(np.abs([self.low, self.high]).max()), 1e-300))))

    @property
    def bound(self) -> FloatArray:
        """(scores + 1,) on the magnitude of results, in units."""
        return np.maximum(np.abs(self.low), np.abs(self.high)) / self.unit

    def is_consistent(self, width: int) -> bool:
        """Whether the arrays, as read from bytes, fit each other and a sample of ``width`` features."""
        forest = self.forest
        shape = forest.comparisons.shape
        fits = len(shape) == 2 and 0 < shape[0] <= MAX_LEAVES and 0 < shape[1] <= MAX_DEPTH
        fits = fits and forest.sides.shape == shape and forest.tree.shape == shape[:1]
        fits = fits and forest.values.shape == (len(forest.bias), shape[0])
        fits = fits and forest.features.shape == forest.thresholds.shape and len(forest.features) > 0
        return bool(
            fits
            and np.isin(forest.sides, (-1, 0, 1)).all()
            and (forest.sides[:, 0] != 0).all()
            and (np.diff((forest.sides != 0).astype(int), axis=1) <= 0).all()
            and ((forest.features >= 0) & (forest.features < width)).all()
            and (np.abs(forest.thresholds) < 1).all()
            and ((forest.tree >= 0) & (forest.tree < shape[0])).all()
            and (forest.comparisons[forest.sides != 0] >= 0).all()
            and (forest.comparisons < len(forest.features)).all()
            and len(self.low) == len(self.high) == len(self.error) == len(forest.bias) + 1
            and all(len(series) - 1 in DEGREES for series in self.comparison.series)
        )

    def depth(self, layout: str) -> int:
        """Levels: scaling (none in throughput packing), comparison, paths, squares, sums."""
        return (layout == "latency") + self.comparison.depth + self.steps + 2

    def score_weights(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(linear, quadratic, constant), (scores + 1, leaves) each: results = linear·I + quadratic·I² + constant.

        Results in units.
        """
        forest = self.forest
        linear = np.concatenate([forest.values, np.zeros((1, forest.leaves))])
        quadratic = np.zeros_like(linear)
        quadratic[-1] = -self.weight
        constant = np.append(forest.bias, self.weight * forest.trees)
        return linear / self.unit, quadratic / self.unit, constant / self.unit


def in_units(forest: Forest, region: Region) -> Forest:
    """The forest with thresholds in units of the region's box, without what is constant on the box.

    Comparisons with thresholds outside the box are decided, leaves behind them kept or dropped, trees of one leaf
    added to the bias, and the values of a tree's leaves centred around 0.
    """
    units = np.array(
        [
            float(region.warp(np.array([threshold]), int(feature))[0])
            for feature, threshold in zip(forest.features, forest.thresholds, strict=True)
        ]
    )
    constant = np.abs(units) >= 1.0
    ways: list[list[tuple[int, float]]] = []
    kept: list[int] = []
    for leaf in range(forest.leaves):
        way = [
            (int(c), float(side))
            for c, side in zip(forest.comparisons[leaf], forest.sides[leaf], strict=True)
            if side
        ]
        decided = [(c, side) for c, side in way if constant[c]]
        # A threshold at or below the box: the comparison always holds.
        if all((units[c] <= -1.0) == (side > 0) for c, side in decided):
            ways.append([step for step in way if not constant[step[0]]])
            kept.append(leaf)
    bias = forest.bias + sum(
        (forest.values[:, leaf] for leaf, way in zip(kept, ways, strict=True) if not way),
        np.zeros_like(forest.bias),
    )
    rows = [(leaf, way) for leaf, way in zip(kept, ways, strict=True) if way]
    used = sorted({c for _, way in rows for c, _ in way})
    renamed = {c: i for i, c in enumerate(used)}
    depth = max((len(way) for _, way in rows), default=1)
    comparisons = np.full((len(rows), depth), -1, dtype=np.int64)
    sides = np.zeros((len(rows), depth))
    for row, (_, way) in enumerate(rows):
        for step, (c, side) in enumerate(way):
            comparisons[row, step], sides[row, step] = renamed[c], side
    leaves = [leaf for leaf, _ in rows]
    _, tree = np.unique(forest.tree[leaves], return_inverse=True)
    values, tree = forest.values[:, leaves], tree.astype(np.int64)
    for index in range(int(tree.max(initial=-1)) + 1):
        own = values[:, tree == index]
        middle = (own.max(axis=1) + own.min(axis=1)) / 2
        values[:, tree == index] -= middle[:, None]
        bias = bias + middle
    return Forest(
        features=forest.features[used],
        thresholds=units[used],
        comparisons=comparisons,
        sides=sides,
        tree=tree,
        values=values,
        bias=bias,
    )


def precision_for(forest: Forest, tolerance: float) -> float:
    """The error of one comparison at which the scores of rows that pass are within ``tolerance``."""
    spread = max(float(forest.spreads().max(initial=0.0)), 1e-300)
    steps = float(_steps(forest).sum())
    return min(tolerance / (9 * spread), MAX_DOUBT / 10) / max(1.0, steps) * 2


def select(forest: Forest, comparison: Comparison) -> Selection:
    """The forest with a comparison, and its promise. Raises ``PrecisionError`` where the check would prove nothing."""
    epsilon = comparison.error / 2
    depths = _steps(forest)
    off = depths * epsilon * (1 + 2 * epsilon) ** depths
    spreads = forest.spreads()
    low, high = forest.score_range()
    slack = 2 * (spreads * off[:, None]).sum(axis=0)
    largest = max(float(np.abs(np.concatenate([low, high])).max()), 1e-9)
    total = float(off.sum())
    limit = 2 * total
    doubt = _doubt(limit, total)
    if comparison.flip > 1 - 2 * doubt - 0.1 or doubt > 0.25:
        raise PrecisionError(
            "comparisons of this precision cannot be checked: noise could pass for a decision",
            hint="allow a larger max_error or use fewer trees",
        )
    weight = largest / forest.trees
    return Selection(
        forest=forest,
        comparison=comparison,
        weight=weight,
        low=np.append(low - slack, -6 * weight * total),
        high=np.append(high + slack, weight * forest.trees * (1 + total)),
        error=np.append(spreads.max(axis=0) * (doubt / (2 * (1 - doubt)) + 3 * total), 0.0),
        limit=weight * limit,
    )


def with_noise(selection: Selection, noise: float) -> Selection:
    """The selection with the promise that holds under slot noise: ``error`` grows, the limit is met with noise."""
    epsilon = selection.comparison.error / 2
    depths = _steps(selection.forest)
    total = float((depths * epsilon * (1 + 2 * epsilon) ** depths).sum())
    doubt = _doubt((selection.limit + 2 * noise) / selection.weight, total)
    if doubt > 0.25:
        raise PrecisionError("noise hides the doubt of a tree")
    spread = selection.forest.spreads().max(axis=0)
    error = np.append(spread * (doubt / (2 * (1 - doubt)) + 3 * total), 0.0)
    return replace(selection, error=error)


def selection_to_fields(model: Selection) -> dict[str, Any]:
    """Plain data for a bundle, without ``low``, ``high`` and ``error``."""
    forest, comparison = model.forest, model.comparison
    return {
        "features": _bytes(forest.features),
        "thresholds": _bytes(forest.thresholds),
        "comparisons": _bytes(forest.comparisons),
        "sides": _bytes(forest.sides),
        "tree": _bytes(forest.tree),
        "values": _bytes(forest.values),
        "bias": _bytes(forest.bias),
        "series": [_bytes(np.array(series)) for series in comparison.series],
        "bounds": [comparison.margin, comparison.error, comparison.entry, comparison.noise, comparison.flip],
        "weight": model.weight,
        "limit": model.limit,
    }


def selection_from_fields(
    fields: dict[str, Any], low: FloatArray, high: FloatArray, error: FloatArray
) -> Selection:
    """Reads ``selection_to_fields``. Raises ``ValueError``, ``KeyError`` or ``TypeError`` for other data."""
    tree = _array(fields["tree"]).astype(np.int64)
    bias = _array(fields["bias"])
    margin, worst, entry, noise, flip = (float(value) for value in fields["bounds"])
    series = tuple(tuple(_array(part).tolist()) for part in fields["series"])
    return Selection(
        forest=Forest(
            features=_array(fields["features"]).astype(np.int64),
            thresholds=_array(fields["thresholds"]),
            comparisons=_array(fields["comparisons"]).astype(np.int64).reshape(len(tree), -1),
            sides=_array(fields["sides"]).reshape(len(tree), -1),
            tree=tree,
            values=_array(fields["values"]).reshape(len(bias), len(tree)),
            bias=bias,
        ),
        comparison=Comparison(series, margin, worst, entry, noise, flip),
        weight=float(fields["weight"]),
        low=low,
        high=high,
        error=error,
        limit=float(fields["limit"]),
    )


def _bytes(array: FloatArray | IntArray) -> bytes:
    return np.ascontiguousarray(array, dtype="<f8").tobytes()


def _array(data: bytes) -> FloatArray:
    array = np.frombuffer(data, dtype="<f8").astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError("a number of the forest is not finite")
    return array


def _doubt(limit: float, total: float) -> float:
    """Most doubt of one tree when the sum is at most ``limit``, with what its indicators may be negative by."""
    return limit + 7 * total


def _steps(forest: Forest) -> FloatArray:
    """(trees,) factors of the longest path, padding included."""
    return np.full(forest.trees, float(power_of_two(forest.depth)))
