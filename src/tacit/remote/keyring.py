"""Secret keys in files of the owner: one for each provider, model and plan, readable by its user alone.

A key file is a canonical CBOR message (`backends.ckks.envelope`) of kind ``key file``. Its facts (where,
which plan, when) can be listed without a passphrase; the secret key and the client secret are either plain,
behind the permissions of the file, or sealed: AES-256-GCM (NIST SP 800-38D) under a key that scrypt (RFC
7914) derives from a passphrase, with the facts as associated data. Beside it lie the evaluation keys, which
are no secret, under the SHA-256 of their message.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cbor2

from tacit.backends.ckks.envelope import open_envelope, seal
from tacit.errors import KeyFileError, TacitError, UsageError

__all__ = ["Damaged", "Entry", "Keyring", "Secrets", "Survey", "keyring_folder"]

FORMAT = 1
SUFFIX, EVALUATION_SUFFIX = ".key", ".evaluation"
MAX_FILE_BYTES = 1 << 20
SCRYPT_LOG_N, SCRYPT_R, SCRYPT_P = 17, 8, 1
"""128 MiB and some tenths of a second for each guess of a passphrase."""
MAX_SCRYPT_LOG_N = 20
YOUNG_S = 60.0
FACTS = ("url", "model", "plan", "offer", "layout", "created", "keys_sha256", "keys_bytes")


@dataclass(frozen=True)
class Secrets:
    """``owner``: what `Owner.reveal_secret` gave; ``client``: 32 random bytes that keep owners apart at a
    provider."""

    owner: bytes
    client: bytes

    def __repr__(self) -> str:
        return "<Secrets>"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a key file says without a passphrase.

    ``url``: origin of the provider; ``plan``: its id; ``offer``: ids of all plans that the provider offered
    when the key was made, which are those that this owner trusts. ``created``: seconds since 1970.
    ``keys_sha256``, ``keys_bytes``: of the message of evaluation keys.
    """

    path: Path
    url: str
    model: str
    plan: str
    offer: tuple[str, ...]
    layout: str
    created: float
    keys_sha256: str
    keys_bytes: int
    is_sealed: bool = False

    @property
    def name(self) -> str:
        """Of the key, for people: the name of its file without the suffix."""
        return self.path.name.removesuffix(SUFFIX)

    def facts(self) -> dict[str, Any]:
        return {
            name: list(value) if isinstance(value := getattr(self, name), tuple) else value for name in FACTS
        }


@dataclass(frozen=True)
class Damaged:
    """A key file that cannot be used, and why."""

    path: Path
    error: KeyFileError

    @property
    def name(self) -> str:
        return self.path.name.removesuffix(SUFFIX)


@dataclass(frozen=True)
class Survey:
    """The keys of a folder, the newest first, and the files that are none any more."""

    entries: list[Entry]
    damaged: list[Damaged]


def keyring_folder() -> Path:
    """``tacit/keys`` in the user's folder for configuration. Raises ``UsageError`` where the user has none."""
    config = os.environ.get("XDG_CONFIG_HOME", "")
    if os.path.isabs(config):
        return Path(config) / "tacit" / "keys"
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        raise UsageError(
            "this user has no home folder", hint="set `XDG_CONFIG_HOME`, or name a folder for keys"
        )
    return Path(home) / ".config" / "tacit" / "keys"


