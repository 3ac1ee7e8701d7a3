"""What a party of this machine needs for each quantity of work under `mpc`: measured once, kept as JSON.

Seconds of a run are a sum over the quantities, each times its rate, all parties on one machine and TLS between them:
what three parties on two cores take from each other is in the rates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tacit.backends.mpc.network import LOOPBACK, Network
from tacit.backends.mpc.rehearsal import Work
from tacit.backends.mpc.steps import Tally
from tacit.errors import DataError

__all__ = ["FORMAT", "INTEL_XEON", "VARIANTS", "Amounts", "Machine", "fit", "load", "save"]

FORMAT = 1
"""Of the file. Files of another format are refused: measuring again takes seconds."""
MAX_FILE_BYTES = 1 << 14
MAX_RATE_S = 1.0
VARIANTS = ("replicated3", "dealer2")
"""Protocols that are measured."""


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """One run of one party: the call of it, calls of primitives, rounds, bytes that the busiest party sends, ring
    multiplications of products, elements that are multiplied, cut or selected, bits that are compared."""

    runs: float = 1.0
    calls: float = 0.0
    rounds: float = 0.0
    sent_bytes: float = 0.0
    products: float = 0.0
    elements: float = 0.0
    compared_bits: float = 0.0

    @staticmethod
    def of(tally: Tally, work: Work, calls: int) -> Amounts:
        """What a rehearsal counted."""
        return Amounts(
            calls=calls,
            rounds=tally.rounds,
            sent_bytes=max(tally.bits, default=0) / 8,
            products=work.products,
            elements=work.elements,
            compared_bits=work.compared_bits,
        )

    def vector(self) -> NDArray[np.float64]:
        return np.array([getattr(self, each.name) for each in fields(self)], dtype=np.float64)


_NAMES = tuple(each.name for each in fields(Amounts))
_SENT = _NAMES.index("sent_bytes")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """``cpu``: model name; ``cpu_path``: instruction set of the native core, ``core``: its build, that were measured.

    ``origin``: when and how it was measured. ``rates``: by variant, seconds of one of each of `Amounts`.
    """

    cpu: str
    cpu_path: str
    core: str
    origin: str
    rates: Mapping[str, tuple[float, ...]]

    def __str__(self) -> str:
        return f"{self.cpu}, {self.cpu_path}, {self.origin}"

    def seconds(self, variant: str, amounts: Amounts, network: Network = LOOPBACK) -> float:
        """Of one run among parties on machines like this one; waiting and sending are not overlapped with work."""
        rates = self.rates[variant]
        # What messages take on this machine already: a wire that is faster than that is not waited for.
        carried = amounts.sent_bytes * rates[_SENT]
        late = max(0.0, amounts.sent_bytes / network.bytes_per_s - carried)
        return float(np.dot(rates, amounts.vector())) + amounts.rounds * network.latency_s + late

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "format": FORMAT,
            "cpu": self.cpu,
            "cpu_path": self.cpu_path,
            "core": self.core,
            "origin": self.origin,
            "rates": {
                variant: dict(zip(_NAMES, rates, strict=True)) for variant, rates in self.rates.items()
            },
        }

    @staticmethod
    def from_dict(found: Mapping[str, Any]) -> Machine:
        """Reads ``to_dict``. Raises ``DataError`` for anything else."""
        try:
            if found["format"] != FORMAT:
                raise _broken(f"it is of another format than {FORMAT}, which this version reads")
            texts = {name: found[name] for name in ("cpu", "cpu_path", "core", "origin")}
            if not all(isinstance(t, str) and len(t) <= 200 and t.isprintable() for t in texts.values()):
                raise _broken("a name is too long or no text")
            rates = {variant: _rates(found["rates"][variant]) for variant in VARIANTS}
        except (KeyError, TypeError) as error:
            raise _broken("a field is missing or of a wrong type") from error
        return Machine(**texts, rates=rates)


def fit(measured: Sequence[tuple[Amounts, float]]) -> tuple[tuple[float, ...], float]:
    """Rates that explain measured seconds best, and the largest ratio of seconds to their explanation, >= 1.

    Non-negative least squares of relative errors (Lawson and Hanson, 1974, chapter 23).
    """
    from scipy.optimize import nnls

    rows = np.array([amounts.vector() / seconds for amounts, seconds in measured])
    scale = np.abs(rows).max(axis=0)
    scale[scale == 0] = 1.0
    found, _ = nnls(rows / scale, np.ones(len(rows)))
    rates = tuple(float(rate) for rate in found / scale)
    ratios = rows @ np.array(rates)
    return rates, float(np.max(np.maximum(ratios, 1.0 / np.maximum(ratios, 1e-9))))


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
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _broken("it is not JSON") from error
    if not isinstance(found, dict):
        raise _broken("it is not a JSON object")
    return Machine.from_dict(found)


def _rates(item: Mapping[str, Any]) -> tuple[float, ...]:
    if set(item) != set(_NAMES):
        raise _broken("a rate is missing or unknown")
    rates = tuple(_rate(item[name]) for name in _NAMES)
    if not any(rates):
        raise _broken("all rates are 0")
    return rates


def _rate(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _broken("a rate is not a number")
    if not 0 <= value <= MAX_RATE_S:
        raise _broken("a rate is out of range")
    return float(value)


def _broken(reason: str) -> DataError:
    return DataError(
        f"the calibration of this machine for `mpc` cannot be used: {reason}",
        hint="run `tacit about --calibrate`, which measures again and replaces it",
    )


INTEL_XEON = Machine(
    cpu="Intel Xeon (2 virtual cores)",
    cpu_path="ifma",
    core="",
    origin="built in, measured 2026-11-22",
    rates={
        "replicated3": (5.0e-4, 6.4e-5, 1.7e-4, 0.0, 7.0e-10, 7.3e-8, 3.1e-9),
        "dealer2": (3.9e-4, 6.8e-5, 3.0e-4, 1.5e-9, 6.0e-10, 6.6e-8, 0.0),
    },
)
