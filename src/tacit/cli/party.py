"""`tacit party`: what this organisation is in computations among several, and its process."""

from __future__ import annotations

import datetime
import pathlib
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tacit.cli import output
from tacit.cli.samples import read_samples

__all__ = ["app"]

app = typer.Typer(help="Take part in computations of several organisations.", no_args_is_help=True)

PartyFile = Annotated[pathlib.Path, typer.Argument(help="The file of this organisation.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="How the others call it.", show_default=False)],
    folder: Annotated[pathlib.Path, typer.Option(help="Where the files go.")] = pathlib.Path(),
    port: Annotated[int, typer.Option(help="Where jobs are offered; sessions use the next.")] = 9443,
    json: Json = False,
) -> None:
    """Make an identity, and a file NAME.toml to fill in."""
    from tacit.runtime.party import create

    made = create(name, folder, now=datetime.datetime.now(datetime.UTC), port=port)
    if json:
        output.document({"name": made.name, "file": made.path, "pin": made.pin})
        return
    output.show(
        f"made {made.path}, {made.identity.certificate} and {made.identity.key}\n"
        f"pin   {made.pin}\n"
        "tell the pin to every peer by a way that both trust, then fill in the file"
    )


@app.command("show")
def show(party: PartyFile, json: Json = False) -> None:
    """Check a file, and print what the others need to know of it."""
    from tacit.runtime.party import load_party

    own = load_party(party)
    if json:
        output.document(
            {
                "name": own.name,
                "pin": own.pin,
                "port": own.port,
                "session_port": own.session_port,
                "peers": sorted(own.peers),
                "models": sorted(own.models),
                "data": sorted(own.data),
                "rules": len(own.rules),
            }
        )
        return
    output.show(
        f'[peers.{own.name}]\naddress = "{own.host}:{own.port}"\nsession_port = {own.session_port}\n'
        f'pin = "{own.pin}"'.replace("[", r"\[")
    )


@app.command("up")
def up(party: PartyFile, json: Json = False) -> None:
    """Take jobs that the file accepts, until Ctrl-C or SIGTERM; a job that was cut off is resumed."""
    from tacit.runtime.party import load_party
    from tacit.runtime.programs import ModelPlays
    from tacit.runtime.running import World
    from tacit.runtime.up import stay_up

    own = load_party(party)

    def tell(what: str, facts: Mapping[str, Any]) -> None:
        if json:
            output.document({"what": what, **facts})
        else:
            sys.stderr.write(output.shown(line(what, facts)) + "\n")
            sys.stderr.flush()

    def ready() -> None:
        if json:
            output.document({"what": "up", "name": own.name, "port": own.port, "pin": own.pin})
        else:
            output.write(f"{own.name} is up at {own.host}:{own.port}\nCtrl-C ends it\n")

    stay_up(own, World(ModelPlays(), read_samples, tell), ready=ready)


def line(what: str, facts: Mapping[str, Any]) -> str:
    """One line about a job."""
    error = facts.get("error") or {}
    told = f": {error.get('text', '')}" if error else ""
    where = f", session {facts['attempt']} from layer {facts['position']}" if what == "running" else ""
    return f"job {facts.get('job', '')} {what}{where}{told}"
