"""One connection to a provider that can be broken off from outside, whatever waits on it.

Time limits of HTTP clients are for every read and write alone: a peer that sends a byte now and then holds a
call for ever. A lane is broken off at its deadline by the shutdown of its socket, which ends every wait.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

__all__ = ["Lane"]


class Lane:
    """A client of one connection; for one thread at a time. ``is_late``: the last call was broken off."""

    def __init__(self, transport: httpx.BaseTransport, headers: Mapping[str, str]) -> None:
        self.client = httpx.Client(
            transport=transport, headers=headers, trust_env=False, follow_redirects=False
        )
        self.is_late = False
        self._socket: socket.socket | None = None
        self._is_armed = False
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[dict[str, Any]]:
        """Breaks off what the block does after so many seconds; the extensions that its requests need."""
        timer = threading.Timer(seconds, self._break_off)
        timer.daemon = True
        with self._lock:
            self.is_late, self._is_armed = False, True
        timer.start()
        try:
            yield {"trace": self._note}
        finally:
            timer.cancel()
            with self._lock:
                self._is_armed = False

    def close(self) -> None:
        self.client.close()

    def _note(self, name: str, info: dict[str, Any]) -> None:
        """Learns of new connections; a handshake of TLS puts another socket in the place of the first."""
        if name.endswith(("connect_tcp.complete", "start_tls.complete")):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
                if self.is_late:
                    self._shut()

    def _break_off(self) -> None:
        with self._lock:
            if self._is_armed:
                self.is_late = True
                self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            # The shutdown of TLS would take its state away from under the thread that reads.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
