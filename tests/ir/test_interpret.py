"""Running graphs in the clear: inputs are checked, every value can be seen, every op means what NumPy says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import special

from tacit.errors import DataError, ShapeError
from tacit.ir import OPS, Graph, GraphBuilder, interpret, window
from tacit.ir.ops import MAX_OPS


def _single(
    op: str, *shapes: tuple[int | None, ...], constants: tuple[Any, ...] = (), **attributes: Any
) -> Graph:
    builder = GraphBuilder(op)
    operands = [builder.input(f"x{i}", shape) for i, shape in enumerate(shapes)]
    operands += [builder.constant(item) for item in constants]
    return builder.finish([builder.node(op, *operands, output="y", **attributes)])


def test_the_table_is_closed() -> None:
    assert len(OPS) <= MAX_OPS == 35
    assert all(name == op.name and op.note for name, op in OPS.items())


X = np.linspace(-4.0, 4.0, 24).reshape(4, 6)

FUNCTIONS: dict[str, Any] = {
    "Abs": np.abs,
    "Erf": special.erf,
    "Exp": np.exp,
    "Log": lambda x: np.log(x),
    "Relu": lambda x: x * (x > 0),
    "Sigmoid": special.expit,
    "Sqrt": np.sqrt,
    "Tanh": np.tanh,
}


@pytest.mark.parametrize("op", FUNCTIONS)
def test_functions_of_one_variable(op: str) -> None:
    data = np.abs(X) + 0.1 if op in ("Log", "Sqrt") else X
    np.testing.assert_allclose(interpret(_single(op, (None, 6)), data)["y"], FUNCTIONS[op](data), rtol=1e-14)


def test_functions_do_not_overflow() -> None:
    data = np.array([[-1e4, 1e4, 0.0]])
    np.testing.assert_array_equal(interpret(_single("Sigmoid", (None, 3)), data)["y"], [[0.0, 1.0, 0.5]])
    softmax = interpret(_single("Softmax", (None, 3), axis=1), data)["y"]
    np.testing.assert_array_equal(softmax, [[0.0, 1.0, 0.0]])


@pytest.mark.parametrize("batch", [0, 1, 3])
def test_any_batch(batch: int) -> None:
    graph = _single("MatMul", (None, 6), constants=(np.ones((6, 2)),))
    assert interpret(graph, np.ones((batch, 6)))["y"].shape == (batch, 2)


@pytest.mark.parametrize(("group", "filters"), [(2, 6), (4, 4), (4, 8)])
def test_convolution_against_its_definition(
    group: int, filters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "_CHUNK", 700)  # one sample at a time
    random = np.random.default_rng(0)
    depth, each = 4 // group, filters // group
    x, w = random.normal(size=(2, 4, 7, 6)), random.normal(size=(filters, depth, 3, 2))
    b = random.normal(size=filters)
    graph = _single(
        "Conv",
        (None, 4, 7, 6),
        constants=(w, b),
        strides=(2, 1),
        pads=(1, 0, 2, 1),
        dilations=(1, 2),
        group=group,
    )
    got = interpret(graph, x)["y"]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 2), (0, 1)))
    want = np.zeros(got.shape)
    for n, f, i, j in np.ndindex(*got.shape):
        channels = slice(depth * (f // each), depth * (f // each) + depth)
        patch = padded[n, channels, 2 * i : 2 * i + 3, j : j + 3 : 2]
        want[n, f, i, j] = np.sum(patch * w[f]) + b[f]
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_pools_against_their_definition() -> None:
    x = np.random.default_rng(1).normal(size=(2, 3, 5, 5))
    place: dict[str, Any] = {"kernel": (2, 3), "strides": (2, 1), "pads": (0, 1, 1, 1), "dilations": (1, 1)}
    largest = interpret(_single("MaxPool", (None, 3, 5, 5), **place), x)["y"]
    mean = interpret(_single("AveragePool", (None, 3, 5, 5), **place), x)["y"]
    counted = interpret(_single("AveragePool", (None, 3, 5, 5), count_include_pad=1, **place), x)["y"]
    for i, j in np.ndindex(3, 5):
        patch = x[:, :, 2 * i : 2 * i + 2, max(0, j - 1) : j + 2].reshape(2, 3, -1)
        np.testing.assert_allclose(largest[:, :, i, j], patch.max(-1))
        np.testing.assert_allclose(mean[:, :, i, j], patch.mean(-1))
        np.testing.assert_allclose(counted[:, :, i, j], patch.sum(-1) / 6)


def test_the_trace_has_every_value() -> None:
    builder = GraphBuilder("g")
    x = builder.input("x", (None, 2))
    y = builder.node("Exp", builder.node("Abs", x, output="a"), output="y")
    graph = builder.finish([y])
    trace = interpret(graph, np.ones((1, 2)), trace=True)
    assert set(trace) == {"x", "a", "y"} == set(graph.values)
    assert math.isclose(trace["y"][0, 0], math.e)


def test_several_inputs_are_given_by_name() -> None:
    graph = _single("Add", (None, 2), (None, 2))
    np.testing.assert_array_equal(interpret(graph, {"x0": np.ones((3, 2)), "x1": np.ones((3, 2))})["y"], 2.0)
    with pytest.raises(ShapeError, match="has 2 inputs"):
        interpret(graph, np.ones((3, 2)))
    with pytest.raises(ShapeError, match="inputs must be"):
        interpret(graph, {"x0": np.ones((3, 2))})
    with pytest.raises(ShapeError, match="samples"):
        interpret(graph, {"x0": np.ones((3, 2)), "x1": np.ones((2, 2))})


@pytest.mark.parametrize("data", [np.ones((3, 5)), np.ones(6), np.ones((3, 6, 1)), np.float64(1.0)], ids=str)
def test_other_shapes_are_refused(data: Any) -> None:
    with pytest.raises(ShapeError, match=r"must have shape \(n, 6\)"):
        interpret(_single("Abs", (None, 6)), data)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_and_not_told(value: float) -> None:
    data = np.full((3, 6), 123.456)
    data[1, 2] = value
    with pytest.raises(DataError, match="holds NaN or infinity") as caught:
        interpret(_single("Abs", (None, 6)), data)
    assert "123" not in str(caught.value)


@pytest.mark.parametrize("data", [np.array([["a"] * 6]), np.array([[None] * 6]), [[1.0] * 6, [1.0]]], ids=str)
def test_what_is_no_number_is_refused(data: Any) -> None:
    with pytest.raises(DataError):
        interpret(_single("Abs", (None, 6)), data)


def test_integers_and_float32_become_float64() -> None:
    for kind in (np.int32, np.float32, np.bool_):
        assert interpret(_single("Abs", (None, 6)), np.ones((2, 6), dtype=kind))["y"].dtype == np.float64
