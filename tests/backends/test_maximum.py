"""Max-pool: its rounds in slots and columns, what is proven and what is measured of it, and encrypted runs."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from tacit.backends.ckks.approximate import INNER, absolute, absolute_within, fitted_absolute, relu_of
from tacit.backends.ckks.backend import MEASURED_ASSUMPTION
from tacit.backends.ckks.compiled import Compiled
from tacit.backends.ckks.layout import GridLayout, ReplicatedLayout
from tacit.backends.ckks.maximum import Maximum, Round, Windows, pooled, shift_of
from tacit.backends.ckks.partition import partition
from tacit.backends.ckks.simulation import Simulation
from tacit.errors import PrecisionError, UnsupportedOpError
from tacit.ir.builder import GraphBuilder
from tacit.ir.graph import Graph
from tacit.ir.interpret import interpret
from tests.backends.reference import assert_matches_reference, candidate_of

GRID = np.linspace(-1, 1, 20001)
PLACED = [
    (Windows((8, 28, 28), (2, 2), (2, 2)), GridLayout((8, 28, 28), 16384, 256, 14, (2, 2), 2048, 8192)),
    (Windows((8, 28, 28), (2, 2), (2, 2)), GridLayout((8, 28, 28), 16384, 1024, 28, (1, 1), 8192, 8192)),
    (Windows((16, 14, 14), (3, 3), (3, 3)), GridLayout((16, 14, 14), 8192, 256, 14, (1, 1), 4096, 4096)),
    (Windows((3, 9, 8), (4, 2), (4, 2)), GridLayout((3, 9, 8), 1024, 16, 4, (4, 2), 64, 512)),
    (Windows((2, 9, 9), (3, 2), (2, 1)), GridLayout((2, 9, 9), 2048, 128, 9, (1, 1), 256, 256)),
    (Windows((2, 9, 9), (2, 3), (1, 2), (2, 2)), GridLayout((2, 9, 9), 2048, 256, 9, (1, 1), 512, 512)),
]


def pools(
    *, kernel: int = 2, stride: int = 2, pad: int = 0, activation: str | None = "Relu", blocks: int = 1
) -> Graph:
    """Convolutions 3 x 3 of two filters, each with an activation and a max-pool, then a dense layer."""
    rng = np.random.default_rng(3)
    builder = GraphBuilder("pools")
    value = builder.input("x", (None, 1, 6, 6) if blocks == 1 else (None, 1, 10, 10))
    still = {"strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1)}
    for index in range(blocks):
        channels = 1 if index == 0 else 2
        weights = builder.constant(rng.normal(size=(2, channels, 3, 3)) / 3)
        value = builder.add("Conv", [value, weights], {**still, "group": 1})
        value = value if activation is None else builder.add(activation, [value], {})
        value = builder.add(
            "MaxPool",
            [value],
            {**still, "kernel": (kernel, kernel), "strides": (stride, stride), "pads": (pad,) * 4},
        )
    size = prod(int(n or 1) for n in builder.values[value].shape)
    value = builder.add("Reshape", [value], {"shape": (-1, size)})
    value = builder.add("MatMul", [value, builder.constant(rng.normal(size=(size, 3)) / 4)], {})
    return builder.finish([value], roles={"scores": value})


def images(graph: Graph, count: int, seed: int = 0) -> np.ndarray:
    shape = [int(size or 0) for size in graph.inputs[0].shape[1:]]
    return np.random.default_rng(seed).uniform(-1, 1, (count, *shape))


@pytest.mark.parametrize(("windows", "layout"), PLACED)
def test_rounds_leave_the_maximum_at_the_first_element(windows: Windows, layout: GridLayout) -> None:
    x = np.random.default_rng(1).normal(size=(prod(windows.shape), 3))
    state = windows.spread(x)
    slots = np.array(layout.pack(x[:, 0]))
    for offset in windows.offsets:
        state = np.maximum(state, windows.shifted(state, offset))
        slots = np.maximum(slots, np.roll(slots, -(shift_of(layout, windows, offset) or 0)))
    wanted = windows.apply(x)
    assert np.array_equal(windows.collect(state), wanted)
    result = pooled(layout, windows)
    held = result.index_at() >= 0
    assert result.size == len(wanted)
    assert np.array_equal(slots[held], wanted[result.index_at()[held], 0])


@pytest.mark.parametrize(("windows", "layout"), PLACED)
def test_no_slot_leaves_what_the_ranges_look_at(windows: Windows, layout: GridLayout) -> None:
    """Differences in slots, those between windows too, are among the differences of `Windows.spread`, or of zeros."""
    x = np.random.default_rng(2).normal(size=(prod(windows.shape), 1))
    state, slots = windows.spread(x), np.array(layout.pack(x[:, 0]))
    for offset in windows.offsets:
        other = np.roll(slots, -(shift_of(layout, windows, offset) or 0))
        bound = max(np.abs(state - windows.shifted(state, offset)).max(), np.abs(state).max())
        assert np.abs(slots - other).max() <= bound
        state = np.maximum(state, windows.shifted(state, offset))
        slots = np.maximum(slots, other)


def test_layouts_without_a_gap_are_refused() -> None:
    windows = Windows((2, 4, 4), (2, 2), (2, 2))
    assert shift_of(GridLayout((2, 4, 4), 64, 16, 4, (1, 1), 32, 32), windows, (1, 0)) is None
    assert shift_of(GridLayout((2, 4, 4), 128, 32, 4, (1, 1), 64, 64), windows, (1, 0)) == 4
    blocks = GridLayout((2, 9, 9), 2048, 16, 4, (3, 3), 32, 512)
    assert shift_of(blocks, Windows((2, 9, 9), (3, 3), (3, 3)), (1, 0)) is None
    assert shift_of(ReplicatedLayout.plain(32, 128), windows, (1, 0)) is None


@pytest.mark.parametrize("windows", [windows for windows, _ in PLACED])
def test_columns_end_with_the_maxima(windows: Windows) -> None:
    x = np.random.default_rng(3).normal(size=prod(windows.shape))
    found = absolute(2)
    rounds = tuple(Round(offset, found, 1.0) for offset in windows.offsets)
    columns = x
    for pairs in Maximum((0,), windows, rounds).columns:
        columns = np.array([max(columns[i], columns[j]) for i, j in pairs])
    assert np.array_equal(columns, windows.apply(x))


@pytest.mark.parametrize("degree", [2, 6, 14, 30])
def test_error_of_fitted_polynomials_is_proven(degree: int) -> None:
    arguments = np.random.default_rng(0).normal(size=4000).clip(-9, 9) / 10
    found = fitted_absolute(degree, arguments, np.abs(arguments))
    errors = np.abs(np.polynomial.chebyshev.chebval(GRID, found.series) - np.abs(GRID))
    assert errors.max() <= found.error <= 1.2 * errors.max() + 1e-9
    assert found.error >= absolute(degree).error * 0.99
    typical = np.abs(np.polynomial.chebyshev.chebval(arguments, found.series) - np.abs(arguments)).mean()
    minimax = np.polynomial.chebyshev.chebval(arguments, absolute(degree).series)
    assert typical < np.abs(minimax - np.abs(arguments)).mean()
    rectified = relu_of(found)
    errors = np.abs(np.polynomial.chebyshev.chebval(GRID, rectified.series) - np.maximum(GRID, 0))
    assert errors.max() <= rectified.error


def test_maximum_of_any_error_has_least_depth_or_is_refused() -> None:
    assert absolute_within(0.13).degree == 2
    assert absolute_within(0.05).degree == 6
    assert absolute_within(0.01).slope >= np.abs(np.gradient(GRID, GRID)[np.abs(GRID) < INNER]).max()
    with pytest.raises(PrecisionError):
        absolute_within(1e-4)


def test_pools_come_before_their_relu() -> None:
    graph = pools(pad=1)
    part = partition(graph)
    assert [node.kind for node in part.activations] == ["pool", "relu"]
    x = images(graph, 5)
    values = [x.reshape(5, -1).T]
    for node in part.nodes:
        read = [values[number] for number in node.reads]
        if node in part.affines:
            values.append(node.matrix @ read[0] + node.bias[:, None])
        else:
            values.append(node.function(*read))
    assert np.allclose(values[-1].T, interpret(graph, x)[graph.primary])


def test_padded_pools_without_relu_are_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="padded"):
        partition(pools(pad=1, activation=None))


@pytest.mark.parametrize("layout", ["latency", "throughput"])
@pytest.mark.parametrize("activation", ["Relu", None, "Sigmoid"])
def test_pools_keep_a_proven_promise(layout: str, activation: str | None) -> None:
    graph = pools(activation=activation)
    x = images(graph, 200)
    candidate = candidate_of(graph, x, layout=layout, max_error=1.0)
    assert MEASURED_ASSUMPTION not in candidate.declaration.assumptions
    assert not candidate.compile().public.is_measured
    again = Compiled.from_bytes(candidate.compile().to_bytes())
    assert again.program().rotations() == candidate.program.rotations()
    assert_matches_reference(graph, x[:2], candidate, encrypted=False)


@pytest.mark.parametrize("layout", ["latency", "throughput"])
def test_encrypted_pools_keep_their_promise(layout: str) -> None:
    graph = pools(activation=None)
    x = images(graph, 200)
    assert_matches_reference(graph, x[:2], candidate_of(graph, x, layout=layout, max_error=1.0))


def test_overlapping_windows_agree() -> None:
    graph = pools(kernel=3, stride=1)
    x = images(graph, 200)
    assert_matches_reference(graph, x[:2], candidate_of(graph, x, max_error=2.0), encrypted=False)


@pytest.mark.parametrize("which", [0, 3])
def test_blocks_that_repeat_hold_the_same_polynomials(which: int) -> None:
    """A replica that compares other pairs is off by another error, and would fail the owner's check of replicas."""
    windows, layout = PLACED[which]
    square = absolute(2)
    slots = np.array(layout.pack(np.random.default_rng(4).uniform(-0.5, 0.5, prod(windows.shape))))
    for offset in windows.offsets:
        other = np.roll(slots, -(shift_of(layout, windows, offset) or 0))
        slots = (slots + other + np.polynomial.chebyshev.chebval(slots - other, square.series)) / 2
    span = pooled(layout, windows).span
    assert np.abs(slots.reshape(-1, span) - slots[:span]).max() < 1e-12


def test_deep_pools_promise_what_was_measured() -> None:
    graph = pools(blocks=2)
    x = images(graph, 300)
    with pytest.raises(PrecisionError) as refused:
        candidate_of(graph, x, max_error=0.25)
    assert "measured=True" in (refused.value.hint or "")
    candidate = candidate_of(graph, x, max_error=0.25, measured=True)
    assert MEASURED_ASSUMPTION in candidate.declaration.assumptions
    assert candidate.declaration.details["promise"] == "measured"
    report = Simulation(candidate.compile()).predict(x[:2]).report
    assert report.measured
    assert "not proven" in str(report)
    assert_matches_reference(graph, images(graph, 4, seed=1), candidate, encrypted=False)
