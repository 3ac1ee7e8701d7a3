"""The messages between owner and provider: canonical CBOR maps with a digest, read strictly and within limits.

A message is the map {v, kind, …, digest}. ``digest`` is BLAKE2b (16 bytes) of the same map without it. In requests,
responses and keys every byte string of more than 4,096 bytes is replaced by its last 16 bytes for that: ciphertexts and
keys end in a checksum of their own, so nothing is hashed twice. Both detect damage and mix-ups;
against an adversary messages travel in an authenticated
channel.

The reader takes the subset of RFC 8949 that the writer makes (shortest forms, sorted keys, no tags, no indefinite
lengths) and refuses the rest, so a message has one form only and no input makes it allocate more than it received.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from typing import Any

import cbor2

from tacit.errors import MalformedMessageError, PeerIncompatibleError

__all__ = ["MAX_MESSAGE_BYTES", "VERSION", "open_envelope", "read_cbor", "seal"]

VERSION = 1
MAX_MESSAGE_BYTES = 1 << 32
"""Largest message that is read: 4 GiB."""
MAX_ITEMS = 1 << 20
MAX_DEPTH = 12
CHECKSUMMED = frozenset({"request", "response", "keys"})
"""Kinds of messages whose large byte strings carry their own checksum."""
_LARGE = 4096


def seal(kind: str, fields: Mapping[str, Any]) -> bytes:
    """The message of a kind. Fields: integers, floats, text, bytes, lists, maps with text keys, booleans, None."""
    message = {"v": VERSION, "kind": kind, **fields}
    return cbor2.dumps({**message, "digest": _digest(message)}, canonical=True)


def open_envelope(data: bytes, kind: str) -> dict[str, Any]:
    """The fields of a message of one kind.

    Raises ``MalformedMessageError`` for what ``seal`` does not make, ``PeerIncompatibleError`` for another version.
    """
    message = read_cbor(data)
    if not isinstance(message, dict):
        raise MalformedMessageError("the message is not a map")
    version = message.pop("v", None)
    if type(version) is not int:
        raise MalformedMessageError("the message has no version")
    if version != VERSION:
        raise PeerIncompatibleError(
            f"the message has version {version}. This side speaks version {VERSION}.",
            hint="install the same version of Tacit on both sides",
        )
    found = message.pop("kind", None)
    if found != kind:
        raise MalformedMessageError(f"expected a message of kind `{kind}` and got another kind")
    digest = message.pop("digest", None)
    if digest != _digest({"v": version, "kind": kind, **message}):
        raise MalformedMessageError(
            f"the digest of the `{kind}` message does not match: it was damaged or changed"
        )
    return message


def _digest(message: Mapping[str, Any]) -> bytes:
    checksummed = message["kind"] in CHECKSUMMED
    short = cbor2.dumps(_shortened(message) if checksummed else message, canonical=True)
    return hashlib.blake2b(short, digest_size=16, person=b"tacit envelope").digest()


def _shortened(item: Any) -> Any:
    if isinstance(item, bytes) and len(item) > _LARGE:
        return item[-16:]
    if isinstance(item, Mapping):
        return {key: _shortened(value) for key, value in item.items()}
    if isinstance(item, list | tuple):
        return [_shortened(value) for value in item]
    return item


def read_cbor(data: bytes) -> Any:
    """One item of the strict subset, the whole of ``data``. Raises ``MalformedMessageError``."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise MalformedMessageError(f"a message is bytes. Got {type(data).__name__} instead.")
    if len(data) > MAX_MESSAGE_BYTES:
        raise MalformedMessageError(f"a message has at most {MAX_MESSAGE_BYTES} bytes")
    reader = _Reader(bytes(data))
    item = reader.item(0)
    if reader.position != len(reader.data):
        raise MalformedMessageError("bytes follow the end of the message")
    return item


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.items = 0

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.data):
            raise MalformedMessageError("the message is truncated")
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def head(self) -> tuple[int, int]:
        """Major type and argument, in the shortest form only (floats apart, which are 8 bytes)."""
        first = self.take(1)[0]
        major, info = first >> 5, first & 31
        if info < 24:
            return major, info
        if info > 27:
            raise MalformedMessageError("the message uses an indefinite or reserved length")
        width = 1 << (info - 24)
        value = int.from_bytes(self.take(width), "big")
        if major != 7 and value < (24, 1 << 8, 1 << 16, 1 << 32)[info - 24]:
            raise MalformedMessageError("a length of the message is not in its shortest form")
        if major == 7:
            return 8 + width, value
        return major, value

    def item(self, depth: int) -> Any:
        self.items += 1
        if depth > MAX_DEPTH or self.items > MAX_ITEMS:
            raise MalformedMessageError("the message is nested too deeply or has too many items")
        major, argument = self.head()
        match major:
            case 0:
                return argument
            case 1:
                return -1 - argument
            case 2:
                return self.take(argument)
            case 3:
                try:
                    return self.take(argument).decode("utf-8")
                except UnicodeDecodeError:
                    raise MalformedMessageError("the message holds text that is not UTF-8") from None
            case 4:
                return [self.item(depth + 1) for _ in range(self.count(argument))]
            case 5:
                return self.map(argument, depth)
            case 7 if argument in (20, 21, 22):
                return {20: False, 21: True, 22: None}[argument]
            case 16:
                return struct.unpack(">d", argument.to_bytes(8, "big"))[0]
            case 12:
                return struct.unpack(">f", argument.to_bytes(4, "big"))[0]
            case 10:
                return struct.unpack(">e", argument.to_bytes(2, "big"))[0]
        raise MalformedMessageError("the message holds an item of a kind that no message has")

    def count(self, argument: int) -> int:
        if argument > len(self.data) - self.position:
            raise MalformedMessageError("the message is truncated")
        return argument

    def map(self, argument: int, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        last: tuple[int, bytes] = (0, b"")
        for index in range(self.count(argument)):
            key = self.item(depth + 1)
            if not isinstance(key, str):
                raise MalformedMessageError("keys of a map of the message are text")
            order = (len(key.encode()), key.encode())
            if index and order <= last:
                raise MalformedMessageError("keys of a map of the message are not in order, or occur twice")
            last = order
            result[key] = self.item(depth + 1)
        return result
