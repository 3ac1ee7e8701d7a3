"""Small jobs by which a machine is timed, and what they are amounts of: each is a step method of `Timing`.

The parties make their operands themselves, from public zeros: what is computed does not matter to the clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tacit.backends.mpc.engine import Engine, Secret
from tacit.backends.mpc.machine import Amounts
from tacit.backends.mpc.rehearsal import Prices, Rehearsal, rehearse
from tacit.backends.mpc.steps import Steps, Tally, Words, together

__all__ = ["JOBS", "Job", "Timing", "amounts_of"]

CUT = 16
WIDTH = 32
WIDE = 16


@dataclass(frozen=True)
class Job:
    """A step method of `Timing` and its size."""

    method: str
    size: int


JOBS = (
    Job("multiply", 1),
    Job("multiply", 1 << 12),
    Job("multiply", 1 << 17),
    Job("chain", 64),
    Job("beside", 8),
    Job("beside", 64),
    Job("matmul", 32),
    Job("matmul", 128),
    Job("matmul", 256),
    Job("layers", 4),
    Job("layers", 12),
    Job("rectify", 16),
    Job("rectify", 1 << 11),
    Job("rectify", 1 << 14),
    Job("rectify", 1 << 17),
)
"""From rounds that carry next to nothing to kernels of some milliseconds."""


class Timing:
    """One party's side; started by name in its process. ``program`` is not read."""

    def __init__(self, engine: Engine[Any, Any], program: bytes = b"") -> None:
        self.engine = engine

    def run(self, arrays: list[Words], method_name: str, size: int) -> Steps[list[Words]]:
        """A job; gives nothing."""
        yield from {
            "multiply": self._multiply,
            "chain": self._chain,
            "beside": self._beside,
            "matmul": self._matmul,
            "layers": self._layers,
            "rectify": self._rectify,
        }[method_name](size)
        return []

    def _zeros(self, *shape: int) -> Secret:
        made: Secret = self.engine.public(np.zeros(shape, dtype=np.uint64))
        return made

    def _multiply(self, size: int) -> Steps[None]:
        yield from self.engine.multiply(self._zeros(size), self._zeros(size), cut=CUT)

    def _chain(self, size: int) -> Steps[None]:
        """As many products of one number, each of the one before."""
        x = self._zeros(1)
        for _ in range(size):
            x = yield from self.engine.multiply(x, x, cut=CUT)

    def _beside(self, size: int) -> Steps[None]:
        """As many products in the rounds of one."""
        x = self._zeros(1)
        yield from together(*(self.engine.multiply(x, x, cut=CUT) for _ in range(size)))

    def _matmul(self, size: int) -> Steps[None]:
        yield from self.engine.matmul(self._zeros(size, size), self._zeros(size, size), cut=CUT)

    def _layers(self, size: int) -> Steps[None]:
        """A narrow network: as many products with a matrix, a sum, and a rectifier after each."""
        x, weights, bias = self._zeros(1, WIDE), self._zeros(WIDE, WIDE), self._zeros(1, WIDE)
        for _ in range(size):
            x = yield from self.engine.matmul(x, weights, cut=CUT)
            x = yield from self.engine.rectify(x + bias, WIDTH)

    def _rectify(self, size: int) -> Steps[None]:
        yield from self.engine.rectify(self._zeros(size), WIDTH)


def amounts_of(job: Job, prices: Prices) -> Amounts:
    """What a job is, under the prices of a protocol."""
    rehearsal, tally = Rehearsal(prices), Tally(ahead=prices.ahead)
    rehearse(Timing(rehearsal).run([], job.method, job.size), tally)
    calls = {"chain": job.size, "beside": job.size, "layers": 2 * job.size}.get(job.method, 1)
    return Amounts.of(tally, rehearsal.work, calls)
