"""Statistics of what the Rust core draws, from fixed seeds: the secret, the errors, the public halves."""

from __future__ import annotations

from collections import Counter
from math import erfc, exp, sqrt

import numpy as np

from oracle import polynomial
from oracle.primes import chain
from oracle.scheme import Model
from oracle.wire import Wire
from tacit import _native

LOG_N, LOG_Q = 7, 40
SIGMA = 3.2
# Seeds are fixed, so these tests give one answer for ever; a right sampler fails one of them with probability 10^-4.
REJECT = 1e-4


def tail(chi_square: float, freedom: int) -> float:
    """P(χ² > chi_square), by the cube root approximation of Wilson and Hilferty (1931), good to a few percent."""
    spread = 2 / (9 * freedom)
    return erfc(((chi_square / freedom) ** (1 / 3) - 1 + spread) / sqrt(2 * spread)) / 2


def chi_square(counts: Counter[int], expected: dict[int, float]) -> float:
    return sum((counts[value] - count) ** 2 / count for value, count in expected.items())


class World:
    """Keys from a seed at N = 128 and one prime, so that errors can be read off exactly."""

    def __init__(self, seed: int) -> None:
        self.params = _native.Parameters.insecure_from_literal(LOG_N, [LOG_Q], [], log_scale=20)
        self.q = chain(LOG_N, [LOG_Q])[0]
        self.wire = Wire(Model(LOG_N, (self.q,), ()), 20)
        self.secret = _native.SecretKey.insecure_from_seed(self.params, bytes([seed]) * 32)
        self.zero = self.params.encode(np.zeros(1 << LOG_N - 1))


def test_the_secret_is_uniform_ternary() -> None:
    params = _native.Parameters.insecure_from_literal(13, [40], [], log_scale=20)
    model = Wire(Model(13, tuple(chain(13, [40])), ()), 20)
    counts: Counter[int] = Counter()
    for seed in range(8):
        secret = _native.SecretKey.insecure_from_seed(params, bytes([seed]) * 32)
        counts.update(model.read_secret_key(secret.reveal_bytes()))
    total = 8 << 13
    assert sum(counts.values()) == total and set(counts) == {-1, 0, 1}
    assert tail(chi_square(counts, dict.fromkeys((-1, 0, 1), total / 3)), 2) > REJECT


def test_errors_are_discrete_gaussian() -> None:
    world = World(1)
    counts: Counter[int] = Counter()
    for _ in range(100):
        # Of an encryption of zero, decryption leaves the error.
        noisy = world.secret.decrypt(world.secret.encrypt(world.zero)).residues()[0]
        counts.update(polynomial.centred(polynomial.inverse_ntt(noisy.tolist(), world.q), world.q))
    total = 100 << LOG_N
    assert sum(counts.values()) == total
    assert max(map(abs, counts)) <= 10 * SIGMA
    weights = {value: exp(-(value**2) / (2 * SIGMA**2)) for value in range(-40, 41)}
    norm = sum(weights.values())
    expected = {value: total * weight / norm for value, weight in weights.items() if abs(value) <= 9}
    # The two tails are one more class.
    counts[99] = sum(count for value, count in counts.items() if 9 < abs(value) < 99)
    expected[99] = total - sum(expected.values())
    assert tail(chi_square(counts, expected), len(expected) - 1) > REJECT
    mean = sum(value * count for value, count in counts.items() if value != 99) / total
    assert abs(mean) < 4 * SIGMA / sqrt(total)


def test_public_halves_are_uniform_and_never_repeat() -> None:
    world = World(2)
    ciphertexts = [world.secret.encrypt(world.zero) for _ in range(64)]
    halves = np.array([ct.residues(1)[0] for ct in ciphertexts])
    assert len({half.tobytes() for half in halves}) == len(halves)
    counts = Counter((halves.ravel() * 16 // world.q).tolist())
    assert tail(chi_square(counts, dict.fromkeys(range(16), halves.size / 16)), 15) > REJECT
    # So is c_0, to whoever has no key.
    bodies = np.array([ct.residues(0)[0] for ct in ciphertexts])
    counts = Counter((bodies.ravel() * 16 // world.q).tolist())
    assert tail(chi_square(counts, dict.fromkeys(range(16), bodies.size / 16)), 15) > REJECT


def test_errors_of_two_encryptions_are_independent() -> None:
    world = World(3)

    def error() -> list[int]:
        noisy = world.secret.decrypt(world.secret.encrypt(world.zero)).residues()[0]
        return polynomial.centred(polynomial.inverse_ntt(noisy.tolist(), world.q), world.q)

    first, second = (np.concatenate([error() for _ in range(20)]) for _ in range(2))
    correlation = float(np.corrcoef(first, second)[0, 1])
    assert abs(correlation) < 4 / sqrt(first.size)
    neighbours = float(np.corrcoef(first[:-1], first[1:])[0, 1])
    assert abs(neighbours) < 4 / sqrt(first.size)


def test_keys_from_the_operating_system_differ() -> None:
    params = _native.Parameters.insecure_from_literal(LOG_N, [LOG_Q], [], log_scale=20)
    keys = {_native.SecretKey.generate(params).reveal_bytes() for _ in range(8)}
    assert len(keys) == 8
