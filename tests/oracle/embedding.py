"""The canonical embedding (Cheon, Kim, Kim, Song, ia.cr/2016/421, section 3.1), by direct evaluation with 60
digits.

Slot i of a polynomial m is m(ζ^(5^i)) with ζ = exp(πi/N), i = 0 … N/2-1; the other half of the roots are
conjugates.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, getcontext
from functools import cache

__all__ = ["coefficients", "decode", "encode"]

getcontext().prec = 60

Complex = tuple[Decimal, Decimal]


def _pi() -> Decimal:
    """Machin: π = 16·atan(1/5) - 4·atan(1/239)."""

    def arctan_inverse(x: int) -> Decimal:
        total, power, k = Decimal(0), Decimal(1) / x, 0
        while abs(power) > Decimal(10) ** -58:
            total += power / (2 * k + 1) if k % 2 == 0 else -power / (2 * k + 1)
            power /= x * x
            k += 1
        return total

    return 16 * arctan_inverse(5) - 4 * arctan_inverse(239)


@cache
def _zeta_powers(n: int) -> tuple[Complex, ...]:
    """ζ^k for k = 0 … 2N-1, ζ = exp(πi/N): Taylor series for ζ, then repeated multiplication."""
    angle = _pi() / n
    cosine, sine, term = Decimal(0), Decimal(0), Decimal(1)
    for k in range(60):
        if k % 2 == 0:
            cosine += term if k % 4 == 0 else -term
        else:
            sine += term if k % 4 == 1 else -term
        term = term * angle / (k + 1)
    powers: list[Complex] = [(Decimal(1), Decimal(0))]
    for _ in range(2 * n - 1):
        re, im = powers[-1]
        powers.append((re * cosine - im * sine, re * sine + im * cosine))
    return tuple(powers)


def coefficients(values: Sequence[complex], n: int, scale: int) -> list[Decimal]:
    """The unrounded coefficients scale · σ^-1(values) of ring degree ``n``; missing slots are zero.

    m_k = (2/N) Σ_i Re(z_i · ζ^(-k·5^i)), since the rows of the embedding are orthogonal up to N.
    """
    powers = _zeta_powers(n)
    exponents = [pow(5, i, 2 * n) for i in range(n // 2)]
    out = []
    for k in range(n):
        total = Decimal(0)
        for value, exponent in zip(values, exponents, strict=False):
            re, im = powers[-k * exponent % (2 * n)]
            total += Decimal(complex(value).real) * re - Decimal(complex(value).imag) * im
        out.append(total * 2 * scale / n)
    return out


def encode(values: Sequence[complex], n: int, scale: int) -> list[int]:
    """The rounded coefficients of the plaintext polynomial."""
    return [int(c.to_integral_value()) for c in coefficients(values, n, scale)]


def decode(polynomial: Sequence[int], scale: float | Decimal) -> list[complex]:
    """The N/2 slots of a polynomial with signed coefficients."""
    n = len(polynomial)
    powers = _zeta_powers(n)
    divisor = Decimal(scale)
    out = []
    for i in range(n // 2):
        exponent = pow(5, i, 2 * n)
        re = sum(c * powers[k * exponent % (2 * n)][0] for k, c in enumerate(polynomial))
        im = sum(c * powers[k * exponent % (2 * n)][1] for k, c in enumerate(polynomial))
        out.append(complex(float(re / divisor), float(im / divisor)))
    return out
