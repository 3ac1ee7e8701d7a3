"""Secure multi-party computation: Tacit and SPU in turns, in one run, three processes each, on the same numbers.

`seconds` is one run from shared inputs to shared outputs, by the party that takes longest; programs are compiled,
weights are shared and outputs are opened outside of it, for every system alike. Each party has one thread. `sent_bytes`
is what the party sends that sends most, `rss_bytes` the largest peak memory of a party. Every row checks its output
against the clear one in the same run.

Tacit's parties speak mutual TLS 1.3, SPU's plain TCP. SPU (ABY3) runs as tuned (`OMP_THREAD_LIMIT=1`) and, in a full
run, as installed. Its interpreter is `TACIT_PEER_SPU`, else `.venv-peers/spu`; where it does not run, that is reported:

    python3.11 -m venv .venv-peers/spu && .venv-peers/spu/bin/pip install spu==0.9.5 'numpy<2' 'jax<=0.4.34'

`dealer2` is run twice on such networks: as it is, with the dealer's messages in the same time, and `online`, when the
dealer has sent them before; then bytes are those of the two that compute.

`--network lan` (1 Gbit/s, 1 ms there and back) and `wan` (100 Mbit/s, 40 ms) need `--netsim SCRIPT` and root: the
script makes a network namespace for each party (`up N MBITS MICROSECONDS`, `exec I COMMAND`, `down`; the parties have
addresses 10.77.0.1 and so on).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from measurement import RESULTS, Row, machine, show
from mpc_mesh import NETWORKS, Network, network
from mpc_systems import SPU_NAMES, Accuracy, DealtAhead, Spu, System, Tacit, compile_for_spu, find_spu
from mpc_tasks import HEAVY, LONG, TASKS, Problem, problem
from partner import PartnerError, take_turns

from tacit._native import cpu_path
from tacit.errors import TacitError

PROTOCOLS = ("replicated3", "dealer2")
ACCURACY_LOSS = 0.003
"""What the accuracy may be below that in the clear."""
QUICK_S, FULL_S = 1.0, 6.0
"""What each system computes for each task, at least one run."""


@dataclass
class Peers:
    """The sessions of SPU, which serve all tasks."""

    interpreter: str | None
    sessions: list[Spu] = field(default_factory=list)
    absent: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def start(cls, names: Sequence[str], where: Network) -> Peers:
        peers = cls(find_spu() if names else None)
        for name in names:
            if peers.interpreter is None:
                peers.absent.append((name, "not installed: name its interpreter in TACIT_PEER_SPU"))
                continue
            try:
                peers.sessions.append(Spu(name, peers.interpreter, where))
            except PartnerError as error:
                peers.absent.append((name, f"its processes do not start: {error}"))
        return peers

    def load(
        self, folder: Path, task: Problem, *, tuned_only: bool
    ) -> tuple[list[Spu], list[tuple[str, str]]]:
        """The sessions that hold the problem, and who is absent and why. One that fails is not asked again."""
        ready: list[Spu] = []
        absent = list(self.absent)
        if not self.sessions or self.interpreter is None:
            return ready, absent
        try:
            compile_for_spu(self.interpreter, folder, task)
        except (PartnerError, OSError) as error:
            return ready, absent + [(spu.name, str(error)) for spu in self.sessions]
        for spu in list(self.sessions):
            if tuned_only and not spu.is_tuned:
                absent.append((spu.name, "takes minutes; only as tuned"))
                continue
            try:
                spu.load(folder)
                ready.append(spu)
            except PartnerError as error:
                spu.close()
                self.sessions.remove(spu)
                self.absent.append((spu.name, f"it failed: {error}"))
                absent.append(self.absent[-1])
        return ready, absent

    def close(self) -> None:
        for spu in self.sessions:
            spu.close()


def rows(
    name: str,
    protocols: Sequence[str],
    where: Network,
    peers: Peers,
    *,
    budget_s: float,
    labelled: int = 0,
) -> Iterator[Row]:
    """The rows of one task: Tacit's protocols, then the peers."""
    shapes = {protocol: f"{protocol} {where.name}" for protocol in protocols}
    try:
        task = problem(name)
    except FileNotFoundError as error:
        yield Row(task=name, shape=where.name, system="tacit", note=f"absent: {error.filename} is missing")
        return
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        running: dict[str, System] = {}
        for protocol, shape in shapes.items():
            try:
                tacit = Tacit(protocol, where, task)
                stack.callback(tacit.close)
                tacit.run(1)
            except (TacitError, ImportError) as error:
                yield Row(task=name, shape=shape, system="tacit", note=f"absent: {error}")
                continue
            running[shape] = tacit
            if protocol == "dealer2" and where.script is not None:
                running[f"{shape} online"] = DealtAhead(tacit)
        ready, absent = peers.load(Path(folder), task, tuned_only=name in HEAVY)
        running |= {spu.name: spu for spu in ready}
        if running:
            calls = {key: system.run for key, system in running.items()}
            times = take_turns(calls, budget_s=budget_s, turn_s=budget_s / 20, least=1)
            best = min(ready, key=lambda spu: statistics.median(times[spu.name]), default=None)
            for key, system in running.items():
                peer = best if system not in ready else None
                yield _measured(
                    name,
                    key if peer or system.name == "tacit" else f"aby3 {where.name}",
                    system,
                    task,
                    times[key],
                    peer and (peer.name, times[peer.name]),
                    labelled,
                )
        for peer_name, reason in absent:
            yield Row(task=name, shape=where.name, system=peer_name, note=f"absent: {reason}")


