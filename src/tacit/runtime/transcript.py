"""A channel that remembers what passed: a running SHA-256 for each peer and direction, for the receipt of a job.

What one party sent to another is what that one received from it, so the hashes of both receipts agree. A hash covers
tag, sizes and bytes of every message in order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.net.channel import Buffer, Bytes, Channel, Traffic, tag_hash

__all__ = ["Witness"]


class Witness:
    """A ``Channel`` through which another one is used."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._sent = {peer: hashlib.sha256() for peer in channel.traffic}
        self._received = {peer: hashlib.sha256() for peer in channel.traffic}

    def hashes(self) -> dict[str, dict[str, str]]:
        """By peer: ``sent`` and ``received``, in hexadecimal."""
        return {
            peer: {"sent": self._sent[peer].hexdigest(), "received": self._received[peer].hexdigest()}
            for peer in self._sent
        }

    @property
    def name(self) -> str:
        return self._channel.name

    @property
    def parties(self) -> tuple[str, ...]:
        return self._channel.parties

    @property
    def traffic(self) -> Mapping[str, Traffic]:
        return self._channel.traffic

    @property
    def rounds(self) -> int:
        return self._channel.rounds

    def send(self, peer: str, tag: str, buffers: Sequence[Buffer]) -> None:
        self._channel.send(peer, tag, buffers)
        _take(self._sent[peer], tag, buffers)

    def receive(
        self,
        peer: str,
        tag: str,
        *,
        into: Sequence[npt.NDArray[Any]] | None = None,
        timeout_s: float | None = None,
    ) -> list[Bytes]:
        found = self._channel.receive(peer, tag, into=into, timeout_s=timeout_s)
        _take(self._received[peer], tag, found)
        return found

    def exchange(
        self,
        tag: str,
        messages: Mapping[str, Sequence[Buffer]],
        *,
        sources: Iterable[str] | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, list[Bytes]]:
        for peer, buffers in messages.items():
            self.send(peer, tag, buffers)
        wanted = messages if sources is None else sources
        found = {peer: self.receive(peer, tag, timeout_s=timeout_s) for peer in wanted}
        self.flush(timeout_s=timeout_s)
        return found

    def flush(self, *, timeout_s: float | None = None) -> None:
        self._channel.flush(timeout_s=timeout_s)

    def abort(self, error: BaseException) -> None:
        self._channel.abort(error)

    def close(self) -> None:
        self._channel.close()


def _take(digest: Any, tag: str, buffers: Sequence[Buffer]) -> None:
    views = [
        buffer.reshape(-1).view(np.uint8).data
        if isinstance(buffer, np.ndarray)
        else memoryview(buffer).cast("B")
        for buffer in buffers
    ]
    digest.update(tag_hash(tag) + len(views).to_bytes(4, "big"))
    for view in views:
        digest.update(len(view).to_bytes(8, "big"))
        digest.update(view)
