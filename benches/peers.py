"""The tools that Tacit is compared with: where each is found, what it runs, and why it is absent where it is.

Install each into an environment of its own, as their requirements exclude each other (Python 3.11):

    python -m venv .venv-peers/tenseal     && .venv-peers/tenseal/bin/pip install tenseal
    python -m venv .venv-peers/orion       && .venv-peers/orion/bin/pip install orion-fhe==1.0.2
    python -m venv .venv-peers/concrete-ml && .venv-peers/concrete-ml/bin/pip install concrete-ml==1.9.0

or name an interpreter: `TACIT_PEER_TENSEAL`, `TACIT_PEER_ORION`, `TACIT_PEER_CONCRETE_ML`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from convolutional_models import Convolution, Dense, Layer, Pool, Square
from numpy.typing import NDArray
from partner import Partner, PartnerError
from prediction_tasks import Problem

__all__ = ["TOOLS", "Absent", "Comparison", "RunningPeer", "Tool", "start_peers"]

HERE = Path(__file__).resolve().parent
PATIENCE_S = 900.0
CHECK_S = 10.0
"""A peer answers further rows for its check until this is over."""
ROWS = 64
"""Rows that peers get; each checks as many of them as its time allows."""


@dataclass(frozen=True)
class Tool:
    """``tasks``: seconds of preparation and one run, about. ``refused``: why it is not run, whatever is installed."""

    name: str
    package: str
    tasks: Mapping[str, float]
    refused: str = ""


TOOLS = (
    Tool(
        "tenseal",
        "tenseal",
        {"lr-30": 2, "lr-30-batch": 2, "mlp-784-128-10": 20, "cnn-tutorial": 10, "cnn-pneumonia": 10},
    ),
    Tool(
        "orion",
        "orion",
        {"lr-30": 5, "mlp-784-128-10": 15, "cnn-tutorial": 12, "cnn-pneumonia": 20, "lenet": 90},
    ),
    Tool(
        "concrete-ml",
        "concrete.ml",
        {"lr-30": 15, "mlp-784-128-10": 90, "cnn-tutorial": 250, "forest-10x4": 40},
    ),
    Tool(
        "helayers",
        "pyhelayers",
        dict.fromkeys(("lr-30", "lr-30-batch", "mlp-784-128-10", "cnn-tutorial", "lenet"), 0.0),
        refused="its licence (community edition of pyhelayers 1.5.5.4) is for non-commercial purposes only, "
        "which a project that anyone may use for any purpose cannot promise for those who run its benchmarks",
    ),
)


@dataclass(frozen=True)
class Absent:
    """A tool that does not run here, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Comparison:
    """``count`` rows of a peer against the clear model: largest error, and labels that differ."""

    error: float
    differing: int
    count: int


@dataclass
class RunningPeer:
    """A peer that has compiled the model. ``samples``: of one request. ``facts``: sizes and parameters, as told."""

    name: str
    process: Partner
    folder: tempfile.TemporaryDirectory[str]
    expected: NDArray[np.float64]
    samples: int
    facts: dict[str, Any] = field(default_factory=dict)
    first: list[float] = field(default_factory=list)

    def run(self, repeats: int) -> list[float]:
        """Seconds of each run; the first run was made when the peer was started."""
        if self.first:
            seconds, self.first = self.first, []
            return seconds
        told: list[float] = self.process.ask("run", repeats=repeats, timeout_s=PATIENCE_S)["seconds"]
        return told

    def check(self) -> Comparison:
        """Decrypted answers of this run beside the clear model's."""
        told = self.process.ask("scores", limit_s=CHECK_S, timeout_s=PATIENCE_S)["scores"]
        found = np.asarray(told, dtype=np.float64).reshape(len(told), -1)
        expected = self.expected[: len(found)]
        differing = int((_labels(found) != _labels(expected)).sum())
        return Comparison(float(np.abs(found - expected).max()), differing, len(found))

    def memory(self) -> int:
        """Peak resident memory of its process since the model was ready."""
        peak: int = self.process.ask("memory")["rss_bytes"]
        return peak

    def close(self) -> None:
        self.process.close()
        self.folder.cleanup()


