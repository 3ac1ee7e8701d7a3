"""The cleartext execution of a compiled program: slots as numbers, with level, scale and expected noise.

``Simulator`` has the interface of ``tacit._native.Evaluator`` as far as programs use it. With ``worst_case`` it runs on
magnitudes instead of values (every number is an upper bound on |slot|), which gives the error bound of a plan before
anything is encrypted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.noise import TAIL, NoiseModel
from tacit.errors import LevelError, PrecisionError, ScaleError

__all__ = ["SimulatedCiphertext", "SimulatedMap", "SimulatedPlaintext", "Simulator"]

Slots = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SimulatedPlaintext:
    """``values``: (slots,) or shorter."""

    values: Slots
    level: int
    scale: float


@dataclass(frozen=True, eq=False)
class SimulatedCiphertext:
    """``values``: (slots,); ``noise``: (slots,) standard deviation of each, in the same units."""

    values: Slots
    noise: FloatArray
    level: int
    scale: float
    degree: int = 1

    def with_scale(self, scale: float) -> SimulatedCiphertext:
        """Another scale for the same polynomial: values and noise change by the ratio."""
        ratio = self.scale / scale
        return replace(self, values=self.values * ratio, noise=self.noise * ratio, scale=scale)


@dataclass(frozen=True, eq=False)
class SimulatedMap:
    """Diagonals as ``tacit._native.LinearMap`` takes them."""

    diagonals: Mapping[int, Slots]
    level: int
    scale: float
    baby: int


class Simulator:
    """Operations on ``SimulatedCiphertext``. ``q``, ``p``: the moduli that the parameters have."""

    def __init__(
        self,
        log_n: int,
        q: Sequence[float],
        p: Sequence[float],
        *,
        worst_case: bool = False,
        slots: int | None = None,
    ) -> None:
        self.noise = NoiseModel(log_n, tuple(float(x) for x in q), tuple(float(x) for x in p))
        self.q = self.noise.q
        self.slots = (1 << (log_n - 1)) if slots is None else slots
        self.worst_case = worst_case

    def encode(self, values: Slots, *, level: int, scale: float) -> SimulatedPlaintext:
        if float(np.abs(values).max(initial=0.0)) * scale >= self._modulus(level) / 2:
            raise PrecisionError("a plaintext does not fit into the modulus of its level")
        return SimulatedPlaintext(self._magnitude(self._wide(values)), level, scale)

    def encrypt(self, plaintext: SimulatedPlaintext) -> SimulatedCiphertext:
        """A fresh ciphertext."""
        noise = np.full(self.slots, self.noise.fresh / plaintext.scale)
        return SimulatedCiphertext(plaintext.values, noise, plaintext.level, plaintext.scale)

    def decrypt(self, ct: SimulatedCiphertext) -> Slots:
        """(slots,) values. Raises ``PrecisionError`` for results that would wrap around the modulus.

        Only results have to fit: sums, products, rotations and exact division all commute with reduction modulo Q,
        so what wraps on the way comes back. A coefficient is at most the largest slot in magnitude.
        """
        largest = float(np.abs(ct.values).max(initial=0.0) + TAIL * ct.noise.max(initial=0.0))
        if largest * ct.scale >= self._modulus(ct.level) / 2:
            raise PrecisionError(
                f"values at level {ct.level} would wrap around the modulus",
                hint="calibrate on data with a narrower range, or ask for a smaller error to get larger moduli",
            )
        return ct.values

    def linear_map(
        self, diagonals: Mapping[int, Slots], *, level: int, scale: float, baby: int
    ) -> SimulatedMap:
        return SimulatedMap({k: self._magnitude(d) for k, d in diagonals.items()}, level, scale, baby)

    def note_bound(self, ct: SimulatedCiphertext, bound: FloatArray | float) -> SimulatedCiphertext:
        """In the worst case: replaces magnitudes by a smaller bound that is known to hold."""
        if not self.worst_case:
            return ct
        return replace(ct, values=np.minimum(ct.values, bound))

    def add(self, a: SimulatedCiphertext, b: SimulatedCiphertext) -> SimulatedCiphertext:
        return self._sum(a, b, a.values + b.values)

    def sub(self, a: SimulatedCiphertext, b: SimulatedCiphertext) -> SimulatedCiphertext:
        return self._sum(a, b, a.values + b.values if self.worst_case else a.values - b.values)

    def add_plain(self, ct: SimulatedCiphertext, pt: SimulatedPlaintext) -> SimulatedCiphertext:
        self._same_scale(ct.scale, pt.scale)
        if pt.level < ct.level:
            raise LevelError(f"the plaintext's level must be >= {ct.level}. Got {pt.level} instead.")
        noise = np.hypot(ct.noise, self.noise.encoding / pt.scale)
        return replace(ct, values=ct.values + pt.values, noise=noise)

    def add_const(self, ct: SimulatedCiphertext, constant: complex) -> SimulatedCiphertext:
        rounding = 0.5 / ct.scale
        value = abs(constant) if self.worst_case else constant
        return replace(ct, values=ct.values + value, noise=ct.noise + rounding)

    def mul_const(self, ct: SimulatedCiphertext, constant: float, *, scale: float) -> SimulatedCiphertext:
        size = abs(constant)
        value = size if self.worst_case else constant
        noise = ct.noise * size + np.abs(ct.values) * (0.5 / scale)
        return self._fitting(replace(ct, values=ct.values * value, noise=noise, scale=ct.scale * scale))

    def mul_relin_rescale(self, a: SimulatedCiphertext, b: SimulatedCiphertext) -> SimulatedCiphertext:
        if a.level != b.level:
            raise LevelError(f"levels of a product must be equal. Got {a.level} and {b.level} instead.")
        noise = np.abs(a.values) * b.noise + np.abs(b.values) * a.noise + a.noise * b.noise
        scale = a.scale * b.scale
        noise = np.hypot(noise, self.noise.key_switch(a.level) / scale)
        product = SimulatedCiphertext(a.values * b.values, noise, a.level, scale)
        return self._divide(self._fitting(product), self.noise.fused_rounding)

    def square_relin_rescale(self, ct: SimulatedCiphertext) -> SimulatedCiphertext:
        return self.mul_relin_rescale(ct, ct)

    def rescale(self, ct: SimulatedCiphertext) -> SimulatedCiphertext:
        if ct.level < 1:
            raise LevelError("the 'level' of a ciphertext to rescale must be >= 1. Got 0 instead.")
        return self._divide(ct, self.noise.rounding)

    def _divide(self, ct: SimulatedCiphertext, rounding: float) -> SimulatedCiphertext:
        """Division by the prime of the level, which adds a rounding error."""
        scale = ct.scale / self.q[ct.level]
        noise = np.hypot(ct.noise, rounding / scale)
        return replace(ct, noise=noise, scale=scale, level=ct.level - 1)

    def drop_level(self, ct: SimulatedCiphertext, level: int) -> SimulatedCiphertext:
        if not 0 <= level <= ct.level:
            raise LevelError(f"the 'level' to drop to must be in 0..{ct.level}. Got {level} instead.")
        return replace(ct, level=level)

    def conjugate(self, ct: SimulatedCiphertext) -> SimulatedCiphertext:
        noise = np.hypot(ct.noise, self.noise.key_switch(ct.level) / ct.scale)
        return replace(ct, values=ct.values if self.worst_case else np.conj(ct.values), noise=noise)

    def rotate_sum(self, ct: SimulatedCiphertext, steps: Sequence[int]) -> SimulatedCiphertext:
        """Noise of different slots is independent, so variances add; every rotation adds a key switch."""
        switch = self.noise.key_switch(ct.level) / ct.scale
        values, variance = ct.values, ct.noise**2
        for step in steps:
            values = values + np.roll(values, -step)
            variance = variance + np.roll(variance, -step) + switch**2
        return replace(ct, values=values, noise=np.sqrt(variance))

    def linear(
        self, ct: SimulatedCiphertext, linear_map: SimulatedMap, *, rescale: bool = True
    ) -> SimulatedCiphertext:
        if linear_map.level > ct.level:
            raise LevelError(f"the map needs level {linear_map.level}. Got {ct.level} instead.")
        ct = self.drop_level(ct, linear_map.level)
        switch = self.noise.key_switch(ct.level) / ct.scale if self.noise.p else 0.0
        encoding = self.noise.encoding / linear_map.scale
        values = np.zeros(self.slots, dtype=ct.values.dtype)
        variance = np.zeros(self.slots)
        giants = {k - k % linear_map.baby for k in linear_map.diagonals} - {0}
        for k, diagonal in linear_map.diagonals.items():
            rotated = np.roll(ct.values, -k)
            extra = switch**2 if k % linear_map.baby else 0.0
            values = values + rotated * diagonal
            variance += (np.roll(ct.noise, -k) ** 2 + extra) * np.abs(diagonal) ** 2
            variance += (np.abs(rotated) * encoding) ** 2
        scale = ct.scale * linear_map.scale
        variance += len(giants) * (self.noise.key_switch(ct.level) / scale) ** 2 if giants else 0.0
        result = self._fitting(SimulatedCiphertext(values, np.sqrt(variance), ct.level, scale))
        return self._divide(result, self.noise.fused_rounding) if rescale else result

    def linear_combinations(
        self, cts: Sequence[SimulatedCiphertext], weights: FloatArray, *, scale: float
    ) -> list[SimulatedCiphertext]:
        """Weights are rounded to multiples of 1/scale; the rounding counts as error."""
        values = np.stack([ct.values for ct in cts])
        noise = np.stack([ct.noise for ct in cts])
        rounded = np.rint(weights * scale) / scale
        used = np.abs(weights) if self.worst_case else weights
        mixed = used @ values
        forced = (np.abs(rounded) * scale).sum(axis=1) == 1
        rounding = (np.abs(weights - rounded) + forced[:, None] / scale) @ np.abs(values)
        variance = (weights**2) @ (noise**2)
        return [
            self._fitting(SimulatedCiphertext(v, np.sqrt(s) + r, cts[0].level, cts[0].scale * scale))
            for v, s, r in zip(mixed, variance, rounding, strict=True)
        ]

    def _sum(self, a: SimulatedCiphertext, b: SimulatedCiphertext, values: Slots) -> SimulatedCiphertext:
        self._same_scale(a.scale, b.scale)
        if a.level != b.level:
            raise LevelError(f"levels of a sum must be equal. Got {a.level} and {b.level} instead.")
        return replace(a, values=values, noise=a.noise + b.noise)

    def _modulus(self, level: int) -> float:
        return prod(self.q[: level + 1])

    def _fitting(self, ct: SimulatedCiphertext) -> SimulatedCiphertext:
        """Refuses scales that reach the modulus, as the native evaluator does."""
        if ct.scale >= self._modulus(ct.level):
            raise PrecisionError(f"a scale does not fit into the modulus of level {ct.level}")
        return ct

    def _same_scale(self, a: float, b: float) -> None:
        if abs(a - b) > a * 2.0**-30:
            raise ScaleError(f"scales of a sum must be equal. Got {a!r} and {b!r} instead.")

    def _magnitude(self, values: Slots) -> Slots:
        return np.abs(values) if self.worst_case else np.asarray(values)

    def _wide(self, values: Slots) -> Slots:
        wide = np.zeros(self.slots, dtype=np.asarray(values).dtype)
        wide[: len(values)] = values
        return wide
