"""Polynomials of R = Z[X]/(X^N+1) as lists of N Python integers, and the transform that the Rust core stores
them in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from oracle.primes import bit_reverse, crt, primitive_root

__all__ = [
    "add",
    "automorphism",
    "centred",
    "from_rows",
    "inverse_ntt",
    "multiply",
    "ntt",
    "scale",
    "subtract",
    "to_rows",
]

Polynomial = list[int]


def add(a: Sequence[int], b: Sequence[int], modulus: int) -> Polynomial:
    """a + b mod ``modulus``, coefficients in [0, modulus)."""
    return [(x + y) % modulus for x, y in zip(a, b, strict=True)]


def subtract(a: Sequence[int], b: Sequence[int], modulus: int) -> Polynomial:
    """a - b mod ``modulus``, coefficients in [0, modulus)."""
    return [(x - y) % modulus for x, y in zip(a, b, strict=True)]


def scale(a: Sequence[int], factor: int, modulus: int) -> Polynomial:
    """factor · a mod ``modulus``."""
    return [factor * x % modulus for x in a]


def multiply(a: Sequence[int], b: Sequence[int], modulus: int) -> Polynomial:
    """a · b in Z_modulus[X]/(X^N+1): schoolbook, X^N = -1."""
    n = len(a)
    out = [0] * n
    for i, x in enumerate(a):
        if x == 0:
            continue
        for j, y in enumerate(b):
            if i + j < n:
                out[i + j] += x * y
            else:
                out[i + j - n] -= x * y
    return [c % modulus for c in out]


def automorphism(a: Sequence[int], g: int, modulus: int) -> Polynomial:
    """a(X^g) mod X^N+1, for odd g."""
    n = len(a)
    out = [0] * n
    for i, x in enumerate(a):
        k = i * g % (2 * n)
        if k < n:
            out[k] = x % modulus
        else:
            out[k - n] = -x % modulus
    return out


def centred(a: Sequence[int], modulus: int) -> Polynomial:
    """The representatives in [-(modulus-1)/2, (modulus-1)/2] of odd ``modulus``."""
    half = (modulus - 1) // 2
    return [(x + half) % modulus - half for x in a]


@cache
def _points(log_n: int, q: int) -> tuple[int, ...]:
    psi = primitive_root(log_n, q)
    return tuple(pow(psi, 2 * bit_reverse(i, log_n) + 1, q) for i in range(1 << log_n))


def ntt(a: Sequence[int], q: int) -> list[int]:
    """The value of ``a`` mod q at ψ^(2·brv(i)+1) for i = 0 … N-1, by Horner's rule at each point."""
    out = []
    for point in _points(len(a).bit_length() - 1, q):
        value = 0
        for coefficient in reversed(a):
            value = (value * point + coefficient) % q
        out.append(value)
    return out


def inverse_ntt(values: Sequence[int], q: int) -> Polynomial:
    """The polynomial mod q with these values: a_k = N^-1 Σ_i v_i · point_i^-k, the points being all roots of
    X^N+1."""
    n = len(values)
    inverses = [pow(point, -1, q) for point in _points(n.bit_length() - 1, q)]
    powers = [1] * n
    n_inverse = pow(n, -1, q)
    out = []
    for _ in range(n):
        out.append(sum(v * p for v, p in zip(values, powers, strict=True)) * n_inverse % q)
        powers = [p * inverse % q for p, inverse in zip(powers, inverses, strict=True)]
    return out


def to_rows(a: Sequence[int], moduli: Sequence[int]) -> list[list[int]]:
    """One transformed row for each modulus: the form in which the Rust core keeps and sends a polynomial."""
    return [ntt([x % q for x in a], q) for q in moduli]


def from_rows(rows: Sequence[Sequence[int]], moduli: Sequence[int]) -> Polynomial:
    """The polynomial mod Π moduli, coefficients in [0, Π moduli), of transformed rows."""
    columns = zip(*(inverse_ntt(row, q) for row, q in zip(rows, moduli, strict=True)), strict=True)
    return [crt(column, moduli) for column in columns]
