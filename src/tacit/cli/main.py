"""The command `tacit`, and how every failure of it ends: two lines and a status, never a traceback.

Everything heavy is imported inside the guard, so that an interrupt while Python is still loading is one line
as well.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback

from tacit import errors

__all__ = ["run", "status_of"]

STATUS_USAGE, STATUS_PLAN, STATUS_PEER, STATUS_INTERNAL, STATUS_INTERRUPTED = 2, 3, 4, 70, 130


def run() -> None:
    """Run the command line and leave the process with a status (see docs/reference/errors.md).

    `TACIT_DEBUG=1` adds the traceback.
    """
    sys.exit(guarded())


def guarded() -> int:
    """Run the command line; every failure becomes two lines on stderr and the status that is returned."""
    try:
        from tacit.cli.commands import app

        status = int(app(standalone_mode=False) or 0)
        if status == STATUS_INTERRUPTED:
            complain("interrupted", "")
        return status
    except Exception as error:
        if os.environ.get("TACIT_DEBUG"):
            traceback.print_exc()
        complain(*explanation(error))
        return status_of(error)
    except KeyboardInterrupt:
        complain("interrupted", "")
        return STATUS_INTERRUPTED


def complain(message: str, hint: str) -> None:
    """Print `error: …` and `hint: …` on stderr. Words of another party do not steer the terminal."""
    text = f"error: {message}\n" + (f"hint: {hint}\n" if hint else "")
    with contextlib.suppress(OSError):
        sys.stderr.write("".join(c if c.isprintable() or c == "\n" else " " for c in text))
        sys.stderr.flush()


def status_of(error: Exception) -> int:
    """The exit status for an error, by class."""
    match error:
        case errors.UsageError() | OSError():
            return STATUS_USAGE
        case errors.PlanError():
            return STATUS_PLAN
        case errors.PeerError():
            return STATUS_PEER
    return STATUS_USAGE if is_wrong_command(error) else STATUS_INTERNAL


def explanation(error: Exception) -> tuple[str, str]:
    """Message and hint. The message of an error that nobody foresaw may hold a value: only its place is
    shown."""
    match error:
        case errors.TacitError():
            reasons = getattr(error, "reasons", ())
            return "\n".join([str(error), *(f"  {reason}" for reason in reasons)]), error.hint
        case OSError(filename=name, strerror=reason) if reason:
            return f"{reason.lower()}: `{name}`" if name else reason.lower(), ""
        case MemoryError():
            return "not enough memory", "predict fewer rows at a time"
    if is_wrong_command(error):
        return wrong_command_text(error), "`tacit --help` lists commands and options"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(frame.filename)}:{frame.lineno}"
    return (
        f"this should not happen: {type(error).__name__} at {place}",
        "please report it; TACIT_DEBUG=1 shows the traceback, which may contain your data",
    )


def is_wrong_command(error: Exception) -> bool:
    import typer

    return isinstance(error, typer.TyperException)


def wrong_command_text(error: Exception) -> str:
    """Typer's message in the house form: one line, lower case, no final period."""
    text = " ".join(
        str(getattr(error, "format_message", error.__str__)()).replace("Value error, ", "").split()
    )
    return (text[:1].lower() + text[1:]).rstrip(".")
