"""Bearer tokens: a file of names and digests. Whoever reads the file learns no token.

One line per token, ``NAME sha256:HEX``; empty lines and lines that begin with ``#`` are skipped. A token is 32 random
bytes, so its plain SHA-256 cannot be searched for. The file may change while the server runs; who was taken out is
refused within a second.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tacit.errors import BusyError, DataError, InvalidParameterError

__all__ = ["NAME", "TokenFile", "add_token", "new_token", "token_line"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
"""What a principal may be called."""
MAX_TOKENS = 100_000
_MAX_TOKEN_CHARACTERS = 512
_LINE = re.compile(r"(\S+)\s+sha256:([0-9a-f]{64})")
_REFRESH_S = 1.0


def new_token() -> str:
    """A token that nobody guesses: ``tacit_`` and 32 random bytes in base64url."""
    return "tacit_" + base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()


def digest_of(token: str) -> str:
    """What the file keeps of a token."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def token_line(name: str, token: str) -> str:
    """The line of a file of tokens. Raises ``InvalidParameterError`` for what is not a name."""
    if not NAME.fullmatch(name):
        raise InvalidParameterError(
            "a name has 1 to 64 letters, digits, `.`, `_`, `@` and `-`, and begins with a letter or digit"
        )
    return f"{name} sha256:{digest_of(token)}"


def add_token(path: Path, name: str, token: str) -> None:
    """Append a line for ``name``; the file is made, for its owner only, if it is not there.

    Raises ``InvalidParameterError`` for a name that has a token there already or is not a name, ``DataError``
    for a file that cannot be written.
    """
    line = token_line(name, token)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            text = file.read()
            if name in parsed(text, path).values():
                raise InvalidParameterError(
                    f"`{name}` has a token in `{path}` already", hint="take its line out to replace the token"
                )
            file.write(("" if not text or text.endswith("\n") else "\n") + line + "\n")
            file.flush()
            os.fsync(file.fileno())
    except UnicodeDecodeError:
        raise InvalidParameterError(f"`{path}` is not a file of tokens") from None
    except OSError as error:
        raise DataError(f"cannot write `{path}`: {(error.strerror or 'no access').lower()}") from None


def parsed(text: str, path: Path) -> dict[str, str]:
    """Digest to name. Raises ``InvalidParameterError`` with the number of the line, never with its content."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None or not NAME.fullmatch(found[1]) or found[2] in names or found[1] in taken:
            raise InvalidParameterError(
                f"line {number} of `{path}` is not `NAME sha256:HEX`, or repeats a name or a token",
                hint="`tacit keys token NAME` writes such lines",
            )
        names[found[2]] = found[1]
        taken.add(found[1])
        if len(names) > MAX_TOKENS:
            raise InvalidParameterError(f"`{path}` holds more than {MAX_TOKENS} tokens")
    return names


class TokenFile:
    """The tokens of a file, read anew when it changes.

    ``clock``: seconds, never running backwards. The constructor raises as ``parsed`` does, or ``DataError``.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = Path(path)
        self._clock = clock
        self._lock = threading.Lock()
        # Look-ups go by a digest under a key that lives as long as this object, so that the time that a look-up takes
        # tells nothing about digests of the file.
        self._blind = secrets.token_bytes(32)
        self._names: dict[bytes, tuple[str, str]] = {}
        self._seen: tuple[int, ...] | None = None
        self._looked = clock()
        self._read()

    def __repr__(self) -> str:
        return f"<TokenFile of {len(self._names)} tokens>"

    def name_of(self, token: str) -> str | None:
        """Whose token this is; ``None`` for no token of the file.

        Raises ``BusyError`` while the file cannot be read: nobody is let in by an old list.
        """
        self._refresh()
        if not token or len(token) > _MAX_TOKEN_CHARACTERS:
            return None
        digest = digest_of(token)
        name, expected = self._names.get(self._blinded(digest), ("", "0" * 64))
        return name if hmac.compare_digest(digest, expected) else None

    def _refresh(self) -> None:
        with self._lock:
            now = self._clock()
            if self._seen is not None and now - self._looked < _REFRESH_S:
                return
            self._looked = now
            try:
                if self._stamp() != self._seen:
                    self._read()
            except (OSError, InvalidParameterError, DataError):
                self._seen = None
                raise BusyError(
                    "the provider's list of tokens cannot be read at the moment",
                    retry_after_s=_REFRESH_S,
                    hint="try again; if it stays so, the provider must mend the file that `--tokens` names",
                ) from None

    def _stamp(self) -> tuple[int, ...]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_ino, found.st_size, found.st_dev

    def _read(self) -> None:
        try:
            stamp = self._stamp()
            names = parsed(self._path.read_text(encoding="utf-8"), self._path)
        except OSError as error:
            raise DataError(
                f"cannot read `{self._path}`: {(error.strerror or 'no access').lower()}"
            ) from None
        except UnicodeDecodeError:
            raise InvalidParameterError(f"`{self._path}` is not a file of tokens") from None
        self._names = {self._blinded(digest): (name, digest) for digest, name in names.items()}
        self._seen = stamp

    def _blinded(self, digest: str) -> bytes:
        return hmac.digest(self._blind, digest.encode(), "sha256")
