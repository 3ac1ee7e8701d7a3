"""Bytes between two processes: framed, limited in length, with a peer that may die at any moment.

A frame is kind (1 byte), service (1 byte), length of the body (8 bytes, big endian), body. Nothing in a frame is ever
unpickled. While one side works it says so every quarter of a second, so that silence means trouble.
"""

from __future__ import annotations

import contextlib
import enum
import os
import select
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from tacit.errors import MalformedMessageError, PeerError

__all__ = ["MAX_BODY_BYTES", "Frame", "Kind", "Pipe"]

HEADER = struct.Struct(">BBQ")
MAX_BODY_BYTES = 1 << 30
CHUNK_BYTES = 1 << 20
HEARTBEAT_S = 0.25


class Kind(enum.IntEnum):
    """What a frame carries. Questions go to the provider, answers and failures come back."""

    OFFER = 1
    KEYS = 2
    REQUEST = 3
    LEDGER = 4
    ANSWER = 16
    FAILURE = 17
    ALIVE = 18


@dataclass(frozen=True)
class Frame:
    """One message. ``service`` says which of the provider's plans it is about, 0 to 255."""

    kind: Kind
    service: int
    body: bytes


class Pipe:
    """One end of two pipes. Not for use from several threads, but for `working`.

    ``peer``: who is at the other end, for messages. ``silence_s``: how long the other end may say nothing while a frame
    is awaited or cannot be delivered; None waits for ever.
    """

    def __init__(self, reading: int, writing: int, *, peer: str, silence_s: float | None) -> None:
        self.reading, self.writing = reading, writing
        self.peer, self.silence_s = peer, silence_s
        self.sending = threading.Lock()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)

    def send(self, frame: Frame) -> None:
        """Send one frame; raises PeerError when the other end is gone or does not take it."""
        if len(frame.body) > MAX_BODY_BYTES:
            raise MalformedMessageError(
                f"a frame of {len(frame.body)} bytes is over the limit of {MAX_BODY_BYTES}"
            )
        with self.sending:
            self.write(HEADER.pack(frame.kind, frame.service, len(frame.body)))
            self.write(frame.body)

    def receive(self) -> Frame | None:
        """The next frame that is not a sign of life; None when the other end closed between two frames."""
        while True:
            header = self.read(HEADER.size, may_end=True)
            if header is None:
                return None
            number, service, length = HEADER.unpack(header)
            if number not in Kind.__members__.values():
                raise MalformedMessageError(f"{self.peer} sent a frame of unknown kind {number}")
            if length > MAX_BODY_BYTES:
                raise MalformedMessageError(
                    f"{self.peer} announced {length} bytes, over the limit of {MAX_BODY_BYTES}"
                )
            body = self.read(length) or b""
            if number != Kind.ALIVE:
                return Frame(Kind(number), service, body)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Send signs of life while the block runs."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(HEARTBEAT_S):
                with contextlib.suppress(PeerError):
                    self.send(Frame(Kind.ALIVE, 0, b""))

        heart = threading.Thread(target=beat, daemon=True)
        heart.start()
        try:
            yield
        finally:
            done.set()
            heart.join()

    def read(self, count: int, *, may_end: bool = False) -> bytes | None:
        """Exactly `count` bytes; None at the end of the stream if it `may_end` here."""
        parts: list[bytes] = []
        missing = count
        while missing:
            if not select.select([self.reading], [], [], self.silence_s)[0]:
                raise self.silent()
            part = os.read(self.reading, min(missing, CHUNK_BYTES))
            if not part:
                if may_end and missing == count:
                    return None
                raise PeerError(
                    f"{self.peer} ended in the middle of a message", hint="start it again and retry"
                )
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            if not select.select([], [self.writing], [], self.silence_s)[1]:
                raise self.silent()
            try:
                rest = rest[os.write(self.writing, rest[:CHUNK_BYTES]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise PeerError(f"{self.peer} is gone", hint="start it again and retry") from None

    def silent(self) -> PeerError:
        return PeerError(
            f"{self.peer} has been silent for {self.silence_s:g} s", hint="is it stopped or overloaded?"
        )
