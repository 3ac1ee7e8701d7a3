"""The peer's TLS certificate in the scope of a request, where uvicorn does not put it."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

__all__ = ["KEY", "PeerCertificate", "protocol"]

KEY = "peer_certificate"
"""Where it is: ``scope["state"]["peer_certificate"]``, bytes in DER or ``None``."""


class PeerCertificate:
    """Mixed into a protocol class of uvicorn, before it."""

    app_state: dict[str, Any]

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Note the certificate for all requests of this connection."""
        self.app_state = {**self.app_state, KEY: verified_certificate(transport)}
        super().connection_made(transport)  # type: ignore[misc]


def verified_certificate(transport: asyncio.BaseTransport) -> bytes | None:
    """The peer's certificate in DER, only where TLS has verified it against the authority that the server names."""
    channel = transport.get_extra_info("ssl_object")
    if channel is None or channel.context.verify_mode is not ssl.CERT_REQUIRED:
        return None
    certificate: bytes | None = channel.getpeercert(binary_form=True)
    return certificate


def protocol() -> type[asyncio.Protocol]:
    """The protocol class for ``uvicorn.Config(http=…)``: with httptools where it is installed, else with h11."""
    base: type[asyncio.Protocol]
    try:
        from uvicorn.protocols.http import httptools_impl
    except ImportError:
        from uvicorn.protocols.http import h11_impl

        base = h11_impl.H11Protocol
    else:
        base = httptools_impl.HttpToolsProtocol
    return type("CertifiedProtocol", (PeerCertificate, base), {})
