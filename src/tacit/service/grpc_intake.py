"""Messages of gRPC on their way in: who asks is known before a byte is read, and few are read at a time.

The library hands a message over when it is whole, and says nothing of it before. So neither its pace nor its bytes can
be watched as those of a body of REST (`intake`): what is bounded is how many messages come in at once, over all callers
and for each, and for how long. Nothing is read of a call that has no turn; HTTP/2 makes its sender wait.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tacit.errors import BusyError, PeerTimeoutError, RateLimitError

__all__ = ["ACCOUNT_CALLS", "CALLS", "Turns"]

CALLS = 256
"""Calls at a time; the library refuses more as soon as they begin."""
ACCOUNT_CALLS = 64
TURNS, ACCOUNT_TURNS = 8, 2
"""Messages that are read at a time, of all callers and of one account."""
PATIENCE_S = 10.0
"""What a message may take while others wait for its turn, and how long a call waits for one."""
PACE = 1 << 20
"""Bytes per second at which the largest message would have to come, where nobody waits."""


@dataclass(eq=False)
class _Turn:
    account: str
    since_s: float
    limit: asyncio.Timeout


@dataclass(kw_only=True)
class Turns:
    """Turns to read a message of at most ``max_bytes``. Used by one event loop."""

    max_bytes: int
    turns: int = TURNS
    account_turns: int = ACCOUNT_TURNS
    account_calls: int = ACCOUNT_CALLS
    patience_s: float = PATIENCE_S
    _calls: Counter[str] = field(default_factory=Counter, init=False)
    _running: list[_Turn] = field(default_factory=list, init=False)
    _waiting: list[tuple[str, asyncio.Future[None]]] = field(default_factory=list, init=False)
    _given: Counter[str] = field(default_factory=Counter, init=False)
    """Turns of each account, those included that were given and have not begun."""

    @contextmanager
    def call(self, account: str) -> Iterator[None]:
        """One call of an account, from its beginning to its end. Raises ``RateLimitError`` for too many."""
        if self._calls[account] >= self.account_calls:
            raise RateLimitError(
                f"this client has {self.account_calls} calls at a time, and may not have more",
                retry_after_s=1.0,
                hint="wait for answers before you send more",
            )
        self._calls[account] += 1
        try:
            yield
        finally:
            _less(self._calls, account)

    async def read(self, account: str, message: Callable[[], Awaitable[bytes]]) -> bytes:
        """A message, read in its turn. Raises ``BusyError`` where none comes, ``PeerTimeoutError`` for a slow one."""
        await self._turn(account)
        try:
            now = asyncio.get_running_loop().time()
            async with asyncio.timeout_at(now + self.patience_s + self.max_bytes / PACE) as limit:
                turn = _Turn(account, now, limit)
                self._running.append(turn)
                self._press()
                try:
                    return await message()
                finally:
                    self._running.remove(turn)
        except TimeoutError:
            raise PeerTimeoutError(
                "the message came too slowly", hint="check the network, or send it over REST"
            ) from None
        finally:
            self._give_back(account)

    async def _turn(self, account: str) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (account, place)
        self._waiting.append(waiter)
        self._hand_out()
        self._press()
        try:
            # A slow message ends when its time is up, and one more wait is for the turns before this one.
            async with asyncio.timeout(2 * self.patience_s):
                await place
        except BaseException as error:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif place.done() and not place.cancelled():
                self._give_back(account)  # it came in the moment in which nobody wanted it any more
            if isinstance(error, TimeoutError):
                raise BusyError("too many messages come in at once", retry_after_s=1.0) from None
            raise

    def _hand_out(self) -> None:
        """Gives free turns to whoever waits longest and has not its part already."""
        for waiter in list(self._waiting):
            account, place = waiter
            if self._given.total() >= self.turns:
                return
            if place.done():
                self._waiting.remove(waiter)
            elif self._given[account] < self.account_turns:
                self._waiting.remove(waiter)
                self._given[account] += 1
                place.set_result(None)

    def _give_back(self, account: str) -> None:
        _less(self._given, account)
        self._hand_out()

    def _press(self) -> None:
        """Where others wait, messages that take long get no more than ``patience_s``."""
        loop = asyncio.get_running_loop()
        for turn in self._running if self._waiting else ():
            due, set_to = turn.since_s + self.patience_s, turn.limit.when()
            if set_to is not None and due < set_to:
                turn.limit.reschedule(max(due, loop.time()))


def _less(counts: Counter[str], account: str) -> None:
    counts[account] -= 1
    if counts[account] <= 0:
        del counts[account]
