"""The cleartext execution of a compiled program on many samples at once, with the noise of every operation drawn.

``SampledEngine`` has the interface of ``tacit._native.Evaluator`` as far as programs use it. It computes what the
program computes, polynomials instead of functions and rounded constants instead of exact ones, and adds to each
result a normal variable of the deviation that ``NoiseModel`` gives the operation. Under one key a slot's noise is
heavier in its tail (`noise.TAIL`); for accuracy over a data set the deviation is what counts.

Two things make it fast. Slots that repeat are kept once: noise of replicas then is the same, which changes nothing for
the one replica that is read. And noise is drawn late: linear operations add up variances, exactly, until the
values are multiplied or mixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tacit.backends.ckks.noise import NoiseModel
from tacit.errors import LevelError, PrecisionError, ScaleError

__all__ = ["SampledCiphertext", "SampledEngine", "SampledMap", "SampledPlaintext"]

Values = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]
Item = TypeVar("Item")
Result = TypeVar("Result")

_SAME_SCALE = 2.0**-30
"""Relative difference of scales that the native evaluator takes for rounding."""
_DUST = 2.0**-40
"""Relative change of a scale below which values are left as they are."""


@dataclass(frozen=True, eq=False)
class SampledPlaintext:
    """``values``: (width, 1), which repeats through the slots."""

    values: Values
    level: int
    scale: float


@dataclass(eq=False)
class SampledCiphertext:
    """``values``: (width, samples), repeating through the slots; width 1 also stands for one slot a sample.

    ``variance``: of noise in each part that is not drawn yet, a number or an array that fits ``values``.
    ``mirrored``: the ciphertext of which this is the conjugate.
    """

    values: Values
    level: int
    scale: float
    variance: FloatArray | float = 0.0
    mirrored: SampledCiphertext | None = None

    def with_scale(self, scale: float) -> SampledCiphertext:
        """Another scale for the same polynomial: values change by the ratio."""
        ratio = self.scale / scale
        values = self.values if abs(ratio - 1) < _DUST else self.values * ratio
        return SampledCiphertext(values, self.level, scale, self.variance * ratio**2)


@dataclass(frozen=True, eq=False)
class SampledMap:
    """Diagonals k → (period,), each repeating through the slots.

    ``switched``: (period, 1) sum of squares of the diagonals that meet a rotated ciphertext before the product;
    ``giants``: rotations after it. ``matrices``: width → the sparse matrix between so many slots, made when needed.
    """

    diagonals: Mapping[int, Values]
    period: int
    switched: FloatArray
    giants: int
    level: int
    scale: float
    matrices: dict[int, Any] = field(default_factory=dict, repr=False)

    def matrix(self, width: int) -> Any:
        """(width, width) for a width that the period divides."""
        if width not in self.matrices:
            rows, columns, entries = [], [], []
            for k, diagonal in self.diagonals.items():
                wide = np.tile(diagonal, width // self.period)
                (held,) = np.nonzero(wide)
                rows.append(held)
                columns.append((held + k) % width)
                entries.append(wide[held])
            places = (np.concatenate(rows), np.concatenate(columns))
            self.matrices[width] = sparse.csr_array((np.concatenate(entries), places), shape=(width, width))
        return self.matrices[width]


class SampledEngine:
    """Operations on ``SampledCiphertext``. ``q``, ``p``: moduli of the parameters; ``random``: of the noise.

    ``noted``: a list that takes the largest value over its bound at every place where the program knows one.
    """

    def __init__(
        self, log_n: int, q: Sequence[float], p: Sequence[float], *, random: np.random.Generator
    ) -> None:
        self.noise = NoiseModel(log_n, tuple(float(x) for x in q), tuple(float(x) for x in p))
        self.q = self.noise.q
        self.slots = 1 << (log_n - 1)
        self._random = random
        self.noted: list[float] | None = None

    def encode(self, values: Values, *, level: int, scale: float) -> SampledPlaintext:
        if float(np.abs(values).max(initial=0.0)) * scale >= self._modulus(level) / 2:
            raise PrecisionError("a plaintext does not fit into the modulus of its level")
        wide = np.asarray(values)
        return SampledPlaintext(wide[: _period(wide), None], level, scale)

    def encrypt(self, values: Values, *, level: int, scale: float) -> SampledCiphertext:
        """A fresh ciphertext of ``values``, (slots, samples) or (1, samples)."""
        return SampledCiphertext(values, level, scale, (self.noise.fresh / scale) ** 2)

    def decrypt(self, ct: SampledCiphertext, *, width: int = 1) -> Values:
        """(``width`` or more, samples) values."""
        values = self._settled(ct)
        return np.tile(values, (max(1, width // len(values)), 1))

    def linear_map(
        self, diagonals: Mapping[int, Values], *, level: int, scale: float, baby: int
    ) -> SampledMap:
        period = max((_period(diagonal) for diagonal in diagonals.values()), default=1)
        kept = {k: np.asarray(diagonal)[:period] for k, diagonal in diagonals.items()}
        switched = np.zeros((period, 1))
        for k, diagonal in kept.items():
            if k % baby:
                switched[:, 0] += np.abs(diagonal) ** 2
        return SampledMap(kept, period, switched, len({k - k % baby for k in kept} - {0}), level, scale)

    def note_bound(self, ct: SampledCiphertext, bound: FloatArray | float) -> SampledCiphertext:
        """Bounds matter to the worst case; here their excess is noted, largest value over bound, where asked for."""
        if self.noted is not None:
            highs = np.asarray(bound)[:, None] if np.ndim(bound) else np.full((1, 1), bound)
            values = np.abs(self._settled(ct))
            width = max(len(values), len(highs))
            wide = np.broadcast_to(_tiled(highs, width), (width, 1))[:, 0]
            ratio = np.broadcast_to(_tiled(values, width), (width, values.shape[1]))[wide > 0]
            ratio = ratio / wide[wide > 0, None]
            self.noted.append(float(ratio.max(initial=0.0)) if np.isfinite(ratio).all() else float("inf"))
        return ct

    def quiet(self, ct: SampledCiphertext) -> SampledCiphertext:
        """As ``note_bound``: noise stays where it is."""
        return ct

    def loudest(self, cts: Sequence[SampledCiphertext]) -> SampledCiphertext:
        """As ``note_bound``."""
        return cts[0]

    def note_slope(
        self, result: SampledCiphertext, argument: SampledCiphertext, slope: float
    ) -> SampledCiphertext:
        """As ``note_bound``."""
        return result

    def note_energy(
        self, square: SampledCiphertext, argument: SampledCiphertext, energy: float
    ) -> SampledCiphertext:
        """As ``note_bound``."""
        return square

    def absorb(self, ct: SampledCiphertext, noise: float) -> SampledCiphertext:
        """As ``note_bound``: what the next stage makes of the noise is seen, not assumed."""
        return ct

    def add(self, a: SampledCiphertext, b: SampledCiphertext) -> SampledCiphertext:
        if b.mirrored is a:
            switch = (self.noise.key_switch(a.level) / a.scale) ** 2
            return SampledCiphertext(2 * a.values.real, a.level, a.scale, 4 * a.variance + switch)
        self._fit(a, b)
        return SampledCiphertext(_sum(self._settled(a), self._settled(b)), a.level, a.scale)

    def sub(self, a: SampledCiphertext, b: SampledCiphertext) -> SampledCiphertext:
        self._fit(a, b)
        return SampledCiphertext(_sum(self._settled(a), -self._settled(b)), a.level, a.scale)

    def add_plain(self, ct: SampledCiphertext, pt: SampledPlaintext) -> SampledCiphertext:
        self._same_scale(ct.scale, pt.scale)
        if pt.level < ct.level:
            raise LevelError(f"the plaintext's level must be >= {ct.level}. Got {pt.level} instead.")
        values = _sum(ct.values, pt.values)
        variance = _tiled(ct.variance, len(values)) + (self.noise.encoding / pt.scale) ** 2
        return SampledCiphertext(values, ct.level, ct.scale, variance)

    def add_const(self, ct: SampledCiphertext, constant: complex) -> SampledCiphertext:
        """The constant is rounded to a multiple of 1/scale. Two samples a slot are two columns here: real parts."""
        rounded = np.rint(constant.real * ct.scale) / ct.scale
        return SampledCiphertext(self._settled(ct) + rounded, ct.level, ct.scale)

    def mul_const(self, ct: SampledCiphertext, constant: float, *, scale: float) -> SampledCiphertext:
        rounded = np.rint(constant * scale) / scale
        return SampledCiphertext(self._settled(ct) * rounded, ct.level, ct.scale * scale)

    def mul_relin_rescale(self, a: SampledCiphertext, b: SampledCiphertext) -> SampledCiphertext:
        if a.level != b.level:
            raise LevelError(f"levels of a product must be equal. Got {a.level} and {b.level} instead.")
        left, right = self._settled(a), self._settled(b)
        width, scale = max(len(left), len(right)), a.scale * b.scale
        values = _tiled(left, width) * _tiled(right, width)
        switch = (self.noise.key_switch(a.level) / scale) ** 2
        return self._divide(SampledCiphertext(values, a.level, scale, switch), self.noise.fused_rounding)

    def square_relin_rescale(self, ct: SampledCiphertext) -> SampledCiphertext:
        return self.mul_relin_rescale(ct, ct)

    def rescale(self, ct: SampledCiphertext) -> SampledCiphertext:
        if ct.level < 1:
            raise LevelError("the 'level' of a ciphertext to rescale must be >= 1. Got 0 instead.")
        self._settled(ct)
        return self._divide(ct, self.noise.rounding)

    def drop_level(self, ct: SampledCiphertext, level: int) -> SampledCiphertext:
        if not 0 <= level <= ct.level:
            raise LevelError(f"the 'level' to drop to must be in 0..{ct.level}. Got {level} instead.")
        if level == ct.level:
            return ct
        return SampledCiphertext(self._settled(ct), level, ct.scale)

    def conjugate(self, ct: SampledCiphertext) -> SampledCiphertext:
        """Its noise is drawn unless it is added to ``ct`` itself, where only the real part matters."""
        switch = (self.noise.key_switch(ct.level) / ct.scale) ** 2
        return SampledCiphertext(np.conj(ct.values), ct.level, ct.scale, switch + ct.variance, mirrored=ct)

    def times_i(self, ct: SampledCiphertext) -> SampledCiphertext:
        return SampledCiphertext(1j * self._settled(ct), ct.level, ct.scale)

    def each(self, task: Callable[[SampledEngine, Item], Result], items: Sequence[Item]) -> list[Result]:
        return [task(self, item) for item in items]

    def rotate(self, ct: SampledCiphertext, k: int) -> SampledCiphertext:
        rolled = np.roll(self._settled(ct), -k, axis=0)
        return SampledCiphertext(
            rolled, ct.level, ct.scale, (self.noise.key_switch(ct.level) / ct.scale) ** 2
        )

    def rotate_sum(self, ct: SampledCiphertext, steps: Sequence[int]) -> SampledCiphertext:
        """Each step adds two slots of independent noise, and that of its key switch; the period shrinks with them."""
        switch = (self.noise.key_switch(ct.level) / ct.scale) ** 2
        values, variance = ct.values, ct.variance
        for step in steps:
            if 2 * step == len(values):
                values = values[:step] + values[step:]
                if isinstance(variance, np.ndarray):
                    variance = variance if len(variance) == 1 else variance[:step] + variance[step:]
            else:
                values = values + np.roll(values, -step, axis=0)
                if isinstance(variance, np.ndarray) and len(variance) > 1:
                    variance = variance + np.roll(variance, -step, axis=0)
            scalar = not isinstance(variance, np.ndarray) or len(variance) == 1
            variance = (2 * variance if scalar else variance) + switch
        return SampledCiphertext(values, ct.level, ct.scale, variance)

    def linear(
        self, ct: SampledCiphertext, linear_map: SampledMap, *, rescale: bool = True
    ) -> SampledCiphertext:
        """Rounding of the diagonals counts as noise: each meets the mean square of the values."""
        level = linear_map.level
        if level > ct.level:
            raise LevelError(f"the map needs level {level}. Got {ct.level} instead.")
        scale = ct.scale * linear_map.scale
        values = self._settled(ct)
        width = max(len(values), linear_map.period)
        energy = np.mean(np.abs(values) ** 2, axis=0, keepdims=True)
        variance = len(linear_map.diagonals) * (self.noise.encoding / linear_map.scale) ** 2 * energy
        if self.noise.p:
            switch = self.noise.key_switch(level)
            variance = variance + linear_map.giants * (switch / scale) ** 2
            variance = variance + (switch / ct.scale) ** 2 * float(linear_map.switched.mean())
        result = SampledCiphertext(linear_map.matrix(width) @ _tiled(values, width), level, scale, variance)
        return self._divide(result, self.noise.fused_rounding) if rescale else result

    def linear_combinations(
        self, cts: Sequence[SampledCiphertext], weights: FloatArray, *, scale: float
    ) -> list[SampledCiphertext]:
        """Weights are rounded to multiples of 1/scale; noise comes with the rescaling that follows."""
        rounded = np.rint(weights * scale) / scale
        mixed = rounded @ np.concatenate([self._settled(ct) for ct in cts])
        level, product = cts[0].level, cts[0].scale * scale
        return [SampledCiphertext(row[None], level, product) for row in mixed]

    def _divide(self, ct: SampledCiphertext, rounding: float) -> SampledCiphertext:
        """Division by the prime of the level, which adds a rounding error."""
        if ct.scale >= self._modulus(ct.level):
            raise PrecisionError(f"a scale does not fit into the modulus of level {ct.level}")
        scale = ct.scale / self.q[ct.level]
        return SampledCiphertext(ct.values, ct.level - 1, scale, ct.variance + (rounding / scale) ** 2)

    def _settled(self, ct: SampledCiphertext) -> Values:
        """The values, once their noise is drawn: whoever reads a ciphertext again sees the same noise."""
        if np.any(ct.variance):
            shape = ct.values.shape
            is_complex = np.iscomplexobj(ct.values)
            drawn = self._random.standard_normal((*shape, 2) if is_complex else shape, dtype=np.float32)
            noise: Values = drawn.view(np.complex64)[..., 0] if is_complex else drawn
            ct.values = ct.values + noise * np.sqrt(ct.variance)
            ct.variance = 0.0
        return ct.values

    def _fit(self, a: SampledCiphertext, b: SampledCiphertext) -> None:
        self._same_scale(a.scale, b.scale)
        if a.level != b.level:
            raise LevelError(f"levels of a sum must be equal. Got {a.level} and {b.level} instead.")

    def _same_scale(self, a: float, b: float) -> None:
        if abs(a - b) > a * _SAME_SCALE:
            raise ScaleError(f"scales of a sum must be equal. Got {a!r} and {b!r} instead.")

    def _modulus(self, level: int) -> float:
        return prod(self.q[: level + 1])


def _period(values: Values) -> int:
    """The smallest power of two after which (slots,) values repeat."""
    width = len(values)
    while width > 1 and np.array_equal(values[: width // 2], values[width // 2 : width]):
        width //= 2
    return width


def _tiled(values: Any, width: int) -> Any:
    """The same slots, ``width`` of them. What is no array, or has one row, fits every width."""
    if not isinstance(values, np.ndarray) or len(values) in (1, width):
        return values
    return np.tile(values, (width // len(values), 1))


def _sum(a: Values, b: Values) -> Values:
    width = max(len(a), len(b))
    total: Values = _tiled(a, width) + _tiled(b, width)
    return total
