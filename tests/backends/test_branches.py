"""Graphs that are no chains: skips, towers and products agree with the interpreter in both packings."""

from __future__ import annotations

import numpy as np
import pytest

from tacit.backends.ckks.compiled import Compiled
from tacit.backends.ckks.diagonals import connect
from tacit.backends.ckks.layout import GridLayout, ReplicatedLayout
from tacit.backends.ckks.matrix import Matrix
from tacit.backends.ckks.partition import Affine, partition
from tacit.backends.ckks.program import MapStage, ProductStage, SumStage
from tacit.backends.ckks.ranges import lower
from tacit.backends.ckks.region import calibrate
from tacit.ir.graph import Graph
from tacit.ir.interpret import interpret
from tests.backends.branching import BRANCHING, branching
from tests.backends.reference import assert_matches_reference, candidate_of


def data(graph: Graph, count: int, seed: int = 0) -> np.ndarray:
    shape = [int(size or 0) for size in graph.inputs[0].shape[1:]]
    return np.random.default_rng(seed).uniform(-1, 1, (count, *shape))


@pytest.mark.parametrize("name", BRANCHING)
def test_nodes_compute_the_graph(name: str) -> None:
    """The partition, run node by node, is the graph."""
    graph = branching(name)
    part, x = partition(graph), data(graph, 5)
    values = [x.reshape(5, -1).T]
    for node in part.nodes:
        read = [values[number] for number in node.reads]
        if isinstance(node, Affine):
            values.append(sum(m @ v for m, v in zip(node.matrices, read, strict=True)) + node.bias[:, None])
        else:
            values.append(node.function(*read))
    assert np.allclose(values[-1].T, interpret(graph, x)[graph.primary])


@pytest.mark.parametrize("layout", ["latency", "throughput"])
@pytest.mark.parametrize("name", BRANCHING)
def test_compiled_program_agrees(name: str, layout: str) -> None:
    for seed in range(2):
        graph = branching(name, seed)
        x = data(graph, 60, seed)
        assert_matches_reference(graph, x[:3], candidate_of(graph, x, layout=layout), encrypted=False)


@pytest.mark.parametrize("layout", ["latency", "throughput"])
@pytest.mark.parametrize("name", ["gate", "same input", "mask"])
def test_encrypted_run_keeps_its_promise(name: str, layout: str) -> None:
    graph = branching(name, 3)
    x = data(graph, 60)
    assert_matches_reference(graph, x[:2], candidate_of(graph, x, layout=layout))


@pytest.mark.parametrize("name", ["skip", "towers", "gate", "squeeze"])
def test_ranges_and_errors_hold(name: str) -> None:
    """Intervals of every value, and the promised error, on many points of the region."""
    graph = branching(name)
    part = partition(graph)
    calibration = data(graph, 100).reshape(100, -1)
    region = calibrate(calibration, exact=part.is_exact)
    model = lower(part, region, 1.0)
    rng = np.random.default_rng(1)
    moves = rng.normal(size=(3000, region.features))
    moves *= region.ball / np.linalg.norm(moves, axis=1, keepdims=True) * rng.uniform(0.5, 1, (3000, 1))
    x = np.clip(
        region.mean + moves * region.radius, region.centre - region.radius, region.centre + region.radius
    )
    region.check(x)
    scores = interpret(graph, x.reshape(-1, *part.input_shape))[graph.primary]
    assert (model.low <= scores).all() and (scores <= model.high).all()
    values = [region.normalise(x).T]
    for node in model.nodes:
        read = [values[number] for number in node.reads]
        if hasattr(node, "matrices"):
            value = sum(m @ v for m, v in zip(node.matrices, read, strict=True)) + node.bias[:, None]
            assert (np.abs(value) <= node.bound[:, None] + 1e-9).all(), "a value left its interval"
        elif node.approximation is not None:
            value = np.polynomial.chebyshev.chebval(read[0], node.approximation.series)
        else:
            value = read[0] * read[-1]
        values.append(value)
    assert (np.abs(model.unit * values[-1].T - scores) <= model.error + 1e-9).all()


def test_an_identity_skip_takes_no_rotation() -> None:
    graph = branching("image residual")
    program = candidate_of(graph, data(graph, 60)).program
    sums = [p for p, stage in enumerate(program.stages) if isinstance(stage, SumStage)]
    assert len(sums) == 1
    terms = [program.stages[register - 1] for register in program.sources(sums[0])]
    assert any(isinstance(t, MapStage) and t.map.rotations == () and t.map.folds == () for t in terms)


def test_products_read_values_of_one_layout() -> None:
    graph = branching("gate")
    program = candidate_of(graph, data(graph, 60)).program
    assert sum(isinstance(stage, ProductStage) for stage in program.stages) == 2
    assert program.relinearize() is not None


def test_a_branching_bundle_travels() -> None:
    graph = branching("towers")
    compiled = candidate_of(graph, data(graph, 60)).compile()
    again = Compiled.from_bytes(compiled.to_bytes())
    assert again.to_bytes() == compiled.to_bytes()
    assert again.program().rotations() == compiled.program().rotations()
    assert again.program().reads == compiled.program().reads != ()


def test_maps_that_are_summed_leave_nothing_but_the_sum() -> None:
    """Folds that a sum has in common come after it: every slot then holds the result or nothing."""
    slots = 64
    grid, plain = GridLayout((2, 2, 2), slots, 4, 2, (1, 1), 8, 8), ReplicatedLayout.plain(16, slots)
    rng = np.random.default_rng(0)
    first, second = Matrix(rng.normal(size=(8, 8))), Matrix(rng.normal(size=(8, 16)))
    a, b = rng.normal(size=8), rng.normal(size=16)
    parts = [connect(s, m, np.zeros(8), grid) for s, m in ((grid, first), (plain, second))]
    total = np.zeros(slots)
    for part, vector in zip(parts, (grid.pack(a), plain.pack(b)), strict=True):
        made = sum(d * np.roll(vector, -k) for k, d in part.diagonals.items())
        for fold in part.folds:
            made = made + np.roll(made, -fold)
        total = total + made
    assert np.allclose(total, grid.pack(first @ a + second @ b))
