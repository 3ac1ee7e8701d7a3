"""Small graphs whose values are read several times: skips, towers, gates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tacit.ir.builder import GraphBuilder
from tacit.ir.graph import Graph

__all__ = ["BRANCHING", "branching"]


class _Maker:
    def __init__(self, name: str, seed: int) -> None:
        self.builder = GraphBuilder(name)
        self.rng = np.random.default_rng(seed)
        self.values = self.builder.values

    def node(self, op: str, *inputs: str, **attributes: object) -> str:
        return self.builder.node(op, *inputs, **attributes)  # type: ignore[arg-type]

    def constant(self, array: npt.ArrayLike) -> str:
        return self.builder.constant(np.asarray(array, dtype=np.float64))

    def linear(self, value: str, outputs: int) -> str:
        inputs = int(self.values[value].shape[-1] or 0)
        made = self.node(
            "MatMul", value, self.constant(self.rng.normal(size=(inputs, outputs)) / inputs**0.5)
        )
        return self.node("Add", made, self.constant(self.rng.normal(size=outputs) / 4))

    def convolution(self, value: str, filters: int) -> str:
        channels = int(self.values[value].shape[1] or 0)
        kernel = self.constant(self.rng.normal(size=(filters, channels, 3, 3)) / (9 * channels) ** 0.5)
        return self.node("Conv", value, kernel, strides=(1, 1), pads=(1,) * 4, dilations=(1, 1))

    def square(self, value: str) -> str:
        return self.node("Mul", value, value)


def _skip(m: _Maker) -> str:
    """A residual block around a function, then another that skips a whole layer."""
    x = m.builder.input("x", (None, 6))
    h = m.node("Add", m.node("Tanh", m.linear(x, 6)), x)
    return m.linear(m.node("Add", m.square(m.linear(h, 6)), h), 2)


def _towers(m: _Maker) -> str:
    """Two towers of different depth and functions, put side by side."""
    x = m.builder.input("x", (None, 5))
    deep = m.square(m.linear(m.square(m.linear(x, 4)), 3))
    wide = m.node("Sigmoid", m.linear(x, 7))
    return m.linear(m.node("Concat", deep, wide, axis=1), 3)


def _gate(m: _Maker) -> str:
    """A product of two affine images, and one of two functions."""
    x = m.builder.input("x", (None, 4))
    gated = m.node("Mul", m.linear(x, 6), m.linear(x, 6))
    both = m.node("Mul", m.square(m.linear(gated, 3)), m.node("Tanh", m.linear(x, 3)))
    return m.linear(both, 2)


def _same_input(m: _Maker) -> str:
    """The input times an image of it, broadcast."""
    x = m.builder.input("x", (None, 5))
    return m.linear(m.node("Mul", x, m.linear(x, 1)), 2)


def _mask(m: _Maker) -> str:
    """A constant choice between two branches."""
    x = m.builder.input("x", (None, 6))
    mask = m.builder.constant(np.array([True, False, True, True, False, False]))
    chosen = m.node("Where", mask, m.square(m.linear(x, 6)), m.linear(x, 6))
    total = m.node("ReduceSum", chosen, axes=(1,), keepdims=1)
    return m.linear(m.node("Concat", total, chosen, axis=1), 2)


def _image_residual(m: _Maker) -> str:
    """A convolutional block with an identity skip, then one that changes the channels."""
    x = m.builder.input("x", (None, 1, 6, 6))
    z = m.square(m.convolution(x, 2))
    h = m.node("Add", m.convolution(m.square(m.convolution(z, 2)), 2), z)
    flat = m.node("Reshape", m.square(h), shape=(-1, 72))
    return m.linear(flat, 3)


def _squeeze(m: _Maker) -> str:
    """Channels times numbers computed from their averages."""
    x = m.builder.input("x", (None, 1, 4, 4))
    z = m.convolution(x, 2)
    mean = m.node("AveragePool", z, kernel=(4, 4), strides=(4, 4), pads=(0,) * 4, dilations=(1, 1))
    weight = m.node("Sigmoid", m.linear(m.node("Reshape", mean, shape=(-1, 2)), 2))
    scaled = m.node("Mul", z, m.node("Reshape", weight, shape=(-1, 2, 1, 1)))
    return m.linear(m.node("Reshape", scaled, shape=(-1, 32)), 2)


BRANCHING: dict[str, Callable[[_Maker], str]] = {
    "skip": _skip,
    "towers": _towers,
    "gate": _gate,
    "same input": _same_input,
    "mask": _mask,
    "image residual": _image_residual,
    "squeeze": _squeeze,
}


def branching(name: str, seed: int = 0) -> Graph:
    """One of ``BRANCHING`` with random weights."""
    maker = _Maker(name, seed)
    return maker.builder.finish([BRANCHING[name](maker)])
