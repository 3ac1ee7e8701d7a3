"""A forest on codes of features: what is promised of its scores, and what tells that nothing can be.

Comparisons of codes (`codes.py`) are exactly 0 or 1 but for noise. The indicator of a leaf, the product of the
comparisons on its way, is 1 for one leaf of every tree and 0 for the others; the scores are sums of leaf values, with
no error but that noise. Only a value by ranks in the very cell of a threshold is neither less nor greater: then both
sides of that comparison are 0, and so is every leaf behind it. The *doubt*, the number of trees less the sum of all
indicators, is computed with the scores: it is the number of trees in which an undecided comparison is on the way of a
sample, and 0 if and only if all its scores are right. Undecided comparisons elsewhere do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.codes import Codes
from tacit.backends.ckks.forest import MAX_DEPTH, MAX_LEAVES, Forest
from tacit.backends.ckks.layout import power_of_two

__all__ = [
    "Selection",
    "coded",
    "reached",
    "select",
    "selection_from_fields",
    "selection_to_fields",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Selection:
    """``forest``: thresholds are codes of the features. The scores of the forest and, last, the weighted doubt.

    ``weight``: of the doubt, so that it is as large as the scores. ``low``, ``high``, ``error``: (scores + 1,) sound
    range of samples in doubt or not, and error before noise, which is that of breaking ties.
    """

    forest: Forest
    weight: float
    low: FloatArray
    high: FloatArray
    error: FloatArray

    @property
    def steps(self) -> int:
        """Levels of the products along paths."""
        return power_of_two(self.forest.depth).bit_length() - 1

    @property
    def unit(self) -> float:
        """Results come in multiples of it, a power of two, so that they are in [-1, 1]."""
        return float(2.0 ** np.ceil(np.log2(max(float(np.abs([self.low, self.high]).max()), 1e-300))))

    @property
    def bound(self) -> FloatArray:
        """(scores + 1,) on the magnitude of results, in units."""
        return np.maximum(np.abs(self.low), np.abs(self.high)) / self.unit

    def is_consistent(self, codes: Codes | None) -> bool:
        """Whether the arrays, as read from bytes, fit each other and the codes of a plan."""
        forest = self.forest
        if codes is None:
            return False
        shape = forest.comparisons.shape
        fits = len(shape) == 2 and 0 < shape[0] <= MAX_LEAVES and 0 < shape[1] <= MAX_DEPTH
        fits = fits and forest.sides.shape == shape and forest.tree.shape == shape[:1]
        fits = fits and forest.values.shape == (len(forest.bias), shape[0])
        fits = fits and forest.features.shape == forest.thresholds.shape and len(forest.features) > 0
        fits = bool(fits and ((forest.features >= 0) & (forest.features < codes.features)).all())
        return bool(
            fits
            and np.isin(forest.sides, (-1, 0, 1)).all()
            and (forest.sides[:, 0] != 0).all()
            and (np.diff((forest.sides != 0).astype(int), axis=1) <= 0).all()
            and all(
                0 <= threshold < 1 << codes.width(feature) and threshold == int(threshold)
                for feature, threshold in zip(
                    forest.features.tolist(), forest.thresholds.tolist(), strict=True
                )
            )
            and ((forest.tree >= 0) & (forest.tree < shape[0])).all()
            and (forest.comparisons[forest.sides != 0] >= 0).all()
            and (forest.comparisons < len(forest.features)).all()
            and len(self.low) == len(self.high) == len(self.error) == len(forest.bias) + 1
        )

    def depth(self, digits: int) -> int:
        """Levels: the map to comparisons, or the product of two bits; digits, paths, sums. ``digits``: of a code."""
        return 1 + (power_of_two(digits).bit_length() - 1) + self.steps + 1

    def score_weights(self) -> tuple[FloatArray, FloatArray]:
        """(scores + 1, leaves), (scores + 1,): results = weights·indicators + constant, in units."""
        forest = self.forest
        doubt = np.full((1, forest.leaves), -self.weight)
        weights = np.concatenate([forest.values, doubt])
        constant = np.append(forest.bias, self.weight * forest.trees)
        return weights / self.unit, constant / self.unit


def coded(forest: Forest, codes: Codes) -> Forest:
    """The forest with codes as thresholds, without what is constant on the box.

    Comparisons with thresholds outside the box are decided, leaves behind them kept or dropped, trees of one leaf
    added to the bias, equal comparisons merged, and the values of a tree's leaves centred around 0.
    """
    limits = [
        codes.threshold(float(threshold), int(feature))
        for feature, threshold in zip(forest.features, forest.thresholds, strict=True)
    ]
    above = np.array([1 << codes.width(int(feature)) for feature in forest.features])
    holds = {c: limit < 0 for c, limit in enumerate(limits) if not 0 <= limit < above[c]}
    ways: list[tuple[int, list[tuple[int, float]]]] = []
    known: dict[tuple[int, int], int] = {}
    for leaf in range(forest.leaves):
        way = [
            (int(c), float(side))
            for c, side in zip(forest.comparisons[leaf], forest.sides[leaf], strict=True)
            if side
        ]
        if any(c in holds and holds[c] != (side > 0) for c, side in way):
            continue
        kept: dict[int, float] = {}
        for c, side in way:
            if c in holds:
                continue
            key = known.setdefault((int(forest.features[c]), limits[c]), len(known))
            # The same comparison twice on a way says nothing new, or that no value gets to the leaf.
            if kept.setdefault(key, side) != side:
                break
        else:
            ways.append((leaf, list(kept.items())))
    bias = forest.bias + sum(
        (forest.values[:, leaf] for leaf, way in ways if not way), np.zeros_like(forest.bias)
    )
    rows = [(leaf, way) for leaf, way in ways if way]
    depth = max((len(way) for _, way in rows), default=1)
    comparisons = np.full((len(rows), depth), -1, dtype=np.int64)
    sides = np.zeros((len(rows), depth))
    for row, (_, way) in enumerate(rows):
        for step, (c, side) in enumerate(way):
            comparisons[row, step], sides[row, step] = c, side
    leaves = [leaf for leaf, _ in rows]
    _, tree = np.unique(forest.tree[leaves], return_inverse=True)
    values, tree = forest.values[:, leaves], tree.astype(np.int64)
    for index in range(int(tree.max(initial=-1)) + 1):
        own = values[:, tree == index]
        middle = (own.max(axis=1) + own.min(axis=1)) / 2
        values[:, tree == index] -= middle[:, None]
        bias = bias + middle
    return Forest(
        features=np.array([feature for feature, _ in known], dtype=np.int64),
        thresholds=np.array([float(limit) for _, limit in known]),
        comparisons=comparisons,
        sides=sides,
        tree=tree,
        values=values,
        bias=bias,
    )


def reached(forest: Forest, codes: Codes, x: FloatArray) -> npt.NDArray[np.bool_]:
    """(samples, leaves) the indicators as they are computed: none behind an undecided comparison.

    ``forest``: as ``coded`` gives it. ``x``: (samples, features).
    """
    found = np.ones((len(x), forest.leaves), dtype=np.bool_)
    values = np.stack([codes.encode(x[:, j], j) for j in range(codes.features)], axis=1)
    grid = np.array([codes.is_grid(int(feature)) for feature in forest.features])
    greater = values[:, forest.features] > forest.thresholds
    less = np.where(grid, ~greater, values[:, forest.features] < forest.thresholds)
    for step in range(forest.depth):
        side, which = forest.sides[:, step], forest.comparisons[:, step]
        found[:, side > 0] &= greater[:, which[side > 0]]
        found[:, side < 0] &= less[:, which[side < 0]]
    return found


def select(forest: Forest, tie_break: float) -> Selection:
    """The promise for a forest as ``coded`` gives it. Undecided trees add nothing but their share of the bias.

    ``tie_break``: by which every score is lowered against the one before. Votes of few trees are often equal, and in
    the clear the first of equal classes wins; with it, encrypted noise that is smaller does not decide.
    """
    steps = tie_break * np.arange(len(forest.bias))
    forest = replace(forest, bias=forest.bias - steps)
    spreads = forest.spreads()
    # Centred leaves are within half a spread of 0, which is also what an undecided tree adds.
    reach = spreads.sum(axis=0) / 2
    largest = max(float(np.abs(forest.bias).max(initial=0.0) + reach.max()), 1e-9)
    weight = largest / forest.trees
    return Selection(
        forest=forest,
        weight=weight,
        low=np.append(forest.bias - reach, 0.0),
        high=np.append(forest.bias + reach, weight * forest.trees),
        error=np.append(steps, 0.0),
    )


def selection_to_fields(model: Selection) -> dict[str, Any]:
    """Plain data for a bundle, without ``low``, ``high`` and ``error``."""
    forest = model.forest
    return {
        "features": _bytes(forest.features),
        "thresholds": _bytes(forest.thresholds),
        "comparisons": _bytes(forest.comparisons),
        "sides": _bytes(forest.sides),
        "tree": _bytes(forest.tree),
        "values": _bytes(forest.values),
        "bias": _bytes(forest.bias),
        "weight": model.weight,
    }


def selection_from_fields(
    fields: dict[str, Any], low: FloatArray, high: FloatArray, error: FloatArray
) -> Selection:
    """Reads ``selection_to_fields``. Raises ``ValueError``, ``KeyError`` or ``TypeError`` for other data."""
    tree = _array(fields["tree"]).astype(np.int64)
    bias = _array(fields["bias"])
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
        weight=float(fields["weight"]),
        low=low,
        high=high,
        error=error,
    )


def _bytes(array: FloatArray | IntArray) -> bytes:
    return np.ascontiguousarray(array, dtype="<f8").tobytes()


def _array(data: bytes) -> FloatArray:
    array = np.frombuffer(data, dtype="<f8").astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError("a number of the forest is not finite")
    return array
