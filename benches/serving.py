"""The server under load: latencies, failures, memory over time, and throughput beside the same provider in process.

    benches/serving.py --clients 32 --seconds 120 --task mlp-784-128-10
    benches/serving.py --keys 500

Server, clients and the in-process comparison are processes of their own on one machine. Clients take processor time
that a server elsewhere would have, so two throughputs of the server are given beside the wall clock's: `server_side`,
answers for the time that the clients left of the cores (cores that stay idle count against the server), and
`per_core_second`, answers per processor second of the server (the only one that means much where the machine is busy
with other things). In process, from before and after the load whichever was quicker:

- `peer_one_process`, one owner and one process with all threads, the form of `ckks_predict.py`;
- `peer_best`, one owner and the better of that and one process for each core;
- `peer_many_keys`, the same with as many owners' keys as the server has clients: keys of one owner stay in the caches,
  those of many do not.

`ratio_to_one_process`, `ratio_to_peer` and `ratio_to_many_keys` are `server_side` over each of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from measurement import RESULTS, machine
from prediction_tasks import TASKS, Problem, problem
from serving_tree import Server

import tacit
from tacit.backends.ckks.owner import Owner
from tacit.backends.ckks.public import PublicPlan
from tacit.service.package import compile_package
from tacit.service.program import key_memory_bytes

HERE = Path(__file__).resolve().parent
MODEL = "model"
KEYS_TASK = "svc-iris"
IN_PROCESS_S = 3.0
WARM_S = 20.0
"""Of the load before memory is watched, after each worker has read the keys of each owner."""
SETTLED_BYTES = 8 << 20
"""Growth that is none: buffers of requests that are under way when one looks."""
ID_BYTES = 128
"""Of the front for an answer: its id is remembered."""
CORES = len(os.sched_getaffinity(0))
Seen = TypeVar("Seen")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of results. Seconds are of one prediction, from the first byte sent to the last received.

    ``rss_start``, ``rss_end``: resident bytes of each process, medians of the first and last five seconds, with
    ``--keys`` before and after all owners came;
    ``growth_bytes``: all of ``rss_end`` minus all of ``rss_start``, ``is_flat`` where that is no more than the ids that
    the front remembers and `SETTLED_BYTES`. ``held_bytes`` of ``full_bytes``: keys in the workers before the time that
    is measured, and where they are full. ``throughput``: answers per second of the wall clock.
    """

    task: str
    shape: str
    system: str
    seconds: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None
    n: int | None = None
    clients: int | None = None
    workers: int | None = None
    threads: int = 1
    failures: int | None = None
    correct: bool | None = None
    checked: int | None = None
    max_error: float | None = None
    promised_error: float | None = None
    throughput: float | None = None
    server_side: float | None = None
    per_core_second: float | None = None
    peer_one_process: float | None = None
    peer_best: float | None = None
    peer_per_core_second: float | None = None
    peer_many_keys: float | None = None
    peer_many_keys_per_core_second: float | None = None
    client_cores: float | None = None
    server_cores: float | None = None
    rss_bytes: int | None = None
    pss_bytes: int | None = None
    rss_start: dict[str, int] | None = None
    rss_end: dict[str, int] | None = None
    growth_bytes: int | None = None
    is_flat: bool | None = None
    held_bytes: int | None = None
    full_bytes: int | None = None
    limit_bytes: int | None = None
    bytes_up: int | None = None
    bytes_down: int | None = None
    key_bytes: int | None = None
    ratio_to_peer: float | None = None
    ratio_to_one_process: float | None = None
    ratio_to_many_keys: float | None = None
    peer: str | None = None
    note: str | None = None

    def to_dict(self) -> dict[str, object]:
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Compiled:
    """A task as files: what the server takes, and what the clients send and expect."""

    package: Path
    bundle: Path
    plan_id: str
    samples: Path
    expected: Path
    facts: dict[str, Any]
    promised_error: float


def support_vectors() -> Problem:
    """A small model whose keys are a megabyte and more: squares need a key that sums do not."""
    from sklearn.datasets import load_iris
    from sklearn.svm import SVC

    x, y = load_iris(return_X_y=True)
    scaled = x / x.max(axis=0)
    model = SVC(kernel="poly", degree=2).fit(scaled[:100], y[:100])
    return Problem(model=model, calibration=scaled, samples=scaled, checked=(1, 1), source="iris")


