"""Random fitted trees, forests and boosted ensembles, with data for them, from one source of randomness."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import tacit
from tests.conformance.random_models import CALIBRATION_ROWS, Case

__all__ = ["random_trees"]


def random_trees(rng: Random) -> Case:
    """One to four trees of depth 1 to 3 on two to six features, for two or three classes or a number."""
    numbers = np.random.default_rng(rng.getrandbits(32))
    features, depth = rng.randint(2, 6), rng.randint(1, 3)
    x = numbers.normal(size=(CALIBRATION_ROWS, features)).round(rng.choice((1, 6)))
    score = x @ numbers.normal(size=features) + x[:, 0] * x[:, 1]
    classes = rng.choice((0, 2, 3))
    cuts = np.quantile(score, np.linspace(0, 1, max(classes, 2) + 1)[1:-1])
    y: Any = np.digitize(score, cuts) if classes else score
    model = _estimator(rng, classes > 0, depth)
    if rng.random() < 0.3:
        model = _scaled(model)
    layout = rng.choice(("latency", "latency", "throughput"))
    return Case(tacit.load(model.fit(x, y)), x, layout, None)


def _scaled(model: Any) -> Any:
    """The model behind a scaler."""
    from sklearn.pipeline import make_pipeline

    return make_pipeline(StandardScaler(), model)


def _estimator(rng: Random, is_classifier: bool, depth: int) -> Any:
    seed, trees = rng.getrandbits(16), rng.randint(1, 4)
    kind = rng.choice(("tree", "forest", "extra", "boosting"))
    if kind == "tree":
        single = DecisionTreeClassifier if is_classifier else DecisionTreeRegressor
        return single(max_depth=depth, random_state=seed)
    many = {
        "forest": (RandomForestRegressor, RandomForestClassifier),
        "extra": (ExtraTreesRegressor, ExtraTreesClassifier),
        "boosting": (GradientBoostingRegressor, GradientBoostingClassifier),
    }[kind][is_classifier]
    return many(n_estimators=trees, max_depth=depth, random_state=seed)
