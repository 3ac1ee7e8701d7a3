"""Tree ensembles of ai.onnx.ml, as exporters of scikit-learn, XGBoost and LightGBM write them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tacit.importers.lowering import Lowering, Operand, Rule, SourceNode
from tacit.importers.onnx_ops.activation import complement, softmax
from tacit.importers.onnx_ops.arithmetic import negate
from tacit.importers.onnx_ops.ml import class_labels, features_of, largest
from tacit.importers.onnx_ops.shape import reshape
from tacit.importers.trees import Tree, ensemble, float32_thresholds
from tacit.ir.signature import Array

__all__ = ["TREES"]

_HARMLESS = ("nodes_hitrates", "nodes_hitrates_as_tensor", "nodes_missing_value_tracks_true")
"""Attributes that do not change the answer: how often nodes were met, and where NaN would go."""

_MODES = {
    "BRANCH_LEQ": (False, False),
    "BRANCH_LT": (True, False),
    "BRANCH_GTE": (True, True),
    "BRANCH_GT": (False, True),
}
"""Of inner nodes: whether the threshold itself counts as above it, and whether the true child is the one above."""


def _numbers(node: SourceNode, key: str, default: Sequence[float] | None = None) -> Array:
    """Floats as an attribute, or as a tensor in ``key_as_tensor`` (float64 possible)."""
    if node.has(f"{key}_as_tensor"):
        return np.asarray(node.raw(f"{key}_as_tensor"), dtype=np.float64).reshape(-1)
    return np.array(node.numbers(key, default), dtype=np.float64)


def _integers(node: SourceNode, key: str, count: int) -> Array:
    values = np.array(node.integers(key), dtype=np.int64)
    if len(values) != count:
        raise node.malformed(f"`{key}` must have {count} entries. Got {len(values)} instead.")
    return values


def _read_trees(
    node: SourceNode, ctx: Lowering, prefix: str, outputs: int
) -> tuple[list[Tree], Array, Array]:
    """The trees; and of the leaves' weights the outputs that they are for and their numbers.

    Nodes are told by the pair of tree and node number. Where missing values go does not matter: NaN is never data.
    """
    for harmless in _HARMLESS:
        node.has(harmless)
    modes = node.texts("nodes_modes")
    count = len(modes)
    if not count:
        raise node.malformed("there are no nodes")
    tree_of, number = _integers(node, "nodes_treeids", count), _integers(node, "nodes_nodeids", count)
    feature = _integers(node, "nodes_featureids", count)
    yes, no = _integers(node, "nodes_truenodeids", count), _integers(node, "nodes_falsenodeids", count)
    threshold = _numbers(node, "nodes_values")
    if len(threshold) != count:
        raise node.malformed(f"`nodes_values` must have {count} entries")
    position = {pair: i for i, pair in enumerate(zip(tree_of.tolist(), number.tolist(), strict=True))}
    if len(position) != count:
        raise node.malformed("a node of a tree is there twice")
    ids, weights, value = _read_weights(node, prefix, outputs, position, modes)
    left, right = np.full(count, -1, dtype=np.int64), np.full(count, -1, dtype=np.int64)
    strict = np.zeros(count, dtype=np.bool_)
    for i, mode in enumerate(modes):
        if mode == "LEAF":
            continue
        if mode not in _MODES:
            raise node.unsupported(
                f"nodes of the mode {mode}", "export the model with comparisons by <= or <"
            )
        strict[i], swapped = _MODES[mode]
        children = [position.get((int(tree_of[i]), int(child[i])), count) for child in (yes, no)]
        left[i], right[i] = children[::-1] if swapped else children
    limits = _limits(threshold, strict, rounded=not ctx.is_double)
    return _split(node, tree_of, feature, limits, left, right, value), ids, weights


def _read_weights(
    node: SourceNode, prefix: str, outputs: int, position: dict[tuple[int, int], int], modes: Sequence[str]
) -> tuple[Array, Array, Array]:
    weights = _numbers(node, f"{prefix}_weights")
    ids = _integers(node, f"{prefix}_ids", len(weights))
    trees = _integers(node, f"{prefix}_treeids", len(weights))
    numbers = _integers(node, f"{prefix}_nodeids", len(weights))
    if ids.size and not (ids.min() >= 0 and ids.max() < outputs):
        raise node.malformed(f"`{prefix}_ids` must be in 0 … {outputs - 1}")
    if len(modes) * outputs > 1 << 24:
        raise node.malformed("the trees have too many leaves and outputs")
    value = np.zeros((len(modes), outputs))
    for tree, number, output, weight in zip(
        trees.tolist(), numbers.tolist(), ids.tolist(), weights.tolist(), strict=True
    ):
        found = position.get((tree, number))
        if found is None or modes[found] != "LEAF":
            raise node.malformed(f"`{prefix}_nodeids` names what is no leaf")
        value[found, output] += weight
    return ids, weights, value


def _limits(threshold: Array, strict: Array, *, rounded: bool) -> Array:
    """Thresholds that a value must exceed to go right, where float32 data are compared with float32 thresholds."""
    if not rounded:
        return np.where(strict, np.nextafter(threshold, -np.inf), threshold)
    single = threshold.astype(np.float32)
    before = np.nextafter(single, np.float32(-np.inf))
    return float32_thresholds(np.where(strict, before, single).astype(np.float64))


def _split(
    node: SourceNode, tree_of: Array, feature: Array, limits: Array, left: Array, right: Array, value: Array
) -> list[Tree]:
    """One ``Tree`` for each tree number, its root (the node that is nobody's child) first."""
    is_child = np.zeros(len(left) + 1, dtype=np.bool_)
    inner = left >= 0
    is_child[left[inner]] = True
    is_child[right[inner]] = True
    by_tree = np.argsort(tree_of, kind="stable")
    starts = np.flatnonzero(np.diff(tree_of[by_tree], prepend=tree_of[by_tree[:1]] - 1))
    place = np.full(
        len(left) + 1, len(left), dtype=np.int64
    )  # of a child that does not exist: no node of any tree
    orders: list[Array] = []
    for members in np.split(by_tree, starts[1:]):
        roots = members[~is_child[members]]
        if len(roots) != 1:
            raise node.malformed(
                f"tree {int(tree_of[members[0]])} must have one root. Got {len(roots)} instead."
            )
        order = np.concatenate([roots, members[members != roots[0]]])
        place[order] = np.arange(len(order))
        orders.append(order)
    return [
        Tree(
            feature[order],
            limits[order],
            np.where(inner[order], place[left[order]], -1),
            np.where(inner[order], place[right[order]], -1),
            value[order],
        )
        for order in orders
    ]


def _base(node: SourceNode, count: int) -> Array:
    values = _numbers(node, "base_values", [])
    if len(values) not in (0, count):
        raise node.malformed(f"`base_values` must have {count} entries. Got {len(values)} instead.")
    return values


def _regressor(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x, _ = features_of(node, ctx)
    targets = node.integer("n_targets", 1)
    if not 1 <= targets <= 1 << 16:
        raise node.malformed("the number of targets is out of range")
    aggregate = node.text("aggregate_function", "SUM")
    if aggregate not in ("SUM", "AVERAGE"):
        raise node.unsupported(f"the aggregate {aggregate}", "use SUM or AVERAGE")
    trees, _, _ = _read_trees(node, ctx, "target", targets)
    result = ensemble(ctx, x, trees)
    if aggregate == "AVERAGE":
        result = ctx.apply("Mul", result, ctx.literal(1.0 / len(trees)))
    base = _base(node, targets)
    result = ctx.apply("Add", result, ctx.known(base, "base")) if base.any() else result
    match node.text("post_transform", "NONE"):
        case "NONE":
            return [result]
        case "LOGISTIC":
            return [ctx.apply("Sigmoid", result)]
        case other:
            raise node.unsupported(f"post_transform {other}", "use NONE or LOGISTIC")


def _classifier(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x, _ = features_of(node, ctx)
    labels = class_labels(node)
    transform = node.text("post_transform", "NONE")
    if transform not in ("NONE", "LOGISTIC", "SOFTMAX"):
        raise node.unsupported(f"post_transform {transform}", "use NONE, LOGISTIC or SOFTMAX")
    trees, ids, weights = _read_trees(node, ctx, "class", labels.size)
    is_share = bool((weights >= 0.0).all())
    if labels.size <= 2:
        if labels.size != 2 or ids.any():
            raise node.unsupported(
                "two classes with scores other than one of id 0", "export the model with skl2onnx"
            )
        return _second_class(node, ctx, x, labels, trees, is_share, transform)
    base = _base(node, labels.size)
    if not is_share and not _covers(trees, labels.size):
        raise node.unsupported("a class without a score in some leaf", "export the model again with skl2onnx")
    scores = ensemble(ctx, x, trees)
    scores = ctx.apply("Add", scores, ctx.known(base, "base")) if base.any() else scores
    if transform == "LOGISTIC":
        scores = ctx.apply("Sigmoid", scores)
    elif transform == "SOFTMAX":
        scores = softmax(ctx, scores, 1)
    is_chance = transform == "SOFTMAX" or (transform == "NONE" and is_share)
    ctx.roles["probabilities" if is_chance else "scores"] = scores.name
    return [largest(ctx, labels, scores), scores]


def _covers(trees: Sequence[Tree], classes: int) -> bool:
    """Whether every sample meets a weight other than 0 for each class: a tree whose leaves all have one."""
    met = np.zeros(classes, dtype=np.bool_)
    for tree in trees:
        met |= (tree.value[tree.left < 0] != 0.0).all(axis=0)
    return bool(met.all())


def _second_class(
    node: SourceNode,
    ctx: Lowering,
    x: Operand,
    labels: Array,
    trees: Sequence[Tree],
    is_share: bool,
    transform: str,
) -> Sequence[Operand]:
    """Two classes with one score s, under the id 0, as ONNX Runtime has it: it is the score of the second class.

    Weights that are all positive are shares of the second class: it wins above 1/2, and the scores are 1 - s and s.
    Otherwise it wins above 0, and the scores are -s and s, or with LOGISTIC 1 - p and p.
    """
    single = [Tree(t.feature, t.threshold, t.left, t.right, t.value[:, :1]) for t in trees]
    score = ensemble(ctx, x, single)
    base = _base(node, 1)
    if base.any():
        score = ctx.apply("Add", score, ctx.known(base, "base"))
    if transform == "SOFTMAX":
        raise node.unsupported("softmax of one score", "export one score for each class")
    if transform == "LOGISTIC":
        scores = complement(ctx, ctx.apply("Sigmoid", score))
    else:
        other = ctx.apply("Sub", ctx.literal(1.0), score) if is_share else negate(ctx, score)
        scores = ctx.apply("Concat", other, score, axis=1)
    ctx.roles["probabilities" if is_share or transform == "LOGISTIC" else "scores"] = scores.name
    above = ctx.apply("Less", ctx.literal(0.5 if is_share else 0.0), score)
    index = ctx.apply("Cast", above, to="int64")
    return [ctx.choose(labels, reshape(ctx, index, index.shape[:1])), scores]


_NEW_MODES = (
    "BRANCH_LEQ",
    "BRANCH_LT",
    "BRANCH_GTE",
    "BRANCH_GT",
    "BRANCH_EQ",
    "BRANCH_NEQ",
    "BRANCH_MEMBER",
)


def _ensemble(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    """The operator of ai.onnx.ml 5: leaves have lists of their own, with one target and one weight each."""
    x, _ = features_of(node, ctx)
    targets = node.integer("n_targets", 1)
    if not 1 <= targets <= 1 << 16:
        raise node.malformed("the number of targets is out of range")
    for harmless in _HARMLESS:
        node.has(harmless)
    feature = np.array(node.integers("nodes_featureids"), dtype=np.int64)
    count = len(feature)
    modes = np.asarray(node.raw("nodes_modes", np.zeros(0))).reshape(-1)
    limits = np.asarray(node.raw("nodes_splits", np.zeros(0)), dtype=np.float64).reshape(-1)
    weights = np.asarray(node.raw("leaf_weights", np.zeros(0)), dtype=np.float64).reshape(-1)
    ids = _integers(node, "leaf_targetids", len(weights))
    if not count or len(modes) != count or len(limits) != count or not ((modes >= 0) & (modes < 7)).all():
        raise node.malformed(
            "the lists of nodes must have one entry for each node, and modes must be in 0 … 6"
        )
    if modes.max() > 3:
        raise node.unsupported(
            f"nodes of the mode {_NEW_MODES[int(modes.max())]}", "export comparisons by <= or <"
        )
    if (
        not len(weights)
        or ids.min() < 0
        or ids.max() >= targets
        or (count + len(weights)) * targets > 1 << 24
    ):
        raise node.malformed(f"there must be leaves, and their targets must be in 0 … {targets - 1}")
    strict = np.isin(modes, (1, 2))
    sides = [
        _children(node, f"nodes_{side}nodeids", f"nodes_{side}leafs", count, len(weights))
        for side in ("true", "false")
    ]
    swapped = modes >= 2
    left, right = np.where(swapped, sides[1], sides[0]), np.where(swapped, sides[0], sides[1])
    value = np.zeros((count + len(weights), targets))
    value[count + np.arange(len(weights)), ids] = weights
    moved = _limits(limits, strict, rounded=not ctx.is_double)
    trees = [
        _grown(node, int(root), feature, moved, left, right, value) for root in node.integers("tree_roots")
    ]
    result = ensemble(ctx, x, trees)
    match node.integer("aggregate_function", 1):
        case 0:
            result = ctx.apply("Mul", result, ctx.literal(1.0 / len(trees)))
        case 1:
            pass
        case other:
            raise node.unsupported(f"the aggregate {other}", "use SUM or AVERAGE")
    if node.integer("post_transform", 0):
        # the specification has 1 for softmax and 2 for logistic, ONNX Runtime the other way round
        raise node.unsupported(
            "post_transform of TreeEnsemble", "write Softmax or Sigmoid as a node of its own"
        )
    return [result]


def _children(node: SourceNode, ids: str, kinds: str, count: int, leaves: int) -> Array:
    """Children in one numbering: inner nodes, then leaves. One that does not exist becomes -1."""
    child, is_leaf = _integers(node, ids, count), _integers(node, kinds, count) != 0
    known = (child >= 0) & (child < np.where(is_leaf, leaves, count))
    return np.where(known, child + np.where(is_leaf, count, 0), -1)


def _grown(
    node: SourceNode, root: int, feature: Array, limits: Array, left: Array, right: Array, value: Array
) -> Tree:
    """The tree below a root. Two equal children that are a leaf are a tree of one leaf."""
    count = len(feature)
    if not 0 <= root < count:
        raise node.malformed("a root is no node")
    if left[root] == right[root] and left[root] >= count:
        leaf = int(left[root])
        nothing = np.array([-1], dtype=np.int64)
        return Tree(np.zeros(1, dtype=np.int64), np.zeros(1), nothing, nothing, value[leaf : leaf + 1])
    order: list[int] = []
    seen: set[int] = set()
    work = [root]
    while work:
        current = work.pop()
        if current < 0 or current in seen:
            raise node.malformed("a tree has a child that is no node, or a node with two parents")
        seen.add(current)
        order.append(current)
        if current < count:
            work += [int(right[current]), int(left[current])]
    place = {number: i for i, number in enumerate(order)}
    inner = np.array([number for number in order if number < count], dtype=np.int64)
    positions = np.array([place[number] for number in inner.tolist()], dtype=np.int64)
    features, thresholds = np.zeros(len(order), dtype=np.int64), np.zeros(len(order))
    lower, upper = np.full(len(order), -1, dtype=np.int64), np.full(len(order), -1, dtype=np.int64)
    features[positions], thresholds[positions] = feature[inner], limits[inner]
    lower[positions] = [place[number] for number in left[inner].tolist()]
    upper[positions] = [place[number] for number in right[inner].tolist()]
    return Tree(features, thresholds, lower, upper, value[order])


TREES = (
    Rule(
        "TreeEnsemble",
        _ensemble,
        "Gather Less Cast Reshape MatMul Equal ReduceSum Mul",
        "comparisons by order; SUM or AVERAGE; no post_transform; trees that fit into matrices",
        since=5,
        domain="ai.onnx.ml",
    ),
    Rule(
        "TreeEnsembleClassifier",
        _classifier,
        "Gather Less Cast Reshape MatMul Equal ReduceSum Add Sigmoid Softmax ArgMax",
        "comparisons by order; SUM; NONE, LOGISTIC, SOFTMAX; trees that fit into matrices",
        since=1,
        domain="ai.onnx.ml",
    ),
    Rule(
        "TreeEnsembleRegressor",
        _regressor,
        "Gather Less Cast Reshape MatMul Equal ReduceSum Add",
        "comparisons by order; SUM or AVERAGE; NONE or LOGISTIC; trees that fit into matrices",
        since=1,
        domain="ai.onnx.ml",
    ),
)
