"""Operators of ai.onnx.ml, as scikit-learn models are exported with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tacit.importers.lowering import Lowering, Operand, Rule, SourceNode
from tacit.importers.onnx_ops.activation import complement, softmax
from tacit.importers.onnx_ops.arithmetic import negate
from tacit.importers.onnx_ops.linear import affine
from tacit.importers.onnx_ops.shape import reshape
from tacit.importers.onnx_ops.tensor import take
from tacit.ir.signature import Array

__all__ = ["ML", "class_labels", "features_of", "largest", "only_transform"]

_ML = "ai.onnx.ml"
_Lower = Callable[[SourceNode, Lowering], Sequence[Operand]]


def _as_float(ctx: Lowering, x: Operand) -> Operand:
    return x if x.dtype == "float64" else ctx.apply("Cast", x, to="float64")


def features_of(node: SourceNode, ctx: Lowering) -> tuple[Operand, int]:
    """The input as (batch, features) floats, and the number of features."""
    x = _as_float(ctx, node.operand(0))
    if len(x.shape) == 1 and x.shape[0] is not None:
        x = reshape(ctx, x, (1, x.shape[0]))
    if len(x.shape) != 2:
        raise node.unsupported("the input is not (batch, features)", "flatten it first")
    return x, x.type.size(1)


def _row(node: SourceNode, key: str, count: int, default: float) -> Array:
    """An attribute of one number, or of one for each feature."""
    values = np.array(node.numbers(key, [default]), dtype=np.float64)
    if values.size not in (1, count):
        raise node.malformed(f"`{key}` must have 1 or {count} numbers")
    return values


def _scaler(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x, count = features_of(node, ctx)
    centred = ctx.apply("Sub", x, ctx.known(_row(node, "offset", count, 0.0)))
    return [ctx.apply("Mul", centred, ctx.known(_row(node, "scale", count, 1.0)))]


def _matrix(node: SourceNode, key: str, rows: int, columns: int) -> Array:
    values = np.array(node.numbers(key), dtype=np.float64)
    if values.size != rows * columns:
        raise node.malformed(f"`{key}` must have {rows * columns} numbers. Got {values.size} instead.")
    return values.reshape(rows, columns)


def _linear_regressor(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x, count = features_of(node, ctx)
    targets = node.integer("targets", 1)
    if targets < 1:
        raise node.malformed("there must be a target")
    bias: Array = np.array(node.numbers("intercepts", [0.0] * targets))
    if bias.size != targets:
        raise node.malformed(f"there must be {targets} intercepts")
    only_transform(node, ("NONE",))
    return [affine(ctx, x, _matrix(node, "coefficients", targets, count), bias)]


def only_transform(node: SourceNode, allowed: Sequence[str]) -> str:
    """The attribute `post_transform`, which must be one of those allowed."""
    transform = node.text("post_transform", "NONE")
    if transform not in allowed:
        raise node.unsupported(f"post_transform {transform}", f"use one of {', '.join(allowed)}")
    return transform


def class_labels(node: SourceNode) -> Array:
    """The class labels of a classifier, distinct."""
    for key in ("classlabels_strings", "classlabels_int64s", "classlabels_ints"):
        if node.has(key):
            labels = np.array(node.texts(key) if key.endswith("strings") else node.integers(key))
            if labels.ndim != 1 or not labels.size or np.unique(labels).size != labels.size:
                raise node.malformed("class labels must be distinct")
            return labels
    raise node.malformed("class labels are missing")


def largest(ctx: Lowering, labels: Array, scores: Operand) -> Operand:
    """The label of the column with the largest score."""
    return ctx.choose(labels, ctx.apply("ArgMax", scores, axis=1, keepdims=0))


def _classify(node: SourceNode, ctx: Lowering, x: Operand, weights: Array, bias: Array) -> Sequence[Operand]:
    """Label and scores of a linear classifier. Two opposite rows, as exporters write them, are one."""
    labels = class_labels(node)
    transform = only_transform(node, ("NONE", "LOGISTIC", "SOFTMAX"))
    rows = len(weights)
    if rows != labels.size and not (rows == 1 and labels.size == 2):
        raise node.malformed(f"{labels.size} class labels for {rows} rows of coefficients")
    opposite = rows == 2 and (weights[0] == -weights[1]).all() and bias[0] == -bias[1]
    if transform != "SOFTMAX" and (rows == 1 or opposite):
        positive = affine(ctx, x, weights[-1:], bias[-1:])
        if transform == "LOGISTIC":
            scores = complement(ctx, ctx.apply("Sigmoid", positive))
        else:
            # ONNX Runtime writes 1 - s and s for one row of coefficients, and decides by the sign of s
            other = ctx.apply("Sub", ctx.literal(1.0), positive) if rows == 1 else negate(ctx, positive)
            scores = ctx.apply("Concat", other, positive, axis=1)
            if rows == 1:
                ctx.roles["scores"] = scores.name
                index = ctx.apply("Cast", ctx.apply("Less", ctx.literal(0.0), positive), to="int64")
                return [ctx.choose(labels, reshape(ctx, index, (*index.shape[:1],))), scores]
    else:
        if rows == 1:
            raise node.unsupported("softmax of one score", "export one row of coefficients for each class")
        scores = affine(ctx, x, weights, bias)
        if transform == "LOGISTIC":
            scores = ctx.apply("Sigmoid", scores)
        elif transform == "SOFTMAX":
            scores = softmax(ctx, scores, 1)
    ctx.roles["scores" if transform == "NONE" else "probabilities"] = scores.name
    return [largest(ctx, labels, scores), scores]


def _linear_classifier(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    x, count = features_of(node, ctx)
    flat = node.numbers("coefficients")
    rows = len(flat) // count if count else 0
    if rows < 1:
        raise node.malformed("coefficients are missing")
    bias: Array = np.array(node.numbers("intercepts", [0.0] * rows))
    if bias.size != rows:
        raise node.malformed(f"there must be {rows} intercepts")
    return _classify(node, ctx, x, _matrix(node, "coefficients", rows, count), bias)


def _normalizer(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    """Rows over their norm; what is already probabilities stays. A row of zeros stays zero."""
    x, _ = features_of(node, ctx)
    match node.text("norm", "MAX"):
        case "L1":
            if x.name in ctx.normalized:
                return [x]
            norm = ctx.apply("ReduceSum", ctx.apply("Abs", x), axes=(1,), keepdims=1)
        case "L2":
            norm = ctx.apply("Sqrt", ctx.apply("ReduceSum", ctx.apply("Mul", x, x), axes=(1,), keepdims=1))
        case "MAX":
            norm = ctx.apply("ReduceMax", x, axes=(1,), keepdims=1)
        case other:
            raise node.malformed(f"norm `{other}` is no norm of ONNX")
    empty = ctx.apply("Equal", norm, ctx.literal(0.0))
    result = ctx.apply("Div", x, ctx.apply("Where", empty, ctx.literal(1.0), norm))
    if ctx.roles.get("probabilities") == x.name:
        ctx.roles["probabilities"] = result.name
    return [result]


def _array_feature_extractor(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    """Columns by constant numbers, or class labels by a computed index."""
    x, indices = node.operand(0), node.operand(1)
    if x.array is not None and indices.array is None:
        if indices.dtype != "int64" or x.array.size != max(x.array.shape, default=0):
            raise node.unsupported("rows are looked up", "only class labels can be")
        index = reshape(ctx, indices, (None,)) if indices.type.has_batch else indices
        return [ctx.choose(x.array.reshape(-1), index)]
    positions = node.known(1, "the columns").reshape(-1)
    if not x.shape or positions.dtype.kind != "i":
        raise node.malformed("columns must be integers")
    axis = len(x.shape) - 1
    if positions.size == 0 or ((positions < 0) | (positions >= x.type.size(axis))).any():
        raise node.malformed("a column is out of range")
    result = take(ctx, x, positions, axis)
    return [reshape(ctx, result, (1, *result.shape)) if len(x.shape) == 1 else result]


def _zip_map(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    """A map from class to score for each row stays a matrix with a column for each class."""
    x = node.operand(0)
    labels = class_labels(node)
    if len(x.shape) != 2 or x.shape[1] != labels.size:
        raise node.malformed("there must be a score for each class label")
    if ctx.roles.get("scores") != x.name:
        ctx.roles["probabilities"] = x.name
    return [x]


def _label_encoder(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    """Class labels under other names."""
    x = node.operand(0)
    choice = ctx.choice(x)
    table = x.array if choice is None else choice[0]
    if table is None:
        raise node.unsupported("features are encoded", "only class labels can be: encode the data before")
    kinds = ("strings", "int64s", "floats")
    keys = next((node.raw(f"keys_{k}") for k in kinds if node.has(f"keys_{k}")), None)
    values = next((node.raw(f"values_{k}") for k in kinds if node.has(f"values_{k}")), None)
    if keys is None or values is None or len(keys) != len(values):
        raise node.unsupported(
            "keys or values of this kind", "use strings or integers of ai.onnx.ml 2 or later"
        )
    mapping = dict(zip(keys, values, strict=True))
    items = table.reshape(-1).tolist()
    if any(item not in mapping for item in items):
        raise node.unsupported("a class label has no entry", "give every class an entry")
    encoded = np.array([mapping[item] for item in items]).reshape(table.shape)
    return [ctx.known(encoded) if choice is None else ctx.choose(encoded, choice[1])]


def _binarizer(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    above = ctx.apply("Less", ctx.known(node.number("threshold", 0.0)), _as_float(ctx, node.operand(0)))
    return [ctx.apply("Cast", above, to="float64")]


def _imputer(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    """What is replaced. NaN is never data; where it may arise later it is what does not equal itself."""
    x = node.operand(0)
    replaced = (
        node.number("replaced_value_float", 0.0)
        if x.dtype == "float64"
        else node.integer("replaced_value_int64", 0)
    )
    key = "imputed_value_floats" if x.dtype == "float64" else "imputed_value_int64s"
    filled: Array = np.array(node.numbers(key) if x.dtype == "float64" else node.integers(key))
    if filled.size not in (1, x.type.size(len(x.shape) - 1)):
        raise node.malformed("there must be one value, or one for each feature")
    if np.isinf(replaced):
        raise node.unsupported("infinity is replaced", "avoid it with Max, Min or Clip before")
    if np.isnan(replaced):
        if ctx.is_input(x):
            return [x]
        return [ctx.apply("Where", ctx.apply("Equal", x, x), x, ctx.known(filled))]
    missing = ctx.apply("Equal", x, ctx.known(replaced))
    return [ctx.apply("Where", missing, ctx.known(filled), x)]


def _one_hot_encoder(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    """A column of zeros and ones for each category; an unknown category is all zeros."""
    if not node.has("cats_int64s"):
        raise node.unsupported("categories are strings", "encode them as integers before")
    node.integer("zeros", 1)  # 0 asks for an error, which would tell the provider about the data
    x = node.operand(0)
    x = x if x.dtype == "int64" else ctx.apply("Cast", x, to="int64")  # as the runtime, which truncates
    spread = reshape(ctx, x, (*x.shape, 1))
    hit = ctx.apply("Equal", spread, ctx.known(np.array(node.integers("cats_int64s"), dtype=np.int64)))
    return [ctx.apply("Cast", hit, to="float64")]


def _feature_vectorizer(node: SourceNode, ctx: Lowering) -> Sequence[Operand]:
    parts = [_as_float(ctx, node.operand(i)) for i in range(len(node.inputs))]
    sizes = node.integers("inputdimensions", [part.type.size(1) for part in parts])
    if sizes != [part.type.size(1) for part in parts]:
        raise node.malformed("inputdimensions and the inputs differ")
    return [ctx.apply("Concat", *parts, axis=1)]


def _ml(op: str, lower: _Lower, to: str, note: str = "") -> Rule:
    return Rule(op, lower, to, note, since=1, domain=_ML)


ML = (
    _ml("Scaler", _scaler, "Sub Mul"),
    _ml("Normalizer", _normalizer, "Abs ReduceSum Mul Sqrt ReduceMax Where Div"),
    _ml("LinearRegressor", _linear_regressor, "MatMul Add", "no post_transform"),
    _ml(
        "LinearClassifier",
        _linear_classifier,
        "MatMul Add Sigmoid Softmax ArgMax Gather",
        "NONE, LOGISTIC, SOFTMAX",
    ),
    _ml(
        "ArrayFeatureExtractor", _array_feature_extractor, "Gather Slice", "constant columns, or class labels"
    ),
    _ml("ZipMap", _zip_map, "", "the matrix of scores stays a matrix"),
    _ml("LabelEncoder", _label_encoder, "Gather", "class labels only"),
    _ml("Binarizer", _binarizer, "Less Cast"),
    _ml("Imputer", _imputer, "Equal Where", "NaN is never an input"),
    _ml("OneHotEncoder", _one_hot_encoder, "Equal Cast", "integer categories"),
    _ml("FeatureVectorizer", _feature_vectorizer, "Concat"),
)
