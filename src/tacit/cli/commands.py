"""The commands of `tacit`, one file per noun."""

from __future__ import annotations

from typing import Annotated

import typer

import tacit
from tacit.cli import (
    about,
    compile,
    demo,
    doctor,
    explain,
    keys,
    output,
    party,
    predict,
    run,
    serve,
    simulate,
)

__all__ = ["app"]

app = typer.Typer(
    name="tacit",
    help="Use data that you may never see: run a model on encrypted data.",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("explain")(explain.command)
app.command("predict")(predict.command)
app.command("simulate")(simulate.command)
app.add_typer(keys.app, name="keys")
app.command("doctor")(doctor.command)
app.command("compile")(compile.command)
app.command("serve")(serve.command)
app.add_typer(party.app, name="party")
app.command("run")(run.command)
app.command("demo")(demo.command)
app.command("about")(about.command)


@app.callback(invoke_without_command=True)
def opening(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    """Print the version, or the help when no command is given."""
    if version:
        output.write(f"tacit {tacit.__version__}\n")
        raise typer.Exit
    if context.invoked_subcommand is None:
        output.write(context.get_help() + "\n")
