"""Checkpoints of one party: its live shares between two layers, sealed by a key of its identity, whole or not at all.

The file of a position is AES-256-GCM over pieces of the arrays; its key comes by HKDF (RFC 5869) from the private key
of the party and a fresh salt of 32 bytes, and the nonce is the number of the piece: none is used twice under one key.
What is authenticated beside is the job, the plan, the position, and how many pieces there are: a file of another job or
position, or a part of one, is refused. It is written beside, synced, and renamed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import struct
from collections.abc import Mapping
from pathlib import Path

import cbor2
import numpy as np

from tacit.backends.mpc.steps import Words
from tacit.errors import DataError
from tacit.net.channel_identity import Identity

__all__ = ["Arrays", "Vault", "write_durably"]

Arrays = Mapping[str, list[Words]]
"""By name of a value: this party's arrays of it."""
KEPT = 2
"""Checkpoints that a party keeps: nobody passes one before all have saved the one before it."""
_MAGIC = b"tacitck1"
_SALT_BYTES = 32
_NONCE_BYTES, _TAG_BYTES = 12, 16
_PIECE_BYTES = 1 << 26
"""Sealed at once: the interpreter is held for some hundredths of a second, which heartbeats can wait."""


class Vault:
    """The checkpoints of one job at one party. ``plan``: the hash that its sessions agree on."""

    def __init__(self, folder: Path, identity: Identity, *, job: str, plan: bytes) -> None:
        self._folder, self._identity = folder, identity
        self._bound = cbor2.dumps([job, plan], canonical=True)

    def positions(self) -> list[int]:
        """Of the checkpoints that are there, ascending."""
        return sorted(int(path.stem) for path in self._folder.glob("*.checkpoint") if path.stem.isdigit())

    def save(self, position: int, live: Arrays) -> None:
        """Raises ``DataError`` where the disk does not take it."""
        rows = [[name, [list(array.shape) for array in arrays]] for name, arrays in live.items()]
        head = cbor2.dumps(rows)
        flat = [
            np.ascontiguousarray(array, dtype="<u8").tobytes() for arrays in live.values() for array in arrays
        ]
        content = b"".join((struct.pack(">Q", len(head)), head, *flat))
        write_durably(self._path(position), self._seal(position, content))
        for old in self.positions()[:-KEPT]:
            self._path(old).unlink(missing_ok=True)

    def load(self, position: int) -> dict[str, list[Words]]:
        """Raises ``DataError`` for a file that is not there, is damaged, or is another's."""
        try:
            sealed = self._path(position).read_bytes()
        except OSError as error:
            raise DataError(
                f"cannot read the checkpoint `{self._path(position)}`: {(error.strerror or '?').lower()}",
                hint="run the job again from its start",
            ) from None
        content = self._open(position, sealed)
        (length,) = struct.unpack_from(">Q", content)
        start = 8 + length
        found: dict[str, list[Words]] = {}
        rows = cbor2.loads(content[8:start])
        for name, shapes in rows:
            found[name] = []
            for shape in shapes:
                count = int(np.prod(shape, dtype=np.int64))
                words = np.frombuffer(content, dtype="<u8", count=count, offset=start)
                found[name].append(words.astype(np.uint64).reshape(shape))
                start += 8 * count
        return found

    def erase(self) -> None:
        """Removes all: the job is over."""
        for position in self.positions():
            self._path(position).unlink(missing_ok=True)

    def _path(self, position: int) -> Path:
        return self._folder / f"{position}.checkpoint"

    def _seal(self, position: int, content: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        salt = secrets.token_bytes(_SALT_BYTES)
        cipher = AESGCM(self._key(salt))
        pieces = [content[start : start + _PIECE_BYTES] for start in range(0, len(content), _PIECE_BYTES)]
        bound = self._bound + struct.pack(">QQ", position, len(pieces))
        sealed = [cipher.encrypt(_nonce(number), piece, bound) for number, piece in enumerate(pieces)]
        return b"".join((_MAGIC, salt, *sealed))

    def _open(self, position: int, sealed: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        start = len(_MAGIC) + _SALT_BYTES
        step = _PIECE_BYTES + _TAG_BYTES
        starts = range(start, len(sealed), step)
        bound = self._bound + struct.pack(">QQ", position, len(starts))
        try:
            if not sealed.startswith(_MAGIC) or not starts:
                raise InvalidTag
            cipher = AESGCM(self._key(sealed[len(_MAGIC) : start]))
            return b"".join(
                cipher.decrypt(_nonce(number), sealed[place : place + step], bound)
                for number, place in enumerate(starts)
            )
        except InvalidTag:
            raise DataError(
                f"the checkpoint `{self._path(position)}` is damaged, or of another job or identity",
                hint="run the job again from its start",
            ) from None

    def _key(self, salt: bytes) -> bytes:
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        key = serialization.load_pem_private_key(self._identity.key.read_bytes(), password=None)
        secret = key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return HKDF(hashes.SHA256(), 32, salt, b"tacit checkpoint 1").derive(secret)


def _nonce(number: int) -> bytes:
    return number.to_bytes(_NONCE_BYTES, "big")


def write_durably(path: Path, content: bytes) -> None:
    """The file has all of it, also after the machine loses power, or what it had before. Raises ``DataError``."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise DataError(
            f"cannot write `{path}`: {(error.strerror or 'no reason').lower()}",
            hint="look at the disk, and at who may write there",
        ) from None
