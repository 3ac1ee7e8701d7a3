"""What one machine needs for each quantity of work: measured by `calibration`, kept as JSON, used by the cost model.

Seconds are predicted as a sum over the quantities of `work`, each times its rate. Rates are those of one thread and of
as many threads as were measured; between them they are interpolated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tacit.backends.ckks.work import QUANTITIES, Caches, Work
from tacit.errors import DataError

__all__ = ["AMD_ZEN5", "FORMAT", "INTEL_EMERALD_RAPIDS", "Machine", "Rates", "builtin", "load", "save"]

FORMAT = 1
"""Of the file. Files of another format are refused: measuring again takes seconds."""
MAX_FILE_BYTES = 1 << 16
MAX_RATE_S = 1.0
"""No quantity takes as long as this: a larger number in a file is damage."""
MAX_THREADS = 1024
MAX_CACHE_WORDS = 1 << 40


@dataclass(frozen=True)
class Rates:
    """Seconds of one unit of each quantity, in the order of ``QUANTITIES``, on ``threads`` threads."""

    threads: int
    seconds: tuple[float, ...]

    def of(self, work: Work) -> float:
        """Seconds of some work, counted for as many threads."""
        return sum(rate * amount for rate, amount in zip(self.seconds, work.amounts(), strict=True))


@dataclass(frozen=True, kw_only=True)
class Machine:
    """``cpu``: model name; ``cpu_path``: instruction set of the native core, ``core``: its build, that were measured.

    ``origin``: when and how it was measured. ``message_s``: opening and sealing one request, whatever its size.
    ``rates``: ascending by threads, the first of 1.
    """

    cpu: str
    cpu_path: str
    core: str
    origin: str
    caches: Caches
    message_s: float
    rates: tuple[Rates, ...]

    def __str__(self) -> str:
        return f"{self.cpu}, {self.cpu_path}, {self.origin}"

    def __repr__(self) -> str:
        threads = ", ".join(str(rates.threads) for rates in self.rates)
        return f"<Machine {self.cpu!r} {self.cpu_path} threads {threads}>"

    def at(self, threads: int) -> Rates:
        """The rates for a number of threads: measured, between two measured ones, or those of the most threads."""
        below = max((r for r in self.rates if r.threads <= threads), key=lambda r: r.threads)
        above = min((r for r in self.rates if r.threads >= threads), key=lambda r: r.threads, default=below)
        if below.threads == above.threads:
            return Rates(threads, below.seconds)
        part = (threads - below.threads) / (above.threads - below.threads)
        mixed = ((1 - part) * a + part * b for a, b in zip(below.seconds, above.seconds, strict=True))
        return Rates(threads, tuple(mixed))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "format": FORMAT,
            "cpu": self.cpu,
            "cpu_path": self.cpu_path,
            "core": self.core,
            "origin": self.origin,
            "near_words": self.caches.near,
            "shared_words": self.caches.shared,
            "message_s": self.message_s,
            "rates": [
                {"threads": r.threads, **dict(zip(QUANTITIES, r.seconds, strict=True))} for r in self.rates
            ],
        }

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> Machine:
        """Reads ``to_dict``. Raises ``DataError`` for anything else."""
        try:
            if fields["format"] != FORMAT:
                raise _broken(f"it is of another format than {FORMAT}, which this version reads")
            texts = {name: fields[name] for name in ("cpu", "cpu_path", "core", "origin")}
            if not all(isinstance(text, str) and len(text) <= 200 for text in texts.values()):
                raise _broken("a name is too long or no text")
            if not all(text.isprintable() for text in texts.values()):
                raise _broken("a name holds what cannot be printed")
            machine = Machine(
                **texts,
                caches=Caches(_cache_words(fields["near_words"]), _cache_words(fields["shared_words"])),
                message_s=_rate(fields["message_s"]),
                rates=tuple(_rates(item) for item in fields["rates"]),
            )
        except (KeyError, TypeError) as error:
            raise _broken("a field is missing or of a wrong type") from error
        threads = [rates.threads for rates in machine.rates]
        if not threads or threads[0] != 1 or threads != sorted(set(threads)):
            raise _broken("its numbers of threads are not ascending from 1")
        return machine


def save(machine: Machine, path: Path) -> None:
    """Writes the file, whole or not at all; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(json.dumps(machine.to_dict(), indent=1) + "\n", encoding="utf-8")
    draft.replace(path)


