"""Who starts a job: has the model compiled, all parties agree and begin; then watches, and compares receipts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tacit.errors import ConnectError, PeerMisbehavedError, PeerTimeoutError, TlsError
from tacit.net.channel_faults import party_error
from tacit.runtime.calls import call
from tacit.runtime.job import Job
from tacit.runtime.messages import error_of
from tacit.runtime.party import Organisation

__all__ = ["Outcome", "check_receipts", "run_job"]

COMPILE_S = 600.0
_POLL_S = 2.0
_BACK_S = 600.0
_AWAY = (ConnectError, PeerTimeoutError)

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Outcome:
    """``receipts``: of each party; none of one that was cut off after the result was opened to all who see it.

    ``resumed``: how many sessions were cut off before the last.
    """

    job: Job
    receipts: Mapping[str, Mapping[str, Any]]

    @property
    def resumed(self) -> int:
        return max((int(receipt["attempt"]) for receipt in self.receipts.values()), default=1) - 1


def run_job(own: Organisation, job: Job, *, progress: Progress) -> Outcome:
    """Runs a job to its end, through resumptions. Raises what a party finds, with its name."""
    peers = {name: own.find(name) for name in (*job.parties, job.model_at, job.data_at)}
    progress("compile", 0.0)
    facts = {"job": job.facts()}
    program = call(own, peers[job.model_at], "compile", facts, timeout_s=COMPILE_S).facts["program"]
    progress("propose", 0.0)
    agreed = {
        name: call(own, peers[name], "propose", {**facts, "program": program}).facts for name in job.parties
    }
    nonces = [agreed[name]["nonce"] for name in job.parties]
    begin = {"id": job.id, "rows": agreed[job.data_at]["rows"], "nonces": nonces}
    for name in reversed(job.parties):
        # Whether a party that dies while it answers has begun is seen below.
        with contextlib.suppress(*_AWAY):
            call(own, peers[name], "begin", begin)
    waited = {name: _wait(own, job, name, progress) for name in job.parties}
    receipts = {name: receipt for name, receipt in waited.items() if receipt is not None}
    check_receipts(job, receipts)
    return Outcome(job, receipts)


def _wait(own: Organisation, job: Job, name: str, progress: Progress) -> Mapping[str, Any] | None:
    """The receipt of one party, once it is done. A party that is not there is given time to come back."""
    gone_since: float | None = None
    while True:
        try:
            found = call(own, own.find(name), "status", {"id": job.id, "wait_s": _POLL_S}).facts
        except _AWAY as error:
            gone_since = gone_since or time.monotonic()
            if isinstance(error, TlsError) or time.monotonic() - gone_since > _BACK_S:
                raise
            time.sleep(_POLL_S / 4)
            continue
        gone_since = None
        if found["state"] == "done":
            receipt: Mapping[str, Any] | None = found["receipt"]
            return receipt
        if found["state"] == "failed":
            raise error_of(found["error"] or {})
        progress(found["state"], found["position"] / max(1, found["end"]))
        if found["state"] == "interrupted":
            time.sleep(_POLL_S / 4)


def check_receipts(job: Job, receipts: Mapping[str, Mapping[str, Any]]) -> None:
    """What each party sent is what the other received. Raises ``PeerMisbehavedError``."""
    for name, receipt in receipts.items():
        for peer, hashes in receipt["transcript"].items():
            if peer in receipts and hashes["sent"] != receipts[peer]["transcript"][name]["received"]:
                raise party_error(
                    PeerMisbehavedError,
                    peer,
                    f"the receipts of `{name}` and `{peer}` disagree about what `{name}` sent",
                    hint="do not use the result; compare the logs of both",
                )
    if len({(receipt["plan"], receipt["session"]) for receipt in receipts.values()}) > 1:
        raise PeerMisbehavedError(f"the receipts of job `{job.id}` are of different plans or sessions")
