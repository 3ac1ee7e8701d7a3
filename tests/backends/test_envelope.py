"""The reader of messages: one form only, limits, and no exception but its own."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.backends.ckks.envelope import open_envelope, read_cbor, seal
from tacit.errors import MalformedMessageError, PeerIncompatibleError, TacitError

ITEMS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(max_size=30)
    | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(["plan", "key", "id", "body"]), ITEMS))
def test_what_was_sealed_is_opened(fields: dict[str, object]) -> None:
    assert open_envelope(seal("request", fields), "request") == fields


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_else(data: bytes) -> None:
    try:
        item = read_cbor(data)
    except MalformedMessageError:
        return
    assert cbor2.loads(data) == item or item != item


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_flipped_bits_are_noticed(data: st.DataObject) -> None:
    message = bytearray(seal("keys", {"plan": bytes(32), "key": b"k" * 16, "body": b"b" * 40}))
    message[data.draw(st.integers(0, len(message) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(TacitError):
        open_envelope(bytes(message), "keys")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x5f\x41a\xff",  # indefinite length
        b"\x18\x05",  # 5 in two bytes
        b"\xc0\x60",  # a tag
        b"\xa2\x61b\x01\x61a\x01",  # keys out of order
        b"\xa2\x61a\x01\x61a\x01",  # a key twice
        b"\xa1\x01\x01",  # a key that is no text
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",  # a list of 2^64 - 1 items
        b"\x5b\x00\x00\x00\xff\xff\xff\xff\xff",  # a terabyte of bytes
        b"\x81" * 100,
        b"\x61\xff",  # not UTF-8
        b"\xf7",  # undefined
        b"\xf8\x20",
    ],
)
def test_other_forms_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        read_cbor(data)


def test_versions_and_kinds_are_checked() -> None:
    message = cbor2.loads(seal("keys", {}))
    with pytest.raises(PeerIncompatibleError):
        open_envelope(cbor2.dumps({**message, "v": 2}, canonical=True), "keys")
    with pytest.raises(MalformedMessageError):
        open_envelope(seal("keys", {}), "request")
    with pytest.raises(MalformedMessageError):
        open_envelope(cbor2.dumps([1]), "keys")
    with pytest.raises(MalformedMessageError):
        open_envelope("text", "keys")  # type: ignore[arg-type]


def test_damage_in_a_large_body_is_left_to_its_own_checksum() -> None:
    body = bytes(5000) + b"checksum of body"
    message = bytearray(seal("keys", {"body": body}))
    message[-1000] ^= 1
    assert open_envelope(bytes(message), "keys")["body"] != body
