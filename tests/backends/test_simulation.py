"""Simulated answers against encrypted ones: the same errors, the same marks, the same refusals."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tacit
from tacit.backends.ckks.compiled import Compiled
from tacit.backends.ckks.layout import WindowLayout
from tacit.backends.ckks.owner import Owner
from tacit.backends.ckks.provider import Provider
from tacit.backends.ckks.simulation import Simulation
from tacit.errors import DataRangeError, PrecisionError, ShapeError
from tacit.ir.builder import GraphBuilder
from tacit.ir.graph import Graph
from tacit.ir.interpret import interpret
from tacit.ir.signature import Attribute
from tests.backends.dense import dense, samples
from tests.backends.reference import candidate_of


def image_classifier() -> Graph:
    """(1, 12, 12) → 3: a convolution with stride, a square, a dense layer."""
    rng = np.random.default_rng(3)
    builder = GraphBuilder("image-classifier")
    value = builder.input("x", (None, 1, 12, 12))
    attributes: dict[str, Attribute] = {"strides": (2, 2), "pads": (0,) * 4, "dilations": (1, 1), "group": 1}
    value = builder.add("Conv", [value, builder.constant(rng.normal(size=(4, 1, 4, 4)) / 4)], attributes)
    value = builder.add("Mul", [value, value], {})
    value = builder.add("Reshape", [value], {"shape": (-1, 100)})
    value = builder.add("MatMul", [value, builder.constant(rng.normal(size=(100, 3)) / 10)], {})
    return builder.finish([value], roles={"scores": value})


def encrypted(compiled: Compiled, x: np.ndarray) -> np.ndarray:
    provider = Provider(compiled)
    owner = Owner(provider.public_plan())
    provider.load_keys(owner.evaluation_keys())
    answers = [owner.decrypt(provider.run(owner.encrypt(chunk)), strict=False) for chunk in owner.batches(x)]
    return np.concatenate([np.asarray(answer) for answer in answers])


@pytest.mark.parametrize("layout", ["latency", "throughput"])
@pytest.mark.parametrize(
    ("sizes", "activation"), [((8, 3), "square"), ((8, 6, 3), "square"), ((100, 16, 3), "square")]
)
def test_noise_has_the_size_of_encrypted_noise(sizes: tuple[int, ...], activation: str, layout: str) -> None:
    graph = dense(sizes, activation)
    x = samples(120, sizes[0])
    compiled = candidate_of(graph, x, layout=layout).compile()
    clear = interpret(graph, x)[graph.primary]
    some = x[:40] if layout == "latency" else x
    measured = (encrypted(compiled, some) - clear[: len(some)]).std()
    simulated = (np.asarray(Simulation(compiled, seed=1).predict(x)) - clear).std()
    assert 0.5 * measured <= simulated <= 2 * measured


@pytest.mark.parametrize("layout", ["latency", "throughput"])
@pytest.mark.parametrize("activation", ["Sigmoid", "Relu"])
def test_polynomials_are_those_of_the_plan(activation: str, layout: str) -> None:
    """Their error is above the noise, of which twelve runs showed 0.1 to 8 %: both answers agree to a part of it."""
    graph = dense((8, 6, 3), activation)
    x = samples(60, 8)
    compiled = candidate_of(
        graph, x, layout=layout, max_error=0.05 if activation == "Relu" else None
    ).compile()
    clear = interpret(graph, x)[graph.primary]
    simulated = np.asarray(Simulation(compiled, seed=1).predict(x))
    private = encrypted(compiled, x[:4])
    assert np.abs(simulated[:4] - private).max() < 0.3 * np.abs(private - clear[:4]).max()
    assert 0 < np.abs(simulated - clear).max() <= compiled.public.error_bound


def test_convolutions_and_their_windows() -> None:
    graph = image_classifier()
    x = np.random.default_rng(0).uniform(-1, 1, (64, *(s for s in graph.inputs[0].shape[1:] if s)))
    compiled = candidate_of(graph, x).compile()
    assert isinstance(compiled.public.input, WindowLayout)
    clear = interpret(graph, x)[graph.primary]
    error = np.abs(np.asarray(Simulation(compiled, seed=0).predict(x)) - clear).max()
    measured = np.abs(encrypted(compiled, x[:3]) - clear[:3]).max()
    assert 0.05 * measured <= error <= compiled.public.error_bound


def test_ten_thousand_images_fit_one_call() -> None:
    """A network 784-128-10; the images are noise."""
    graph = dense((784, 128, 10), "square")
    x = samples(10_000, 784)
    simulation = Simulation(candidate_of(graph, x[:200]).compile(), seed=0)
    answer = simulation.predict(x)
    assert answer.report.simulated
    assert np.abs(np.asarray(answer) - interpret(graph, x)[graph.primary]).max() <= answer.report.error_bound


@pytest.mark.parametrize("kind", ["network", "forest"])
def test_accuracy_is_the_encrypted_one(kind: str) -> None:
    """Within 0.2 points, over the samples that have a promise."""
    x, y = load_breast_cancer(return_X_y=True)
    if kind == "network":
        network = MLPClassifier((8,), activation="logistic", solver="lbfgs", alpha=1.0, random_state=0)
        model = make_pipeline(StandardScaler(), network).fit(x[:400], y[:400])
    else:
        model = RandomForestClassifier(2, max_depth=2, random_state=0).fit(x[:400], y[:400])
    with tacit.protect(model, calibration=x[:400], batch=500, check=0) as private:
        inside = [_accepted(private.owner, row[None]) for row in x[400:]]
        data, classes = x[400:][inside], y[400:][inside]
        real = private.predict(data, strict=False)
        simulated = private.predict(data, strict=False, simulate=True)
    assert len(data) > 120
    assert simulated.report.simulated and not real.report.simulated
    both = real.within_bound & simulated.within_bound
    assert (real.within_bound == simulated.within_bound).mean() > 0.98
    accuracy = [(answer.labels == classes)[both].mean() for answer in (real, simulated)]
    assert abs(accuracy[0] - accuracy[1]) <= 0.002
    assert accuracy[0] > 0.9


def _accepted(owner: Owner | None, row: np.ndarray) -> bool:
    assert owner is not None
    try:
        owner.plan.region.check(row)
    except DataRangeError:
        return False
    return True


def test_a_seed_repeats_the_noise() -> None:
    compiled = candidate_of(dense((8, 3)), samples(60, 8)).compile()
    x = samples(5, 8)
    first, again, other = (np.asarray(Simulation(compiled, seed=s).predict(x)) for s in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_bad_samples_are_refused_as_by_the_owner() -> None:
    simulation = Simulation(candidate_of(dense((8, 3)), samples(60, 8)).compile())
    with pytest.raises(DataRangeError):
        simulation.predict(np.full((1, 8), 50.0))
    with pytest.raises(ShapeError):
        simulation.predict(np.zeros((1, 7)))


def test_samples_at_a_threshold_are_marked() -> None:
    x = samples(200, 4)
    model = RandomForestClassifier(2, max_depth=2, random_state=0).fit(x, x[:, 0] > 0)
    tree = model.estimators_[0].tree_
    close = np.tile(x[:1], (2, 1))
    close[0, tree.feature[0]] = np.float64(tree.threshold[0]) + 1e-12
    with tacit.protect(model, calibration=x, check=0) as private:
        assert not private.predict(close[:1], strict=False, simulate=True).within_bound[0]
        with pytest.raises(PrecisionError, match="too close"):
            private.predict(close[:1], simulate=True)
