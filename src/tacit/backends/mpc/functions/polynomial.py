"""Polynomials of one secret: powers in log2 rounds, coefficients that are public, bounds of every error.

The variable is v, a multiple of x - centre, exact, with `POWER_BITS` fractional bits; |v| <= 1 where it is used.
All powers are made once, whichever polynomial is needed: p_(a+b) = p_a·p_b, so that d powers take ceil(log2 d) rounds.
A combination with public coefficients costs nothing; only its truncation does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev, polynomial

from tacit.backends.mpc.engine import B, Engine, S
from tacit.backends.mpc.steps import Steps, Words
from tacit.errors import PrecisionError

__all__ = ["POWER_BITS", "Fit", "Real", "Variable", "combination", "fit", "power_errors", "powers"]

Real = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]

POWER_BITS = 31
"""Fractional bits of the powers: a product of two that are at most 1 is at most 2^62 before truncation."""

NODES = 64
"""Points of an interpolation."""

FINE = 11
"""A polynomial of degree n is at most 1/cos(π/22) < 1.011 times its largest value at 11·n Chebyshev points
(Ehlich and Zeller 1964): the error of a fit is measured at 11·64 points, as if of degree 64."""

_NODES = np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)
_INTERPOLATION = chebyshev.chebvander(_NODES, NODES - 1).T * (2.0 / NODES)
_INTERPOLATION[0] /= 2.0
_FINE = np.concatenate([np.cos(np.pi * (np.arange(FINE * NODES) + 0.5) / (FINE * NODES)), [-1.0, 1.0]])


@dataclass(frozen=True)
class Variable:
    """v = (word - centre)·factor·2^-`POWER_BITS`, for words of x with f fractional bits."""

    f: int
    centre: int
    factor: int

    @classmethod
    def over(cls, f: int, low: int, high: int) -> Variable:
        """The variable with |v| <= 1 on the words low … high, and almost 1 at one end; less than 1 by more than errors.

        Raises ``PrecisionError`` where that is too wide for the bits of the powers.
        """
        centre = (low + high) // 2
        reach = max(high - centre, centre - low, 1)
        if reach > 1 << (POWER_BITS - 1):
            raise PrecisionError(
                f"an argument that varies by {math.ldexp(high - low, -f):.3g} is too wide for {f} fractional bits",
                hint="plan with fewer fractional bits, or bound the argument",
            )
        return cls(f, centre, ((1 << POWER_BITS) - 64) // reach)

    def at(self, words: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """v of words, as a real number."""
        return np.asarray(
            np.ldexp((np.asarray(words, dtype=np.float64) - self.centre) * self.factor, -POWER_BITS)
        )

    def real(self, v: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """x of v, as a real number."""
        return np.asarray(np.ldexp(np.ldexp(v, POWER_BITS) / self.factor + self.centre, -self.f))


@dataclass(frozen=True)
class Fit:
    """Coefficients of v^0, v^1, … as integers with ``bits`` fractional bits. ``error``: of the exact polynomial."""

    coefficients: tuple[int, ...]
    bits: int
    error: float
    spread: float
    """Error of the value by the truncations of the powers."""


def fit(function: Real, variable: Variable, low: int, high: int, degree: int, bits: int) -> Fit:
    """The interpolation of ``function`` on the words low … high by Chebyshev polynomials, cut after ``degree``.

    The error counts the rounding of the coefficients to ``bits`` fractional bits.
    """
    ends = variable.at([low, max(high, low + 1)])
    middle, half = float(ends.mean()), float(ends[1] - ends[0]) / 2
    values = function(variable.real(middle + half * _NODES))
    series = _INTERPOLATION[: degree + 1] @ values
    # What is below the units of the coefficients only adds the noise of float64, enlarged by the change of variable.
    noise = max(math.ldexp(1.0, -bits - 6), float(np.max(np.abs(values))) * 2.0**-46)
    series = series[: max(int(np.max(np.flatnonzero(np.abs(series) > noise), initial=0)), 1) + 1]
    local = chebyshev.cheb2poly(series)
    # The polynomial of (v - middle)/half as one of v, by Horner in the ring of polynomials.
    inner = np.array([-middle / half, 1 / half])
    whole = np.zeros(1)
    for coefficient in local[::-1]:
        whole = polynomial.polyadd(polynomial.polymul(whole, inner), [coefficient])
    whole = np.pad(whole, (0, max(0, degree + 1 - whole.size)))[: degree + 1]
    coefficients = tuple(round(math.ldexp(float(c), bits)) for c in whole)
    at = middle + half * _FINE
    found = polynomial.polyval(at, np.ldexp(np.array(coefficients, dtype=np.float64), -bits))
    error = 1.011 * float(np.max(np.abs(found - function(variable.real(at)))))
    spread = _spread(coefficients, bits, float(np.max(np.abs(ends))))
    return Fit(coefficients, bits, error, spread)


def power_errors(degree: int, reach: float) -> list[float]:
    """Largest errors of v^0, v^1, … as `powers` makes them, for |v| <= reach."""
    ulp = math.ldexp(1.0, -POWER_BITS)
    errors = [0.0, 0.0]
    for j in range(2, degree + 1):
        a, b = _parts(j)
        errors.append(reach**a * errors[b] + reach**b * errors[a] + errors[a] * errors[b] + ulp)
    return errors[: degree + 1]


def powers(engine: Engine[S, B], x: S, variable: Variable, degree: int) -> Steps[list[S]]:
    """v, v², … v^degree with `POWER_BITS` fractional bits, each truncated once. Where |v| > 1: any words."""
    moved = engine.add_public(x, _constant(-variable.centre))
    made = [moved.times(variable.factor)]
    while len(made) < degree:
        have = len(made)
        more = min(have, degree - have)
        left = _stack(made[have - 1 : have] * more)
        new = yield from engine.multiply_freely(left, _stack(made[:more]), cut=POWER_BITS)
        made += [new[j] for j in range(more)]
    return made


def combination(made: Sequence[S], coefficients: npt.NDArray[np.int64]) -> S:
    """Σ_j coefficients[…, j]·made[j]: of shape (pieces, *shape) for coefficients (pieces, degree). Local."""
    factors = coefficients.astype(np.int64).view(np.uint64)

    def linear(*words: Words) -> Words:
        total = np.zeros((len(factors), *words[0].shape), dtype=np.uint64)
        for piece, row in enumerate(factors):
            for factor, word in zip(row, words, strict=True):
                if factor:
                    total[piece] += factor * word
        return total

    return made[0].local(linear, *made[1:])


def _parts(j: int) -> tuple[int, int]:
    """The powers whose product `powers` makes v^j of."""
    giant = 1 << ((j - 1).bit_length() - 1)
    return giant, j - giant


def _spread(coefficients: Sequence[int], bits: int, reach: float) -> float:
    errors = power_errors(len(coefficients) - 1, reach)
    return math.ldexp(sum(abs(c) * e for c, e in zip(coefficients, errors, strict=True)), -bits)


def _stack(parts: Sequence[S]) -> S:
    return parts[0].local(lambda *words: np.stack(words), *parts[1:])


def _constant(value: int) -> Words:
    return np.array(value % (1 << 64), dtype=np.uint64)
