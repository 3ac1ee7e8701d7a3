"""The public API end to end, in one process, with real cryptography."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tacit
from tacit.errors import DataRangeError, InvalidParameterError, ModelError, ShapeError, TacitError, UsageError
from tacit.ir.builder import GraphBuilder
from tests.backends.dense import dense, samples

X = samples(60, 8)


@pytest.fixture(scope="module")
def cancer() -> tuple[np.ndarray, np.ndarray]:
    return load_breast_cancer(return_X_y=True)


def test_a_fitted_pipeline(cancer: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = cancer
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x[:400], y[:400])
    with tacit.protect(model, "ckks", calibration=x[:400]) as private:
        answer = private.predict(x[400:420], compare=True)
        assert (answer.labels == model.predict(x[400:420])).all()
        assert np.abs(np.asarray(answer) - model.predict_proba(x[400:420])).max() <= answer.report.error_bound
        assert 0 < answer.report.max_error_against_clear <= answer.report.error_bound < 0.1
        assert set(answer.report.seconds) == {"encrypt", "server", "decrypt"}
        assert answer.report.key_bytes <= 3_000_000
        assert answer.report.plan_id == private.plan.plan_id
        assert "promised" in str(answer.report)


def test_a_batch_fits_one_request(cancer: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = cancer
    model = Ridge().fit(x, y)
    private = tacit.protect(model, calibration=x, batch=len(x))
    assert len(list(private.owner.batches(x))) == 1
    answer = private.predict(x, compare=True)
    assert answer.shape == model.predict(x).shape
    assert np.abs(np.asarray(answer) - model.predict(x)).max() <= answer.report.error_bound


def test_samples_beyond_a_request_are_split() -> None:
    seen: list[float] = []
    private = tacit.protect(dense((8, 3)), calibration=X, progress=lambda phase, done: seen.append(done))
    answer = private.predict(X[:5], compare=True)
    assert answer.shape == (5, 3)
    assert seen == sorted(seen[: seen.index(1.0) + 1]) + seen[seen.index(1.0) + 1 :]
    assert seen[-1] == 1.0


def test_clear_is_the_reference() -> None:
    private = tacit.protect(dense((8, 3), last="Softmax"), "clear")
    answer = private.predict(X)
    assert answer.report.protection == "clear"
    assert np.allclose(np.asarray(answer).sum(axis=1), 1)
    assert set(answer.labels) <= {"class 0", "class 1", "class 2"}


def test_arithmetic_on_answers_gives_plain_arrays() -> None:
    answer = tacit.protect(dense((8, 3), last="Softmax"), "clear").predict(X)
    assert type(answer * 2) is np.ndarray
    assert answer[:2].labels is None
    assert float(answer.sum()) == pytest.approx(len(X))


@pytest.mark.parametrize(
    "way",
    [copy.copy, copy.deepcopy, lambda a: a.copy(), lambda a: pickle.loads(pickle.dumps(a))],  # noqa: S301
)
def test_a_copied_answer_keeps_all_of_it(way: Callable[[tacit.Answer], tacit.Answer]) -> None:
    answer = tacit.protect(dense((8, 3), last="Softmax"), "clear").predict(X)
    again = way(answer)
    assert type(again) is tacit.Answer and again is not answer
    assert (np.asarray(again) == np.asarray(answer)).all()
    assert (again.labels == answer.labels).all()
    assert again.report == answer.report
    assert again.within_bound.shape == (len(X),)


def test_simulated_answers_say_so_and_need_no_keys() -> None:
    graph = dense((8, 3), last="Softmax")
    answer = tacit.simulate(graph, X, calibration=X)
    assert answer.report.simulated and "simulated" in str(answer.report)
    assert answer.report.key_bytes == answer.report.bytes_up == 0
    assert 0 < answer.report.max_error_against_clear <= answer.report.error_bound
    with tacit.protect(graph, calibration=X) as private:
        same = private.predict(X, simulate=True)
        real = private.predict(X[:2])
    assert (same.labels == answer.labels).all() and (real.labels == answer.labels[:2]).all()
    with pytest.raises(UsageError, match="closed"):
        private.predict(X, simulate=True)


@pytest.mark.parametrize("protection", ["clear", "ckks"])
@pytest.mark.parametrize("wrong", ["a text", None, 3.0])
def test_what_is_no_table_is_refused(protection: str, wrong: object) -> None:
    with tacit.protect(dense((8, 3)), protection, calibration=X) as private, pytest.raises(UsageError):
        private.predict(wrong)  # type: ignore[arg-type]


def test_provider_on_its_own() -> None:
    provider = tacit.Provider.from_model(dense((8, 3)), calibration=X)
    owner = tacit.Owner(tacit.Provider.from_bytes(provider.to_bytes()).public_plan())
    provider.load_keys(owner.evaluation_keys())
    assert owner.decrypt(provider.run(owner.encrypt(X[:1]))).shape == (1, 3)
    assert provider.plan.plan_id == owner.plan.plan_id
    assert owner.plan.assumptions and owner.plan.who_sees["inputs"] == ("owner",)
    with pytest.raises(InvalidParameterError):
        tacit.Provider.from_model(dense((8, 3)), protection="clear")


def test_an_owner_is_not_copied() -> None:
    with tacit.protect(dense((8, 3)), calibration=X) as private:
        for way in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(UsageError):
                way(private.owner)


def test_closed_objects_forget_their_keys() -> None:
    private = tacit.protect(dense((8, 3)), calibration=X)
    private.close()
    private.close()
    assert private.owner is None and private.provider is None
    with pytest.raises(UsageError):
        private.predict(X[:1])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"protection": "rot13"}, InvalidParameterError),
        ({"protection": X}, InvalidParameterError),
        ({"batch": 0}, InvalidParameterError),
        ({"batch": 1.5}, InvalidParameterError),
        ({"threads": 0}, InvalidParameterError),
        ({"calibration": X[:, :3]}, ShapeError),
        ({"calibration": X[:0]}, ShapeError),
        ({"calibration": X[:1]}, ShapeError),
        ({"max_error": -1.0}, InvalidParameterError),
        ({"max_error": float("nan")}, InvalidParameterError),
    ],
)
def test_bad_arguments(arguments: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        tacit.protect(dense((8, 3)), **{"calibration": X, **arguments})


def test_a_model_with_two_inputs_is_refused_by_name() -> None:
    builder = GraphBuilder("two")
    total = builder.node("Add", builder.input("age", (None, 2)), builder.input("dose", (None, 2)))
    graph = builder.finish([builder.node("MatMul", total, builder.constant(np.ones((2, 1))))])
    answer = tacit.protect(graph, "clear").clear({"age": X[:, :2], "dose": X[:, 2:4]})
    assert np.allclose(np.asarray(answer)[:, 0], X[:, :4].sum(axis=1))
    for calibration in (X[:, :2], None):
        with pytest.raises(TacitError, match=r"one (float )?input") as caught:
            tacit.protect(graph, calibration=calibration)
        assert "one input" in caught.value.hint or "single" in caught.value.hint


def test_models_that_are_none() -> None:
    for thing in (3, b"not a model", "no/such/file.onnx"):
        with pytest.raises((ModelError, UsageError)):
            tacit.load(thing)


def test_values_outside_the_region_are_refused() -> None:
    private = tacit.protect(dense((8, 6, 3), "square"), calibration=X)
    with pytest.raises(DataRangeError):
        private.predict(X * 100)


def test_names_are_resolved_late() -> None:
    assert set(tacit.__all__) <= set(dir(tacit))
    with pytest.raises(AttributeError):
        _ = tacit.nothing
