"""The promise: noise of the worst accepted input, or of samples where ranges are measured as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.executor import Executor
from tacit.backends.ckks.layout import ColumnLayout
from tacit.backends.ckks.levels import Chain
from tacit.backends.ckks.noise import TAIL
from tacit.backends.ckks.program import Program
from tacit.backends.ckks.sampled import SampledEngine
from tacit.backends.ckks.simulator import Simulator
from tacit.errors import PrecisionError

__all__ = ["NOISY_SAMPLES", "sampled_noise", "worst_noise"]

NOISY_SAMPLES = 16
"""Samples whose noise is drawn, twice each."""
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


def sampled_noise(
    program: Program, chain: Chain, q: Sequence[int], p: Sequence[int], units: npt.NDArray[Any]
) -> float:
    """As ``worst_noise``, but `TAIL` deviations of the noise that the results of samples show, run twice.

    ``units``: (samples, features) in units of the region. Raises ``PrecisionError`` where results would wrap around.
    """
    engine = SampledEngine(chain.log_n, q, p, random=np.random.default_rng(0))
    executor = Executor(program, engine)
    units = units[:NOISY_SAMPLES]
    if isinstance(program.input, ColumnLayout):
        inputs = [column[None] for column in units.T]
    else:
        span = program.input.span
        inputs = [np.stack([program.input.pack(sample)[:span] for sample in units], axis=1)]
    runs = []
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(2):
            fresh = [engine.encrypt(values, level=program.level, scale=program.scale) for values in inputs]
            results = executor.run(fresh)
            if program.flag is not None:
                results.pop()
            runs.append([engine.decrypt(result) for result in results])
    differences = [a - b for a, b in zip(*runs, strict=True)]
    noise = max(float(np.sqrt((np.abs(d) ** 2).mean(axis=-1) / 2).max()) for d in differences)
    largest = max(float(np.abs(result).max()) for result in runs[0])
    if not np.isfinite(noise) or (largest + TAIL * noise) * program.output_scale >= q[0] / 2:
        raise PrecisionError("values at the last level would wrap around the modulus")
    return TAIL * noise + FLOAT_DUST * largest
