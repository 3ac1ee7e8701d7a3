"""Parameter literals: plain numbers that `Parameters.from_literal` checks and turns into primes.

The names say ring degree and multiplicative depth. Every set is inside the 128 bit classical table for
ternary secrets
of Bossuat et al., "Security Guidelines for Implementing Homomorphic Encryption" (ia.cr/2024/463): log QP at
most 106,
214, 430, 868 and 1747 bits for N = 2^12 … 2^16. The special primes of each set are together at least as
large as the
largest key-switching digit, so that key switching adds no more noise than one rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "N12_DEPTH1",
    "N13_DEPTH2",
    "N13_DEPTH3",
    "N14_DEPTH7",
    "N15_DEPTH17",
    "N16_DEPTH25",
    "ParametersLiteral",
]


@dataclass(frozen=True)
class ParametersLiteral:
    """Ring degree 2^``log_n``, bits of each prime of the chain and of the special primes, bits of the scale.

    ``log_q[0]`` belongs to the prime that is dropped last; ``log_q[0] - log_scale - 1`` bits are left for
    the size of
    values. Each prime has 20 to 50 bits.
    """

    log_n: int
    log_q: tuple[int, ...]
    log_p: tuple[int, ...]
    log_scale: int

    @property
    def depth(self) -> int:
        """Multiplications in a row."""
        return len(self.log_q) - 1

    @property
    def log_qp(self) -> int:
        """Bits of the whole modulus, on which security depends."""
        return sum(self.log_q) + sum(self.log_p)


N12_DEPTH1 = ParametersLiteral(12, (38, 28), (39,), 28)
"""2,048 slots, one multiplication, log QP 105."""

N13_DEPTH2 = ParametersLiteral(13, (48, 42, 42), (48,), 42)
"""4,096 slots, two multiplications, log QP 180. Primes of 49 and 50 bits would cost a quarter more."""

N13_DEPTH3 = ParametersLiteral(13, (48, 38, 38, 38), (48,), 38)
"""4,096 slots, three multiplications, log QP 210."""

N14_DEPTH7 = ParametersLiteral(14, (48, *(36,) * 7), (43,) * 3, 36)
"""8,192 slots, seven multiplications, three digits, log QP 429."""

N15_DEPTH17 = ParametersLiteral(15, (46, *(34,) * 17), (40,) * 6, 34)
"""16,384 slots, 17 multiplications, three digits, log QP 864."""

N16_DEPTH25 = ParametersLiteral(16, (48, *(45,) * 25), (48,) * 9, 45)
"""32,768 slots, 25 multiplications, three digits, log QP 1605."""
