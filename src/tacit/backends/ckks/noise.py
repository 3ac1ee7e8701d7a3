"""How much error each operation adds: the average-case model of ciphertext noise in the canonical embedding.

Coefficients of noise polynomials are treated as independent with mean 0; the real part of a slot then has variance N/2
times that of a coefficient (ia.cr/2022/162, sections 3 and 4; ia.cr/2016/421, section 3). All
results are standard deviations of the real part of one slot, in units of the encoded integer: divide by the scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod, sqrt

__all__ = ["TAIL", "NoiseModel"]

TAIL = 20.0
"""Standard deviations that a promise allows. Under a fixed key a slot of rounding noise is a product of two complex
Gaussians, the secret's slot and the rounding's, so its real part is Laplace: beyond k standard deviations with
probability exp(-√2·k), which is 2^-40 at 19.6."""
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
        """A rescale: rounding of both halves, the second times a ternary secret (variance 2/3)."""
        return self._mod_down(1)

    @property
    def fused_rounding(self) -> float:
        """A division by all special primes and one prime of the chain at once."""
        return self._mod_down(len(self.p) + 1)

    def key_switch(self, level: int) -> float:
        """A rotation or relinearisation at a level, with its mod-down.

        A digit of K primes is lifted by a centred conversion: variance K·D²/12 (ia.cr/2018/117, section 2.2).
        """
        k = max(1, len(self.p))
        total = 0.0
        for start in range(0, level + 1, k):
            digit = self.q[start : min(start + k, level + 1)]
            total += self.n * len(digit) * prod(digit) ** 2 / 12 * ERROR_STD**2
        return sqrt(self.slot(total / prod(self.p) ** 2) ** 2 + self._mod_down(k) ** 2)

    def _mod_down(self, primes: int) -> float:
        """Division by a product of primes with the centred conversion: one uniform rounding for each."""
        return self.slot((1 + 2 * self.n / 3) * primes / 12)
