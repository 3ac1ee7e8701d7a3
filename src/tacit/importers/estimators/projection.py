"""Transformers that project onto fitted directions."""

from __future__ import annotations

from typing import Any

import numpy as np

from tacit.errors import UnsupportedOpError
from tacit.importers.estimators.prediction import Transformer, finite
from tacit.importers.lowering import Lowering, Operand
from tacit.importers.onnx_ops.linear import affine

__all__ = ["PROJECTION"]


def _pca(estimator: Any, ctx: Lowering, x: Operand) -> Operand:
    """(x - mean) · componentsᵀ, over the standard deviations (clipped from below) when whitened."""
    weights = finite(estimator.components_, "components_")
    if estimator.whiten:
        deviation = np.sqrt(finite(estimator.explained_variance_, "explained_variance_"))
        weights = weights / np.maximum(deviation, np.finfo(np.float64).eps)[:, None]
    return affine(ctx, x, weights, -(weights @ finite(estimator.mean_, "mean_")))


def _components(estimator: Any, ctx: Lowering, x: Operand) -> Operand:
    held = estimator.components_
    weights = finite(held.toarray() if hasattr(held, "toarray") else held, "components_")
    return affine(ctx, x, weights, np.zeros(len(weights)))


def _discriminant(estimator: Any, ctx: Lowering, x: Operand) -> Operand:
    """The projection of a linear discriminant analysis."""
    if estimator.solver == "lsqr":
        raise UnsupportedOpError(
            "a discriminant analysis of the solver `lsqr` does not transform",
            node="LinearDiscriminantAnalysis",
            op="LinearDiscriminantAnalysis",
            hint="fit with the solver `svd` or `eigen`",
        )
    weights = finite(estimator.scalings_, "scalings_").T[: estimator._max_components]
    offset = finite(estimator.xbar_, "xbar_") if estimator.solver == "svd" else np.zeros(weights.shape[1])
    return affine(ctx, x, weights, -(weights @ offset))


PROJECTION: dict[str, Transformer] = {
    "GaussianRandomProjection": _components,
    "IncrementalPCA": _pca,
    "LinearDiscriminantAnalysis": _discriminant,
    "PCA": _pca,
    "SparseRandomProjection": _components,
    "TruncatedSVD": _components,
}
