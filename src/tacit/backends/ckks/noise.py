"""How much error each operation adds: the average-case model of ciphertext noise in the canonical embedding.

Coefficients of noise polynomials are treated as independent with mean 0; a slot is then a complex Gaussian whose real
part has variance N/2 times that of a coefficient (ia.cr/2022/162, sections 3 and 4; ia.cr/2016/421, section 3). All
results are standard deviations of the real part of one slot, in units of the encoded integer: divide by the scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod, sqrt

__all__ = ["TAIL", "NoiseModel"]

TAIL = 8.0
"""Standard deviations that a promise allows: a Gaussian leaves them with probability 2^-49."""
ERROR_STD = 3.2
"""Standard deviation of the error distribution."""


@dataclass(frozen=True)
class NoiseModel:
    """For ring degree 2^log_n and the moduli q_0 … q_L, p_0 … p_(K-1)."""

    log_n: int
    q: Sequence[float]
    p: Sequence[float]

    @property
    def n(self) -> int:
        return 1 << self.log_n

    def slot(self, coefficient_variance: float) -> float:
        """Standard deviation of a slot's real part for a coefficient variance."""
        return sqrt(coefficient_variance * self.n / 2)

    @property
    def encoding(self) -> float:
        """Rounding of a plaintext's coefficients to integers."""
        return self.slot(1 / 12)

    @property
    def fresh(self) -> float:
        """A ciphertext just encrypted under the secret key, with its encoding."""
        return self.slot(ERROR_STD**2 + 1 / 12)

    @property
    def rounding(self) -> float:
        """One rescale or mod-down: rounding of both halves, the second times a ternary secret (variance 2/3)."""
        return self.slot((1 + 2 * self.n / 3) / 12)

    def key_switch(self, level: int) -> float:
        """A rotation or relinearisation at a level, with its mod-down.

        Digits are products of K primes, their lifts lie in [0, K·D): second moment K²D²/3. For K > 1 the base
        conversion of the mod-down is off by up to K - 1 units.
        """
        k = max(1, len(self.p))
        total = 0.0
        for start in range(0, level + 1, k):
            digit = prod(self.q[start : min(start + k, level + 1)])
            total += self.n * (k * digit) ** 2 / 3 * ERROR_STD**2
        special = prod(self.p) if self.p else 1.0
        overshoot = 1 / 12 if k == 1 else k * k / 3
        return self.slot(total / special**2 + (1 + 2 * self.n / 3) * overshoot)
