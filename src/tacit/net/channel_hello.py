"""What both ends of a connection say first, under TLS, and what they must agree on: pure, no I/O.

A hello is ``tacitchn``, the version (2 bytes), the length of what follows (2 bytes), and then, in version 1: the id of
the session (16), the hash of the plan (32), the milliseconds between heartbeats and those of silence (4 each), the
numbers of the party that speaks, of the party it speaks to, and of the direction of this connection (1 each), the
number of parties (1), and their names in order, each after its length (1).
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass

from tacit.errors import InvalidParameterError, MalformedMessageError, PeerError, PeerIncompatibleError
from tacit.net.channel_faults import party_error

__all__ = [
    "FROM_DIALER",
    "PREFIX_BYTES",
    "TO_DIALER",
    "Hello",
    "body_length",
    "disagreement",
    "read_hello",
    "write_hello",
]

FROM_DIALER, TO_DIALER = 0, 1
"""Direction of a connection: who dials has two of them, one for what it sends and one for what it receives."""

_PREFIX = struct.Struct(">8sHH")
_BODY = struct.Struct(">16s32sIIBBBB")
_MAGIC = b"tacitchn"
_VERSION = 1
_MAX_BODY_BYTES = 4096
PREFIX_BYTES = _PREFIX.size


@dataclass(frozen=True)
class Hello:
    """What one side believes. ``session``: 16 bytes; ``plan``: 32; ``speaker`` and ``listener``: index of a party."""

    session: bytes
    plan: bytes
    heartbeat_ms: int
    silence_ms: int
    parties: tuple[str, ...]
    speaker: int
    listener: int
    direction: int
    version: int = _VERSION

    def __post_init__(self) -> None:
        if len(self.session) != 16 or len(self.plan) != 32:
            raise InvalidParameterError("the id of a session has 16 bytes, the hash of a plan 32")


def write_hello(hello: Hello) -> bytes:
    """The hello as bytes."""
    names = b"".join(bytes([len(name)]) + name.encode() for name in hello.parties)
    ends = (hello.speaker, hello.listener, hello.direction, len(hello.parties))
    body = _BODY.pack(hello.session, hello.plan, hello.heartbeat_ms, hello.silence_ms, *ends) + names
    return _PREFIX.pack(_MAGIC, hello.version, len(body)) + body


def body_length(prefix: bytes, peer: str) -> int:
    """Length of what follows a prefix. Raises ``MalformedMessageError``; of another version it is told, too."""
    magic, _, length = _PREFIX.unpack(prefix)
    if magic != _MAGIC or length > _MAX_BODY_BYTES:
        raise _malformed(peer)
    return int(length)


def read_hello(message: bytes, peer: str) -> Hello:
    """Reads a hello strictly. Raises ``PeerIncompatibleError`` for another version, else ``MalformedMessageError``."""
    if len(message) < PREFIX_BYTES or len(message) != PREFIX_BYTES + body_length(
        message[:PREFIX_BYTES], peer
    ):
        raise _malformed(peer)
    _, version, _ = _PREFIX.unpack_from(message)
    if version != _VERSION:
        raise party_error(
            PeerIncompatibleError,
            peer,
            f"`{peer}` speaks version {version} of the channel. This side speaks version {_VERSION}.",
            hint="install the same version of Tacit at every party",
        )
    try:
        session, plan, heartbeat, silence, speaker, listener, direction, count = _BODY.unpack_from(
            message, PREFIX_BYTES
        )
        names, at = [], PREFIX_BYTES + _BODY.size
        for _ in range(count):
            length = message[at]
            names.append(message[at + 1 : at + 1 + length].decode("ascii"))
            at += 1 + length
    except (struct.error, IndexError, UnicodeDecodeError):
        raise _malformed(peer) from None
    if at != len(message) or direction not in (FROM_DIALER, TO_DIALER):
        raise _malformed(peer)
    return Hello(session, plan, heartbeat, silence, tuple(names), speaker, listener, direction)


def disagreement(mine: Hello, theirs: Hello, peer: str) -> PeerError | None:
    """What both sides do not agree on, the first of it, or None. Both sides find the same."""
    if set(mine.parties) != set(theirs.parties):
        return _differs(peer, "has other parties in its contract", "give every party the same contract")
    if mine.parties != theirs.parties:
        return _differs(
            peer, "has the parties in another order", "the order says who holds which share: use one contract"
        )
    if not hmac.compare_digest(mine.plan, theirs.plan):
        return _differs(
            peer,
            f"has another plan: {theirs.plan.hex()[:12]}…, here it is {mine.plan.hex()[:12]}…",
            "compile once and give every party the same plan, or install the same version of Tacit",
        )
    if mine.session != theirs.session:
        return _differs(
            peer,
            "is in another session",
            "start all parties for the same job; one may be left from an older one",
        )
    if (mine.heartbeat_ms, mine.silence_ms) != (theirs.heartbeat_ms, theirs.silence_ms):
        return _differs(
            peer,
            f"beats every {theirs.heartbeat_ms} ms and allows {theirs.silence_ms} ms of silence, here it is "
            f"{mine.heartbeat_ms} ms and {mine.silence_ms} ms",
            "give every party the same `heartbeat_s` and `silence_s`: one would be called dead",
        )
    if (theirs.speaker, theirs.listener) != (mine.listener, mine.speaker):
        return _differs(
            peer,
            "takes itself or this party for another one than its certificate says",
            "compare the names and fingerprints in the contracts of both",
        )
    return None


def _differs(peer: str, what: str, hint: str) -> PeerIncompatibleError:
    return party_error(PeerIncompatibleError, peer, f"`{peer}` {what}", hint=hint)


def _malformed(peer: str) -> MalformedMessageError:
    return party_error(
        MalformedMessageError,
        peer,
        f"`{peer}` did not begin with a hello of this protocol",
        hint="check host and port in the contract, and its version of Tacit",
    )