def compiled(task: str, folder: Path) -> Compiled:
    """The latency plan of a task, with its samples and their answers in the clear."""
    what = support_vectors() if task == KEYS_TASK else problem(task)
    package = compile_package(
        what.model, calibration=what.calibration, batches=(1,), max_error=what.max_error, threads=1
    )
    offer = package.offers[0]
    files = {name: folder / name for name in (f"{MODEL}.tacit", "bundle", "samples.npy", "expected.npy")}
    files[f"{MODEL}.tacit"].write_bytes(package.to_bytes())
    files["bundle"].write_bytes(offer.bundle)
    samples = np.asarray(what.samples[:64], dtype=np.float64)
    np.save(files["samples.npy"], samples)
    clear = np.asarray(tacit.protect(what.model, "clear").predict(samples), dtype=np.float64)
    np.save(files["expected.npy"], clear)
    row = offer.row()
    return Compiled(
        *(
            files[f"{MODEL}.tacit"],
            files["bundle"],
            offer.plan_id,
            files["samples.npy"],
            files["expected.npy"],
        ),
        row,
        float(row["error_bound"]),
    )


@dataclass(frozen=True)
class InProcess:
    """Answers per second of the provider without a network: of one owner, and of as many as the server's clients.

    ``threads``: one process with all threads and one owner, as `ckks_predict.py` measures it; the others are the
    better of that and one process per core.
    """

    threads: float
    one: float
    many: float
    one_per_core: float
    many_per_core: float


def in_process(task: Compiled, folder: Path, owners: int, seconds: float) -> InProcess:
    """``seconds``: of each of the four forms."""
    plan, samples = _plan(task), np.load(task.samples)
    for number in range(owners):
        if not (folder / f"request-{number}").exists():
            owner = Owner(plan)
            (folder / f"keys-{number}").write_bytes(owner.evaluation_keys())
            (folder / f"request-{number}").write_bytes(owner.encrypt(samples[:1]))
    found = [
        [_together(task, folder, count, *shape, seconds) for shape in ((1, CORES), (CORES, 1))]
        for count in (1, owners)
    ]
    best = [[max(values) for values in zip(*rows, strict=True)] for rows in found]
    return InProcess(found[0][0][0], best[0][0], best[1][0], best[0][1], best[1][1])


def _plan(task: Compiled) -> bytes:
    from tacit.backends.ckks.provider import Provider

    return Provider.from_bytes(task.bundle.read_bytes()).public_plan()


