"""A certificate for work on one machine: for loopback addresses only, short-lived, and of an authority that signs once.

The authority's key exists only while it signs; what is kept is its certificate, the server's certificate and the
server's key. Whoever steals that key can pass for a loopback address of this machine, and for nothing else. A name
constraint (RFC 5280, section 4.2.1.10) binds the authority to ``localhost`` among names; addresses cannot be
constrained, because BoringSSL, and with it every gRPC client, refuses a chain with constraints on addresses.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import ipaddress
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tacit.errors import KeyFileError

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["LIFE", "DevCertificate", "authority_path", "dev_certificate", "is_loopback"]

LIFE = datetime.timedelta(days=30)
"""How long a development certificate is valid."""
_RENEW_BEFORE = datetime.timedelta(days=7)
_LEEWAY = datetime.timedelta(minutes=5)
_NETWORKS = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


@dataclasses.dataclass(frozen=True)
class DevCertificate:
    """Files in PEM form. ``cert`` and ``key`` are one file, so that they can only change together."""

    ca: Path
    cert: Path
    key: Path
    made: bool
    """Whether it was made by this call."""


def is_loopback(host: str) -> bool:
    """Whether a host, as written in a URL, is this machine: `localhost`, or an address of the loopback networks."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return any(address in network for network in _NETWORKS if network.version == address.version)


def default_folder() -> Path:
    """``$XDG_CONFIG_HOME/tacit/dev``, by default under ``~/.config``."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "tacit" / "dev"


def authority_path() -> Path:
    """Where the certificate of this user's development authority is, if there is one."""
    return default_folder() / "authority.pem"


def dev_certificate(folder: Path | None = None, *, now: datetime.datetime | None = None) -> DevCertificate:
    """The development certificate of this user, made or renewed where it is absent or ends within seven days.

    Raises ``KeyFileError`` for a folder that others may write to or that is not this user's.
    """
    place = default_folder() if folder is None else Path(folder)
    now = datetime.datetime.now(datetime.UTC) if now is None else now
    with _locked(place):
        ca, server = place / "authority.pem", place / "server.pem"
        if _is_good(ca, server, now):
            return DevCertificate(ca, server, server, made=False)
        authority, pair = _issue(now)
        # The old authority stays readable beside the new one until it ends, so a client never meets a server
        # whose authority it cannot find, whichever of the two files it sees first.
        _write(ca, authority + b"".join(_living(ca, now)))
        _write(server, pair)
        return DevCertificate(ca, server, server, made=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The folder, made for its owner only, for one process at a time."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise KeyFileError(
                f"`{folder}` is not a folder that only you can use",
                hint=f"`chmod 700 {folder}`, or remove it and let it be made again",
            )
        lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise KeyFileError(
            f"cannot keep a development certificate in `{folder}`: {(error.strerror or 'no access').lower()}",
            hint="give `--cert` and `--key`, or set XDG_CONFIG_HOME to a folder that you can write to",
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _is_good(ca: Path, server: Path, now: datetime.datetime) -> bool:
    """Whether both files are there, owner-only, of one chain, and valid for long enough."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        if server.lstat().st_mode & 0o077 or not stat.S_ISREG(server.lstat().st_mode):
            return False
        pair = server.read_bytes()
        leaf = x509.load_pem_x509_certificates(pair)[0]
        issuers = x509.load_pem_x509_certificates(ca.read_bytes())
        issuer = next(found for found in issuers if found.subject == leaf.issuer)
        leaf.verify_directly_issued_by(issuer)
        fits = load_pem_private_key(pair, None).public_key() == leaf.public_key()
    except (OSError, ValueError, TypeError, InvalidSignature, StopIteration):
        return False
    ends = min(leaf.not_valid_after_utc, issuer.not_valid_after_utc)
    return fits and leaf.not_valid_before_utc <= now and ends - _RENEW_BEFORE > now


def _living(ca: Path, now: datetime.datetime) -> Iterator[bytes]:
    """Authorities of the file that have not ended, in PEM form; at most the four latest."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        found = x509.load_pem_x509_certificates(ca.read_bytes())
    except (OSError, ValueError):
        return
    yield from [old.public_bytes(Encoding.PEM) for old in found if old.not_valid_after_utc > now][:4]


def _issue(now: datetime.datetime) -> tuple[bytes, bytes]:
    """A new authority's certificate, and a server's certificate and key that it signed; all PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    serial = x509.random_serial_number()
    issuer = named(f"Tacit development authority {serial & 0xFFFFFFFF:08x}")
    # Names only: BoringSSL, and so gRPC, refuses chains whose constraints name addresses. A kind of name that is left
    # out is free (RFC 5280, 4.2.1.10), so what keeps the authority from other addresses is that its key is gone.
    constraints = x509.NameConstraints(permitted_subtrees=[x509.DNSName("localhost")], excluded_subtrees=None)
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    authority = (
        _builder(now, issuer, issuer, authority_key.public_key(), serial)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(constraints, critical=True)
        .add_extension(identifier, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
    )
    server = (
        _builder(now, named("localhost"), issuer, server_key.public_key(), x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(names, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(server_key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )
    key = server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return authority.public_bytes(Encoding.PEM), server.public_bytes(Encoding.PEM) + key


def _builder(
    now: datetime.datetime, subject: x509.Name, issuer: x509.Name, key: object, serial: int
) -> x509.CertificateBuilder:
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)  # type: ignore[arg-type]
        .serial_number(serial)
        .not_valid_before(now - _LEEWAY)
        .not_valid_after(now + LIFE)
    )


def _usage(*, sign: bool) -> x509.KeyUsage:
    """What a key is for: signatures of a handshake, or certificates."""
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=sign,
        key_cert_sign=not sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, content: bytes) -> None:
    """The whole file or the old one, readable by its owner only; on the disk when this returns."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
