"""Secured connections: contexts of both sides, and what went wrong in words.

TLS 1.2 or later; for TLS 1.2 only suites with forward secrecy and authenticated encryption. A client checks
the name of the host and the chain always; there is no switch that turns it off.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tacit.errors import ConnectError, DataError, InvalidParameterError, PeerTimeoutError, TlsError
from tacit.net.development import authority_path, is_loopback

if TYPE_CHECKING:
    from cryptography import x509

__all__ = [
    "client_context",
    "expires_in_s",
    "explain",
    "fingerprint",
    "renew",
    "server_context",
]

_SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""TLS 1.2 suites; those of TLS 1.3 are all of this kind."""

_MEND_CLIENT = "the provider must renew or replace its certificate; do not go around this"
_VERIFICATION = {
    9: ("is not valid yet", "compare the clocks of both machines"),
    10: ("has expired", f"{_MEND_CLIENT}; check this machine's clock too"),
    18: (
        "is signed by itself",
        "pass `ca=` (`--ca`) with the certificate, if you got it by a way that you trust",
    ),
    19: ("is of an authority that is unknown here", "pass `ca=` (`--ca`) with the provider's authority"),
    20: ("is of an authority that is unknown here", "pass `ca=` (`--ca`) with the provider's authority"),
    21: ("is of an authority that is unknown here", "pass `ca=` (`--ca`) with the provider's authority"),
    23: ("was revoked", _MEND_CLIENT),
    47: ("is for a name that its authority may not vouch for", _MEND_CLIENT),
    62: (
        "is for another host",
        "use the name that the certificate is for, or have it renewed with this name",
    ),
    64: ("is for another address", "use a name or address that the certificate is for"),
}
"""X509_V_ERR_… of OpenSSL (include/openssl/x509_vfy.h): what is wrong with the certificate, what to do."""

_ALERTS = {
    "CERTIFICATE_REQUIRED": ("the other side wants a client certificate", "pass `cert=` (`--cert`, `--key`)"),
    "CERTIFICATE_EXPIRED": ("the other side says that this side's certificate has expired", "renew it"),
    "UNKNOWN_CA": (
        "the other side does not know the authority of this side's certificate",
        "use a certificate of the authority that the other side names",
    ),
    "BAD_CERTIFICATE": (
        "the other side refused this side's certificate",
        "check which certificate it expects",
    ),
    "WRONG_VERSION_NUMBER": (
        "the other side does not speak TLS",
        "check port and address; `http://` works with a server that was started with `--insecure-http`",
    ),
    "HTTP_REQUEST": ("the other side speaks plain HTTP", "use `https://`"),
    "PROTOCOL_VERSION": ("the other side offers no TLS 1.2 or later", "its TLS needs an update"),
    "HANDSHAKE_FAILURE": ("both sides share no cipher suite", "the TLS of one side needs an update"),
}


