"""A mesh of parties in one process, each in a thread of its own: for tests, and to try a protocol without a network.

Nothing is protected: every party could read the memory of every other one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

from tacit.errors import PeerError
from tacit.net.channel import Bytes, Endpoint, Limits, empty_bytes
from tacit.net.channel_faults import again, ended, late, reason_of, told_by

__all__ = ["MemoryChannel", "memory_mesh"]


def memory_mesh(parties: Sequence[str], *, limits: Limits | None = None) -> dict[str, MemoryChannel]:
    """A channel for each party, joined with each other. Raises ``InvalidParameterError``."""
    hub = _Hub()
    return {party: MemoryChannel(party, parties, hub, limits or Limits()) for party in parties}


class _Hub:
    """What the channels of one mesh share; ``changed`` guards all of it."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.boxes: dict[tuple[str, str], deque[tuple[bytes, list[Bytes]]]] = {}
        self.closed: set[str] = set()
        self.aborted: list[tuple[str, tuple[str, str, str]]] = []


class MemoryChannel(Endpoint):
    """A ``Channel`` within one process. Messages are copied when they are sent."""

    def __init__(self, name: str, parties: Sequence[str], hub: _Hub, limits: Limits) -> None:
        super().__init__(name, parties, limits)
        self._hub = hub
        self._failure: PeerError | None = None
        for peer in self._traffic:
            hub.boxes[peer, name] = deque()

    def flush(self, *, timeout_s: float | None = None) -> None:
        with self._hub.changed:
            self._check()

    def abort(self, error: BaseException) -> None:
        with self._hub.changed:
            if not self._closed and self._failure is None:
                self._end(error)
            self._closed = True

    def close(self) -> None:
        with self._hub.changed:
            if self._closed:
                return
            self._closed = True
            self._check()
            self._hub.closed.add(self._name)
            self._hub.changed.notify_all()

    def _send(self, peer: str, tag: bytes, views: list[memoryview]) -> None:
        copies = []
        for view in views:
            copy = empty_bytes(len(view))
            copy.data[:] = view
            copies.append(copy)
        with self._hub.changed:
            self._check()
            if peer in self._hub.closed:
                raise self._fail(ended(peer, "takes no messages"))
            self._hub.boxes[self._name, peer].append((tag, copies))
            self._hub.changed.notify_all()

    def _receive(
        self, peer: str, tag: str, targets: list[Bytes] | None, timeout_s: float
    ) -> tuple[bytes, list[Bytes]]:
        end = time.monotonic() + timeout_s
        with self._hub.changed:
            box = self._hub.boxes[peer, self._name]
            while not box:
                self._check()
                if peer in self._hub.closed:
                    raise self._fail(ended(peer, f"did not send `{tag}`"))
                if (left := end - time.monotonic()) <= 0:
                    raise self._fail(late(peer, tag, timeout_s))
                self._hub.changed.wait(left)
            return box.popleft()

    def _fail(self, error: PeerError) -> PeerError:
        with self._hub.changed:
            if self._failure is None:
                self._failure = error
                self._end(error)
            return again(self._failure)

    def _end(self, error: BaseException) -> None:
        self._hub.aborted.append((self._name, reason_of(error)))
        self._hub.changed.notify_all()

    def _check(self) -> None:
        """Raises what ended the session: what this party found, or the first reason that another one gave."""
        if self._failure is None:
            others = [(peer, reason) for peer, reason in self._hub.aborted if peer != self._name]
            if others:
                self._failure = told_by(others[0][0], others[0][1], self._parties)
        if self._failure is not None:
            raise again(self._failure)
