"""Fitted scikit-learn estimators and pipelines as graphs.

Linear models, scalers, projections, perceptrons and what composes them are read from the fitted attributes,
because the operators that ``skl2onnx`` writes for them hold float32: so ``interpret`` equals the estimator to
rounding in float64. Steps that are not in these tables go through ``skl2onnx``, each by itself, and its nodes
are lowered as those of any ONNX model.
"""

from __future__ import annotations

import warnings
from functools import reduce
from typing import Any

import numpy as np

from tacit.errors import ModelError, UnsupportedOpError
from tacit.importers.estimators import PREDICTORS, TRANSFORMERS
from tacit.importers.estimators.prediction import Prediction, class_labels
from tacit.importers.lowering import Lowering, Operand
from tacit.importers.onnx import inline_onnx
from tacit.importers.onnx_ops.shape import reshape
from tacit.importers.onnx_ops.tensor import take
from tacit.importers.protobuf import opsets_of
from tacit.importers.simplify import simplify
from tacit.ir.builder import GraphBuilder
from tacit.ir.graph import Graph

__all__ = ["COMPOSED", "import_sklearn"]

_SEARCHES = ("GridSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV", "RandomizedSearchCV")

_MISREAD = {
    ("CalibratedClassifierCV", "isotonic"): "calibrate with method='sigmoid'",
    (
        "TunedThresholdClassifierCV",
        "",
    ): "load its `estimator_` and hold the probabilities against `best_threshold_`",
}
"""Estimators, with their ``method`` where it matters, of which skl2onnx 1.20 makes another model: a way out."""

COMPOSED = (
    "ColumnTransformer",
    "FeatureUnion",
    "Pipeline",
    "VotingClassifier",
    "VotingRegressor",
    *_SEARCHES,
)
"""Names of estimators that are read by reading their parts."""


def import_sklearn(estimator: Any, n_features: int | None = None) -> Graph:
    """The graph of a fitted estimator or pipeline on (batch, features) float64.

    Outputs by role: a classifier gives ``label`` and ``probabilities`` or, where it has none, ``scores`` (its
    decision function); a regressor and a transformer give ``output``. ``n_features`` is needed only where the
    estimator does not record it.

    Raises ``ModelError`` when it is not fitted, ``UnsupportedOpError`` when a step cannot be read.
    """
    _check_fitted(estimator)
    width = n_features if n_features is not None else _width(estimator)
    if width is None or width < 1:
        raise ModelError(
            "the estimator does not record its number of features",
            hint="give n_features, or a pipeline that does",
        )
    ctx = Lowering(GraphBuilder(type(estimator).__name__))
    x = ctx.input("X", (None, width))
    answer = _predict(estimator, ctx, x, "")
    outputs: dict[str, Operand] = {answer.role: answer.primary}
    if answer.label is not None:
        outputs = {"label": answer.label, **outputs}
    computed = {node.output for node in ctx.builder.nodes}
    names: dict[str, str] = {}
    for role, operand in outputs.items():
        value = ctx.place(operand)
        if value not in computed:
            shape = tuple(-1 if size is None else size for size in operand.shape)
            value = ctx.builder.node("Reshape", value, shape=shape, name=role)
        names[value] = role
    ctx.builder.rename(names)
    metadata = {"source": "scikit-learn", "estimator": type(estimator).__name__}
    if ctx.rounded:
        metadata["float32"] = ", ".join(ctx.rounded)
    recorded = getattr(estimator, "feature_names_in_", None)
    graph = ctx.builder.finish(
        list(names.values()),
        roles={role: role for role in outputs},
        classes=None if answer.label is None else ctx.choice_table(answer.label),
        feature_names=None if recorded is None else tuple(str(name) for name in recorded),
        metadata=metadata,
    )
    return simplify(graph)


