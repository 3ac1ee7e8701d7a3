"""Room for evaluation keys in the memory of the workers: what is held where, and what goes first. No I/O."""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

__all__ = ["KeyFile", "Room"]

Entry = tuple[int, bytes]
"""The number of a worker, and the name of keys that it holds."""


@dataclass(frozen=True)
class KeyFile:
    """One owner's evaluation keys in the store: the bytes of ``Owner.evaluation_keys()``, nothing else.

    ``owner``: 32 bytes that name whose they are; ``sha256``: of the file.
    """

    owner: bytes
    sha256: bytes
    path: Path

    def __repr__(self) -> str:
        return f"<KeyFile {self.sha256.hex()[:12]}>"

    def name(self, program: str) -> bytes:
        """Keys in memory go by their owner, their content and their program: nobody takes another's."""
        parts = (self.owner, self.sha256, program.encode())
        framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hashlib.sha256(b"tacit worker keys v1" + framed).digest()


class Room:
    """What the workers hold, least recently used first, within ``limit_bytes`` over all of them."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.bytes = 0
        self._held: collections.OrderedDict[Entry, int] = collections.OrderedDict()

    def __contains__(self, entry: Entry) -> bool:
        return entry in self._held

    def __len__(self) -> int:
        return len(self._held)

    def count(self, worker: int) -> int:
        """How many owners' keys a worker holds."""
        return sum(1 for number, _ in self._held if number == worker)

    def holders(self, name: bytes) -> list[int]:
        """Workers that hold keys of that name."""
        return [number for number, held in self._held if held == name]

    def fits(self, wanted_bytes: int, in_use: Collection[Entry]) -> bool:
        """Whether there is room beside what is in use right now."""
        fixed = sum(size for entry, size in self._held.items() if entry in in_use)
        return fixed + wanted_bytes <= self.limit_bytes

    def touch(self, entry: Entry) -> None:
        self._held.move_to_end(entry)

    def hold(self, entry: Entry, size_bytes: int, in_use: Collection[Entry]) -> list[Entry]:
        """Notes that a worker will hold keys. Returns what has to go for it, least recently used first."""
        gone: list[Entry] = []
        for other in self._held:
            if self.bytes - sum(self._held[e] for e in gone) + size_bytes <= self.limit_bytes:
                break
            if other not in in_use:
                gone.append(other)
        for other in gone:
            self.drop(other)
        self._held[entry] = size_bytes
        self.bytes += size_bytes
        return gone

    def drop(self, entry: Entry) -> None:
        """Notes that keys are not held any more; it may be said twice."""
        self.bytes -= self._held.pop(entry, 0)

    def drop_worker(self, worker: int) -> None:
        """Notes that a worker is gone with all that it held."""
        for entry in [entry for entry in self._held if entry[0] == worker]:
            self.drop(entry)