def server_context(
    cert: Path,
    key: Path,
    *,
    client_ca: Path | None = None,
    refused: Callable[[str], None] | None = None,
) -> ssl.SSLContext:
    """What a server listens with. With ``client_ca``, a connection without a certificate of that authority fails.

    ``refused``: told, in OpenSSL's words, why a handshake failed; nothing of the peer is in them.
    Raises ``InvalidParameterError`` for a certificate that is not valid today or does not fit its key, ``DataError``
    for files that cannot be read.
    """
    context = _hardened(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    context.sslobject_class = type("Telling", (_Telling,), {"refused": staticmethod(refused or _ignored)})
    renew(context, cert, key)
    if client_ca is not None:
        _load_authority(context, client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def renew(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    """Load these files into a living context; connections that are open keep what they have. Raises as above."""
    checked_leaf(cert)
    try:
        context.load_cert_chain(cert, key, password=_no_passphrase)
    except ssl.SSLError as error:
        raise InvalidParameterError(
            f"the key `{key}` does not belong to the certificate `{cert}`, or is not a key in PEM form",
            hint=f"give the files of one pair ({error.reason or 'not PEM'})",
        ) from None
    except OSError as error:
        raise DataError(f"cannot read `{key}`: {(error.strerror or 'unreadable').lower()}") from None


def client_context(
    *, host: str, ca: Path | None = None, cert: tuple[Path, Path] | None = None
) -> ssl.SSLContext:
    """What a client connects to ``host`` with.

    ``ca``: trust this authority and no other. Without it: the system's authorities, and for loopback hosts the
    development authority of this user. ``cert``: certificate and key that identify the client.
    """
    context = _hardened(ssl.PROTOCOL_TLS_CLIENT)
    if ca is not None:
        _load_authority(context, ca)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        development = authority_path()
        if is_loopback(host) and development.is_file():
            _load_authority(context, development)
    if cert is not None:
        renew(context, *cert)
    return context


def checked_leaf(cert: Path) -> x509.Certificate:
    """The first certificate of a file, valid today. Raises ``InvalidParameterError`` or ``DataError``."""
    leaf = _leaf(cert)
    now = datetime.datetime.now(datetime.UTC)
    if now > leaf.not_valid_after_utc:
        raise InvalidParameterError(
            f"the certificate `{cert}` expired on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC",
            hint="renew it; `tacit keys dev-cert` does that for the one of local work",
        )
    if now < leaf.not_valid_before_utc:
        raise InvalidParameterError(
            f"the certificate `{cert}` is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC",
            hint="check this machine's clock",
        )
    return leaf


def expires_in_s(cert: Path) -> float:
    """Seconds until the first certificate of the file expires; negative when it has."""
    return (_leaf(cert).not_valid_after_utc - datetime.datetime.now(datetime.UTC)).total_seconds()


def fingerprint(cert: Path) -> str:
    """``sha256:`` and the digest, in hexadecimal, of the first certificate of the file."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return "sha256:" + hashlib.sha256(_leaf(cert).public_bytes(Encoding.DER)).hexdigest()


def explain(error: BaseException, host: str) -> TlsError | ConnectError | PeerTimeoutError:
    """Why there is no connection to ``host``: from the error of a library, or any of its causes."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            wrong, hint = _VERIFICATION.get(cause.verify_code, ("does not verify", _MEND_CLIENT))
            return TlsError(f"the certificate of `{host}` {wrong}", hint=hint)
        if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return TlsError(
                f"`{host}` ended the connection before it was secured",
                hint="check port and address, and what is between both machines",
            )
        if isinstance(cause, ssl.SSLError):
            reason = cause.reason or ""
            told = next((words for alert, words in _ALERTS.items() if alert in reason), None)
            wrong, hint = told or (
                "the connection could not be secured",
                f"OpenSSL says {reason or 'nothing'}",
            )
            return TlsError(f"`{host}`: {wrong}", hint=hint)
        if isinstance(cause, socket.gaierror):
            return ConnectError(
                f"the name `{host}` is not known", hint="check the name, and the network's DNS"
            )
        if isinstance(cause, ConnectionRefusedError):
            return ConnectError(
                f"`{host}` answers, but nothing listens there",
                hint="check the port, and that the server is running",
            )
        if isinstance(cause, TimeoutError):
            return PeerTimeoutError(
                f"`{host}` does not answer", hint="check address, port, firewall, and the network between"
            )
        if isinstance(cause, OSError):
            words = (cause.strerror or type(cause).__name__).lower()
            return ConnectError(f"no connection to `{host}`: {words}", hint="check the network")
    return ConnectError(
        f"`{host}` ended the connection without an answer, or there is none",
        hint="try again; where the server wants a client certificate, pass `cert=` (`--cert`, `--key`)",
    )


class _Telling(ssl.SSLObject):
    """Tells a peer why its certificate was refused: asyncio closes a connection before it has sent the alert.

    The error is raised at the next call, which comes when the peer has closed; until then asyncio sends what is there.
    """

    refused: Callable[[str], None]
    _failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            reason = error.reason or "unknown"
            self.refused(reason.lower().replace("_", " "))
            if not isinstance(error, ssl.SSLCertVerificationError) and "CERTIFICATE" not in reason:
                raise  # not worth waiting for: the peer may not even speak TLS, and so never close
            self._failure = error
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "an alert is to be sent") from error


def _ignored(reason: str) -> None:
    """Nobody wants to know."""


def _hardened(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(_SUITES)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _load_authority(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(cafile=os.fspath(ca))
    except ssl.SSLError:
        raise InvalidParameterError(
            f"`{ca}` holds no certificate of an authority in PEM form",
            hint="give a file of `BEGIN CERTIFICATE`",
        ) from None
    except OSError as error:
        raise DataError(f"cannot read `{ca}`: {(error.strerror or 'unreadable').lower()}") from None


def _leaf(cert: Path) -> x509.Certificate:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(Path(cert).read_bytes())[0]
    except OSError as error:
        raise DataError(f"cannot read `{cert}`: {(error.strerror or 'unreadable').lower()}") from None
    except ValueError:
        raise InvalidParameterError(
            f"`{cert}` holds no certificate in PEM form", hint="give a file of `BEGIN CERTIFICATE`"
        ) from None


def _no_passphrase() -> NoReturn:
    raise InvalidParameterError(
        "the key of the certificate is encrypted, and a server has nobody to ask for its passphrase",
        hint="give a key without passphrase that only the server's user can read",
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it, the deepest first: libraries wrap what the system said."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return reversed(found)
