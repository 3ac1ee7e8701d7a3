"""The data and the models of the hospital story: who has breast cancer, by scikit-learn's own 569 patients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tacit.errors import InvalidParameterError

__all__ = ["MODELS", "Ward", "admit", "fit"]

MODELS = {
    "logistic": "StandardScaler, LogisticRegression",
    "mlp": "StandardScaler, MLPClassifier 30-16-2, tanh",
}
"""Name of a model and what it is."""


@dataclass(frozen=True)
class Ward:
    """Patients, (patients, 30) float64: ``known`` with their diagnosis at the company, ``new`` at the
    hospital, whose diagnosis, ``new_diagnosis``, nobody in the story knows yet."""

    known: np.ndarray
    diagnosis: np.ndarray
    new: np.ndarray
    new_diagnosis: np.ndarray


def admit() -> Ward:
    """The patients, split in the same way on every machine: 398 known, 171 new."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    data = load_breast_cancer()
    known, new, diagnosis, new_diagnosis = train_test_split(
        data.data, data.target_names[data.target], test_size=0.3, random_state=0, stratify=data.target
    )
    return Ward(known, diagnosis, new, new_diagnosis)


def fit(model: str, ward: Ward) -> Any:
    """A fitted scikit-learn pipeline, the same on every machine."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    match model:
        case "logistic":
            estimator = LogisticRegression(max_iter=1000)
        case "mlp":
            estimator = MLPClassifier((16,), activation="tanh", alpha=1.0, max_iter=2000, random_state=0)
        case _:
            raise InvalidParameterError(
                f"no model `{model}` in this story", hint=f"use one of {', '.join(MODELS)}"
            )
    return make_pipeline(StandardScaler(), estimator).fit(ward.known, ward.diagnosis)
