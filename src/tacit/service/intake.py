"""Bodies on their way in: never more than a limit, never slower than a pace, and bounded in memory over all callers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tacit.errors import BusyError, MalformedMessageError, PeerTimeoutError, RateLimitError, TooLargeError

__all__ = ["Disconnected", "Intake", "pieces"]

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

IDLE_S = 10.0
"""A body that brings nothing for so long is given up. It is also the most by which a body may be ahead of ``PACE``."""
PACE = 16 << 10
"""Bytes per second that a body must bring. What came fast at first counts for ``IDLE_S``, not for ever after."""


class Disconnected(Exception):  # noqa: N818 - it is no error: nobody is there to be told
    """The caller went away before the request was complete."""


@dataclass
class Intake:
    """Bytes of bodies that are in memory at one time. ``capacity_bytes``: most of them; ``account_bytes``: of one
    account, a quarter where it is 0."""

    capacity_bytes: int
    account_bytes: int = 0
    held_bytes: int = field(default=0, init=False)
    _accounts: Counter[str] = field(default_factory=Counter, init=False)

    @contextmanager
    def hold(self, account: str) -> Iterator[Callable[[int], None]]:
        """Room for one body, given back at the end. What it gives takes more bytes, or raises ``RateLimitError`` where
        this account holds its part, ``BusyError`` where all is held."""
        taken, most = 0, self.account_bytes or max(1, self.capacity_bytes // 4)

        def take(count: int) -> None:
            nonlocal taken
            if self._accounts[account] + count > most:
                raise RateLimitError(
                    "this client has as many bytes on their way as it may",
                    retry_after_s=1.0,
                    hint="wait for answers before you send more",
                )
            if self.held_bytes + count > self.capacity_bytes:
                raise BusyError("too many large requests at once", retry_after_s=1.0)
            self.held_bytes += count
            self._accounts[account] += count
            taken += count

        try:
            yield take
        finally:
            self.held_bytes -= taken
            self._accounts[account] -= taken
            if self._accounts[account] <= 0:
                del self._accounts[account]


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
    got, due = 0, loop.time() + IDLE_S
    while True:
        try:
            async with asyncio.timeout_at(due):
                message = await receive()
        except TimeoutError:
            raise _slow() from None
        if message["type"] == "http.disconnect":
            raise Disconnected
        piece = message.get("body", b"")
        got += len(piece)
        if got > limit:
            raise _too_large(limit)
        now = loop.time()
        due = min(due + len(piece) / PACE, now + IDLE_S)
        if not message.get("more_body", False):
            if piece:
                yield piece
            return
        if now > due:
            raise _slow()
        if piece:
            yield piece
            due += loop.time() - now  # the time that a piece takes here is not the caller's


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(
        f"the body is larger than the {limit} bytes that are read here", hint="send fewer samples at a time"
    )


def _slow() -> PeerTimeoutError:
    return PeerTimeoutError("the body came too slowly", hint="check the network, and send it again")
