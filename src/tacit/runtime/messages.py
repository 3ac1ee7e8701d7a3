"""What a party and whoever gives it work tell each other: a map in CBOR, and arrays of words beside it as they are.

A message is ``tjob``, the length of the head (4 bytes, big-endian), the head, and the arrays. The head is a map of
texts to plain values; under ``arrays`` it has the shape of each array, which is little-endian uint64 on the wire.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from math import prod
from typing import Any

import cbor2
import numpy as np

from tacit import errors
from tacit.backends.mpc.steps import Words
from tacit.errors import ConnectError, InternalError, MalformedMessageError, PeerError, TacitError

__all__ = ["HEAD_BYTES", "MAX_ARRAYS_BYTES", "Message", "error_of", "facts_of", "receive", "send"]

HEAD_BYTES = 64 << 20
"""Longest head: it may carry a program, which has no weights."""
MAX_ARRAYS_BYTES = 64 << 30
_PREFIX = struct.Struct(">4sI")
_MAGIC = b"tjob"
_MAX_DEPTH, _MAX_RANK, _MAX_ARRAYS = 8, 16, 1 << 16
_CODES: dict[str, type[TacitError]] = {
    value.code: value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, TacitError)
}


@dataclass
class Message:
    """``facts``: plain values under texts. ``arrays``: words, in any shapes."""

    kind: str
    facts: dict[str, Any] = field(default_factory=dict)
    arrays: list[Words] = field(default_factory=list)


def send(end: socket.socket, kind: str, facts: Mapping[str, Any], arrays: Sequence[Words] = ()) -> None:
    """Writes one message. Raises ``OSError`` where the other side is gone."""
    shapes = [list(array.shape) for array in arrays]
    head = cbor2.dumps({"kind": kind, "facts": dict(facts), "arrays": shapes})
    if len(head) > HEAD_BYTES:
        raise InternalError("a message of a party has too long a head")
    end.sendall(_PREFIX.pack(_MAGIC, len(head)) + head)
    for array in arrays:
        if array.size:
            end.sendall(np.ascontiguousarray(array, dtype="<u8").reshape(-1).view(np.uint8).data)


def receive(
    end: socket.socket, *, head_bytes: int = HEAD_BYTES, arrays_bytes: int = MAX_ARRAYS_BYTES
) -> Message | None:
    """The next message, or None at the end. Raises ``MalformedMessageError``, ``ConnectError`` and ``OSError``."""
    prefix = bytearray(_PREFIX.size)
    if not _fill(end, memoryview(prefix), may_end=True):
        return None
    magic, length = _PREFIX.unpack(prefix)
    if magic != _MAGIC or length > head_bytes:
        raise MalformedMessageError("what arrived is no message of a party")
    body = bytearray(length)
    _fill(end, memoryview(body))
    kind, facts, shapes = _head(bytes(body))
    if 8 * sum(map(prod, shapes)) > arrays_bytes:
        raise MalformedMessageError("a message has more words than are taken")
    arrays = []
    for shape in shapes:
        array = np.empty(shape, dtype=np.uint64)
        _fill(end, array.reshape(-1).view(np.uint8).data)
        arrays.append(array if sys.byteorder == "little" else array.byteswap())
    return Message(kind, facts, arrays)


def facts_of(error: BaseException) -> dict[str, Any]:
    """An error as plain values. The text of one that nobody foresaw stays here: only its kind is told."""
    if not isinstance(error, TacitError):
        return {"code": "internal", "text": f"this should not happen: {type(error).__name__}", "hint": ""}
    facts = {"code": error.code, "text": str(error), "hint": error.hint}
    return {**facts, "party": error.party} if isinstance(error, PeerError) else facts


def error_of(facts: Mapping[str, Any]) -> TacitError:
    """The error that another process tells."""
    kind = _CODES.get(str(facts.get("code")), TacitError)
    text, hint = str(facts.get("text", "")), str(facts.get("hint", ""))
    error = kind.__new__(kind)
    TacitError.__init__(error, text, hint=hint)
    if isinstance(error, PeerError):
        error.party = str(facts.get("party", ""))
    return error


def _head(body: bytes) -> tuple[str, dict[str, Any], list[tuple[int, ...]]]:
    stream = BytesIO(body)
    try:
        head = cbor2.CBORDecoder(stream, tag_hook=_no_tag).decode()
    except Exception:
        raise MalformedMessageError("the head of a message is no CBOR") from None
    if stream.read(1) or not isinstance(head, dict) or set(head) != {"kind", "facts", "arrays"}:
        raise MalformedMessageError("the head of a message has another form")
    kind, facts, shapes = head["kind"], head["facts"], head["arrays"]
    if not (isinstance(kind, str) and isinstance(facts, dict) and isinstance(shapes, list)):
        raise MalformedMessageError("the head of a message has another form")
    _check_plain(facts, _MAX_DEPTH)
    if len(shapes) > _MAX_ARRAYS or not all(map(_is_shape, shapes)):
        raise MalformedMessageError("a message has an array of a shape that there is not")
    return kind, facts, [tuple(shape) for shape in shapes]


def _is_shape(shape: object) -> bool:
    return (
        isinstance(shape, list)
        and len(shape) <= _MAX_RANK
        and all(type(size) is int and 0 <= size < 1 << 40 for size in shape)
    )


def _check_plain(value: object, depth: int) -> None:
    if depth and isinstance(value, dict) and all(isinstance(key, str) for key in value):
        for item in value.values():
            _check_plain(item, depth - 1)
    elif depth and isinstance(value, list):
        for item in value:
            _check_plain(item, depth - 1)
    elif not (value is None or type(value) in (str, bytes, int, float, bool)):
        raise MalformedMessageError("a message has a value that is not plain")


def _no_tag(*_: object) -> None:
    raise MalformedMessageError("a message has a tag of CBOR")


def _fill(end: socket.socket, view: memoryview, *, may_end: bool = False) -> bool:
    filled = 0
    while filled < len(view):
        size = end.recv_into(view[filled:], min(len(view) - filled, 1 << 24))
        if not size:
            if may_end and not filled:
                return False
            raise ConnectError("the other side ended within a message", hint="look at its log")
        filled += size
    return True