def load(path: Path) -> Machine:
    """Reads what ``save`` wrote. Raises ``DataError`` for anything else and ``OSError`` where there is no file."""
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise _broken("it is too long")
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _broken("it is not JSON") from error
    if not isinstance(fields, dict):
        raise _broken("it is not a JSON object")
    return Machine.from_dict(fields)


def builtin(cpu: str) -> Machine:
    """The measured machine that comes with Tacit and is most like a processor, by the name of its maker."""
    return AMD_ZEN5 if "amd" in cpu.lower() else INTEL_EMERALD_RAPIDS


def _broken(reason: str) -> DataError:
    return DataError(
        f"the calibration of this machine cannot be used: {reason}",
        hint="run `tacit about --calibrate`, which measures again and replaces it",
    )


def _rate(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _broken("a rate is not a number")
    if not 0 <= value <= MAX_RATE_S:
        raise _broken("a rate is out of range")
    return float(value)


def _whole(value: object, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise _broken("a size or a number of threads is out of range")
    return value


def _cache_words(value: object) -> int:
    return _whole(value, MAX_CACHE_WORDS)


def _rates(item: Mapping[str, Any]) -> Rates:
    if set(item) != {"threads", *QUANTITIES}:
        raise _broken("a rate is missing or unknown")
    rates = Rates(_whole(item["threads"], MAX_THREADS), tuple(_rate(item[name]) for name in QUANTITIES))
    if not any(rates.seconds):
        raise _broken("all rates are 0")
    return rates


INTEL_EMERALD_RAPIDS = Machine(
    cpu="Intel Xeon (Emerald Rapids, 2 virtual cores)",
    cpu_path="ifma",
    core="",
    origin="built in, measured 2026-11-21",
    caches=Caches(131072, 4194304),
    message_s=45e-6,
    rates=(
        Rates(
            1,
            (
                *(8e-07, 1.95e-10, 6.43e-11, 1.35e-10, 2.48e-10, 2.02e-10, 3.21e-10, 0.0),
                *(1.18e-09, 1.47e-09, 9e-09, 1.63e-09),
            ),
        ),
        Rates(
            2,
            (
                *(1.13e-06, 2.26e-10, 7.84e-11, 3e-10, 1.65e-10, 1.91e-10, 1.97e-10, 1.22e-06),
                *(1.18e-09, 1.47e-09, 9e-09, 1.63e-09),
            ),
        ),
    ),
)
AMD_ZEN5 = Machine(
    cpu="AMD EPYC (Zen 5, 2 virtual cores)",
    cpu_path="ifma",
    core="",
    origin="built in, from benchmarks of 2026-11-20",
    caches=Caches(1 << 16, 1 << 21),
    message_s=60e-6,
    rates=(
        Rates(
            1,
            (
                *(7.2e-7, 1.89e-10, 5.6e-11, 1.57e-10, 2.35e-10, 1.30e-10, 1.89e-10, 0.0),
                *(1.35e-9, 1.83e-9, 8.3e-9, 1.59e-9),
            ),
        ),
        Rates(
            2,
            (
                *(1.76e-6, 2.04e-10, 6.6e-11, 2.01e-10, 2.71e-10, 1.22e-10, 2.44e-10, 4.27e-6),
                *(1.35e-9, 1.83e-9, 8.3e-9, 1.59e-9),
            ),
        ),
    ),
)