def _together(
    task: Compiled, folder: Path, owners: int, processes: int, threads: int, seconds: float
) -> tuple[float, float]:
    """Answers per second of all processes together, and per second of processor time."""
    command = [sys.executable, str(HERE / "serving_inprocess.py"), str(task.bundle), str(folder), str(owners)]
    running = [
        subprocess.Popen(
            [*command, str(threads), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    found = [json.loads(process.communicate(timeout=120)[0]) for process in running]
    cpu = sum(row["cpu_seconds"] for row in found)
    return sum(row["done"] / row["seconds"] for row in found), sum(row["done"] for row in found) / cpu


class Watch(Generic[Seen]):
    """What ``look`` sees every second, from a thread."""

    def __init__(self, look: Callable[[], Seen]) -> None:
        self.samples: list[Seen] = []
        self._look = look
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(1.0):
            self.samples.append(self._look())

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)


def settled(samples: Sequence[dict[str, int]]) -> dict[str, int]:
    """The median of each process; one that is not in all of them counts as 0 where it is not."""
    names = sorted({name for sample in samples for name in sample})
    return {name: int(np.median([sample.get(name, 0) for sample in samples])) for name in names}


def load(
    task_name: str, clients: int, seconds: float, workers: int, threads: int, plain: bool, folder: Path
) -> tuple[Row, list[dict[str, int]]]:
    """Clients for so many seconds, and the same provider in process before and after; memory of each second."""
    task = compiled(task_name, folder)
    in_process_s = min(IN_PROCESS_S, max(0.5, seconds / 10))
    before = in_process(task, folder, clients, in_process_s)
    key_bytes = int(task.facts["key_bytes"])
    full = workers * clients * key_memory_bytes(PublicPlan.from_bytes(_plan(task)))
    options = [f"--workers={workers}", f"--threads={threads}", f"--key-memory={full}"]
    options += ["--rate=1000000"] + (["--insecure-http"] if plain else [])
    with Server([task.package], folder, *options) as server:
        job = {
            **{
                "address": server.address,
                "authority": "" if plain else str(server.authority),
                "model": MODEL,
            },
            **{"plan_id": task.plan_id, "samples": str(task.samples), "expected": str(task.expected)},
            **{"clients": clients, "seconds": seconds, "warm_s": min(WARM_S, seconds / 4)},
            **{"workers": workers, "full_bytes": full},
        }
        (folder / "job.json").write_text(json.dumps(job))
        process = subprocess.Popen(
            [sys.executable, str(HERE / "serving_load.py"), str(folder / "job.json")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        watch, cpu, done, held, pss = None, 0.0, {}, 0, 0
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "filled":
                held = event["held_bytes"]
            if event["event"] == "measuring":
                watch, cpu = Watch(server.rss), server.cpu_seconds()
            if event["event"] == "done":
                done, cpu = event, server.cpu_seconds() - cpu
                if watch is not None:
                    watch.stop()
                pss = server.memory().pss_bytes
        process.wait(60)
        if not done or watch is None:
            raise RuntimeError("the clients ended before they were done; their errors are above")
        status = server.stop()
    after = in_process(task, folder, clients, in_process_s)
    peer, peer_threads, peer_many = (
        max(getattr(found, form) for found in (before, after)) for form in ("one", "threads", "many")
    )
    first, last = settled(watch.samples[:5]), settled(watch.samples[-5:])
    growth = sum(last.values()) - sum(first.values())
    latencies = np.array(done["latencies_s"])
    count, wall = len(latencies), done["seconds"]
    client_cores = done["cpu_seconds"] / wall
    throughput = count / wall
    server_side = throughput * CORES / max(1e-9, CORES - client_cores)
    row = Row(
        task=task_name,
        shape=f"{clients} clients, {seconds:g} s",
        system="tacit serve" + (" (plain HTTP)" if plain else ""),
        seconds=float(np.percentile(latencies, 50)),
        p95_s=float(np.percentile(latencies, 95)),
        p99_s=float(np.percentile(latencies, 99)),
        n=count,
        clients=clients,
        workers=workers,
        threads=threads,
        failures=len(done["failures"]) + (status != 0),
        correct=not done["failures"] and done["max_error"] <= task.promised_error and status == 0,
        checked=done["checked"],
        max_error=done["max_error"],
        promised_error=task.promised_error,
        throughput=throughput,
        server_side=server_side,
        per_core_second=count / cpu,
        peer_per_core_second=max(before.one_per_core, after.one_per_core),
        peer_one_process=peer_threads,
        peer_best=peer,
        peer_many_keys=peer_many,
        peer_many_keys_per_core_second=max(before.many_per_core, after.many_per_core),
        client_cores=client_cores,
        server_cores=cpu / wall,
        rss_bytes=max(sum(sample.values()) for sample in watch.samples),
        pss_bytes=pss,
        rss_start=first,
        rss_end=last,
        growth_bytes=growth,
        is_flat=growth <= SETTLED_BYTES + ID_BYTES * count,
        held_bytes=held,
        full_bytes=full,
        bytes_up=int(task.facts["request_bytes"]),
        bytes_down=int(task.facts["response_bytes"]),
        key_bytes=key_bytes,
        ratio_to_peer=server_side / peer,
        ratio_to_one_process=server_side / peer_threads,
        ratio_to_many_keys=server_side / peer_many,
        peer="in process",
        note=f"in process {before.one:.1f}/s before, {after.one:.1f}/s after; with the keys of {clients} owners "
        f"{before.many:.1f}/s and {after.many:.1f}/s"
        + (f"; first failure: {done['failures'][0]}" if done["failures"] else ""),
    )
    return row, watch.samples


def many_keys(clients: int, task_name: str, key_memory: int, workers: int, folder: Path) -> Row:
    """So many owners who upload keys and ask once: memory must stay within what is configured."""
    task = compiled(task_name, folder)
    key_bytes = int(task.facts["key_bytes"])
    options = [f"--workers={workers}", "--threads=1", f"--key-memory={key_memory}", "--rate=1000000"]
    groups, failures, checked, max_error, latencies = 20, 0, 0, 0.0, []
    with Server([task.package], folder, *options) as server:
        idle, rss_start = server.memory(), server.rss()
        watch = Watch(server.memory)
        for first in range(0, clients, groups):
            job = {
                **{"address": server.address, "authority": str(server.authority), "model": MODEL},
                **{"plan_id": task.plan_id, "samples": str(task.samples), "expected": str(task.expected)},
                **{
                    "clients": min(groups, clients - first),
                    "seconds": 0.5,
                    "warm_s": 0.0,
                    "requests_each": 1,
                },
            }
            (folder / "job.json").write_text(json.dumps(job))
            done = subprocess.run(
                [sys.executable, str(HERE / "serving_load.py"), str(folder / "job.json")],
                stdout=subprocess.PIPE,
                text=True,
                timeout=600,
            )
            events = {row["event"]: row for row in map(json.loads, done.stdout.splitlines())}
            if "done" not in events:
                failures += 1
                continue
            failures += len(events["done"]["failures"])
            latencies += events["done"]["latencies_s"]
            checked += events["done"]["checked"]
            max_error = max(max_error, events["done"]["max_error"])
        watch.stop()
        rss_end = server.rss()
        stored = sum(path.stat().st_size for path in (folder / "store").rglob("*") if path.is_file())
        status = server.stop()
    largest = max(sample.pss_bytes for sample in watch.samples)
    # What is allowed beside keys: buffers of requests, slack of allocators, code that was not used at the start.
    limit = idle.pss_bytes + key_memory + (192 << 20)
    return Row(
        task=f"keys-{clients}",
        shape=task_name,
        system="tacit serve",
        seconds=float(np.percentile(latencies, 50)) if latencies else None,
        p95_s=float(np.percentile(latencies, 95)) if latencies else None,
        p99_s=float(np.percentile(latencies, 99)) if latencies else None,
        n=len(latencies),
        clients=clients,
        workers=workers,
        failures=failures,
        correct=not failures and largest <= limit and max_error <= task.promised_error and status == 0,
        checked=checked,
        max_error=max_error,
        promised_error=task.promised_error,
        rss_bytes=max(sample.rss_bytes for sample in watch.samples),
        pss_bytes=largest,
        rss_start=rss_start,
        rss_end=rss_end,
        limit_bytes=limit,
        key_bytes=key_bytes,
        note=f"{idle.pss_bytes >> 20} MiB before, {key_memory >> 20} MiB allowed for keys, "
        f"{stored >> 20} MiB of keys on disk",
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument(
        "--task", choices=sorted([*TASKS, KEYS_TASK]), help="default: mlp-784-128-10; with --keys svc-iris"
    )
    parser.add_argument("--workers", type=int, default=CORES)
    parser.add_argument("--threads", type=int, default=1, help="threads of each worker")
    parser.add_argument("--plain", action="store_true", help="plain HTTP on loopback: what TLS costs")
    parser.add_argument(
        "--keys", type=int, metavar="N", help="instead: N clients with keys of their own, bounded memory"
    )
    parser.add_argument(
        "--key-memory", type=int, default=64 << 20, help="with --keys: bytes of keys in memory"
    )
    parser.add_argument("--quick", action="store_true", help="4 clients, 5 seconds; with --keys 40 of them")
    parser.add_argument("--json", action="store_true", help="one object per line")
    parser.add_argument(
        "--memory", action="store_true", help="print the memory of every process and second on stderr"
    )
    parser.add_argument("--save", action="store_true", help="append the row to benches/results/serving.jsonl")
    chosen = parser.parse_args()
    chosen.task = chosen.task or (KEYS_TASK if chosen.keys else "mlp-784-128-10")
    if chosen.quick:
        chosen.clients, chosen.seconds = min(chosen.clients, 4), min(chosen.seconds, 5.0)
        chosen.keys = chosen.keys and min(chosen.keys, 40)
    with tempfile.TemporaryDirectory(prefix="tacit-serving-") as name:
        folder = Path(name)
        if chosen.keys:
            row, samples = many_keys(chosen.keys, chosen.task, chosen.key_memory, chosen.workers, folder), []
        else:
            row, samples = load(
                chosen.task,
                chosen.clients,
                chosen.seconds,
                chosen.workers,
                chosen.threads,
                chosen.plain,
                folder,
            )
    for second, sample in enumerate(samples if chosen.memory else (), 1):
        print(
            f"{second} s: " + ", ".join(f"{name} {size >> 20} MiB" for name, size in sample.items()),
            file=sys.stderr,
        )
    if chosen.json:
        print(json.dumps(row.to_dict()), flush=True)
    else:
        print("\n".join(f"{name:16} {value}" for name, value in row.to_dict().items()), flush=True)
    if chosen.save:
        with (RESULTS / "serving.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({**row.to_dict(), **machine(), "quick": chosen.quick}) + "\n")
    return 0 if row.correct else 1


if __name__ == "__main__":
    raise SystemExit(main())
