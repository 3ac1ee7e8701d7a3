"""The store's folder: one file of bytes and one of facts per entry, and a scan that repairs what a crash left.

``OWNER-DIGEST-NONCE.keys`` holds the bytes; ``….json`` says what they are bound to, and whether they were accepted: it
is replaced as a whole, after the bytes are on the disk. The nonce makes the names of an entry its own, so removing it
can never touch the files of its successor. Whatever moment a crash comes at, the scan finds keys that were accepted, a
part that can go on, or rubbish, which it removes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tacit.errors import BusyError, InvalidParameterError, StoreFailedError, StoreFullError
from tacit.service.holdings import Entry

__all__ = ["GONE", "KeyFiles", "faults_are_named"]

_VERSION = 1
_STEM = re.compile(r"([0-9a-f]{64})-([0-9a-f]{64})-[0-9a-f]{16}")
_ENDINGS = ("keys", "json", "new")
_MAX_FACTS_BYTES = 4096
_PIECE_BYTES = 1 << 20
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

GONE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO)
"""Of a file that is there no more (a folder is none), or that the disk does not give back."""


class KeyFiles:
    """A folder that one process uses. Raises ``InvalidParameterError`` for one that it cannot have for itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = Path(folder) / "keys"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self._folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
                raise InvalidParameterError(
                    f"`{self._folder}` is not a folder that only this user can use", hint="`chmod 700` it"
                )
            self._lock = os.open(self._folder / "lock", os.O_CREAT | os.O_RDWR | _FLAGS, 0o600)
        except OSError as error:
            raise InvalidParameterError(
                f"cannot store keys in `{folder}`: {(error.strerror or 'no access').lower()}",
                hint="name a folder that this user can write to with `--store`",
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise InvalidParameterError(
                f"another server uses `{folder}`", hint="give each server a `--store` of its own"
            ) from None

    def close(self) -> None:
        """Let another process have the folder."""
        os.close(self._lock)

    def path(self, entry: Entry) -> Path:
        """Where the bytes of an entry are."""
        return self._folder / f"{entry.stem}.keys"

    def free_bytes(self) -> int:
        """What the disk has left for this user. Raises ``StoreFailedError``."""
        with faults_are_named():
            found = os.statvfs(self._folder)
        return found.f_bavail * found.f_frsize

    @staticmethod
    def stem(owner: str, digest: str) -> str:
        """A name for a new entry."""
        return f"{owner}-{digest}-{os.urandom(8).hex()}"

    def create(self, entry: Entry) -> None:
        """Make the files of a new entry, the facts first and safely on the disk.

        Raises ``StoreFullError``, and ``StoreFailedError`` for what else the disk does not do.
        """
        with faults_are_named():
            self._write_facts(entry, complete=False)
            with _opened(self.path(entry), os.O_CREAT | os.O_EXCL | os.O_WRONLY):
                pass
            self._sync_folder()

    def is_there(self, entry: Entry) -> bool:
        """Whether the bytes that the entry counts are in its file: somebody may have removed or cut it by hand.

        Raises ``BusyError``, or ``StoreFailedError`` where the disk does not say.
        """
        with faults_are_named():
            try:
                found = self.path(entry).lstat()
            except OSError as error:
                if error.errno in GONE:
                    return False
                raise
        return stat.S_ISREG(found.st_mode) and found.st_size >= entry.offset

    def open_part(self, entry: Entry) -> int:
        """A descriptor to write the bytes of an entry with. Raises ``StoreFailedError``."""
        with faults_are_named():
            return os.open(self.path(entry), os.O_WRONLY | _FLAGS)

    @staticmethod
    def write(descriptor: int, piece: bytes | memoryview, offset: int) -> None:
        """Write a piece, all of it. ``StoreFullError`` and ``StoreFailedError`` leave the file as it was."""
        view, done = memoryview(piece), 0
        try:
            with faults_are_named():
                while done < len(view):
                    done += os.pwrite(descriptor, view[done:], offset + done)
        except BaseException:
            with contextlib.suppress(OSError):  # what is left over is written over by the next piece
                os.ftruncate(descriptor, offset)
            raise

    def digest(self, entry: Entry) -> str:
        """SHA-256 of the bytes, in hexadecimal. Raises ``StoreFailedError``."""
        state = hashlib.sha256()
        with faults_are_named(), _opened(self.path(entry), os.O_RDONLY) as descriptor:
            while piece := os.read(descriptor, _PIECE_BYTES):
                state.update(piece)
        return state.hexdigest()

    def finish(self, entry: Entry) -> None:
        """Say that the bytes were accepted, after they are on the disk. Raises as ``create``."""
        with faults_are_named():
            with _opened(self.path(entry), os.O_RDONLY) as descriptor:
                # the time of a write is as coarse as the kernel's tick, and says nothing of the order within one
                os.utime(descriptor, (entry.used_s, entry.used_s))
                os.fsync(descriptor)
            self._write_facts(entry, complete=True)
            self._sync_folder()

    def note_use(self, entry: Entry) -> None:
        """Keep the time of the last use over a restart."""
        with contextlib.suppress(OSError):
            os.utime(self.path(entry), (entry.used_s, entry.used_s))

    def remove(self, entry: Entry) -> None:
        """Remove the files of an entry, the facts last: without bytes they are rubbish. Raises ``StoreFailedError``."""
        for ending in _ENDINGS:
            with faults_are_named():
                (self._folder / f"{entry.stem}.{ending}").unlink(missing_ok=True)

    def scan(self) -> list[Entry]:
        """The entries that are here, least recently used first; rubbish is removed, foreign files are left alone."""
        found: dict[str, dict[str, os.stat_result]] = {}
        with os.scandir(self._folder) as files:
            for file in files:
                stem, _, ending = file.name.rpartition(".")
                if _STEM.fullmatch(stem) and ending in _ENDINGS:
                    found.setdefault(stem, {})[ending] = file.stat(follow_symlinks=False)
        entries: dict[tuple[str, str], Entry] = {}
        for stem, endings in sorted(
            found.items(), key=lambda item: max(s.st_mtime for s in item[1].values())
        ):
            entry = self._entry(stem, endings)
            if entry is None:
                for ending in endings:
                    (self._folder / f"{stem}.{ending}").unlink(missing_ok=True)
                continue
            other = entries.get(entry.place)
            if other is not None:
                worse = other if entry.complete >= other.complete else entry
                self.remove(worse)
                if worse is entry:
                    continue
            entries[entry.place] = entry
        return sorted(entries.values(), key=lambda entry: entry.used_s)

    def _entry(self, stem: str, endings: dict[str, os.stat_result]) -> Entry | None:
        """What one group of files is, or ``None`` for rubbish."""
        named, bytes_ = _STEM.fullmatch(stem), endings.get("keys")
        if named is None or bytes_ is None or not stat.S_ISREG(bytes_.st_mode):
            return None
        facts = self._facts(stem)
        if facts is None or bytes_.st_size > facts["length"]:
            return None
        if facts["complete"] and bytes_.st_size < facts["length"]:
            return None
        (self._folder / f"{stem}.new").unlink(missing_ok=True)
        return Entry(
            owner=named[1],
            digest=named[2],
            stem=stem,
            account=facts["account"],
            length=facts["length"],
            model=facts["model"],
            plan=facts["plan"],
            used_s=bytes_.st_mtime,
            offset=bytes_.st_size,
            complete=facts["complete"],
        )

    def _write_facts(self, entry: Entry, *, complete: bool) -> None:
        """Replace the facts as a whole."""
        facts = {
            "v": _VERSION,
            "complete": complete,
            "account": entry.account,
            "length": entry.length,
            "model": entry.model,
            "plan": entry.plan,
        }
        new = self._folder / f"{entry.stem}.new"
        with _opened(new, os.O_CREAT | os.O_TRUNC | os.O_WRONLY) as descriptor:
            self.write(descriptor, json.dumps(facts).encode(), 0)
            os.fsync(descriptor)
        new.rename(new.with_suffix(".json"))

    def _facts(self, stem: str) -> dict[str, Any] | None:
        try:
            with _opened(self._folder / f"{stem}.json", os.O_RDONLY) as descriptor:
                facts = json.loads(os.read(descriptor, _MAX_FACTS_BYTES))
        except (OSError, ValueError, RecursionError):
            return None
        wanted = {"v": int, "complete": bool, "account": str, "length": int, "model": str, "plan": str}
        if type(facts) is not dict or {name: type(value) for name, value in facts.items()} != wanted:
            return None
        return facts if facts["v"] == _VERSION and facts["length"] > 0 else None

    def _sync_folder(self) -> None:
        with _opened(self._folder, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
            os.fsync(descriptor)


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | _FLAGS, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def faults_are_named() -> Iterator[None]:
    """Raises ``StoreFullError``, ``StoreFailedError``, or ``BusyError`` for a shortage of this process that passes."""
    try:
        yield
    except OSError as error:
        if error.errno in _SHORTAGES:
            raise BusyError("the provider is short of memory or files", retry_after_s=5.0) from None
        if error.errno not in _FULL:
            reason = (error.strerror or "no reason given").lower()
            raise StoreFailedError(f"the disk of the provider's store of keys fails: {reason}") from error
        raise StoreFullError(
            "the disk of the provider's store of keys is full",
            hint="what came so far is kept: go on later from the offset that the provider tells",
        ) from None
