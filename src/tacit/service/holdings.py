"""What the store holds, and who has to make room: the bookkeeping of entries, without a file or a clock.

Bytes are reserved when an upload begins, so that none fails halfway for want of room. Quotas count *accounts*: client
secrets are free to make, so a quota per owner would bind nobody. Room is made by least recent use, first among what the
account itself has; where the whole store is full, only among accounts that hold more than their equal part, so that
nobody can push out those who hold little.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator

from tacit.errors import InvalidParameterError, QuotaError, StoreFullError

__all__ = ["Entry", "Holdings", "StoreLimits"]


@dataclasses.dataclass(frozen=True)
class StoreLimits:
    """Bounds of the store, in bytes, entries and seconds since the last use."""

    entry_bytes: int = 4 << 30
    account_bytes: int = 16 << 30
    account_entries: int = 4_000
    total_bytes: int = 32 << 30
    total_entries: int = 20_000
    free_bytes: int = 256 << 20
    """What an upload leaves free on the disk."""
    ttl_s: float = 30 * 86_400.0
    part_ttl_s: float = 6 * 3_600.0
    """How long an upload that was broken off can be taken up again."""

    def __post_init__(self) -> None:
        if (
            min(dataclasses.astuple(self)) < 0
            or min(self.entry_bytes, self.account_entries, self.total_entries) < 1
        ):
            raise InvalidParameterError("limits of the store are positive")


@dataclasses.dataclass(slots=True, eq=False)
class Entry:
    """An upload, or keys that are whole: what it is bound to, and what happens to it now."""

    owner: str
    account: str
    digest: str
    length: int
    model: str
    plan: str
    stem: str
    """Name of its files, without ending; of no other entry, ever."""
    used_s: float
    offset: int = 0
    complete: bool = False
    leases: int = 0
    writer: object | None = None
    removed: bool = False
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    """Held while its files are written or removed."""

    @property
    def place(self) -> tuple[str, str]:
        return self.owner, self.digest

    @property
    def is_in_use(self) -> bool:
        return bool(self.leases) or self.writer is not None


class Holdings:
    """Entries by least recent use. The caller holds a lock around every call."""

    def __init__(self, limits: StoreLimits) -> None:
        self.limits = limits
        self.entries: OrderedDict[tuple[str, str], Entry] = OrderedDict()
        self.bytes = 0
        self._account_bytes: Counter[str] = Counter()
        self._account_entries: Counter[str] = Counter()

    @property
    def is_over(self) -> bool:
        """Whether more is here than the limits allow."""
        return self.bytes > self.limits.total_bytes or len(self.entries) > self.limits.total_entries

    def add(self, entry: Entry) -> None:
        """Take in an entry for which there is room."""
        self.entries[entry.place] = entry
        self.bytes += entry.length
        self._account_bytes[entry.account] += entry.length
        self._account_entries[entry.account] += 1

    def take_out(self, entry: Entry) -> bool:
        """Let go of an entry; whether it was there."""
        if self.entries.get(entry.place) is not entry:
            return False
        del self.entries[entry.place]
        entry.removed = True
        self.bytes -= entry.length
        self._account_bytes[entry.account] -= entry.length
        self._account_entries[entry.account] -= 1
        if not self._account_entries[entry.account]:
            del self._account_entries[entry.account], self._account_bytes[entry.account]
        return True

    def touch(self, entry: Entry, now_s: float) -> None:
        """Note a use."""
        entry.used_s = now_s
        if self.entries.get(entry.place) is entry:
            self.entries.move_to_end(entry.place)

    def make_room(self, account: str, length: int) -> list[Entry]:
        """Take out what must go before ``length`` bytes of an account come in; all or nothing.

        Raises ``QuotaError`` for what this account can never store, ``StoreFullError`` where everything that could
        go is in use.
        """
        limits = self.limits
        if length > min(limits.entry_bytes, limits.account_bytes, limits.total_bytes):
            raise QuotaError(
                f"these keys have {length} bytes, and this provider stores at most "
                f"{min(limits.entry_bytes, limits.account_bytes, limits.total_bytes)} for one client",
                hint="choose a plan with smaller keys, or ask the provider for more room",
            )
        victims = self._of_account(account, length)
        own_bytes, own_entries = self._tally(victims)
        victims += self._of_all(account, length, victims, own_bytes, own_entries)
        for entry in victims:
            self.take_out(entry)
        return victims

    def _of_account(self, account: str, length: int) -> list[Entry]:
        """The account's own entries that go for its quota."""
        bytes_, entries = self._account_bytes[account] + length, self._account_entries[account] + 1

        def is_enough() -> bool:
            return bytes_ <= self.limits.account_bytes and entries <= self.limits.account_entries

        victims = []
        for entry in self._idle(lambda entry: entry.account == account) if not is_enough() else ():
            victims.append(entry)
            bytes_, entries = bytes_ - entry.length, entries - 1
            if is_enough():
                break
        if not is_enough():
            raise StoreFullError(
                "all that this client may store is in use", hint="wait until a request or an upload has ended"
            )
        return victims

    def _of_all(
        self, account: str, length: int, gone: list[Entry], gone_bytes: int, gone_entries: int
    ) -> list[Entry]:
        """Entries of accounts with more than their equal part that go because the store is full."""
        limits = self.limits
        total_bytes = self.bytes - gone_bytes + length
        total_entries = len(self.entries) - gone_entries + 1
        if total_bytes <= limits.total_bytes and total_entries <= limits.total_entries:
            return []
        held = Counter(self._account_bytes)
        counts = Counter(self._account_entries)
        held[account] += length - gone_bytes
        counts[account] += 1 - gone_entries
        victims: list[Entry] = []
        left = set(map(id, gone))
        accounts = len(held)
        for entry in self._idle(lambda entry: id(entry) not in left):
            short_of_bytes = total_bytes > limits.total_bytes
            over_bytes = held[entry.account] * accounts > limits.total_bytes
            over_entries = counts[entry.account] * accounts > limits.total_entries
            if not (over_bytes if short_of_bytes else over_entries):
                continue
            victims.append(entry)
            held[entry.account] -= entry.length
            counts[entry.account] -= 1
            total_bytes, total_entries = total_bytes - entry.length, total_entries - 1
            if total_bytes <= limits.total_bytes and total_entries <= limits.total_entries:
                return victims
        raise StoreFullError("the provider's store of keys is full, and what it holds is in use")

    def _idle(self, wanted: Callable[[Entry], bool]) -> Iterator[Entry]:
        return (entry for entry in self.entries.values() if not entry.is_in_use and wanted(entry))

    @staticmethod
    def _tally(entries: list[Entry]) -> tuple[int, int]:
        return sum(entry.length for entry in entries), len(entries)
