"""RNS-CKKS over big integers: keys, encryption, and every homomorphic operation, with all randomness given.

Scheme: Cheon, Kim, Kim, Song (ia.cr/2016/421); residue form and rescaling by one prime: Cheon, Han, Kim,
Kim, Song
(ia.cr/2018/931); key switching with special primes and digits of several primes: Han and Ki
(ia.cr/2019/688), section 3.
A ciphertext (c_0, …, c_d) decrypts to Σ c_i s^i mod Q_level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from oracle import polynomial
from oracle.polynomial import Polynomial

__all__ = ["Ciphertext", "Model", "SwitchingKey"]


@dataclass(frozen=True)
class Ciphertext:
    """Parts c_0 … c_degree with coefficients in [0, Q_level)."""

    parts: tuple[Polynomial, ...]
    level: int
    scale: float


@dataclass(frozen=True)
class SwitchingKey:
    """One pair (b_j, a_j) mod Q_level·P for each digit, b_j = -a_j s + e_j + P g_j s'."""

    digits: tuple[tuple[Polynomial, Polynomial], ...]
    level: int


@dataclass(frozen=True)
class Model:
    """Ring degree 2^log_n, chain ``q`` (q[0] is dropped last), special primes ``p``."""

    log_n: int
    q: tuple[int, ...]
    p: tuple[int, ...]

    @property
    def n(self) -> int:
        return 1 << self.log_n

    @property
    def special(self) -> int:
        """P, the product of the special primes."""
        return prod(self.p)

    def modulus(self, level: int) -> int:
        """Q_level = q_0 ⋯ q_level."""
        return prod(self.q[: level + 1])

    def digit_primes(self, level: int) -> list[tuple[int, ...]]:
        """The primes of each digit that are still there at ``level``: K = len(p) consecutive ones each."""
        width = len(self.p)
        return [self.q[i : min(i + width, level + 1)] for i in range(0, level + 1, width)]

    # keys and encryption

    def public_key(
        self, s: Sequence[int], a: Polynomial, e: Sequence[int], level: int
    ) -> tuple[Polynomial, Polynomial]:
        """(b, a) with b = -a s + e mod Q_level."""
        modulus = self.modulus(level)
        masked = polynomial.multiply(a, s, modulus)
        return polynomial.subtract([x % modulus for x in e], masked, modulus), list(a)

    def encrypt_secret(
        self,
        message: Sequence[int],
        s: Sequence[int],
        a: Polynomial,
        e: Sequence[int],
        *,
        level: int,
        scale: float,
    ) -> Ciphertext:
        """(m + e - a s, a) mod Q_level."""
        modulus = self.modulus(level)
        noisy = [(m + x) % modulus for m, x in zip(message, e, strict=True)]
        body = polynomial.subtract(noisy, polynomial.multiply(a, s, modulus), modulus)
        return Ciphertext((body, [x % modulus for x in a]), level, scale)

    def decrypt(self, ct: Ciphertext, s: Sequence[int]) -> Polynomial:
        """The signed coefficients of message plus noise."""
        modulus = self.modulus(ct.level)
        total = [0] * self.n
        power: Polynomial = [1] + [0] * (self.n - 1)
        for part in ct.parts:
            total = polynomial.add(total, polynomial.multiply(part, power, modulus), modulus)
            power = polynomial.multiply(power, s, modulus)
        return polynomial.centred(total, modulus)

    def gadget(self, digit: int, level: int) -> int:
        """g_j mod Q_level: 1 modulo the primes of digit j, 0 modulo the others."""
        primes = self.digit_primes(level)[digit]
        rest = self.modulus(level) // prod(primes)
        return rest * pow(rest, -1, prod(primes)) % self.modulus(level)

    def switching_key(
        self,
        source: Sequence[int],
        s: Sequence[int],
        randomness: Sequence[tuple[Polynomial, Sequence[int]]],
        level: int,
    ) -> SwitchingKey:
        """The key from ``source`` to ``s``; ``randomness`` holds (a_j, e_j) for each digit."""
        modulus = self.modulus(level) * self.special
        digits = []
        for j, (a, e) in enumerate(randomness):
            body = polynomial.subtract([x % modulus for x in e], polynomial.multiply(a, s, modulus), modulus)
            message = polynomial.scale(source, self.special * self.gadget(j, level), modulus)
            digits.append((polynomial.add(body, message, modulus), [x % modulus for x in a]))
        return SwitchingKey(tuple(digits), level)

    # operations without keys

    def add(self, x: Ciphertext, y: Ciphertext) -> Ciphertext:
        """The sum; levels and scales must be equal."""
        modulus = self.modulus(x.level)
        longest = max(len(x.parts), len(y.parts))
        zero = [0] * self.n
        parts = tuple(
            polynomial.add(
                x.parts[i] if i < len(x.parts) else zero, y.parts[i] if i < len(y.parts) else zero, modulus
            )
            for i in range(longest)
        )
        return Ciphertext(parts, x.level, x.scale)

    def negate(self, x: Ciphertext) -> Ciphertext:
        """-x."""
        modulus = self.modulus(x.level)
        return Ciphertext(tuple([-c % modulus for c in part] for part in x.parts), x.level, x.scale)

    def multiply(self, x: Ciphertext, y: Ciphertext) -> Ciphertext:
        """The tensor product of degree deg x + deg y."""
        modulus = self.modulus(x.level)
        parts = [[0] * self.n for _ in range(len(x.parts) + len(y.parts) - 1)]
        for i, a in enumerate(x.parts):
            for j, b in enumerate(y.parts):
                parts[i + j] = polynomial.add(parts[i + j], polynomial.multiply(a, b, modulus), modulus)
        return Ciphertext(tuple(parts), x.level, x.scale * y.scale)

    def multiply_plain(self, x: Ciphertext, message: Sequence[int], scale: float) -> Ciphertext:
        """Each part times the plaintext polynomial."""
        modulus = self.modulus(x.level)
        parts = tuple(polynomial.multiply(part, message, modulus) for part in x.parts)
        return Ciphertext(parts, x.level, x.scale * scale)

    def drop_level(self, x: Ciphertext, level: int) -> Ciphertext:
        """The same message mod Q_level."""
        modulus = self.modulus(level)
        return Ciphertext(tuple([c % modulus for c in part] for part in x.parts), level, x.scale)

    def rescale(self, x: Ciphertext) -> Ciphertext:
        """Each coefficient divided by q_level and rounded to the nearest integer, the representative in [0,
        Q)."""
        last = self.q[x.level]
        modulus = self.modulus(x.level - 1)
        parts = tuple([round_divide(c, last) % modulus for c in part] for part in x.parts)
        return Ciphertext(parts, x.level - 1, x.scale / last)

    # key switching

    def key_switch(self, part: Polynomial, key: SwitchingKey, level: int) -> tuple[Polynomial, Polynomial]:
        """(k_0, k_1) mod Q_level with k_0 + k_1 s ≈ part · s', by digits, special primes and rounding."""
        k0, k1 = (self.mod_down(half, level) for half in self.switch_raised(part, key, level))
        return k0, k1

    def switch_raised(self, part: Polynomial, key: SwitchingKey, level: int) -> tuple[Polynomial, Polynomial]:
        """Σ_j digit_j · (b_j, a_j) mod Q_level·P: the key switch before its division by P."""
        modulus = self.modulus(level) * self.special
        sums = [[0] * self.n, [0] * self.n]
        for primes, pair in zip(self.digit_primes(level), key.digits, strict=False):
            digit = [lift(c, primes) for c in part]
            for out, half in zip(sums, pair, strict=True):
                product = polynomial.multiply(digit, [c % modulus for c in half], modulus)
                out[:] = polynomial.add(out, product, modulus)
        return sums[0], sums[1]

    def mod_down(self, part: Polynomial, level: int) -> Polynomial:
        """part / P rounded, from Q_level·P to Q_level."""
        modulus = self.modulus(level)
        return [divide(c, self.p) % modulus for c in part]

    def relinearize(self, x: Ciphertext, key: SwitchingKey) -> Ciphertext:
        """A degree 2 ciphertext as one of degree 1."""
        modulus = self.modulus(x.level)
        c0, c1, c2 = x.parts
        k0, k1 = self.key_switch(c2, key, x.level)
        return Ciphertext(
            (polynomial.add(c0, k0, modulus), polynomial.add(c1, k1, modulus)), x.level, x.scale
        )

    def multiply_relinearize_rescale(self, x: Ciphertext, y: Ciphertext, key: SwitchingKey) -> Ciphertext:
        """All three with one division, by P·q_level: (P·d_0 + Σ b, P·d_1 + Σ a) / (P·q_level)."""
        d0, d1, d2 = self.multiply(x, y).parts
        raised = self.switch_raised(d2, key, x.level)
        big = self.modulus(x.level) * self.special
        modulus = self.modulus(x.level - 1)
        divisors = (self.q[x.level], *self.p)
        parts = []
        for part, half in zip((d0, d1), raised, strict=True):
            total = polynomial.add(polynomial.scale(part, self.special, big), half, big)
            parts.append([divide(c, divisors) % modulus for c in total])
        return Ciphertext(tuple(parts), x.level - 1, x.scale * y.scale / self.q[x.level])

    def galois_source(self, s: Sequence[int], g: int) -> Polynomial:
        """φ_g^-1(s): the key of g switches from ``s`` to this, so that X → X^g can come last."""
        inverse = pow(g, -1, 2 * self.n)
        return polynomial.centred(polynomial.automorphism(s, inverse, self.q[0]), self.q[0])

    def galois_key(
        self, s: Sequence[int], g: int, randomness: Sequence[tuple[Polynomial, Sequence[int]]], level: int
    ) -> SwitchingKey:
        """b_j + a_j·φ_g^-1(s) = e_j + P·g_j·s."""
        return self.switching_key(s, self.galois_source(s, g), randomness, level)

    def apply_galois(self, x: Ciphertext, g: int, key: SwitchingKey) -> Ciphertext:
        """x with X → X^g: (φ_g(c_0 + k_0), φ_g(k_1))."""
        modulus = self.modulus(x.level)
        c0, c1 = x.parts
        k0, k1 = self.key_switch(c1, key, x.level)
        summed = polynomial.add(c0, k0, modulus)
        parts = tuple(polynomial.automorphism(part, g, modulus) for part in (summed, k1))
        return Ciphertext(parts, x.level, x.scale)

    def rotation_element(self, steps: int) -> int:
        """g = 5^steps mod 2N: slot i of the result is slot i + steps of the argument."""
        return pow(5, steps % (self.n // 2), 2 * self.n)


def round_divide(value: int, divisor: int) -> int:
    """⌊value / divisor + 1/2⌋ for odd ``divisor``: no ties."""
    return (value + (divisor - 1) // 2) // divisor


def lift(value: int, primes: Sequence[int]) -> int:
    """Centred fast base conversion: an integer congruent to ``value`` mod D = Π primes, at most K·D/2 in
    size.

    The sum Σ [v·D̂_i^-1]_{q_i}·D̂_i of Bajard, Eynard, Hasan and Zucca (ia.cr/2016/510, eq. 2) is not
    reduced mod D and
    lies in [0, K·D); it is taken of value + H and moved back by H = ⌊K·D/2⌋.
    """
    product = prod(primes)
    half = len(primes) * product // 2
    rest = [product // q for q in primes]
    return sum((value + half) * pow(r, -1, q) % q * r for q, r in zip(primes, rest, strict=True)) - half


def divide(value: int, primes: Sequence[int]) -> int:
    """(value - lift(value)) / Π primes, exactly: what division by a product of primes is in residues."""
    return (value - lift(value, primes)) // prod(primes)
