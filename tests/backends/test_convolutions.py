"""Convolutional models: compiled programs agree with the interpreter, and encrypted ones keep their promise."""

from __future__ import annotations

import numpy as np
import pytest

from tacit.backends.ckks.backend import OBSERVED_ASSUMPTION
from tacit.backends.ckks.diagonals import connect
from tacit.backends.ckks.layout import GridLayout, ReplicatedLayout, SlotLayout, WindowLayout
from tacit.backends.ckks.linear import SlotMap
from tacit.backends.ckks.matrix import Matrix, full, row_norms, spectral_bound
from tacit.backends.ckks.partition import partition
from tacit.backends.ckks.public import PublicPlan
from tacit.errors import InternalError, InvalidParameterError
from tacit.ir.builder import GraphBuilder
from tacit.ir.graph import Graph
from tacit.ir.interpret import interpret
from tests.backends.convolutional import network
from tests.backends.reference import assert_matches_reference, candidate_of

SLOTS = 256
LAYOUTS = {
    "plain": ReplicatedLayout.plain(48, SLOTS),
    "rows apart": GridLayout((3, 4, 4), SLOTS, 32, 8, (1, 1), 96, 128),
    "phases": GridLayout((3, 4, 4), SLOTS, 4, 2, (2, 2), 16, 64),
}


def data(graph: Graph, count: int, seed: int = 0) -> np.ndarray:
    shape = [int(size or 0) for size in graph.inputs[0].shape[1:]]
    return np.random.default_rng(seed).uniform(-1, 1, (count, *shape))


def apply(slot_map: SlotMap, x: np.ndarray) -> np.ndarray:
    y = sum(d * np.roll(x, -k) for k, d in slot_map.diagonals.items())
    for fold in slot_map.folds:
        y = y + np.roll(y, -fold)
    return y + slot_map.bias


@pytest.mark.parametrize("seed", range(40))
def test_compiled_program_agrees(seed: int) -> None:
    graph = network(seed, blocks=1 + seed % 3)
    x = data(graph, 40, seed)
    assert_matches_reference(graph, x[:3], candidate_of(graph, x), encrypted=False)


@pytest.mark.parametrize("activation", ["Tanh", "Sigmoid"])
def test_smooth_activation_agrees(activation: str) -> None:
    graph = network(5, blocks=2, activation=activation)
    x = data(graph, 100)
    assert_matches_reference(graph, x[:3], candidate_of(graph, x), encrypted=False)


@pytest.mark.parametrize("seed", [1, 2])
def test_encrypted_run_keeps_its_promise(seed: int) -> None:
    graph = network(seed, blocks=2)
    x = data(graph, 40, seed)
    assert_matches_reference(graph, x[:2], candidate_of(graph, x, max_error=0.5))


def test_throughput_packing_agrees() -> None:
    graph = network(3, blocks=2)
    x = data(graph, 40)
    assert_matches_reference(graph, x[:3], candidate_of(graph, x, layout="throughput"), encrypted=False)


@pytest.mark.parametrize("target", LAYOUTS, ids=str)
@pytest.mark.parametrize("source", LAYOUTS, ids=str)
def test_every_layout_to_every_layout(source: str, target: str) -> None:
    before, after = LAYOUTS[source], LAYOUTS[target]
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(48, 48)) * (rng.random((48, 48)) < 0.1)
    bias, x = rng.normal(size=48), rng.normal(size=48)
    made = connect(before, Matrix(dense), bias, after)
    wanted = after.pack(dense @ x + bias)
    assert np.allclose(apply(made, before.pack(x)), wanted), "replicas of the result and nothing else"


def test_windows_cover_a_convolution_or_are_refused() -> None:
    grid = GridLayout((1, 2, 2), 16, 4, 2, (1, 1), 4, 4)
    windows = tuple((0, dy, dx) for dy in (0, 1) for dx in (0, 1))
    source = WindowLayout((1, 3, 3), 16, 4, 2, (1, 1), windows)
    kernel, dense = np.array([[1.0, 2.0], [3.0, 4.0]]), np.zeros((4, 9))
    for y, x in np.ndindex(2, 2):
        for u, v in np.ndindex(2, 2):
            dense[2 * y + x, 3 * (y + u) + x + v] = kernel[u, v]
    made = connect(source, Matrix(dense), np.zeros(4), grid, rotations=[0])
    image = np.arange(9.0)
    assert list(made.diagonals) == [0]
    assert np.allclose(apply(made, source.pack(image)), grid.pack(dense @ image))
    with pytest.raises(InternalError):
        connect(source, full(np.ones((4, 9))), np.zeros(4), grid, rotations=[0])


