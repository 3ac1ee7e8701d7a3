"""Polynomials of an encrypted vector in the fewest levels: ⌈log2(degree + 1)⌉, with about 2·√degree products.

Paterson and Stockmeyer, "On the number of nonscalar multiplications necessary to evaluate polynomials"
(1973), with the
depth-optimal splitting of Bossuat, Mouchet, Troncoso-Pastoriza and Hubaux (ia.cr/2020/1203, section 5.2): p
= h·x^(2^m) + l,
and the scale that h must have is handed down to the constants at the leaves, so that no power is ever
brought to another
scale.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tacit.ckks.noise import Noise
from tacit.errors import DataError, InvalidParameterError, LevelError

if TYPE_CHECKING:
    from tacit.ckks.vector import Vector

__all__ = ["depth", "evaluate"]


def depth(degree: int) -> int:
    """Levels that a polynomial of ``degree`` ≥ 1 takes, ⌈log2(degree + 1)⌉."""
    return degree.bit_length()


def evaluate(x: Vector, coefficients: ArrayLike) -> Vector:
    """Σ coefficients[k]·x^k for each entry.

    Raises InvalidParameterError unless the degree is at least 1, LevelError when ``x`` has too few levels.
    """
    array = np.asarray(coefficients, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise DataError(
            "the coefficients of a polynomial must be a list of finite numbers, constant term first"
        )
    array = _trimmed(array)
    if len(array) < 2:
        raise InvalidParameterError(
            "a polynomial must have degree 1 at least; a constant needs no encrypted vector"
        )
    needed = depth(len(array) - 1)
    if needed > x.level:
        raise LevelError(
            f"a polynomial of degree {len(array) - 1} needs {needed} levels; the vector has {x.level} left",
            hint="use a lower degree, or parameters with more depth",
        )
    level = x.level - needed
    constant, array[0] = array[0], 0.0
    baby = 1 << (needed + 1) // 2
    value = _Evaluation(x, baby).at(array, level, x.evaluator.params.scales[level])
    # Added last and only to real entries: inside the sum it would also fill the zeros beyond the size.
    return value + constant if constant else value


class _Evaluation:
    """The powers of one vector, made when first needed, and the recursion over them."""

    def __init__(self, x: Vector, baby: int) -> None:
        self._powers = {1: x}
        self._baby = baby
        self._run = x.evaluator.native
        self._params = x.evaluator.params
        self._model = x.evaluator.noise

    def _power(self, k: int) -> Vector:
        """x^k in ⌈log2 k⌉ levels."""
        if k not in self._powers:
            large = 1 << (k - 1).bit_length() - 1
            self._powers[k] = self._power(large) * self._power(k - large)
        return self._powers[k]

    def at(self, array: NDArray[np.float64], level: int, scale: float) -> Vector:
        """The polynomial at exactly this level and scale; the levels above suffice by the choice of
        ``level``."""
        array = _trimmed(array)
        degree = len(array) - 1
        top = self._powers[1].level
        if degree < self._baby and _power_depth(degree) + 1 <= top - level:
            return self._combination(array, level, scale)
        split = 1 << degree.bit_length() - 1
        low = array[:split]
        if degree == split:
            # The upper part is a constant: one more term of a combination.
            high = self._combination(array * (np.arange(degree + 1) == degree), level, scale)
        else:
            power = self._power(split)
            wanted = self._params.plain_scale(level + 1, source=power.native.scale, target=scale)
            upper = self.at(array[split:], level + 1, wanted)
            dropped = self._run.drop_level(power.native, level + 1)
            native = self._run.mul_relin_rescale(upper.native, dropped).with_scale(scale)
            added = self._model.product(level + 1, wanted * power.native.scale, scale)
            high = upper.derived(native, upper.noise.times(power.noise).more(added))
        if not low.any():
            return high
        lower = self.at(low, level, scale)
        return high.derived(self._run.add(high.native, lower.native), high.noise.plus(lower.noise))

    def _combination(self, array: NDArray[np.float64], level: int, scale: float) -> Vector:
        """Σ array[k]·x^k by constants and one rescaling."""
        total = None
        noise = Noise(self._model.rounding(scale), 0.0)
        for k in range(1, len(array)):
            if array[k] == 0.0:
                continue
            power = self._power(k)
            factor = self._params.plain_scale(level + 1, source=power.native.scale, target=scale)
            dropped = self._run.drop_level(power.native, level + 1)
            term = self._run.mul_const(dropped, float(array[k]), scale=factor)
            total = term if total is None else self._run.add(total, term)
            noise = noise.plus(power.noise.scaled(array[k])).more((power.noise.bound / factor / 2) ** 2)
        if total is None:
            raise InvalidParameterError("a combination of powers must have a term that is not constant")
        if array[0] != 0.0:
            total = self._run.add_const(total, float(array[0]))
            noise = replace(noise, bound=noise.bound + abs(float(array[0])))
        return self._powers[1].derived(self._run.rescale(total).with_scale(scale), noise)


def _power_depth(k: int) -> int:
    """Levels of x^k, ⌈log2 k⌉."""
    return (k - 1).bit_length() if k > 0 else 0


def _trimmed(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """A copy without the zeros at the highest degrees."""
    (nonzero,) = np.nonzero(array)
    return array[: nonzero[-1] + 1].copy() if len(nonzero) else array[:0].copy()
