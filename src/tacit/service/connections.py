"""Connections that may not sit: how many there are, how long a header may take, how slowly an answer may be read.

uvicorn bounds none of the three. A request that has begun is the business of `intake` (its body) and of the endpoint.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable, Iterable
from typing import Any

from tacit.service.door import Connection
from tacit.service.log import Log
from tacit.service.peer import protocol

__all__ = [
    "HANDSHAKE_S",
    "HEADER_BYTES",
    "HEADER_S",
    "STALLED_S",
    "allow_connections",
    "guarded_protocol",
    "refusals",
    "sweep",
]

HANDSHAKE_S = 10.0
"""From the connection to the end of its TLS handshake."""

HEADER_S = 10.0
"""From the connection, or the first byte of a request, to the end of its header."""
HEADER_BYTES = 64 << 10
STALLED_S = 30.0
"""How long a caller may take nothing of an answer that waits for it."""


Attend = Callable[[tuple[str, int], Connection], None]


class _Guard:
    """Mixed into a protocol class of uvicorn, before it."""

    cycle: Any
    transport: asyncio.Transport
    connections: set[Any]
    limit = 1000
    attend: Attend

    _header_since: float | None = None
    _header_bytes = 0
    _unsent: tuple[int, float] = (0, 0.0)

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)  # type: ignore[misc]
        self._header_since = asyncio.get_running_loop().time()
        if len(self.connections) > self.limit:
            transport.abort()
            return
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.attend((str(peer[0]), int(peer[1])), self)

    def data_received(self, data: bytes) -> None:
        if self._waits() and self._header_since is None:
            self._header_since = asyncio.get_running_loop().time()
        self._header_bytes += len(data)
        super().data_received(data)  # type: ignore[misc]
        if not self._waits():
            self._header_since, self._header_bytes = None, 0
        elif self._header_bytes > HEADER_BYTES:
            self.transport.abort()

    def _waits(self) -> bool:
        """Whether the header of a request is what comes next."""
        return self.cycle is None or bool(self.cycle.response_complete)

    def is_idle(self) -> bool:
        """Whether no request is under way, and no answer waits to be read."""
        return self._waits() and not self.transport.get_write_buffer_size()

    def is_stuck(self, now: float) -> bool:
        """Whether a header takes too long, or nobody reads an answer."""
        if self._header_since is not None and now - self._header_since > HEADER_S:
            return True
        unsent = self.transport.get_write_buffer_size()
        before, since = self._unsent
        if not unsent or unsent != before:
            self._unsent = (unsent, now)
            return False
        return now - since > STALLED_S


def guarded_protocol(limit: int, attend: Attend = lambda peer, connection: None) -> type[asyncio.Protocol]:
    """The class for ``uvicorn.Config(http=…)``. ``limit``: connections at one time; more are cut off. ``attend``: is
    told host and port of each, and what answers on it."""
    return type("GuardedProtocol", (_Guard, protocol()), {"limit": limit, "attend": staticmethod(attend)})


def sweep(connections: Iterable[Any], now: float) -> int:
    """Ends connections that are stuck, and says how many. ``now``: time of the loop."""
    stuck = [connection for connection in connections if connection.is_stuck(now)]
    for connection in stuck:
        connection.transport.abort()
    return len(stuck)


def allow_connections(count: int) -> None:
    """Raises the limit of open files, as far as this process may, to what so many connections and handshakes take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 16 * count
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def refusals(
    log: Log, *, every_s: float = 1.0, clock: Callable[[], float] = time.monotonic
) -> Callable[[str], None]:
    """Logs why handshakes fail, one line in ``every_s`` seconds: who scans ports does not fill the disk."""
    last, skipped = float("-inf"), 0

    def refused(reason: str) -> None:
        nonlocal last, skipped
        now = clock()
        if now - last < every_s:
            skipped += 1
            return
        log.event("handshake", what=f"refused: {reason}", skipped=skipped)
        last, skipped = now, 0

    return refused
