"""Secrets do not print, compare, copy or pickle."""

import copy
import pickle

import numpy as np
import pytest

from tacit import errors
from tacit._native import Parameters, SecretKey


def test_secret_keys_stay_closed(params: Parameters) -> None:
    key = SecretKey.generate(params)
    assert repr(key) == str(key) == f"<SecretKey n={params.n}>"
    assert "insecure" in repr(SecretKey.insecure_from_seed(params, bytes(32)))
    for refused in (
        lambda: key == key,
        lambda: key != SecretKey.generate(params),
        lambda: pickle.dumps(key),
        lambda: copy.copy(key),
        lambda: copy.deepcopy(key),
    ):
        with pytest.raises(errors.UsageError):
            refused()
    with pytest.raises(TypeError):
        hash(key)
    with pytest.raises(AttributeError):
        key.note = 1  # type: ignore[attr-defined]


def test_nothing_pickles(params: Parameters, secret: SecretKey) -> None:
    plaintext = params.encode([1.0])
    for thing in (params, plaintext, secret.encrypt(plaintext), secret.public_key()):
        with pytest.raises(TypeError):
            pickle.dumps(thing)


def test_representations_show_no_content(params: Parameters, secret: SecretKey) -> None:
    plaintext = params.encode([0.123456789])
    assert repr(plaintext) == "<Plaintext level=2 scale=2^40.000>"
    assert repr(secret.encrypt(plaintext)) == "<Ciphertext degree=1 level=2 scale=2^40.000>"
    assert repr(params) == "<insecure Parameters n=1024 levels=3 log_qp=180.0 log_scale=40>"
    assert repr(secret.public_key()) == "<PublicKey n=1024>"


def test_revealed_bytes_restore_the_key(params: Parameters) -> None:
    key = SecretKey.generate(params)
    again = SecretKey.from_bytes(params, key.reveal_bytes())
    values = np.linspace(-1, 1, params.slots)
    decrypted = again.decrypt(key.encrypt(params.encode(values)))
    assert np.abs(params.decode_real(decrypted) - values).max() < 1e-7


def test_randomness_is_fresh(params: Parameters) -> None:
    first, second = SecretKey.generate(params), SecretKey.generate(params)
    assert first.reveal_bytes() != second.reveal_bytes()
    plaintext = params.encode([1.0])
    assert first.encrypt(plaintext).to_bytes() != first.encrypt(plaintext).to_bytes()
    public = first.public_key()
    assert public.to_bytes() != first.public_key().to_bytes()
    assert public.encrypt(plaintext).to_bytes() != public.encrypt(plaintext).to_bytes()


def test_seeded_keys_repeat(params: Parameters) -> None:
    plaintext = params.encode([1.0])

    def transcript(seed: int) -> list[bytes]:
        key = SecretKey.insecure_from_seed(params, bytes([seed] * 32))
        public = key.public_key()
        return [
            key.reveal_bytes(),
            public.to_bytes(),
            key.encrypt(plaintext).to_bytes(),
            public.encrypt(plaintext).to_bytes(),
            key.evaluation_keys(rotations=[1], relinearize=1).to_bytes(),
        ]

    assert transcript(1) == transcript(1)
    assert not set(transcript(1)) & set(transcript(2))


def test_a_wrong_key_decrypts_nothing(params: Parameters, secret: SecretKey) -> None:
    plaintext = SecretKey.generate(params).decrypt(secret.encrypt(params.encode([1.0])))
    assert np.abs(params.decode_real(plaintext)).max() > 1e3
