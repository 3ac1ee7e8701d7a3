"""Timing of alternatives side by side, facts about the machine, and the rows that benches print."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["RESULTS", "Row", "Timing", "alternate", "arguments", "machine", "peak_rss_bytes", "show"]

RESULTS = Path(__file__).resolve().parent / "results"

# One sample lasts at least this long, so that the clock's resolution does not matter.
_SAMPLE_S = 2e-4


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: the median over ``n`` samples and the fastest of them."""

    median: float
    fastest: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of results; what is None is left out. ``ratio_to_peer``: how many times faster than ``peer``.

    ``seconds``: median of ``n`` calls. ``checked``: rows whose answers were compared with the clear ones, of which
    ``apart`` lie within the declared comparison margin; ``accuracy``: of the same rows, encrypted, and clear.
    ``sent_bytes``: of the party that sends most; ``rounds``: as the system counts them.
    """

    task: str
    shape: str
    system: str
    seconds: float | None = None
    fastest: float | None = None
    n: int | None = None
    threads: int = 1
    correct: bool | None = None
    max_error: float | None = None
    promised_error: float | None = None
    checked: int | None = None
    apart: int | None = None
    accuracy: float | None = None
    accuracy_clear: float | None = None
    accuracy_simulated: float | None = None
    bytes_up: int | None = None
    bytes_down: int | None = None
    key_bytes: int | None = None
    sent_bytes: int | None = None
    rounds: int | None = None
    rss_bytes: int | None = None
    predicted_seconds: float | None = None
    predicted_bytes_up: int | None = None
    predicted_bytes_down: int | None = None
    predicted_key_bytes: int | None = None
    predicted_rss_bytes: int | None = None
    ratio_to_peer: float | None = None
    peer: str | None = None
    note: str | None = None

    def to_dict(self) -> dict[str, object]:
        """The fields that mean something."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def alternate(
    calls: Mapping[str, Callable[[], object]], *, budget_s: float, least: int = 3
) -> dict[str, Timing]:
    """Time the calls in turn, again and again for ``budget_s`` altogether but at least ``least`` rounds.

    Turns make neighbours on the machine slow down all of them alike.
    """
    repeats = {}
    for name, call in calls.items():
        call()
        start = time.perf_counter()
        call()
        once = time.perf_counter() - start
        repeats[name] = max(1, int(_SAMPLE_S / max(once, 1e-7)))
    samples: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + budget_s
    while time.perf_counter() < end or min(map(len, samples.values()), default=least) < least:
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            samples[name].append((time.perf_counter() - start) / repeats[name])
    return {name: Timing(statistics.median(times), min(times), len(times)) for name, times in samples.items()}


def peak_rss_bytes() -> int:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def machine() -> dict[str, object]:
    """What results that are kept must say: date, processor, cores, how busy it is, commit."""
    model = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model
        )
    except OSError:
        pass
    commit = _git("rev-parse", "--short=12", "HEAD")
    # Rows that were saved before do not make a measurement another one.
    if _git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)benches/results"):
        commit += "-dirty"
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "cpu_model": model,
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "commit": commit or "unknown",
    }


def _git(*arguments: str) -> str:
    """What git prints in this checkout; empty outside of one."""
    return subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=False, cwd=RESULTS.parent
    ).stdout.strip()


def arguments(
    description: str, tasks: Sequence[str], extra: Mapping[str, str] | None = None
) -> argparse.Namespace:
    """The command line that all benches share; ``extra``: further options that take a value, and what they are."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="one object per line instead of a table")
    parser.add_argument("--quick", action="store_true", help="end within 50 s; correctness is still checked")
    parser.add_argument("--task", choices=tasks, action="append", help="only this task; may be repeated")
    parser.add_argument("--save", action="store_true", help="append the rows to benches/results/")
    for option, meaning in (extra or {}).items():
        parser.add_argument(option, metavar="PATH", help=meaning)
    return parser.parse_args()


def show(row: Row, *, as_json: bool) -> None:
    """Print one row at once, so that a run that is cut short has shown what it has."""
    if as_json:
        print(json.dumps(row.to_dict()), flush=True)
        return
    seconds = "absent" if row.seconds is None else _duration(row.seconds)
    ratio = "" if row.ratio_to_peer is None else f"{row.ratio_to_peer:6.1f} x {row.peer}"
    error = "" if row.max_error is None else f"error {row.max_error:.1e}"
    wrong = "  WRONG" if row.correct is False else ""
    print(
        f"{row.task:18} {row.shape:17} {row.system:23} {row.threads} thread{'s' if row.threads > 1 else ' '}"
        f" {seconds:>10}  {error:14} {ratio}{wrong}{' ' + row.note if row.note else ''}",
        flush=True,
    )


def _duration(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
