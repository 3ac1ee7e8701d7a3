"""One session of a job at one party: agree, share, compute with checkpoints, open to whom the plan says, receipt.

Nothing of an earlier session is used again: the session has a new id, the engine new seeds, and shares that come from
a checkpoint are multiplied by a public one first, which makes fresh shares of them (as any product, MP3).
An opening is noted on the disk before it is made, and never made a second time.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tacit.backends.mpc.engine import Secret
from tacit.backends.mpc.steps import Round, Steps, Words, together
from tacit.errors import DataError, InternalError, PeerMisbehavedError
from tacit.net.channel import Limits
from tacit.net.channel_connect import connect
from tacit.net.channel_faults import party_error
from tacit.runtime.party import Organisation
from tacit.runtime.play import Live, Play
from tacit.runtime.protocols import PartyEngine, Protocol
from tacit.runtime.record import Record
from tacit.runtime.report import Meter
from tacit.runtime.session import Session
from tacit.runtime.transcript import Witness

__all__ = ["Attempt", "session_of"]

Progress = Callable[[int, int], None]
"""Position and end."""


def session_of(plan: bytes, attempt: int, nonces: Sequence[bytes]) -> bytes:
    """The id of a session, 16 bytes: new, as long as one of the parties gave a new nonce."""
    digest = hashlib.sha256(b"tacit session 1" + plan + attempt.to_bytes(8, "big"))
    for nonce in nonces:
        digest.update(len(nonce).to_bytes(8, "big") + nonce)
    return digest.digest()[:16]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """``position``: of the checkpoint to begin with, 0 for the start. ``weights`` and ``inputs``: at their owners."""

    organisation: Organisation
    record: Record
    protocol: Protocol
    play: Play
    session: bytes
    position: int
    weights: Mapping[str, Words] | None
    inputs: Mapping[str, Words] | None
    limits: Limits
    progress: Progress

    def run(self) -> dict[str, Any]:
        """The receipt. Raises ``PeerError`` where another party is in the way, and other errors of this one."""
        started = time.time()
        own, record, job = self.organisation, self.record, self.record.job
        parties = [own.find(name).row() for name in job.parties]
        with connect(
            own.name, parties, own.identity, session=self.session, plan=record.plan, limits=self.limits
        ) as channel:
            witness = Witness(channel)
            meter = Meter(witness)
            session = Session(witness, self.protocol, session=self.session, plan=record.plan)
            engine = session.open(self.play.openings)
            outputs = session.run(self._compute(engine))
            opened = self._open(session, engine, outputs)
            session.run(_together(engine, -1, job.parties))
            report = meter.report()
        if own.name in job.outputs and not opened:
            raise InternalError("a receiver got no result")
        return {
            "job": job.facts(),
            "plan": record.plan.hex(),
            "program": hashlib.sha256(record.program).hexdigest(),
            "rows": record.rows,
            "session": self.session.hex(),
            "attempt": record.attempt,
            "resumed_at": self.position,
            "party": own.name,
            "pins": {party.name: party.pin for party in parties},
            "openings": {name: list(job.outputs) for name in self.play.openings},
            "transcript": witness.hashes(),
            "report": report.to_dict(),
            "started": started,
            "ended": time.time(),
        }

    def _compute(self, engine: PartyEngine) -> Steps[Live]:
        job, play = self.record.job, self.play
        holdings = yield from play.prepare(engine, self.weights, job.parties.index(job.model_at))
        if self.position:
            live = yield from self.loaded(engine)
        else:
            live = yield from play.share(
                engine, self.inputs, job.parties.index(job.data_at), self.record.rows
            )
        at = self._at(engine)
        outputs = yield from play.run(engine, holdings, live, self.position, at)
        last = at(play.end, outputs) if self.position < play.end else None
        if last is not None:
            yield from last
        return outputs

    def _at(self, engine: PartyEngine) -> Callable[[int, Live], Steps[None] | None]:
        vault, every = self.record.vault(self.organisation), self.record.job.every

        def at(position: int, live: Live) -> Steps[None] | None:
            self.progress(position, self.play.end)
            if not every or (position % every and position != self.play.end):
                return None
            # Bits have no form outside their engine: the next position that has none of them is taken.
            if not all(isinstance(value, Secret) for value in live.values()):
                return None
            arrays = {
                name: [np.array(value.shape, dtype=np.uint64), *engine.arrays(value)]
                for name, value in live.items()
            }
            vault.save(position, arrays)
            # Nobody goes on before all have saved: so the last two checkpoints of all have one in common.
            return _together(engine, position, self.record.job.parties)

        return at

    def loaded(self, engine: PartyEngine) -> Steps[Live]:
        """The secrets of the checkpoint, in shares that were in no session before."""
        stored = self.record.vault(self.organisation).load(self.position)
        old = []
        for shape, *arrays in stored.values():
            old.append(engine.adopt(arrays, tuple(int(size) for size in shape)))
        ones = [engine.public(np.ones(x.shape, dtype=np.uint64)) for x in old]
        fresh = yield from together(*(engine.multiply(x, one) for x, one in zip(old, ones, strict=True)))
        return dict(zip(stored, fresh, strict=True))

    def _open(self, session: Session, engine: PartyEngine, outputs: Live) -> bool:
        record, job, play = self.record, self.record.job, self.play
        if again := record.opened() & set(play.openings):
            raise DataError(
                f"the opening `{min(again)}` of job `{job.id}` was begun in an earlier session",
                hint="nothing is opened twice: start a new job",
            )
        record.note_openings(play.openings)
        words = session.run(play.reveal(engine, outputs, job.receivers))
        found = {name: value for name, value in words.items() if value is not None}
        if session.index in job.receivers:
            record.keep_result(play.decode(found))
        return bool(found)


def _together(engine: PartyEngine, position: int, names: Sequence[str]) -> Steps[None]:
    """All parties are at a position before any goes on. Public: it depends on the plan only."""
    others = [party for party in range(engine.parties) if party != engine.index]
    word = np.array([position % (1 << 64)], dtype=np.uint64)
    inbox = yield Round({party: [word] for party in others}, {party: [1] for party in others})
    for party in others:
        if inbox[party][0][0] != word[0]:
            raise party_error(
                PeerMisbehavedError,
                names[party],
                f"`{names[party]}` is at another position of the job",
                hint="compare versions of Tacit",
            )
