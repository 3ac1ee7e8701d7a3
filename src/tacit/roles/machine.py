"""The machine whose seconds plans predict: measured once and kept in the cache folder, or one that comes with Tacit.

What parties take under `mpc` is measured with them, three processes and TLS, and kept in a file beside.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tacit.backends.ckks.machine import Machine, builtin
from tacit.backends.ckks.machine import load as load_machine
from tacit.backends.ckks.machine import save as save_machine
from tacit.backends.mpc import machine as parties
from tacit.backends.mpc.protocol import prices_of
from tacit.backends.mpc.timing import JOBS, amounts_of
from tacit.errors import TacitError, UsageError
from tacit.roles.arguments import checked_threads

__all__ = [
    "Progress",
    "calibrate",
    "known_machine",
    "known_party_machine",
    "machine_path",
    "measure_parties",
    "party_machine_path",
]

JOB_S = 0.4
"""Time given to one job among parties, and ``LEAST`` to ``MOST`` repetitions; the first only warms up."""
LEAST, MOST = 3, 40

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

    report = progress or (lambda phase, done: None)
    today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    place = machine_path() if path is None else Path(path)
    machine = measure(threads=checked_threads(threads), today=today, progress=report)
    save_machine(machine, place)
    parties.save(measure_parties(today=today, progress=report), party_machine_path(place))
    return machine


def measure_parties(*, today: str, progress: Progress | None = None) -> parties.Machine:
    """Rates of the protocols of `mpc`, each among three processes of this machine. Raises ``PeerError``."""
    from tacit._native import cpu_path
    from tacit.backends.ckks.calibration import core_id, cpu_name
    from tacit.runtime.local import Parties

    report = progress or (lambda phase, done: None)
    rates, worst = {}, 1.0
    for variant in parties.VARIANTS:
        prices, measured = prices_of(variant), []
        with Parties.start("tacit.backends.mpc.timing:Timing", variant=variant) as started:
            for place, job in enumerate(JOBS):
                report(f"parties: {variant}", place / len(JOBS))
                seconds: list[float] = []
                until = time.perf_counter() + JOB_S
                while len(seconds) < LEAST or (time.perf_counter() < until and len(seconds) < MOST):
                    started.call("run", method_name=job.method, size=job.size)
                    seconds.append(max(each.seconds for each in started.reports))
                measured.append((amounts_of(job, prices), float(np.median(seconds[1:]))))
        rates[variant], ratio = parties.fit(measured)
        worst = max(worst, ratio)
    return parties.Machine(
        cpu=cpu_name(),
        cpu_path=cpu_path(),
        core=core_id(),
        origin=f"measured {today} among processes, within {worst:.2g} times",
        rates=rates,
    )


def party_machine_path(path: Path | None = None) -> Path:
    """The file beside ``machine_path()`` that holds what parties take."""
    place = machine_path() if path is None else path
    return place.with_name(f"{place.stem}-mpc{place.suffix}")


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


def known_party_machine(path: str | Path | None = None) -> tuple[parties.Machine, str]:
    """As `known_machine`, for `mpc`."""
    from tacit._native import cpu_path
    from tacit.backends.ckks.calibration import core_id, cpu_name

    try:
        place = party_machine_path() if path is None else Path(path)
        machine = parties.load(place)
    except FileNotFoundError:
        return parties.INTEL_XEON, "this machine was not measured: run `tacit about --calibrate`"
    except (TacitError, OSError) as error:
        reason = str(error) if isinstance(error, TacitError) else f"`{place}` cannot be read"
        return parties.INTEL_XEON, f"{reason}: run `tacit about --calibrate`"
    if (machine.cpu, machine.cpu_path, machine.core) != (cpu_name(), cpu_path(), core_id()):
        return parties.INTEL_XEON, (
            f"what was measured is of another machine or build ({machine.cpu}, {machine.cpu_path}, "
            f"{machine.core}): run `tacit about --calibrate`"
        )
    return machine, ""


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
