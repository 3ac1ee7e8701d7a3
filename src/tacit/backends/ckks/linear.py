"""A dense matrix between replicas, as generalised diagonals, rotations and folds.

y = M·x on slots: multiply rotations of the ciphertext by diagonals, add, then *fold*: add rotations by half the span, a
quarter … down to the output's period. Slots that are congruent modulo the output's period add up, so every one of them
ends with the same value: the result is replicated for the next map and no slot holds a partial sum (Halevi–Shoup
ia.cr/2014/106; the folded form for wide matrices is the hybrid method of ia.cr/2018/073, section 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.layout import ReplicatedLayout, SlotLayout, power_of_two
from tacit.errors import InternalError

__all__ = ["COMPLEX_FROM", "HOISTED", "SlotMap", "baby_steps", "between", "input_layout"]

FloatArray = npt.NDArray[np.float64]
SlotArray = npt.NDArray[np.float64] | npt.NDArray[np.complex128]


COMPLEX_FROM = 8
"""Diagonals from which folding the input into complex slots pays: it halves them and costs one conjugation."""


HOISTED = 0.4
"""Part of a rotation's cost that a baby step has: it reads its key and writes its products, and transforms nothing.

With it 16 diagonals take 8 baby steps and 64 take 16, which measured fastest at N = 2^13 and 2^14.
"""


@dataclass(frozen=True, eq=False)
class SlotMap:
    """Diagonals k → (slots,): Σ_k diagonal_k ⊙ rotate(x, k), then x += rotate(x, f) for each fold f, in order.

    ``real_part``: then x + conjugate(x), which is twice the real part (the diagonals hold half of the matrix).
    ``bias``: (slots,), added last; ``output``: layout of the result.
    """

    diagonals: Mapping[int, SlotArray]
    baby: int
    folds: tuple[int, ...]
    real_part: bool
    bias: SlotArray
    output: SlotLayout

    @property
    def rotations(self) -> tuple[int, ...]:
        """Rotations by which the product needs keys (the folds not counted)."""
        babies = {k % self.baby for k in self.diagonals}
        giants = {k - k % self.baby for k in self.diagonals}
        return tuple(sorted((babies | giants) - {0}))


def input_layout(size: int, outputs: int, slots: int) -> ReplicatedLayout:
    """The layout in which the owner packs an input of ``size`` for a map to ``outputs`` values.

    Copies are rotated against each other so that the number of diagonals, min(period, outputs padded), falls by the
    number of copies; a fold undoes it. Where many diagonals remain, the vector is folded into complex slots.
    """
    classes = power_of_two(outputs)

    def layout(period: int, *, is_complex: bool) -> ReplicatedLayout:
        block = max(period, classes)
        copies = min(slots // block, min(period, classes))
        step = min(period, classes) // copies % period
        return ReplicatedLayout(size, slots, period, block, copies, step, is_complex)

    period = power_of_two(size)
    if min(period, classes) * max(period, classes) >= COMPLEX_FROM * slots:
        return layout(period // 2, is_complex=True)
    return layout(period, is_complex=False)


def between(source: ReplicatedLayout, matrix: FloatArray, bias: FloatArray) -> SlotMap:
    """The map x → matrix·x + bias from a layout to plain replicas. ``matrix``: (outputs, source.size).

    Slot p makes row p mod m (m: outputs padded). Rotation by k brings element index_at[p + k] to slot p, so diagonal k
    holds matrix[p mod m, index_at[p + k]] there. Every (row, column) must be met exactly once among the slots that a
    fold adds up; that is checked, not assumed. From complex slots a + ib the row (u, v) takes Re((u - iv)(a + ib)).
    """
    outputs, slots, period = matrix.shape[0], source.slots, source.period
    m = power_of_two(outputs)
    span = max(source.span, m)
    count = -(-period * m // span) if source.copies > 1 else min(period, m)
    if m > period:
        count = period // source.copies
    index = source.index_at()
    padded = np.zeros((m, period * (1 + source.is_complex)))
    padded[:outputs, : source.size] = matrix
    entries: SlotArray = padded
    if source.is_complex:
        entries = (padded[:, :period] - 1j * padded[:, period:]) / 2
    rows = np.arange(slots) % m
    met = np.zeros((m, period), dtype=np.int64)
    diagonals: dict[int, SlotArray] = {}
    for k in range(count):
        columns = np.roll(index, -k)
        np.add.at(met, (rows[:span], columns[:span]), 1)
        diagonal = entries[rows, columns]
        if diagonal.any():
            diagonals[k] = diagonal
    if not (met == 1).all():
        raise InternalError(f"the diagonals of a {matrix.shape} map do not meet every entry once")
    folds = []
    step = span // 2
    while step >= m:
        folds.append(step)
        step //= 2
    output = ReplicatedLayout(outputs, slots, m, m)
    return SlotMap(
        diagonals=diagonals,
        baby=baby_steps(count),
        folds=tuple(folds),
        real_part=source.is_complex,
        bias=np.real(output.pack(bias)),
        output=output,
    )


def baby_steps(count: int) -> int:
    """Baby steps for ``count`` diagonals: the power of two at which hoisted babies and full giants cost least.

    A hoisted rotation costs ``HOISTED`` of a full one.
    """
    choices = [1 << i for i in range(power_of_two(count).bit_length())]
    return min(choices, key=lambda b: HOISTED * (min(b, count) - 1) + (-(-count // b) - 1))