def _check_fitted(estimator: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if isinstance(estimator, type):
        raise ModelError(f"{estimator.__name__} is a class and no estimator", hint="make one and fit it")
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise ModelError(
            f"{type(estimator).__name__} is not fitted", hint="call fit(X, y) before you load it"
        ) from error
    except TypeError as error:
        raise ModelError(f"{type(estimator).__name__} is no estimator") from error


def _width(estimator: Any) -> int | None:
    """Number of features, from the estimator or the first step that records it."""
    try:
        return int(estimator.n_features_in_)
    except AttributeError:
        return None


def _predict(estimator: Any, ctx: Lowering, x: Operand, path: str) -> Prediction:
    """What an estimator answers. ``path``: steps around it, for messages."""
    name = _name(estimator)
    ctx.source = f"{path}{type(estimator).__name__}"
    if name == "Pipeline":
        for key, step in estimator.steps[:-1]:
            x = _transform(step, ctx, x, f"{path}{key}/")
        key, last = estimator.steps[-1]
        return _predict(last, ctx, x, f"{path}{key}/")
    if name in _SEARCHES:
        return _predict(estimator.best_estimator_, ctx, x, path)
    if name in ("VotingClassifier", "VotingRegressor"):
        return _vote(estimator, ctx, x, path)
    if name in PREDICTORS:
        return PREDICTORS[name](estimator, ctx, x)
    if _passes(estimator) or name in TRANSFORMERS or name in ("ColumnTransformer", "FeatureUnion"):
        return Prediction("output", _transform(estimator, ctx, x, path))
    return _through_onnx(estimator, ctx, x)


def _vote(estimator: Any, ctx: Lowering, x: Operand, path: str) -> Prediction:
    """The weighted mean of probabilities (soft voting) or of regressors."""
    is_classifier = hasattr(estimator, "classes_")
    parts = [_predict(part, ctx, x, path) for part in estimator.estimators_]
    if is_classifier and (estimator.voting != "soft" or any(p.role != "probabilities" for p in parts)):
        raise UnsupportedOpError(
            "a vote that is not over probabilities is not read",
            node="VotingClassifier",
            op="VotingClassifier",
            hint="fit with voting='soft' over classifiers with predict_proba",
        )
    given = estimator.weights if estimator.weights is not None else [1.0] * len(estimator.estimators)
    kept = [w for w, (_, part) in zip(given, estimator.estimators, strict=True) if not _is_dropped(part)]
    total = float(sum(kept))
    scaled = [
        ctx.apply("Mul", part.primary, ctx.known(float(weight) / total))
        for weight, part in zip(kept, parts, strict=True)
    ]
    mean = reduce(lambda a, b: ctx.apply("Add", a, b), scaled)
    if not is_classifier:
        return Prediction("output", mean)
    index = ctx.apply("ArgMax", mean, axis=1, keepdims=0)
    return Prediction("probabilities", mean, ctx.choose(class_labels(estimator), index))


def _is_dropped(part: Any) -> bool:
    return isinstance(part, str) and part == "drop"


def _transform(step: Any, ctx: Lowering, x: Operand, path: str) -> Operand:
    """What a step before the last hands on."""
    if _passes(step):
        return x
    name = _name(step)
    ctx.source = f"{path}{type(step).__name__}"
    match name:
        case "Pipeline":
            for key, part in step.steps:
                x = _transform(part, ctx, x, f"{path}{key}/")
            return x
        case "FeatureUnion":
            return _union(step, ctx, x, path)
        case "ColumnTransformer":
            return _columns(step, ctx, x, path)
    if name in TRANSFORMERS:
        return TRANSFORMERS[name](step, ctx, x)
    return _through_onnx(step, ctx, x).primary


def _passes(step: Any) -> bool:
    return step is None or step == "passthrough"


def _name(estimator: Any) -> str:
    """The class name when it is scikit-learn's own; a class of one's own may answer differently."""
    kind = type(estimator)
    return kind.__name__ if kind.__module__.split(".")[0] == "sklearn" else ""


def _union(step: Any, ctx: Lowering, x: Operand, path: str) -> Operand:
    weights = step.transformer_weights or {}
    parts: list[Operand] = []
    for key, part in step.transformer_list:
        if _is_dropped(part):
            continue
        result = _transform(part, ctx, x, f"{path}{key}/")
        if key in weights:
            result = ctx.apply("Mul", result, ctx.known(float(weights[key])))
        parts.append(result)
    return _joined(ctx, parts, path)


def _columns(step: Any, ctx: Lowering, x: Operand, path: str) -> Operand:
    weights = step.transformer_weights or {}
    parts: list[Operand] = []
    for key, part, columns in step.transformers_:
        positions = _positions(step, columns, x.type.size(1))
        if _is_dropped(part) or not positions.size:
            continue
        result = _transform(part, ctx, take(ctx, x, positions, 1), f"{path}{key}/")
        if key in weights:
            result = ctx.apply("Mul", result, ctx.known(float(weights[key])))
        parts.append(result)
    return _joined(ctx, parts, path)


def _joined(ctx: Lowering, parts: list[Operand], path: str) -> Operand:
    if not parts:
        raise ModelError(f"`{path or 'the model'}` drops every feature")
    return parts[0] if len(parts) == 1 else ctx.apply("Concat", *parts, axis=1)


def _positions(step: Any, columns: Any, width: int) -> Any:
    """Columns of a ``ColumnTransformer`` (names, numbers, a mask, a slice) as numbers from 0."""
    if callable(columns):
        raise UnsupportedOpError(
            "columns chosen by a function are not read",
            node="ColumnTransformer",
            op="ColumnTransformer",
            hint="name the columns by number or by name",
        )
    if isinstance(columns, slice) and not any(isinstance(e, str) for e in (columns.start, columns.stop)):
        return np.arange(width)[columns]
    given = np.asarray([columns] if isinstance(columns, str | int) else columns)
    if given.dtype.kind == "b":
        return np.flatnonzero(given)
    if given.dtype.kind in "UO" and given.size:
        names = {str(name): i for i, name in enumerate(getattr(step, "feature_names_in_", ()))}
        if any(str(item) not in names for item in given):
            raise ModelError("a column is named that the data of the fit did not have")
        return np.array([names[str(item)] for item in given], dtype=np.int64)
    positions = given.astype(np.int64)
    return np.where(positions < 0, positions + width, positions)


def _through_onnx(estimator: Any, ctx: Lowering, x: Operand) -> Prediction:
    """A step that no table has: exported by ``skl2onnx`` in float64 where its converter can, then lowered."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    name = type(estimator).__name__
    if (name, getattr(estimator, "method", "")) in _MISREAD or (name, "") in _MISREAD:
        raise UnsupportedOpError(
            f"{name} cannot be read: what skl2onnx makes of it answers otherwise",
            node=name,
            op=name,
            hint=_MISREAD.get((name, "")) or _MISREAD[(name, estimator.method)],
        )
    is_classifier = hasattr(estimator, "classes_")
    options = {id(estimator): {"zipmap": False}} if is_classifier else None
    failures: list[Exception] = []
    for tensor in (DoubleTensorType, FloatTensorType):
        types = [("X", tensor([None, x.type.size(1)]))]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = to_onnx(estimator, initial_types=types, options=options)
            if tensor is FloatTensorType:
                ctx.rounded.append(name)
            break
        except Exception as error:  # converters raise whatever they like
            failures.append(error)
    else:
        raise UnsupportedOpError(
            f"{name} cannot be read: skl2onnx has no converter for it ({type(failures[-1]).__name__})",
            node=name,
            op=name,
            hint="use a linear model, a scaler, a projection or an MLP, or export the model to ONNX yourself",
        )
    ctx.is_double = tensor is DoubleTensorType
    outputs = inline_onnx(model.graph, ctx, [x], opsets_of(model))
    floats = [operand for operand in outputs.values() if operand.dtype == "float64"]
    if not is_classifier:
        primary = next(iter(outputs.values()))
        if hasattr(estimator, "predict") and len(primary.shape) == 2 and primary.shape[1] == 1:
            primary = reshape(ctx, primary, (None,))
        return Prediction("output", primary)
    labels = [operand for operand in outputs.values() if ctx.choice(operand) is not None]
    if not floats or not labels:
        raise UnsupportedOpError(
            f"{name} gives no scores", node=name, op=name, hint="use a classifier with predict_proba"
        )
    class_labels(estimator)
    role = "probabilities" if hasattr(estimator, "predict_proba") else "scores"
    return Prediction(role, floats[0], labels[0])
