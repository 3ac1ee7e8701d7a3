"""Tree ensembles: normal form, what the check proves, the program in the clear, and encrypted answers."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import tacit
from tacit.backends.ckks.compiled import Compiled
from tacit.backends.ckks.executor import Executor
from tacit.backends.ckks.forest import import_forest
from tacit.backends.ckks.forest_program import schedule_forest
from tacit.backends.ckks.forest_search import ForestPlan, distances, plan_forest
from tacit.backends.ckks.layout import ColumnLayout
from tacit.backends.ckks.levels import moduli
from tacit.backends.ckks.region import Region, calibrate_ranks
from tacit.backends.ckks.selection import Selection
from tacit.backends.ckks.simulator import Simulator
from tacit.errors import MalformedMessageError, PrecisionError, UnsupportedOpError
from tacit.ir.interpret import interpret

FloatArray = npt.NDArray[np.float64]

CANCER, SICK = load_breast_cancer(return_X_y=True)
SUGAR, PROGRESS = load_diabetes(return_X_y=True)
MODELS: dict[str, tuple[Any, FloatArray, FloatArray]] = {
    "tree": (DecisionTreeClassifier(max_depth=3, random_state=0), CANCER, SICK),
    "forest": (RandomForestClassifier(5, max_depth=3, random_state=0), CANCER, SICK),
    "boosting": (GradientBoostingClassifier(n_estimators=6, max_depth=2, random_state=0), CANCER, SICK),
    "regression": (ExtraTreesRegressor(4, max_depth=4, random_state=0), SUGAR, PROGRESS),
    "scaled": (
        make_pipeline(StandardScaler(), RandomForestClassifier(3, max_depth=2, random_state=0)),
        CANCER,
        SICK,
    ),
}


@lru_cache(maxsize=8)
def fitted(name: str) -> tuple[Any, FloatArray]:
    model, x, y = MODELS[name]
    return tacit.load(model.fit(x[:300], y[:300])), x[300:500]


@lru_cache(maxsize=16)
def planned(name: str, layout: str) -> tuple[ForestPlan, Region]:
    graph, _ = fitted(name)
    found = import_forest(graph)
    assert found is not None
    data = MODELS[name][1][:300]
    region = calibrate_ranks(data)
    low, high = found[1].score_range()
    plans = plan_forest(found[1], region, data, 0.03 * float((high - low).max()), layout)
    return plans[0], region


def clear_scores(name: str, x: FloatArray) -> FloatArray:
    graph, _ = fitted(name)
    found = import_forest(graph)
    assert found is not None
    inner = graph.subgraph([graph.inputs[0].name], found[0].cut)
    outputs = interpret(inner, x)
    return np.concatenate([outputs[cut].reshape(len(x), -1) for cut in found[0].cut], axis=1)


def polynomials(model: Selection, units: FloatArray, layout: str, wobble: float = 0.0) -> FloatArray:
    """(samples, scores + 1): the program in float64. ``wobble``: noise of the arguments, of both signs."""
    forest = model.forest
    gaps = units[:, forest.features] - forest.thresholds
    scale = (1 + np.abs(forest.thresholds)) / (1 - model.comparison.entry) if layout == "latency" else 2.0
    signs = np.where(np.arange(gaps.size).reshape(gaps.shape) % 2, 1.0, -1.0)
    holds = (1 + model.comparison(np.clip(gaps / scale + wobble * signs, -1, 1))) / 2
    # Packed, every path is padded to the same number of factors with comparisons that hold.
    padding = (1 << model.steps) - (forest.sides != 0).sum(axis=1)
    always = float((1 + model.comparison(1 - model.comparison.entry)) / 2)
    leaves = np.tile(always**padding if layout == "latency" else np.ones(forest.leaves), (len(units), 1))
    for step in range(forest.depth):
        side, which = forest.sides[:, step], forest.comparisons[:, step]
        factor = np.where(side > 0, holds[:, which], 1 - holds[:, which])
        leaves *= np.where(side != 0, factor, 1.0)
    linear, quadratic, constant = model.score_weights()
    result: FloatArray = (leaves @ linear.T + leaves**2 @ quadratic.T + constant) * model.unit
    return result


@pytest.mark.parametrize("name", sorted(MODELS))
def test_normal_form_is_the_model(name: str) -> None:
    graph, x = fitted(name)
    found = import_forest(graph)
    assert found is not None
    part, forest = found
    assert not set(part.tail.constants) - set(part.tail.public_constants)
    holds = x[:, forest.features] > forest.thresholds
    reached = forest.reached(holds)
    assert (reached.sum(axis=1) == forest.trees).all()
    scores = reached @ forest.values.T + forest.bias
    assert np.abs(scores - clear_scores(name, x)).max() < 1e-9 * max(1.0, np.abs(scores).max())


@pytest.mark.parametrize("layout", ["latency", "throughput"])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_rows_that_pass_are_within_the_bound_and_decided_rows_pass(name: str, layout: str) -> None:
    _, x = fitted(name)
    plan, region = planned(name, layout)
    model = plan.model
    units = region.normalise(np.clip(x, region.centre - region.radius, region.centre + region.radius))
    # Rows moved onto thresholds, and close to them: what the check is there for.
    rng = np.random.default_rng(0)
    close = units.copy()
    which = rng.integers(0, len(model.forest.features), len(close))
    shift = rng.uniform(-1, 1, len(close)) * 2 * model.comparison.margin
    close[np.arange(len(close)), model.forest.features[which]] = model.forest.thresholds[which] + shift
    units = np.concatenate([units, close])
    reached = model.forest.reached(units[:, model.forest.features] > model.forest.thresholds)
    right = reached @ model.forest.values.T + model.forest.bias
    results = polynomials(model, units, layout, wobble=model.comparison.entry)
    passes = results[:, -1] <= model.limit
    near = distances(model.forest, units)
    outside = getattr(near, layout) >= model.comparison.margin
    assert 0 < outside.sum() < len(units)
    assert passes[outside].all()
    assert not passes.all()
    error = np.abs(results[:, :-1] - right)
    assert (error[passes] <= model.error[:-1]).all()
    assert (results >= model.low - 1e-9).all()
    assert (results <= model.high + 1e-9).all()


@pytest.mark.parametrize("layout", ["latency", "throughput"])
@pytest.mark.parametrize("name", ["forest", "regression"])
def test_program_in_the_clear_is_the_polynomial(name: str, layout: str) -> None:
    _, x = fitted(name)
    plan, region = planned(name, layout)
    units = region.normalise(np.clip(x[:8], region.centre - region.radius, region.centre + region.radius))
    program, chain = plan.program, plan.chain
    simulator = Simulator(
        chain.log_n,
        *moduli(chain.log_n, chain.log_q, chain.log_p),
        columns=layout == "throughput",
    )
    executor = Executor(program, simulator)

    def run(vectors: list[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        inputs = [
            simulator.encrypt(simulator.encode(v, level=program.level, scale=program.scale)) for v in vectors
        ]
        return [simulator.decrypt(ct) for ct in executor.run(inputs)]

    if isinstance(program.input, ColumnLayout):
        results = np.stack(run(list(units.T))).real[:, :8].T
    else:
        results = np.stack(
            [program.output.unpack(run([program.input.pack(unit)])[0].real) for unit in units[:2]]
        )
    results = results * plan.model.unit
    expected = polynomials(plan.model, units[: len(results)], layout)
    assert np.abs(results - expected).max() < 1e-6 * max(1.0, float(np.abs(expected).max()))


def test_encrypted_answers_are_within_the_bound_or_marked() -> None:
    graph, x = fitted("forest")
    data = MODELS["forest"][1][:300]
    private = tacit.protect(graph, calibration=data, threads=1)
    assert private.owner is not None
    assert private.provider is not None
    forest = import_forest(graph)
    assert forest is not None
    clear = private.clear(x[:2])
    answer = private.predict(x[:2], compare=True, strict=False)
    assert answer.within_bound.all()
    assert answer.report.max_error_against_clear is not None
    assert 0 < answer.report.max_error_against_clear <= answer.report.error_bound
    assert answer.labels is not None
    assert (answer.labels == clear.labels).all()
    root = int(forest[1].comparisons[0, 0])
    at_threshold = x[:1].copy()
    at_threshold[0, forest[1].features[root]] = forest[1].thresholds[root]
    response = private.provider.run(private.owner.encrypt(at_threshold))
    with pytest.raises(PrecisionError, match="1 of 1 samples"):
        private.owner.decrypt(response)
    marked = private.owner.decrypt(response, strict=False)
    assert not marked.within_bound.any()
    assert marked.report.samples_out_of_bound == 1
    assert "comparison margin" in str(marked.report)


def test_bundle_round_trip_gives_the_same_program() -> None:
    graph, _ = fitted("tree")
    provider = tacit.Provider.from_model(graph, calibration=MODELS["tree"][1][:300])
    read = Compiled.from_bytes(provider.to_bytes())
    model = read.model
    assert isinstance(model, Selection)
    again = Compiled.from_bytes(read.to_bytes())
    assert again.to_bytes() == provider.to_bytes()
    assert read.public.margin == model.comparison.margin
    q, _ = moduli(read.chain.log_n, read.chain.log_q, read.chain.log_p)
    program = schedule_forest(model, read.chain, q, read.public.layout, read.public.features)
    assert program.rotations() == dict(read.public.rotations)
    model.forest.sides[0, 0] = 3.0
    with pytest.raises(MalformedMessageError):
        Compiled.from_bytes(read.to_bytes())


def test_explain_states_the_margin() -> None:
    graph, _ = fitted("tree")
    text = str(tacit.explain(graph, calibration=MODELS["tree"][1][:300], protections=("ckks",)))
    assert "comparison margin" in text
    assert "calibration rows within it" in text


def test_trees_behind_a_projection_are_refused() -> None:
    model = make_pipeline(PCA(4), DecisionTreeClassifier(max_depth=2)).fit(CANCER, SICK)
    with pytest.raises(UnsupportedOpError, match="single features"):
        import_forest(tacit.load(model))
