"""`tacit keys dev-cert`: a certificate for work on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from tacit.cli import output
from tacit.net.development import dev_certificate
from tacit.net.tls import expires_in_s, fingerprint

__all__ = ["command"]


def command(json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Make or renew the certificate for loopback addresses, and say where it is. `tacit serve` does this by itself."""
    found = dev_certificate()
    facts = {
        "made": found.made,
        "authority": found.ca,
        "certificate": found.cert,
        "key": found.key,
        "fingerprint": fingerprint(found.cert),
        "days_left": int(expires_in_s(found.cert) // 86_400),
    }
    if json:
        output.document(facts)
        return
    output.show(
        f"{'made' if found.made else 'kept'} a certificate for localhost, 127.0.0.1 and ::1, "
        f"good for {facts['days_left']} days\n"
        f"certificate and key  {found.cert}\n"
        f"authority            {found.ca}\n"
        f"fingerprint          {facts['fingerprint']}\n"
        "clients of this user trust it for these addresses, and for no others"
    )
