"""Encrypted prediction: Tacit and its peers in turns, in one run, on the same model and the same rows.

`seconds` is the provider's time from request bytes to response bytes: reading, computing, writing. The provider has a
process of its own, whose peak memory is `rss_bytes`; so has each peer, with its owner's role inside. Every row checks
answers of the same run: all labels as in the clear and, for Tacit, the largest error within the promised bound. Where
that bound is measured and not proven, labels near a tie may differ, and the accuracy counts: within 0.3 points of clear
(one row, of fewer than 334). `--stop-after` ends the check early: its row is of the answers so far, and says so.

A peer runs in the interpreter that `TACIT_PEER_NAME` names, else in `.venv-peers/NAME`; one that does not run is
reported as absent with the reason. `peers.py` lists them and how to install each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measurement import RESULTS, Row, machine, show
from numpy.typing import NDArray
from partner import Partner, PartnerError, take_turns
from peers import Absent, RunningPeer, start_peers
from prediction_tasks import NAMED, TASKS, Problem, problem

import tacit
from tacit._native import cpu_path
from tacit.backends.ckks.compiled import Compiled
from tacit.backends.ckks.simulation import Simulation
from tacit.errors import TacitError

THREADS = 2
PAUSE_S = 0.25
"""Between turns: an idle thread of OpenMP computes for up to 0.2 s before it sleeps."""
QUICK_PEERS_S = 40.0
"""What peers may take of a quick run; each task has an equal part."""
ACCURACY_LOSS = 0.003
"""Of plans whose error is measured: what their accuracy may be below the clear one."""
TOLD_EVERY = 10
"""Answers between two lines of progress, once ``QUIET_S`` have passed."""
QUIET_S = 10.0
PROVIDER = Path(__file__).resolve().parent / "provider_process.py"

Array = NDArray[np.float64]


class Roles:
    """An owner in this process and a provider in its own; messages between them are files in ``folder``."""

    def __init__(self, task: Problem, folder: Path, *, threads: int) -> None:
        graph = tacit.load(task.model)
        provider = tacit.Provider.from_model(
            graph,
            calibration=task.calibration,
            batch=task.batch,
            max_error=task.max_error,
            measured=task.measured,
            check=0,
            threads=threads,
        )
        if provider.plan is None:
            raise ValueError("a provider made from a model has a plan")
        self.plan = provider.plan
        self.clear = tacit.protect(graph, "clear")
        self.owner = tacit.Owner(provider.public_plan(), threads=threads)
        bundle, keys = folder / "bundle", folder / "keys"
        self._bundle = bundle
        bundle.write_bytes(provider.to_bytes())
        keys.write_bytes(self.owner.evaluation_keys())
        self._folder = folder
        self._request, self._response = folder / "request", folder / "response"
        self._timed = folder / "timed"
        self.process = Partner([sys.executable, PROVIDER])
        self.process.ask("prepare", bundle=str(bundle), keys=str(keys), threads=threads)

    def time_requests(self, samples: Array) -> int:
        """Writes the request that ``run`` repeats; returns its size in bytes."""
        return self._timed.write_bytes(self.owner.encrypt(samples))

    def run(self, repeats: int) -> list[float]:
        """Seconds of each of the runs."""
        seconds: list[float] = self.process.ask("run", request=str(self._timed), repeats=repeats)["seconds"]
        return seconds

    def predict(self, samples: Array, *, stop_after_s: float | None = None) -> tuple[list[tacit.Answer], int]:
        """Answers in pieces, and the bytes of a response. After ``stop_after_s`` no further piece is begun."""
        answers: list[tacit.Answer] = []
        size, done, start = 0, 0, time.perf_counter()
        for piece in self.owner.batches(samples):
            answer, size = self._answer(piece)
            answers.append(answer)
            done += len(piece)
            spent = time.perf_counter() - start
            if stop_after_s is not None and spent > stop_after_s:
                print(f"stopped after {done} of {len(samples)} rows", file=sys.stderr, flush=True)
                break
            if len(answers) % TOLD_EVERY == 0 and spent > QUIET_S:
                print(f"{done} of {len(samples)} rows in {spent:.0f} s", file=sys.stderr, flush=True)
        return answers, size

    def _answer(self, piece: Array) -> tuple[tacit.Answer, int]:
        """The answer to one request, and the bytes of the response."""
        self._request.write_bytes(self.owner.encrypt(piece))
        self.process.ask("answer", request=str(self._request), response=str(self._response))
        response = self._response.read_bytes()
        return self.owner.decrypt(response, strict=False), len(response)

    def simulate(self, samples: Array) -> tacit.Answer:
        """The same program in the clear, with its noise."""
        simulation = Simulation(Compiled.from_bytes(self._bundle.read_bytes()))
        return simulation.predict(samples, strict=False)


@dataclass(frozen=True)
class Check:
    """Answers against the clear ones, over the rows within the bound; ``apart`` is how many are not."""

    count: int
    error: float
    differing: int
    apart: int
    accuracy: float | None
    accuracy_clear: float | None
    accuracy_simulated: float | None
    bytes_down: int


def check(roles: Roles, task: Problem, count: int, *, stop_after_s: float | None = None) -> Check:
    """Runs ``count`` rows through the provider."""
    samples = task.samples[:count]
    answers, size = roles.predict(samples, stop_after_s=stop_after_s)
    count = sum(len(answer) for answer in answers)
    samples = samples[:count]
    clear = roles.clear.predict(samples)
    scores = np.concatenate([np.asarray(answer) for answer in answers])
    holds = np.concatenate([answer.within_bound for answer in answers])
    found = np.concatenate([_labels(answer) for answer in answers])
    expected = _labels(clear)

    def accuracy(labels: NDArray[np.int64]) -> float | None:
        return None if task.labels is None else float((labels == task.labels[:count]).mean())

    return Check(
        count=count,
        error=float(np.abs(scores - np.asarray(clear))[holds].max(initial=0.0)),
        differing=int((found != expected)[holds].sum()),
        apart=int((~holds).sum()),
        accuracy=accuracy(found),
        accuracy_clear=accuracy(expected),
        accuracy_simulated=None if task.labels is None else accuracy(_labels(roles.simulate(samples))),
        bytes_down=size,
    )


def _right(task: Problem, checked: Check) -> bool:
    """Whether labels are as in the clear; where a bound is measured, whether their accuracy is near enough."""
    if not task.measured or checked.accuracy is None or checked.accuracy_clear is None:
        return checked.differing == 0
    loss = checked.accuracy_clear - checked.accuracy
    return loss <= max(ACCURACY_LOSS, 1 / checked.count) + 1e-12


def _labels(answer: tacit.Answer) -> NDArray[np.int64]:
    return np.asarray(np.argmax(answer, axis=1) if answer.labels is None else answer.labels)


def rows(
    name: str,
    *,
    quick: bool,
    peers: bool,
    limit_s: float | None = None,
    checked_rows: int | None = None,
    stop_after_s: float | None = None,
) -> Iterator[Row]:
    """The rows of one task: Tacit's, then one for each peer.

    ``limit_s``: as in ``start_peers``. ``checked_rows``: how many answers are checked, if not the task's own number.
    ``stop_after_s``: seconds after which no further one is.
    """
    try:
        task = problem(name)
    except FileNotFoundError as error:
        yield Row(task=name, shape="", system="tacit", note=f"absent: {error.filename} is missing")
        return
    count = min(checked_rows or task.checked[0 if quick else 1], len(task.samples))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        try:
            roles = Roles(task, Path(folder), threads=THREADS)
        except TacitError as error:
            yield Row(task=name, shape="", system="tacit", correct=False, note=f"absent: refused: {error}")
            return
        stack.callback(roles.process.close)
        batch = roles.owner.plan.batch
        bytes_up = roles.time_requests(np.resize(task.samples, (batch, *task.samples.shape[1:])))
        found = start_peers(name, task, threads=THREADS, limit_s=limit_s) if peers else []
        running = [peer for peer in found if isinstance(peer, RunningPeer)]
        for peer in running:
            stack.callback(peer.close)
        calls = {"tacit": roles.run, **{peer.name: peer.run for peer in running}}
        budget_s, turn_s, least = (1.0, 0.05, 1) if quick else (20.0, 0.5, 3)
        times = take_turns(
            calls, budget_s=budget_s, turn_s=turn_s, least=least, pause_s=0.0 if quick else PAUSE_S
        )
        checked = check(roles, task, count, stop_after_s=stop_after_s)
        ours = statistics.median(times["tacit"]) / batch
        others = {peer.name: statistics.median(times[peer.name]) / peer.samples for peer in running}
        best = min(others, key=lambda peer: others[peer], default=None)
        details, cost = roles.plan.declaration.details, roles.plan.declaration.cost
        yield Row(
            task=name,
            shape=f"2^{details['log_n']} batch {batch}",
            system="tacit",
            seconds=statistics.median(times["tacit"]),
            fastest=min(times["tacit"]),
            n=len(times["tacit"]),
            threads=THREADS,
            correct=checked.error <= roles.plan.error_bound and _right(task, checked),
            max_error=checked.error,
            promised_error=roles.plan.error_bound,
            checked=checked.count,
            apart=checked.apart or None,
            accuracy=checked.accuracy,
            accuracy_clear=checked.accuracy_clear,
            accuracy_simulated=checked.accuracy_simulated,
            bytes_up=bytes_up,
            bytes_down=checked.bytes_down,
            key_bytes=roles.owner.key_bytes,
            rss_bytes=roles.process.ask("memory")["rss_bytes"],
            predicted_seconds=cost.seconds,
            predicted_bytes_up=cost.bytes_up,
            predicted_bytes_down=cost.bytes_down,
            predicted_key_bytes=cost.key_bytes,
            predicted_rss_bytes=cost.memory_bytes,
            ratio_to_peer=others[best] / ours if best else None,
            peer=best,
            note="; ".join(
                [
                    *([task.source] if task.source else []),
                    *([f"labels of {checked.differing} rows differ"] if task.measured else []),
                    *([f"stopped before {count} rows"] if checked.count < count else []),
                    f"{1 / ours:.4g} samples/s",
                    f"q {details['log_q']} p {details['log_p']}",
                ]
            ),
        )
        for other in found:
            yield _absent(name, other) if isinstance(other, Absent) else _measured(name, other, times)


def _absent(task: str, peer: Absent) -> Row:
    return Row(task=task, shape="", system=peer.name, note=f"absent: {peer.reason}")


def _unnamed(task: str) -> Row:
    return Row(
        task=task,
        shape="",
        system="tacit",
        note=f"absent: too long for a quick run of all tasks: --task {task}",
    )


def _measured(task: str, peer: RunningPeer, times: dict[str, list[float]]) -> Row:
    try:
        result = peer.check()
        memory = peer.memory()
    except PartnerError as error:
        return _absent(task, Absent(peer.name, f"it failed while running: {error}"))
    return Row(
        task=task,
        shape=f"batch {peer.samples}",
        system=peer.name,
        seconds=statistics.median(times[peer.name]),
        fastest=min(times[peer.name]),
        n=len(times[peer.name]),
        threads=THREADS,
        correct=result.differing == 0,
        max_error=result.error,
        checked=result.count,
        bytes_up=peer.facts.get("bytes_up"),
        bytes_down=peer.facts.get("bytes_down"),
        key_bytes=peer.facts.get("key_bytes"),
        rss_bytes=memory,
        note=f"{peer.facts['parameters']}; labels of {result.differing} rows differ",
    )


def main() -> int:
    """Exit status 1 when an answer of Tacit was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one object per line instead of a table")
    parser.add_argument("--quick", action="store_true", help="end within 50 s; correctness is still checked")
    parser.add_argument("--task", choices=sorted(TASKS), action="append", help="only this; may be repeated")
    parser.add_argument(
        "--peers", action=argparse.BooleanOptionalAction, default=True, help="run the peers too"
    )
    parser.add_argument("--rows", type=int, help="check the answers of so many rows")
    parser.add_argument(
        "--stop-after", type=float, help="check no further rows of a task after so many seconds"
    )
    parser.add_argument("--save", action="store_true", help="append the rows to benches/results/")
    options = parser.parse_args()
    facts = machine() | {"cpu_path": cpu_path(), "quick": options.quick}
    correct, lines = True, []
    names = options.task or list(TASKS)
    limit_s = QUICK_PEERS_S / len(names) if options.quick else None
    for name in names:
        if options.quick and not options.task and name in NAMED:
            found = iter([_unnamed(name)])
        else:
            found = rows(
                name,
                quick=options.quick,
                peers=options.peers,
                limit_s=limit_s,
                checked_rows=options.rows,
                stop_after_s=options.stop_after,
            )
        for row in found:
            show(row, as_json=options.json)
            correct &= row.system != "tacit" or row.correct is not False
            lines.append(json.dumps(row.to_dict() | facts))
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        with (RESULTS / "ckks_predict.jsonl").open("a") as file:
            file.write("\n".join(lines) + "\n")
    return int(not correct)


if __name__ == "__main__":
    raise SystemExit(main())
