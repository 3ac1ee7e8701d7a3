"""What a program costs: seconds by counting its operations on a meter, bytes by the binary forms.

The constants were measured on one kind of machine, named in ``MACHINE``; predictions for other machines scale with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, log2
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.backends.base import Cost
from tacit.backends.ckks.executor import Executor
from tacit.backends.ckks.layout import ReplicatedLayout
from tacit.backends.ckks.levels import Chain
from tacit.backends.ckks.program import MapStage, Program

__all__ = ["MACHINE", "Meter", "predict"]

FloatArray = npt.NDArray[np.float64]

MACHINE = "AMD EPYC (Zen 5, AVX-512 IFMA), one thread"

SECONDS_PER_BUTTERFLY = 0.16e-9
"""Of a number-theoretic transform, with the reduction of its results."""
SECONDS_PER_PRODUCT = 0.35e-9
"""One residue multiplied, added and moved through the cache."""
SECONDS_PER_CALL = 4e-6
"""Python and allocation, per operation of the evaluator."""
SECONDS_PER_WORD_READ = 0.9e-9
"""Unpacking one residue from a message, or expanding it from a seed."""
SECONDS_PER_MESSAGE = 60e-6
THREAD_GAIN = 0.7
"""Part of a second thread's time that is won where work is split over threads."""
CHECKSUM_BYTES = 16
CIPHERTEXT_HEAD = 56 + CHECKSUM_BYTES


@dataclass(frozen=True)
class MeteredCiphertext:
    """Level and scale of a ciphertext that is not there."""

    level: int
    scale: float

    def with_scale(self, scale: float) -> MeteredCiphertext:
        return replace(self, scale=scale)


