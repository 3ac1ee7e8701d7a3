"""What the commands print: results on stdout, everything else on stderr; readable without colour."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tacit.errors import DataError

__all__ = ["Bar", "document", "progress", "show", "shown", "size_text", "time_text", "write"]

PLAIN_WIDTH = 110
PATIENCE_S = 2.0
STATUS_BROKEN_PIPE = 141


def show(view: RenderableType) -> None:
    """Print a rich renderable or a text on stdout, in colour only on a terminal."""
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else PLAIN_WIDTH, highlight=False, emoji=False)
    with console.capture() as captured:
        console.print(view)
    text = captured.get()
    write(text if terminal else "".join(f"{line.rstrip()}\n" for line in text.splitlines()))


def shown(text: str) -> str:
    """A text that may be another party's, fit for a terminal: what is not printable becomes a space."""
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)


def document(content: Mapping[str, Any]) -> None:
    """Print one JSON object on one line. Numbers that JSON does not know become null."""
    write(json.dumps(plain(content), ensure_ascii=False, allow_nan=False) + "\n")


def write(text: str) -> None:
    """Write to stdout. A reader that went away ends the command quietly; a full disk is an error."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        discard_stdout()
        raise typer.Exit(STATUS_BROKEN_PIPE) from None
    except OSError as error:
        discard_stdout()
        raise DataError(f"cannot write to the standard output: {error.strerror}") from None


class Bar:
    """A progress bar on stderr that appears on a terminal only, and only once the work took longer than 2 s."""

    def __init__(self, title: str) -> None:
        console = Console(stderr=True)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self.progress = Progress(*columns, console=console, transient=True)
        self.task = self.progress.add_task(title, total=None)
        self.timer = threading.Timer(PATIENCE_S, self.progress.start)
        self.timer.daemon = True
        self.visible = console.is_terminal

    def __call__(self, phase: str, done: float) -> None:
        """Report the phase, and the part of the work that is done, 0 to 1."""
        self.progress.update(self.task, description=phase, completed=done, total=1.0 if done else None)


@contextlib.contextmanager
def progress(title: str) -> Iterator[Bar]:
    """Show a bar while the block runs."""
    bar = Bar(title)
    if bar.visible:
        bar.timer.start()
    try:
        yield bar
    finally:
        bar.timer.cancel()
        if bar.visible:
            bar.progress.stop()


def time_text(seconds: float) -> str:
    """A duration with three digits: `1.23 ms`."""
    for limit, unit, factor in ((1e-3, "µs", 1e6), (1.0, "ms", 1e3)):
        if seconds < limit:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def size_text(count: float) -> str:
    """A number of bytes with three digits, in decimal units: `1.23 MB`."""
    for limit, unit in ((1e3, "B"), (1e6, "kB"), (1e9, "MB")):
        if count < limit:
            return f"{count / (limit / 1e3):.3g} {unit}"
    return f"{count / 1e9:.3g} GB"


def plain(value: Any) -> Any:
    """A value in the types that JSON knows."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def discard_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush cannot fail."""
    with contextlib.suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
