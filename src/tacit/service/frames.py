"""Frames between the processes of one server: whole packets over a Unix socket, large bodies through memory files.

A packet of a ``SOCK_SEQPACKET`` socket is one canonical CBOR map. A body of more than 32 KiB does not pass through the
socket's buffer: it is written once into an anonymous memory file, whose descriptor travels with the packet, and read
once at the other end. Nothing is unpickled; sizes are limited and held against what really arrived, so that no end
makes the other allocate more than it sent.
"""

from __future__ import annotations

import array
import os
import socket
from dataclasses import dataclass, field
from typing import Any

import cbor2

from tacit.backends.ckks.envelope import read_cbor
from tacit.errors import MalformedMessageError

__all__ = ["MAX_BODY_BYTES", "Frame", "Stored", "pair", "receive", "send"]

MAX_HEAD_BYTES = 1 << 16
MAX_BODY_BYTES = 1 << 31
"""Largest body: 2 GiB."""
MAX_DESCRIPTORS = 4
_INLINE_BYTES = 1 << 15
_PACKET_BYTES = MAX_HEAD_BYTES + _INLINE_BYTES
_BUFFER_BYTES = 4 * _PACKET_BYTES


class Stored:
    """A body in an anonymous memory file: written and read once, by a thread where an event loop must not wait.

    Eight million bytes take some milliseconds each way, mostly for fresh pages.
    """

    def __init__(self, file: int, size: int) -> None:
        self._file = file
        self._size = size

    def __len__(self) -> int:
        return self._size

    @property
    def file(self) -> int:
        return self._file

    @staticmethod
    def of(body: bytes | memoryview) -> Stored:
        file = os.memfd_create("tacit-body", os.MFD_CLOEXEC)
        try:
            rest = memoryview(body)
            while rest:
                rest = rest[os.write(file, rest) :]
        except BaseException:
            os.close(file)
            raise
        return Stored(file, len(body))

    def read(self) -> bytes:
        """The body; the file stays open. Read and not mapped: one that shrinks hurts nobody."""
        if os.fstat(self._file).st_size != self._size:
            raise MalformedMessageError("a frame does not hold the body that it announces")
        parts = []
        offset = 0
        while offset < self._size:
            part = os.pread(self._file, self._size - offset, offset)
            if not part:
                raise MalformedMessageError("the body of a frame shrank while it was read")
            parts.append(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Frees the memory; a second call does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        """For a body that nobody came for, such as one whose reader was cancelled."""
        self.close()


@dataclass(frozen=True)
class Frame:
    """``kind`` says which ``fields`` there are. ``descriptors``: open files that go along, the receiver's to close."""

    kind: str
    fields: dict[str, Any] = field(default_factory=dict)
    body: bytes | Stored = b""
    descriptors: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return f"<Frame {self.kind} body={len(self.body)}>"

    def content(self) -> bytes:
        """The body, read; its memory file is closed."""
        if isinstance(self.body, bytes):
            return self.body
        try:
            return self.body.read()
        finally:
            self.body.close()


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection, with room for a few packets in each direction."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    return ends


def send(end: socket.socket, frame: Frame) -> None:
    """Sends one frame; a socket that does not block raises ``BlockingIOError`` when the other end reads nothing.

    Raises ``MalformedMessageError`` for what is over the limits, ``OSError`` when the other end is gone.
    """
    if len(frame.body) > MAX_BODY_BYTES:
        raise MalformedMessageError(f"a frame carries at most {MAX_BODY_BYTES} bytes")
    body = frame.body
    stored = Stored.of(body) if isinstance(body, bytes) and len(body) > _INLINE_BYTES else None
    held = body if isinstance(body, Stored) else stored
    head = {
        "kind": frame.kind,
        "fields": frame.fields,
        "size": len(body),
        "body": body if held is None else None,
    }
    try:
        packet = cbor2.dumps(head, canonical=True)
        if len(packet) > _PACKET_BYTES:
            raise MalformedMessageError(f"the fields of a frame take at most {MAX_HEAD_BYTES} bytes")
        socket.send_fds(end, [packet], [*frame.descriptors, *([] if held is None else [held.file])])
    finally:
        if stored is not None:
            stored.close()


def receive(
    end: socket.socket,
    *,
    max_body_bytes: int = MAX_BODY_BYTES,
    waits: bool = True,
    reads_bytes: int = MAX_BODY_BYTES,
) -> Frame | None:
    """The next frame; ``None`` when the other end has closed. A body over ``reads_bytes`` is left in its memory file.

    Without ``waits`` raises ``BlockingIOError`` if nothing is there. Raises ``MalformedMessageError`` for what ``send``
    does not make, and for a body over ``max_body_bytes``.
    """
    flags = socket.MSG_CMSG_CLOEXEC | (0 if waits else socket.MSG_DONTWAIT)
    try:
        packet, descriptors, got = _received(end, flags)
    except ConnectionResetError:
        return None
    try:
        if not packet and not descriptors:
            return None
        if got & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise MalformedMessageError("a packet between two processes was cut short")
        head = read_cbor(packet)
        if not isinstance(head, dict) or set(head) != {"kind", "fields", "size", "body"}:
            raise MalformedMessageError("a packet between two processes has other fields than a frame")
        kind, fields, size, body = head["kind"], head["fields"], head["size"], head["body"]
        if type(kind) is not str or type(fields) is not dict or type(size) is not int:
            raise MalformedMessageError("a field of a frame is of a wrong type")
        if not 0 <= size <= max_body_bytes:
            raise MalformedMessageError(f"a frame announces a body of more than {max_body_bytes} bytes")
        if body is None and descriptors:
            body = Stored(descriptors.pop(), size)
            if size <= reads_bytes:
                try:
                    content = body.read()
                finally:
                    body.close()
                body = content
        elif type(body) is not bytes or len(body) != size:
            raise MalformedMessageError("a frame does not hold the body that it announces")
        return Frame(kind, fields, body, _taken(descriptors))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _received(end: socket.socket, flags: int) -> tuple[bytes, list[int], int]:
    """A packet, its descriptors, and what the kernel says of it; ``socket.recv_fds`` loses the flags it is given."""
    descriptors = array.array("i")
    room = socket.CMSG_SPACE(MAX_DESCRIPTORS * descriptors.itemsize)
    packet, notes, got, _ = end.recvmsg(_PACKET_BYTES + 1, room, flags)
    for level, kind, data in notes:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return packet, list(descriptors), got


def _taken(descriptors: list[int]) -> tuple[int, ...]:
    """Hands descriptors over to the frame."""
    result = tuple(descriptors)
    descriptors.clear()
    return result
