"""Bytes from others: round trips, damage, lengths, and what is refused."""

import numpy as np
import pytest

from tacit import errors
from tacit._native import Ciphertext, EvaluationKeys, Evaluator, Parameters, PublicKey, SecretKey


def test_round_trips(
    params: Parameters, secret: SecretKey, keys: EvaluationKeys, evaluator: Evaluator
) -> None:
    seeded = secret.encrypt(params.encode([1.0]))
    for ct in (seeded, evaluator.neg(seeded), evaluator.square(seeded), evaluator.drop_level(seeded, 0)):
        data = ct.to_bytes()
        again = Ciphertext.from_bytes(params, data)
        assert again.to_bytes() == data
        assert (again.level, again.scale, again.degree) == (ct.level, ct.scale, ct.degree)
        assert (again.is_seeded, again.size_bytes) == (ct.is_seeded, len(data))
        for part in range(ct.degree + 1):
            assert np.array_equal(again.residues(part), ct.residues(part))
    assert seeded.is_seeded
    assert not evaluator.neg(seeded).is_seeded
    # Half the residues, at the bits of the primes: 50 + 40 + 40 bits for each coefficient.
    assert seeded.size_bytes == 40 + 12 + 32 + params.n * 130 // 8 + 16
    public = secret.public_key()
    assert PublicKey.from_bytes(params, public.to_bytes()).to_bytes() == public.to_bytes()
    data = keys.to_bytes()
    assert keys.size_bytes == len(data)
    again_keys = EvaluationKeys.from_bytes(params, data)
    assert again_keys.to_bytes() == data
    assert again_keys.rotations == keys.rotations == [1, 2]
    assert again_keys.galois_elements == keys.galois_elements == [5, 25, 2047]
    assert again_keys.has_conjugation and again_keys.has_relinearization
    assert again_keys.params_hash == params.hash


def test_level_trimmed_keys_are_smaller(params: Parameters, secret: SecretKey) -> None:
    low = secret.evaluation_keys(rotations={1: 0})
    high = secret.evaluation_keys(rotations=[1])
    assert 4 * low.size_bytes < high.size_bytes
    # Rotations of one class share a key at the highest level, the identity needs none.
    merged = secret.evaluation_keys(rotations={0: 2, 1: 0, 1 - params.slots: 2})
    assert merged.rotations == [1]
    assert merged.size_bytes == high.size_bytes
    assert secret.evaluation_keys().galois_elements == []


def test_every_flipped_bit_is_noticed(params: Parameters, secret: SecretKey) -> None:
    data = secret.encrypt(params.encode([1.0])).to_bytes()
    rng = np.random.default_rng(1)
    refusals = (errors.MalformedMessageError, errors.PeerIncompatibleError)
    positions = [*range(100), *rng.integers(100, len(data), 200)]
    for position in positions:
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(rng.integers(8))
        with pytest.raises(refusals):
            Ciphertext.from_bytes(params, bytes(damaged))


def test_lengths(params: Parameters, secret: SecretKey, keys: EvaluationKeys) -> None:
    for kind, data in (
        (Ciphertext, secret.encrypt(params.encode([1.0])).to_bytes()),
        (PublicKey, secret.public_key().to_bytes()),
        (EvaluationKeys, keys.to_bytes()),
        (SecretKey, secret.reveal_bytes()),
    ):
        for wrong in (b"", data[:1], data[:39], data[:60], data[:-1], data + b"\0", data + data):
            with pytest.raises(errors.MalformedMessageError):
                kind.from_bytes(params, wrong)


def test_kinds_and_versions(params: Parameters, secret: SecretKey) -> None:
    data = secret.encrypt(params.encode([1.0])).to_bytes()
    for kind in (PublicKey, EvaluationKeys, SecretKey):
        with pytest.raises(errors.MalformedMessageError):
            kind.from_bytes(params, data)
    with pytest.raises(errors.PeerIncompatibleError) as caught:
        Ciphertext.from_bytes(params, data[:4] + b"\2\0" + data[6:])
    assert "version 2" in str(caught.value)
    secure = Parameters.from_literal(12, [40, 30], [], log_scale=30)
    insecure = Parameters.insecure_from_literal(12, [40, 30], [], log_scale=30)
    assert secure.q == insecure.q
    assert secure != insecure
    with pytest.raises(errors.PeerIncompatibleError):
        SecretKey.from_bytes(secure, SecretKey.generate(insecure).reveal_bytes())


def test_parameters_compare_by_hash(params: Parameters) -> None:
    same = Parameters.insecure_from_literal(10, [50, 40, 40], [50], log_scale=40, cpu="portable")
    assert same == params
    assert hash(same) == hash(params)
    assert params != Parameters.insecure_from_literal(10, [50, 40, 40], [50], log_scale=30)
    assert params != "parameters"
    assert len({same, params}) == 1


def test_many_at_once(params: Parameters, secret: SecretKey) -> None:
    forms = [secret.encrypt(params.encode([float(k)])).to_bytes() for k in range(9)]
    for threads in (1, 2):
        read = Ciphertext.from_bytes_many(params, forms, threads=threads)
        assert [ct.to_bytes() for ct in read] == forms
        # The shorter form comes second, the damaged one first.
        damaged = forms[3][:-1] + bytes([forms[3][-1] ^ 1])
        with pytest.raises(errors.MalformedMessageError, match="damaged"):
            Ciphertext.from_bytes_many(params, [*forms, damaged, forms[0][:-1]], threads=threads)
    assert Ciphertext.from_bytes_many(params, []) == []
    with pytest.raises(errors.InvalidParameterError):
        Ciphertext.from_bytes_many(params, forms, threads=0)
