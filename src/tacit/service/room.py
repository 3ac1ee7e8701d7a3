"""Room for evaluation keys in the memory of the workers: what is held where, and what goes first. No I/O."""

from __future__ import annotations

import collections
import hashlib
import itertools
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
        self._by_name: dict[bytes, list[int]] = {}
        self._by_worker: dict[int, set[bytes]] = {}

    def __contains__(self, entry: Entry) -> bool:
        return entry in self._held

    def __len__(self) -> int:
        return len(self._held)

    def count(self, worker: int) -> int:
        """How many owners' keys a worker holds."""
        return len(self._by_worker.get(worker, ()))

    def holders(self, name: bytes) -> list[int]:
        """Workers that hold keys of that name."""
        return list(self._by_name.get(name, ()))

    def fits(self, wanted_bytes: int, in_use: Collection[Entry]) -> bool:
        """Whether there is room beside what is in use right now."""
        fixed = sum(self._held[entry] for entry in in_use if entry in self._held)
        return fixed + wanted_bytes <= self.limit_bytes

    def has_free(self, wanted_bytes: int) -> bool:
        """Whether there is room without dropping anything."""
        return self.bytes + wanted_bytes <= self.limit_bytes

    def touch(self, entry: Entry) -> None:
        self._held.move_to_end(entry)

    def hold(
        self, entry: Entry, size_bytes: int, in_use: Collection[Entry], awaited: Collection[bytes] = ()
    ) -> list[Entry]:
        """Notes that a worker will hold keys. Returns what has to go for it.

        Keys that no request waits for go first, the least recently used of them before the others; then ``awaited``
        ones, the most recently used first: as owners take turns, its turn comes last. So a few owners too many cost
        some readings and do not make every request read its keys.
        """
        gone: list[Entry] = []
        freed = 0
        idle = (other for other in self._held if other[1] not in awaited)
        busy = (other for other in reversed(self._held) if other[1] in awaited)
        for other in itertools.chain(idle, busy):
            if self.bytes - freed + size_bytes <= self.limit_bytes:
                break
            if other not in in_use:
                gone.append(other)
                freed += self._held[other]
        for other in gone:
            self.drop(other)
        self._held[entry] = size_bytes
        self._by_name.setdefault(entry[1], []).append(entry[0])
        self._by_worker.setdefault(entry[0], set()).add(entry[1])
        self.bytes += size_bytes
        return gone

    def drop(self, entry: Entry) -> None:
        """Notes that keys are not held any more; it may be said twice."""
        size = self._held.pop(entry, None)
        if size is None:
            return
        self.bytes -= size
        worker, name = entry
        self._by_name[name].remove(worker)
        self._by_worker[worker].remove(name)
        if not self._by_name[name]:
            del self._by_name[name]
        if not self._by_worker[worker]:
            del self._by_worker[worker]

    def drop_worker(self, worker: int) -> None:
        """Notes that a worker is gone with all that it held."""
        for name in list(self._by_worker.get(worker, ())):
            self.drop((worker, name))
