"""The promise: noise of the worst accepted input, and what errors of the scores amount to after the owner's tail."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, sqrt

import numpy as np

from tacit.backends.ckks.executor import Executor
from tacit.backends.ckks.layout import ReplicatedLayout
from tacit.backends.ckks.levels import Chain
from tacit.backends.ckks.noise import TAIL
from tacit.backends.ckks.program import Program
from tacit.backends.ckks.simulator import Simulator
from tacit.errors import PrecisionError
from tacit.ir.graph import Graph, Node

__all__ = ["tail_gain", "worst_noise"]

FLOAT_DUST = 2.0**-40
"""Relative error that float64 encoding, decoding and the tail may add."""


def worst_noise(program: Program, chain: Chain, q: Sequence[int], p: Sequence[int]) -> float:
    """Bound on the noise of any result slot, for inputs of the region, failing with probability below 2^-40.

    Raises ``PrecisionError`` where values could wrap around a modulus.
    """
    packed = isinstance(program.input, ReplicatedLayout)
    simulator = Simulator(chain.log_n, q, p, worst_case=True, slots=None if packed else 1)
    if isinstance(program.input, ReplicatedLayout):
        inputs = [np.abs(program.input.pack(np.ones(program.input.size)))]
    else:
        inputs = [np.full(1, 2.0**0.5 if program.input.is_complex else 1.0)] * program.input.size
    fresh = [
        simulator.encrypt(simulator.encode(values, level=program.level, scale=program.scale))
        for values in inputs
    ]
    with np.errstate(over="ignore", invalid="ignore"):
        results = Executor(program, simulator).run(fresh)
        noise = max(float(result.noise.max()) for result in results)
    if not np.isfinite(noise):
        raise PrecisionError("noise outgrows every value of this program")
    largest = max(float(np.abs(simulator.decrypt(result)).max()) for result in results)
    return TAIL * noise + FLOAT_DUST * largest


def tail_gain(tail: Graph) -> float:
    """Lipschitz constant, in the largest-error norm, of the primary output in the decrypted values.

    Raises ``PrecisionError`` for a tail of unbounded slope.
    """
    gains = {value.name: 1.0 for value in tail.inputs}
    gains.update(dict.fromkeys(tail.constants, 0.0))
    for node in tail.nodes:
        if tail.values[node.output].dtype != "float64":
            continue
        gains[node.output] = _node_gain(tail, node, [gains.get(name, 0.0) for name in node.inputs])
    gain = gains.get(tail.primary)
    if gain is None:
        return 1.0
    return max(gain, 1e-12)


def _node_gain(tail: Graph, node: Node, gains: list[float]) -> float:
    match node.op:
        case "Add" | "Sub":
            return sum(gains)
        case "Concat" | "Max" | "Min":
            return max(gains)
        case "Where":
            return max(gains[1:])
        case "Reshape" | "Transpose" | "Slice" | "Pad" | "Gather" | "Cast":
            return gains[0]
        case "Relu" | "Tanh" | "Abs" | "ReduceMax" | "AveragePool" | "MaxPool":
            return gains[0]
        case "Sigmoid":
            return gains[0] / 4
        case "Softmax":
            return gains[0] / 2
        case "Erf":
            return gains[0] * 2 / sqrt(pi)
        case "ReduceSum":
            return gains[0] * tail.values[node.inputs[0]].features / max(1, tail.values[node.output].features)
        case "Mul" | "Div" if node.inputs[1] in tail.constants or node.inputs[0] in tail.constants:
            flat = node.inputs[1] in tail.constants
            constant = np.abs(tail.constants[node.inputs[1 if flat else 0]])
            if node.op == "Mul":
                return max(gains) * float(constant.max())
            if flat and constant.min() > 0:
                return gains[0] / float(constant.min())
    if not any(gains):
        return 0.0
    raise PrecisionError(
        f"no error can be promised after the function {node.op} that ends the model",
        hint="export the model with its scores as the output",
    )
