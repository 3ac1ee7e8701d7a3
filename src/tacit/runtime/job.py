"""`job.toml`: which model on which data, computed by whom, and who sees the result. And whether a party agrees."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cbor2

from tacit.errors import MalformedMessageError, PlanRefusedError, TacitError
from tacit.net.channel import checked_name, checked_names
from tacit.runtime.party import ANY, Organisation, Rule
from tacit.runtime.protocols import named
from tacit.runtime.toml import read

__all__ = ["Job", "agree", "load_job"]

_ID_BYTES = 8
_MOST_LAYERS = 1 << 20


@dataclass(frozen=True)
class Job:
    """``model`` and ``data``: ``OWNER/NAME``. ``parties``: in the order of their roles. ``every``: layers between two
    checkpoints, 0 for none. ``starter``: who proposes it."""

    id: str
    starter: str
    model: str
    data: str
    outputs: tuple[str, ...]
    parties: tuple[str, ...]
    protection: str
    every: int

    @property
    def model_at(self) -> str:
        return self.model.partition("/")[0]

    @property
    def data_at(self) -> str:
        return self.data.partition("/")[0]

    @property
    def receivers(self) -> tuple[int, ...]:
        """Numbers of the parties that see the result."""
        return tuple(self.parties.index(name) for name in self.outputs)

    def facts(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "starter": self.starter,
            "model": self.model,
            "data": self.data,
            "outputs": list(self.outputs),
            "parties": list(self.parties),
            "protection": self.protection,
            "every": self.every,
        }

    @staticmethod
    def of(facts: Mapping[str, Any]) -> Job:
        """Checks what another party sent. Raises ``MalformedMessageError``."""
        try:
            texts = [facts[key] for key in ("id", "starter", "model", "data", "protection")]
            lists = [facts[key] for key in ("outputs", "parties")]
            every = facts["every"]
            if not (
                len(facts) == 8
                and all(isinstance(text, str) and 0 < len(text) <= 200 for text in texts)
                and all(isinstance(names, list) and names for names in lists)
                and all(isinstance(name, str) for names in lists for name in names)
                and type(every) is int
                and 0 <= every <= _MOST_LAYERS
            ):
                raise KeyError
            job = Job(
                texts[0],
                texts[1],
                texts[2],
                texts[3],
                tuple(lists[0]),
                tuple(lists[1]),
                texts[4],
                every,
            )
            job.check()
            return job
        except (KeyError, TacitError):
            raise MalformedMessageError(
                "a job has another form", hint="ask for the version of Tacit of who started it"
            ) from None

    def check(self) -> None:
        """Raises ``TacitError`` where the parts do not fit together."""
        checked_names(self.parties)
        checked_name(self.id)
        protocol = named(self.protection)
        computing = [
            name for name, role in zip(self.parties, protocol.roles, strict=True) if role != "dealer"
        ]
        for owner in (self.model_at, self.data_at, *self.outputs):
            if owner not in computing:
                raise MalformedMessageError(f"`{owner}` is no computing party of the job")
        if "/" not in self.model or "/" not in self.data or len(set(self.outputs)) < len(self.outputs):
            raise MalformedMessageError("a job names model and data as `OWNER/NAME`, and each receiver once")

    def digest(self, program: bytes, rows: int, pins: Sequence[str]) -> bytes:
        """What the hellos of its sessions agree on: 32 bytes of the job, the program, the rows, and who takes part."""
        facts = [self.facts(), hashlib.sha256(program).digest(), rows, list(pins)]
        return hashlib.sha256(b"tacit job 1" + cbor2.dumps(facts, canonical=True)).digest()


def load_job(path: Path) -> tuple[Job, Path]:
    """The job of a file, with a new id, and the `party.toml` of who starts it.

    Raises ``DataError`` and ``InvalidParameterError``, naming file, key and fix.
    """
    table = read(path, "the `job.toml` of a job")
    party = table.place("party")
    starter = read(party, "the `party.toml` of who starts the job").text("name")
    protection = table.text("protection")
    protocol = table.checked("protection", lambda: named(protection))
    parties = table.texts("parties")
    if len(parties) != len(protocol.roles):
        raise table.wrong(
            "parties", f"has {len(protocol.roles)} names for `{protection}`", f"roles: {protocol.roles}"
        )
    model, data, outputs = table.text("model"), table.text("data"), table.texts("outputs")
    every = table.number("checkpoint_every", 1, low=0, high=_MOST_LAYERS)
    job = Job(secrets.token_hex(_ID_BYTES), starter, model, data, outputs, parties, protection, every)
    for key, value in (("model", model), ("data", data)):
        if "/" not in value:
            raise table.wrong(key, "names an owner and what it offers", f'write `{key} = "OWNER/NAME"`')
    if not outputs:
        raise table.wrong("outputs", "names nobody", "list who may see the result")
    table.checked("parties", job.check)
    table.end()
    return job, party


def agree(organisation: Organisation, job: Job, plan: str | None) -> None:
    """Raises ``PlanRefusedError`` unless one of the organisation's rules agrees to all of the job.

    ``plan``: SHA-256 of the program, in hexadecimal; None before there is one.
    """
    findings: list[str] = []
    for number, rule in enumerate(organisation.rules):
        missing = _missing(rule, job, plan)
        if not missing:
            return
        findings.append(f"accepts[{number}]: " + "; ".join(missing))
    raise PlanRefusedError(
        f"`{organisation.name}` does not accept the job"
        + (f": {' | '.join(findings)}" if findings else ": it has no `[[accepts]]`"),
        findings=tuple(findings),
        hint=f"ask `{organisation.name}` to agree to it in its `[[accepts]]`",
    )


def _missing(rule: Rule, job: Job, plan: str | None) -> list[str]:
    wanted = (
        ("starters", rule.starters, (job.starter,)),
        ("models", rule.models, (job.model,)),
        ("data", rule.data, (job.data,)),
        ("outputs", rule.outputs, job.outputs),
        ("protections", rule.protections, (job.protection,)),
        ("plans", rule.plans, () if plan is None else (plan,)),
    )
    return [
        f"`{value}` is not in `{key}`"
        for key, allowed, values in wanted
        for value in values
        if value not in allowed and ANY not in allowed
    ]
