"""Each request once: the ids of authentic requests are remembered for as long as their time stamps are accepted.

A request is accepted when its time is within the window around this machine's clock, and its id was not seen. Ids
are forgotten only together with the right to be accepted: whatever was sent before the youngest id that was
forgotten, or before this server's start, is refused, whichever way the clock was set meanwhile.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable

from tacit.errors import BusyError, ClockSkewError, RateLimitError, ReplayError
from tacit.net.envelope import Request

__all__ = ["WINDOW_MS", "ReplayWindow", "wall_clock_ms"]

WINDOW_MS = 120_000
"""How far the time of a request may be from this machine's, either way."""
CAPACITY = 200_000
"""Ids that are remembered, of all owners; about 100 bytes each."""
CAPACITY_OF_ONE = 20_000
"""Ids of one owner."""


def wall_clock_ms() -> int:
    """Milliseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000


class ReplayWindow:
    """Safe to use from several threads. ``started_ms``: when this server started; by default now."""

    def __init__(
        self,
        *,
        clock_ms: Callable[[], int] = wall_clock_ms,
        started_ms: int | None = None,
        capacity: int = CAPACITY,
        capacity_of_one: int = CAPACITY_OF_ONE,
    ) -> None:
        self._clock_ms = clock_ms
        self._floor_ms = clock_ms() if started_ms is None else started_ms
        """Nothing that was sent before this is accepted."""
        self._capacity, self._capacity_of_one = capacity, capacity_of_one
        self._lock = threading.Lock()
        self._seconds: dict[int, dict[bytes, str]] = {}
        """Second in which a request was sent, to the ids of that second and their owners."""
        self._counts: Counter[str] = Counter()
        self._owners: dict[str, str] = {}
        """One text for all ids of an owner: a text of its own would be half of what an id takes."""
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def admit(self, owner: str, request: Request) -> None:
        """Accept an authentic request of ``owner``, once.

        Raises ``ClockSkewError`` outside the window, ``ReplayError`` for an id that came before, ``BusyError`` for what
        was sent before this server's start (sent anew it is accepted) and where no more ids fit, ``RateLimitError``
        where no more ids of this owner fit.
        """
        with self._lock:
            now = self._clock_ms()
            self._forget(now)
            sent_at = request.sent_at_ms
            if abs(sent_at - now) > WINDOW_MS:
                raise _skew(sent_at - now)
            if sent_at < self._floor_ms:
                raise BusyError(
                    "the request was sent before this server began to remember requests, and may have been answered",
                    retry_after_s=(self._floor_ms - sent_at) / 1000,
                    hint="send it anew; if that does not help, the clock of one side lags",
                )
            second, name = sent_at // 1000, _name(owner, request.id)
            ids = self._seconds.get(second, {})
            if name in ids:
                raise ReplayError(
                    "this request came before",
                    hint="make a new request; the answer to this one was given once",
                )
            if self._counts[owner] >= self._capacity_of_one:
                raise RateLimitError(
                    "more requests than are remembered for one client", retry_after_s=WINDOW_MS / 1000
                )
            if self._total >= self._capacity:
                raise BusyError("more requests than are remembered", retry_after_s=1.0)
            self._seconds.setdefault(second, ids)[name] = self._owners.setdefault(owner, owner)
            self._counts[owner] += 1
            self._total += 1

    def _forget(self, now: int) -> None:
        """Forget the seconds that no request may be of any more."""
        for second in [second for second in self._seconds if (second + 1) * 1000 <= now - WINDOW_MS]:
            self._floor_ms = max(self._floor_ms, (second + 1) * 1000)
            for owner, count in Counter(self._seconds.pop(second).values()).items():
                self._total -= count
                self._counts[owner] -= count
                if not self._counts[owner]:
                    del self._counts[owner], self._owners[owner]


def _name(owner: str, request_id: bytes) -> bytes:
    return hashlib.blake2b(owner.encode() + request_id, digest_size=16, person=b"tacit replay").digest()


def _skew(ahead_ms: int) -> ClockSkewError:
    seconds = min(abs(ahead_ms) / 1000, 1e12)
    way = "ahead of" if ahead_ms > 0 else "behind"
    return ClockSkewError(
        f"the client's clock is {seconds:.0f} s {way} the provider's, or the request was held back as long",
        skew_s=ahead_ms / 1000,
    )
