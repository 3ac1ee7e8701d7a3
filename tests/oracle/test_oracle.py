"""The oracle checked against itself and against mathematics, so that it may judge the Rust core."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest

from oracle import embedding, polynomial, primes
from oracle.randomness import uniform_row
from oracle.scheme import Ciphertext, Model, SwitchingKey, divide, lift, round_divide

LOG_N = 5
N = 1 << LOG_N
Q = tuple(primes.ntt_primes(LOG_N, 45, 1) + primes.ntt_primes(LOG_N, 36, 3))
P = tuple(primes.ntt_primes(LOG_N, 45, 2, Q))
MODEL = Model(LOG_N, Q, P)
TOP = len(Q) - 1
SCALE = 1 << 36


def _noise(rng: random.Random) -> list[int]:
    return [round(rng.gauss(0, 3.2)) for _ in range(N)]


def _uniform(rng: random.Random, modulus: int) -> list[int]:
    return [rng.randrange(modulus) for _ in range(N)]


def _slots(rng: random.Random) -> list[complex]:
    return [complex(rng.uniform(-1, 1), rng.uniform(-1, 1)) for _ in range(N // 2)]


def _secret(rng: random.Random) -> list[int]:
    return [rng.choice((-1, 0, 1)) for _ in range(N)]


def _encrypt(rng: random.Random, s: list[int], z: list[complex]) -> Ciphertext:
    a = _uniform(rng, MODEL.modulus(TOP))
    return MODEL.encrypt_secret(
        embedding.encode(z, N, SCALE), s, a, _noise(rng), level=TOP, scale=float(SCALE)
    )


def _key(rng: random.Random, source: list[int], s: list[int]) -> SwitchingKey:
    modulus = MODEL.modulus(TOP) * MODEL.special
    count = len(MODEL.digit_primes(TOP))
    return MODEL.switching_key(source, s, [(_uniform(rng, modulus), _noise(rng)) for _ in range(count)], TOP)


def _error(ct: Ciphertext, s: list[int], expected: list[complex]) -> float:
    got = embedding.decode(MODEL.decrypt(ct, s), ct.scale)
    return max(abs(x - y) for x, y in zip(got, expected, strict=True))


def test_primes_against_trial_division() -> None:
    def slow(n: int) -> bool:
        return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))

    assert [n for n in range(3000) if primes.is_prime(n)] == [n for n in range(3000) if slow(n)]
    found = primes.ntt_primes(4, 20, 5)
    assert found == sorted(found, reverse=True) and all(
        p % 32 == 1 and slow(p) and p < 1 << 20 for p in found
    )
    with pytest.raises(ValueError, match="fewer than"):
        primes.ntt_primes(16, 20, 40)


def test_transform_turns_products_into_pointwise_products() -> None:
    rng = random.Random(1)
    q = Q[0]
    a, b = _uniform(rng, q), _uniform(rng, q)
    product = [x * y % q for x, y in zip(polynomial.ntt(a, q), polynomial.ntt(b, q), strict=True)]
    assert polynomial.inverse_ntt(product, q) == polynomial.multiply(a, b, q)
    assert polynomial.inverse_ntt(polynomial.ntt(a, q), q) == a


def test_embedding_is_a_ring_homomorphism() -> None:
    rng = random.Random(2)
    a = [rng.randrange(-9, 10) for _ in range(N)]
    b = [rng.randrange(-9, 10) for _ in range(N)]
    product = polynomial.centred(polynomial.multiply(a, b, 1 << 40 | 1), 1 << 40 | 1)
    expected = [x * y for x, y in zip(embedding.decode(a, 1.0), embedding.decode(b, 1.0), strict=True)]
    assert embedding.decode(product, 1.0) == pytest.approx(expected, rel=1e-12)
    slots = embedding.decode(a, 1.0)
    image = polynomial.automorphism(a, 5, 1 << 40 | 1)
    rotated = embedding.decode(polynomial.centred(image, 1 << 40 | 1), 1.0)
    assert rotated == pytest.approx(slots[1:] + slots[:1], abs=1e-9)


def test_encode_is_inverse_of_decode() -> None:
    z = _slots(random.Random(3))
    exact = embedding.coefficients(z, N, SCALE)
    rounded = embedding.encode(z, N, SCALE)
    assert all(abs(e - r) <= Decimal("0.5") for e, r in zip(exact, rounded, strict=True))
    assert embedding.decode(rounded, float(SCALE)) == pytest.approx(z, abs=N / SCALE)


def test_every_operation_is_homomorphic() -> None:
    rng = random.Random(4)
    s = _secret(rng)
    x, y = _slots(rng), _slots(rng)
    cx, cy = _encrypt(rng, s, x), _encrypt(rng, s, y)
    tiny = 2.0**-22
    assert 0 < _error(cx, s, x) < tiny
    assert _error(MODEL.add(cx, cy), s, [a + b for a, b in zip(x, y, strict=True)]) < tiny
    square = polynomial.multiply(s, s, MODEL.modulus(TOP) * MODEL.special)
    relinearization = _key(rng, polynomial.centred(square, MODEL.modulus(TOP) * MODEL.special), s)
    product = MODEL.multiply(cx, cy)
    expected = [a * b for a, b in zip(x, y, strict=True)]
    assert _error(product, s, expected) < tiny
    relinear = MODEL.relinearize(product, relinearization)
    assert len(relinear.parts) == 2 and _error(relinear, s, expected) < tiny
    assert _error(MODEL.rescale(relinear), s, expected) < tiny
    g = MODEL.rotation_element(3)
    fused = MODEL.multiply_relinearize_rescale(cx, cy, relinearization)
    assert fused.level == TOP - 1 and _error(fused, s, expected) < tiny
    key = _key(rng, s, MODEL.galois_source(s, g))
    rotated = MODEL.apply_galois(cx, g, key)
    assert _error(rotated, s, x[3:] + x[:3]) < tiny
    low = MODEL.apply_galois(MODEL.drop_level(cx, 1), g, key)
    assert low.level == 1 and _error(low, s, x[3:] + x[:3]) < tiny


def test_rounding_and_lifting_by_their_definitions() -> None:
    rng = random.Random(5)
    for _ in range(200):
        value, divisor = rng.randrange(1 << 80), rng.randrange(3, 1 << 20) | 1
        assert abs(2 * (value - divisor * round_divide(value, divisor))) < divisor
        lifted = lift(value % (P[0] * P[1]), P)
        assert (lifted - value) % (P[0] * P[1]) == 0 and abs(lifted) <= P[0] * P[1]
        assert divide(value, (divisor,)) == round_divide(value, divisor)


def test_uniform_rows_are_canonical_and_separate() -> None:
    seed = bytes(range(32))
    row = uniform_row(seed, 7, 64, Q[0])
    assert len(row) == 64 and max(row) < Q[0] and min(row) >= 0
    assert uniform_row(seed, 8, 64, Q[0]) != row
