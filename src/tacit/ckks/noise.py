"""How much noise a ciphertext is expected to hold: an average-case estimate, carried along operation by
operation.

Model: Costache, Curtis, Hales, Murphy, Ogilvie and Player, "On the precision loss in approximate homomorphic
encryption"
(ia.cr/2022/162): the noise of an operation is a polynomial with independent, nearly normal coefficients of
variance ρ²,
so each slot holds a complex normal error with variance Nρ², half of it in the real part. Variances of
independent noises
add; a product multiplies noise by the size of the other message.

All variances here are those of the real part of one slot in the user's units, that is, after division by the
scale.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, inf, log2, prod, sqrt

from tacit.ckks.parameters import Parameters

__all__ = ["Noise", "NoiseModel"]


@dataclass(frozen=True)
class Noise:
    """What is expected of a slot's error, real part, in the user's units.

    ``variance``: of errors that are independent from slot to slot. ``bound``: on the size of the slots'
    values. ``shared``:
    variance of errors that all slots may have in common, as after a sum.
    """

    variance: float
    bound: float
    shared: float = 0.0

    @property
    def total(self) -> float:
        """Variance of one slot's error."""
        return self.variance + self.shared

    @property
    def bits(self) -> float:
        """log2 of the standard deviation of a slot's error; -20 means about six correct decimal digits."""
        return log2(self.total) / 2 if self.total > 0 else -inf

    def plus(self, other: Noise) -> Noise:
        """Of a sum or a difference. Standard deviations add, since both may come from one vector."""
        return Noise(
            _of_sum(self.variance, other.variance),
            self.bound + other.bound,
            _of_sum(self.shared, other.shared),
        )

    def times(self, other: Noise) -> Noise:
        """Of a product: (m + e)(m' + e') - mm' = me' + m'e + ee'."""
        return Noise(
            _of_sum(self.bound**2 * other.variance, other.bound**2 * self.variance)
            + 2 * self.total * other.total,
            self.bound * other.bound,
            _of_sum(self.bound**2 * other.shared, other.bound**2 * self.shared),
        )

    def scaled(self, factor: float) -> Noise:
        """Of the message times an exact constant."""
        return Noise(self.variance * factor**2, self.bound * abs(factor), self.shared * factor**2)

    def more(self, variance: float) -> Noise:
        """With independent noise of ``variance`` added."""
        return replace(self, variance=self.variance + variance)

    def folded(self, terms: int) -> Noise:
        """Of the sum of ``terms`` different slots."""
        return Noise(self.variance * terms, self.bound * terms, self.shared * terms**2)


def _of_sum(first: float, second: float) -> float:
    """(σ + σ')², of two variances."""
    return first + second + 2 * sqrt(first * second)


class NoiseModel:
    """The noises that operations add, for one set of parameters."""

    def __init__(self, params: Parameters) -> None:
        self._n = params.n
        self._q = tuple(params.native.q)
        self._p = tuple(params.native.p)
        self._sigma = float(params.native.error_std)

    def _slot(self, coefficient_variance: float, scale: float) -> float:
        return self._n / 2 * coefficient_variance / scale**2

    def encoding(self, scale: float) -> float:
        """Rounding the coefficients of a plaintext: uniform in [-1/2, 1/2]."""
        return self._slot(1 / 12, scale)

    def fresh(self, scale: float, bound: float) -> Noise:
        """Secret-key encryption: one error polynomial and the rounding of the plaintext."""
        return Noise(self._slot(self._sigma**2 + 1 / 12, scale), bound)

    def fresh_public(self, scale: float, bound: float) -> Noise:
        """Public-key encryption: e_0 + v·e + e_1·s with ternary v and s of variance 2/3."""
        return Noise(self._slot(self._sigma**2 * (1 + 4 * self._n / 3) + 1 / 12, scale), bound)

    def rounding(self, scale: float, *, primes: int = 1) -> float:
        """Division of (c_0, c_1) by a product of ``primes``, ``scale`` being the result's: ε_0 + ε_1·s.

        Each ε is a sum of as many uniform fractions in [-1/2, 1/2], since the base conversion does not reduce.
        """
        return self._slot(primes / 12 * (1 + 2 * self._n / 3), scale)

    def product(self, level: int, square_scale: float, scale: float) -> float:
        """What relinearising and rescaling in one division by P·q_level add, from ``square_scale`` to ``scale``."""
        return self._digits(level, square_scale) + self.rounding(scale, primes=len(self._p) + 1)

    def key_switch(self, level: int, scale: float) -> float:
        """Σ_j d_j·e_j / P and the rounding of the division by P (Han and Ki, ia.cr/2019/688, section 3.2)."""
        return self._digits(level, scale) + self.rounding(scale, primes=len(self._p))

    def _digits(self, level: int, scale: float) -> float:
        """Σ_j d_j·e_j / P. A digit lifted from K primes without reduction is D times K uniform fractions."""
        width = len(self._p)
        special = prod(self._p)
        variance = 0.0
        for j in range(ceil((level + 1) / width)):
            primes = self._q[j * width : min((j + 1) * width, level + 1)]
            variance += self._n * self._sigma**2 * len(primes) / 12 * (prod(primes) / special) ** 2
        return self._slot(variance, scale)
