"""What a server must have before it listens on an address: off loopback, a certificate and a list of who may ask."""

from __future__ import annotations

from collections.abc import Mapping

from tacit.errors import InvalidParameterError
from tacit.net.development import is_loopback

__all__ = ["check_exposure", "is_local_host", "is_local_page"]


def check_exposure(
    host: str,
    *,
    cert: bool,
    tokens: bool,
    client_ca: bool,
    open_: bool = False,
    plain_http: bool = False,
) -> None:
    """Refuses to listen on ``host`` with less than it takes. Raises ``InvalidParameterError``, which says what to add.

    A name other than `localhost` counts as an address that others reach: what it resolves to may change.
    """
    local = is_loopback(host)
    if plain_http and not local:
        raise InvalidParameterError(
            f"`--insecure-http` works on a loopback address only, and others reach `{host}`",
            hint="give `--cert` and `--key`, or listen on 127.0.0.1",
        )
    if plain_http and (cert or client_ca):
        raise InvalidParameterError(
            "`--insecure-http` serves no certificate and asks for none",
            hint="leave out either `--insecure-http` or `--cert`, `--key`, `--client-ca`",
        )
    if not local and not cert:
        raise InvalidParameterError(
            f"others reach `{host}`, and there is no certificate for it",
            hint="give `--cert` and `--key`; the development certificate is for loopback addresses only",
        )
    if open_ and (tokens or client_ca):
        raise InvalidParameterError(
            "`--open` lets everybody in, and `--tokens` or `--client-ca` does not",
            hint="leave out one of them",
        )
    if not local and not (tokens or client_ca or open_):
        raise InvalidParameterError(
            f"others reach `{host}`, and nothing says who may ask",
            hint="give `--tokens FILE` or `--client-ca FILE`; `--open` lets everybody in",
        )


def is_local_host(header: str) -> bool:
    """Whether the header `Host` names this machine: `localhost` or a loopback address, with any port.

    A server on loopback that is open to everybody asks this, so that a web page cannot reach it through the browser of
    somebody on this machine by having its own name lead to 127.0.0.1 (DNS rebinding).
    """
    host, bracket, _ = header.partition("]")
    return is_loopback(host + bracket if bracket else header.rpartition(":")[0] or header)


def is_local_page(headers: Mapping[str, str]) -> bool:
    """Whether a request comes from no web page, or from one of this machine. ``headers``: names in lower case.

    A page elsewhere cannot read what a server on loopback answers, but a browser sends what the page asks for, and the
    server would compute it. Browsers say where a request comes from and let no page change that: `Origin` with what may
    do work, `Sec-Fetch-Site` with everything (Fetch Standard, "HTTP-network-or-cache fetch"; Fetch Metadata Request
    Headers). Other programs send neither.
    """
    origin = headers.get("origin")
    if origin is not None and not is_local_host(origin.partition("://")[2]):
        return False
    return headers.get("sec-fetch-site", "none").strip().lower() != "cross-site"
