"""An owner out of its own bytes: the same key, nothing else accepted."""

from __future__ import annotations

import numpy as np
import pytest

from tacit.backends.ckks.compiled import Compiled
from tacit.backends.ckks.envelope import open_envelope, seal
from tacit.backends.ckks.owner import Owner
from tacit.backends.ckks.provider import Provider
from tacit.errors import MalformedMessageError, PeerIncompatibleError
from tests.backends.dense import dense, samples
from tests.backends.reference import candidate_of

X = samples(60, 8)


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    return candidate_of(dense((8, 3), last="Softmax"), X).compile()


def test_a_restored_owner_decrypts_what_the_first_one_could(compiled: Compiled) -> None:
    provider = Provider(compiled)
    first = Owner(provider.public_plan())
    provider.load_keys(first.evaluation_keys())
    again = Owner.restore(provider.public_plan(), first.reveal_secret())
    assert again.key_id == first.key_id
    assert again.reveal_secret() == first.reveal_secret()
    response = provider.run(again.encrypt(X[:1]))
    bound = compiled.public.error_bound
    other = first.decrypt(provider.run(first.encrypt(X[:1])))
    assert np.abs(np.asarray(again.decrypt(response)) - np.asarray(other)).max() <= 2 * bound


def test_requests_of_the_first_owner_are_not_open_at_the_second(compiled: Compiled) -> None:
    provider = Provider(compiled)
    first = Owner(provider.public_plan())
    provider.load_keys(first.evaluation_keys())
    response = provider.run(first.encrypt(X[:1]))
    with pytest.raises(PeerIncompatibleError, match="no open request"):
        Owner.restore(provider.public_plan(), first.reveal_secret()).decrypt(response)


def test_the_secret_of_another_plan_is_refused(compiled: Compiled) -> None:
    other = candidate_of(dense((8, 3), last="Softmax"), X).compile()
    secret = Owner(other.public).reveal_secret()
    with pytest.raises(PeerIncompatibleError, match="another plan"):
        Owner.restore(compiled.public, secret)


def test_damaged_secrets_are_refused(compiled: Compiled) -> None:
    secret = Owner(compiled.public).reveal_secret()
    fields = open_envelope(secret, "secret")
    bad = [
        secret[:-1],
        secret + b"\0",
        bytes([*secret[:-40], secret[-40] ^ 1, *secret[-39:]]),
        seal("secret", {**fields, "key": fields["key"][:15]}),
        seal("secret", {**fields, "body": fields["body"][:-1]}),
        seal("secret", {**fields, "body": "text"}),
        seal("secret", {name: fields[name] for name in ("plan", "key")}),
        seal("keys", fields),
    ]
    for message in bad:
        with pytest.raises(MalformedMessageError):
            Owner.restore(compiled.public, message)
