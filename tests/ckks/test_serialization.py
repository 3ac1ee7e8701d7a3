"""Vectors and keys as bytes, and bytes that are none."""

from __future__ import annotations

import numpy as np
import pytest

from tacit import ckks
from tacit.errors import MalformedMessageError, PeerIncompatibleError

X = np.array([1.0, -2.0, 3.0])


def test_two_sides(keys: ckks.Keys, params: ckks.Parameters) -> None:
    """The evaluator gets bytes only."""
    provider = ckks.Evaluator(params, keys.evaluation.to_bytes(), threads=2)
    x = provider.load(keys.encrypt(X).serialize())
    answer = (x * x + x.sum()).serialize()
    assert np.allclose(keys.decrypt(keys.load(answer)), X**2 + X.sum(), rtol=0, atol=1e-6)


def test_keys_are_restored(keys: ckks.Keys, params: ckks.Parameters) -> None:
    secret, public, evaluation = (
        keys.secret.reveal_bytes(),
        keys.public.to_bytes(),
        keys.evaluation.to_bytes(),
    )
    again = ckks.Keys.restore(params, secret=secret, public=public, evaluation=evaluation)
    assert np.allclose(keys.decrypt(again.encrypt(X).square()), X**2, rtol=0, atol=1e-6)
    assert np.allclose(again.decrypt(keys.encrypt(X, public=True)), X, rtol=0, atol=1e-6)
    with pytest.raises(MalformedMessageError):
        ckks.Keys.restore(params, secret=public, public=public, evaluation=evaluation)


def test_a_fresh_vector_is_half_a_ciphertext(keys: ckks.Keys, params: ckks.Parameters) -> None:
    fresh, computed = keys.encrypt(X), -keys.encrypt(X)
    residues = sum(q.bit_length() for q in params.native.q) * params.n // 8
    assert residues < len(fresh.serialize()) < residues + 200
    assert 2 * residues < len(computed.serialize()) < 2 * residues + 200
    assert keys.load(fresh.serialize()).serialize() == fresh.serialize()
    assert fresh.size_bytes < len(fresh.serialize()) < fresh.size_bytes + 24


def test_bytes_do_not_tell_the_size_of_values(keys: ckks.Keys) -> None:
    assert len(keys.encrypt(X).serialize()) == len(keys.encrypt(1000 * X).serialize())
    assert keys.encrypt(1000 * X).serialize()[:12] == keys.encrypt(X).serialize()[:12]


@pytest.mark.parametrize("length", [0, 5, 11, 12, 40, 1000, -1])
def test_truncated(keys: ckks.Keys, length: int) -> None:
    with pytest.raises(MalformedMessageError):
        keys.load(keys.encrypt(X).serialize()[:length])


def test_every_flipped_bit_of_both_ends_is_noticed(keys: ckks.Keys) -> None:
    data = keys.encrypt(X).serialize()
    for bit in (*range(8 * 80), *range(8 * (len(data) - 32), 8 * len(data))):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((MalformedMessageError, PeerIncompatibleError)):
            keys.load(bytes(changed))


def test_tampered_anywhere(keys: ckks.Keys) -> None:
    data = keys.encrypt(X).serialize()
    rng = np.random.default_rng(3)
    for position in rng.integers(76, len(data), 25):
        changed = bytearray(data)
        changed[position] ^= 1 << int(rng.integers(8))
        with pytest.raises(MalformedMessageError):
            keys.load(bytes(changed))


def test_a_product_without_relinearization_is_no_vector(keys: ckks.Keys) -> None:
    x = keys.encrypt(X)
    product = keys.evaluator.native.mul(x.native, x.native)
    data = ckks.Vector(keys.evaluator, product, size=3, noise=x.noise).serialize()
    with pytest.raises(MalformedMessageError, match="degree 2"):
        keys.load(data)


def test_evaluation_keys_of_other_parameters(params: ckks.Parameters) -> None:
    other = ckks.keygen(ckks.Parameters.from_literal(ckks.N13_DEPTH2))
    with pytest.raises(PeerIncompatibleError):
        ckks.Evaluator(params, other.evaluation.to_bytes())
