"""Small dense graphs with known weights, and data for them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tacit.ir.builder import GraphBuilder
from tacit.ir.graph import Graph

__all__ = ["ACTIVATIONS", "dense", "samples"]

ACTIVATIONS = ("square", "power", "Sigmoid", "Tanh", "Relu", "gelu", "silu")


def samples(count: int, features: int, seed: int = 0) -> npt.NDArray[np.float64]:
    """(count, features) of a bounded distribution: uniform on [-1, 1]."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, features))


def dense(
    sizes: tuple[int, ...], activation: str = "square", *, last: str = "", seed: int = 0, gain: float = 1.0
) -> Graph:
    """MatMul and Add between ``sizes``, the activation between layers, ``last`` (Sigmoid, Softmax or nothing) after."""
    rng = np.random.default_rng(seed)
    builder = GraphBuilder(f"dense-{activation}")
    value = builder.input("x", (None, sizes[0]))
    for layer, (width, height) in enumerate(pairwise(sizes)):
        weights = builder.constant(gain * rng.normal(size=(width, height)) / np.sqrt(width))
        value = builder.node("MatMul", value, weights, name=f"dense{layer}")
        value = builder.node("Add", value, builder.constant(rng.normal(size=height) * 0.1))
        if layer < len(sizes) - 2:
            value = _activate(builder, value, activation, f"act{layer}")
    roles = {"scores": value}
    outputs = [value]
    if last:
        probabilities = (
            builder.node("Softmax", value, axis=1) if last == "Softmax" else builder.node(last, value)
        )
        label = builder.node(
            "Gather",
            builder.constant(np.array([f"class {i}" for i in range(sizes[-1])]), public=True),
            builder.node("ArgMax", probabilities, axis=1, keepdims=0),
            axis=0,
        )
        roles, outputs = {"probabilities": probabilities, "label": label}, [probabilities, label]
    return builder.finish(outputs, roles=roles)


def _activate(builder: GraphBuilder, value: str, activation: str, name: str) -> str:
    match activation:
        case "square":
            return builder.node("Mul", value, value, name=name)
        case "power":
            return builder.node("Pow", value, builder.constant(2.0), name=name)
        case "gelu":
            inner = builder.node("Erf", builder.node("Mul", value, builder.constant(0.5**0.5)))
            half = builder.node("Mul", value, builder.constant(0.5))
            return builder.node("Mul", half, builder.node("Add", inner, builder.constant(1.0)), name=name)
        case "silu":
            return builder.node("Mul", value, builder.node("Sigmoid", value), name=name)
    return builder.node(activation, value, name=name)
