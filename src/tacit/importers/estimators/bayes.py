"""Classifiers that compare the log-densities of normal distributions, one for each class.

A log-density is -|x · R - m|² / 2 and a constant, so all classes together are one affine map, one square and another
affine map.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, pi
from typing import Any

import numpy as np

from tacit.importers.estimators.prediction import (
    Prediction,
    Predictor,
    class_labels,
    finite,
    probabilities_of_classes,
)
from tacit.importers.lowering import Lowering, Operand
from tacit.importers.onnx_ops.linear import affine
from tacit.ir.signature import Array

__all__ = ["BAYES"]


def _densities(ctx: Lowering, x: Operand, maps: Sequence[Array], means: Array, offsets: Array) -> Operand:
    """Scores (batch, classes): offset_c - |(x - mean_c) · map_c|² / 2, with map_c (features, rank of the class)."""
    weights = np.hstack(maps)
    shift = np.concatenate([-(mean @ part) for mean, part in zip(means, maps, strict=True)])
    spread = affine(ctx, x, weights.T, shift)
    halves = np.zeros((len(maps), weights.shape[1]))
    start = 0
    for row, part in zip(halves, maps, strict=True):
        row[start : start + part.shape[1]] = -0.5
        start += part.shape[1]
    return affine(ctx, ctx.apply("Mul", spread, spread), halves, offsets)


def _naive(estimator: Any, ctx: Lowering, x: Operand) -> Prediction:
    """Features independent within a class, with the variances ``var_``."""
    variances = finite(estimator.var_, "var_")
    priors = np.log(finite(estimator.class_prior_, "class_prior_"))
    offsets = priors - 0.5 * np.sum(np.log(2.0 * pi * variances), axis=1)
    maps = [np.diag(1.0 / np.sqrt(row)) for row in variances]
    scores = _densities(ctx, x, maps, finite(estimator.theta_, "theta_"), offsets)
    return probabilities_of_classes(ctx, class_labels(estimator), scores)


def _quadratic(estimator: Any, ctx: Lowering, x: Operand) -> Prediction:
    """A covariance for each class, held as rotation and scaling."""
    scalings = [finite(part, "scalings_") for part in estimator.scalings_]
    maps = [
        finite(rotation, "rotations_") / np.sqrt(scaling)
        for rotation, scaling in zip(estimator.rotations_, scalings, strict=True)
    ]
    priors = finite(estimator.priors_, "priors_")
    offsets = np.array(
        [log(prior) - 0.5 * float(np.sum(np.log(part))) for prior, part in zip(priors, scalings, strict=True)]
    )
    scores = _densities(ctx, x, maps, finite(estimator.means_, "means_"), offsets)
    return probabilities_of_classes(ctx, class_labels(estimator), scores)


BAYES: dict[str, Predictor] = {"GaussianNB": _naive, "QuadraticDiscriminantAnalysis": _quadratic}
