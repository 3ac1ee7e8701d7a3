"""Bodies on their way in: never more than a limit, never slower than a pace, and bounded in memory over all callers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tacit.errors import BusyError, MalformedMessageError, PeerTimeoutError, TooLargeError

__all__ = ["Disconnected", "Intake", "pieces"]

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

IDLE_S = 10.0
"""A body that brings nothing for so long is given up."""
PACE = 16 << 10
"""Bytes per second that a body must bring on the whole, once it has had ``IDLE_S``."""


class Disconnected(Exception):  # noqa: N818 - it is no error: nobody is there to be told
    """The caller went away before the request was complete."""


@dataclass
class Intake:
    """Bytes of bodies that are in memory at one time. ``capacity_bytes``: most of them."""

    capacity_bytes: int
    held_bytes: int = field(default=0, init=False)

    @contextmanager
    def hold(self) -> Iterator[Callable[[int], None]]:
        """Room for one body, given back at the end. What it gives takes more bytes, or raises ``BusyError``."""
        taken = 0

        def take(count: int) -> None:
            nonlocal taken
            if self.held_bytes + count > self.capacity_bytes:
                raise BusyError("too many large requests at once", retry_after_s=1.0)
            self.held_bytes += count
            taken += count

        try:
            yield take
        finally:
            self.held_bytes -= taken


async def pieces(receive: Receive, *, declared: str | None, limit: int) -> AsyncIterator[bytes]:
    """The body of an ASGI request, piece by piece.

    ``declared``: the header `Content-Length`, or ``None``. ``limit``: bytes; more are refused before they are read
    where they are declared, else when they come. Raises ``TooLargeError``, ``PeerTimeoutError`` for a body that stalls,
    and ``Disconnected``.
    """
    if declared is not None and not (declared.isascii() and declared.isdigit() and len(declared) < 16):
        raise MalformedMessageError("`Content-Length` is not a number")
    if declared is not None and int(declared) > limit:
        raise _too_large(limit)
    loop = asyncio.get_running_loop()
    start, got = loop.time(), 0
    while True:
        try:
            async with asyncio.timeout(IDLE_S):
                message = await receive()
        except TimeoutError:
            raise _slow() from None
        if message["type"] == "http.disconnect":
            raise Disconnected
        piece = message.get("body", b"")
        got += len(piece)
        if got > limit:
            raise _too_large(limit)
        if loop.time() - start > IDLE_S + got / PACE:
            raise _slow()
        if piece:
            yield piece
        if not message.get("more_body", False):
            return


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(
        f"the body is larger than the {limit} bytes that are read here", hint="send fewer samples at a time"
    )


def _slow() -> PeerTimeoutError:
    return PeerTimeoutError("the body came too slowly", hint="check the network, and send it again")
