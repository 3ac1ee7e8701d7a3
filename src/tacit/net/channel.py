"""Messages among the parties of one session: what a protocol sees of the network, whichever network it is.

A channel joins a few named parties, each with each. A message is a list of buffers under a *tag*, the name of the step
that it belongs to; messages of one party arrive in the order in which it sent them, and a party that receives says
which tag must come next: parties that are out of step find out at once. One thread uses a channel at a time.

After any error the session is over: every later call raises the same error again, and the others are told why.
``channel_memory`` joins threads of one process, ``channel_tcp`` processes over mutual TLS.
"""

from __future__ import annotations

import abc
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from tacit.errors import (
    InvalidParameterError,
    PeerError,
    PeerMisbehavedError,
    ShapeError,
    TooLargeError,
)
from tacit.net.channel_faults import party_error

__all__ = [
    "MAX_BUFFERS",
    "MAX_PARTIES",
    "TAG_BYTES",
    "Buffer",
    "Bytes",
    "Channel",
    "Endpoint",
    "Limits",
    "Traffic",
    "checked_name",
    "checked_names",
    "empty_bytes",
    "tag_hash",
]

Buffer = npt.NDArray[Any] | bytes | bytearray | memoryview
Bytes = npt.NDArray[np.uint8]

MAX_PARTIES = 16
MAX_BUFFERS = 256
"""Buffers of one message."""
TAG_BYTES = 16
_ALIGNMENT = 64
_MOST_S, _MOST_BYTES = 1 << 20, 1 << 50
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long is waited and how much is taken. Seconds and bytes, all above zero.

    ``silence_s``: a party of which nothing is heard for so long is called dead; ``heartbeat_s``: how often a party
    shows that it lives, at most a fourth of that; ``operation_s``: for a message of a party that lives.
    The same at all parties, both; the others may differ.
    ``inbox_bytes``: of messages of one party that wait to be received; beyond that its messages stay on the wire.
    Raises ``InvalidParameterError``.
    """

    connect_s: float = 30.0
    operation_s: float = 600.0
    close_s: float = 5.0
    heartbeat_s: float = 0.25
    silence_s: float = 1.5
    message_bytes: int = 4 << 30
    inbox_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        for field in fields(self):
            most = _MOST_S if field.name.endswith("_s") else _MOST_BYTES
            if not 0 < getattr(self, field.name) <= most:
                raise InvalidParameterError(
                    f"the limit `{field.name}` of a channel is above 0 and at most {most}"
                )
        if self.heartbeat_s > self.silence_s / 4:
            raise InvalidParameterError(
                f"`heartbeat_s` is at most a fourth of `silence_s`. Got {self.heartbeat_s:g} s and "
                f"{self.silence_s:g} s instead.",
                hint="a party that is only late would be called dead",
            )


@dataclass
class Traffic:
    """What went between this party and one other. Bytes are those of buffers: without frames, TLS and heartbeats.

    ``rounds``: how often this party waited for a message of the other after it had itself sent one to anybody;
    messages that are received between two sends belong to one round.
    """

    sent_bytes: int = 0
    received_bytes: int = 0
    sent_messages: int = 0
    received_messages: int = 0
    rounds: int = 0


class Channel(Protocol):
    """One party's end of a session."""

    @property
    def name(self) -> str:
        """This party."""

    @property
    def parties(self) -> tuple[str, ...]:
        """All parties, this one too, in the order on which they agreed."""

    @property
    def traffic(self) -> Mapping[str, Traffic]:
        """Counters by peer."""

    @property
    def rounds(self) -> int:
        """How often this party went from sending to waiting, whoever it waited for."""

    def send(self, peer: str, tag: str, buffers: Sequence[Buffer]) -> None:
        """Sends a message and does not wait until it is gone: ``buffers`` are not changed before ``flush``.

        Raises ``ShapeError`` for an array that is not C-contiguous, ``TooLargeError`` beyond the limits, and
        ``PeerError`` when the session is over.
        """

    def receive(
        self,
        peer: str,
        tag: str,
        *,
        into: Sequence[npt.NDArray[Any]] | None = None,
        timeout_s: float | None = None,
    ) -> list[Bytes]:
        """The next message of ``peer``: one array of bytes for each buffer, 64-byte aligned, the receiver's own.

        ``into``: C-contiguous arrays that receive the buffers, which must have just these sizes; what is in them
        after an error is undefined. Raises ``PeerMisbehavedError`` where the next message has another tag or
        other sizes, ``PeerTimeoutError`` after ``timeout_s`` (by default ``Limits.operation_s``) or when the peer is
        silent, ``ConnectError`` when it is gone.
        """

    def exchange(
        self,
        tag: str,
        messages: Mapping[str, Sequence[Buffer]],
        *,
        sources: Iterable[str] | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, list[Bytes]]:
        """One round: a message to each key of ``messages``, then one of each of ``sources``, by default the same.

        The buffers may be changed when this returns. Raises as ``send`` and ``receive`` do.
        """

    def flush(self, *, timeout_s: float | None = None) -> None:
        """Waits until all messages are handed to the network: buffers may be changed. Raises ``PeerError``."""

    def abort(self, error: BaseException) -> None:
        """Ends the session and tells the others why: the code of ``error``, and its text where a peer is at fault."""

    def close(self) -> None:
        """Ends the session in order: what was sent arrives. Raises ``PeerError`` where it cannot."""