def _measured(
    name: str,
    shape: str,
    system: System,
    task: Problem,
    times: Sequence[float],
    peer: tuple[str, Sequence[float]] | None,
    rows: int,
) -> Row:
    """The row of one system, with its output checked; with ``rows``, the answers to so many labelled samples too."""
    answer, expected = system.answer(), task.clear
    cost = system.cost()
    error = float(np.abs(answer.reshape(expected.shape) - expected).max())
    seconds = statistics.median(times)
    found = None
    if rows and task.labels is not None and isinstance(system, Tacit):
        found = system.accuracy(task, rows)
        error = max(error, found.error)
    promised = task.tolerance if system.tolerance is None else system.tolerance
    differing = [f"labels of {found.differing} rows differ"] if found else []
    return Row(
        task=name,
        shape=shape,
        system=system.name,
        seconds=seconds,
        fastest=min(times),
        n=len(times),
        correct=error <= promised and (found is None or _near(found)),
        max_error=error,
        promised_error=promised,
        checked=found.rows if found else len(expected),
        accuracy=found.protected if found else None,
        accuracy_clear=found.clear if found else None,
        sent_bytes=cost.sent_bytes,
        rounds=cost.rounds,
        rss_bytes=cost.rss_bytes,
        ratio_to_peer=statistics.median(peer[1]) / seconds if peer else None,
        peer=peer[0] if peer else None,
        note="; ".join(part for part in (task.note, system.note, *differing) if part) or None,
    )


def _near(found: Accuracy) -> bool:
    """Within 0.3 points of clear, or one row."""
    return found.clear - found.protected <= max(ACCURACY_LOSS, 1 / found.rows) + 1e-12


def _named(names: Sequence[str] | None, *, quick: bool) -> Mapping[str, bool]:
    """The tasks, and whether each is run."""
    if names:
        return dict.fromkeys(names, True)
    return {name: not (quick and name in LONG) for name in TASKS}


def main() -> int:
    """Exit status 1 when an answer of Tacit was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one object per line instead of a table")
    parser.add_argument("--quick", action="store_true", help="end within 50 s; correctness is still checked")
    parser.add_argument("--task", choices=list(TASKS), action="append", help="only this; may be repeated")
    parser.add_argument("--protocol", choices=PROTOCOLS, action="append", help="only this; may be repeated")
    parser.add_argument("--network", choices=list(NETWORKS), default="loopback")
    parser.add_argument("--netsim", type=Path, metavar="SCRIPT", help="makes networks other than loopback")
    parser.add_argument(
        "--peers", action=argparse.BooleanOptionalAction, default=True, help="run the peers too"
    )
    parser.add_argument(
        "--accuracy", type=int, default=0, metavar="ROWS", help="also answer so many labelled samples"
    )
    parser.add_argument("--save", action="store_true", help="append the rows to benches/results/")
    options = parser.parse_args()
    facts = machine() | {"cpu_path": cpu_path(), "quick": options.quick}
    correct, lines = True, []

    def tell(row: Row) -> None:
        nonlocal correct
        show(row, as_json=options.json)
        correct &= row.system != "tacit" or row.correct is not False
        lines.append(json.dumps(row.to_dict() | facts))

    spu_names = list(SPU_NAMES)[: 1 if options.quick or options.network != "loopback" else None]
    try:
        with network(options.network, options.netsim) as where, ExitStack() as stack:
            peers = Peers.start(spu_names if options.peers else [], where)
            stack.callback(peers.close)
            for name, is_run in _named(options.task, quick=options.quick).items():
                if not is_run:
                    note = f"absent: too long for a quick run of all tasks: --task {name}"
                    tell(Row(task=name, shape=where.name, system="tacit", note=note))
                    continue
                budget_s = QUICK_S if options.quick else FULL_S
                found = rows(
                    name,
                    options.protocol or PROTOCOLS,
                    where,
                    peers,
                    budget_s=budget_s,
                    labelled=options.accuracy,
                )
                try:
                    for row in found:
                        tell(row)
                except TacitError as error:
                    tell(
                        Row(
                            task=name,
                            shape=where.name,
                            system="tacit",
                            correct=False,
                            note=f"failed: {error}",
                        )
                    )
    except PartnerError as error:
        for name in _named(options.task, quick=options.quick):
            tell(Row(task=name, shape=options.network, system="tacit", note=f"absent: {error}"))
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        with (RESULTS / "mpc.jsonl").open("a") as file:
            file.write("\n".join(lines) + "\n")
    return int(not correct)


if __name__ == "__main__":
    raise SystemExit(main())