def _labels(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Of (rows, classes) the largest, of (rows, 1) the sign."""
    return scores.argmax(axis=1) if scores.shape[1] > 1 else (scores[:, 0] > 0).astype(np.int64)


def start_peers(
    name: str, task: Problem, *, threads: int, limit_s: float | None = None
) -> list[RunningPeer | Absent]:
    """Every tool that can express the task, with the model compiled, or the reason why it is absent.

    ``limit_s``: what all of them together may take, by what is known of them; ``None`` for any time.
    """
    found: list[RunningPeer | Absent] = []
    for tool in TOOLS:
        seconds = tool.tasks.get(name)
        if seconds is None:
            continue
        if limit_s is not None and seconds > limit_s:
            found.append(Absent(tool.name, f"takes about {seconds:.0f} s: too long for the quick form"))
            continue
        peer = _start(tool, name, task, threads)
        found.append(peer)
        if limit_s is not None and isinstance(peer, RunningPeer):
            limit_s -= seconds
    return found


def _start(tool: Tool, name: str, task: Problem, threads: int) -> RunningPeer | Absent:
    if tool.refused:
        return Absent(tool.name, tool.refused)
    interpreter = find_interpreter(tool)
    if interpreter is None:
        return Absent(tool.name, f"{tool.package} is not installed; benches/peers.py says how")
    folder = tempfile.TemporaryDirectory()
    expected = write_task(Path(folder.name), name, task)
    script = HERE / f"peer_{tool.name.replace('-', '_')}.py"
    try:
        process = Partner(
            [interpreter, script], environment={"OMP_NUM_THREADS": str(threads), "PYTHONPATH": ""}
        )
    except OSError as error:
        folder.cleanup()
        return Absent(tool.name, f"its interpreter does not start: {error}")
    try:
        facts = process.ask("prepare", folder=folder.name, threads=threads, timeout_s=PATIENCE_S)
        first = process.ask("run", repeats=1, timeout_s=PATIENCE_S)["seconds"]
    except PartnerError as error:
        process.close()
        folder.cleanup()
        return Absent(tool.name, f"it does not run this model: {error}")
    return RunningPeer(
        f"{tool.name} {facts['version']}", process, folder, expected, int(facts["samples"]), facts, first
    )


def find_interpreter(tool: Tool) -> str | None:
    """From the environment, from ``.venv-peers``, or this one where it has the package; ``None`` if nowhere."""
    named = os.environ.get(f"TACIT_PEER_{tool.name.upper().replace('-', '_')}")
    if named:
        return named
    own = HERE.parent / ".venv-peers" / tool.name / "bin" / "python"
    if own.exists():
        return str(own)
    return sys.executable if find_spec(tool.package.split(".")[0]) is not None else None


def write_task(folder: Path, name: str, task: Problem) -> NDArray[np.float64]:
    """The model and its rows as plain arrays; returns the clear scores of these rows, (rows, outputs)."""
    samples = np.asarray(task.samples if task.inputs is None else task.inputs, dtype=np.float64)
    rows = max(ROWS, min(task.batch, len(samples)))
    arrays: dict[str, Any] = {"samples": samples[:rows], "calibration": samples[-500:]}
    described: list[dict[str, Any]] = []
    for index, layer in enumerate(task.layers or ()):
        described.append(_describe(layer, index, arrays))
    if task.training is not None:
        arrays["training"], arrays["training_labels"] = task.training
    scores = task.scores(arrays["samples"])
    arrays["range"] = np.array([np.abs(scores).max()])
    np.savez(folder / "arrays.npz", **arrays)
    (folder / "task.json").write_text(
        json.dumps({"name": name, "layers": described, "batch": task.batch}), encoding="utf-8"
    )
    return scores


def _describe(layer: Layer, index: int, arrays: dict[str, Any]) -> dict[str, Any]:
    match layer:
        case Square():
            return {"kind": "square"}
        case Pool():
            return {"kind": "pool"}
        case Convolution() | Dense():
            names = {"weights": f"w{index}", "bias": f"b{index}"}
            arrays[names["weights"]] = layer.weights.astype(np.float64)
            arrays[names["bias"]] = layer.bias.astype(np.float64)
            if isinstance(layer, Dense):
                return {"kind": "dense", **names}
            return {"kind": "convolution", "stride": layer.stride, **names}
