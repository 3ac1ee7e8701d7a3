"""Support vector machines: kernels between the data and fixed vectors, and decisions between pairs of classes.

Decisions are those of LIBSVM (Chang and Lin, ACM TIST 2, 2011, section 4): for classes i < j in the order of their
labels one number, which votes for i where it is positive and for j where it is not; most votes win.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from tacit.importers.lowering import Lowering, Operand, Rule, SourceNode
from tacit.importers.onnx_ops.arithmetic import negate
from tacit.importers.onnx_ops.linear import affine
from tacit.importers.onnx_ops.ml import class_labels, features_of, largest, only_transform
from tacit.importers.onnx_ops.tensor import take
from tacit.ir.signature import Array

__all__ = ["KERNELS", "SVM", "Kernel", "chances_of_two", "decisions", "pair_weights", "winner_of_votes"]

KERNELS = ("linear", "poly", "rbf", "sigmoid")
_LEAST_CHANCE = 1e-7
"""LIBSVM keeps chances this far from 0 and 1."""
_DIFFERENCES = 1 << 13
"""Most differences between features and vectors that are written out for the RBF kernel."""


@dataclass(frozen=True)
class Kernel:
    """``linear`` v·x; ``poly`` (gamma·v·x + coef0)^degree; ``rbf`` exp(-gamma·|v - x|²); ``sigmoid`` tanh(…)."""

    name: str
    gamma: float = 1.0
    coef0: float = 0.0
    degree: float = 3.0


def decisions(
    ctx: Lowering, x: Operand, kernel: Kernel, vectors: Array, weights: Array, bias: Array
) -> Operand:
    """Σ weights · kernel(x, vectors) + bias: (batch, outputs).

    ``vectors``: (vectors, features); ``weights``: (outputs, vectors); ``bias``: (outputs,).
    """
    if kernel.name == "linear":
        return affine(ctx, x, weights @ vectors, bias)
    if kernel.name == "rbf":
        return affine(ctx, _radial(ctx, x, kernel.gamma, vectors), weights, bias)
    shift = np.full(len(vectors), kernel.coef0)
    products = affine(ctx, x, kernel.gamma * vectors, shift)
    if kernel.name == "poly":
        return affine(ctx, ctx.apply("Pow", products, ctx.known(kernel.degree)), weights, bias)
    return affine(ctx, ctx.apply("Tanh", products), weights, bias)


def _radial(ctx: Lowering, x: Operand, gamma: float, vectors: Array) -> Operand:
    """exp(-gamma · |v - x|²): (batch, vectors).

    By the squares of all differences where they are few: their sum is never negative, which keeps the range of what
    is approximated narrow. Otherwise as |x|² - 2·v·x + |v|².
    """
    count, features = vectors.shape
    if count * features <= _DIFFERENCES:
        tiled = take(ctx, x, np.tile(np.arange(features), count), 1) if count > 1 else x
        apart = ctx.apply("Sub", tiled, ctx.known(vectors.reshape(1, -1)))
        squares = ctx.apply("Reshape", ctx.apply("Mul", apart, apart), shape=(-1, count, features))
        distances = ctx.apply("ReduceSum", squares, axes=(2,), keepdims=0)
    else:
        norm = ctx.apply("ReduceSum", ctx.apply("Mul", x, x), axes=(1,), keepdims=1)
        crossed = affine(ctx, x, -2.0 * vectors, (vectors**2).sum(axis=1))
        distances = ctx.apply("Add", crossed, norm)
    return ctx.apply("Exp", ctx.apply("Mul", distances, ctx.known(-gamma)))


def pair_weights(dual: Array, counts: Sequence[int]) -> Array:
    """(pairs, vectors): what each vector weighs in the decision between classes i and j, for i < j in order.

    ``dual``: (classes - 1, vectors) as LIBSVM stores it: a vector of class i has its weight against class j in row
    j - 1 where j > i, and in row j where j < i. ``counts``: vectors of each class.
    """
    starts = np.concatenate([[0], np.cumsum(counts)])
    rows = []
    for i, j in combinations(range(len(counts)), 2):
        row = np.zeros(dual.shape[1])
        first, second = slice(starts[i], starts[i + 1]), slice(starts[j], starts[j + 1])
        row[first], row[second] = dual[j - 1, first], dual[i, second]
        rows.append(row)
    return np.stack(rows)


def winner_of_votes(ctx: Lowering, labels: Array, pairs: Operand) -> Operand:
    """The label with the most votes, the first of several. ``pairs``: (batch, pairs of classes)."""
    above = ctx.apply("Cast", ctx.apply("Less", ctx.literal(0.0), pairs), to="float64")
    below = ctx.apply("Sub", ctx.literal(1.0), above)
    order = list(combinations(range(labels.size), 2))
    for_first, for_second = (np.zeros((len(order), labels.size)) for _ in range(2))
    for p, (i, j) in enumerate(order):
        for_first[p, i], for_second[p, j] = 1.0, 1.0
    votes = [
        ctx.apply("MatMul", above, ctx.literal(for_first)),
        ctx.apply("MatMul", below, ctx.literal(for_second)),
    ]
    return largest(ctx, labels, ctx.apply("Add", *votes))


def chances_of_two(ctx: Lowering, decision: Operand, slope: float, shift: float) -> Operand:
    """Platt's probabilities (batch, 2) of two classes from their decision (batch, 1).

    1 - p and p with p = σ(slope·decision + shift). LIBSVM and ONNX Runtime find the same numbers by an iteration for
    any number of classes (Wu, Lin and Weng, JMLR 5, 2004, algorithm 2) that stops about 0.005 from them.
    """
    z = ctx.apply("Add", ctx.apply("Mul", decision, ctx.known(slope)), ctx.known(shift))
    second = ctx.apply("Sigmoid", z)
    second = ctx.apply("Max", second, ctx.literal(_LEAST_CHANCE))
    second = ctx.apply("Min", second, ctx.literal(1.0 - _LEAST_CHANCE))
    return ctx.apply("Concat", ctx.apply("Sub", ctx.literal(1.0), second), second, axis=1)


def _kernel(node: SourceNode) -> Kernel:
    name = node.text("kernel_type", "LINEAR").lower()
    if name not in KERNELS:
        raise node.malformed(f"kernel `{name.upper()}` is no kernel of ONNX")
    given = node.numbers("kernel_params", [0.0, 0.0, 3.0]) or [0.0, 0.0, 3.0]
    if len(given) != 3:
        raise node.malformed("`kernel_params` must be gamma, coef0 and degree")
    return Kernel(name, *given)


def _vectors(node: SourceNode, features: int, count: int) -> Array:
    """Support vectors (count, features), distinct in number from nothing."""
    vectors = np.array(node.numbers("support_vectors"), dtype=np.float64)
    if count < 1 or vectors.size != count * features:
        raise node.malformed("support vectors and coefficients do not fit")
    return vectors.reshape(count, features)


def _regressor(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x, features = features_of(node, ctx)
    kernel, rho = _kernel(node), node.numbers("rho")
    only_transform(node, ("NONE",))
    if node.integer("one_class", 0):
        raise node.unsupported("one class", "use the decision function")
    weights = np.array(node.numbers("coefficients"), dtype=np.float64)
    node.has("n_supports")
    if len(rho) != 1:
        raise node.malformed("there must be one `rho`")
    if not node.has("support_vectors") or not node.numbers("support_vectors"):
        if kernel.name != "linear" or weights.size != features:
            raise node.malformed(
                f"without support vectors the kernel is linear, with {features} coefficients"
            )
        return [affine(ctx, x, weights.reshape(1, -1), np.array(rho))]
    vectors = _vectors(node, features, weights.size)
    return [decisions(ctx, x, kernel, vectors, weights.reshape(1, -1), np.array(rho))]


def _classifier(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    """Votes of decisions between pairs, as ONNX Runtime has them; of two classes the scores are -d and d."""
    x, features = features_of(node, ctx)
    kernel, labels = _kernel(node), class_labels(node)
    only_transform(node, ("NONE",))
    slopes = node.numbers("prob_a", [])
    shifts = node.numbers("prob_b", [])
    if not node.has("vectors_per_class") or not node.integers("vectors_per_class"):
        return _linear(node, ctx, x, labels, kernel)
    counts = node.integers("vectors_per_class")
    total = sum(counts)
    dual = np.array(node.numbers("coefficients"), dtype=np.float64)
    pairs = labels.size * (labels.size - 1) // 2
    rho = np.array(node.numbers("rho"), dtype=np.float64)
    if min(counts) < 0 or len(counts) != labels.size < 2 or dual.size != (labels.size - 1) * total:
        raise node.malformed("coefficients, classes and vectors of each class do not fit")
    if rho.size != pairs:
        raise node.malformed(f"there must be {pairs} `rho`")
    weights = pair_weights(dual.reshape(labels.size - 1, total), counts)
    if labels.size == 2 and not slopes and dual.min() >= 0.0:
        # ONNX Runtime then compares the score with 1/2 and not with 0
        raise node.unsupported("all coefficients are positive", "export the model again with skl2onnx")
    made = decisions(ctx, x, kernel, _vectors(node, features, total), weights, rho)
    if slopes or shifts:
        return _chances(node, ctx, labels, made, slopes, shifts)
    if labels.size > 2:
        ctx.roles["scores"] = made.name
        return [winner_of_votes(ctx, labels, made), made]
    other = negate(ctx, made)
    scores = ctx.apply("Concat", other, made, axis=1)
    ctx.roles["scores"] = scores.name
    return [largest(ctx, labels, ctx.apply("Concat", made, other, axis=1)), scores]


def _chances(
    node: SourceNode,
    ctx: Lowering,
    labels: Array,
    decision: Operand,
    slopes: Sequence[float],
    shifts: Sequence[float],
) -> Sequence[Operand]:
    if labels.size != 2:
        raise node.unsupported(
            "probabilities of more than two classes, which are found by iteration",
            "fit without probability=True, or calibrate a classifier with one score for each class",
        )
    if len(slopes) != 1 or len(shifts) != 1:
        raise node.malformed("there must be one `prob_a` and one `prob_b`")
    scores = chances_of_two(ctx, decision, slopes[0], shifts[0])
    ctx.roles["probabilities"] = scores.name
    return [winner_of_votes(ctx, labels, decision), scores]


def _linear(node: SourceNode, ctx: Lowering, x: Operand, labels: Array, kernel: Kernel) -> Sequence[Operand]:
    """Without support vectors: one row of coefficients for each class, and the first ``rho`` for all."""
    features = x.type.size(1)
    weights = np.array(node.numbers("coefficients"), dtype=np.float64)
    rho = node.numbers("rho")
    if kernel.name != "linear" or labels.size < 3 or node.has("prob_a"):
        raise node.unsupported(
            "no support vectors", "export the model again with skl2onnx, or use LinearClassifier"
        )
    if weights.size != labels.size * features or not rho:
        raise node.malformed(f"there must be {labels.size * features} coefficients and a `rho`")
    scores = affine(ctx, x, weights.reshape(labels.size, features), np.full(labels.size, rho[0]))
    ctx.roles["scores"] = scores.name
    return [largest(ctx, labels, scores), scores]


SVM = (
    Rule(
        "SVMRegressor",
        _regressor,
        "MatMul Add Mul Pow Exp Tanh",
        "no post_transform; not one class",
        since=1,
        domain="ai.onnx.ml",
    ),
    Rule(
        "SVMClassifier",
        _classifier,
        "MatMul Add Mul Pow Exp Tanh Less ArgMax Gather",
        "probabilities of two classes only, within 0.005 of LIBSVM's; more classes: decisions between pairs",
        since=1,
        domain="ai.onnx.ml",
    ),
)
