"""An engine that adds up seconds instead of computing: what operations cost, for plans and for layouts.

The constants were measured on one kind of machine, named in ``MACHINE``; predictions for other machines scale with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["MACHINE", "Meter", "MeteredCiphertext"]

FloatArray = npt.NDArray[np.float64]

MACHINE = "AMD EPYC (Zen 5, AVX-512 IFMA), one thread"

SECONDS_PER_BUTTERFLY = 0.16e-9
"""Of a number-theoretic transform, with the reduction of its results."""
SECONDS_PER_PRODUCT = 0.35e-9
"""One residue multiplied, added and moved through the cache."""
SECONDS_PER_CALL = 4e-6
"""Python and allocation, per operation of the evaluator."""


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

    def absorb(self, ct: MeteredCiphertext, noise: float) -> MeteredCiphertext:
        return ct

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

    def rotate(self, ct: MeteredCiphertext, k: int) -> MeteredCiphertext:
        self.spend(self.rotation(ct.level))
        return ct

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
