"""Tree ensembles: normal form, what the check proves, the program in the clear, and encrypted answers."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cbor2
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
from tacit.backends.ckks.codes import Codes, make_codes
from tacit.backends.ckks.compiled import Compiled
from tacit.backends.ckks.executor import Executor
from tacit.backends.ckks.forest import import_forest
from tacit.backends.ckks.forest_program import schedule_forest
from tacit.backends.ckks.forest_search import ForestPlan, plan_forest, undecided
from tacit.backends.ckks.layout import ColumnLayout
from tacit.backends.ckks.levels import moduli
from tacit.backends.ckks.selection import Selection, reached
from tacit.backends.ckks.simulator import Simulator
from tacit.errors import DataRangeError, MalformedMessageError, PrecisionError, UnsupportedOpError
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
def planned(name: str, layout: str) -> ForestPlan:
    graph, _ = fitted(name)
    found = import_forest(graph)
    assert found is not None
    low, high = found[1].score_range()
    data = MODELS[name][1][:300]
    return plan_forest(found[1], data, 0.03 * float((high - low).max()), layout)[0]


def codes_of(plan: ForestPlan) -> Codes:
    assert plan.region.codes is not None
    return plan.region.codes


def clear_scores(name: str, x: FloatArray) -> FloatArray:
    graph, _ = fitted(name)
    found = import_forest(graph)
    assert found is not None
    inner = graph.subgraph([graph.inputs[0].name], found[0].cut)
    outputs = interpret(inner, x)
    return np.concatenate([outputs[cut].reshape(len(x), -1) for cut in found[0].cut], axis=1)


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


@pytest.mark.parametrize("name", sorted(MODELS))
def test_rows_without_doubt_have_the_scores_of_the_model(name: str) -> None:
    graph, x = fitted(name)
    found = import_forest(graph)
    assert found is not None
    plan = planned(name, "throughput")
    model, codes = plan.model, codes_of(plan)
    region = plan.region
    inside = x[(np.abs(x - region.centre) <= region.radius).all(axis=1)]
    # Rows moved onto thresholds: by ranks they are what the doubt is there for; on a grid the next value is decided.
    rng = np.random.default_rng(0)
    close = inside.copy()
    for row, which in zip(close, rng.integers(0, len(found[1].features), len(close)), strict=True):
        feature, limit = int(found[1].features[which]), float(found[1].thresholds[which])
        code = codes.threshold(limit, feature)
        if not codes.is_grid(feature):
            row[feature] = limit
        elif 0 <= code < codes.count[feature] - 1:
            row[feature] = codes.value_of(code + int(rng.integers(0, 2)), feature)
    rows = np.concatenate([inside, close])
    region.check(rows)
    indicators = reached(model.forest, codes, rows)
    scores = indicators @ model.forest.values.T + model.forest.bias
    doubt = model.forest.trees - indicators.sum(axis=1)
    right = found[1].reached(rows[:, found[1].features] > found[1].thresholds)
    expected = right @ found[1].values.T + found[1].bias
    assert (doubt >= 0).all()
    assert (doubt[len(inside) :] > 0).any() or not plan.margin
    assert (doubt[: len(inside)] == 0).mean() > 0.98
    rounding = 1e-9 * max(1.0, np.abs(expected).max())
    assert (np.abs(scores - expected)[doubt == 0] <= model.error[:-1] + rounding).all()
    results = np.column_stack([scores, model.weight * doubt])
    assert (results >= model.low - 1e-9).all()
    assert (results <= model.high + 1e-9).all()
    assert undecided(model.forest, codes, rows) == (doubt > 0).sum()


@pytest.mark.parametrize("layout", ["latency", "throughput"])
@pytest.mark.parametrize("name", ["forest", "regression"])
def test_program_in_the_clear_selects_leaves(name: str, layout: str) -> None:
    _, x = fitted(name)
    plan = planned(name, layout)
    region, codes = plan.region, codes_of(plan)
    rows = x[(np.abs(x - region.centre) <= region.radius).all(axis=1)][:8]
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

    columns = region.normalise(rows)
    if isinstance(program.input, ColumnLayout):
        results = np.stack(run(list(columns.T))).real[:, :8].T
    else:
        rows = rows[:2]
        results = np.stack(
            [program.output.unpack(run([program.input.pack(unit)])[0].real) for unit in columns[:2].real]
        )
    indicators = reached(plan.model.forest, codes, rows)
    weights, constant = plan.model.score_weights()
    assert np.abs(results - (indicators @ weights.T + constant)).max() < 1e-6


def test_codes_keep_the_order_of_values_and_thresholds() -> None:
    rng = np.random.default_rng(0)
    data = np.column_stack(
        [
            rng.integers(0, 2, 200),
            rng.integers(-40, 90, 200),
            np.round(rng.gamma(2.0, 3.0, 200), 2),
            np.round(rng.normal(size=200), 3).astype(np.float32).astype(np.float64),
            rng.normal(size=200),
            np.exp(3 * rng.normal(size=200)),
        ]
    )
    low, high = data.min(axis=0) - 0.5, data.max(axis=0) + 0.5
    codes = make_codes(data, low, high, bits=16)
    assert codes.decimals.tolist() == [0, 0, 2, 3, -1, -1]
    assert codes.single.tolist() == [False, False, False, True, False, False]
    assert codes.width(0) == 1
    for feature in range(data.shape[1]):
        values = np.sort(np.concatenate([data[:, feature], rng.uniform(low[feature], high[feature], 500)]))
        assert (np.diff(codes.encode(values, feature)) >= 0).all()
        present = data[:, feature]
        for limit in [*rng.choice(present, 20), *rng.uniform(low[feature] - 1, high[feature] + 1, 20)]:
            threshold = codes.threshold(float(limit), feature)
            own = codes.encode(present, feature)
            greater = own > threshold
            if codes.is_grid(feature):
                assert (greater == (present > limit)).all()
            else:
                assert (greater <= (present > limit)).all()
                assert ((own < threshold) <= (present <= limit)).all()


def test_values_that_differ_by_rounding_only_have_codes() -> None:
    """0.1 + 0.2 is no 0.3: more calibration values between two floats than there are floats."""
    data = np.repeat([0.3, 0.1 + 0.2, 0.9], 20)[:, None]
    codes = make_codes(data, np.array([0.0]), np.array([1.2]), bits=8)
    assert codes.decimals.tolist() == [-1]
    assert codes.encode(data[:, 0], 0)[-1] > codes.encode(data[:, 0], 0)[0]


def test_pairs_in_the_packing_of_indicators_are_refused() -> None:
    x = np.column_stack([np.arange(60) % 20, np.random.default_rng(1).normal(size=60)])
    tree = DecisionTreeClassifier(max_depth=2, random_state=0).fit(x, x[:, 0] > 8)
    plan = tacit.Provider.from_model(tacit.load(tree), calibration=x, check=0).public_plan()
    fields = cbor2.loads(plan)
    fields["codes"]["group"], fields["codes"]["paired"] = 2, True
    fields["input"]["size"] = sum(fields["codes"]["digits"])
    with pytest.raises(MalformedMessageError):
        tacit.Owner(cbor2.dumps(fields, canonical=True))


def test_a_value_off_the_grid_is_refused_before_it_is_encrypted() -> None:
    x = np.column_stack([np.arange(60) % 20, np.random.default_rng(1).normal(size=60)])
    tree = DecisionTreeClassifier(max_depth=2, random_state=0).fit(x, x[:, 0] > 8)
    owner = tacit.Owner(tacit.Provider.from_model(tacit.load(tree), calibration=x).public_plan())
    with pytest.raises(DataRangeError, match=r"feature 0 of sample 0 .* 0 decimals"):
        owner.encrypt(np.array([[3.5, 0.1]]))
    assert owner.encrypt(np.array([[3.0, 0.1]]))


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
    # Of the comparisons on the way, one by ranks that is moved onto its threshold cannot be decided.
    codes = private.owner.plan.region.codes
    assert codes is not None
    roots = {int(c) for c in forest[1].comparisons[:, 0] if not codes.is_grid(int(forest[1].features[c]))}
    root = min(roots)
    at_threshold = x[:1].copy()
    at_threshold[0, forest[1].features[root]] = forest[1].thresholds[root]
    response = private.provider.run(private.owner.encrypt(at_threshold))
    with pytest.raises(PrecisionError, match="1 of 1 samples"):
        private.owner.decrypt(response)
    marked = private.owner.decrypt(response, strict=False)
    assert not marked.within_bound.any()
    assert marked.report.samples_out_of_bound == 1
    assert "comparison margin" in str(marked.report)


def test_equal_votes_go_to_the_first_class() -> None:
    model = RandomForestClassifier(2, max_depth=6, max_features=1, random_state=0).fit(
        CANCER[:300], SICK[:300]
    )
    with tacit.protect(model, calibration=CANCER[:300], batch=300, check=0) as private:
        inside = [_is_inside(private, row) for row in CANCER[300:]]
        rows = CANCER[300:][inside]
        votes = np.asarray(private.clear(rows))
        tied = np.flatnonzero(votes[:, 0] == votes[:, 1])
        assert len(tied) > 5
        simulated = private.predict(rows[tied], strict=False, simulate=True)
        assert simulated.labels is not None
        assert (simulated.labels == private.clear(rows[tied]).labels)[simulated.within_bound].all()


def test_leaves_of_one_comparison_do_not_cancel() -> None:
    """Stumps on a grid: the doubt, and the score of a tree with equal leaves, are constants and still encrypted."""
    x = np.random.default_rng(0).integers(0, 9, (80, 2)).astype(np.float64)
    stump = DecisionTreeClassifier(max_depth=1, random_state=0).fit(x, x[:, 0] > 4)
    with tacit.protect(stump, calibration=x, batch=64, check=0) as private:
        answer = private.predict(x[:64], compare=True)
    assert answer.within_bound.all()
    assert answer.report.max_error_against_clear <= answer.report.error_bound


def _is_inside(private: tacit.Private, row: FloatArray) -> bool:
    assert private.owner is not None
    try:
        private.owner.plan.region.check(row[None])
    except DataRangeError:
        return False
    return True


def test_bundle_round_trip_gives_the_same_program() -> None:
    graph, _ = fitted("tree")
    provider = tacit.Provider.from_model(graph, calibration=MODELS["tree"][1][:300])
    read = Compiled.from_bytes(provider.to_bytes())
    model = read.model
    assert isinstance(model, Selection)
    again = Compiled.from_bytes(read.to_bytes())
    assert again.to_bytes() == provider.to_bytes()
    assert read.public.margin is not None
    codes = read.public.region.codes
    assert codes is not None
    q, _ = moduli(read.chain.log_n, read.chain.log_q, read.chain.log_p)
    program = schedule_forest(model, read.chain, q, read.public.layout, codes)
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
