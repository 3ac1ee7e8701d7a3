"""What a party's work took: seconds, bytes, rounds, memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tacit.net.channel import Channel

__all__ = ["Meter", "Report", "peak_bytes"]


@dataclass(frozen=True, kw_only=True)
class Report:
    """Of one party. ``seconds``: of the clock; ``cpu_seconds``: of all threads of its process. Bytes are those of
    protocol messages, without frames and TLS. ``rounds``: how often it went from sending to waiting.
    ``rss_bytes``: peak of the process since it started.
    """

    party: str
    seconds: float
    cpu_seconds: float
    rounds: int
    sent_bytes: int
    received_bytes: int
    rss_bytes: int
    sent_to: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "sent_to": dict(self.sent_to)}


class Meter:
    """Measures from where it was made."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._seconds, self._cpu = time.perf_counter(), time.process_time()
        self._rounds = channel.rounds
        self._before = {
            peer: (traffic.sent_bytes, traffic.received_bytes) for peer, traffic in channel.traffic.items()
        }

    def report(self) -> Report:
        """What it took until now."""
        traffic = self._channel.traffic
        sent_to = {peer: traffic[peer].sent_bytes - sent for peer, (sent, _) in self._before.items()}
        received = sum(traffic[peer].received_bytes - before for peer, (_, before) in self._before.items())
        return Report(
            party=self._channel.name,
            seconds=time.perf_counter() - self._seconds,
            cpu_seconds=time.process_time() - self._cpu,
            rounds=self._channel.rounds - self._rounds,
            sent_bytes=sum(sent_to.values()),
            received_bytes=received,
            rss_bytes=peak_bytes(),
            sent_to=sent_to,
        )


def peak_bytes() -> int:
    """Peak of the memory that this process had; not that of its parent, which ``ru_maxrss`` inherits on Linux."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