class Meter:
    """An engine that adds up seconds. ``q``: moduli; ``specials``: number of special primes."""

    def __init__(self, log_n: int, q: Sequence[float], specials: int) -> None:
        self.q = tuple(float(x) for x in q)
        self.n = 1 << log_n
        self.specials = specials
        self.transform = self.n / 2 * log_n * SECONDS_PER_BUTTERFLY
        self.seconds = 0.0

    def rows(self, count: float) -> float:
        """Seconds of ``count`` passes over one residue polynomial."""
        return count * self.n * SECONDS_PER_PRODUCT

    def lift(self, level: int) -> float:
        """Decomposition into digits: the hoisted part of a key switch."""
        k = max(1, self.specials)
        digits = ceil((level + 1) / k)
        transforms = (level + 1) + digits * (level + 1 + k) - (level + 1)
        return transforms * self.transform + self.rows(digits * (level + 1 + k) * k * 0.5)

    def gather(self, level: int) -> float:
        """Inner product with a key."""
        k = max(1, self.specials)
        digits = ceil((level + 1) / k)
        return self.rows(2 * digits * (level + 1 + k))

    def mod_down(self, level: int) -> float:
        k = max(1, self.specials)
        return 2 * ((level + 1 + k) * self.transform + self.rows((level + 1) * (k + 1)))

    def spend(self, seconds: float) -> None:
        self.seconds += seconds + SECONDS_PER_CALL

    def encode(self, values: npt.NDArray[Any], *, level: int, scale: float) -> MeteredCiphertext:
        return MeteredCiphertext(level, scale)

    def linear_map(
        self, diagonals: Mapping[int, npt.NDArray[Any]], *, level: int, scale: float, baby: int
    ) -> tuple[int, int, int, int, float]:
        babies = len({k % baby for k in diagonals} - {0})
        giants = len({k - k % baby for k in diagonals} - {0})
        return len(diagonals), babies, giants, level, scale

    def note_bound(self, ct: MeteredCiphertext, bound: FloatArray | float) -> MeteredCiphertext:
        return ct

    def quiet(self, ct: MeteredCiphertext) -> MeteredCiphertext:
        return ct

    def note_slope(
        self, result: MeteredCiphertext, argument: MeteredCiphertext, slope: float
    ) -> MeteredCiphertext:
        return result

    def add(self, a: MeteredCiphertext, b: MeteredCiphertext) -> MeteredCiphertext:
        self.spend(self.rows(2 * (a.level + 1)))
        return a

    sub = add

    def add_plain(self, ct: MeteredCiphertext, pt: MeteredCiphertext) -> MeteredCiphertext:
        self.spend(self.rows(ct.level + 1))
        return ct

    def add_const(self, ct: MeteredCiphertext, constant: complex) -> MeteredCiphertext:
        self.spend(self.rows(ct.level + 1))
        return ct

    def mul_const(self, ct: MeteredCiphertext, constant: float, *, scale: float) -> MeteredCiphertext:
        self.spend(self.rows(2 * (ct.level + 1)))
        return replace(ct, scale=ct.scale * scale)

    def mul_relin_rescale(self, a: MeteredCiphertext, b: MeteredCiphertext) -> MeteredCiphertext:
        self.spend(
            self.rows(4 * (a.level + 1))
            + (a.level + 1) * self.transform
            + self.lift(a.level)
            + self.gather(a.level)
            + self.mod_down(a.level)
        )
        return MeteredCiphertext(a.level - 1, a.scale * b.scale / self.q[a.level])

    def square_relin_rescale(self, ct: MeteredCiphertext) -> MeteredCiphertext:
        return self.mul_relin_rescale(ct, ct)

    def rescale(self, ct: MeteredCiphertext) -> MeteredCiphertext:
        self.spend(2 * ((ct.level + 1) * self.transform + self.rows(ct.level)))
        return MeteredCiphertext(ct.level - 1, ct.scale / self.q[ct.level])

    def drop_level(self, ct: MeteredCiphertext, level: int) -> MeteredCiphertext:
        return replace(ct, level=level)

    def rotate_sum(self, ct: MeteredCiphertext, steps: Sequence[int]) -> MeteredCiphertext:
        for _ in steps:
            self.spend(self.rotation(ct.level) + self.rows(2 * (ct.level + 1)))
        return ct

    def conjugate(self, ct: MeteredCiphertext) -> MeteredCiphertext:
        self.spend(self.rotation(ct.level))
        return ct

    def rotation(self, level: int) -> float:
        return (level + 1) * self.transform + self.lift(level) + self.gather(level) + self.mod_down(level)

    def linear(
        self, ct: MeteredCiphertext, linear_map: tuple[int, int, int, int, float], *, rescale: bool = True
    ) -> MeteredCiphertext:
        count, babies, giants, level, scale = linear_map
        rows = level + 1 + self.specials
        seconds = self.rows(2 * count * rows)
        if babies or giants:
            seconds += (level + 1) * self.transform + self.lift(level) + babies * self.gather(level)
            seconds += giants * (self.mod_down(level) / 2 + self.lift(level) + self.gather(level))
            seconds += self.mod_down(level)
        self.spend(seconds)
        product = MeteredCiphertext(level, ct.scale * scale)
        return self.rescale(product) if rescale else product

    def linear_combinations(
        self, cts: Sequence[MeteredCiphertext], weights: FloatArray, *, scale: float
    ) -> list[MeteredCiphertext]:
        outputs, inputs = weights.shape
        self.spend(self.rows(0.5 * outputs * inputs * 2 * (cts[0].level + 1)))
        return [MeteredCiphertext(cts[0].level, cts[0].scale * scale)] * outputs


def predict(program: Program, chain: Chain, q: Sequence[float], *, batch: int, threads: int) -> Cost:
    """The cost of one request of ``batch`` samples."""
    meter = Meter(chain.log_n, q, len(chain.log_p))
    latency = isinstance(program.input, ReplicatedLayout)
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
    diagonals = sum(len(s.map.diagonals) for s in program.stages if isinstance(s, MapStage))
    memory = 8 * n * (diagonals + 1) * (len(chain.log_q) + len(chain.log_p)) + 2 * keys + 2 * up
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
