"""Fitted scikit-learn estimators that are read directly, by family, with their exact float64 numbers."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tacit.importers.estimators.bayes import BAYES
from tacit.importers.estimators.linear import LINEAR
from tacit.importers.estimators.neural import NEURAL
from tacit.importers.estimators.prediction import Predictor, Transformer
from tacit.importers.estimators.projection import PROJECTION
from tacit.importers.estimators.scaling import SCALING
from tacit.importers.estimators.selection import SELECTION
from tacit.importers.estimators.support import SUPPORT
from tacit.importers.estimators.trees import TREES

__all__ = ["PREDICTORS", "TRANSFORMERS"]

TRANSFORMERS: Mapping[str, Transformer] = MappingProxyType({**SCALING, **PROJECTION, **SELECTION})
"""By class name: how a fitted transformer of scikit-learn acts on (batch, features)."""

PREDICTORS: Mapping[str, Predictor] = MappingProxyType({**BAYES, **LINEAR, **NEURAL, **SUPPORT, **TREES})
"""By class name: what a fitted classifier or regressor of scikit-learn answers."""
