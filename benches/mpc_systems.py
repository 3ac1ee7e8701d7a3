"""The systems of the `mpc` benchmark behind one face: Tacit's protocols, and SPU as tuned and as installed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
from mpc_mesh import Mesh, Network
from mpc_party import COMPUTING, describe
from mpc_tasks import Problem, write_problem
from numpy.typing import NDArray
from partner import PartnerError

from tacit.backends.mpc.compile import Compiled, compile_program
from tacit.backends.mpc.executor import decode_output, encode_inputs
from tacit.backends.mpc.steps import Words
from tacit.ir.interpret import interpret
from tacit.runtime.local import Parties

__all__ = [
    "FRACTION_BITS",
    "Accuracy",
    "Cost",
    "DealtAhead",
    "Spu",
    "System",
    "Tacit",
    "compile_for_spu",
    "find_spu",
]

Array = NDArray[np.float64]

HERE = Path(__file__).resolve().parent
FRACTION_BITS = 18
"""Of primitives, as SPU has them."""
ACCURACY_BATCH = 10
AHEAD, AHEAD_LEAST_S = 1.5, 0.6
"""How long a dealer has before a run: so many times a run in which it deals, and this long in any case."""
PATIENCE_S = 900.0
SPU_NAMES: Mapping[str, Mapping[str, str]] = {"spu": {"OMP_THREAD_LIMIT": "1"}, "spu-as-installed": {}}


@dataclass(frozen=True)
class Cost:
    """Of one run: bytes of the party that sends most, rounds as the system counts them, peak memory of a party."""

    sent_bytes: int
    rounds: int
    rss_bytes: int


@dataclass(frozen=True)
class Accuracy:
    """Of ``rows`` answers: the largest error, the right labels beside those in the clear, labels that differ."""

    rows: int
    error: float
    protected: float
    clear: float
    differing: int


class System(Protocol):
    """Three processes with shared inputs."""

    name: str
    note: str
    tolerance: float | None
    """What it promised; ``None``: that of the task."""

    def run(self, repeats: int) -> list[float]:
        """Seconds of each run, from shared inputs to shared outputs, of the party that took longest."""

    def answer(self) -> Array:
        """The output of a run, opened."""

    def cost(self) -> Cost: ...

    def close(self) -> None: ...


class Tacit:
    """One protocol, mutual TLS between its parties."""

    def __init__(self, protocol: str, where: Network, task: Problem, *, threads: int = 1) -> None:
        self.name, self.note, self.tolerance = "tacit", "", None
        self._shape = task.clear.shape
        if task.primitive:
            options = {"width": 64} if task.primitive == "rectify" else {"cut": FRACTION_BITS}
            program = describe(task.primitive, **options)
            script, reveals = "mpc_party:Primitive", ("result",)
            words = {name: encode(array, FRACTION_BITS) for name, array in task.inputs.items()}
            self._decode = lambda found: decode(found["result"], FRACTION_BITS)
        else:
            compiled = compiled_network(task)
            program, script, reveals = (
                compiled.program.to_bytes(),
                "mpc_party:Network",
                compiled.program.openings,
            )
            words = {**compiled.weights, **encode_inputs(compiled.program, task.inputs)}
            primary = compiled.program.primary
            self._decode = lambda found: decode_output(primary, found[primary.name])
            self.tolerance = compiled.program.error_bound
            self.note = f"{compiled.program.frac_bits} fraction bits"
        self.parties = Parties.start(
            script,
            program=program,
            variant=protocol,
            reveals=reveals,
            threads=threads,
            hosts=where.hosts(),
            prefixes=where.prefixes(),
        )
        self.parties.prepare(words)

    def accuracy(self, task: Problem, rows: int) -> Accuracy:
        """Answers to the first samples of a task with labels, beside the clear ones."""
        if task.samples is None or task.labels is None:
            raise ValueError("the task has no labels")
        program, (name,) = compiled_network(task).program, task.inputs
        found, clear = [], []
        samples = task.samples[:rows]
        for start in range(0, len(samples), ACCURACY_BATCH):
            batch = samples[start : start + ACCURACY_BATCH]
            self.parties.prepare(encode_inputs(program, {name: batch}))
            found.append(self._decode(self.parties.predict({})))
            clear.append(interpret(task.graph, batch)[task.graph.primary])
        got, expected, labels = np.concatenate(found), np.concatenate(clear), task.labels[:rows]
        return Accuracy(
            rows=len(got),
            error=float(np.abs(got - expected).max()),
            protected=float((got.argmax(axis=1) == labels).mean()),
            clear=float((expected.argmax(axis=1) == labels).mean()),
            differing=int((got.argmax(axis=1) != expected.argmax(axis=1)).sum()),
        )

    def run(self, repeats: int) -> list[float]:
        told = [found[0].view(np.float64) for found in self.parties.call("run", repeats=repeats)]
        return [float(each) for each in np.max(told, axis=0)]

    def profile(self, repeats: int, party: int = 0) -> str:
        """Where the time of a party goes."""
        return self.parties.call("profile", repeats=repeats)[party][0].tobytes().decode()

    def answer(self) -> Array:
        return self._decode(self.parties.predict({})).reshape(self._shape)

    def cost(self) -> Cost:
        self.parties.predict({})
        reports = self.parties.reports
        return Cost(
            sent_bytes=max(report.sent_bytes for report in reports),
            rounds=max(report.rounds for report in reports),
            rss_bytes=max(report.rss_bytes for report in reports),
        )

    def close(self) -> None:
        self.parties.close()


class DealtAhead:
    """`dealer2` whose dealer has dealt for a run before it begins: what the two that compute then take."""

    def __init__(self, whole: Tacit) -> None:
        self._whole, self.name, self.tolerance = whole, whole.name, whole.tolerance
        self.note = "; ".join(part for part in (whole.note, "dealt before") if part)
        self._ahead_s = max(whole.run(2)) * AHEAD + AHEAD_LEAST_S

    def run(self, repeats: int) -> list[float]:
        found = []
        for _ in range(repeats):
            told = self._whole.parties.call("run", repeats=1, ahead_s=self._ahead_s)
            found.append(max(float(each[0].view(np.float64)[0]) for each in told[:COMPUTING]))
        return found

    def answer(self) -> Array:
        return self._whole.answer()

    def cost(self) -> Cost:
        whole = self._whole.cost()
        reports = self._whole.parties.reports[:COMPUTING]
        return Cost(
            sent_bytes=max(report.sent_bytes for report in reports),
            rounds=max(report.rounds for report in reports),
            rss_bytes=whole.rss_bytes,
        )

    def close(self) -> None:
        """The parties are those of the whole."""


class Spu:
    """ABY3 in three processes of its own interpreter, without TLS, as it comes."""

    def __init__(self, name: str, interpreter: str, where: Network) -> None:
        environment = {"PYTHONPATH": "", **SPU_NAMES[name]}
        self._mesh = Mesh(where, [interpreter, HERE / "peer_spu.py"], environment=environment)
        try:
            addresses = [f"{host}:{port}" for host, port in self._mesh.addresses]
            self._mesh.begin("join", addresses=addresses)
        except PartnerError:
            self._mesh.close()
            raise
        self.name, self.note, self.tolerance = name, "FM64, 18 fraction bits, without TLS", None
        self._joined, self.is_tuned = False, bool(SPU_NAMES[name])

    def load(self, folder: Path) -> None:
        """Takes its shares of what `compile_for_spu` made. The first run tells its bytes and warms up."""
        if not self._joined:
            version = self._mesh.end("join", timeout_s=PATIENCE_S)[0]["version"]
            self.name, self._joined = f"{self.name} {version}", True
        self._mesh.ask("prepare", folder=str(folder), timeout_s=PATIENCE_S)
        told = self._mesh.ask("traffic", timeout_s=PATIENCE_S)
        self._sent, self._rounds = (max(each[key] for each in told) for key in ("sent_bytes", "rounds"))
        self._path = folder

    def run(self, repeats: int) -> list[float]:
        return self._mesh.run(repeats, timeout_s=PATIENCE_S)

    def answer(self) -> Array:
        self._mesh.ask("output")
        self._mesh.ask_one(0, "gather")
        return np.load(self._path / "output.npy", allow_pickle=False).astype(np.float64)

    def cost(self) -> Cost:
        return Cost(self._sent, self._rounds, self._mesh.most("memory", "rss_bytes"))

    def close(self) -> None:
        self._mesh.close()


def compile_for_spu(interpreter: str, folder: Path, task: Problem) -> None:
    """Its program and every party's shares, made by a process that ends. Raises ``PartnerError``."""
    write_problem(folder, task)
    done = subprocess.run(
        [interpreter, HERE / "peer_spu.py", "compile", folder],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": ""},
    )
    if done.returncode:
        words = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise PartnerError(f"it does not take this model: {words[0][:200]}")


def find_spu() -> str | None:
    """Its interpreter: from ``TACIT_PEER_SPU``, or ``.venv-peers/spu``; ``None`` if nowhere."""
    if named := os.environ.get("TACIT_PEER_SPU"):
        return named
    own = HERE.parent / ".venv-peers" / "spu" / "bin" / "python"
    return str(own) if own.exists() else None


@cache
def compiled_network(task: Problem) -> Compiled:
    """The same for all protocols."""
    return compile_program(task.graph, task.region, calibration=task.calibration)


def encode(array: Array, bits: int) -> Words:
    """The nearest words with so many fractional bits."""
    return np.rint(np.ldexp(array, bits)).astype(np.int64).view(np.uint64)


def decode(words: Words, bits: int) -> Array:
    return np.ldexp(np.ascontiguousarray(words).view(np.int64).astype(np.float64), -bits)
