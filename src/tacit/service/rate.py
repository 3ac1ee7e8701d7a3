"""How often each account may ask: token buckets in bounded memory."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from tacit.errors import InvalidParameterError, RateLimitError

__all__ = ["RateLimiter", "Rates"]

MAX_ACCOUNTS = 10_000
"""Buckets that are kept; beyond these, accounts share one."""


@dataclasses.dataclass(frozen=True)
class Rates:
    """``per_s``: requests per second in the long run; ``burst``: how many may come at once."""

    per_s: float = 50.0
    burst: float = 100.0

    def __post_init__(self) -> None:
        if not (0 < self.per_s < math.inf and 1 <= self.burst < math.inf):
            raise InvalidParameterError("a rate is above 0 per second, and a burst at least 1")


class RateLimiter:
    """A bucket per account. ``clock``: seconds, never running backwards."""

    def __init__(
        self, rates: Rates, *, clock: Callable[[], float] = time.monotonic, capacity: int = MAX_ACCOUNTS
    ) -> None:
        self._rates = rates
        self._clock = clock
        self._capacity = capacity
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Account to (tokens, when), least recently used first."""

    def take(self, account: str, cost: float = 1.0) -> None:
        """Take ``cost`` out of the account's bucket. Raises ``RateLimitError`` when that is not in it."""
        with self._lock:
            now = self._clock()
            self._drop_full(now)
            if account not in self._buckets and len(self._buckets) >= self._capacity:
                account = ""
            tokens, when = self._buckets.get(account, (self._rates.burst, now))
            tokens = min(self._rates.burst, tokens + (now - when) * self._rates.per_s)
            enough = tokens >= cost
            self._buckets[account] = (tokens - cost if enough else tokens, now)
            self._buckets.move_to_end(account)
        if not enough:
            wait = (min(cost, self._rates.burst) - tokens) / self._rates.per_s
            raise RateLimitError(
                "more requests than this client may send",
                retry_after_s=max(wait, 0.001),
                hint="ask more slowly, or ask the provider for a higher rate",
            )

    def __len__(self) -> int:
        return len(self._buckets)

    def _drop_full(self, now: float) -> None:
        """A bucket that was left alone for as long as filling takes is full, and the same as none."""
        filled = self._rates.burst / self._rates.per_s
        while self._buckets:
            account, (_, when) = next(iter(self._buckets.items()))
            if now - when < filled:
                return
            del self._buckets[account]
