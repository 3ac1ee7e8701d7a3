"""The cleartext execution of a compiled program: slots as numbers, with level, scale and expected noise.

``Simulator`` has the interface of ``tacit._native.Evaluator`` as far as programs use it. With ``worst_case`` it runs on
magnitudes instead of values (every number is an upper bound on |slot|), which gives the error bound of a plan before
anything is encrypted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod, sqrt
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.noise import TAIL, NoiseModel
from tacit.errors import LevelError, PrecisionError, ScaleError

__all__ = ["SimulatedCiphertext", "SimulatedMap", "SimulatedPlaintext", "Simulator"]

ARGUMENT_NOISE = 0.005
"""Noise that an argument of a polynomial may have: with values up to 1/1.01 (``ranges``) it stays within ``INNER``."""

Slots = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class SimulatedPlaintext:
    """``values``: (slots,) or shorter."""

    values: Slots
    level: int
    scale: float


@dataclass(frozen=True, eq=False)
class SimulatedCiphertext:
    """``values``: (slots,). Noise has two parts, (slots,) standard deviations in the same units.

    ``noise`` is independent from slot to slot and from ciphertext to ciphertext. ``shared`` came through an earlier
    linear map: equal rows of a matrix give equal noise, so a later map must add it up in magnitude.
    """

    values: Slots
    noise: FloatArray
    shared: FloatArray
    level: int
    scale: float
    degree: int = 1

    def with_scale(self, scale: float) -> SimulatedCiphertext:
        """Another scale for the same polynomial: values and noise change by the ratio."""
        ratio = self.scale / scale
        return replace(
            self,
            values=self.values * ratio,
            noise=self.noise * ratio,
            shared=self.shared * ratio,
            scale=scale,
        )


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
        columns: bool = False,
    ) -> None:
        self.noise = NoiseModel(log_n, tuple(float(x) for x in q), tuple(float(x) for x in p))
        self.q = self.noise.q
        self.columns = columns
        self.slots = 1 if columns and worst_case else 1 << (log_n - 1)
        self.worst_case = worst_case

    def encode(self, values: Slots, *, level: int, scale: float) -> SimulatedPlaintext:
        if float(np.abs(values).max(initial=0.0)) * scale >= self._modulus(level) / 2:
            raise PrecisionError("a plaintext does not fit into the modulus of its level")
        return SimulatedPlaintext(self._magnitude(self._wide(values)), level, scale)

    def encrypt(self, plaintext: SimulatedPlaintext) -> SimulatedCiphertext:
        """A fresh ciphertext."""
        noise = np.full(self.slots, self.noise.fresh / plaintext.scale)
        return SimulatedCiphertext(
            plaintext.values, noise, np.zeros(self.slots), plaintext.level, plaintext.scale
        )

    def decrypt(self, ct: SimulatedCiphertext) -> Slots:
        """(slots,) values. Raises ``PrecisionError`` for results that would wrap around the modulus.

        Only results have to fit: sums, products, rotations and exact division all commute with reduction modulo Q,
        so what wraps on the way comes back. A coefficient is at most the largest slot in magnitude.
        """
        largest = float(
            np.abs(ct.values).max(initial=0.0) + TAIL * np.hypot(ct.noise, ct.shared).max(initial=0.0)
        )
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

    def quiet(self, ct: SimulatedCiphertext) -> SimulatedCiphertext:
        """In the worst case: without its noise, which ``note_slope`` counts after a polynomial."""
        if not self.worst_case:
            return ct
        return replace(ct, noise=np.zeros_like(ct.noise), shared=np.zeros_like(ct.shared))

    def loudest(self, cts: Sequence[SimulatedCiphertext]) -> SimulatedCiphertext:
        """In the worst case: one with the most noise of all in every slot, for ``note_slope``."""
        if not self.worst_case:
            return cts[0]
        noise, shared = (np.max([getattr(ct, part) for ct in cts], axis=0) for part in ("noise", "shared"))
        return replace(cts[0], noise=noise, shared=shared)

    def note_slope(
        self, result: SimulatedCiphertext, argument: SimulatedCiphertext, slope: float
    ) -> SimulatedCiphertext:
        """In the worst case: noise of a polynomial's argument reaches its result times ``slope`` (mean value theorem).

        Raises ``PrecisionError`` for noise with which the argument could leave the interval of the slope.
        """
        if not self.worst_case:
            return result
        if TAIL * float(np.hypot(argument.noise, argument.shared).max()) > ARGUMENT_NOISE:
            raise PrecisionError("noise leaves the interval on which a function was approximated")
        return replace(
            result,
            noise=result.noise + slope * argument.noise,
            shared=result.shared + slope * argument.shared,
        )

    def note_energy(
        self, square: SimulatedCiphertext, argument: SimulatedCiphertext, energy: float
    ) -> SimulatedCiphertext:
        """In the worst case: noise a of arguments v with Σ v² <= energy, in squares that were computed without it.

        A linear map w of the squares then adds up at most Σ |w|·2·|v|·a <= 2·√energy·√(Σ (w·a)²), whatever the signs
        (Cauchy and Schwarz): the same as for independent noise of 2·√energy·a. What is quadratic in a adds up.
        No square is more than ``energy``.
        """
        if not self.worst_case:
            return square
        noise = argument.noise + argument.shared
        spread = np.hypot(square.noise, 2.0 * sqrt(energy) * noise)
        shared = square.shared + TAIL * noise**2
        return replace(square, values=square.values * energy, noise=spread, shared=shared)

    def absorb(self, ct: SimulatedCiphertext, noise: float) -> SimulatedCiphertext:
        """Drops noise that the next stage was made for: it does not travel on.

        Raises ``PrecisionError`` where it is more.
        """
        largest = TAIL * float((ct.noise + ct.shared).max(initial=0.0))
        if not largest <= noise:
            raise PrecisionError(
                f"noise of {largest:.2g} is more than the {noise:.2g} that a comparison was made for"
            )
        return replace(ct, noise=np.zeros_like(ct.noise), shared=np.zeros_like(ct.shared))

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
        if abs(constant) * ct.scale >= self._modulus(ct.level) / 2.01:
            raise PrecisionError(f"a constant does not fit into the modulus of level {ct.level}")
        rounding = 0.5 / ct.scale
        value = abs(constant) if self.worst_case else constant
        return replace(ct, values=ct.values + value, shared=ct.shared + rounding)

    def mul_const(self, ct: SimulatedCiphertext, constant: float, *, scale: float) -> SimulatedCiphertext:
        size = abs(constant)
        value = size if self.worst_case else constant
        rounding = abs(constant - round(constant * scale) / scale)
        shared = ct.shared * size + np.abs(ct.values) * rounding
        product = replace(ct, values=ct.values * value, noise=ct.noise * size, shared=shared)
        return self._fitting(replace(product, scale=ct.scale * scale))

    def mul_relin_rescale(self, a: SimulatedCiphertext, b: SimulatedCiphertext) -> SimulatedCiphertext:
        if a.level != b.level:
            raise LevelError(f"levels of a product must be equal. Got {a.level} and {b.level} instead.")
        left, right = np.abs(a.values), np.abs(b.values)
        both = (a.noise + a.shared) * (b.noise + b.shared)
        shared = left * b.shared + right * a.shared + both
        scale = a.scale * b.scale
        noise = left * b.noise + right * a.noise
        product = SimulatedCiphertext(a.values * b.values, noise, shared, a.level, scale)
        product = self._noisier(product, self.noise.key_switch(a.level) / scale)
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
        return replace(self._noisier(ct, rounding / scale), scale=scale, level=ct.level - 1)

    def _noisier(self, ct: SimulatedCiphertext, std: float) -> SimulatedCiphertext:
        """Noise of an operation: independent by slot; but equal columns are equal ciphertexts, with equal noise."""
        if self.columns:
            return replace(ct, shared=np.hypot(ct.shared, std))
        return replace(ct, noise=np.hypot(ct.noise, std))

    def drop_level(self, ct: SimulatedCiphertext, level: int) -> SimulatedCiphertext:
        if not 0 <= level <= ct.level:
            raise LevelError(f"the 'level' to drop to must be in 0..{ct.level}. Got {level} instead.")
        return replace(ct, level=level)

    def conjugate(self, ct: SimulatedCiphertext) -> SimulatedCiphertext:
        conjugate = replace(ct, values=ct.values if self.worst_case else np.conj(ct.values))
        return self._noisier(conjugate, self.noise.key_switch(ct.level) / ct.scale)

    def times_i(self, ct: SimulatedCiphertext) -> SimulatedCiphertext:
        return ct if self.worst_case else replace(ct, values=1j * ct.values)

    def each(self, task: Callable[[Simulator, Item], Result], items: Sequence[Item]) -> list[Result]:
        return [task(self, item) for item in items]

    def rotate(self, ct: SimulatedCiphertext, k: int) -> SimulatedCiphertext:
        rolled = replace(
            ct,
            values=np.roll(ct.values, -k),
            noise=np.roll(ct.noise, -k),
            shared=np.roll(ct.shared, -k),
        )
        return self._noisier(rolled, self.noise.key_switch(ct.level) / ct.scale)

    def rotate_sum(self, ct: SimulatedCiphertext, steps: Sequence[int]) -> SimulatedCiphertext:
        """Variances of independent noise add, magnitudes of shared noise; every rotation adds a key switch."""
        switch = self.noise.key_switch(ct.level) / ct.scale
        values, variance, shared = ct.values, ct.noise**2, ct.shared
        for step in steps:
            values = values + np.roll(values, -step)
            shared = shared + np.roll(shared, -step)
            variance = variance + np.roll(variance, -step) + switch**2
        return replace(ct, values=values, noise=np.sqrt(variance), shared=shared)

    def linear(
        self, ct: SimulatedCiphertext, linear_map: SimulatedMap, *, rescale: bool = True
    ) -> SimulatedCiphertext:
        if linear_map.level > ct.level:
            raise LevelError(f"the map needs level {linear_map.level}. Got {ct.level} instead.")
        ct = self.drop_level(ct, linear_map.level)
        switch = self.noise.key_switch(ct.level) / ct.scale if self.noise.p else 0.0
        encoding = self.noise.encoding / linear_map.scale
        values = np.zeros(self.slots, dtype=ct.values.dtype)
        variance, mixed, shared = np.zeros((3, self.slots))
        giants = {k - k % linear_map.baby for k in linear_map.diagonals} - {0}
        for k, diagonal in linear_map.diagonals.items():
            rotated = np.roll(ct.values, -k)
            extra = switch**2 if k % linear_map.baby else 0.0
            values = values + rotated * diagonal
            size = np.abs(diagonal)
            shared += np.roll(ct.shared, -k) * size
            mixed += (np.roll(ct.noise, -k) * size) ** 2
            variance += extra * size**2 + (np.abs(rotated) * encoding) ** 2
        scale = ct.scale * linear_map.scale
        variance += len(giants) * (self.noise.key_switch(ct.level) / scale) ** 2 if giants else 0.0
        shared = shared + np.sqrt(mixed)
        result = self._fitting(SimulatedCiphertext(values, np.sqrt(variance), shared, ct.level, scale))
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
        shared = np.sqrt((weights**2) @ (noise**2)) + np.abs(weights) @ np.stack([ct.shared for ct in cts])
        level, product = cts[0].level, cts[0].scale * scale
        return [
            self._fitting(SimulatedCiphertext(v, np.zeros(self.slots), s + r, level, product))
            for v, s, r in zip(mixed, shared, rounding, strict=True)
        ]

    def _sum(self, a: SimulatedCiphertext, b: SimulatedCiphertext, values: Slots) -> SimulatedCiphertext:
        self._same_scale(a.scale, b.scale)
        if a.level != b.level:
            raise LevelError(f"levels of a sum must be equal. Got {a.level} and {b.level} instead.")
        return replace(a, values=values, noise=a.noise + b.noise, shared=a.shared + b.shared)

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
