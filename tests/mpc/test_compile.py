"""Programs give what the graph means, up to the error that they promise, and refuse what they cannot run."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tacit
from tacit.backends.mpc.compile import Compiled, compile_program, rehearse_program
from tacit.backends.mpc.lowering import lower
from tacit.backends.mpc.patterns import terms_of
from tacit.backends.mpc.ranges import Box
from tacit.backends.mpc.rules import RULES
from tacit.backends.mpc.simplify import simplify
from tacit.errors import DataRangeError, InvalidParameterError, PrecisionError, UnsupportedOpError
from tacit.ir.builder import GraphBuilder
from tacit.ir.graph import Graph
from tacit.ir.interpret import interpret
from tests.mpc.models import FloatArray, attention, convolutional, deep, dense


def outcome(graph: Graph, data: FloatArray, **options: float) -> tuple[Compiled, float]:
    """The program, and the largest error of the primary output on its calibration data."""
    compiled = compile_program(graph, calibration=data, **options)
    got = rehearse_program(compiled, {graph.inputs[0].name: data})
    wanted = interpret(graph, data)
    if graph.label is not None:
        assert (got[graph.label] == wanted[graph.label]).mean() > 0.97
    return compiled, float(np.abs(got[graph.primary] - wanted[graph.primary]).max())


@pytest.mark.parametrize("make", [dense, convolutional])
def test_networks_keep_a_proven_promise(make: object) -> None:
    graph, data = make()  # type: ignore[operator]
    compiled, error = outcome(graph, data)
    assert not compiled.program.measured and not compiled.program.saturations
    assert 0 < error <= compiled.program.error_bound < 0.01


def test_more_precision_is_found_where_it_is_asked_for() -> None:
    graph, data = dense()
    loose = compile_program(graph, calibration=data).program
    tight = compile_program(graph, calibration=data, max_error=loose.error_bound / 3).program
    assert tight.frac_bits > loose.frac_bits and tight.error_bound <= loose.error_bound / 3
    with pytest.raises(PrecisionError, match="largest error"):
        compile_program(graph, calibration=data, max_error=1e-12)


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(n_estimators=5, max_depth=4, random_state=0),
        GradientBoostingRegressor(n_estimators=5, max_depth=3, random_state=0),
        make_pipeline(StandardScaler(), LinearRegression()),
    ],
)
def test_estimators(model: object) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 6)) * 10.0 ** np.arange(-2, 4)
    y = (x @ rng.normal(size=6) > 0).astype(int)
    graph = tacit.load(model.fit(x, y))  # type: ignore[attr-defined]
    compiled, error = outcome(graph, x)
    assert error <= compiled.program.error_bound < 0.01


def test_a_leaf_takes_one_comparison() -> None:
    x = np.random.default_rng(1).normal(size=(100, 4))
    graph = tacit.load(RandomForestClassifier(3, max_depth=3, random_state=0).fit(x, x[:, 0] > 0))
    kinds = [each.kind for each in compile_program(graph, calibration=x).program.instructions]
    assert kinds.count("negative") == 2 and kinds.count("zero") <= 1


def test_deep_networks_are_clipped_at_few_places_and_say_so() -> None:
    graph, data = deep(30)
    compiled, error = outcome(graph, data)
    program = compiled.program
    assert program.measured and error <= program.error_bound < 0.05
    assert 1 <= len(program.saturations) <= 5
    assert all(each.node.startswith("layer ") and each.low == 0 for each in program.saturations)


def test_going_on_after_a_clip_gives_what_clipping_from_the_start_gives() -> None:
    graph, data = deep(30)
    compiled = compile_program(graph, calibration=data)
    found, source = compiled.program, graph.inputs[0].name
    again = lower(
        terms_of(simplify(graph), [graph.primary]),
        {source: Box.of(data)},
        found.frac_bits,
        RULES,
        limits={each.value: (each.low, each.high) for each in found.saturations},
        input_bits={source: found.inputs[0].frac_bits},
        spreads={},
        outputs=[graph.primary],
    )
    assert again.limits and tuple(again.instructions) == found.instructions
    assert list(again.words) == list(compiled.weights) and again.publics.keys() == found.publics.keys()
    assert all((again.words[name] == words).all() for name, words in compiled.weights.items())


def test_deep_networks_without_data_are_refused_by_name() -> None:
    graph, _ = deep(30)
    region = Box(np.full((1, 16), -4.0), np.full((1, 16), 4.0))
    with pytest.raises(PrecisionError, match="node `") as error:
        compile_program(graph, region)
    assert "calibration" in error.value.hint


def test_a_region_is_needed_and_kept() -> None:
    graph, data = dense()
    with pytest.raises(InvalidParameterError):
        compile_program(graph)
    compiled = compile_program(graph, calibration=data)
    with pytest.raises(DataRangeError, match="`x`"):
        rehearse_program(compiled, {"x": 10 * data})


def test_three_dimensional_convolutions_are_refused_by_name() -> None:
    builder = GraphBuilder("volume")
    x = builder.input("x", (None, 1, 3, 3, 3))
    three = {"strides": (1, 1, 1), "dilations": (1, 1, 1), "pads": (0,) * 6}
    value = builder.node("Conv", x, builder.constant(np.ones((1, 1, 2, 2, 2))), name="deep one", **three)
    graph = builder.finish([value], roles={"output": value})
    with pytest.raises(UnsupportedOpError, match="deep one") as error:
        compile_program(graph, calibration=np.zeros((4, 1, 3, 3, 3)))
    assert (error.value.op, error.value.node) == ("Conv", "deep one") and error.value.hint


def test_scales_and_offsets_go_into_the_weights() -> None:
    rng = np.random.default_rng(3)
    builder = GraphBuilder("normalised")
    x = builder.input("x", (None, 2, 6, 6))
    placement = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
    value = builder.node("Conv", x, builder.constant(rng.normal(size=(4, 2, 3, 3))), **placement)
    value = builder.node("Mul", value, builder.constant(rng.uniform(1, 2, size=(4, 1, 1))))
    value = builder.node("Add", value, builder.constant(rng.normal(size=(4, 1, 1))))
    graph = builder.finish([value], roles={"output": value})
    compiled, error = outcome(graph, rng.uniform(-1, 1, size=(10, 2, 6, 6)))
    assert [each.kind for each in compiled.program.instructions] == ["convolve", "add"]
    assert error <= compiled.program.error_bound


def test_weights_are_apart_from_the_program() -> None:
    graph, data = dense()
    compiled = compile_program(graph, calibration=data)
    assert set(compiled.weights) == {weight.name for weight in compiled.program.weights}
    assert len(compiled.weights) == 3 and not compiled.program.publics
    text = compiled.program.to_bytes()
    assert not any(words.tobytes()[:16] in text for words in compiled.weights.values())


def test_a_transformer_block_is_few_kinds_of_steps() -> None:
    graph, data = attention()
    compiled, error = outcome(graph, data)
    kinds = Counter(each.kind for each in compiled.program.instructions)
    assert (kinds["octaves"], kinds["softmax"], kinds["function"]) == (3, 1, 1)
    assert kinds["matmul"] == 6 + 2 + 3, "weights, attention, and the squares of three normalisations"
    assert error <= compiled.program.error_bound < 0.01
    named = [each.value for each in compiled.program.saturations]
    assert len(named) == 3 and all(name.endswith("sum of squares") for name in named), "no activation"


def test_forests_are_proven_apart_from_their_thresholds() -> None:
    x = np.random.default_rng(1).normal(size=(100, 4))
    graph = tacit.load(RandomForestClassifier(3, max_depth=3, random_state=0).fit(x, x[:, 0] > 0))
    program = compile_program(graph, calibration=x).program
    assert not program.measured and 0 < program.comparison_margin <= 2.0**-23
    whole = np.random.default_rng(1).integers(0, 9, size=(100, 4)).astype(float)
    graph = tacit.load(RandomForestClassifier(3, max_depth=3, random_state=0).fit(whole, whole[:, 0] > 4))
    narrow = compile_program(graph, calibration=whole).program
    widths = [each.fields["width"] for each in narrow.instructions if each.kind == "negative"]
    assert max(widths) <= 10, "whole numbers are compared with few bits"


def test_shapes_of_every_sort() -> None:
    rng = np.random.default_rng(5)
    builder = GraphBuilder("shapes")
    x = builder.input("x", (None, 3, 8))
    kernel = builder.constant(rng.normal(size=(4, 3, 3)) / 3)
    placement = {"strides": (2,), "pads": (1, 0), "dilations": (1,)}
    value = builder.node("Conv", x, kernel, builder.constant(rng.normal(size=4)), **placement)
    value = builder.node("MaxPool", value, kernel=(2,), strides=(1,), pads=(0, 1), dilations=(1,))
    value = builder.node("AveragePool", value, kernel=(2,), strides=(1,), pads=(1, 0), dilations=(1,))
    value = builder.node("Pad", value, pads=(0, 0, 1, 0, 1, 0), value=0.5)
    value = builder.node("Gather", value, builder.constant(np.array([[0, 2], [4, 1]])), axis=1)
    value = builder.node("Gather", value, builder.constant(np.array([1, 0, 3]), public=True), axis=3)
    top = builder.node("ReduceMax", value, axes=(1, 3), keepdims=1)
    below = builder.node("Less", value, builder.node("Mul", top, builder.constant(0.5)))
    value = builder.node("Where", below, value, builder.constant(-1.0, public=True))
    value = builder.node("Concat", value, builder.node("Abs", value), axis=2)
    graph = builder.finish([value], roles={"output": value})
    compiled, error = outcome(graph, rng.uniform(-1, 1, size=(10, 3, 8)))
    assert error <= compiled.program.error_bound < 0.01


def test_a_secret_index_looks_up_a_table() -> None:
    rng = np.random.default_rng(6)
    builder = GraphBuilder("table")
    x = builder.input("x", (None, 5), dtype="int64")
    table = builder.constant(rng.normal(size=(11, 3)))
    value = builder.node("ReduceSum", builder.node("Gather", table, x, axis=0), axes=(1,), keepdims=0)
    graph = builder.finish([value], roles={"output": value})
    compiled, error = outcome(graph, rng.integers(0, 11, size=(30, 5)).astype(float))
    assert error <= compiled.program.error_bound < 0.001


def test_logarithms_of_sums_of_powers_never_overflow() -> None:
    rng = np.random.default_rng(8)
    builder = GraphBuilder("log softmax")
    x = builder.input("x", (None, 6))
    away = builder.node("Sub", x, builder.node("ReduceMax", x, axes=(1,), keepdims=1))
    total = builder.node("ReduceSum", builder.node("Exp", away), axes=(1,), keepdims=1)
    value = builder.node("Sub", away, builder.node("Log", total))
    graph = builder.finish([value], roles={"output": value})
    compiled, error = outcome(graph, 100 * rng.normal(size=(50, 6)))
    assert not compiled.program.measured and error <= compiled.program.error_bound < 0.01


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.5, 2.5, -0.5])
def test_powers_keep_their_promise(exponent: float) -> None:
    """Where the slope is largest is at one end or the other; x^0 is 1, and no logarithm."""
    builder = GraphBuilder("power")
    value = builder.node("Pow", builder.input("x", (None, 3)), builder.constant(exponent, public=True))
    graph = builder.finish([value], roles={"output": value})
    compiled, error = outcome(graph, np.random.default_rng(9).uniform(0.5, 3.0, size=(200, 3)))
    assert not compiled.program.measured and error <= compiled.program.error_bound < 0.001


def test_a_root_of_zero_keeps_its_promise() -> None:
    """No slope bounds the root there: what is off by d in its argument is off by up to its root."""
    builder = GraphBuilder("root")
    scaled = builder.node("MatMul", builder.input("x", (None, 3)), builder.constant(0.7 * np.eye(3)))
    value = builder.node("Sqrt", builder.node("Relu", scaled))
    graph = builder.finish([value], roles={"output": value})
    data = np.random.default_rng(9).uniform(-1.0, 1.0, size=(200, 3))
    data[:3] = [[0.0, -0.5, 0.3], [2.0**-16, 2.0**-15, 3 * 2.0**-16], [-1e-6, 1e-5, 1e-3]]
    compiled, error = outcome(graph, data)
    assert not compiled.program.measured and error <= compiled.program.error_bound < 0.01
