"""BLAKE3 against published values, and the oracle's wire form against itself."""

from __future__ import annotations

import random

import pytest

from oracle.blake3 import blake3
from oracle.primes import chain
from oracle.randomness import CIPHERTEXT
from oracle.scheme import Ciphertext, Model, SwitchingKey
from oracle.wire import Wire, WireError

PRIMES = chain(4, (40, 30, 30, 40))
WIRE = Wire(Model(4, tuple(PRIMES[:3]), tuple(PRIMES[3:])), log_scale=30)


# Inputs are bytes 0, 1, …, 250, 0, 1, …; hashes from test_vectors.json of the BLAKE3 reference
# implementation.
@pytest.mark.parametrize(
    ("length", "start"),
    [
        (0, "af1349b9f5f9a1a6a0404dea36dcc949"),
        (1, "2d3adedff11b61f14c886e35afa03673"),
        (1024, "42214739f095a406f3fc83deb889744a"),
        (1025, "d00278ae47eb27b34faecf67b4fe263f"),
        (2049, "5f4d72f40d7a5f82b15ca2b2e44b1de3"),
    ],
)
def test_blake3(length: int, start: str) -> None:
    assert blake3(bytes(i % 251 for i in range(length))).hex()[:32] == start


def test_every_object_round_trips() -> None:
    rng = random.Random(1)
    model = WIRE.model
    seed = bytes(range(32))
    a = WIRE.expanded(seed, CIPHERTEXT, 0, [0, 1, 2])
    ct = Ciphertext(([rng.randrange(model.modulus(2)) for _ in range(16)], a), 2, 2.0**30)
    assert WIRE.read_ciphertext(WIRE.ciphertext(ct)) == ct
    seeded = WIRE.ciphertext(ct, seed=seed)
    assert len(seeded) < len(WIRE.ciphertext(ct)) and WIRE.read_ciphertext(seeded) == ct
    s = [rng.choice((-1, 0, 1)) for _ in range(16)]
    assert WIRE.read_secret_key(WIRE.secret_key(s)) == s
    big = model.modulus(1) * model.special
    halves = [WIRE.expanded(seed, 3, j, WIRE.key_primes(1)) for j in range(2)]
    key = SwitchingKey(tuple(([rng.randrange(big) for _ in range(16)], half) for half in halves), 1)
    assert WIRE.read_evaluation_keys(WIRE.evaluation_keys(None, {5: (seed, key)})) == {5: key}
    with pytest.raises(WireError):
        WIRE.read_ciphertext(seeded[:-1] + bytes([seeded[-1] ^ 1]))
