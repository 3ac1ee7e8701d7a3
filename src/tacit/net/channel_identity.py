"""Who a party is: a key and a certificate, which the others know by its fingerprint. TLS 1.3 with both sides proven.

The contract names a fingerprint for each party, and that alone decides: no authority vouches for anybody, and what a
certificate says about its subject is not read. Before TLS each side shows its certificate (``show``); one that is not
pinned is refused there. TLS then runs with exactly that certificate as the only trust anchor: the peer proves that it
holds the key, and a certificate that has ended is refused.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from tacit.errors import ConnectError, InvalidParameterError, MalformedMessageError, TlsError
from tacit.net import tls
from tacit.net.channel import checked_name
from tacit.net.channel_faults import party_error

__all__ = [
    "Identity",
    "Party",
    "new_identity",
    "pin_of",
    "prove",
    "read_exactly",
    "secured",
    "show",
    "shown",
    "wrong_pin",
]

LIFE = datetime.timedelta(days=365)
_LEEWAY = datetime.timedelta(hours=1)
_PREAMBLE = struct.Struct(">8sH")
_MAGIC = b"tacitcrt"
_MAX_CERTIFICATE_BYTES = 1 << 13
_PIN = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Party:
    """A row of the contract. ``pin``: ``sha256:`` and 64 digits, as ``pin_of`` and ``tls.fingerprint`` give it.

    ``host`` and ``port``: where it listens; unused for the last party, which dials all others.
    Raises ``InvalidParameterError``.
    """

    name: str
    pin: str
    host: str = ""
    port: int = 0

    def __post_init__(self) -> None:
        if not _PIN.fullmatch(self.pin):
            raise InvalidParameterError(
                f"the pin of `{self.name}` is `sha256:` and 64 hexadecimal digits in lower case",
                hint="take the fingerprint that this party told you, by a way that you trust",
            )
        if not 0 <= self.port < 1 << 16:
            raise InvalidParameterError(f"the port of `{self.name}` is 0 to 65535. Got {self.port} instead.")


@dataclass(frozen=True)
class Identity:
    """Files of this party, PEM: its certificate, and the key, which only its user reads."""

    certificate: Path
    key: Path

    def der(self) -> bytes:
        """The certificate as it is shown. Raises as ``tls.checked_leaf`` does: also when it is not valid today."""
        from cryptography.hazmat.primitives.serialization import Encoding

        return tls.checked_leaf(self.certificate).public_bytes(Encoding.DER)


def pin_of(der: bytes) -> str:
    """The fingerprint of a certificate."""
    return "sha256:" + hashlib.sha256(der).hexdigest()


def new_identity(
    name: str, *, now: datetime.datetime, life: datetime.timedelta = LIFE
) -> tuple[bytes, bytes]:
    """A new P-256 key and a certificate that it signed itself: certificate and key, both PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, checked_name(name))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, now + life) - _LEEWAY)
        .not_valid_after(now + life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), secret


def show(raw: socket.socket, der: bytes) -> None:
    """Sends this party's certificate; an empty one says that the peer's is not known here."""
    raw.sendall(_PREAMBLE.pack(_MAGIC, len(der)) + der)


def shown(raw: socket.socket, who: str) -> bytes:
    """The certificate that the other side shows, unproven; empty where it refuses this side's.

    Raises ``MalformedMessageError`` for anything else, ``OSError`` and ``ConnectError`` when the connection ends.
    """
    magic, length = _PREAMBLE.unpack(read_exactly(raw, _PREAMBLE.size, who))
    if magic != _MAGIC or length > _MAX_CERTIFICATE_BYTES:
        raise MalformedMessageError(
            f"`{who}` does not speak the protocol of channels", hint="check host and port in the contract"
        )
    return read_exactly(raw, length, who)


def secured(raw: socket.socket, identity: Identity, der: bytes, *, is_server: bool) -> ssl.SSLSocket:
    """A connection whose handshake (``prove``) nobody passes but the holder of the key of the certificate ``der``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    # Names are those of the contract: that the certificate is the pinned one is checked instead of its host name.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=der)
    if is_server:
        context.num_tickets = 0
    tls.renew(context, identity.certificate, identity.key)
    return context.wrap_socket(raw, server_side=is_server, do_handshake_on_connect=False)


def prove(connection: ssl.SSLSocket, pin: str, who: str) -> None:
    """The handshake. Raises ``TlsError`` unless the peer is who ``pin`` says, ``ssl.SSLError`` where TLS fails."""
    connection.do_handshake()
    der = connection.getpeercert(binary_form=True)
    if der is None or not hmac.compare_digest(pin_of(der), pin) or connection.version() != "TLSv1.3":
        raise wrong_pin(who)


def wrong_pin(who: str) -> TlsError:
    """Somebody else is where ``who`` should be, or ``who`` has a new certificate."""
    return party_error(
        TlsError,
        who,
        f"who answers for `{who}` shows another certificate than the one that the contract pins",
        hint=f"ask `{who}` for its fingerprint by a way that you trust; until then somebody else may be answering",
    )


def read_exactly(connection: socket.socket, size: int, who: str) -> bytes:
    """The next ``size`` bytes, all of them within the timeout of the connection and the last wait that began in it.

    Raises ``ConnectError`` when the connection ends before, ``TimeoutError`` for who sends a byte now and then.
    """
    found, allowed, begun = bytearray(), connection.gettimeout(), time.monotonic()
    while len(found) < size:
        if allowed is not None and time.monotonic() - begun > allowed:
            raise TimeoutError("timed out")
        piece = connection.recv(size - len(found))
        if not piece:
            raise party_error(
                ConnectError,
                who,
                f"`{who}` ended the connection before the session was agreed",
                hint=f"look at the log of `{who}`: it found something wrong, or ended",
            )
        found += piece
    return bytes(found)
