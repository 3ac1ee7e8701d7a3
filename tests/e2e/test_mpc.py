"""`protect(model, "mpc")`: real processes and TLS, answers within the promise, errors that say why."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tacit
from tacit.errors import (
    DataError,
    DataRangeError,
    InvalidParameterError,
    PeerError,
    PrecisionError,
    ShapeError,
    UnsupportedOpError,
    UsageError,
)
from tacit.ir.builder import GraphBuilder
from tests.patience import until

X, Y = load_breast_cancer(return_X_y=True)
KNOWN, NEW = X[:400], X[400:460]
MODELS = {
    "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    "mlp": make_pipeline(StandardScaler(), MLPClassifier((12,), max_iter=3000, random_state=0, alpha=1.0)),
    "tanh": make_pipeline(
        StandardScaler(), MLPClassifier((8,), activation="tanh", max_iter=3000, random_state=0)
    ),
    "linear": make_pipeline(StandardScaler(), LinearRegression()),
}


def held(
    model: object, known: np.ndarray, new: np.ndarray, protection: str = "mpc", **options: object
) -> tacit.Answer:
    """The answer among parties, which keeps its promise."""
    with tacit.protect(model, protection, calibration=known, **options) as private:
        processes = private.shared.processes
        assert len(set(processes.values())) == 3
        assert os.getpid() not in processes.values()
        answer = private.predict(new, compare=True)
    for process in processes.values():
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
    report = answer.report
    assert 0 < report.error_bound < np.inf
    assert report.max_error_against_clear <= report.error_bound
    assert report.protection == private.plan.protection
    assert report.rounds > 0
    assert set(report.seconds) == {"share", "parties", "combine"}
    return answer


@pytest.mark.parametrize("name", MODELS)
def test_estimators(name: str) -> None:
    model = MODELS[name].fit(KNOWN, Y[:400])
    answer = held(model, KNOWN, NEW)
    assert not answer.report.measured
    assert answer.report.error_bound < 0.05
    if answer.labels is not None:
        likely = np.sort(np.asarray(answer), axis=1)
        decided = likely[:, -1] - likely[:, -2] > 2 * answer.report.error_bound
        assert decided.mean() > 0.9
        assert (answer.labels == model.predict(NEW))[decided].all()


def test_a_forest() -> None:
    model = RandomForestClassifier(n_estimators=5, max_depth=3, random_state=0).fit(KNOWN, Y[:400])
    answer = held(model, KNOWN, NEW)
    assert (answer.labels == model.predict(NEW)).all()


def network() -> tacit.ir.graph.Graph:
    """(n, 1, 8, 8): convolution, ReLU, max-pool, dense."""
    rng = np.random.default_rng(1)
    builder = GraphBuilder("network")
    x = builder.input("x", (None, 1, 8, 8))
    kernel = builder.constant(rng.normal(size=(3, 1, 3, 3)) / 3)
    placed = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
    value = builder.add("Conv", [x, kernel], {**placed, "group": 1})
    value = builder.add("Relu", [value], {})
    value = builder.add("MaxPool", [value], {**placed, "strides": (2, 2), "kernel": (2, 2)})
    value = builder.add("Reshape", [value], {"shape": (-1, 27)})
    value = builder.add("MatMul", [value, builder.constant(rng.normal(size=(27, 2)) / 5)], {})
    return builder.finish([value], roles={"scores": value})


def test_a_convolutional_network() -> None:
    rng = np.random.default_rng(2)
    images = rng.uniform(size=(40, 1, 8, 8))
    answer = held(network(), images, images[:7], batch=7)
    assert answer.shape == (7, 2)
    assert set(answer.report.bytes_by_party) == {"party-0", "party-1", "party-2"}


def test_a_dealer_is_a_party_that_was_asked_for() -> None:
    model = MODELS["mlp"].fit(KNOWN, Y[:400])
    told = tacit.explain(model, calibration=KNOWN, protections=("mpc", "mpc:dealer2"))
    assert [plan.protection for plan in told.plans] == ["mpc", "mpc:dealer2"]
    assert "the dealer" in " ".join(told.plans[1].assumptions)
    assert "the dealer" not in " ".join(told.plans[0].assumptions)
    assert told.plans[1].details["rounds"] < told.plans[0].details["rounds"]
    answer = held(model, KNOWN, NEW, protection="mpc:dealer2")
    assert set(answer.report.bytes_by_party) == {"party-0", "party-1", "dealer"}
    assert answer.report.plan_id != held(model, KNOWN, NEW, check=0).report.plan_id


@pytest.fixture(scope="module")
def private() -> Iterator[tacit.Private]:
    model = MODELS["logistic"].fit(KNOWN, Y[:400])
    with tacit.protect(model, "mpc", calibration=KNOWN) as private:
        yield private


def test_the_plan_was_tried(private: tacit.Private) -> None:
    assert private.plan.checked_samples == 3
    assert private.plan.checked_error is not None
    assert private.plan.checked_error <= private.plan.error_bound


def test_predicted_rounds_and_bytes_are_those_of_the_run(private: tacit.Private) -> None:
    report = private.predict(NEW[:1]).report
    told = private.plan.declaration.details
    assert report.rounds <= told["rounds"], "parties that do not wait in a round do not count it"
    assert report.bytes_by_party == told["bytes_by_party"]
    cost = private.plan.declaration.cost
    assert report.bytes_up == cost.bytes_up
    assert report.key_bytes == cost.key_bytes


def test_one_session_answers_many_times(private: tacit.Private) -> None:
    once, again = (private.predict(NEW[:5]) for _ in range(2))
    assert np.abs(np.asarray(once) - np.asarray(again)).max() <= 2 * private.plan.error_bound
    assert len(private.predict(NEW)) == len(NEW)


def test_bad_samples_are_refused_before_they_are_shared(private: tacit.Private) -> None:
    with pytest.raises(ShapeError):
        private.predict(NEW[:, :5])
    with pytest.raises(DataError):
        private.predict(np.full((1, 30), np.nan))
    with pytest.raises(DataRangeError) as caught:
        private.predict(NEW[:1] + 1e6)
    assert "1e+06" not in str(caught.value)
    with pytest.raises(InvalidParameterError):
        private.predict(NEW[:1], simulate=True)
    assert len(private.predict(NEW[:1])) == 1, "the parties are still there"


def test_bad_wishes_are_told() -> None:
    model = MODELS["logistic"].fit(KNOWN, Y[:400])
    with pytest.raises(DataError) as caught:
        tacit.protect(model, "mpc")
    assert "calibration" in caught.value.hint
    with pytest.raises(PrecisionError):
        tacit.protect(model, "mpc", calibration=KNOWN, max_error=1e-12)
    with pytest.raises(InvalidParameterError, match="mpc:dealer2"):
        tacit.protect(model, "mpc:cheap", calibration=KNOWN)
    with pytest.raises(InvalidParameterError, match="several parties"):
        tacit.Provider.from_model(model, protection="mpc", calibration=KNOWN)
    builder = GraphBuilder("rounded")
    whole = builder.node("Cast", builder.input("x", (None, 2)), to="int64", name="whole")
    refused = builder.finish([builder.node("Cast", whole, to="float64")])
    with pytest.raises(UnsupportedOpError, match="whole"):
        tacit.protect(refused, "mpc", calibration=NEW[:, :2])


@pytest.mark.parametrize("victim", ["party-0", "party-2"])
def test_a_killed_party_is_named(victim: str) -> None:
    model = MODELS["logistic"].fit(KNOWN, Y[:400])
    with tacit.protect(model, "mpc", calibration=KNOWN, check=0) as private:
        processes = private.shared.processes
        os.kill(processes[victim], signal.SIGKILL)
        with pytest.raises(PeerError) as caught:
            for _ in range(50):
                private.predict(NEW[:1])
        assert caught.value.party == victim
        with pytest.raises(UsageError):
            private.predict(NEW[:1])
        until(lambda: not any(os.path.exists(f"/proc/{process}") for process in processes.values()))


def test_explain_has_a_column() -> None:
    model = MODELS["logistic"].fit(KNOWN, Y[:400])
    told = tacit.explain(model, calibration=KNOWN)
    plan = told.to_dict()["plans"][2]
    assert plan["protection"] == "mpc"
    assert plan["sees"]["inputs"]["who"] == ["owner"]
    assert plan["sees"]["outputs"]["who"] == ["owner"]
    assert plan["sees"]["model weights"]["who"] == ["provider"]
    assert "parties" in plan["sees"]["model structure"]["who"]
    by_network = plan["details"]["seconds_by_network"]
    assert 0 < by_network["loopback"] < by_network["LAN"] < by_network["WAN"]
    assert by_network["WAN"] >= plan["details"]["rounds"] * 20e-3
    text = str(told)
    for needed in ("honest majority", "semi-honest", "rounds between parties", "sent by each party", "WAN"):
        assert needed in text
    assert "dealer" not in text
    assert max(map(len, text.splitlines())) <= 110
