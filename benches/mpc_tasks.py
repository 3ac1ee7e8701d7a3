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
from tacit.backends.mpc.ranges import Box
from tacit.ir.graph import Graph
from tacit.ir.interpret import interpret

__all__ = ["HEAVY", "LONG", "TASKS", "Problem", "problem", "write_problem"]

Array = NDArray[np.float64]

MILLION = 1_000_000
IMAGES = Path("models_cifar10/resnet20_cifar10_pre.onnx"), Path("cifar10/cifar10_test_0_699.npz")
OBJECTS = Path("mobilenetv2/mobilenetv2_1.0_224_float.onnx"), Path("mobilenetv2/images_40.npz")


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """``inputs``: of one run, by name, (batch, …). ``tolerance``: largest error of a correct answer.

    ``primitive``: the engine's step that this is, where it is just one. ``region``: where inputs lie; ``calibration``:
    further inputs like these, (samples, …). ``samples`` and ``labels``: for accuracy.
    """

    graph: Graph
    inputs: Mapping[str, Array]
    tolerance: float
    primitive: str = ""
    region: Box | None = None
    calibration: Array | None = None
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
    return _positive(mpc_networks.mlp(), (batch, 784))


def _lenet(batch: int) -> Problem:
    return _positive(mpc_networks.lenet(), (batch, 1, 28, 28))


def _positive(graph: Graph, shape: tuple[int, ...]) -> Problem:
    """Inputs from 0 to 1, as of pixels."""
    return Problem(
        graph=graph,
        inputs={"x": np.abs(_uniform(*shape, bound=1, seed=0))},
        tolerance=5e-3,
        region=_box(0.0, 1.0, len(shape)),
        calibration=np.abs(_uniform(16, *shape[1:], bound=1, seed=1)),
        note="random weights",
    )


def _resnet20() -> Problem:
    model, data = (DATA / path for path in IMAGES)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    with _opened(data) as found:
        images, labels = found["images"] / 255.0, found["labels"].astype(np.int64)
    region = Box(*((end - mean).reshape(1, 3, 1, 1) / deviation.reshape(1, 3, 1, 1) for end in (0.0, 1.0)))
    return _trained(model, (images - mean) / deviation, labels, region=region, tolerance=5e-2, calibrated=16)


def _mobilenetv2() -> Problem:
    model, data = (DATA / path for path in OBJECTS)
    with _opened(data) as found:
        samples, labels = (found["images"] - 128.0) / 128.0, found["labels_1000"].astype(np.int64) + 1
    return _trained(model, samples, labels, region=_box(-1.0, 1.0, 4), tolerance=2e-1, calibrated=2)


def _opened(path: Path) -> Any:
    return np.load(path, allow_pickle=False)


def _trained(
    model: Path, images: Array, labels: NDArray[np.int64], *, region: Box, tolerance: float, calibrated: int
) -> Problem:
    """``images``: (samples, rows, columns, channels); the last ``calibrated`` calibrate."""
    if not model.exists():
        raise FileNotFoundError(2, "no such file", str(model))
    graph = tacit.load(model)
    samples = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return Problem(
        graph=graph,
        inputs={graph.inputs[0].name: samples[:1]},
        tolerance=tolerance,
        region=region,
        calibration=samples[-calibrated:],
        samples=samples[:-calibrated],
        labels=labels[:-calibrated],
        note="trained weights",
    )


def _resnet50() -> Problem:
    return _random(mpc_networks.resnet50(), (1, 3, 224, 224))


def _minilm() -> Problem:
    return _random(mpc_networks.minilm(), (1, 128, 384))


def _random(graph: Graph, shape: tuple[int, ...]) -> Problem:
    return Problem(
        graph=graph,
        inputs={"x": _uniform(*shape, bound=2, seed=0)},
        tolerance=2e-2,
        region=_box(-2.0, 2.0, len(shape)),
        calibration=_uniform(*shape, bound=2, seed=1),
        note="random weights",
    )


def _box(low: float, high: float, rank: int) -> Box:
    return Box(np.full((1,) * rank, low), np.full((1,) * rank, high))


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


HEAVY = LONG - {"resnet20"}
"""Of which peers run for tens of seconds."""


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