class Endpoint(abc.ABC):
    """What every channel does in the same way: checks, counters, rounds, and the end."""

    def __init__(self, name: str, parties: Sequence[str], limits: Limits) -> None:
        self._parties = checked_names(parties)
        if name not in self._parties:
            raise InvalidParameterError(
                f"`{name}` is none of the parties", hint="the contract's list of parties has to name this one"
            )
        self._name, self.limits = name, limits
        self._traffic = {party: Traffic() for party in self._parties if party != name}
        self._rounds, self._has_sent, self._round_of = 0, True, dict.fromkeys(self._traffic, 0)
        self._closed = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def parties(self) -> tuple[str, ...]:
        return self._parties

    @property
    def traffic(self) -> Mapping[str, Traffic]:
        return self._traffic

    @property
    def rounds(self) -> int:
        return self._rounds

    def send(self, peer: str, tag: str, buffers: Sequence[Buffer]) -> None:
        counters = self._counters(peer)
        if len(buffers) > MAX_BUFFERS:
            raise TooLargeError(f"a message has at most {MAX_BUFFERS} buffers. Got {len(buffers)} instead.")
        views = [_as_bytes(buffer) for buffer in buffers]
        size = sum(map(len, views))
        if size > self.limits.message_bytes:
            raise TooLargeError(
                f"a message has at most {self.limits.message_bytes} bytes. Got {size} instead.",
                hint="send it in several, or raise `message_bytes` at every party",
            )
        self._send(peer, tag_hash(tag), views)
        counters.sent_messages += 1
        counters.sent_bytes += size
        self._has_sent = True

    def receive(
        self,
        peer: str,
        tag: str,
        *,
        into: Sequence[npt.NDArray[Any]] | None = None,
        timeout_s: float | None = None,
    ) -> list[Bytes]:
        counters = self._counters(peer)
        if self._has_sent:
            self._rounds += 1
            self._has_sent = False
        targets = None if into is None else [_as_target(array) for array in into]
        allowed = self.limits.operation_s if timeout_s is None else timeout_s
        found, buffers = self._receive(peer, tag, targets, allowed)
        if found != tag_hash(tag):
            raise self._fail(
                party_error(
                    PeerMisbehavedError,
                    peer,
                    f"`{peer}` sent the message of another step than `{tag}`",
                    hint="the parties are out of step: compare versions, plans and inputs, and start again",
                )
            )
        if targets is not None:
            buffers = self._placed(peer, tag, buffers, targets)
        counters.received_messages += 1
        counters.received_bytes += sum(buffer.size for buffer in buffers)
        if self._round_of[peer] != self._rounds:
            self._round_of[peer] = self._rounds
            counters.rounds += 1
        return buffers

    def exchange(
        self,
        tag: str,
        messages: Mapping[str, Sequence[Buffer]],
        *,
        sources: Iterable[str] | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, list[Bytes]]:
        for peer, buffers in messages.items():
            self.send(peer, tag, buffers)
        wanted = messages if sources is None else sources
        found = {peer: self.receive(peer, tag, timeout_s=timeout_s) for peer in wanted}
        self.flush(timeout_s=timeout_s)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort(error)

    @abc.abstractmethod
    def flush(self, *, timeout_s: float | None = None) -> None: ...

    @abc.abstractmethod
    def abort(self, error: BaseException) -> None: ...

    @abc.abstractmethod
    def close(self) -> None: ...

    @abc.abstractmethod
    def _send(self, peer: str, tag: bytes, views: list[memoryview]) -> None: ...

    @abc.abstractmethod
    def _receive(
        self, peer: str, tag: str, targets: list[Bytes] | None, timeout_s: float
    ) -> tuple[bytes, list[Bytes]]: ...

    @abc.abstractmethod
    def _fail(self, error: PeerError) -> PeerError:
        """Ends the session for this reason, or finds that it had ended; gives the error to raise."""

    def _counters(self, peer: str) -> Traffic:
        if self._closed:
            raise InvalidParameterError("the channel is closed")
        try:
            return self._traffic[peer]
        except KeyError:
            raise InvalidParameterError(f"`{peer}` is no peer of `{self._name}` in this session") from None

    def _placed(self, peer: str, tag: str, buffers: list[Bytes], targets: list[Bytes]) -> list[Bytes]:
        """The targets, filled; a buffer that was read into its target is not copied."""
        if [buffer.size for buffer in buffers] != [target.size for target in targets]:
            raise self._fail(
                party_error(
                    PeerMisbehavedError,
                    peer,
                    f"`{peer}` sent buffers of other sizes than `{tag}` has",
                    hint="the parties disagree about a shape: compare versions and plans",
                )
            )
        for buffer, target in zip(buffers, targets, strict=True):
            if buffer is not target:
                target[:] = buffer
        return targets


