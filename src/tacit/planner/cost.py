"""Costs made comparable: one number to rank plans by, and amounts as a person reads them."""

from __future__ import annotations

from tacit.backends.base import Cost

__all__ = ["format_bytes", "format_seconds", "rank"]


BYTES_PER_SECOND = 125e6
"""Of the network that plans are compared on: 1 Gbit/s."""


def rank(cost: Cost, batch: int) -> float:
    """Seconds that ``batch`` samples take in whole requests, on the way too: what ``choose`` makes small."""
    requests = -(-batch // max(1, cost.samples))
    on_the_way = (cost.bytes_up + cost.bytes_down) / BYTES_PER_SECOND
    return requests * (cost.seconds + cost.owner_seconds + on_the_way)


def format_seconds(seconds: float) -> str:
    """``0.0042`` → ``4.2 ms``."""
    if seconds == 0:
        return "0"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def format_bytes(count: int) -> str:
    """``157000`` → ``157 kB``; powers of 1000."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"
