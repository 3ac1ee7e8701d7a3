"""A sparse matrix between any two layouts, as generalised diagonals, rotations and folds.

The same method as for dense maps (`linear.py`), for layouts that are known by ``index_at`` alone: a rotation by k
brings what slot p + k holds to slot p, so that an entry of the matrix lies on the diagonal of the difference between a
slot of its column and a slot of its row. Only diagonals on which the structure of the matrix has an entry exist.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.layout import SlotLayout, power_of_two
from tacit.backends.ckks.linear import HOISTED, SlotMap
from tacit.backends.ckks.matrix import Matrix
from tacit.errors import InternalError

__all__ = ["baby_steps", "connect", "folds", "rotations_between"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def rotations_between(source: SlotLayout, matrix: Matrix, output: SlotLayout) -> IntArray:
    """The rotations of a map from a layout that holds every element once in a span, ascending."""
    k = _differences(source, matrix, output)
    return np.flatnonzero(np.bincount(k, minlength=min(source.span, output.span)))


def folds(source: SlotLayout, output: SlotLayout) -> tuple[int, ...]:
    """Steps that add up all slots congruent modulo the output's span."""
    steps = []
    step = max(source.span, output.span) // 2
    while step >= output.span:
        steps.append(step)
        step //= 2
    return tuple(steps)


def connect(
    source: SlotLayout,
    matrix: Matrix,
    bias: FloatArray,
    output: SlotLayout,
    *,
    rotations: Sequence[int] | None = None,
) -> SlotMap:
    """The map x → matrix·x + bias. ``matrix``: (output.size, source.size).

    Rotation by k brings what slot p + k holds to slot p, so an entry lies on diagonal k at slot p where p makes its row
    and p + k holds its column. Every entry must be met exactly once among the slots that a fold adds up; that is
    checked, not assumed. ``rotations``: those to use, in order of preference, where the source holds elements several
    times; else there is one choice.
    """
    parts = _several(source, matrix, output, rotations) if rotations else _single(source, matrix, output)
    span = max(source.span, output.span)
    diagonals = {}
    for k, (places, entries) in sorted(parts.items()):
        diagonal = np.zeros(span)
        diagonal[places] = entries
        diagonals[k] = np.tile(diagonal, source.slots // span)
    met = sum(len(places) for places, _ in parts.values())
    if met != matrix.nnz:
        raise InternalError(f"the diagonals of a {matrix.shape} map meet {met} of {matrix.nnz} entries")
    return SlotMap(
        diagonals=diagonals or {0: np.zeros(source.slots)},
        baby=baby_steps(np.array(sorted(diagonals) or [0])),
        folds=folds(source, output),
        real_part=False,
        bias=np.real(output.pack(bias)),
        output=output,
    )


def baby_steps(diagonals: IntArray) -> int:
    """Baby steps for some diagonals: the power of two at which hoisted babies and full giants cost least.

    A hoisted rotation costs ``HOISTED`` of a full one.
    """

    def cost(baby: int) -> float:
        babies, giants = np.unique(diagonals % baby), np.unique(diagonals // baby)
        return HOISTED * np.count_nonzero(babies) + np.count_nonzero(giants)

    return min((1 << i for i in range(power_of_two(int(diagonals.max()) + 1).bit_length())), key=cost)


def _rows(matrix: Matrix) -> IntArray:
    """(entries,) row of each stored entry."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def _held(layout: SlotLayout, span: int) -> IntArray:
    """(span,) element held by each slot, -1 where it holds 0."""
    index = layout.index_at()[:span]
    return np.where(index < layout.size, index, -1)


def _first_slot(layout: SlotLayout) -> IntArray:
    """(size,) first slot of each element."""
    index = _held(layout, layout.span)
    places = np.zeros(layout.size + 1, dtype=np.int64)
    places[index[::-1]] = np.arange(layout.span)[::-1]
    return places[:-1]


def _differences(source: SlotLayout, matrix: Matrix, output: SlotLayout) -> IntArray:
    """(entries,) rotation of each entry: slots differ by it modulo both spans, so the smaller span is enough."""
    shift = _first_slot(source)[matrix.indices] - _first_slot(output)[_rows(matrix)]
    return np.asarray(shift % min(source.span, output.span))


def _single(source: SlotLayout, matrix: Matrix, output: SlotLayout) -> dict[int, tuple[IntArray, FloatArray]]:
    """Rotation → slots and entries, for a source that holds every element once in its span."""
    k = _differences(source, matrix, output)
    if source.span >= output.span:
        places = (_first_slot(source)[matrix.indices] - k) % source.span
    else:
        places = _first_slot(output)[_rows(matrix)]
    order = np.argsort(k, kind="stable")
    used, starts = np.unique(k[order], return_index=True)
    pieces = np.split(order, starts[1:]) if len(used) else []
    return {int(r): (places[piece], matrix.data[piece]) for r, piece in zip(used, pieces, strict=True)}


def _several(
    source: SlotLayout, matrix: Matrix, output: SlotLayout, rotations: Sequence[int]
) -> dict[int, tuple[IntArray, FloatArray]]:
    """Rotation → slots and entries, for any source: an entry is taken where it is met first."""
    span = max(source.span, output.span)
    rows, held = _held(output, span), _held(source, span)
    keys = _rows(matrix) * matrix.shape[1] + matrix.indices
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    open_entries = np.ones(len(keys), dtype=bool)
    parts = {}
    for k in rotations if len(keys) else ():
        columns = np.roll(held, -k)
        places = np.flatnonzero((rows >= 0) & (columns >= 0))
        wanted = rows[places] * matrix.shape[1] + columns[places]
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        taken = (keys[found] == wanted) & open_entries[found]
        found, first = np.unique(found[taken], return_index=True)
        if len(found):
            open_entries[found] = False
            parts[int(k)] = (places[taken][first], matrix.data[order[found]])
    return parts