class Keyring:
    """The key files of a folder, which is made at the first key, for its user alone.

    ``passphrase`` seals new keys and opens sealed ones. Whatever cannot be used is a ``KeyFileError``.
    """

    def __init__(self, folder: str | Path | None = None, *, passphrase: str | None = None) -> None:
        if passphrase is not None and (not isinstance(passphrase, str) or not passphrase):
            raise UsageError("the 'passphrase' parameter must be a text of at least one character")
        self.folder = keyring_folder() if folder is None else Path(folder)
        self._passphrase = passphrase

    def __repr__(self) -> str:
        return f"<Keyring {str(self.folder)!r}>"

    def entries(self, url: str | None = None, model: str | None = None) -> list[Entry]:
        """What lies in the folder, of one provider and model if they are given; the newest first."""
        found = self.survey(url, model)
        if found.damaged:
            raise found.damaged[0].error
        return found.entries

    def survey(self, url: str | None = None, model: str | None = None) -> Survey:
        """What lies in the folder like `entries`, with the files that cannot be used beside it.

        For lists and to clean up. What may be trusted is asked of `entries`: a file that is not read could
        hold a pin.
        """
        if not self.folder.is_dir():
            return Survey([], [])
        self._check_folder()
        # Only files of the place that is asked for are read: a damaged key of another one is no reason to fail.
        form = _name_form(url, model)
        found, damaged = [], []
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            if not form.fullmatch(path.name):
                continue
            try:
                found.append(self.read(path)[0])
            except KeyFileError as error:
                if os.path.lexists(path):  # else another process has removed it since the folder was listed
                    damaged.append(Damaged(path, error))
        wanted = [e for e in found if url in (None, e.url) and model in (None, e.model)]
        return Survey(sorted(wanted, key=lambda entry: -entry.created), damaged)

    def read(self, path: Path) -> tuple[Entry, dict[str, Any]]:
        """The facts of a file and its other fields, secrets still sealed if they are."""
        try:
            fields = open_envelope(_owner_only(path), "key file")
            facts = {name: fields[name] for name in FACTS}
            entry = Entry(
                path=path, is_sealed="sealed" in fields, **{**facts, "offer": tuple(facts["offer"])}
            )
            shapes = [(entry.plan, 64), (entry.keys_sha256, 64), *((plan, 64) for plan in entry.offer)]
            texts = all(type(text) is str and len(text) == size for text, size in shapes)
            names = all(type(text) is str for text in (entry.url, entry.model, entry.layout))
            numbers = type(entry.keys_bytes) is int and type(entry.created) is float
            if fields.get("format") != FORMAT or not (texts and names and numbers):
                raise KeyError("format")
        except KeyFileError:
            raise
        except (TacitError, KeyError, TypeError) as error:
            raise KeyFileError(
                f"`{path}` is no key file of this version, or is damaged",
                hint="bring it back from a backup, or remove it: then new keys are made",
            ) from error
        return entry, fields

    def secrets_of(self, entry: Entry) -> Secrets:
        """The secrets of a key. Raises ``KeyFileError`` where the passphrase is missing or wrong."""
        entry, fields = self.read(entry.path)
        if not entry.is_sealed:
            return _secrets(entry, fields.get("owner"), fields.get("client"))
        if self._passphrase is None:
            raise KeyFileError(
                f"the key `{entry.name}` is sealed by a passphrase",
                hint="pass `passphrase=`, or set TACIT_PASSPHRASE",
            )
        try:
            box = fields["sealed"]
            opened = _opened(box, self._passphrase, _associated(entry))
            owner, client = opened["owner"], opened["client"]
        except (KeyError, TypeError, ValueError, TacitError):
            raise KeyFileError(
                f"the key `{entry.name}` does not open: another passphrase, or a changed file",
                hint="try the passphrase again; without it the key is lost, and `tacit keys new` makes another",
            ) from None
        return _secrets(entry, owner, client)

    def save(
        self,
        secrets_: Secrets,
        evaluation: bytes,
        *,
        url: str,
        model: str,
        plan: str,
        layout: str,
        offer: tuple[str, ...],
    ) -> Entry:
        """Writes a key and its evaluation keys, in that order of need: a cut leaves no key without them."""
        self._make_folder()
        digest = hashlib.sha256(evaluation).hexdigest()
        entry = Entry(
            path=self.folder / f"{_stem(url, model, plan)}{SUFFIX}",
            url=url,
            model=model,
            plan=plan,
            offer=offer,
            layout=layout,
            created=time.time(),
            keys_sha256=digest,
            keys_bytes=len(evaluation),
            is_sealed=self._passphrase is not None,
        )
        _write(self.evaluation_path(entry), evaluation)
        fields = {"format": FORMAT, **entry.facts()}
        if self._passphrase is None:
            fields |= {"owner": secrets_.owner, "client": secrets_.client}
        else:
            fields["sealed"] = _sealed(secrets_, self._passphrase, _associated(entry))
        before = self._old_evaluation(entry)
        _write(entry.path, seal("key file", fields))
        if before is not None:
            before.unlink(missing_ok=True)
        return entry

    def evaluation_path(self, entry: Entry) -> Path:
        """Where the message of evaluation keys lies."""
        return self.folder / f"{entry.keys_sha256}{EVALUATION_SUFFIX}"

    def with_evaluation(self, entry: Entry, evaluation: bytes) -> Entry:
        """The same key with new evaluation keys, whose file was lost."""
        kept = self.secrets_of(entry)
        return self.save(
            kept,
            evaluation,
            url=entry.url,
            model=entry.model,
            plan=entry.plan,
            layout=entry.layout,
            offer=entry.offer,
        )

    def remove(self, entry: Entry) -> None:
        """Deletes a key and its evaluation keys. Whatever was encrypted under it can never be read again."""
        self.discard(entry.path)
        self.discard(self.evaluation_path(entry))

    def discard(self, path: Path) -> None:
        """Deletes a file of this folder, whatever is in it. Raises ``KeyFileError`` where that may not be."""
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise KeyFileError(f"cannot remove `{path}`: {_reason(error)}") from None

    def sweep(self) -> list[Path]:
        """Deletes evaluation keys that no key names, as after a key was damaged or removed by hand. Their files.

        One that is needed after all is made again from its key. Files younger than a minute stay: another process may
        be about to write their key.
        """
        if not self.folder.is_dir():
            return []
        with self.lock():
            named = {self.evaluation_path(entry) for entry in self.survey().entries}
            left = [path for path in sorted(self.folder.glob(f"*{EVALUATION_SUFFIX}")) if path not in named]
            old = [path for path in left if _is_old(path)]
            for path in old:
                self.discard(path)
        return old

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """One process at a time makes keys here; the others wait and then find them."""
        self._make_folder()
        place = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(place, fcntl.LOCK_EX)
            yield
        finally:
            os.close(place)

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError:
            raise KeyFileError(f"`{self.folder}` is no folder", hint="name a folder for keys") from None
        except OSError as error:
            raise KeyFileError(f"cannot make the folder `{self.folder}`: {_reason(error)}") from None
        self._check_folder()

    def _check_folder(self) -> None:
        found = self.folder.stat()
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise KeyFileError(
                f"the folder of keys `{self.folder}` is open to others", hint=f"chmod 700 {self.folder}"
            )

    def _old_evaluation(self, entry: Entry) -> Path | None:
        """The evaluation keys that a file of the same name was for, if they are others."""
        with contextlib.suppress(KeyFileError):
            before = self.evaluation_path(self.read(entry.path)[0])
            return before if before != self.evaluation_path(entry) else None
        return None


