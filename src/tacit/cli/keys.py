"""`tacit keys`: the key files of this user."""

from __future__ import annotations

import datetime
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from tacit.cli import connection, dev_cert, output, token
from tacit.cli.connection import Connection
from tacit.errors import InvalidParameterError
from tacit.remote.keyring import Entry, Keyring

__all__ = ["app"]

app = typer.Typer(help="List, remove and make keys, certificates and tokens.", no_args_is_help=True)
app.command("dev-cert")(dev_cert.command)
app.command("token")(token.command)


@app.command("list")
def list_keys(
    keyring: connection.KeyFolder = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the keys of this user: for which provider, model and plan, and how large. No secret is read."""
    ring = Keyring(keyring)
    found = ring.survey()
    entries = found.entries
    if json:
        damaged = [
            {"name": one.name, "file": one.path, "error": str(one.error), "hint": one.error.hint}
            for one in found.damaged
        ]
        output.document(
            {"folder": ring.folder, "keys": [described(entry) for entry in entries], "damaged": damaged}
        )
        return
    for one in found.damaged:
        output.show(Text(f"{one.name} cannot be used: {one.error}; {one.error.hint or 'remove it'}"))
    if not entries:
        if not found.damaged:
            output.show(f"no keys in {ring.folder}")
        return
    view = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("name", "for", "plan", "made", "sealed", "size"):
        view.add_column(title, overflow="fold", no_wrap=title == "made")
    for entry in entries:
        view.add_row(
            entry.name,
            f"{entry.url}/{entry.model}",
            f"{entry.plan[:12]} {entry.layout}",
            f"{when(entry):%Y-%m-%d %H:%M}",
            "yes" if entry.is_sealed else "no",
            output.size_text(entry.keys_bytes),
        )
    output.show(view)


@app.command("remove")
def remove_keys(
    name: Annotated[str, typer.Argument(help="Name of a key, as `list` shows it.", show_default=False)],
    keyring: connection.KeyFolder = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Delete a key for ever. The next prediction makes another one, and trusts the plans of then if no key is
    left."""
    ring = Keyring(keyring)
    kept = ring.survey()
    found = [entry for entry in kept.entries if entry.name == name]
    damaged = [one for one in kept.damaged if one.name == name]
    if not found and not damaged:
        raise InvalidParameterError(f"no key has the name `{name}`", hint="`tacit keys list` shows the names")
    removed: dict[str, object]
    if found:
        ring.remove(found[0])
        removed = described(found[0])
    else:
        ring.discard(damaged[0].path)
        removed = {"name": name, "file": damaged[0].path}
    ring.sweep()  # a damaged file does not say which evaluation keys were its own
    if json:
        output.document({"removed": removed})
    else:
        output.show(f"removed {name}")


@app.command("new")
def new_keys(
    url: Annotated[str, typer.Argument(help="https://HOST:PORT/MODEL", show_default=False)],
    rows: Annotated[int, typer.Option(help="Rows that the key's plan should take at a time.")] = 1,
    plan: Annotated[
        str | None, typer.Option(help="Id of the only plan to trust, at least 32 digits.", show_default=False)
    ] = None,
    measured: Annotated[
        bool, typer.Option("--measured", help="Take a plan whose bound is measured and not proven.")
    ] = False,
    token_file: connection.TokenFile = None,
    ca: connection.Authority = None,
    cert: connection.Certificate = None,
    key: connection.CertificateKey = None,
    keyring: connection.KeyFolder = None,
    passphrase_file: connection.PassphraseFile = None,
    timeout: connection.Timeout = 300.0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Trust the plans that a provider offers now, make new keys for them and delete the old ones."""
    if rows < 1:
        raise InvalidParameterError(f"the 'rows' parameter must be >= 1. Got {rows} instead.")
    place = Connection(
        token_file=token_file,
        ca=ca,
        cert=cert,
        key=key,
        keyring=keyring,
        passphrase_file=passphrase_file,
        timeout=timeout,
    )
    with (
        output.progress("making keys") as bar,
        place.connect(url, plan=plan, measured=measured, progress=bar) as remote,
    ):
        name = remote.new_keys(rows)
        trusted = remote.trusted_plans()
        entry = next(entry for entry in remote.keyring.survey().entries if entry.name == name)
    if json:
        output.document({"key": described(entry), "trusted_plans": trusted})
        return
    output.show(f"made {name}: {output.size_text(entry.keys_bytes)} of evaluation keys, uploaded")
    output.show(f"trusted from now on: {', '.join(f'plan {plan[:12]}' for plan in trusted)}")


def described(entry: Entry) -> dict[str, object]:
    """A key as plain data."""
    made = when(entry).isoformat(timespec="seconds")
    return {
        "name": entry.name,
        **entry.facts(),
        "created": made,
        "sealed": entry.is_sealed,
        "file": entry.path,
    }


def when(entry: Entry) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(entry.created, datetime.UTC)
