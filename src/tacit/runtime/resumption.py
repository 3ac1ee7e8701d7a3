"""How a job that was cut off goes on: its first party finds out where all are, and has them begin a new session there.

What one party may decide alone is little: each checks that it has the checkpoint, that the number of the session is the
next one, and that its own new nonce is in the id. An opening that was begun anywhere is never made again: the job is
done if every receiver has the result, and else it fails.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from tacit.errors import NotServedError, PeerError, PeerTimeoutError, RevealError, TacitError
from tacit.net.channel_faults import party_error
from tacit.runtime.calls import call
from tacit.runtime.messages import facts_of
from tacit.runtime.running import Held, Running

__all__ = ["Resumption"]

_EVERY_S = 0.3
_ASK_S = 5.0


class Resumption:
    """A thread beside a running party that looks after its interrupted jobs."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._thread = threading.Thread(target=self._watch, name="resumption", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """After the party has closed."""
        self._thread.join(_ASK_S)

    def _watch(self) -> None:
        running = self._running
        while not running.over.wait(_EVERY_S):
            for held in running.interrupted():
                job = held.record.job
                try:
                    if job.parties[0] == running.organisation.name:
                        self._take_up(held)
                    elif time.monotonic() - held.since > running.world.resume_s:
                        running.settle(held, "failed", facts_of(_too_late(job.parties[0])))
                except TacitError as error:
                    running.world.tell("waiting", {"job": job.id, "error": facts_of(error)})

    def _take_up(self, held: Held) -> None:
        running, job = self._running, held.record.job
        standings: dict[str, dict[str, Any]] = {}
        for name in job.parties:
            try:
                standings[name] = self._ask(name, "standing", {"id": job.id})
            except NotServedError as error:
                self._settle(held, standings, facts_of(error))  # it never began
                return
            except PeerError:
                if time.monotonic() - held.since > running.world.resume_s:
                    self._settle(held, standings, facts_of(_too_late(name)))
                return
        if any(standing["state"] == "running" for standing in standings.values()):
            return  # it has not yet seen that the session is over
        failed = next((each for each in standings.values() if each["state"] == "failed"), None)
        if failed is not None:
            self._settle(held, standings, failed["error"])
        elif any(standing["opened"] for standing in standings.values()):
            is_done = all(standings[name]["has_result"] for name in job.outputs)
            self._settle(held, standings, None if is_done else facts_of(_opened()))
        else:
            self._go_on(held, standings)

    def _go_on(self, held: Held, standings: dict[str, dict[str, Any]]) -> None:
        job = held.record.job
        common = set.intersection(*(set(standing["positions"]) for standing in standings.values()))
        facts = {
            "id": job.id,
            "attempt": max(standing["attempt"] for standing in standings.values()) + 1,
            "position": max(common, default=0),
            "nonces": [standings[name]["nonce"] for name in job.parties],
        }
        for name in reversed(job.parties):
            self._ask(name, "resume", facts)

    def _settle(self, held: Held, standings: dict[str, dict[str, Any]], error: dict[str, Any] | None) -> None:
        for name in reversed(held.record.job.parties):
            if name in standings and standings[name]["state"] == "interrupted":
                self._ask(name, "settle", {"id": held.record.job.id, "error": error})

    def _ask(self, name: str, kind: str, facts: dict[str, Any]) -> dict[str, Any]:
        own = self._running.organisation
        if name == own.name:
            return self._running.answer(kind, name, facts)
        return call(own, own.peers[name], kind, facts, timeout_s=_ASK_S).facts


def _too_late(name: str) -> PeerTimeoutError:
    return party_error(
        PeerTimeoutError,
        name,
        f"`{name}` did not come back in time to resume the job",
        hint=f"see that `{name}` is up, and start a new job",
    )


def _opened() -> RevealError:
    return RevealError(
        "the session was cut off while its result was opened, and nothing is opened twice",
        hint="start a new job",
    )
