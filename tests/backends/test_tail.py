"""Slopes of the owner's tail: bounds that samples of the box never exceed, and that are finite where they can be."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tacit.backends.ckks.tail import tail_gain
from tacit.errors import PrecisionError
from tacit.ir.builder import GraphBuilder
from tacit.ir.graph import Graph
from tacit.ir.interpret import interpret

FloatArray = npt.NDArray[np.float64]
WIDTH = 4


def tail(name: str) -> Graph:
    """A tail on scores z (batch, 4)."""
    builder = GraphBuilder(name)
    z = builder.input("z", (None, WIDTH))

    def number(value: float) -> str:
        return builder.constant(value, public=True)

    def total(value: str, op: str = "ReduceSum") -> str:
        return builder.node(op, value, axes=(1,), keepdims=1)

    def part(value: str, start: int, end: int) -> str:
        return builder.node("Slice", value, axes=(1,), starts=(start,), ends=(end,), steps=(1,))

    def node(op: str, *operands: str) -> str:
        return builder.node(op, *operands)

    match name:
        case "one against the rest":
            chances = node("Sigmoid", z)
            made = node("Div", chances, total(chances))
        case "binary one against the rest":
            chance = node("Sigmoid", part(z, 0, 1))
            pair = builder.node("Concat", node("Sub", number(1.0), chance), chance, axis=1)
            made = node("Div", pair, total(pair))
        case "log softmax":
            apart = node("Sub", z, total(z, "ReduceMax"))
            made = node("Sub", apart, node("Log", total(node("Exp", apart))))
        case "normal":
            positive = node("Add", node("Abs", z), number(1.0))
            norm = node("Sqrt", total(node("Mul", positive, positive)))
            empty = node("Equal", norm, number(0.0))
            made = node("Div", positive, node("Where", empty, number(1.0), norm))
        case "quotient":
            made = node("Div", part(z, 0, 2), node("Add", node("Exp", part(z, 2, 4)), number(0.5)))
        case "cube":
            made = node("Pow", z, number(3.0))
        case "inverse":
            made = node("Pow", node("Add", node("Relu", z), number(1.0)), number(-1.0))
        case "matrix":
            made = node("MatMul", node("Tanh", z), builder.constant(MATRIX, public=True))
        case "matrix on the left":
            square = builder.node("Reshape", z, shape=(-1, 2, 2))
            made = node("MatMul", builder.constant(MATRIX[:3, :2], public=True), node("Erf", square))
        case "moved":
            padded = builder.node("Pad", node("Exp", z), pads=(0, 1, 0, 1), value=7.0)
            picked = builder.node("Gather", padded, builder.constant(np.array([4, 0, 2, 2])), axis=1)
            made = node("Min", node("Mul", picked, z), number(2.0))
        case "pool":
            image = builder.node("Reshape", z, shape=(-1, 1, 2, 2))
            still = {"strides": (1, 1), "pads": (0, 1, 1, 0), "dilations": (1, 1)}
            most = builder.node("MaxPool", image, kernel=(2, 2), **still)
            made = builder.node("AveragePool", node("Sigmoid", most), kernel=(2, 2), **still)
        case "softmax of products":
            made = builder.node("Softmax", node("Mul", z, node("Sub", number(1.0), z)), axis=1)
        case _:
            made = node(name, z)
    return builder.finish([made])


MATRIX = np.random.default_rng(5).normal(size=(WIDTH, 3))
TAILS = (
    "one against the rest",
    "binary one against the rest",
    "log softmax",
    "normal",
    "quotient",
    "cube",
    "inverse",
    "matrix",
    "matrix on the left",
    "moved",
    "pool",
    "softmax of products",
    "Exp",
    "Sigmoid",
    "Tanh",
    "Erf",
    "Abs",
    "Relu",
)


@pytest.mark.parametrize("middle", [-3.0, 0.0, 2.0])
@pytest.mark.parametrize("name", TAILS)
def test_no_pair_of_samples_moves_further_than_the_gain(name: str, middle: float) -> None:
    graph = tail(name)
    rng = np.random.default_rng(6)
    low = middle + rng.uniform(-2, 0, WIDTH)
    high = low + rng.uniform(0.1, 3, WIDTH)
    gain = tail_gain(graph, low, high)
    z = rng.uniform(low, high, (4000, WIDTH))
    corners = np.where(rng.random((200, WIDTH)) < 0.5, low, high)
    z = np.concatenate([z, corners])
    steps = np.where(rng.random(z.shape) < 0.5, -1e-6, 1e-6)
    nearby = np.clip(z + steps, low, high)
    there, here = (interpret(graph, points)[graph.outputs[0]] for points in (nearby, z))
    moved = np.abs(there - here).reshape(len(z), -1).max(axis=1) / 1e-6
    print(f"largest {moved.max():.3g}, bound {gain:.3g}")
    assert moved.max() <= gain * (1 + 1e-6) + 1e-8
    assert gain <= 40 * max(moved.max(), 0.05)


@pytest.mark.parametrize("name", ["one against the rest", "binary one against the rest"])
def test_shares_move_by_half_whatever_the_range(name: str) -> None:
    assert tail_gain(tail(name)) == 0.5
    assert tail_gain(tail(name), np.full(WIDTH, -1e3), np.full(WIDTH, 1e3)) <= 0.5


def test_the_logarithm_of_a_softmax_needs_no_range() -> None:
    assert tail_gain(tail("log softmax")) <= 4.0


@pytest.mark.parametrize("name", ["Exp", "cube", "quotient"])
def test_unbounded_slopes_need_a_range(name: str) -> None:
    with pytest.raises(PrecisionError, match="no error can be promised"):
        tail_gain(tail(name))


@pytest.mark.parametrize("low", [-1.0, 0.0])
def test_a_logarithm_that_may_reach_zero_gets_no_promise(low: float) -> None:
    with pytest.raises(PrecisionError, match="Log"):
        tail_gain(tail("Log"), np.full(WIDTH, low), np.full(WIDTH, 2.0))


def test_values_that_may_overflow_get_no_promise() -> None:
    """exp overflows, and the softmax of infinities is no number."""
    builder = GraphBuilder("overflow")
    z = builder.input("z", (None, WIDTH))
    again = builder.node(
        "Log", builder.node("Add", builder.node("Exp", z), builder.constant(1.0, public=True))
    )
    graph = builder.finish([builder.node("Softmax", again, axis=1)])
    assert tail_gain(graph, np.full(WIDTH, -9.0), np.full(WIDTH, 9.0)) <= 0.5
    with pytest.raises(PrecisionError, match="Exp"):
        tail_gain(graph, np.full(WIDTH, -9.0), np.full(WIDTH, 900.0))
