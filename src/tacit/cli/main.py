"""The command `tacit`: what it offers, and how every failure ends: two lines and a status, never a traceback."""

from __future__ import annotations

import os
import sys
import traceback

import typer

from tacit import errors
from tacit.cli import about, demo, explain, output, predict

__all__ = ["app", "run", "status_of"]

STATUS_USAGE, STATUS_PLAN, STATUS_PEER, STATUS_INTERNAL, STATUS_INTERRUPTED = 2, 3, 4, 70, 130

app = typer.Typer(
    name="tacit",
    help="Use data that you may never see: run a model on encrypted data.",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("explain")(explain.command)
app.command("predict")(predict.command)
app.command("demo")(demo.command)
app.command("about")(about.command)


@app.callback(invoke_without_command=True)
def opening(context: typer.Context) -> None:
    """Print the help when no command is given."""
    if context.invoked_subcommand is None:
        output.write(context.get_help() + "\n")


def run() -> None:
    """Run the command line and leave the process with a status (see docs/reference/errors.md).

    `TACIT_DEBUG=1` adds the traceback.
    """
    sys.exit(guarded())


def guarded() -> int:
    """Run the command line; every failure becomes two lines on stderr and the status that is returned."""
    try:
        return int(app(standalone_mode=False) or 0)
    except Exception as error:
        if os.environ.get("TACIT_DEBUG"):
            traceback.print_exc()
        output.complain(*explanation(error))
        return status_of(error)
    except (KeyboardInterrupt, typer.Abort):
        output.complain("interrupted", "")
        return STATUS_INTERRUPTED


def status_of(error: Exception) -> int:
    """The exit status for an error, by class."""
    match error:
        case errors.UsageError() | typer.TyperException() | OSError():
            return STATUS_USAGE
        case errors.PlanError():
            return STATUS_PLAN
        case errors.PeerError():
            return STATUS_PEER
    return STATUS_INTERNAL


def explanation(error: Exception) -> tuple[str, str]:
    """Message and hint. The message of an error that nobody foresaw may hold a value: only its place is shown."""
    match error:
        case errors.TacitError():
            reasons = getattr(error, "reasons", ())
            return "\n".join([str(error), *(f"  {reason}" for reason in reasons)]), error.hint
        case typer.TyperException():
            return error.format_message(), "`tacit --help` lists commands and options"
        case OSError(filename=name, strerror=reason) if reason:
            return f"{reason.lower()}: `{name}`" if name else reason.lower(), ""
        case MemoryError():
            return "not enough memory", "predict fewer rows at a time"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(frame.filename)}:{frame.lineno}"
    return (
        f"this should not happen: {type(error).__name__} at {place}",
        "please report it; TACIT_DEBUG=1 shows the traceback, which may contain your data",
    )
