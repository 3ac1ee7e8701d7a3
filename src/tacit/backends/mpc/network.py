"""Networks among the parties, as a price needs them: what a round waits and what a party can send."""

from __future__ import annotations

from dataclasses import dataclass

from tacit.errors import InvalidParameterError

__all__ = ["LAN", "LOOPBACK", "NETWORKS", "WAN", "Network"]

_MOST_S = 60.0


@dataclass(frozen=True)
class Network:
    """``latency_s``: one way, beyond what a round takes on one machine. ``bytes_per_s``: what a party can send.

    ``bytes_per_s`` of infinity: as fast as this machine makes and reads messages.
    """

    name: str
    latency_s: float = 0.0
    bytes_per_s: float = float("inf")

    def __post_init__(self) -> None:
        if not 0.0 <= self.latency_s <= _MOST_S:
            raise InvalidParameterError(
                f"the latency of a network must be from 0 to {_MOST_S:g} s. Got {self.latency_s!r} instead."
            )
        if not self.bytes_per_s > 0.0:
            raise InvalidParameterError(
                f"the bandwidth of a network must be > 0. Got {self.bytes_per_s!r} instead."
            )


LOOPBACK = Network("loopback")
LAN = Network("LAN", latency_s=0.5e-3, bytes_per_s=125e6)
"""1 Gbit/s, 1 ms there and back."""
WAN = Network("WAN", latency_s=20e-3, bytes_per_s=12.5e6)
"""100 Mbit/s, 40 ms there and back."""

NETWORKS = (LOOPBACK, LAN, WAN)
"""Those that `explain` prices."""
