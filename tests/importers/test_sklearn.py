"""Every fitted model answers as its graph does: probabilities, decision values, predictions, transforms, labels."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from skl2onnx import to_onnx
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    IsolationForest,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.linear_model import Lasso, LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import TunedThresholdClassifierCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC

from tacit.errors import ModelError, UnsupportedOpError
from tacit.importers import import_sklearn, load
from tacit.ir import from_text, interpret, to_text
from tests.importers.fitted import DATA, FITTED, fit

TOLERANCE = 1e-11
"""Of the largest number of the answer, or of 1 when that is smaller."""


def _reference(estimator: Any, x: Any, role: str) -> Any:
    methods = {"probabilities": "predict_proba", "scores": "decision_function"}
    method = methods.get(role) or ("predict" if hasattr(estimator, "predict") else "transform")
    return np.asarray(getattr(estimator, method)(x))


@pytest.mark.parametrize("name", FITTED)
def test_the_graph_answers_as_the_estimator(name: str) -> None:
    estimator, x = fit(name)
    graph = load(estimator)
    role = next(role for role in ("probabilities", "scores", "output") if role in graph.roles)
    answers = interpret(graph, x)
    want = _reference(estimator, x, role)
    got = answers[graph.primary]
    assert got.shape == want.shape
    assert got.dtype == np.float64
    assert np.max(np.abs(got - want)) <= TOLERANCE * max(1.0, float(np.max(np.abs(want))))
    if hasattr(estimator, "classes_"):
        assert graph.label is not None and graph.classes is not None
        np.testing.assert_array_equal(answers[graph.label], estimator.predict(x))
        assert list(graph.classes) == list(estimator.classes_)
    assert from_text(to_text(graph)).digest() == graph.digest()


def test_no_model_was_rounded_to_float32() -> None:
    rounded = [name for name in FITTED if "float32" in load(fit(name)[0]).metadata]
    assert rounded == []


@pytest.mark.parametrize("vote", ["classes", "numbers"])
def test_votes(vote: str) -> None:
    if vote == "classes":
        x, y = DATA["iris"]
        parts = [
            ("a", LogisticRegression(max_iter=500)),
            ("b", make_pipeline(StandardScaler(), LogisticRegression())),
        ]
        estimator: Any = VotingClassifier(parts, voting="soft", weights=[1, 3]).fit(x, y)
        want = estimator.predict_proba(x)
    else:
        x, y = DATA["diabetes"]
        estimator = VotingRegressor([("a", Ridge()), ("b", Lasso())]).fit(x, y)
        want = estimator.predict(x)
    graph = load(estimator)
    np.testing.assert_allclose(interpret(graph, x)[graph.primary], want, rtol=0, atol=1e-9)


def test_feature_names_are_kept() -> None:
    x, y = DATA["iris"]
    frame = pd.DataFrame(x, columns=["a", "b", "c", "d"])
    graph = load(LogisticRegression(max_iter=500).fit(frame, y))
    assert graph.feature_names == ("a", "b", "c", "d")
    assert graph.metadata["estimator"] == "LogisticRegression"


def test_columns_by_name() -> None:
    from sklearn.compose import make_column_transformer

    x, y = DATA["iris"]
    frame = pd.DataFrame(x, columns=["a", "b", "c", "d"])
    chosen = make_column_transformer((StandardScaler(), ["d", "a"]), remainder="passthrough")
    estimator = make_pipeline(chosen, Ridge()).fit(frame, y)
    graph = load(estimator)
    np.testing.assert_allclose(interpret(graph, x)[graph.primary], estimator.predict(frame), atol=1e-9)


def test_two_classes_give_one_minus_p_and_p() -> None:
    graph = load(fit("logistic, two classes")[0])
    assert [node.op for node in graph.nodes if node.output == graph.primary] == ["Concat"]
    assert "Sigmoid" in {node.op for node in graph.nodes}


def test_the_classes_are_public_and_the_weights_are_not() -> None:
    graph = load(fit("logistic, named classes")[0])
    (public,) = graph.public_constants
    assert graph.constants[public].tolist() == ["setosa", "versicolor", "virginica"]
    assert {graph.values[name].owner for name in graph.constants if name != public} == {"provider"}


@pytest.mark.parametrize(
    "estimator",
    [LogisticRegression(), make_pipeline(StandardScaler(), LogisticRegression()), MLPClassifier()],
    ids=["estimator", "pipeline", "mlp"],
)
def test_unfitted_estimators_are_refused_with_a_hint(estimator: Any) -> None:
    with pytest.raises(ModelError, match="not fitted") as caught:
        load(estimator)
    assert "fit" in caught.value.hint


def test_a_class_is_no_estimator() -> None:
    with pytest.raises(ModelError):
        load(LogisticRegression)


def test_a_stateless_transformer_needs_its_width() -> None:
    with pytest.raises(ModelError, match="number of features"):
        import_sklearn(Normalizer())
    assert import_sklearn(Normalizer(), n_features=3).inputs[0].shape == (None, 3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: IsolationForest(n_estimators=3, random_state=0),
        lambda: SVC(break_ties=True),
        lambda: KNeighborsClassifier(),
        lambda: make_pipeline(FunctionTransformer(np.sort), LogisticRegression()),
    ],
    ids=["forest", "ties", "neighbours", "own function"],
)
def test_what_cannot_be_read_is_named_with_a_way_out(make: Any) -> None:
    x, y = DATA["iris"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = make().fit(x, y)
    with pytest.raises(UnsupportedOpError) as caught:
        load(estimator)
    assert caught.value.hint and caught.value.op


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: CalibratedClassifierCV(LinearSVC(), method="isotonic", cv=2).fit(x, y > 0),
        lambda x, y: TunedThresholdClassifierCV(LogisticRegression(max_iter=500), cv=2).fit(x, y > 0),
        lambda x, y: HistGradientBoostingClassifier(max_iter=2, categorical_features=[3]).fit(
            np.column_stack([x[:, :3], y]), x[:, 0] > 5.8
        ),
        lambda x, y: RidgeClassifier().fit(x, np.column_stack([y > 0, y > 1])),
    ],
    ids=["isotonic", "threshold", "categories", "labels"],
)
def test_what_would_be_read_wrongly_is_refused(make: Any) -> None:
    x, y = DATA["iris"]
    with pytest.raises(UnsupportedOpError) as caught:
        load(make(x, y))
    assert caught.value.hint and caught.value.op


def test_a_class_of_ones_own_is_not_taken_for_its_parent() -> None:
    class Opposite(LogisticRegression):
        def predict_proba(self, X: Any) -> Any:
            return super().predict_proba(X)[:, ::-1]

    x, y = DATA["iris"]
    with pytest.raises(UnsupportedOpError):
        load(Opposite(max_iter=500).fit(x, y))


def test_weights_that_diverged_are_refused() -> None:
    x, y = DATA["iris"]
    estimator = LogisticRegression(max_iter=500).fit(x, y)
    estimator.coef_ = estimator.coef_ * np.nan
    with pytest.raises(ModelError, match="NaN"):
        load(estimator)


def test_platts_probabilities_of_two_classes() -> None:
    """LIBSVM iterates to about 0.005; the graph has the numbers that it iterates to."""
    x, y = DATA["cancer"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = make_pipeline(StandardScaler(), SVC(probability=True, random_state=0)).fit(x, y)
        want = estimator.predict_proba(x)
        proto = to_onnx(estimator, x[:1].astype(np.float32), options={SVC: {"zipmap": False}})
    graph = load(estimator)
    answers = interpret(graph, x)
    assert graph.roles.keys() == {"probabilities", "label"}
    np.testing.assert_allclose(answers[graph.primary], want, atol=6e-3)
    np.testing.assert_array_equal(answers[graph.label], estimator.predict(x))
    again = load(proto)
    exported = interpret(again, x.astype(np.float32))
    np.testing.assert_allclose(exported[again.primary], answers[graph.primary], atol=1e-4)


def test_probabilities_of_three_classes_are_refused() -> None:
    x, y = DATA["iris"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = SVC(probability=True, random_state=0).fit(x, y)
    with pytest.raises(UnsupportedOpError, match="more than two classes") as caught:
        load(estimator)
    assert "probability" in caught.value.hint


def test_many_vectors_are_compared_by_their_products() -> None:
    """Above some thousand differences the distance is |x|² - 2·v·x + |v|²."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 30))
    estimator = SVR(C=10.0).fit(x, np.sin(x[:, 0]))
    assert estimator.support_vectors_.size > 1 << 13
    got = interpret(load(estimator), x)["output"]
    np.testing.assert_allclose(got, estimator.predict(x), atol=1e-9)
