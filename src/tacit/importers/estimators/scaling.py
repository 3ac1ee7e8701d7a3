"""Transformers that work on each feature, or each row, by itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from tacit.errors import UnsupportedOpError
from tacit.importers.estimators.prediction import Transformer, finite
from tacit.importers.lowering import Lowering, Operand
from tacit.importers.onnx_ops.activation import clamp
from tacit.ir.signature import Array

__all__ = ["SCALING"]


def _shifted(ctx: Lowering, x: Operand, offset: object, scale: object) -> Operand:
    """(x - offset) / scale, each left out when ``None``."""
    if offset is not None:
        x = ctx.apply("Sub", x, ctx.known(finite(offset, "the centre"), "centre"))
    if scale is not None:
        x = ctx.apply("Mul", x, ctx.known(1.0 / finite(scale, "scale_"), "scale"))
    return x


def _standard(estimator: Any, ctx: Lowering, x: Operand) -> Operand:
    offset = estimator.mean_ if estimator.with_mean else None
    return _shifted(ctx, x, offset, estimator.scale_ if estimator.with_std else None)


def _robust(estimator: Any, ctx: Lowering, x: Operand) -> Operand:
    offset = estimator.center_ if estimator.with_centering else None
    return _shifted(ctx, x, offset, estimator.scale_ if estimator.with_scaling else None)


def _max_abs(estimator: Any, ctx: Lowering, x: Operand) -> Operand:
    scaled = _shifted(ctx, x, None, estimator.scale_)
    return clamp(ctx, scaled, -1.0, 1.0) if getattr(estimator, "clip", False) else scaled


def _min_max(estimator: Any, ctx: Lowering, x: Operand) -> Operand:
    scaled = ctx.apply("Mul", x, ctx.known(finite(estimator.scale_, "scale_"), "scale"))
    moved = ctx.apply("Add", scaled, ctx.known(finite(estimator.min_, "min_"), "shift"))
    low, high = estimator.feature_range
    return clamp(ctx, moved, float(low), float(high)) if estimator.clip else moved


def _normalizer(estimator: Any, ctx: Lowering, x: Operand) -> Operand:
    """Rows over their norm; a row of zeros stays."""
    match estimator.norm:
        case "l1":
            norm = ctx.apply("ReduceSum", ctx.apply("Abs", x), axes=(1,), keepdims=1)
        case "l2":
            norm = ctx.apply("Sqrt", ctx.apply("ReduceSum", ctx.apply("Mul", x, x), axes=(1,), keepdims=1))
        case _:
            norm = ctx.apply("ReduceMax", ctx.apply("Abs", x), axes=(1,), keepdims=1)
    empty = ctx.apply("Equal", norm, ctx.literal(0.0))
    return ctx.apply("Div", x, ctx.apply("Where", empty, ctx.literal(1.0), norm))


def _binarizer(estimator: Any, ctx: Lowering, x: Operand) -> Operand:
    above = ctx.apply("Less", ctx.known(float(estimator.threshold)), x)
    return ctx.apply("Cast", above, to="float64")


def _imputer(estimator: Any, ctx: Lowering, x: Operand) -> Operand:
    """NaN is never an input, so an imputer of NaN changes nothing; another value is replaced."""
    missing = estimator.missing_values
    statistics = np.asarray(estimator.statistics_)
    if estimator.add_indicator or statistics.dtype.kind != "f" or np.isnan(statistics).any():
        raise UnsupportedOpError(
            "an imputer with an indicator, of strings, or of features without any value is not read",
            node="SimpleImputer",
            op="SimpleImputer",
            hint="drop features without values and fit with add_indicator=False",
        )
    if missing is None or missing != missing:
        return x
    hit = ctx.apply("Equal", x, ctx.known(float(missing)))
    return ctx.apply("Where", hit, ctx.known(statistics, "statistics"), x)


def _power(estimator: Any, ctx: Lowering, x: Operand) -> Operand:
    """Yeo and Johnson's or Box and Cox's powers of each feature, then standardised.

    I.-K. Yeo and R. A. Johnson, A new family of power transformations, Biometrika 87 (2000), equation (2).
    """
    exponents = finite(estimator.lambdas_, "lambdas_")
    if estimator.method == "yeo-johnson":
        above = _risen(ctx, ctx.apply("Add", ctx.apply("Relu", x), ctx.literal(1.0)), exponents)
        mirrored = ctx.apply("Relu", ctx.apply("Mul", x, ctx.literal(-1.0)))
        below = _risen(ctx, ctx.apply("Add", mirrored, ctx.literal(1.0)), 2.0 - exponents)
        x = ctx.apply("Sub", above, below)
    else:
        x = _risen(ctx, x, exponents)
    return _standard(estimator._scaler, ctx, x) if estimator.standardize else x


def _risen(ctx: Lowering, base: Operand, exponents: Array) -> Operand:
    """(base^λ - 1) / λ for each feature, and log(base) where λ is zero."""
    zero = np.abs(exponents) < np.finfo(np.float64).eps
    safe = np.where(zero, 1.0, exponents)
    power = ctx.apply("Sub", ctx.apply("Pow", base, ctx.known(safe, "lambdas")), ctx.literal(1.0))
    result = ctx.apply("Mul", power, ctx.known(1.0 / safe))
    if not zero.any():
        return result
    return ctx.apply("Where", ctx.known(zero), ctx.apply("Log", base), result)


SCALING: dict[str, Transformer] = {
    "Binarizer": _binarizer,
    "MaxAbsScaler": _max_abs,
    "MinMaxScaler": _min_max,
    "Normalizer": _normalizer,
    "PowerTransformer": _power,
    "RobustScaler": _robust,
    "SimpleImputer": _imputer,
    "StandardScaler": _standard,
}
