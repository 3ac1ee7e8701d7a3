"""Compiled programs against the interpreter: in the simulator for many graphs, encrypted for some of each kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tacit.backends.ckks.owner import Owner
from tacit.backends.ckks.provider import Provider
from tacit.errors import DepthError, NoAdmissiblePlanError, PrecisionError
from tacit.ir.builder import GraphBuilder
from tacit.ir.interpret import interpret
from tests.backends.dense import ACTIVATIONS, dense, samples
from tests.backends.reference import assert_matches_reference, candidate_of

SHAPES = [(5, 1), (30, 1), (30, 3), (3, 40), (784, 10), (1, 1), (64, 64)]


@pytest.mark.parametrize("layout", ["latency", "throughput"])
@pytest.mark.parametrize("sizes", SHAPES, ids=str)
def test_affine(sizes: tuple[int, ...], layout: str) -> None:
    graph, x = dense(sizes), samples(40, sizes[0])
    candidate = candidate_of(graph, x, layout=layout)
    assert_matches_reference(graph, x[:5], candidate, encrypted=sizes[0] < 700)


@pytest.mark.parametrize("last", ["Sigmoid", "Softmax"])
def test_tail_runs_at_the_owner(last: str) -> None:
    graph, x = dense((12, 4), last=last), samples(50, 12)
    assert_matches_reference(graph, x[:4], candidate_of(graph, x))


@pytest.mark.parametrize("layout", ["latency", "throughput"])
@pytest.mark.parametrize("sizes", [(7, 5, 2), (100, 30, 3), (4, 60, 2), (6, 5, 4, 3)], ids=str)
def test_square(sizes: tuple[int, ...], layout: str) -> None:
    graph, x = dense(sizes, "square"), samples(60, sizes[0])
    candidate = candidate_of(graph, x, layout=layout)
    assert_matches_reference(graph, x[:4], candidate, encrypted=sizes[0] < 50)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_compiles(activation: str) -> None:
    graph, x = dense((8, 6, 2), activation), samples(200, 8)
    assert_matches_reference(graph, x[:6], candidate_of(graph, x), encrypted=False)


@pytest.mark.parametrize("activation", ["Tanh", "Relu"])
def test_activation_encrypted(activation: str) -> None:
    graph, x = dense((6, 4, 2), activation, gain=0.5), samples(200, 6)
    assert_matches_reference(graph, x[:2], candidate_of(graph, x, max_error=0.02))


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    sizes=st.lists(st.integers(1, 24), min_size=2, max_size=4).map(tuple),
    activation=st.sampled_from(ACTIVATIONS),
    layout=st.sampled_from(["latency", "throughput"]),
    seed=st.integers(0, 1000),
)
def test_random_dense_graphs(sizes: tuple[int, ...], activation: str, layout: str, seed: int) -> None:
    graph, x = dense(sizes, activation, seed=seed), samples(50, sizes[0], seed)
    try:
        candidate = candidate_of(graph, x, layout=layout)
    except (DepthError, PrecisionError) as refusal:
        assert refusal.hint
        return
    assert_matches_reference(graph, x[:2], candidate, encrypted=False)


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=3).map(tuple),
    layout=st.sampled_from(["latency", "throughput"]),
    seed=st.integers(0, 1000),
)
def test_random_dense_graphs_encrypted(sizes: tuple[int, ...], layout: str, seed: int) -> None:
    graph, x = dense(sizes, "square", seed=seed), samples(50, sizes[0], seed)
    assert_matches_reference(graph, x[:3], candidate_of(graph, x, layout=layout))


def test_corners_of_the_region_keep_the_promise() -> None:
    graph, x = dense((10, 6, 2), "square"), samples(60, 10)
    candidate = candidate_of(graph, x)
    region = candidate.region
    directions = np.sign(np.random.default_rng(3).normal(size=(8, 10)))
    steps = [
        np.linspace(0, 1, 401)[:, None] * (region.centre + d * region.radius - region.mean)
        for d in directions
    ]
    inside = []
    for line in steps:
        points = region.mean + line
        norms = np.linalg.norm((points - region.mean) / region.radius, axis=1)
        inside.append(points[norms <= region.ball][-1])
    corners = np.stack(inside)
    region.check(corners)
    assert_matches_reference(graph, corners, candidate)


@pytest.mark.parametrize("layout", ["latency", "throughput"])
def test_a_row_of_zeros_gives_its_bias(layout: str) -> None:
    graph = dense((4, 3))
    name = next(name for name, array in graph.constants.items() if array.shape == (4, 3))
    weights = graph.constants[name].copy()
    weights[:, 1] = 0
    graph = graph.with_nodes(graph.nodes, constants={**graph.constants, name: weights})
    x = samples(20, 4)
    candidate = candidate_of(graph, x, layout=layout)
    provider = Provider(candidate.compile())
    owner = Owner(provider.public_plan())
    provider.load_keys(owner.evaluation_keys())
    answer = owner.decrypt(provider.run(owner.encrypt(x[:1])))
    assert np.abs(np.asarray(answer) - interpret(graph, x[:1])[graph.primary]).max() <= owner.plan.error_bound


def test_a_constant_model_is_refused() -> None:
    with pytest.raises(NoAdmissiblePlanError):
        candidate_of(dense((4, 3), gain=0.0), samples(20, 4))


@pytest.mark.parametrize("layout", ["latency", "throughput"])
@pytest.mark.parametrize("size", [1e-12, 1e-6, 1e-3, 1.0, 1e6, 1e12])
def test_scores_of_every_size(size: float, layout: str) -> None:
    """Plans are found, run, and promise an error in proportion."""
    graph, x = dense((5, 3), gain=1.0), samples(40, 5)
    constants = {name: array * size for name, array in graph.constants.items()}
    graph = graph.with_nodes(graph.nodes, constants=constants)
    candidate = candidate_of(graph, x, layout=layout)
    provider = Provider(candidate.compile())
    owner = Owner(provider.public_plan())
    provider.load_keys(owner.evaluation_keys())
    error = np.abs(
        np.asarray(owner.decrypt(provider.run(owner.encrypt(x[:2])))) - interpret(graph, x[:2])[graph.primary]
    )
    assert error.max() <= owner.plan.error_bound <= 1e-3 * size


def test_a_constant_function_is_refused() -> None:
    builder = GraphBuilder("constant")
    hidden = builder.node("MatMul", builder.input("x", (None, 3)), builder.constant(np.ones((3, 1))))
    chosen = builder.node("Where", builder.constant([False]), hidden, builder.constant([0.5]))
    graph = builder.finish([builder.node("MatMul", chosen, builder.constant([[2.0, 1.0]]))])
    with pytest.raises(NoAdmissiblePlanError, match=r"same for every input|same answer"):
        candidate_of(graph, samples(20, 3))


def test_a_function_that_overflows_is_refused() -> None:
    builder = GraphBuilder("overflow")
    large = builder.node("Exp", builder.input("x", (None, 3)))
    graph = builder.finish([builder.node("MatMul", large, builder.constant(np.ones((3, 2))))])
    for size in (250.0, 500.0, 1e6):
        with pytest.raises(PrecisionError, match="not finite"):
            candidate_of(graph, samples(20, 3) * size)


@pytest.mark.parametrize("size", [1e-4, 30.0, 1e4])
def test_functions_of_every_size(size: float) -> None:
    """Values far above 1 once asked for constants beyond the last modulus, values far below drowned in noise."""
    builder = GraphBuilder("size")
    x = builder.input("x", (None, 5))
    square = builder.node("Mul", builder.node("Mul", x, x), builder.constant(size))
    value = builder.node("Add", square, builder.node("Mul", x, builder.constant(size / 4)))
    weights = np.random.default_rng(1).normal(size=(10, 4))
    both = builder.node("Concat", builder.node("Mul", x, builder.constant(size)), value, axis=1)
    graph = builder.finish([builder.node("MatMul", both, builder.constant(weights))])
    data = samples(40, 5)
    candidate = candidate_of(graph, data)
    assert_matches_reference(graph, data[:2], candidate)
    assert candidate.declaration.error_bound <= 1e-3 * size


@pytest.mark.parametrize("layout", ["latency", "throughput"])
def test_a_function_that_nothing_reads(layout: str) -> None:
    builder = GraphBuilder("dead")
    hidden = builder.node("MatMul", builder.input("x", (None, 3)), builder.constant(np.eye(3)))
    chance = builder.node("Sigmoid", hidden)
    both = builder.node("Concat", builder.node("Relu", chance), chance, axis=1)
    kept = builder.node("Slice", both, axes=(1,), starts=(3,), ends=(6,), steps=(1,))
    graph = builder.finish([builder.node("MatMul", kept, builder.constant(np.ones((3, 1))))])
    x = samples(40, 3)
    assert_matches_reference(graph, x[:2], candidate_of(graph, x, layout=layout))


def test_an_interval_far_from_zero_is_centred() -> None:
    """exp on [-18, -2] is a polynomial of low degree; on [-18, 18] it would be e^18 large."""
    builder = GraphBuilder("far")
    hidden = builder.node("MatMul", builder.input("x", (None, 3)), builder.constant(4.0 * np.eye(3)))
    shifted = builder.node("Sub", hidden, builder.constant(np.full(3, 10.0)))
    graph = builder.finish(
        [builder.node("MatMul", builder.node("Exp", shifted), builder.constant(np.full((3, 1), 100.0)))]
    )
    x = samples(40, 3)
    assert_matches_reference(graph, x[:3], candidate_of(graph, x))
