"""The door: how many connections one network address may have before anybody on them is known.

A connection counts from when it is accepted, its handshake included, until it ends or somebody on it is known: by a
token that was good, or by a client certificate. So one address cannot take all connections of a server. Where an
address has its part, whoever comes next takes the place of the oldest connection of that address on which nothing is
under way: connections that only stay there keep nobody out. Who opens them faster than others behind the same address
can say who they are does, and so do, where nobody is ever known, as many requests under way.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import struct
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from tacit.errors import InvalidParameterError
from tacit.service.access import network_of

__all__ = ["ADDRESS_CONNECTIONS", "Connection", "Door", "Stranger", "Strangers"]

ADDRESS_CONNECTIONS = 64
"""Where nothing else is said, and the server does not listen for its own machine only."""

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: a connection that is refused leaves nothing behind in the kernel."""


class Connection(Protocol):
    """What answers on a connection."""

    def is_idle(self) -> bool:
        """Whether no request is under way, and no answer waits to be read."""


class Stranger:
    """A connection on which nobody is known. ``cut``: ends it."""

    def __init__(self, cut: Callable[[], None]) -> None:
        self.cut = cut
        self.answering: Callable[[], Connection | None] = lambda: None

    def is_idle(self) -> bool:
        """As ``Connection.is_idle``; true before anything answers, as it is during a handshake."""
        found = self.answering()
        return found is None or found.is_idle()


class Strangers:
    """Connections on which nobody is known yet. ``limit``: of one network; ``refused``: is told when it is reached.

    What one network is: `access.network_of`. Used by one event loop.
    """

    def __init__(self, limit: int, *, refused: Callable[[str], None] = lambda reason: None) -> None:
        if limit < 1:
            raise InvalidParameterError("an address may have at least 1 connection")
        self._limit = limit
        self._refused = refused
        self._networks: dict[str, dict[tuple[str, int], Stranger]] = {}
        """Of each network, the oldest first."""
        self._places: dict[tuple[str, int], str] = {}

    def __len__(self) -> int:
        return len(self._places)

    def enter(self, peer: tuple[str, int], cut: Callable[[], None] = lambda: None) -> Stranger | None:
        """Counts a connection of host and port. ``cut``: ends it, and is called at most once.

        Where its network has its part, the oldest of it that is idle is cut; where none is idle, this gives ``None``.
        """
        self.leave(peer)
        place = network_of(peer[0])
        present = self._networks.get(place, {})
        if len(present) >= self._limit:
            self._refused("too many connections of one address on which nobody is known")
            oldest = next((other for other, stranger in present.items() if stranger.is_idle()), None)
            if oldest is None:
                return None
            end = present[oldest].cut
            self.leave(oldest)
            end()
        found = Stranger(cut)
        self._networks.setdefault(place, {})[peer] = found
        self._places[peer] = place
        return found

    def attend(self, peer: tuple[str, int], connection: Connection) -> None:
        """Says what answers on a connection. It is not kept alive by that."""
        place = self._places.get(peer)
        if place is not None:
            self._networks[place][peer].answering = weakref.ref(connection)

    def leave(self, peer: tuple[str, int], stranger: Stranger | None = None) -> None:
        """The connection ended, or who is there is known; it may be said twice. ``stranger``: it and no other that has
        come from the same host and port since."""
        place = self._places.get(peer)
        if place is None:
            return
        present = self._networks[place]
        if stranger is not None and present[peer] is not stranger:
            return
        del self._places[peer], present[peer]
        if not present:
            del self._networks[place]


class Door(socket.socket):
    """A socket that listens, and accepts what ``strangers`` let in."""

    strangers: Strangers

    @classmethod
    def of(cls, bound: socket.socket, strangers: Strangers) -> Door:
        """Takes the place of a socket that was bound."""
        door = cls(bound.family, bound.type, bound.proto, fileno=bound.detach())
        door.strangers = strangers
        return door

    def accept(self) -> tuple[socket.socket, Any]:
        """Raises ``ConnectionAbortedError`` for a connection that was refused, which event loops take for none."""
        accepted, address = super().accept()
        peer = (str(address[0]), int(address[1]))
        line = _Line(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        stranger = self.strangers.enter(peer, functools.partial(_cut, weakref.ref(line)))
        if stranger is None:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            line.close()
            raise ConnectionAbortedError
        line.left = weakref.finalize(line, self.strangers.leave, peer, stranger)
        line.left.atexit = False
        return line, address


class _Line(socket.socket):
    """A connection that says when it ends."""

    left: weakref.finalize[Any, _Line] | None = None

    def close(self) -> None:
        super().close()
        if self.left is not None:
            self.left()


def _cut(found: weakref.ref[_Line]) -> None:
    """Ends a connection under the transport that has it, which then finds the end of the stream and closes it."""
    line = found()
    if line is not None:
        with contextlib.suppress(OSError):  # it has ended by itself
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            line.shutdown(socket.SHUT_RDWR)