def test_layouts_refuse_what_does_not_fit() -> None:
    with pytest.raises(InvalidParameterError):
        GridLayout((2, 2, 2), 16, 2, 2, (1, 1), 16, 16)
    with pytest.raises(InvalidParameterError):
        WindowLayout((1, 2, 2), 16, 4, 2, (1, 1), ((0, 0, 0),))


def test_structure_does_not_depend_on_weights() -> None:
    def convolution(weights: np.ndarray) -> Graph:
        builder = GraphBuilder("one")
        x = builder.input("x", (None, 1, 4, 4))
        made = builder.node(
            "Conv", x, builder.constant(weights), strides=(1, 1), pads=(0,) * 4, dilations=(1, 1)
        )
        return builder.finish([builder.node("Reshape", made, shape=(-1, 8))])

    dense = partition(convolution(np.ones((2, 1, 3, 3)))).affines[0].matrix
    pruned = np.zeros((2, 1, 3, 3))
    pruned[0, 0, 1, 1] = 1.0
    sparse = partition(convolution(pruned)).affines[0].matrix
    assert dense.nnz == sparse.nnz == 8 * 9
    assert (dense.indices == sparse.indices).all()
    assert np.count_nonzero(sparse.data) == 4


@pytest.mark.parametrize("side", [16, 1024])
def test_norms_are_bounds(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacit.backends.ckks.matrix._DENSE_SIDE", side)
    rng = np.random.default_rng(0)
    shape = (90, 70)
    dense = rng.normal(size=shape) * (rng.random(shape) < 0.05)
    matrix = Matrix(dense)
    exact = float(np.linalg.norm(dense, 2))
    assert exact * (1 - 1e-12) <= spectral_bound(matrix) <= 2.5 * exact
    assert np.allclose(row_norms(matrix), np.linalg.norm(dense, axis=1))


def test_image_models_use_packed_windows_and_travel() -> None:
    graph = lenet_like()
    x = data(graph, 40)
    candidate = candidate_of(graph, x)
    assert isinstance(candidate.program.input, WindowLayout)
    plan = candidate.compile().public
    assert PublicPlan.from_bytes(plan.to_bytes()).input == plan.input
    assert all(len(stage.map.diagonals) <= 128 for stage in candidate.program.stages if hasattr(stage, "map"))
    layouts: list[SlotLayout] = [s.map.output for s in candidate.program.stages if hasattr(s, "map")]
    assert any(isinstance(layout, GridLayout) for layout in layouts)


def test_deep_squares_promise_for_observed_ranges_and_say_so() -> None:
    graph = lenet_like()
    x = data(graph, 200)
    candidate = candidate_of(graph, x, max_error=1e-2)
    assert OBSERVED_ASSUMPTION in candidate.declaration.assumptions
    scores = interpret(graph, x)[graph.primary]
    assert (candidate.model.low <= scores).all() and (scores <= candidate.model.high).all()
    assert_matches_reference(graph, x[:3], candidate, encrypted=False)


def lenet_like(scale: float = 1.0) -> Graph:
    rng = np.random.default_rng(0)
    builder = GraphBuilder("lenet")
    value = builder.input("x", (None, 1, 12, 12))
    for filters, channels in ((2, 1), (4, 2)):
        kernel = builder.constant(scale * rng.normal(size=(filters, channels, 3, 3)) / 3)
        value = builder.node("Conv", value, kernel, strides=(1, 1), pads=(1,) * 4, dilations=(1, 1))
        value = builder.node("Mul", value, value)
        value = builder.node(
            "AveragePool", value, kernel=(2, 2), strides=(2, 2), pads=(0,) * 4, dilations=(1, 1)
        )
    value = builder.node("Reshape", value, shape=(-1, 36))
    value = builder.node("MatMul", value, builder.constant(rng.normal(size=(36, 8)) / 6))
    value = builder.node("Mul", value, value)
    return builder.finish([builder.node("MatMul", value, builder.constant(rng.normal(size=(8, 3)) / 3))])
