"""What a party knows of a job, on its disk: it outlives the process, and is never rewound.

A folder for each job: ``job.cbor`` (what was agreed, and how many sessions it had), ``openings`` (a line for each
opening before it is made), checkpoints, and at the end ``result.npz`` where this party sees it, and ``outcome.json``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cbor2
import numpy as np

from tacit.errors import DataError, MalformedMessageError
from tacit.ir.signature import Array
from tacit.runtime.checkpoint import Vault, write_durably
from tacit.runtime.job import Job
from tacit.runtime.party import Organisation

__all__ = ["Record", "records"]


@dataclass(frozen=True)
class Record:
    """``program``: its bytes; ``rows``: samples; ``attempt``: sessions that were begun; ``plan``: their hash."""

    folder: Path
    job: Job
    program: bytes
    rows: int
    plan: bytes
    attempt: int = 0

    def saved(self) -> Record:
        """Writes what was agreed. Raises ``DataError``."""
        facts = {
            "job": self.job.facts(),
            "program": self.program,
            "rows": self.rows,
            "plan": self.plan,
            "attempt": self.attempt,
        }
        write_durably(self.folder / "job.cbor", cbor2.dumps(facts))
        return self

    def begun(self, attempt: int) -> Record:
        """The record of a new session, written before it begins."""
        return replace(self, attempt=attempt).saved()

    def vault(self, organisation: Organisation) -> Vault:
        return Vault(self.folder, organisation.identity, job=self.job.id, plan=self.plan)

    def opened(self) -> frozenset[str]:
        """Names of the openings that were begun."""
        path = self.folder / "openings"
        return frozenset(path.read_text(encoding="utf-8").split("\n")[:-1]) if path.exists() else frozenset()

    def note_openings(self, names: Iterable[str]) -> None:
        """Writes that these openings are about to be made; it is on the disk when this returns."""
        write_durably(
            self.folder / "openings",
            "".join(f"{name}\n" for name in sorted({*self.opened(), *names})).encode(),
        )

    def keep_result(self, arrays: Mapping[str, Array]) -> None:
        buffer = io.BytesIO()
        named: dict[str, Any] = {
            f"{place}:{name}": array for place, (name, array) in enumerate(arrays.items())
        }
        np.savez(buffer, **named)
        write_durably(self.folder / "result.npz", buffer.getvalue())

    def result(self) -> dict[str, Array] | None:
        path = self.folder / "result.npz"
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as file:
            names = sorted(file.files, key=lambda name: int(name.partition(":")[0]))
            return {name.partition(":")[2]: file[name] for name in names}

    def end(self, outcome: Mapping[str, Any], vault: Vault) -> None:
        """Writes how it ended, and erases what only a resumption needs."""
        write_durably(self.folder / "outcome.json", json.dumps(outcome, indent=1).encode() + b"\n")
        vault.erase()

    def outcome(self) -> dict[str, Any] | None:
        path = self.folder / "outcome.json"
        if not path.exists():
            return None
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise DataError(
                f"`{path}` is damaged, or of another version of Tacit", hint="move its folder away"
            ) from None
        return found


def records(state: Path) -> list[Record]:
    """All jobs of a party. Raises ``DataError`` where one cannot be read."""
    found = []
    for path in sorted((state / "jobs").glob("*/job.cbor")):
        try:
            facts = cbor2.loads(path.read_bytes())
            job = Job.of(facts["job"])
            found.append(
                Record(path.parent, job, facts["program"], facts["rows"], facts["plan"], facts["attempt"])
            )
        except OSError as error:
            raise DataError(
                f"cannot read `{path}`: {(error.strerror or 'no reason').lower()}", hint="look at the disk"
            ) from None
        except (cbor2.CBORDecodeError, KeyError, TypeError, MalformedMessageError):
            raise DataError(
                f"`{path}` is damaged, or of another version of Tacit", hint="move its folder away"
            ) from None
    return found
