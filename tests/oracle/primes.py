"""Prime search, roots of unity and residue arithmetic, each by its definition."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

__all__ = ["bit_reverse", "chain", "crt", "is_prime", "ntt_primes", "primitive_root", "residues"]

# They decide every n < 3.1e23: Sorenson and Webster, "Strong pseudoprimes to twelve prime bases" (2017),
# theorem 1.1.
_WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)


def is_prime(n: int) -> bool:
    """Whether ``n`` is prime, by Miller-Rabin with bases that are proven for all n < 2^64."""
    if n < 2:
        return False
    for p in _WITNESSES:
        if n % p == 0:
            return n == p
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in _WITNESSES:
        x = pow(base, odd, n)
        if x in (1, n - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def ntt_primes(log_n: int, bits: int, count: int, taken: Sequence[int] = ()) -> list[int]:
    """The ``count`` largest primes p = 1 mod 2N strictly below 2^bits that are not in ``taken``, largest
    first."""
    step = 2 << log_n
    found: list[int] = []
    candidate = (1 << bits) - step + 1
    while len(found) < count:
        if candidate < 1 << (bits - 1):
            raise ValueError(f"fewer than {count} primes of {bits} bits for N = 2^{log_n}")
        if is_prime(candidate) and candidate not in taken:
            found.append(candidate)
        candidate -= step
    return found


def primitive_root(log_n: int, q: int) -> int:
    """ψ = x^((q-1)/2N) for the least positive quadratic non-residue x of ``q``: a primitive 2N-th root, ψ^N
    = -1."""
    for x in range(2, q):
        if pow(x, (q - 1) // 2, q) == q - 1:
            return pow(x, (q - 1) // (2 << log_n), q)  # Euler's criterion holds for x
    raise ValueError(f"{q} has no quadratic non-residue")


def chain(log_n: int, bits: Sequence[int]) -> list[int]:
    """One prime for each size, in order: the largest of that size that no earlier entry took."""
    taken: list[int] = []
    for size in bits:
        taken += ntt_primes(log_n, size, 1, taken)
    return taken


def bit_reverse(i: int, bits: int) -> int:
    """``i`` with its lowest ``bits`` bits in reverse order."""
    return int(format(i, f"0{bits}b")[::-1], 2) if bits else 0


def residues(value: int, moduli: Sequence[int]) -> list[int]:
    """``value`` modulo each of ``moduli``, canonical."""
    return [value % q for q in moduli]


def crt(values: Sequence[int], moduli: Sequence[int]) -> int:
    """The integer in [0, Π moduli) with these residues (Chinese remainder theorem)."""
    product = prod(moduli)
    total = 0
    for value, q in zip(values, moduli, strict=True):
        rest = product // q
        total += value * pow(rest, -1, q) % q * rest
    return total % product