def checked_names(parties: Sequence[str]) -> tuple[str, ...]:
    """The parties in their order. Raises ``InvalidParameterError``."""
    if not 2 <= len(parties) <= MAX_PARTIES or len(set(parties)) < len(parties):
        raise InvalidParameterError(f"a session has 2 to {MAX_PARTIES} parties of different names")
    return tuple(checked_name(party) for party in parties)


def checked_name(party: str) -> str:
    """The name of a party. Raises ``InvalidParameterError``."""
    if not _NAME.fullmatch(party):
        raise InvalidParameterError(
            "the name of a party has 1 to 64 letters, digits, dots, dashes and underscores, the first a letter or digit"
        )
    return party


@lru_cache(maxsize=1 << 14)
def tag_hash(tag: str) -> bytes:
    """What travels for a tag: 16 bytes of its SHA-256."""
    return hashlib.sha256(tag.encode()).digest()[:TAG_BYTES]


def empty_bytes(size: int) -> Bytes:
    """An array (size,) uint8 of undefined content that begins at a multiple of 64 bytes."""
    raw = np.empty(size + _ALIGNMENT, dtype=np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size]


def _as_bytes(buffer: Buffer) -> memoryview:
    if isinstance(buffer, np.ndarray):
        if not buffer.flags.c_contiguous or buffer.dtype.hasobject:
            raise ShapeError(
                "a buffer of a message is a C-contiguous array of numbers", hint="use `np.ascontiguousarray`"
            )
        return buffer.reshape(-1).view(np.uint8).data
    view = memoryview(buffer)
    return view if view.ndim == 1 and view.format == "B" else view.cast("B")


def _as_target(array: npt.NDArray[Any]) -> Bytes:
    if not array.flags.c_contiguous or not array.flags.writeable or array.dtype.hasobject:
        raise ShapeError("what receives a buffer is a C-contiguous array of numbers that can be written")
    return array.reshape(-1).view(np.uint8)
