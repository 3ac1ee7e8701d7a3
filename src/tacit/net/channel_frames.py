"""The form of what travels between two parties, and its strict reader. No I/O.

Each direction is a sequence of frames, numbered from 0. A frame is a head and a body; integers are big-endian:

| bytes | head |
|---|---|
| 4 | ``tfrm`` |
| 1 | version, 1 |
| 1 | kind: 1 message, 2 part, 3 heartbeat, 4 abort, 5 close |
| 2 | buffers of the message (else 0) |
| 16 | id of the session |
| 8 | sequence number |
| 16 | hash of the tag (message and part, else zeros) |
| 8 | length of the body |

The body of a *message* is the table of its buffers' sizes (8 bytes each) and the first MiB of what is in them, or
all of it; *parts* of one MiB follow, the last one may be shorter. So a party can say within a MiB why it ends. The
body of an *abort* is three texts, each after its length in 2 bytes: code, party, reason. There is one form of each
message.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from tacit.errors import (
    MalformedMessageError,
    PeerError,
    PeerIncompatibleError,
    PeerMisbehavedError,
    ReplayError,
)
from tacit.net.channel import MAX_BUFFERS, TAG_BYTES, Bytes, empty_bytes
from tacit.net.channel_faults import party_error

__all__ = [
    "ABORT",
    "CLOSE",
    "HEAD",
    "HEARTBEAT",
    "PART_BYTES",
    "VERSION",
    "Frame",
    "FrameReader",
    "abort_frame",
    "frames_of",
]

VERSION = 1
MESSAGE, PART, HEARTBEAT, ABORT, CLOSE = 1, 2, 3, 4, 5
PART_BYTES = 1 << 20
"""Bytes of buffers that one frame carries."""
HEAD = struct.Struct(">4sBBH16sQ16sQ")

_MAGIC = b"tfrm"
_NO_TAG = bytes(TAG_BYTES)
_MAX_ABORT_BYTES = 2048
_STAGE_BYTES = 1 << 16
_CHECK = "ask for its version and its log; something between the parties cannot do this under TLS"


@dataclass(frozen=True)
class Frame:
    """A frame without its number: it is numbered when its turn comes. ``body``: views, never copied here."""

    kind: int
    tag: bytes = _NO_TAG
    count: int = 0
    body: tuple[bytes | memoryview, ...] = ()

    def head(self, session: bytes, sequence: int) -> bytes:
        length = sum(map(len, self.body))
        return HEAD.pack(_MAGIC, VERSION, self.kind, self.count, session, sequence, self.tag, length)


def frames_of(tag: bytes, views: list[memoryview]) -> list[Frame]:
    """The frames of one message."""
    table = struct.pack(f">{len(views)}Q", *map(len, views))
    if sum(map(len, views)) <= PART_BYTES:
        return [Frame(MESSAGE, tag, len(views), (table, *views))]
    frames, body, room = [], [], PART_BYTES
    for view in views:
        while len(view):
            body.append(view[:room])
            view, room = view[len(body[-1]) :], room - len(body[-1])
            if not room:
                frames.append(body)
                body, room = [], PART_BYTES
    if body:
        frames.append(body)
    first, *rest = frames
    return [
        Frame(MESSAGE, tag, len(views), (table, *first)),
        *(Frame(PART, tag, 0, tuple(part)) for part in rest),
    ]


def abort_frame(reason: tuple[str, str, str]) -> Frame:
    """Why this party ends the session: code, party, text."""
    texts = [text.encode(errors="replace")[:500] for text in reason]
    return Frame(ABORT, body=tuple(struct.pack(">H", len(text)) + text for text in texts))


class FrameReader:
    """Reads the frames of one peer: bytes go into ``space()``, ``advance`` takes note of how many.

    ``inbox``: messages that are complete, as (hash of the tag, buffers); ``inbox_bytes``: of their buffers.
    ``reason``: of the peer's abort, once it came; ``closed``: whether the peer took its leave.
    ``expected``: arrays (size,) uint8 for the next message; they are filled where the sizes are the same.
    After an error the reader is of no use. Errors name ``peer``.
    """

    def __init__(self, peer: str, session: bytes, *, message_bytes: int) -> None:
        self.peer, self.inbox, self.inbox_bytes = peer, deque[tuple[bytes, list[Bytes]]](), 0
        self.reason: tuple[str, str, str] | None = None
        self.closed = False
        self.expected: list[Bytes] | None = None
        self._session, self._message_bytes, self._sequence = session, message_bytes, 0
        self._stage = memoryview(bytearray(_STAGE_BYTES))
        self._begin = self._end = 0
        self._tag, self._buffers, self._left = _NO_TAG, list[Bytes](), 0
        self._targets, self._target, self._in_frame = deque[memoryview](), memoryview(b""), 0

    @property
    def within(self) -> bool:
        """Whether a message or a frame has begun and not ended."""
        return self._left > 0 or self._end > self._begin

    @property
    def in_bulk(self) -> bool:
        """Whether what comes next goes into an array and not through the stage."""
        return self._in_frame > 0

    def space(self) -> memoryview:
        """Where the next bytes go; never empty."""
        if self._in_frame:
            return self._target[: self._in_frame]
        if self._begin == self._end:
            self._begin = self._end = 0
        elif self._end == _STAGE_BYTES or self._begin > _STAGE_BYTES // 2:
            rest = self._end - self._begin
            self._stage[:rest] = bytes(self._stage[self._begin : self._end])
            self._begin, self._end = 0, rest
        return self._stage[self._end :]

    def advance(self, size: int) -> None:
        """``size`` bytes were written to ``space()``. Raises the error that they deserve."""
        if self._in_frame:
            self._filled(size)
        else:
            self._end += size
        while not self._in_frame and self._end - self._begin >= HEAD.size:
            if not self._frame():
                break

    def pop(self) -> tuple[bytes, list[Bytes]]:
        """The oldest message."""
        tag, buffers = self.inbox.popleft()
        self.inbox_bytes -= sum(buffer.size for buffer in buffers)
        return tag, buffers

    def _frame(self) -> bool:
        """Reads a frame from the stage, if enough of it is there: of a message the head and the table."""
        magic, version, kind, count, session, sequence, tag, length = HEAD.unpack_from(
            self._stage, self._begin
        )
        if magic != _MAGIC:
            raise self._malformed("bytes that are no frame")
        if version != VERSION:
            raise party_error(
                PeerIncompatibleError,
                self.peer,
                f"`{self.peer}` sent a frame of version {version}. This side speaks version {VERSION}.",
                hint="install the same version of Tacit at every party",
            )
        if session != self._session:
            raise party_error(
                PeerMisbehavedError, self.peer, f"`{self.peer}` sent a frame of another session", hint=_CHECK
            )
        if sequence != self._sequence:
            before = sequence < self._sequence
            raise party_error(
                ReplayError if before else PeerMisbehavedError,
                self.peer,
                f"`{self.peer}` sent frame {sequence} {'again' if before else 'too early'}; "
                f"number {self._sequence} is next",
                hint=_CHECK,
            )
        if self.closed or self.reason is not None:
            raise self._malformed("a frame after its last one")
        at = self._begin + HEAD.size
        if kind == MESSAGE:
            if count > MAX_BUFFERS or self._left or length < 8 * count:
                raise self._malformed("the head of a message that cannot be")
            if self._end - at < 8 * count:
                return False
            sizes = struct.unpack_from(f">{count}Q", self._stage, at)
            at += 8 * count
            self._open(tag, sizes, length - 8 * count)
        elif count or (kind != PART and tag != _NO_TAG):
            raise self._malformed("a head with fields that its kind has not")
        elif kind == PART:
            if not self._left or tag != self._tag or length != min(self._left, PART_BYTES):
                raise self._malformed("a part that belongs to no message")
            self._in_frame = length
        elif kind == ABORT:
            if length > _MAX_ABORT_BYTES:
                raise self._malformed("an abort that is too long")
            if self._end - at < length:
                return False
            self.reason = self._texts(bytes(self._stage[at : at + length]))
            at += length
        elif kind in (HEARTBEAT, CLOSE) and not length:
            if kind == CLOSE and self._left:
                raise self._malformed("its leave in the middle of a message")
            self.closed = kind == CLOSE
        else:
            raise self._malformed("a frame of a kind or length that there is not")
        self._begin = at
        self._sequence += 1
        self._take()
        return True

    def _open(self, tag: bytes, sizes: tuple[int, ...], first: int) -> None:
        """Makes room for a message. Memory is taken as bytes arrive, not by what the head claims."""
        total = sum(sizes)
        if total > self._message_bytes:
            raise party_error(
                MalformedMessageError,
                self.peer,
                f"`{self.peer}` announced a message of {total} bytes. At most {self._message_bytes} are taken.",
                hint="raise `message_bytes` if the plan needs it",
            )
        if first != min(total, PART_BYTES):
            raise self._malformed("a message whose length is not that of its buffers")
        expected, self.expected = self.expected, None
        fits = expected is not None and not self.inbox and [array.size for array in expected] == list(sizes)
        self._buffers = expected if fits and expected is not None else [empty_bytes(size) for size in sizes]
        self._targets = deque(buffer.data for buffer in self._buffers if buffer.size)
        self._target = self._targets.popleft() if self._targets else memoryview(b"")
        self._tag, self._left, self._in_frame = tag, total, first
        if not total:
            self._complete()

    def _take(self) -> None:
        """Moves what is in the stage to where it belongs."""
        while self._in_frame and self._begin < self._end:
            size = min(self._end - self._begin, self._in_frame, len(self._target))
            self._target[:size] = self._stage[self._begin : self._begin + size]
            self._begin += size
            self._filled(size)

    def _filled(self, size: int) -> None:
        """``size`` bytes of the current buffer are in place."""
        self._in_frame -= size
        self._left -= size
        self._target = self._target[size:]
        if not len(self._target) and self._targets:
            self._target = self._targets.popleft()
        if not self._left:
            self._complete()

    def _complete(self) -> None:
        self.inbox.append((self._tag, self._buffers))
        self.inbox_bytes += sum(buffer.size for buffer in self._buffers)
        self._buffers = []

    def _texts(self, body: bytes) -> tuple[str, str, str]:
        found = list(self._walk(body))
        if len(found) != 3:
            raise self._malformed("an abort that is not three texts")
        return found[0], found[1], found[2]

    def _walk(self, body: bytes) -> Iterator[str]:
        at = 0
        while at < len(body):
            end = at + 2 + int.from_bytes(body[at : at + 2], "big")
            if at + 2 > len(body) or end > len(body):
                raise self._malformed("an abort that is truncated")
            yield body[at + 2 : end].decode(errors="replace")
            at = end

    def _malformed(self, what: str) -> PeerError:
        return party_error(MalformedMessageError, self.peer, f"`{self.peer}` sent {what}", hint=_CHECK)