def _host(url: str) -> str:
    place = url.partition("://")[2]
    return "".join(letter if letter.isalnum() or letter in ".-" else "-" for letter in place)[:60]


def _place(url: str, model: str) -> str:
    return f"{_host(url)}-{model[:60]}"


def _is_old(path: Path) -> bool:
    """Whether a file is there for a minute. One that another process has removed is not: `remove` takes no lock."""
    try:
        return time.time() - path.lstat().st_mtime > YOUNG_S
    except FileNotFoundError:
        return False


def _name_form(url: str | None, model: str | None) -> re.Pattern[str]:
    """Names that files of a provider, or of one of its models, have."""
    if url is None:
        return re.compile(".*", re.DOTALL)
    if model is None:
        return re.compile(re.escape(_host(url)) + "-.*", re.DOTALL)
    return re.compile(re.escape(_place(url, model)) + "-[0-9a-f]{8}" + re.escape(SUFFIX))


def _stem(url: str, model: str, plan: str) -> str:
    """A name that says where the key is for, and is another for another place."""
    return f"{_place(url, model)}-{hashlib.sha256(f'{url} {model} {plan}'.encode()).hexdigest()[:8]}"


def _owner_only(path: Path) -> bytes:
    """The bytes of a file that only its user can read. A link is not followed."""
    try:
        place = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise KeyFileError(
            f"no key file `{path}`", hint="`tacit keys list` shows those that are there"
        ) from None
    except OSError as error:
        raise KeyFileError(f"cannot read `{path}`: {_reason(error)}") from None
    with os.fdopen(place, "rb") as file:
        found = os.fstat(place)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_FILE_BYTES:
            raise KeyFileError(f"`{path}` is no key file")
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise KeyFileError(
                f"the key file `{path}` is open to others: its key may be known to them",
                hint=f"`tacit keys new` makes another; to keep this one: chmod 600 {path}",
            )
        return file.read()


def _write(path: Path, content: bytes) -> None:
    """All or nothing, readable by its user alone, and on the disk when this returns."""
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        place = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(place, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise KeyFileError(f"cannot write `{path}`: {_reason(error)}") from None


def _reason(error: OSError) -> str:
    return (error.strerror or "failed").lower()


def _associated(entry: Entry) -> bytes:
    return cbor2.dumps(["tacit key file", FORMAT, entry.facts()], canonical=True)


def _secrets(entry: Entry, owner: object, client: object) -> Secrets:
    if not isinstance(owner, bytes) or not isinstance(client, bytes) or len(client) != 32:
        raise KeyFileError(f"the key `{entry.name}` is damaged", hint="bring its file back from a backup")
    return Secrets(owner, client)


def _derived(passphrase: str, salt: bytes, log_n: int) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    kdf = Scrypt(salt=salt, length=32, n=1 << log_n, r=SCRYPT_R, p=SCRYPT_P)
    return kdf.derive(passphrase.encode())


def _sealed(kept: Secrets, passphrase: str, associated: bytes) -> dict[str, Any]:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    key = _derived(passphrase, salt, SCRYPT_LOG_N)
    content = cbor2.dumps({"owner": kept.owner, "client": kept.client}, canonical=True)
    box = AESGCM(key).encrypt(nonce, content, associated)
    return {"kdf": "scrypt", "log_n": SCRYPT_LOG_N, "salt": salt, "nonce": nonce, "box": box}


def _opened(box: dict[str, Any], passphrase: str, associated: bytes) -> dict[str, Any]:
    """Raises ``ValueError``, ``KeyError`` or ``TypeError`` for what does not open."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    log_n, salt, nonce = box["log_n"], box["salt"], box["nonce"]
    if box["kdf"] != "scrypt" or type(log_n) is not int or not 14 <= log_n <= MAX_SCRYPT_LOG_N:
        raise ValueError("another way to derive the key")
    if len(salt) != 16 or len(nonce) != 12:
        raise ValueError("salt or nonce of another length")
    try:
        content = AESGCM(_derived(passphrase, salt, log_n)).decrypt(nonce, box["box"], associated)
    except InvalidTag:
        raise ValueError("another passphrase") from None
    fields: dict[str, Any] = cbor2.loads(content)
    return fields
