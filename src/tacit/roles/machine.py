"""The machine whose seconds plans predict: measured once and kept in the cache folder, or one that comes with Tacit."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path

from tacit.backends.ckks.machine import Machine, builtin
from tacit.backends.ckks.machine import load as load_machine
from tacit.backends.ckks.machine import save as save_machine
from tacit.errors import TacitError, UsageError
from tacit.roles.arguments import checked_threads

__all__ = ["Progress", "calibrate", "known_machine", "machine_path"]

Progress = Callable[[str, float], None]
"""Called with the name of a phase and the part of it that is done, 0 to 1."""


def calibrate(
    *, threads: int | None = None, path: str | Path | None = None, progress: Progress | None = None
) -> Machine:
    """Measures this machine in some seconds and keeps what it found, so that predicted seconds are of this machine.

    ``threads``: measured besides one thread. ``path``: of the file, by default ``machine_path()``. Plans that are made
    from then on are chosen and priced by it. Raises ``OSError`` where the file cannot be written.
    """
    from tacit.backends.ckks.calibration import measure

    machine = measure(
        threads=checked_threads(threads),
        today=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        progress=progress or (lambda phase, done: None),
    )
    save_machine(machine, machine_path() if path is None else Path(path))
    return machine


def machine_path() -> Path:
    """Where ``calibrate`` keeps what it found: ``tacit/machine.json`` in the user's cache folder.

    Raises ``UsageError`` where the user has no folder.
    """
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(cache):
        return Path(cache) / "tacit" / "machine.json"
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        raise UsageError("this user has no home folder", hint="set `XDG_CACHE_HOME`, or pass `path=`")
    return Path(home) / ".cache" / "tacit" / "machine.json"


def known_machine(path: str | Path | None = None) -> tuple[Machine, str]:
    """The machine whose seconds are predicted, and a note: why it is not the one at hand, empty if it is.

    What ``calibrate`` kept, if that was this processor, instruction set and build of the core; else one that comes
    with Tacit.
    """
    from tacit._native import cpu_path
    from tacit.backends.ckks.calibration import core_id, cpu_name

    cpu = cpu_name()
    try:
        place = machine_path() if path is None else Path(path)
        machine = load_machine(place)
    except FileNotFoundError:
        return builtin(cpu), "this machine was not measured: run `tacit about --calibrate`"
    except (TacitError, OSError) as error:
        reason = str(error) if isinstance(error, TacitError) else f"`{place}` cannot be read"
        return builtin(cpu), f"{reason}: run `tacit about --calibrate`"
    if (machine.cpu, machine.cpu_path, machine.core) != (cpu, cpu_path(), core_id()):
        return builtin(cpu), (
            f"what was measured is of another machine or build ({machine.cpu}, {machine.cpu_path}, "
            f"{machine.core}): run `tacit about --calibrate`"
        )
    return machine, ""
