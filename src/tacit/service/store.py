"""Evaluation keys on disk: each owner's apart, uploaded in pieces that can be taken up again, within quotas.

An entry is found by (owner, digest) only. For anybody else it does not exist, and an answer about it takes the same
path and time as about one that never was. The same bytes of two owners are two entries, so nobody learns what others
have. No byte of a body is kept in memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from tacit.errors import (
    MalformedMessageError,
    MissingKeyError,
    OffsetError,
    StoreFailedError,
    StoreFullError,
    TacitError,
)
from tacit.service.holdings import Entry, Holdings, StoreLimits
from tacit.service.key_files import KeyFiles

__all__ = ["Lease", "Part", "Store", "StoreLimits", "Upload"]

_NAME = re.compile(r"[0-9a-f]{64}")
_NOTE_USE_S = 60.0


@dataclasses.dataclass(frozen=True)
class Upload:
    """How far an upload is, in bytes; ``complete``: the keys are whole, and were accepted."""

    offset: int
    length: int
    complete: bool


@dataclasses.dataclass(frozen=True)
class Lease:
    """Keys, or an upload that is whole, that stay while this is held. ``path``: their file."""

    path: Path
    owner: str
    digest: str
    entry: Entry = dataclasses.field(repr=False)


class Store:
    """The keys of all owners, in a folder that no other process uses. Safe to use from several threads.

    ``clock``: seconds since 1970. Raises ``InvalidParameterError`` for a folder that it cannot have.
    """

    def __init__(
        self, folder: Path, limits: StoreLimits | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._files = KeyFiles(folder)
        self._clock = clock
        self._lock = threading.Lock()
        self._holdings = Holdings(limits or StoreLimits())
        self._told: list[Callable[[str, str], None]] = []
        self._evicted = self._expired = 0
        for entry in self._files.scan():
            self._holdings.add(entry)
        if self._holdings.is_over:  # limits are lower than they were
            self._discard(self._holdings.make_room("", 0))

    def close(self) -> None:
        """Let another server have the folder."""
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def on_removed(self, told: Callable[[str, str], None]) -> None:
        """Call ``told(owner, digest)`` for every entry that goes, in the thread in which it goes."""
        self._told.append(told)

    def state(self, owner: str, digest: str) -> Upload:
        """How far an upload is. Raises ``MissingKeyError``; touches no disk."""
        with self._lock:
            entry = self._holdings.entries.get((owner, digest))
            if entry is None:
                raise _missing()
            return Upload(entry.offset, entry.length, entry.complete)

    def totals(self) -> dict[str, int]:
        """Figures of all owners together."""
        with self._lock:
            holdings = self._holdings
            return {
                "count": len(holdings.entries),
                "bytes": holdings.bytes,
                "capacity_bytes": holdings.limits.total_bytes,
                "evictions": self._evicted,
                "expired": self._expired,
            }

    def receive(
        self, owner: str, account: str, digest: str, *, offset: int, length: int, model: str, plan: str
    ) -> Part:
        """Begin an upload, or go on with it at ``offset``; the newest caller takes it over from older ones.

        Raises ``OffsetError`` with the right offset, ``QuotaError`` or ``StoreFullError`` where there is no room, and
        ``MalformedMessageError`` for an upload that was begun as another one.
        """
        if not _NAME.fullmatch(digest) or not _NAME.fullmatch(owner) or length < 1 or offset < 0:
            raise MalformedMessageError(
                "keys are named by their SHA-256 in 64 lower case hexadecimal digits, and are not empty"
            )
        account = hashlib.sha256(b"tacit account v1" + account.encode()).hexdigest()
        while True:
            with self._lock:
                entry = self._holdings.entries.get((owner, digest))
                if entry is not None:
                    if (entry.length, entry.model, entry.plan) != (length, model, plan):
                        raise MalformedMessageError(
                            "these keys were begun with another length, model or plan",
                            hint="delete them, then upload again",
                        )
                    if offset != entry.offset:
                        raise _wrong_offset(entry.offset)
                    part = Part(self, entry)
                    entry.writer = part
                    break
                if offset:
                    raise _wrong_offset(0)
            self._begin(owner, account, digest, length, model, plan)
        try:
            part.open()
        except BaseException as error:
            part.close()
            if isinstance(error, OffsetError):
                self._take_out([entry])
            raise
        return part

    @contextlib.contextmanager
    def verify(self, owner: str, digest: str) -> Iterator[Lease]:
        """Hold an upload that is whole, after its bytes were compared with their digest.

        Bytes that are not what the digest names are removed: ``MalformedMessageError``. ``MissingKeyError``: nothing
        that is whole is there. Bytes that somebody took from the disk, or that it does not give back, begin anew:
        ``OffsetError`` at 0, or ``StoreFailedError``. ``BusyError``: the server is short of memory or files; they stay.
        """
        with self._leased(owner, digest, lambda entry: entry.offset == entry.length) as lease:
            if not lease.entry.complete and self._digest(lease.entry) != digest:
                self._take_out([lease.entry])
                raise MalformedMessageError(
                    "the uploaded keys are not what their SHA-256 says: a piece was damaged on the way",
                    hint="upload them again from the start",
                )
            yield lease

    def admit(self, lease: Lease) -> None:
        """Accept an upload that was verified and that a worker could read.

        Raises ``MissingKeyError`` if it went meanwhile, ``StoreFullError`` if the disk does not take it.
        """
        entry = lease.entry
        with entry.lock:
            if entry.removed:
                raise _missing()
            if not entry.complete:
                self._files.finish(entry)
                entry.complete = True

    @contextlib.contextmanager
    def lease(self, owner: str, digest: str, *, model: str, plan: str) -> Iterator[Lease]:
        """Hold keys that are whole and were made for this model and plan; while held they are not evicted.

        Raises ``MissingKeyError``, the same for keys of another owner, model or plan as for none. Keys whose file
        somebody removed or cut are dropped and are missing, too.
        """

        def wanted(entry: Entry) -> bool:
            return entry.complete and (entry.model, entry.plan) == (model, plan)

        with self._leased(owner, digest, wanted) as lease:
            yield lease

    def lose(self, lease: Lease) -> None:
        """Drop keys that are gone from the disk, or damaged there, so that their owner uploads them again."""
        self._take_out([lease.entry])

    def remove(self, owner: str, digest: str) -> None:
        """Remove keys or an upload, also while they are in use. Raises ``MissingKeyError``."""
        with self._lock:
            entry = self._holdings.entries.get((owner, digest))
        if entry is None or not self._take_out([entry]):
            raise _missing()

    def sweep(self) -> list[tuple[str, str]]:
        """Remove what was not used for its time to live; returns (owner, digest) of each."""
        limits = self._holdings.limits
        with self._lock:
            now = self._clock()
            old = [
                entry
                for entry in self._holdings.entries.values()
                if not entry.is_in_use
                and now - entry.used_s > (limits.ttl_s if entry.complete else limits.part_ttl_s)
            ]
            old = [entry for entry in old if self._holdings.take_out(entry)]
            self._expired += len(old)
        self._discard(old)
        return [entry.place for entry in old]

    def _begin(self, owner: str, account: str, digest: str, length: int, model: str, plan: str) -> None:
        """Reserve room for an upload, and make its files."""
        with self._lock:
            if (owner, digest) in self._holdings.entries:
                return
            victims = self._holdings.make_room(account, length)
            self._evicted += len(victims)
            entry = Entry(
                owner=owner,
                account=account,
                digest=digest,
                length=length,
                model=model,
                plan=plan,
                stem=self._files.stem(owner, digest),
                used_s=self._clock(),
            )
            entry.writer = entry  # nobody may evict it before its files are there
            entry.lock.acquire()  # nor open them: who finds the entry waits until they are there, or it is gone
            self._holdings.add(entry)
        try:
            self._discard(victims)
            if self._files.free_bytes() < length + self._holdings.limits.free_bytes:
                raise StoreFullError("the disk of the provider's store of keys is nearly full")
            self._files.create(entry)
        except BaseException:
            with self._lock:
                self._holdings.take_out(entry)
            self._files.remove(entry)
            raise
        finally:
            entry.lock.release()
            with self._lock:
                if entry.writer is entry:
                    entry.writer = None

    @contextlib.contextmanager
    def _leased(self, owner: str, digest: str, wanted: Callable[[Entry], bool]) -> Iterator[Lease]:
        with self._lock:
            entry = self._holdings.entries.get((owner, digest))
            if entry is None or not wanted(entry):
                raise _missing()
            entry.leases += 1
            noted, now = entry.used_s, self._clock()
            self._holdings.touch(entry, now if now - noted >= _NOTE_USE_S else noted)
            path = self._files.path(entry)
        try:
            if not self._files.is_there(entry):
                self._take_out([entry])
                raise _lost_keys() if entry.complete else _lost_part()
            if now - noted >= _NOTE_USE_S:
                self._files.note_use(entry)
            yield Lease(path, owner, digest, entry)
        finally:
            with self._lock:
                entry.leases -= 1

    def _digest(self, entry: Entry) -> str:
        try:
            return self._files.digest(entry)
        except StoreFailedError:
            self._take_out([entry])
            raise

    def _take_out(self, entries: list[Entry]) -> bool:
        """Let go of entries and remove their files; whether any was there."""
        with self._lock:
            gone = [entry for entry in entries if self._holdings.take_out(entry)]
        self._discard(gone)
        return bool(gone)

    def _discard(self, entries: list[Entry]) -> None:
        """Remove the files of entries that the index has let go of, and tell.

        Raises ``StoreFailedError`` or ``BusyError`` after all of them where files cannot be removed.
        """
        fault: TacitError | None = None
        for entry in entries:
            try:
                with entry.lock:
                    self._files.remove(entry)
            except TacitError as error:
                fault = error
            for told in self._told:
                told(entry.owner, entry.digest)
        if fault is not None:
            raise fault

    def _left(self, part: Part, entry: Entry) -> None:
        """A writer has ended."""
        with self._lock:
            if entry.writer is part:
                entry.writer = None
            self._holdings.touch(entry, self._clock())


class Part:
    """A piece of an upload while it comes. Bytes go to the disk as they come, and stay when the connection is lost."""

    def __init__(self, store: Store, entry: Entry) -> None:
        self._store, self._entry = store, entry
        self._descriptor = -1

    @property
    def offset(self) -> int:
        """Where the upload is now, in bytes."""
        return self._entry.offset

    @property
    def is_whole(self) -> bool:
        """Whether all bytes are there."""
        return self._entry.offset == self._entry.length

    def open(self) -> None:
        """Open the file.

        Raises ``MissingKeyError`` for an upload that was removed meanwhile, ``OffsetError`` at 0 where somebody took
        its bytes from the disk, ``StoreFailedError`` where the disk does not give them.
        """
        with self._entry.lock:
            if self._entry.removed:
                raise _missing()
            if not self._store._files.is_there(self._entry):
                raise _lost_part()
            if not self._entry.complete:
                self._descriptor = self._store._files.open_part(self._entry)

    def write(self, piece: bytes | memoryview) -> None:
        """Append a piece, whole or not at all.

        Raises ``MalformedMessageError`` for more bytes than were declared, ``StoreFullError`` for a full disk,
        ``OffsetError`` when another connection has taken the upload over, ``MissingKeyError`` when it was removed.
        """
        entry = self._entry
        with entry.lock:
            if entry.removed:
                raise _missing()
            if entry.writer is not self:
                raise OffsetError(
                    "another connection goes on with this upload",
                    offset=entry.offset,
                    hint="use that connection",
                )
            if len(piece) > entry.length - entry.offset:
                raise MalformedMessageError(
                    "more bytes came than `Upload-Length` says",
                    hint="the length and the digest are of all the keys",
                )
            if piece:
                self._store._files.write(self._descriptor, piece, entry.offset)
                entry.offset += len(piece)

    def close(self) -> None:
        """Leave the upload as it is; another call of ``receive`` goes on with it."""
        with self._entry.lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
        self._store._left(self, self._entry)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _missing() -> MissingKeyError:
    return MissingKeyError(
        "there are no such keys of this client here",
        hint="upload the evaluation keys; the provider may have dropped them to make room",
    )


def _lost_keys() -> MissingKeyError:
    return MissingKeyError(
        "these keys are gone from the disk of the provider's store", hint="upload the evaluation keys again"
    )


def _lost_part() -> OffsetError:
    return OffsetError(
        "what came of this upload is gone from the disk of the provider's store",
        offset=0,
        hint="send the evaluation keys again from the start",
    )


def _wrong_offset(offset: int) -> OffsetError:
    return OffsetError(f"the upload goes on at byte {offset}", offset=offset)
