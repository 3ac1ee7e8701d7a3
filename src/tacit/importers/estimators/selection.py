"""Transformers that choose, multiply or encode features."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from tacit.errors import UnsupportedOpError
from tacit.importers.estimators.prediction import Transformer, finite
from tacit.importers.lowering import Lowering, Operand
from tacit.importers.onnx_ops.tensor import take

__all__ = ["SELECTION"]


def _selected(estimator: Any, ctx: Lowering, x: Operand) -> Operand:
    return take(ctx, x, np.asarray(estimator.get_support(indices=True), dtype=np.int64), 1)


def _polynomial(estimator: Any, ctx: Lowering, x: Operand) -> Operand:
    """Products of powers of features, in the order of ``powers_``; equal products are made once."""
    powers = np.asarray(estimator.powers_)
    columns = [take(ctx, x, np.array([i]), 1) for i in range(x.type.size(1))]
    products: dict[tuple[int, ...], Operand] = {}
    parts: list[Operand] = []
    for row in powers:
        factors = tuple(int(i) for i in np.repeat(np.arange(len(row)), row))
        if not factors:
            nothing = ctx.apply("Mul", columns[0], ctx.literal(0.0))
            parts.append(ctx.apply("Add", nothing, ctx.literal(1.0)))
            continue
        if factors[:-1] in products:
            product = ctx.apply("Mul", products[factors[:-1]], columns[factors[-1]])
        else:
            product = reduce(lambda a, b: ctx.apply("Mul", a, b), [columns[i] for i in factors])
        products[factors] = product
        parts.append(product)
    return ctx.apply("Concat", *parts, axis=1)


def _one_hot(estimator: Any, ctx: Lowering, x: Operand) -> Operand:
    """A column of zeros and ones for each category of each feature; an unknown category is all zeros."""
    infrequent = getattr(estimator, "infrequent_categories_", None)
    numeric = all(np.asarray(items).dtype.kind in "iuf" for items in estimator.categories_)
    if not numeric or (infrequent is not None and any(items is not None for items in infrequent)):
        raise UnsupportedOpError(
            "an encoder of strings or with infrequent categories is not read",
            node="OneHotEncoder",
            op="OneHotEncoder",
            hint="encode categories as integers before, and fit without min_frequency and max_categories",
        )
    dropped = estimator.drop_idx_
    parts: list[Operand] = []
    for i, items in enumerate(estimator.categories_):
        kept = np.asarray(items, dtype=np.float64)
        if dropped is not None and dropped[i] is not None:
            kept = np.delete(kept, int(dropped[i]))
        if kept.size:
            column = take(ctx, x, np.array([i]), 1)
            hit = ctx.apply("Equal", column, ctx.known(kept, f"categories.{i}"))
            parts.append(ctx.apply("Cast", hit, to="float64"))
    return parts[0] if len(parts) == 1 else ctx.apply("Concat", *parts, axis=1)


def _function(estimator: Any, ctx: Lowering, x: Operand) -> Operand:
    """Functions of NumPy that the graph has."""
    if estimator.func is None or (estimator.func is np.identity and not estimator.kw_args):
        return x
    names = {np.abs: "Abs", np.exp: "Exp", np.log: "Log", np.sqrt: "Sqrt", np.tanh: "Tanh"}
    if estimator.kw_args or estimator.func not in (*names, np.log1p, np.square):
        raise UnsupportedOpError(
            "a function of one's own is not read",
            node="FunctionTransformer",
            op="FunctionTransformer",
            hint="apply it before the model, or use abs, exp, log, log1p, sqrt, square or tanh of NumPy",
        )
    if estimator.func is np.square:
        return ctx.apply("Mul", x, x)
    if estimator.func is np.log1p:
        return ctx.apply("Log", ctx.apply("Add", x, ctx.literal(1.0)))
    return ctx.apply(names[estimator.func], x)


def _bins(estimator: Any, ctx: Lowering, x: Operand) -> Operand:
    """The number of inner edges at or below each value, as it is or as a column for each bin."""
    if estimator.encode == "onehot":
        raise UnsupportedOpError(
            "a discretizer with sparse output is not read",
            node="KBinsDiscretizer",
            op="KBinsDiscretizer",
            hint="fit with encode='onehot-dense' or 'ordinal'",
        )
    parts: list[Operand] = []
    for i, edges in enumerate(estimator.bin_edges_):
        inner = finite(edges[1:-1], "bin_edges_")
        below = ctx.apply("Less", take(ctx, x, np.array([i]), 1), ctx.known(inner, f"edges.{i}"))
        reached = ctx.apply("Cast", ctx.apply("Equal", below, ctx.literal(False)), to="float64")
        place = ctx.apply("ReduceSum", reached, axes=(1,), keepdims=1)
        if estimator.encode == "onehot-dense":
            numbers = ctx.literal(np.arange(len(inner) + 1, dtype=np.float64))
            place = ctx.apply("Cast", ctx.apply("Equal", place, numbers), to="float64")
        parts.append(place)
    return parts[0] if len(parts) == 1 else ctx.apply("Concat", *parts, axis=1)


_SELECTORS = (
    "GenericUnivariateSelect",
    "RFE",
    "RFECV",
    "SelectFdr",
    "SelectFpr",
    "SelectFromModel",
    "SelectFwe",
    "SelectKBest",
    "SelectPercentile",
    "SequentialFeatureSelector",
    "VarianceThreshold",
)

SELECTION: dict[str, Transformer] = {
    **dict.fromkeys(_SELECTORS, _selected),
    "FunctionTransformer": _function,
    "KBinsDiscretizer": _bins,
    "OneHotEncoder": _one_hot,
    "PolynomialFeatures": _polynomial,
}
