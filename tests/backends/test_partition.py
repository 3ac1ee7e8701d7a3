"""How graphs are cut, which nodes are refused by name, and what a region accepts."""

from __future__ import annotations

import numpy as np
import pytest

from tacit.backends.ckks.normal import ScaledAffine
from tacit.backends.ckks.partition import partition
from tacit.backends.ckks.ranges import lower
from tacit.backends.ckks.region import calibrate
from tacit.backends.ckks.tail import tail_gain
from tacit.errors import (
    DataError,
    DataRangeError,
    NoAdmissiblePlanError,
    PrecisionError,
    ShapeError,
    UnsupportedOpError,
)
from tacit.ir.builder import GraphBuilder
from tacit.ir.interpret import interpret
from tests.backends.dense import ACTIVATIONS, dense, samples


def test_affine_chains_become_one_matrix() -> None:
    builder = GraphBuilder("chain")
    x = builder.input("x", (None, 2, 3))
    scaled = builder.node(
        "Div", builder.node("Sub", x, builder.constant(1.0)), builder.constant([2.0, 4.0, 8.0])
    )
    flat = builder.node("Reshape", scaled, shape=(-1, 6))
    both = builder.node(
        "Concat", flat, builder.node("Slice", flat, axes=(1,), starts=(0,), ends=(2,), steps=(1,)), axis=1
    )
    y = builder.node("MatMul", both, builder.constant(np.arange(24.0).reshape(8, 3)))
    graph = builder.finish([y])
    part = partition(graph)
    assert len(part.affines) == 1
    assert part.affines[0].matrix.shape == (3, 6)
    data = np.random.default_rng(0).normal(size=(5, 2, 3))
    ours = data.reshape(5, 6) @ part.affines[0].matrix.T + part.affines[0].bias
    assert np.allclose(ours, interpret(graph, data)[graph.primary])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_are_found_whole(activation: str) -> None:
    graph = dense((4, 3, 2), activation)
    part = partition(graph)
    assert len(part.activations) == 1
    assert part.activations[0].kind == {"square": "square", "power": "square", "Relu": "relu"}.get(
        activation, "smooth"
    )
    x = samples(5, 4)
    hidden = x @ part.affines[0].matrix.T + part.affines[0].bias
    scores = part.activations[0].function(hidden) @ part.affines[1].matrix.T + part.affines[1].bias
    assert np.allclose(scores, interpret(graph, x)[graph.primary])


def test_the_tail_holds_no_secret() -> None:
    part = partition(dense((4, 3, 2), "Sigmoid", last="Softmax"))
    assert [node.op for node in part.tail.nodes] == ["Softmax", "ArgMax", "Gather"]
    assert all(name in part.tail.public_constants for name in part.tail.constants)
    assert part.tail.label is not None
    assert tail_gain(part.tail) == 0.5


def test_what_cannot_run_is_named() -> None:
    builder = GraphBuilder("quotient")
    x = builder.input("x", (None, 3))
    a = builder.node("MatMul", x, builder.constant(np.ones((3, 3))))
    b = builder.node("Div", a, x, name="gate")
    y = builder.node("MatMul", b, builder.constant(np.ones((3, 1))))
    with pytest.raises(UnsupportedOpError, match="gate") as caught:
        partition(builder.finish([y]))
    assert (caught.value.node, caught.value.op) == ("gate", "Div")
    assert caught.value.hint


def test_a_model_without_secrets_is_refused() -> None:
    builder = GraphBuilder("public")
    y = builder.node("Softmax", builder.input("x", (None, 3)), axis=1)
    with pytest.raises(NoAdmissiblePlanError):
        partition(builder.finish([y]))


def test_two_inputs_are_refused() -> None:
    builder = GraphBuilder("two")
    y = builder.node("Add", builder.input("a", (None, 3)), builder.input("b", (None, 3)))
    with pytest.raises(ShapeError):
        partition(builder.finish([y]))


@pytest.mark.parametrize("activation", ["square", "Tanh", "Relu", "gelu"])
def test_ranges_hold_everywhere_in_the_region(activation: str) -> None:
    """Random points of the region, most of them on its border."""
    graph = dense((6, 8, 5, 2), activation)
    part = partition(graph)
    region = calibrate(samples(100, 6), exact=part.is_exact)
    model = lower(part, region, 0.5 if activation != "Relu" else 5.0)
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(4000, 6))
    directions *= (
        region.ball / np.linalg.norm(directions, axis=1, keepdims=True) * rng.uniform(0.5, 1, (4000, 1))
    )
    x = np.clip(
        region.mean + directions * region.radius, region.centre - region.radius, region.centre + region.radius
    )
    region.check(x)
    scores = interpret(graph, x)[graph.primary]
    assert (scores >= model.low).all()
    assert (scores <= model.high).all()
    values = [region.normalise(x)]
    for node in model.nodes:
        if isinstance(node, ScaledAffine):
            assert len(node.reads) == 1
            values.append(values[node.reads[0]] @ node.matrices[0].T + node.bias)
            continue
        value, found = values[node.reads[0]], node.approximation
        assert np.abs(value).max() <= 1.0, "an activation's argument left [-1, 1]"
        values.append(value**2 if found is None else np.polynomial.chebyshev.chebval(value, found.series))
    assert (np.abs(model.unit * values[-1] - scores) <= model.error + 1e-9).all()


