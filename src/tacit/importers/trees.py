"""Decision trees and their ensembles as matrices: the GEMM strategy.

S. Nakandala et al., A Tensor Compiler for Unified Machine Learning Prediction Serving (OSDI 2020), section 4.1: all
comparisons are made at once; a leaf is reached when exactly the right ones hold.

For T trees with at most I inner nodes and L leaves each and K outputs, x (batch, F) becomes, in this order::

    g = Gather(x, features)         features   (T, I)     axis 1
    r = Less(thresholds, g)         thresholds (T, I)     true: go right
    b = Reshape(Cast(r))            (batch, T, 1, I)
    c = MatMul(b, paths)            paths      (T, I, L)  1: right at the node leads to the leaf, -1: left does
    e = Equal(c, rights)            rights     (T, 1, L)  right turns on the way to the leaf
    v = MatMul(Cast(e), leaves)     leaves     (T, L, K)
    s = ReduceSum(v)                axes 1 and 2: (batch, K)

Leaves are numbered from left to right, so an inner node covers a run of them. Smaller trees are padded: features 0,
thresholds the largest float64 (never exceeded), paths 0, rights -1 (never reached), leaves 0. The names of these nodes
end in ``/trees``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tacit.errors import ModelError
from tacit.importers.lowering import Lowering, Operand
from tacit.ir.signature import Array

__all__ = ["MAX_PATHS", "Tree", "ensemble", "float32_thresholds"]

MAX_PATHS = 1 << 25
"""Most numbers in ``paths`` (256 MiB)."""

_NEVER = float(np.finfo(np.float64).max)


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """A binary tree; node 0 is the root. A value that exceeds ``threshold`` goes right.

    ``feature``, ``left``, ``right``: (nodes,) int64, ``left`` < 0 at leaves; ``threshold``: (nodes,) float64;
    ``value``: (nodes, outputs) float64, of which only the rows of leaves count.
    """

    feature: Array
    threshold: Array
    left: Array
    right: Array
    value: Array


@dataclass(frozen=True, slots=True, eq=False)
class _Numbered:
    """A tree in depth-first order: its inner nodes, its leaves, and the run of leaves under each inner node."""

    inner: list[int]
    leaves: list[int]
    runs: list[tuple[int, int, int]]


def ensemble(ctx: Lowering, x: Operand, trees: Sequence[Tree]) -> Operand:
    """The sum of the values of the leaves that x (batch, features) reaches: (batch, outputs).

    Raises ``ModelError`` for what is no tree, and for ensembles that are too large as matrices.
    """
    if not trees:
        raise ModelError("an ensemble needs a tree")
    width = x.type.size(1)
    numbered = [_number(tree, width) for tree in trees]
    count = len(trees)
    inner = max(1, max(len(item.inner) for item in numbered))
    leaves = max(len(item.leaves) for item in numbered)
    if count * inner * leaves > MAX_PATHS:
        raise ModelError(
            f"{count} trees with up to {inner} inner nodes and {leaves} leaves are too large as matrices",
            hint="limit max_depth or max_leaf_nodes, or grow fewer trees",
        )
    features = np.zeros((count, inner), dtype=np.int64)
    thresholds = np.full((count, inner), _NEVER)
    paths = np.zeros((count, inner, leaves))
    rights = np.full((count, 1, leaves), -1.0)
    values = np.zeros((count, leaves, trees[0].value.shape[1]))
    for t, (tree, item) in enumerate(zip(trees, numbered, strict=True)):
        features[t, : len(item.inner)] = tree.feature[item.inner]
        thresholds[t, : len(item.inner)] = np.clip(tree.threshold[item.inner], -_NEVER, _NEVER)
        for i, (start, middle, end) in enumerate(item.runs):
            paths[t, i, start:middle] = -1.0
            paths[t, i, middle:end] = 1.0
        rights[t, 0, : len(item.leaves)] = (paths[t, :, : len(item.leaves)] > 0).sum(axis=0)
        values[t, : len(item.leaves)] = tree.value[item.leaves]
    return _apply(ctx, x, features, thresholds, paths, rights, values)


def _apply(
    ctx: Lowering, x: Operand, features: Array, thresholds: Array, paths: Array, rights: Array, values: Array
) -> Operand:
    source, ctx.source = ctx.source, f"{ctx.source}/trees"
    gathered = ctx.apply("Gather", x, ctx.known(features, "features"), axis=1)
    right = ctx.apply("Cast", ctx.apply("Less", ctx.known(thresholds, "thresholds"), gathered), to="float64")
    samples = -1 if x.shape[0] is None else x.shape[0]
    rows = ctx.apply("Reshape", right, shape=(samples, features.shape[0], 1, features.shape[1]))
    turns = ctx.apply("MatMul", rows, ctx.known(paths, "paths"))
    reached = ctx.apply("Cast", ctx.apply("Equal", turns, ctx.known(rights, "rights")), to="float64")
    chosen = ctx.apply("MatMul", reached, ctx.known(values, "leaves"))
    total = ctx.apply("ReduceSum", chosen, axes=(1, 2), keepdims=0)
    ctx.source = source
    return total


def _number(tree: Tree, width: int) -> _Numbered:
    """Depth-first numbering; every node must be reached from the root once and only once."""
    total = len(tree.left)
    shapes = {len(array) for array in (tree.feature, tree.threshold, tree.right, tree.value)}
    if total == 0 or shapes != {total}:
        raise ModelError("a tree needs a root, and all its lists must be of one length")
    left, right = tree.left.tolist(), tree.right.tolist()
    inner: list[int] = []
    leaves: list[int] = []
    bounds: dict[int, list[int]] = {}
    seen = bytearray(total)
    # a number: visit the node; ~number: all leaves under its left child are numbered; the third step closes it
    work: list[tuple[int, int]] = [(0, 0)]
    while work:
        node, step = work.pop()
        if step == 0:
            if not 0 <= node < total or seen[node]:
                raise ModelError("a tree has a child that is no node, or a node with two parents")
            seen[node] = 1
            if left[node] < 0:
                leaves.append(node)
                continue
            inner.append(node)
            bounds[node] = [len(leaves)]
            work += [(node, 2), (right[node], 0), (node, 1), (left[node], 0)]
        else:
            bounds[node].append(len(leaves))
    if not all(seen):
        raise ModelError("a tree has a node that its root does not reach")
    used = tree.feature[inner]
    if used.size and (used.min() < 0 or used.max() >= width):
        raise ModelError(f"a tree asks for a feature that is not among the {width} of the input")
    if not np.isfinite(tree.value[leaves]).all() or np.isnan(tree.threshold[inner]).any():
        raise ModelError("a tree holds NaN or infinity", hint="its training diverged: fit it again")
    return _Numbered(inner, leaves, [(b[0], b[1], b[2]) for b in (bounds[node] for node in inner)])


def float32_thresholds(thresholds: Array) -> Array:
    """Thresholds t' with: float32(x) <= t exactly when x <= t', for every float64 x.

    float32(x) <= t means float32(x) <= a for the largest float32 a <= t. x rounds to a or below up to the middle
    between a and its successor; the middle itself rounds to the even one of the two.
    """
    with np.errstate(over="ignore"):
        below = thresholds.astype(np.float32)
        too_high = below.astype(np.float64) > thresholds
        below = np.where(too_high, np.nextafter(below, np.float32(-np.inf)), below).astype(np.float32)
        above = np.nextafter(below, np.float32(np.inf))
    middle = (below.astype(np.float64) + above.astype(np.float64)) / 2.0
    is_even = (below.view(np.uint32) & 1) == 0
    return np.where(is_even, middle, np.nextafter(middle, -np.inf))
