"""The door: how many connections one network address may have before anybody on them is known.

A connection counts from when it is accepted, its handshake included, until it ends or somebody on it is known: by a
token that was good, or by a client certificate. So one address cannot take all connections of a server, and those who
have access are not kept out by others behind the same address for longer than it takes to say who they are.
"""

from __future__ import annotations

import functools
import socket
import struct
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

from tacit.errors import InvalidParameterError
from tacit.service.access import network_of

__all__ = ["ADDRESS_CONNECTIONS", "Door", "Strangers"]

ADDRESS_CONNECTIONS = 64
"""Where nothing else is said, and the server does not listen for its own machine only."""

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: a connection that is refused leaves nothing behind in the kernel."""


class Strangers:
    """Connections on which nobody is known yet. ``limit``: of one network; ``refused``: is told why one was refused.

    What one network is: `access.network_of`. Used by one event loop.
    """

    def __init__(self, limit: int, *, refused: Callable[[str], None] = lambda reason: None) -> None:
        if limit < 1:
            raise InvalidParameterError("an address may have at least 1 connection")
        self._limit = limit
        self._refused = refused
        self._counts: Counter[str] = Counter()
        self._places: dict[tuple[str, int], str] = {}

    def __len__(self) -> int:
        return len(self._places)

    def enter(self, peer: tuple[str, int]) -> bool:
        """Counts a connection of host and port, unless its network has its part."""
        place = network_of(peer[0])
        if self._counts[place] >= self._limit:
            self._refused("too many connections of one address on which nobody is known")
            return False
        self.leave(peer)
        self._places[peer] = place
        self._counts[place] += 1
        return True

    def leave(self, peer: tuple[str, int]) -> None:
        """The connection ended, or who is there is known; it may be said twice."""
        place = self._places.pop(peer, None)
        if place is None:
            return
        self._counts[place] -= 1
        if not self._counts[place]:
            del self._counts[place]


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
        line, address = super().accept()
        peer = (str(address[0]), int(address[1]))
        if not self.strangers.enter(peer):
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            line.close()
            raise ConnectionAbortedError
        return _Line.of(line, functools.partial(self.strangers.leave, peer)), address


class _Line(socket.socket):
    """A connection that says when it ends."""

    _left: weakref.finalize[Any, _Line]

    @classmethod
    def of(cls, line: socket.socket, left: Callable[[], None]) -> _Line:
        made = cls(line.family, line.type, line.proto, fileno=line.detach())
        made._left = weakref.finalize(made, left)
        made._left.atexit = False
        return made

    def close(self) -> None:
        super().close()
        self._left()
