"""What a program costs: seconds by counting its operations on a meter, bytes by the binary forms.

The constants of this file belong to the machine that `meter` names, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

from tacit.backends.base import Cost
from tacit.backends.ckks.executor import Executor
from tacit.backends.ckks.layout import ColumnLayout
from tacit.backends.ckks.levels import Chain
from tacit.backends.ckks.meter import Meter, MeteredCiphertext
from tacit.backends.ckks.program import LeafStage, MapStage, Program, QuadraticMapStage

__all__ = ["predict"]

SECONDS_PER_WORD_READ = 0.9e-9
"""Unpacking one residue from a message, or expanding it from a seed."""
SECONDS_PER_MESSAGE = 60e-6
THREAD_GAIN = 0.7
"""Part of a second thread's time that is won where work is split over threads."""
CHECKSUM_BYTES = 16
CIPHERTEXT_HEAD = 56 + CHECKSUM_BYTES


def predict(program: Program, chain: Chain, q: Sequence[float], *, batch: int, threads: int) -> Cost:
    """The cost of one request of ``batch`` samples."""
    meter = Meter(chain.log_n, q, len(chain.log_p))
    latency = not isinstance(program.input, ColumnLayout)
    inputs = 1 if latency else program.input.size
    outputs = 1 if latency else program.output.size
    Executor(program, meter).run([MeteredCiphertext(program.level, program.scale)] * inputs)
    repeats = batch if latency else 1
    n = meter.n
    up = repeats * inputs * (CIPHERTEXT_HEAD + 32 + n * sum(chain.log_q) // 8)
    down = repeats * outputs * (CIPHERTEXT_HEAD + 2 * n * chain.log_q[0] // 8)
    words = inputs * 2 * n * len(chain.log_q) + outputs * 2 * n
    serial = 1 if threads == 1 else 1 / (1 + THREAD_GAIN)
    seconds = SECONDS_PER_MESSAGE + repeats * (meter.seconds * serial + words * SECONDS_PER_WORD_READ)
    keys = _key_bytes(program, chain)
    encrypting = inputs * (len(chain.log_q) * 3 * meter.transform + n * log2(n) * 4e-9 + n * 30e-9)
    rows = sum(
        len(s.map.diagonals)
        * (2 if isinstance(s, QuadraticMapStage) else 1)
        * (s.level + 1 + len(chain.log_p))
        for s in program.stages
        if isinstance(s, MapStage | QuadraticMapStage)
    )
    memory = 8 * n * (rows + len(chain.log_q) + len(chain.log_p)) + 2 * keys + 2 * up
    for stage in program.stages:
        if isinstance(stage, LeafStage):
            memory += 16 * n * 2 * len(stage.paths) * (stage.level + 1)
    return Cost(
        samples=batch,
        seconds=seconds,
        owner_seconds=repeats * encrypting,
        setup_seconds=keys * 8e-9,
        bytes_up=up + 150,
        bytes_down=down + 150,
        key_bytes=keys + 120,
        memory_bytes=memory,
    )


def _key_bytes(program: Program, chain: Chain) -> int:
    n, k = 1 << chain.log_n, max(1, len(chain.log_p))
    levels = list(program.rotations().values())
    levels += [level for level in (program.relinearize(), program.conjugate()) if level is not None]
    total = 0
    for level in levels:
        bits = sum(chain.log_q[: level + 1]) + sum(chain.log_p)
        total += 48 + -(-(level + 1) // k) * n * bits // 8
    return total
