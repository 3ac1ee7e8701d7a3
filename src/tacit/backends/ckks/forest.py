"""Tree ensembles in normal form: distinct comparisons, leaves as paths over them, and what each leaf adds to the
scores.

The importers write every ensemble as the same nine nodes (``Gather``, ``Less``, ``Cast``, ``Reshape``, ``MatMul``,
``Equal``, ``Cast``, ``MatMul``, ``ReduceSum``); what comes before must be a map of single features, what comes
after an affine map.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.partition import Partition, affine_between, cut_and_tail
from tacit.errors import ShapeError, UnsupportedOpError
from tacit.ir.graph import Graph, Node

__all__ = ["MAX_DEPTH", "MAX_LEAVES", "Forest", "import_forest"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_CHAIN = ("Gather", "Less", "Cast", "Reshape", "MatMul", "Equal", "Cast", "MatMul", "ReduceSum")
MAX_DEPTH = 64
MAX_LEAVES = 1 << 14


@dataclass(frozen=True, eq=False)
class Forest:
    """Comparison c asks whether x[features[c]] > thresholds[c].

    ``comparisons``: (leaves, depth) int64, those on the way to each leaf from the root down, -1 behind the end.
    ``sides``: (leaves, depth) float64, +1 where the way goes on if the comparison holds, -1 if it does not, 0 behind
    the end. ``tree``: (leaves,) which tree a leaf belongs to. ``values``: (scores, leaves): the scores are
    ``bias`` + the columns of the leaves that are reached, one in each tree.
    """

    features: IntArray
    thresholds: FloatArray
    comparisons: IntArray
    sides: FloatArray
    tree: IntArray
    values: FloatArray
    bias: FloatArray

    @property
    def trees(self) -> int:
        return int(self.tree.max(initial=-1)) + 1

    @property
    def leaves(self) -> int:
        return len(self.tree)

    @property
    def depth(self) -> int:
        return int(self.comparisons.shape[1])

    def spreads(self) -> FloatArray:
        """(trees, scores): largest difference between two leaves of a tree."""
        high, low = self._extremes()
        spread: FloatArray = high - low
        return spread

    def score_range(self) -> tuple[FloatArray, FloatArray]:
        """(scores,) lowest and highest that any input gets."""
        high, low = self._extremes()
        return self.bias + low.sum(axis=0), self.bias + high.sum(axis=0)

    def _extremes(self) -> tuple[FloatArray, FloatArray]:
        high = np.full((self.trees, len(self.bias)), -np.inf)
        low = -high
        np.maximum.at(high, self.tree, self.values.T)
        np.minimum.at(low, self.tree, self.values.T)
        return high, low

    def reached(self, holds: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """(samples, leaves) whether each leaf is reached. ``holds``: (samples, comparisons)."""
        agrees = np.ones((len(holds), self.leaves), dtype=np.bool_)
        for step in range(self.depth):
            used = self.sides[:, step] != 0
            chosen = holds[:, self.comparisons[used, step]]
            agrees[:, used] &= chosen == (self.sides[used, step] > 0)
        return agrees


def import_forest(graph: Graph) -> tuple[Partition, Forest] | None:
    """The forest that a graph is, with the part that the owner runs after decryption; ``None`` for other graphs.

    Raises ``UnsupportedOpError`` for an ensemble behind something else than a scaling of single features.
    """
    start = next((i for i, node in enumerate(graph.nodes) if _is_ensemble(graph, i)), None)
    if start is None:
        return None
    nodes = graph.nodes[start : start + len(_CHAIN)]
    name = nodes[0].name or nodes[0].output
    # The sum over trees is nobody's secret, but its terms are.
    cut, tail = cut_and_tail(graph, inner=frozenset(node.output for node in nodes))
    before = _feature_map(graph, nodes[0], name)
    after = affine_between(graph, nodes[-1].output, cut)
    if after is None:
        raise UnsupportedOpError(
            f"what follows the trees of node `{name}` cannot run encrypted in this version",
            node=name,
            op="TreeEnsemble",
            hint="linear maps of the sum over trees run, and functions without learned constants at the owner",
        )
    forest = _normal_form(graph, nodes, before, after.matrix.toarray(), after.bias)
    part = Partition(
        nodes=(),
        cut=cut,
        tail=tail,
        input_shape=tuple(int(size) for size in graph.inputs[0].shape[1:] if size is not None),
    )
    if forest.leaves > MAX_LEAVES or forest.depth > MAX_DEPTH:
        raise UnsupportedOpError(
            f"the trees of node `{name}` have {forest.leaves} leaves, {forest.depth} deep",
            node=name,
            op="TreeEnsemble",
            hint=f"ensembles of up to {MAX_LEAVES} leaves and a depth of {MAX_DEPTH} run encrypted: "
            "limit `max_depth` or `n_estimators`",
        )
    return part, forest


def _is_ensemble(graph: Graph, start: int) -> bool:
    nodes = graph.nodes[start : start + len(_CHAIN)]
    if tuple(node.op for node in nodes) != _CHAIN or not nodes[0].name.endswith("/trees"):
        return False
    chained = all(node.output in following.inputs for node, following in itertools.pairwise(nodes))
    learned = (
        nodes[0].inputs[1],
        nodes[1].inputs[0],
        nodes[4].inputs[1],
        nodes[5].inputs[1],
        nodes[7].inputs[1],
    )
    return chained and all(constant in graph.constants for constant in learned)


def _feature_map(graph: Graph, gather: Node, name: str) -> tuple[IntArray, FloatArray, FloatArray]:
    """(sources, factors, shifts): what the trees read as feature j is factors[j]·x[sources[j]] + shifts[j]."""
    source = graph.inputs[0].name
    if len(graph.inputs) != 1 or not graph.inputs[0].has_batch:
        raise ShapeError(
            "encrypted prediction takes a model with one float input whose first dimension is the batch"
        )
    width = prod(int(size) for size in graph.inputs[0].shape[1:] if size is not None)
    if gather.inputs[0] == source:
        return np.arange(width), np.ones(width), np.zeros(width)
    affine = affine_between(graph, source, (gather.inputs[0],))
    matrix = np.zeros((0, 0)) if affine is None else affine.matrix.toarray()
    if affine is None or ((matrix != 0).sum(axis=1) > 1).any():
        raise UnsupportedOpError(
            f"the trees of node `{name}` do not read single features of the input",
            node=name,
            op="TreeEnsemble",
            hint="trees after scalers run encrypted; trees after a projection (PCA) or another model do not yet",
        )
    sources = np.abs(matrix).argmax(axis=1)
    return sources, matrix[np.arange(len(sources)), sources], affine.bias


def _normal_form(
    graph: Graph,
    nodes: tuple[Node, ...],
    before: tuple[IntArray, FloatArray, FloatArray],
    matrix: FloatArray,
    bias: FloatArray,
) -> Forest:
    columns = graph.constants[nodes[0].inputs[1]].astype(np.int64)
    limits = graph.constants[nodes[1].inputs[0]].astype(np.float64)
    paths = graph.constants[nodes[4].inputs[1]].astype(np.float64)
    rights = graph.constants[nodes[5].inputs[1]].astype(np.float64)[:, 0, :]
    leaves = graph.constants[nodes[7].inputs[1]].astype(np.float64)
    sources, factors, shifts = before
    known: dict[tuple[int, float], int] = {}
    ways: list[list[tuple[int, float]]] = []
    trees: list[int] = []
    values: list[FloatArray] = []
    for tree, leaf in np.argwhere(rights >= 0).tolist():
        way: list[tuple[int, float]] = []
        steps = np.flatnonzero(paths[tree, :, leaf])
        # An ancestor has more leaves under it than its descendants: from the root down is by falling width.
        widths = np.abs(paths[tree][steps]).sum(axis=1)
        for node in steps[np.argsort(-widths, kind="stable")].tolist():
            column, side = int(columns[tree, node]), float(paths[tree, node, leaf])
            factor = float(factors[column])
            if factor == 0:
                key, flipped = (
                    (int(sources[column]), -np.inf if shifts[column] > limits[tree, node] else np.inf),
                    1.0,
                )
            else:
                key = (int(sources[column]), float((limits[tree, node] - shifts[column]) / factor))
                flipped = 1.0 if factor > 0 else -1.0
            way.append((known.setdefault(key, len(known)), side * flipped))
        ways.append(way)
        trees.append(int(tree))
        values.append(leaves[tree, leaf])
    depth = max(1, max(len(way) for way in ways))
    comparisons = np.full((len(ways), depth), -1, dtype=np.int64)
    sides = np.zeros((len(ways), depth))
    for leaf, way in enumerate(ways):
        for step, (comparison, side) in enumerate(way):
            comparisons[leaf, step], sides[leaf, step] = comparison, side
    return Forest(
        features=np.array([feature for feature, _ in known], dtype=np.int64),
        thresholds=np.array([threshold for _, threshold in known], dtype=np.float64),
        comparisons=comparisons,
        sides=sides,
        tree=np.array(trees, dtype=np.int64),
        values=matrix @ np.array(values).T,
        bias=bias,
    )
