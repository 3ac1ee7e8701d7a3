"""Whether integers are above thresholds, from their encrypted digits, and which leaves of trees that reaches.

Let G_i, E_i be 1 where digit i is greater than, equal to, that of the threshold, else 0. For two runs of digits, the
more significant first, G = G_1 + E_1·G_2 and E = E_1·E_2: log2(digits) levels for a whole integer, and only 0 and 1 on
the way. (The logarithmic circuit of Garay, Schoenmakers and Villegas, PKC 2007.)

*Packed* (one sample): slot (step·leaves + l)·digits + i holds G_i + j·E_i (j² = -1) of the comparison at one step of
the way to leaf l, turned towards the leaf; a rotation by 1, 2, 4 … brings the less significant run, and one product
makes G and E at once: G_1 + E_1·(G_2 + j·E_2).

*Columns* (one sample a slot): a digit of two bits arrives as high + j·low. Comparisons of different features
are independent, and run beside each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tacit.backends.ckks.executor import Engine

__all__ = [
    "ColumnOrderStage",
    "FeatureOrder",
    "LeafStage",
    "OrderStage",
    "PathStage",
    "VoteStage",
    "run_column_order",
    "run_leaves",
    "run_order",
    "run_path",
    "run_votes",
]

Ciphertext = Any
FloatArray = npt.NDArray[np.float64]
Path = tuple[tuple[int, bool], ...]

_SAME_SCALE = 2.0**-45
"""Relative difference of scales that is rounding of float64."""
_UNIT = 1.0 + 2.0**-5
"""A bound on values that are 0 or 1 but for noise; programs whose noise is more are refused by their error bound."""


@dataclass(frozen=True, eq=False)
class OrderStage:
    """z = G + j·E → G_1 + E_1·z_2, where z_2 lies ``rotation`` slots further on; one level. ``last``: G alone."""

    rotation: int
    level: int
    last: bool


@dataclass(frozen=True, eq=False)
class PathStage:
    """x → x · rotate(x, rotation), one level: factors that lie ``rotation`` slots apart."""

    rotation: int
    level: int


@dataclass(frozen=True, eq=False)
class FeatureOrder:
    """The comparisons of one feature.

    ``columns``: of its digits, the most significant first. ``thresholds``: for each comparison the digits of its
    threshold. ``indices``: of the comparisons. ``ties``: whether a code can be that of the threshold and undecided;
    elsewhere "not greater" is "less or equal".
    """

    columns: tuple[int, ...]
    thresholds: tuple[tuple[int, ...], ...]
    indices: tuple[int, ...]
    ties: bool


@dataclass(frozen=True, eq=False)
class ColumnOrderStage:
    """Digits → for comparison c, at 2c whether the code is not greater, at 2c + 1 whether it is greater.

    Where ties are possible both are 0 for a tie.
    """

    features: tuple[FeatureOrder, ...]
    level: int


@dataclass(frozen=True, eq=False)
class LeafStage:
    """Comparisons as ``ColumnOrderStage`` gives them → leaves: products along paths, which leaves share.

    ``paths``: for each leaf (comparison, whether it is greater) from the root down.
    """

    paths: tuple[Path, ...]


@dataclass(frozen=True, eq=False)
class VoteStage:
    """Leaves → weights·leaves + constant, at ``level`` - 1 and exactly ``scale``. ``bound``: (outputs,) on |result|."""

    weights: FloatArray
    constant: FloatArray
    level: int
    scale: float
    bound: FloatArray


def run_order(engine: Engine, stage: OrderStage, z: Ciphertext) -> Ciphertext:
    z = _dropped(engine, z, stage.level)
    greater, equal = _parts(engine, z)
    second = engine.rotate(greater if stage.last else z, stage.rotation)
    return engine.note_bound(_merged(engine, greater, equal, second), _UNIT)


def run_path(engine: Engine, stage: PathStage, ct: Ciphertext) -> Ciphertext:
    ct = _dropped(engine, ct, stage.level)
    return engine.note_bound(engine.mul_relin_rescale(ct, engine.rotate(ct, stage.rotation)), _UNIT)


def run_column_order(engine: Engine, stage: ColumnOrderStage, inputs: list[Ciphertext]) -> list[Ciphertext]:
    """Takes columns out of ``inputs`` when the last feature that has them begins: there are many."""
    left = Counter(column for feature in stage.features for column in feature.columns)

    def compare(engine: Engine, feature: FeatureOrder) -> list[tuple[int, Ciphertext, Ciphertext]]:
        columns = [_dropped(engine, inputs[c], stage.level) for c in feature.columns]
        left.subtract(feature.columns)
        for column in feature.columns:
            if not left[column]:
                inputs[column] = None
        digits = _Digits(engine, columns)
        return [
            (index, *_both(engine, digits, threshold, ties=feature.ties))
            for index, threshold in zip(feature.indices, feature.thresholds, strict=True)
        ]

    made = {
        2 * index + side: ct
        for done in engine.each(compare, stage.features)
        for index, *both in done
        for side, ct in enumerate(both)
    }
    return [made[key] for key in range(len(made))]


def run_leaves(engine: Engine, stage: LeafStage, comparisons: Sequence[Ciphertext]) -> list[Ciphertext]:
    def walk(engine: Engine, paths: Sequence[Path]) -> list[Ciphertext]:
        known: dict[Path, Ciphertext] = {}
        return [_path_product(engine, path, comparisons, known) for path in paths]

    # Leaves of one tree share the root of their paths: no two trees do, but for equal roots.
    trees: dict[int, list[Path]] = {}
    for path in stage.paths:
        trees.setdefault(path[0][0], []).append(path)
    done = dict(
        pair
        for paths, leaves in zip(trees.values(), engine.each(walk, list(trees.values())), strict=True)
        for pair in zip(paths, leaves, strict=True)
    )
    return [done[path] for path in stage.paths]


def _path_product(
    engine: Engine, path: Path, comparisons: Sequence[Ciphertext], known: dict[Path, Ciphertext]
) -> Ciphertext:
    """The product of a path's comparisons; ``known`` keeps those of its parts.

    Not a function within ``run_leaves``: one that calls itself holds itself and all that it reads, until Python's
    collector of cycles comes.
    """
    if len(path) == 1:
        comparison, greater = path[0]
        return comparisons[2 * comparison + greater]
    if path not in known:
        half = _half(len(path))
        first, second = (
            _path_product(engine, part, comparisons, known) for part in (path[:half], path[half:])
        )
        known[path] = _product(engine, first, second)
    return known[path]


def run_votes(engine: Engine, stage: VoteStage, leaves: Sequence[Ciphertext]) -> list[Ciphertext]:
    reference = leaves[0].scale
    weights = stage.weights * (reference / np.array([leaf.scale for leaf in leaves]))
    dropped = [_dropped(engine, leaf, stage.level).with_scale(reference) for leaf in leaves]
    scale = stage.scale * engine.q[stage.level] / reference
    # Leaves of one comparison, x and 1 - x, cancel where their weights are equal, and an encryption of a constant is
    # transparent. One unit more moves a result by about one unit of its scale, hundreds of times less than rounding.
    weights[:, 0] += 1 / scale
    sums = engine.linear_combinations(dropped, weights, scale=scale)
    return [
        engine.note_bound(engine.add_const(engine.rescale(ct).with_scale(stage.scale), float(c)), float(high))
        for ct, c, high in zip(sums, stage.constant, stage.bound, strict=True)
    ]


class _Digits:
    """What is known of the digits of one feature. Made when asked for, once.

    All that is said of a run of n digits has the same level and scale, that of ``place(n)``.
    """

    def __init__(self, engine: Engine, columns: Sequence[Ciphertext]) -> None:
        self.engine = engine
        self.columns = columns
        self.bases: dict[int, list[Ciphertext]] = {}
        self.greaters: dict[tuple[int, tuple[int, ...]], Ciphertext | None] = {}
        self.equals: dict[tuple[int, tuple[int, ...]], Ciphertext] = {}
        self.pairs: dict[tuple[int, tuple[int, ...]], Ciphertext] = {}

    def place(self, length: int) -> tuple[int, float]:
        """Level and scale of what is said of ``length`` digits."""
        if length == 1:
            level, scale = self.columns[0].level, 2 * self.columns[0].scale
            return level - 1, scale * scale / self.engine.q[level]
        half = _half(length)
        (one, left), (other, right) = self.place(half), self.place(length - half)
        level = min(one, other)
        return level - 1, left * right / self.engine.q[level]

    def greater(self, start: int, threshold: tuple[int, ...]) -> Ciphertext | None:
        """Whether the digits from ``start`` on are above those of a threshold; ``None`` where they never are."""
        key = (start, threshold)
        if key not in self.greaters:
            self.greaters[key] = self._greater(start, threshold)
        return self.greaters[key]

    def equal(self, start: int, threshold: tuple[int, ...]) -> Ciphertext:
        """Whether the digits from ``start`` on are those of a threshold."""
        key = (start, threshold)
        if key not in self.equals:
            if len(threshold) == 1:
                weights = {3: (0, 0, 1), 2: (1, 0, -1), 1: (0, 1, -1), 0: (-1, -1, 1)}[threshold[0]]
                self.equals[key] = self._digit(start, weights, 1.0 if threshold[0] == 0 else 0.0)
            else:
                half = _half(len(threshold))
                left = self.equal(start, threshold[:half])
                right = self.equal(start + half, threshold[half:])
                self.equals[key] = _product(self.engine, left, right)
        return self.equals[key]

    def pair(self, start: int, threshold: tuple[int, ...]) -> Ciphertext:
        """greater + j·equal: what a more significant "equal" multiplies at once."""
        key = (start, threshold)
        if key not in self.pairs:
            half = _half(len(threshold)) if len(threshold) > 1 else 1
            greater, equal = self.greater(start, threshold[:half]), self.equal(start, threshold[:half])
            if half == len(threshold):
                made = self.engine.times_i(equal)
                made = made if greater is None else self.engine.add(greater, made)
            else:
                second = self.pair(start + half, threshold[half:])
                made = (
                    _product(self.engine, equal, second)
                    if greater is None
                    else _merged(self.engine, greater, equal, second)
                )
            self.pairs[key] = self.engine.note_bound(made, _UNIT)
        return self.pairs[key]

    def _greater(self, start: int, threshold: tuple[int, ...]) -> Ciphertext | None:
        if len(threshold) == 1:
            weights = {3: None, 2: (0, 0, 1), 1: (1, 0, 0), 0: (1, 1, -1)}[threshold[0]]
            return None if weights is None else self._digit(start, weights, 0.0)
        half = _half(len(threshold))
        first = self.greater(start, threshold[:half])
        second = self.greater(start + half, threshold[half:])
        if second is None:
            return None if first is None else _at(self.engine, first, *self.place(len(threshold)))
        equal = self.equal(start, threshold[:half])
        if first is None:
            return _product(self.engine, equal, second)
        return self.engine.note_bound(_merged(self.engine, first, equal, second), _UNIT)

    def _digit(self, position: int, weights: tuple[int, int, int], constant: float) -> Ciphertext:
        """A linear combination of the high bit, the low bit and their product, and a constant."""
        engine = self.engine
        if position not in self.bases:
            high, low = _parts(engine, self.columns[position])
            both = _product(engine, high, low)
            lowered = [_at(engine, bit, both.level, both.scale) for bit in (high, low)]
            self.bases[position] = [*lowered, both]
        row = np.array([weights], dtype=np.float64)
        if not constant and np.abs(row).sum() == 1:
            return self.bases[position][int(row.argmax())]
        made = engine.linear_combinations(self.bases[position], row, scale=1.0)[0]
        return engine.note_bound(engine.add_const(made, constant) if constant else made, _UNIT)


def _both(
    engine: Engine, digits: _Digits, threshold: tuple[int, ...], *, ties: bool
) -> tuple[Ciphertext, Ciphertext]:
    """(not greater, greater); with ``ties`` (less, greater)."""
    above = None if ties else digits.greater(0, threshold)
    if above is not None:
        return _complement(engine, above), above
    greater, equal = _parts(engine, digits.pair(0, threshold))
    return _complement(engine, engine.add(greater, equal)), greater


def _half(length: int) -> int:
    """Of a run of digits, the more significant ones: the largest power of two below its length."""
    return 1 << ((length - 1).bit_length() - 1)


def _parts(engine: Engine, z: Ciphertext) -> tuple[Ciphertext, Ciphertext]:
    """Real and imaginary part. Halves cost no level: the same polynomials are read at twice the scale."""
    conjugate = engine.conjugate(z)
    real = engine.add(z, conjugate)
    imaginary = engine.times_i(engine.sub(conjugate, z))
    real, imaginary = (engine.note_bound(ct.with_scale(2 * z.scale), _UNIT) for ct in (real, imaginary))
    return real, imaginary


def _merged(engine: Engine, greater: Ciphertext, equal: Ciphertext, second: Ciphertext) -> Ciphertext:
    """greater + equal·second."""
    level = min(equal.level, second.level)
    product = engine.mul_relin_rescale(_dropped(engine, equal, level), _dropped(engine, second, level))
    return engine.add(product, _at(engine, greater, product.level, product.scale))


def _product(engine: Engine, a: Ciphertext, b: Ciphertext) -> Ciphertext:
    level = min(a.level, b.level)
    product = engine.mul_relin_rescale(_dropped(engine, a, level), _dropped(engine, b, level))
    return engine.note_bound(product, _UNIT)


def _complement(engine: Engine, ct: Ciphertext) -> Ciphertext:
    negated = engine.mul_const(ct, -1.0, scale=1.0)
    return engine.note_bound(engine.add_const(negated, 1.0), _UNIT)


def _dropped(engine: Engine, ct: Ciphertext, level: int) -> Ciphertext:
    return engine.drop_level(ct, level) if ct.level > level else ct


def _at(engine: Engine, ct: Ciphertext, level: int, scale: float) -> Ciphertext:
    """The same values at a lower level and exactly ``scale``."""
    if abs(ct.scale - scale) <= _SAME_SCALE * scale:
        return _dropped(engine, ct, level).with_scale(scale)
    base = _dropped(engine, ct, level + 1)
    factor = scale * engine.q[level + 1] / base.scale
    return engine.rescale(engine.mul_const(base, 1.0, scale=factor)).with_scale(scale)
