"""The Rust core against the oracle at small N: keys, encryption and every operation, exactly where the
scheme is exact."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from oracle import embedding, polynomial
from oracle.primes import chain
from oracle.scheme import Ciphertext, Model, SwitchingKey
from oracle.wire import Wire
from tacit import _native

SHAPES = {
    "digits of one prime": (5, [45, 36, 36], [48], 36),
    "digits of two primes": (4, [50, 40, 30, 36], [44, 46], 36),
    "one digit of three primes": (6, [40, 36, 36], [38, 38, 38], 34),
    "last digit shorter": (5, [45, 36, 36, 36, 36], [42, 42, 42], 36),
}
# Errors are drawn from a table that ends below ten standard deviations of 3.2.
LARGEST_ERROR = 32


class World:
    """Native parameters and keys, and the same for the oracle, read from bytes."""

    def __init__(self, shape: str, cpu: str | None = None) -> None:
        log_n, log_q, log_p, log_scale = SHAPES[shape]
        self.params = _native.Parameters.insecure_from_literal(
            log_n, log_q, log_p, log_scale=log_scale, cpu=cpu
        )
        primes = chain(log_n, log_q + log_p)
        self.model = Model(log_n, tuple(primes[: len(log_q)]), tuple(primes[len(log_q) :]))
        self.wire = Wire(self.model, log_scale)
        self.top = len(log_q) - 1
        self.scale = 2.0**log_scale
        self.rng = random.Random(shape)
        self.secret = _native.SecretKey.insecure_from_seed(self.params, shape.encode().ljust(32)[:32])
        self.keys = self.secret.evaluation_keys(
            rotations={1: self.top, 3: self.top, 2: 1}, conjugate=self.top, relinearize=True
        )
        self.evaluator = _native.Evaluator(self.params, self.keys)
        self.s = self.wire.read_secret_key(self.secret.reveal_bytes())
        self.switching = self.wire.read_evaluation_keys(self.keys.to_bytes())

    def slots(self) -> list[complex]:
        count = self.model.n // 2
        return [complex(self.rng.uniform(-3, 3), self.rng.uniform(-3, 3)) for _ in range(count)]

    def fresh(self, level: int) -> _native.Ciphertext:
        # Small enough for a product at the last level.
        scale = self.scale if level else 2.0**17
        return self.secret.encrypt(self.params.encode(np.array(self.slots()), level=level, scale=scale))

    def read(self, ct: _native.Ciphertext) -> Ciphertext:
        return self.wire.read_ciphertext(ct.to_bytes())

    def key(self, g: int) -> SwitchingKey:
        return self.switching[g]


@pytest.fixture(scope="module", params=SHAPES)
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def same(got: Ciphertext, expected: Ciphertext) -> None:
    assert got.level == expected.level and len(got.parts) == len(expected.parts)
    assert got.scale == pytest.approx(expected.scale, rel=1e-14)
    assert got.parts == expected.parts


def test_parameters(world: World) -> None:
    assert tuple(world.params.q) == world.model.q and tuple(world.params.p) == world.model.p
    assert world.params.hash == world.wire.parameter_hash


@pytest.mark.parametrize("scale", [2.0**20, 2.0**40])
def test_encode_rounds_the_exact_coefficients(world: World, scale: float) -> None:
    values = world.slots()
    residues = world.params.encode(np.array(values), level=world.top, scale=scale).residues()
    got = polynomial.from_rows(residues.tolist(), world.model.q)
    got = polynomial.centred(got, world.model.modulus(world.top))
    exact = embedding.coefficients(values, world.model.n, int(scale))
    # Half a unit of rounding and the error of double precision on numbers up to 3·scale.
    allowed = 0.5 + 3 * scale * 2.0**-48
    assert max(abs(float(e) - g) for e, g in zip(exact, got, strict=True)) <= allowed


def test_decode_is_the_embedding(world: World) -> None:
    values = world.slots()
    plaintext = world.params.encode(np.array(values), level=0, scale=2.0**30)
    message = polynomial.from_rows(plaintext.residues().tolist(), world.model.q[:1])
    exact = embedding.decode(polynomial.centred(message, world.model.q[0]), 2.0**30)
    assert np.allclose(world.params.decode(plaintext), exact, rtol=0, atol=1e-13)
    assert np.allclose(world.params.decode_real(plaintext), np.real(exact), rtol=0, atol=1e-13)


def test_encryption_adds_small_errors_only(world: World) -> None:
    modulus = world.model.modulus(world.top)
    plaintext = world.params.encode(np.array(world.slots()), level=world.top, scale=world.scale)
    message = polynomial.from_rows(plaintext.residues().tolist(), world.model.q)
    public = world.secret.public_key()
    n = world.model.n
    for encrypt, bound in (
        (world.secret.encrypt, LARGEST_ERROR),
        (public.encrypt, LARGEST_ERROR * (2 * n + 1)),
    ):
        noisy = world.model.decrypt(world.read(encrypt(plaintext)), world.s)
        errors = polynomial.centred(polynomial.subtract(noisy, message, modulus), modulus)
        assert 0 < max(map(abs, errors)) <= bound
    assert world.secret.encrypt(plaintext).is_seeded and not public.encrypt(plaintext).is_seeded


def test_decryption(world: World) -> None:
    ct = world.fresh(world.top)
    product = world.evaluator.mul(ct, ct)
    for given in (ct, product, world.evaluator.drop_level(ct, 0)):
        plaintext = world.secret.decrypt(given)
        moduli = world.model.q[: given.level + 1]
        got = polynomial.from_rows(plaintext.residues().tolist(), moduli)
        expected = world.model.decrypt(world.read(given), world.s)
        assert polynomial.centred(got, world.model.modulus(given.level)) == expected


def test_public_key_is_an_encryption_of_zero(world: World) -> None:
    b, a = world.wire.read_public_key(world.secret.public_key().to_bytes())
    modulus = world.model.modulus(world.top)
    errors = polynomial.centred(polynomial.add(b, polynomial.multiply(a, world.s, modulus), modulus), modulus)
    assert 0 < max(map(abs, errors)) <= LARGEST_ERROR


def test_switching_keys_hold_what_they_say(world: World) -> None:
    model = world.model
    conjugation = 2 * model.n - 1
    elements = [
        0,
        model.rotation_element(1),
        model.rotation_element(2),
        model.rotation_element(3),
        conjugation,
    ]
    assert set(world.switching) == set(elements)
    for g in elements:
        key = world.switching[g]
        assert key.level == (1 if g == model.rotation_element(2) else world.top)
        modulus = model.modulus(key.level) * model.special
        squared = polynomial.multiply(world.s, world.s, modulus)
        source, target = (squared, world.s) if g == 0 else (world.s, model.galois_source(world.s, g))
        assert len(key.digits) == len(model.digit_primes(key.level))
        for j, (b, a) in enumerate(key.digits):
            body = polynomial.add(b, polynomial.multiply(a, target, modulus), modulus)
            message = polynomial.scale(source, model.special * model.gadget(j, key.level), modulus)
            errors = polynomial.centred(polynomial.subtract(body, message, modulus), modulus)
            assert 0 < max(map(abs, errors)) <= LARGEST_ERROR


def test_operations_without_keys(world: World) -> None:
    run, model = world.evaluator, world.model
    x, y = world.fresh(world.top), world.fresh(world.top)
    a, b = world.read(x), world.read(y)
    same(world.read(run.add(x, y)), model.add(a, b))
    same(world.read(run.sub(x, y)), model.add(a, model.negate(b)))
    same(world.read(run.neg(x)), model.negate(a))
    product = run.mul(x, y)
    same(world.read(product), model.multiply(a, b))
    same(world.read(run.square(x)), model.multiply(a, a))
    same(world.read(run.rescale(product)), model.rescale(model.multiply(a, b)))
    for level in range(world.top):
        same(world.read(run.drop_level(x, level)), model.drop_level(a, level))
    same(
        world.read(run.add(product, run.neg(product))),
        model.add(model.multiply(a, b), model.negate(model.multiply(a, b))),
    )


def test_plain_operands(world: World) -> None:
    run, model = world.evaluator, world.model
    x = world.fresh(world.top)
    a = world.read(x)
    plaintext = world.params.encode(np.array(world.slots()), level=world.top, scale=world.scale)
    message = polynomial.from_rows(plaintext.residues().tolist(), model.q)
    modulus = model.modulus(world.top)
    summed = (polynomial.add(a.parts[0], message, modulus), a.parts[1])
    same(world.read(run.add_plain(x, plaintext)), Ciphertext(summed, a.level, a.scale))
    same(world.read(run.mul_plain(x, plaintext)), model.multiply_plain(a, message, world.scale))
    # A plaintext of a higher level serves a ciphertext of a lower one.
    low = run.drop_level(x, 1)
    expected = model.multiply_plain(model.drop_level(a, 1), message, world.scale)
    same(world.read(run.mul_plain(low, plaintext)), expected)
    constant = [round(0.3 * world.scale)] + [0] * (model.n - 1)
    same(world.read(run.mul_const(x, 0.3, scale=world.scale)), model.multiply_plain(a, constant, world.scale))
    shifted = (polynomial.add(a.parts[0], constant, modulus), a.parts[1])
    same(world.read(run.add_const(x, 0.3)), Ciphertext(shifted, a.level, a.scale))


def test_key_switching_at_every_level(world: World) -> None:
    run, model = world.evaluator, world.model
    relinearization = world.key(0)
    for level in range(world.top + 1):
        x, y = world.fresh(level), world.fresh(level)
        a, b = world.read(x), world.read(y)
        product = model.multiply(a, b)
        same(world.read(run.relinearize(run.mul(x, y))), model.relinearize(product, relinearization))
        for steps in (1, 3, *((2,) if level <= 1 else ())):
            g = model.rotation_element(steps)
            same(world.read(run.rotate(x, steps)), model.apply_galois(a, g, world.key(g)))
        g = 2 * model.n - 1
        same(world.read(run.conjugate(x)), model.apply_galois(a, g, world.key(g)))
        if level > 0:
            fused = model.multiply_relinearize_rescale(a, b, relinearization)
            same(world.read(run.mul_relin_rescale(x, y)), fused)
            fused = model.multiply_relinearize_rescale(a, a, relinearization)
            same(world.read(run.square_relin_rescale(x)), fused)


def test_hoisting_changes_nothing(world: World) -> None:
    x = world.fresh(world.top)
    together = world.evaluator.rotate_hoisted(x, [1, 0, 3])
    apart = [world.evaluator.rotate(x, steps) for steps in (1, 0, 3)]
    assert [ct.to_bytes() for ct in together[::2]] == [ct.to_bytes() for ct in apart[::2]]
    assert world.read(together[1]).parts == world.read(x).parts
    folded = world.evaluator.rotate_sum(x, [3, 1])
    step = world.evaluator.add(x, world.evaluator.rotate(x, 3))
    step = world.evaluator.add(step, world.evaluator.rotate(step, 1))
    assert folded.to_bytes() == step.to_bytes()


def test_every_cpu_path_gives_the_same_bytes() -> None:
    """Keys, encryptions and results, bit for bit, from one seed."""

    def transcript(cpu: str) -> list[bytes]:
        world = World("last digit shorter", cpu)
        x, y = world.fresh(world.top), world.fresh(world.top)
        run = world.evaluator
        results: list[Callable[[], _native.Ciphertext]] = [
            lambda: run.mul_relin_rescale(x, y),
            lambda: run.relinearize(run.mul(x, y)),
            lambda: run.rotate(x, 3),
            lambda: run.rescale(x),
            lambda: run.rotate_hoisted(y, [1, 3])[1],
        ]
        objects = [world.keys.to_bytes(), world.secret.public_key().to_bytes(), x.to_bytes()]
        return objects + [result().to_bytes() for result in results]

    expected = transcript("portable")
    for cpu in _native.cpu_paths():
        assert transcript(cpu) == expected, cpu
