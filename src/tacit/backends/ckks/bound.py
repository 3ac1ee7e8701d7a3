"""The promise: noise of the worst accepted input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tacit.backends.ckks.executor import Executor
from tacit.backends.ckks.layout import ColumnLayout
from tacit.backends.ckks.levels import Chain
from tacit.backends.ckks.noise import TAIL
from tacit.backends.ckks.program import Program
from tacit.backends.ckks.simulator import Simulator
from tacit.errors import PrecisionError

__all__ = ["worst_noise"]

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
