"""The promise: noise of the worst accepted input, and what errors of the scores amount to after the owner's tail."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, pi, sqrt

import numpy as np

from tacit.backends.ckks.executor import Executor
from tacit.backends.ckks.layout import ColumnLayout
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
    packed = not isinstance(program.input, ColumnLayout)
    simulator = Simulator(chain.log_n, q, p, worst_case=True, columns=not packed)
    if not isinstance(program.input, ColumnLayout):
        inputs = [np.abs(program.input.pack(np.ones(program.input.size)))]
    else:
        inputs = [np.full(1, 2.0**0.5 if program.input.is_complex else 1.0)] * program.input.size
    fresh = [
        simulator.encrypt(simulator.encode(values, level=program.level, scale=program.scale))
        for values in inputs
    ]
    with np.errstate(over="ignore", invalid="ignore"):
        results = Executor(program, simulator).run(fresh)
        if program.flag is not None:
            simulator.decrypt(results.pop())
        noise = max(float(np.hypot(result.noise, result.shared).max()) for result in results)
    if not np.isfinite(noise):
        raise PrecisionError("noise outgrows every value of this program")
    largest = max(float(np.abs(simulator.decrypt(result)).max()) for result in results)
    return TAIL * noise + FLOAT_DUST * largest


def tail_gain(tail: Graph) -> float:
    """Lipschitz constant, in the largest-error norm, of the primary output in the decrypted values.

    Raises ``PrecisionError`` where there is none: after a jump (comparison, index, rounding) or an unbounded slope.
    """
    gains = {value.name: 1.0 for value in tail.inputs}
    gains.update(dict.fromkeys(tail.constants, 0.0))
    culprit: dict[str, str] = {}
    for node in tail.nodes:
        operands = [gains[name] for name in node.inputs]
        gain = _node_gain(tail, node, operands) if any(operands) else 0.0
        gains[node.output] = gain
        inherited = [culprit[name] for name in node.inputs if name in culprit]
        if gain == inf:
            culprit[node.output] = inherited[0] if inherited else node.op
    if gains[tail.primary] == inf:
        raise PrecisionError(
            f"no error can be promised after the function {culprit[tail.primary]} that ends the model",
            hint="export the model with its scores as the output",
        )
    return max(gains[tail.primary], 1e-12)


def _node_gain(tail: Graph, node: Node, gains: list[float]) -> float:
    """The node's constant for operands with theirs; infinite for jumps and for what the table does not know."""
    if tail.values[node.output].dtype != "float64":
        return inf
    match node.op:
        case "Add" | "Sub":
            return sum(gains)
        case "Concat" | "Max" | "Min":
            return max(gains)
        case "Where" if not gains[0]:
            return max(gains[1:])
        case "Gather" if not gains[1]:
            return gains[0]
        case "Reshape" | "Transpose" | "Slice" | "Pad" | "Cast":
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
        case "Mul" if not min(gains):
            constant = node.inputs[0 if gains[1] else 1]
            if constant in tail.constants:
                return max(gains) * float(np.abs(tail.constants[constant]).max(initial=0.0))
        case "Div" if not gains[1] and node.inputs[1] in tail.constants:
            smallest = float(np.abs(tail.constants[node.inputs[1]]).min(initial=inf))
            if smallest > 0:
                return gains[0] / smallest
    return inf
