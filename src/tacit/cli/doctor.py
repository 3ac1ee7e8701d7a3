"""`tacit doctor`: every step between this machine and a provider, or the peers of a party, green or red."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.text import Text

from tacit.cli import connection, output
from tacit.cli.connection import Connection, is_url
from tacit.errors import InvalidParameterError

if TYPE_CHECKING:
    from tacit.remote.doctor import Step
    from tacit.runtime.examine import Step as PartyStep

__all__ = ["command"]

SIGNS = {"ok": ("ok", "green"), "failed": ("FAILED", "bold red"), "skipped": ("skipped", "dim")}


def command(
    url: Annotated[
        str,
        typer.Argument(help="https://HOST:PORT/MODEL, or the file of a party.", show_default=False),
    ],
    token_file: connection.TokenFile = None,
    ca: connection.Authority = None,
    cert: connection.Certificate = None,
    key: connection.CertificateKey = None,
    keyring: connection.KeyFolder = None,
    timeout: connection.Timeout = 60.0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Try every step of a prediction at a provider, or every connection of a party; say what is in the way
    and how to mend it; status 0 if all is well."""
    from tacit.remote.doctor import examine

    if url.endswith(".toml"):
        examined(pathlib.Path(url), timeout, json)
        return
    if not is_url(url):
        raise InvalidParameterError(
            "this version examines a provider's address",
            hint="it looks like https://provider.example:8443/diagnosis",
        )
    place = Connection(token_file=token_file, ca=ca, cert=cert, key=key, keyring=keyring, timeout=timeout)
    steps = []
    with output.progress("examining") as bar:
        for step in examine(
            url, token=place.token, ca=ca, cert=place.pair, keyring=keyring, timeout_s=timeout
        ):
            steps.append(step)
            bar(step.name, 0.0)
    healthy = all(step.state == "ok" for step in steps)
    if json:
        output.document({"url": url, "healthy": healthy, "steps": [step.to_dict() for step in steps]})
    else:
        output.show(view(steps))
    if not healthy:
        raise typer.Exit(1)


def examined(party: pathlib.Path, timeout_s: float, json: bool) -> None:
    """Tries each connection of a party."""
    from tacit.runtime.examine import examine_party

    steps = []
    with output.progress("examining") as bar:
        for step in examine_party(party, timeout_s=min(timeout_s, 10.0)):
            steps.append(step)
            bar(step.name, 0.0)
    healthy = all(step.state == "ok" for step in steps)
    if json:
        output.document({"party": party, "healthy": healthy, "steps": [step.to_dict() for step in steps]})
    else:
        output.show(view(steps))
    if not healthy:
        raise typer.Exit(1)


def view(steps: Sequence[Step | PartyStep]) -> Group:
    lines = []
    for step in steps:
        sign, style = SIGNS[step.state]
        line = Text(f"{step.name:<13}")
        line.append(f"{sign:<8}", style=style)
        if step.state == "ok":
            line.append(f"{output.time_text(step.seconds):>9}  {step.detail}")
        elif step.state == "failed":
            line.append(f"{output.time_text(step.seconds):>9}  {step.cause}")
            if step.fix:
                line.append(f"\n{'':<13}to mend: {step.fix}")
        lines.append(line)
    return Group(*lines)
