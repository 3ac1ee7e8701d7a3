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
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tacit.backends.ckks.codes import Codes
from tacit.backends.ckks.diagonals import baby_steps, folds
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
from tacit.errors import InternalError

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
    digits = int(codes.digits.max())
    period = power_of_two(codes.columns)
    rows = (power_of_two(model.forest.leaves) << model.steps) * digits
    shared = min(period, rows)
    copies = min(slots // max(period, rows), shared // digits)
    return ReplicatedLayout(
        codes.columns, slots, period, max(period, rows), copies, shared // copies % period
    )


@lru_cache(maxsize=8)
def _digit_map(model: Selection, codes: Codes, slots: int) -> SlotMap:
    """Indicators of digits → G + j·E of every digit, step and leaf; G is "less" where the leaf is not on the right.

    Diagonals are those of the structure, which features are compared on the way to which leaf: the rotations, which
    are public, tell nothing of thresholds. All of them are multiples of the number of digits.
    """
    source, digits = _source(model, codes, slots), int(codes.digits.max())
    size = (power_of_two(model.forest.leaves) << model.steps) * digits
    matrix, bias = _digit_matrix(model, codes, size)
    structure = sparse.csr_array((np.ones(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)
    span = max(source.span, size)
    count = -(-source.period * size // span) if size <= source.period else source.period // source.copies
    index, rows = source.index_at(), np.arange(span) % size
    diagonals: dict[int, npt.NDArray[np.complex128]] = {}
    met = 0
    for k in range(0, count, digits):
        columns = np.roll(index, -k)[:span]
        real = columns < source.size
        held = structure[rows[real], columns[real]] != 0
        met += int(held.sum())
        if held.any():
            diagonal = np.zeros(span, dtype=np.complex128)
            diagonal[real] = matrix[rows[real], columns[real]]
            diagonals[k] = np.tile(diagonal, slots // span)
    if met != matrix.nnz:
        raise InternalError(f"the diagonals of comparisons meet {met} of {matrix.nnz} entries")
    output = ReplicatedLayout(size, slots, size, size)
    return SlotMap(
        diagonals=diagonals,
        baby=baby_steps(np.array(sorted(diagonals))),
        folds=folds(source, output),
        real_part=False,
        bias=bias[output.index_at()],
        output=output,
    )


def _digit_matrix(model: Selection, codes: Codes, size: int) -> tuple[Any, npt.NDArray[np.complex128]]:
    """(size, columns) complex csr array with an entry, be it 0, for every indicator of a digit; and the bias."""
    forest, digits = model.forest, int(codes.digits.max())
    leaves = power_of_two(forest.leaves)
    bias = np.zeros(size, dtype=np.complex128)
    values = np.arange(1, codes.largest + 1)
    starts = codes.starts
    towards_at: dict[tuple[int, bool], list[tuple[npt.NDArray[np.complex128], complex]]] = {}
    rows, columns, entries = [], [], []
    for leaf in range(forest.leaves):
        for step in range(1 << model.steps):
            row = (step * leaves + leaf) * digits
            side = forest.sides[leaf, step] if step < forest.depth else 0.0
            if not side:
                bias[row] = 1.0
                continue
            comparison = int(forest.comparisons[leaf, step])
            feature = int(forest.features[comparison])
            key = (comparison, bool(side > 0))
            if key not in towards_at:
                towards_at[key] = _digit_weights(
                    codes, feature, int(forest.thresholds[comparison]), greater=key[1]
                )
            for i, (weights, constant) in enumerate(towards_at[key]):
                bias[row + i] = constant
                rows.append(np.full(len(values), row + i))
                # The column of "digit i is v" (`Codes.columns_of`).
                columns.append(int(starts[feature]) + (values - 1) * digits + i)
                entries.append(weights)
    places = (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array((np.concatenate(entries), places), shape=(size, codes.columns)), bias


def _digit_weights(
    codes: Codes, feature: int, threshold: int, *, greater: bool
) -> list[tuple[npt.NDArray[np.complex128], complex]]:
    """For each digit the weights of its indicators in G + j·E, or in L + j·E for less, and the constant.

    On a grid "less" is "less or equal": the last digit of the threshold counts as less.
    """
    values = np.arange(1, codes.largest + 1)
    made = []
    limits = codes.digits_of(np.array(threshold), feature).tolist()
    for i, limit in enumerate(limits):
        least = limit + (i == len(limits) - 1 and codes.is_grid(feature))
        # The digit 0 has no indicator: it is 1 less the sum of the others.
        zero = complex(not greater and least > 0, limit == 0)
        held = (values > limit) if greater else (values < least)
        made.append((held + 1j * (values == limit) - zero, zero))
    return made


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
    # Bits are read at twice the scale: from half of the prime, so that their products stay at it.
    return Program(stages, source, output, top, q[top] / 2, wanted)


def _result_scale(model: Selection, q: Sequence[int]) -> float:
    room: float = q[0] / (2.0 * 2.0**HEADROOM_BITS * max(float(model.bound.max()), 1e-9))
    return room
