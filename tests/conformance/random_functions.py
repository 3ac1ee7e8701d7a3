"""What a random network may have besides affine ops: functions of one variable, and ops that join two values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from random import Random

from tacit.ir.builder import GraphBuilder
from tacit.ir.signature import Attribute

__all__ = ["FUNCTIONS", "JOINS", "Sketch"]


@dataclass(frozen=True)
class Sketch:
    """A graph under construction, and where its choices come from."""

    builder: GraphBuilder
    rng: Random

    def node(self, op: str, *inputs: str, **attributes: Attribute) -> str:
        """As ``GraphBuilder.add``."""
        return self.builder.add(op, inputs, attributes)

    def number(self, value: float) -> str:
        """A constant of the provider."""
        return self.builder.constant(value)


Function = Callable[[Sketch, str], str]
Join = Callable[[Sketch, str, str], str]


def _plain(op: str) -> Function:
    return lambda s, x: s.node(op, x)


def _square(s: Sketch, x: str) -> str:
    return s.node("Mul", x, x)


def _power(exponent: float) -> Function:
    return lambda s, x: s.node("Pow", x, s.number(exponent))


def _quadratic(s: Sketch, x: str) -> str:
    """a·x² + b·x, which is written with three nodes and reads x twice."""
    return s.node(
        "Add",
        s.node("Mul", s.node("Mul", x, x), s.number(s.rng.uniform(-1, 1))),
        s.node("Mul", x, s.number(1.0)),
    )


def _gelu(s: Sketch, x: str) -> str:
    half = s.node("Mul", x, s.number(0.5))
    return s.node(
        "Mul",
        half,
        s.node("Add", s.node("Erf", s.node("Mul", x, s.number(sqrt(0.5)))), s.number(1.0)),
    )


def _silu(s: Sketch, x: str) -> str:
    return s.node("Mul", x, s.node("Sigmoid", x))


def _softplus(s: Sketch, x: str) -> str:
    return s.node("Log", s.node("Add", s.node("Exp", x), s.number(1.0)))


def _leaky(s: Sketch, x: str) -> str:
    return s.node("Max", x, s.node("Mul", x, s.number(0.1)))


def _clip(s: Sketch, x: str) -> str:
    return s.node("Min", s.node("Max", x, s.number(0.0)), s.number(6.0))


def _hard_swish(s: Sketch, x: str) -> str:
    gate = s.node("Add", s.node("Mul", x, s.number(1 / 6)), s.number(0.5))
    return s.node("Mul", x, s.node("Min", s.node("Max", gate, s.number(0.0)), s.number(1.0)))


def _elu(s: Sketch, x: str) -> str:
    below = s.node("Sub", s.node("Exp", s.node("Min", x, s.number(0.0))), s.number(1.0))
    return s.node("Add", s.node("Relu", x), below)


def _root(s: Sketch, x: str) -> str:
    return s.node("Sqrt", s.node("Add", s.node("Mul", x, x), s.number(1.0)))


def _inverse(s: Sketch, x: str) -> str:
    return s.node("Div", s.number(1.0), s.node("Add", s.node("Mul", x, x), s.number(1.0)))


def _max_pool(s: Sketch, x: str) -> str:
    n = s.builder.values[x].type.rank - 2
    stride = s.rng.randint(1, 2)
    return s.node(
        "MaxPool", x, kernel=(2,) * n, strides=(stride,) * n, pads=(0,) * (2 * n), dilations=(1,) * n
    )


FUNCTIONS: tuple[Function, ...] = (
    _square,
    _square,
    _square,
    _power(2.0),
    _power(3.0),
    _quadratic,
    _plain("Sigmoid"),
    _plain("Tanh"),
    _plain("Erf"),
    _plain("Exp"),
    _plain("Relu"),
    _plain("Relu"),
    _plain("Abs"),
    _gelu,
    _silu,
    _softplus,
    _leaky,
    _clip,
    _hard_swish,
    _elu,
    _root,
    _inverse,
    _max_pool,
)

JOINS: tuple[tuple[Join, int], ...] = (
    (lambda s, a, b: s.node("Add", a, b), 0),
    (lambda s, a, b: s.node("Sub", a, b), 0),
    (lambda s, a, b: s.node("Concat", a, b, axis=1), 0),
    (lambda s, a, b: s.node("Mul", a, b), 1),
    (lambda s, a, b: s.node(s.rng.choice(("Max", "Min")), a, b), 1),
)
"""With how many functions each counts as."""
