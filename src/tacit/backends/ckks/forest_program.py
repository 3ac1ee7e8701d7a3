"""The stages of a forest, in both packings.

*Latency* (one sample): slot (step·L + l)·D + i holds digit i of the comparison at step ``step`` of the way to leaf l (L
leaves, padded; D digits; the steps padded with comparisons that always hold), turned so that it holds "towards the
leaf". One linear map makes all of them out of the indicators of digits; log2(D) rounds compare whole codes, and the
product along the paths is log2(steps) rotations and products. Slots that are congruent modulo L·D then hold the same
indicator.

*Throughput* (one sample a slot): one ciphertext per digit; every distinct comparison is decided once; products along
paths share common parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.codes import Codes
from tacit.backends.ckks.layout import ColumnLayout, ReplicatedLayout, power_of_two
from tacit.backends.ckks.levels import HEADROOM_BITS, Chain
from tacit.backends.ckks.linear import SlotMap, between
from tacit.backends.ckks.ordering import (
    ColumnOrderStage,
    FeatureOrder,
    LeafStage,
    OrderStage,
    PathStage,
    VoteStage,
)
from tacit.backends.ckks.program import MapStage, Program, Stage
from tacit.backends.ckks.selection import Selection

__all__ = ["packed_slots", "schedule_forest"]

FloatArray = npt.NDArray[np.float64]


def schedule_forest(model: Selection, chain: Chain, q: Sequence[int], layout: str, codes: Codes) -> Program:
    """The program of a forest on a chain with the primes ``q``.

    ``layout``: ``latency``, for which ``packed_slots`` must fit, or ``throughput``.
    """
    return (_packed if layout == "latency" else _columns)(model, chain, q, codes)


def packed_slots(model: Selection, codes: Codes) -> int:
    """Slots of a sample in latency packing: for its columns, and for every digit of every step to every leaf."""
    digits = int(codes.digits.max())
    return max((power_of_two(model.forest.leaves) << model.steps) * digits, power_of_two(codes.columns))


def _packed(model: Selection, chain: Chain, q: Sequence[int], codes: Codes) -> Program:
    level = len(q) - 1
    nominal = 2.0**chain.log_scale
    digits = int(codes.digits.max())
    leaves = power_of_two(model.forest.leaves)
    source = _source(model, codes, chain.slots)
    # An `OrderStage` doubles the scale: from half of the prime it stays there.
    scale = q[level - 1] / 2
    ones = np.ones(chain.slots)
    stages: list[Stage] = [
        MapStage(_digit_map(model, codes, chain.slots), level, scale * q[level] / nominal, True, 1.5 * ones)
    ]
    level -= 1
    rotation = 1
    while rotation < digits:
        last = 2 * rotation == digits
        stages.append(OrderStage(rotation, level, last))
        scale = (4 if last else 2) * scale * scale / q[level]
        rotation, level = 2 * rotation, level - 1
    span = (leaves << model.steps) * digits
    while span > leaves * digits:
        span //= 2
        stages.append(PathStage(span, level))
        scale = scale * scale / q[level]
        level -= 1
    weights, constant = model.score_weights()
    spread = np.zeros((len(constant), leaves * digits))
    spread[:, : model.forest.leaves * digits : digits] = weights
    scores = between(ReplicatedLayout.plain(leaves * digits, chain.slots), spread, constant)
    wanted = _result_scale(model, q)
    bound = np.real(scores.output.pack(model.bound))
    stages.append(MapStage(scores, level, wanted * q[level] / scale, True, bound))
    output = ReplicatedLayout.plain(len(constant), chain.slots)
    return Program(tuple(stages), source, output, len(q) - 1, nominal, wanted)


def _source(model: Selection, codes: Codes, slots: int) -> ReplicatedLayout:
    """How the owner packs the columns: copies rotated against each other, of which each takes part of the diagonals."""
    period = power_of_two(codes.columns)
    rows = (power_of_two(model.forest.leaves) << model.steps) * int(codes.digits.max())
    block = max(period, rows)
    copies = min(slots // block, min(period, rows))
    return ReplicatedLayout(codes.columns, slots, period, block, copies, min(period, rows) // copies % period)


@lru_cache(maxsize=8)
def _digit_map(model: Selection, codes: Codes, slots: int) -> SlotMap:
    """Indicators of digits → G + j·E of every digit, step and leaf; G is "less" where the leaf is not on the right.

    Diagonals are those of the structure, which features are compared on the way to which leaf: the rotations, which
    are public, tell nothing of thresholds.
    """
    source = _source(model, codes, slots)
    forest = model.forest
    digits = int(codes.digits.max())
    leaves = power_of_two(forest.leaves)
    shape = ((leaves << model.steps) * digits, codes.columns)
    towards, equal, structure = np.zeros((3, *shape))
    constant = np.zeros((2, shape[0]))
    starts = codes.starts
    limits = [
        codes.digits_of(np.array(int(threshold)), feature)
        for feature, threshold in zip(forest.features.tolist(), forest.thresholds.tolist(), strict=True)
    ]
    for leaf in range(forest.leaves):
        for step in range(1 << model.steps):
            row = (step * leaves + leaf) * digits
            side = forest.sides[leaf, step] if step < forest.depth else 0.0
            if not side:
                constant[0, row] = 1.0
                continue
            comparison = int(forest.comparisons[leaf, step])
            feature = int(forest.features[comparison])
            for i, limit in enumerate(limits[comparison].tolist()):
                # Column of "digit i is v": start + (v - 1)·digits + i.
                values = np.arange(1, codes.largest + 1)
                columns = int(starts[feature]) + (values - 1) * digits + i
                ends = i == digits - 1 and codes.is_grid(feature)
                structure[row + i, columns] = 1.0
                held = values > limit if side > 0 else values < limit + ends
                zero = side < 0 and limit + ends > 0
                towards[row + i, columns] = held.astype(float) - zero
                constant[0, row + i] = zero
                equal[row + i, columns] = (values == limit).astype(float) - (limit == 0)
                constant[1, row + i] = limit == 0
    real, imaginary = between(source, towards, constant[0]), between(source, equal, constant[1])
    none = np.zeros(source.slots, dtype=np.complex128)
    diagonals: dict[int, npt.NDArray[np.complex128]] = {
        k: np.asarray(
            real.diagonals.get(k, none) + 1j * imaginary.diagonals.get(k, none), dtype=np.complex128
        )
        for k in between(source, structure, constant[0]).diagonals
    }
    return SlotMap(
        diagonals=diagonals,
        baby=real.baby,
        folds=real.folds,
        real_part=False,
        bias=real.bias + 1j * imaginary.bias,
        output=real.output,
    )


def _columns(model: Selection, chain: Chain, q: Sequence[int], codes: Codes) -> Program:
    forest = model.forest
    top = len(q) - 1
    starts = codes.starts
    features = []
    for feature in sorted(set(forest.features.tolist())):
        own = np.flatnonzero(forest.features == feature).tolist()
        features.append(
            FeatureOrder(
                columns=tuple(range(int(starts[feature]), int(starts[feature + 1]))),
                thresholds=tuple(
                    tuple(codes.digits_of(np.array(int(forest.thresholds[c])), feature).tolist()) for c in own
                ),
                indices=tuple(own),
                ties=not codes.is_grid(feature),
            )
        )
    paths = tuple(
        tuple(
            (int(c), bool(side > 0))
            for c, side in zip(forest.comparisons[leaf], forest.sides[leaf], strict=True)
            if side
        )
        for leaf in range(forest.leaves)
    )
    weights, constant = model.score_weights()
    wanted = _result_scale(model, q)
    stages: tuple[Stage, ...] = (
        ColumnOrderStage(tuple(features), top),
        LeafStage(paths),
        VoteStage(weights, constant, 1, wanted, model.bound),
    )
    source = ColumnLayout(codes.columns, chain.slots)
    output = ColumnLayout(len(constant), chain.slots)
    return Program(stages, source, output, top, 2.0**chain.log_scale, wanted)


def _result_scale(model: Selection, q: Sequence[int]) -> float:
    room: float = q[0] / (2.0 * 2.0**HEADROOM_BITS * max(float(model.bound.max()), 1e-9))
    return room
