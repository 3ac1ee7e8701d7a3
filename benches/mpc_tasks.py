"""The tasks of the `mpc` benchmark: for each a graph, inputs, and how far an answer may be from the clear one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import mpc_networks
import numpy as np
from dense_models import DATA
from numpy.typing import NDArray

import tacit
from tacit.ir.graph import Graph
from tacit.ir.interpret import interpret

__all__ = ["LONG", "TASKS", "Problem", "problem", "write_problem"]

Array = NDArray[np.float64]

MILLION = 1_000_000
IMAGES = Path("models_cifar10/resnet20_cifar10_pre.onnx"), Path("cifar10/cifar10_test_0_699.npz")
OBJECTS = Path("mobilenetv2/mobilenetv2_1.0_224_float.onnx"), Path("mobilenetv2/images_40.npz")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """``inputs``: of one run, by name, (batch, …). ``tolerance``: largest error of a correct answer.

    ``primitive``: the engine's step that this is, where it is just one. ``samples`` and ``labels``: for accuracy.
    """

    graph: Graph
    inputs: Mapping[str, Array]
    tolerance: float
    primitive: str = ""
    samples: Array | None = None
    labels: NDArray[np.int64] | None = None
    note: str = ""

    @cached_property
    def clear(self) -> Array:
        """What a run must give."""
        return interpret(self.graph, self.inputs)[self.graph.primary]


def _uniform(*shape: int, bound: float, seed: int) -> Array:
    # Single precision, so that every system shares the same numbers.
    return (
        np.random.default_rng(seed).uniform(-bound, bound, size=shape).astype(np.float32).astype(np.float64)
    )


def _mul() -> Problem:
    inputs = {name: _uniform(MILLION, bound=4, seed=seed) for seed, name in enumerate("xy")}
    return Problem(graph=mpc_networks.multiply(MILLION), inputs=inputs, tolerance=1e-4, primitive="multiply")


def _matmul() -> Problem:
    inputs = {name: _uniform(1024, 1024, bound=1, seed=seed) for seed, name in enumerate("xy")}
    return Problem(graph=mpc_networks.product(1024), inputs=inputs, tolerance=4e-3, primitive="matmul")


def _relu() -> Problem:
    inputs = {"x": _uniform(MILLION, bound=4, seed=0)}
    return Problem(graph=mpc_networks.rectify(MILLION), inputs=inputs, tolerance=1e-5, primitive="rectify")


def _mlp(batch: int) -> Problem:
    inputs = {"x": np.abs(_uniform(batch, 784, bound=1, seed=0))}
    return Problem(graph=mpc_networks.mlp(), inputs=inputs, tolerance=5e-3)


def _lenet(batch: int) -> Problem:
    inputs = {"x": np.abs(_uniform(batch, 1, 28, 28, bound=1, seed=0))}
    return Problem(graph=mpc_networks.lenet(), inputs=inputs, tolerance=5e-3)


def _resnet20() -> Problem:
    model, data = (DATA / path for path in IMAGES)
    with np.load(data, allow_pickle=False) as found:
        images, labels = found["images"] / 255.0, found["labels"].astype(np.int64)
    samples = ((images - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(0, 3, 1, 2)
    return _trained(model, samples, labels, tolerance=2e-2)


def _mobilenetv2() -> Problem:
    model, data = (DATA / path for path in OBJECTS)
    with np.load(data, allow_pickle=False) as found:
        samples = ((found["images"] - 128.0) / 128.0).transpose(0, 3, 1, 2)
        labels = found["labels_1000"].astype(np.int64) + 1
    return _trained(model, samples, labels, tolerance=2e-1)


def _trained(model: Path, samples: Array, labels: NDArray[np.int64], *, tolerance: float) -> Problem:
    if not model.exists():
        raise FileNotFoundError(2, "no such file", str(model))
    graph = tacit.load(model)
    samples = np.ascontiguousarray(samples)
    return Problem(
        graph=graph,
        inputs={graph.inputs[0].name: samples[:1]},
        tolerance=tolerance,
        samples=samples,
        labels=labels,
        note="trained weights",
    )


def _resnet50() -> Problem:
    inputs = {"x": _uniform(1, 3, 224, 224, bound=2, seed=0)}
    return Problem(graph=mpc_networks.resnet50(), inputs=inputs, tolerance=2e-2, note="random weights")


def _minilm() -> Problem:
    inputs = {"x": _uniform(1, 128, 384, bound=2, seed=0)}
    return Problem(graph=mpc_networks.minilm(), inputs=inputs, tolerance=2e-2, note="random weights")


TASKS: Mapping[str, Callable[[], Problem]] = {
    "mul-1m": _mul,
    "matmul-1024": _matmul,
    "relu-1m": _relu,
    "mlp-784-128-128-10-b1": lambda: _mlp(1),
    "mlp-784-128-128-10-b128": lambda: _mlp(128),
    "lenet-b128": lambda: _lenet(128),
    "resnet20": _resnet20,
    "mobilenetv2": _mobilenetv2,
    "resnet50": _resnet50,
    "minilm": _minilm,
}
LONG = frozenset({"lenet-b128", "resnet20", "mobilenetv2", "resnet50", "minilm"})
"""Not in a quick run of everything."""


def problem(name: str) -> Problem:
    """Raises ``FileNotFoundError`` where its data is missing."""
    return TASKS[name]()


def write_problem(folder: Path, task: Problem) -> None:
    """The graph as JSON and its numbers as plain arrays, for systems that do not know Tacit's graphs."""
    batch = next(iter(task.inputs.values())).shape[0]
    arrays: dict[str, Array] = {}
    places: dict[str, str] = {}
    secrets: list[str] = []
    constants: dict[str, str] = {}
    for name, array in {**task.inputs, **task.graph.constants}.items():
        places[name] = key = f"a{len(arrays)}"
        arrays[key] = np.asarray(array)
        if array.size == 1:
            constants[name] = key
        else:
            secrets.append(name)
    nodes = []
    for node in task.graph.nodes:
        attributes: dict[str, Any] = dict(node.attributes)
        if node.op == "Reshape":
            attributes["shape"] = [batch if size == -1 else size for size in attributes["shape"]]
        nodes.append({"op": node.op, "inputs": node.inputs, "output": node.output, "attributes": attributes})
    np.savez(folder / "arrays.npz", **arrays)
    described = {
        "nodes": nodes,
        "secrets": secrets,
        "constants": constants,
        "arrays": places,
        "output": task.graph.primary,
    }
    (folder / "graph.json").write_text(json.dumps(described), encoding="utf-8")