def test_regions_share_a_box_among_commensurate_features() -> None:
    data = np.random.default_rng(0).uniform(0, 1, (50, 4))
    data[:, 0] = 0.0
    region = calibrate(data, exact=True)
    assert region.radius[0] == region.radius[1] > 0.5
    mixed = data * [1, 1, 1000, 1]
    assert calibrate(mixed, exact=True).radius[2] > 100 * calibrate(mixed, exact=True).radius[1]


def test_regions_refuse_what_is_outside() -> None:
    data = samples(100, 3)
    region = calibrate(data, exact=False)
    region.check(data)
    with pytest.raises(DataRangeError, match="feature 2 of sample 0"):
        region.check(np.array([[0.0, 0.0, 9.0]]))
    corner = region.centre + region.radius * 0.999
    with pytest.raises(DataRangeError, match="deviates most"):
        region.check(corner[None])
    with pytest.raises(DataError):
        calibrate(np.array([[np.nan]]), exact=True)


def test_a_tail_of_unbounded_slope_gets_no_promise() -> None:
    builder = GraphBuilder("exp")
    z = builder.node("MatMul", builder.input("x", (None, 3)), builder.constant(np.ones((3, 1))))
    part = partition(builder.finish([builder.node("Exp", z)]))
    with pytest.raises(PrecisionError):
        tail_gain(part.tail)


def after(*ops: str) -> float:
    """Gain of a tail that applies these steps to one score."""
    builder = GraphBuilder("tail")
    z = builder.node("MatMul", builder.input("x", (None, 3)), builder.constant(np.ones((3, 2))))
    zero, table = builder.constant(0.0, public=True), builder.constant([0.0, 5.0], public=True)
    value = z
    for op in ops:
        match op:
            case "Less":
                value = builder.node("Less", value, zero)
            case "Cast":
                value = builder.node("Cast", value, to="float64")
            case "ArgMax":
                value = builder.node("ArgMax", value, axis=1, keepdims=0)
            case "Gather":
                value = builder.node("Gather", table, value, axis=0)
            case "Where":
                value = builder.node("Where", value, zero, builder.constant(1.0, public=True))
            case "Mul":
                value = builder.node("Mul", value, builder.constant(-3.0, public=True))
            case _:
                value = builder.node(op, value)
    return tail_gain(partition(builder.finish([value])).tail)


@pytest.mark.parametrize(
    "ops",
    [
        ("Less", "Cast"),
        ("Less", "Where"),
        ("ArgMax", "Cast"),
        ("ArgMax", "Gather"),
        ("Exp",),
        ("Relu", "Log"),
    ],
)
def test_no_promise_across_a_jump_or_an_unbounded_slope(ops: tuple[str, ...]) -> None:
    with pytest.raises(PrecisionError, match=ops[0] if ops[0] != "Relu" else "Log"):
        after(*ops)


def test_gains_of_smooth_tails() -> None:
    assert after("Sigmoid") == 0.25
    assert after("Mul", "Sigmoid") == 0.75
    assert after("Tanh") == after("Relu") == 1.0


def test_a_box_is_not_shared_across_offsets() -> None:
    data = np.random.default_rng(0).normal(size=(50, 3))
    data[:, 0] = 1e6 + 1e-3 * data[:, 0]
    assert calibrate(data, exact=True).radius[1] < 10


@pytest.mark.parametrize("offset", [1e3, 1e6, 1e9])
def test_an_almost_constant_feature_counts_its_cancellation(offset: float) -> None:
    """(x - mean) / scale for a feature of offset ± 0.001: what composing loses is within the error that is promised."""
    rng = np.random.default_rng(3)
    data = rng.normal(size=(200, 2)) * [1e-3, 1.0] + [offset, 0.0]
    builder = GraphBuilder("scaled")
    x = builder.input("x", (None, 2))
    centred = builder.add("Sub", [x, builder.constant(data.mean(axis=0))], {})
    scaled = builder.add("Div", [centred, builder.constant(data.std(axis=0))], {})
    value = builder.add("MatMul", [scaled, builder.constant(np.array([[3.0], [1.0]]))], {})
    graph = builder.finish([value], roles={"output": value})
    region = calibrate(data, exact=True)
    model = lower(partition(graph), region, 1e-3)
    affine = model.affines[0]
    composed = model.unit * (region.normalise(data) @ affine.matrices[0].T + affine.bias)
    lost = np.abs(composed - interpret(graph, data)[graph.primary]).max()
    assert lost <= model.error.max()
    assert model.error.max() < 1e-5 or offset > 1e3
