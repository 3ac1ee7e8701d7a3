"""Who asks: a principal comes from a token, a client certificate, or, where that was allowed by name, from nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tacit.errors import AccessDeniedError, InvalidParameterError
from tacit.service.rate import RateLimiter, Rates
from tacit.service.tokens import NAME, TokenFile

__all__ = ["Access", "Principal", "owner_of"]


@dataclasses.dataclass(frozen=True)
class Principal:
    """Who asks. ``identity``: ``token:NAME``, ``certificate:NAME`` or ``open``.

    ``account``: what rates and quotas count; the identity, or, where everybody is `open`, the network address.
    """

    identity: str
    account: str

    @property
    def is_open(self) -> bool:
        """Whether nothing is known of who asks but where."""
        return self.identity == "open"


def owner_of(principal: Principal, client: bytes) -> str:
    """The name under which keys are kept, 64 hexadecimal digits.

    It depends on who asks and on the client secret: two clients that share a token are two owners, and a client secret
    that leaked is of no use under another token. Nothing leads back from it to the secret.
    """
    identity = principal.identity.encode()
    text = b"tacit owner v1" + len(identity).to_bytes(2, "big") + identity + client
    return hashlib.sha256(text).hexdigest()


class Access:
    """Says who asks, and whether they may ask now.

    ``tokens``: a file of tokens. ``certificates``: connections carry a client certificate that TLS has verified.
    With both, both are needed, and the token names the principal. ``open_``: everybody may ask; must be said.
    """

    def __init__(
        self,
        *,
        tokens: Path | None = None,
        certificates: bool = False,
        open_: bool = False,
        rates: Rates | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if tokens is None and not certificates and not open_:
            raise InvalidParameterError(
                "nothing says who may ask",
                hint="give `--tokens` or `--client-ca`; `--open` lets everybody in",
            )
        self._tokens = TokenFile(tokens, clock=clock) if tokens is not None else None
        self._certificates = certificates
        self._limiter = RateLimiter(rates or Rates(), clock=clock)

    @property
    def is_open(self) -> bool:
        """Whether everybody may ask."""
        return self._tokens is None and not self._certificates

    def identify(
        self, headers: Mapping[str, str], *, certificate: bytes | None = None, address: str = ""
    ) -> Principal:
        """Who sent a request with these headers (names in lower case).

        ``certificate``: the peer's, verified by TLS, in DER. ``address``: of the peer. Raises ``AccessDeniedError``.
        """
        if self.is_open:
            return Principal("open", f"open {network_of(address)}")
        name = certified_name(certificate) if self._certificates else ""
        if self._tokens is not None:
            identity = f"token:{self._by_token(self._tokens, headers.get('authorization', ''))}"
        else:
            identity = f"certificate:{name}"
        return Principal(identity, identity)

    def admit(self, principal: Principal, cost: float = 1.0) -> None:
        """Count a request. Raises ``RateLimitError``."""
        self._limiter.take(principal.account, cost)

    @staticmethod
    def _by_token(tokens: TokenFile, header: str) -> str:
        scheme, _, token = header.partition(" ")
        if not header:
            raise AccessDeniedError(
                "this provider wants a token, and none came with the request",
                hint="pass `token=` (`--token-file`); the provider makes one with `tacit keys token NAME`",
            )
        name = tokens.name_of(token.strip()) if scheme.lower() == "bearer" else None
        if name is None:
            raise AccessDeniedError(
                "the token is not one of this provider's",
                hint="check for a typing error or an old token, and ask the provider for a new one",
            )
        return name


def certified_name(certificate: bytes | None) -> str:
    """The one common name of a client certificate. Raises ``AccessDeniedError``."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    if certificate is None:
        raise AccessDeniedError(
            "this provider wants a client certificate, and the connection has none",
            hint="pass `cert=` (`--cert`, `--key`) with a certificate of the provider's authority",
        )
    try:
        subject = x509.load_der_x509_certificate(certificate).subject
        names = [str(found.value) for found in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except ValueError:
        names = []
    if len(names) != 1 or not NAME.fullmatch(names[0]):
        raise AccessDeniedError(
            "the client certificate does not carry one common name that is a plain name",
            hint="its subject needs one CN of letters, digits, `.`, `_`, `@` and `-`",
        )
    return names[0]


def network_of(address: str) -> str:
    """What counts as one place: an IPv4 address, or the 64 bits of an IPv6 address that a network gives out."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
