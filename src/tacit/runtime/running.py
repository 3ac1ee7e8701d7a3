"""A party that is up: it takes jobs that its rules accept, computes them one at a time, and resumes what was cut off.

Every job goes through the same calls: its starter asks the model's owner to `compile`, all parties to agree (`propose`:
each gives a nonce), and all to `begin`. When a session is cut off, the first party of the job asks all where they are
(`standing`) and has them `resume` at the newest checkpoint that all have, in a new session with new nonces.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tacit.backends.mpc.steps import Words
from tacit.errors import (
    AccessDeniedError,
    BusyError,
    DataError,
    InvalidParameterError,
    MalformedMessageError,
    NotServedError,
    PeerError,
    PeerIncompatibleError,
    PeerMisbehavedError,
    TacitError,
    TlsError,
)
from tacit.net.channel import Limits
from tacit.runtime.attempt import Attempt, session_of
from tacit.runtime.calls import Answer, Desk
from tacit.runtime.job import Job, agree
from tacit.runtime.messages import Message, error_of, facts_of
from tacit.runtime.party import Organisation
from tacit.runtime.play import Play, Plays, Samples
from tacit.runtime.protocols import Protocol, named
from tacit.runtime.record import Record, records

__all__ = ["RESUME_S", "Running", "Tell", "World"]

MOST_CUTS = 8
"""Sessions of a job in a row that may be cut off without getting any further; then the job has failed."""
RESUME_S = 600.0
"""How long a job that was cut off waits for all its parties."""
NONCE_BYTES = 32
_MOST_PROPOSED = 64
_ENDING_S = 3.0

Tell = Callable[[str, Mapping[str, Any]], None]
"""What happened, with plain facts."""


@dataclass(frozen=True)
class World:
    """What a party needs from outside. ``protocol``: by its name."""

    plays: Plays
    samples: Samples
    tell: Tell
    limits: Limits = field(default_factory=Limits)
    protocol: Callable[[str], Protocol] = named
    resume_s: float = RESUME_S


@dataclass
class Held:
    """A job in this process. ``state``: proposed, running, interrupted, done or failed."""

    record: Record
    nonce: bytes
    state: str = "proposed"
    position: int = 0
    end: int = 0
    since: float = 0.0
    error: dict[str, Any] | None = None
    receipt: dict[str, Any] | None = None
    cuts: int = 0
    """Sessions in a row that were cut off before a later position than ``furthest``."""
    furthest: int = -1

    def facts(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "attempt": self.record.attempt,
            "position": self.position,
            "end": self.end,
            "error": self.error,
            "receipt": self.receipt,
        }


class Running:
    """Up from when it is made until ``close``. Its calls come in threads of the desk, its work has one of its own."""

    def __init__(self, organisation: Organisation, world: World) -> None:
        self.organisation, self.world = organisation, world
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.jobs: dict[str, Held] = {}
        self.over = threading.Event()
        self._weights: dict[tuple[str, bytes], dict[str, Words]] = {}
        self._worker: threading.Thread | None = None
        for record in records(organisation.state):
            self.jobs[record.job.id] = _revived(record)
        self._handlers: dict[str, Callable[[str, Message], dict[str, Any]]] = {
            "who": self._who,
            "compile": self._compile,
            "propose": self._propose,
            "begin": self._begin,
            "standing": self._standing,
            "resume": self._resume,
            "settle": self._settle,
            "status": self._status,
        }
        self._desk = Desk(organisation, self._handle)

    def close(self) -> None:
        """Ends: what runs is cut off, and resumed when the party is up again."""
        self._desk.close()
        self.over.set()
        if self._worker is not None:
            self._worker.join(_ENDING_S)

    def interrupted(self) -> list[Held]:
        """Jobs that wait to be resumed."""
        with self.lock:
            return [held for held in self.jobs.values() if held.state == "interrupted"]

    def answer(self, kind: str, who: str, facts: dict[str, Any]) -> dict[str, Any]:
        """What a call is answered with."""
        return self._handle(who, Message(kind, facts))[0]

    def settle(self, held: Held, state: str, error: dict[str, Any] | None) -> None:
        """Ends a job for good."""
        with self.changed:
            held.state, held.error = state, error
            outcome = {"state": state, "error": error, "receipt": held.receipt}
            try:
                held.record.end(outcome, held.record.vault(self.organisation))
            except DataError as problem:
                # It ended here all the same; a party that is started again takes it for one that was cut off.
                self.world.tell(
                    "ended, but that is not on the disk",
                    {"job": held.record.job.id, "error": facts_of(problem)},
                )
            self.changed.notify_all()
        self.world.tell(state, {"job": held.record.job.id, "error": error})

    def _handle(self, who: str, question: Message) -> Answer:
        handler = self._handlers.get(question.kind)
        if handler is None:
            raise MalformedMessageError(f"there is no call `{question.kind[:40]}`", hint="compare versions")
        try:
            return handler(who, question), ()
        except (KeyError, TypeError, ValueError):
            raise MalformedMessageError(f"the call `{question.kind}` has another form") from None

    def _who(self, who: str, question: Message) -> dict[str, Any]:
        own = self.organisation
        return {"name": own.name, "caller": who, "session_port": own.session_port, "jobs": len(self.jobs)}

    def _compile(self, who: str, question: Message) -> dict[str, Any]:
        job = self._of_starter(who, question)
        agree(self.organisation, job, None)
        program, plan = self._program(job)
        agree(self.organisation, job, plan)
        return {"program": program}

    def _propose(self, who: str, question: Message) -> dict[str, Any]:
        own = self.organisation
        job, program = self._of_starter(who, question), bytes(question.facts["program"])
        agree(own, job, hashlib.sha256(program).hexdigest())
        if own.name not in job.parties:
            raise InvalidParameterError(f"`{own.name}` is no party of the job")
        for name in job.parties:
            own.find(name)
        self.world.plays.read(program)
        rows = len(self._samples(job)) if job.data_at == own.name else 0
        record = Record(own.state / "jobs" / job.id, job, program, rows, b"")
        with self.lock:
            if job.id in self.jobs:
                raise PeerMisbehavedError("a job of this id was proposed before", hint="run it again")
            proposed = [held for held in self.jobs.values() if held.state == "proposed"]
            for held in proposed[: max(0, len(proposed) + 1 - _MOST_PROPOSED)]:
                del self.jobs[held.record.job.id]
            held = self.jobs[job.id] = Held(record, secrets.token_bytes(NONCE_BYTES))
        return {"nonce": held.nonce, "rows": rows}

    def _begin(self, who: str, question: Message) -> dict[str, Any]:
        with self.lock:
            held = self._job(question, state="proposed")
            job, own = held.record.job, self.organisation
            if who != job.starter:
                raise AccessDeniedError(f"`{who}` did not propose this job")
            rows, nonces = int(question.facts["rows"]), [bytes(each) for each in question.facts["nonces"]]
            if job.data_at == own.name and rows != held.record.rows:
                raise PeerMisbehavedError(f"`{who}` names another number of rows than the data has")
            pins = [own.find(name).pin for name in job.parties]
            plan = job.digest(held.record.program, rows, pins)
            held.record = Record(held.record.folder, job, held.record.program, rows, plan)
            self._launch(held, nonces, 0, 1)
        return {}

    def _resume(self, who: str, question: Message) -> dict[str, Any]:
        with self.lock:
            held = self._job(question, state="interrupted")
            if who != held.record.job.parties[0]:
                raise AccessDeniedError(f"`{who}` is not the first party of this job")
            position = int(question.facts["position"])
            if position and position not in held.record.vault(self.organisation).positions():
                raise NotServedError(f"`{self.organisation.name}` has no checkpoint {position} of this job")
            attempt = int(question.facts["attempt"])
            if attempt <= held.record.attempt:
                raise PeerMisbehavedError(f"`{who}` names a session of the job that was before")
            self._launch(held, [bytes(each) for each in question.facts["nonces"]], position, attempt)
        return {}

    def _standing(self, who: str, question: Message) -> dict[str, Any]:
        with self.lock:
            held = self._job(question)
            self._check_party(who, held)
            held.nonce = secrets.token_bytes(NONCE_BYTES)
            return {
                "state": held.state,
                "error": held.error,
                "attempt": held.record.attempt,
                "positions": held.record.vault(self.organisation).positions(),
                "opened": sorted(held.record.opened()),
                "has_result": held.record.result() is not None,
                "nonce": held.nonce,
            }

    def _settle(self, who: str, question: Message) -> dict[str, Any]:
        with self.lock:
            held = self._job(question, state="interrupted")
            if who != held.record.job.parties[0]:
                raise AccessDeniedError(f"`{who}` is not the first party of this job")
            error = question.facts["error"]
            self.settle(held, "failed" if error else "done", error)
        return {}

    def _status(self, who: str, question: Message) -> dict[str, Any]:
        deadline = time.monotonic() + min(float(question.facts["wait_s"]), 20.0)
        with self.changed:
            held = self._job(question)
            self._check_party(who, held)
            while held.state == "running" and not self.over.is_set():
                if (left := deadline - time.monotonic()) <= 0:
                    break
                self.changed.wait(left)
            return held.facts()

    def _launch(self, held: Held, nonces: list[bytes], position: int, attempt: int) -> None:
        place = held.record.job.parties.index(self.organisation.name)
        if len(nonces) != len(held.record.job.parties) or nonces[place] != held.nonce:
            raise PeerMisbehavedError("the nonce of this party is not among those of the session")
        if any(other.state == "running" for other in self.jobs.values()):
            raise BusyError(f"`{self.organisation.name}` computes another job")
        held.nonce = b""
        held.record = held.record.begun(attempt)
        session = session_of(held.record.plan, held.record.attempt, nonces)
        held.state, held.error, held.position = "running", None, position
        self._worker = threading.Thread(
            target=self._work, args=(held, session, position), name="job", daemon=True
        )
        self._worker.start()

    def _work(self, held: Held, session: bytes, position: int) -> None:
        job, own = held.record.job, self.organisation
        self.world.tell(
            "running",
            {"job": job.id, "attempt": held.record.attempt, "position": position, "model": job.model},
        )
        try:
            play = self.world.plays.read(held.record.program)
            attempt = Attempt(
                organisation=own,
                record=held.record,
                protocol=self.world.protocol(job.protection),
                play=play,
                session=session,
                position=position,
                weights=self._weights_of(held.record) if job.model_at == own.name else None,
                inputs=self._inputs_of(held.record, play) if job.data_at == own.name else None,
                limits=self.world.limits,
                progress=lambda at, end: self._progress(held, at, end),
            )
            receipt = attempt.run()
        except Exception as error:
            self._failed(held, error)
            return
        held.receipt = receipt
        self.settle(held, "done", None)

    def _failed(self, held: Held, error: Exception) -> None:
        """A session that another party cut off is resumed; what this party itself found ends the job."""
        is_cut = isinstance(error, PeerError) and not isinstance(
            error, PeerMisbehavedError | PeerIncompatibleError | TlsError
        )
        held.cuts = held.cuts + 1 if held.position <= held.furthest else 1
        held.furthest = max(held.furthest, held.position)
        if not is_cut or not held.record.job.every or held.cuts > MOST_CUTS:
            self.settle(held, "failed", facts_of(error))
            return
        with self.changed:
            held.state, held.since, held.error = "interrupted", time.monotonic(), facts_of(error)
            self.changed.notify_all()
        self.world.tell("interrupted", {"job": held.record.job.id, "error": held.error})

    def _progress(self, held: Held, position: int, end: int) -> None:
        if self.over.is_set():
            raise BusyError(f"`{self.organisation.name}` ends")
        with self.changed:
            held.position, held.end = position, end

    def _program(self, job: Job) -> tuple[bytes, str]:
        program, weights = self._compiled(job)
        digest = hashlib.sha256(program)
        with self.lock:
            self._weights = {(job.model, digest.digest()): weights}
        return program, digest.hexdigest()

    def _compiled(self, job: Job) -> tuple[bytes, dict[str, Words]]:
        own = self.organisation
        name = job.model.partition("/")[2]
        if job.model_at != own.name or name not in own.models:
            raise NotServedError(
                f"`{own.name}` offers no model `{name}`",
                hint=f"it would be in `{own.path.name}` as `offers.models`",
            )
        offered = own.models[name]
        calibration = None if offered.calibration is None else self.world.samples(offered.calibration)
        return self.world.plays.compile(offered.file, calibration)

    def _weights_of(self, record: Record) -> dict[str, Words]:
        """Of the model that the job names, and of no other one whose program was proposed instead."""
        wanted = record.job.model, hashlib.sha256(record.program).digest()
        found = self._weights.get(wanted)
        if found is not None:
            return found
        program, weights = self._compiled(record.job)
        if program != record.program:
            raise InvalidParameterError(
                "the model is no longer the one of the job", hint="bring its file back, or start a new job"
            )
        return weights

    def _inputs_of(self, record: Record, play: Play) -> dict[str, Words]:
        samples = self._samples(record.job)
        if len(samples) != record.rows:
            raise InvalidParameterError(
                "the data is no longer that of the job", hint="bring its file back, or start a new job"
            )
        return play.inputs(samples)

    def _samples(self, job: Job) -> Any:
        own = self.organisation
        name = job.data.partition("/")[2]
        if name not in own.data:
            raise NotServedError(
                f"`{own.name}` offers no data `{name}`",
                hint=f"it would be in `{own.path.name}` as `offers.data`",
            )
        return self.world.samples(own.data[name])

    def _of_starter(self, who: str, question: Message) -> Job:
        job = Job.of(question.facts["job"])
        if who != job.starter:
            raise AccessDeniedError(f"`{who}` proposes a job of `{job.starter}`")
        return job

    def _job(self, question: Message, *, state: str | None = None) -> Held:
        held = self.jobs.get(str(question.facts["id"]))
        if held is None:
            raise NotServedError(f"`{self.organisation.name}` knows no such job", hint="start it again")
        if state is not None and held.state != state:
            raise BusyError(f"the job is {held.state} at `{self.organisation.name}`, and not {state}")
        return held

    def _check_party(self, who: str, held: Held) -> None:
        if who not in (held.record.job.starter, *held.record.job.parties):
            raise AccessDeniedError(f"`{who}` has no part in this job")


def _revived(record: Record) -> Held:
    """A job as the disk has it: one that did not end was cut off."""
    outcome = record.outcome()
    if outcome is None:
        held = Held(record, b"", "interrupted", since=time.monotonic())
        held.error = facts_of(TacitError("this party ended while the job ran"))
        return held
    return Held(record, b"", str(outcome["state"]), error=outcome["error"], receipt=outcome["receipt"])


def reason(facts: Mapping[str, Any] | None) -> TacitError:
    """Why a job is not done."""
    return error_of(facts or {})
