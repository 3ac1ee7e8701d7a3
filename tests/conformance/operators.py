"""One small model for each operator, in the middle and at the end, and how each protection runs it.

The table in docs/reference/operators.md is made of what `survey` finds; `check` runs the models encrypted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from tacit.errors import TacitError
from tacit.importers import import_onnx
from tacit.ir.graph import Graph
from tests.conformance.probes import PROBES, SHAPES, Probe
from tests.conformance.promise import REFUSALS, Outcome, plan_of, run_encrypted
from tests.conformance.random_models import Case
from tests.importers.onnx_models import model, tensor

__all__ = ["Finding", "check", "model_of", "survey"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Finding:
    """``inside``, ``at_end``: how `ckks` runs the operator there; empty where it is refused."""

    inside: str
    at_end: str
    reason: str


def model_of(probe: Probe, *, at_end: bool) -> onnx.ModelProto:
    """Dense layer, the operator, and, unless ``at_end``, another dense layer."""
    rng = np.random.default_rng(1)
    shape = SHAPES[probe.shape]
    size = 0.3 if probe.is_positive else 0.6
    wide = shape[-1]
    constants = [
        tensor(size * rng.normal(size=(wide, wide)) / np.sqrt(wide), "w"),
        tensor(np.full(wide, 3.0) if probe.is_positive else 0.3 * rng.normal(size=wide), "b"),
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"], name="dense"),
        helper.make_node("Add", ["p", "b"], ["h" if probe.kind == "float" else "f"], name="bias"),
    ]
    if probe.kind == "bool":
        constants.append(tensor(np.zeros(1), "zero"))
        nodes.append(helper.make_node("Greater", ["f", "zero"], ["h"], name="positive"))
    if probe.kind == "integer":
        nodes.append(helper.make_node("Cast", ["f"], ["h"], name="round", to=TensorProto.INT64))
    names = ["h"]
    for index, item in enumerate(probe.more):
        if isinstance(item, str):
            names.append(item)
            continue
        constants.append(tensor(np.asarray(item), f"c{index}"))
        names.append(f"c{index}")
    if "k" in names:
        constants.append(tensor(size * rng.normal(size=(wide, wide)) / np.sqrt(wide), "v"))
        nodes += [
            helper.make_node("MatMul", ["x", "v"], ["q"], name="other"),
            helper.make_node("Add", ["q", "b"], ["k"], name="other bias"),
        ]
    if probe.is_direct:
        nodes, names[0] = [], "x"
    operands = names[1:] + names[:1] if probe.first else names
    made = [f"y{i}" for i in range(probe.outputs)]
    nodes.append(
        helper.make_node(probe.op, operands, made, name=probe.op, domain=probe.domain, **probe.attributes)
    )
    result = made[-1]
    if not at_end:
        result = _dense_after(nodes, constants, result, _length(probe, nodes, constants, result))
    kind = TensorProto.FLOAT if not at_end or probe.result == "float" else TensorProto.INT64
    kind = TensorProto.BOOL if at_end and probe.result == "bool" else kind
    return model(
        nodes,
        [("x", ["n", *shape])],
        [result],
        constants,
        opset=probe.opset,
        kinds=[kind],
        ml=5 if probe.op == "TreeEnsemble" else 3,
    )


def _length(probe: Probe, nodes: Sequence[Any], constants: Sequence[Any], result: str) -> int:
    """Numbers for each sample that the operator makes."""
    kinds = {"float": TensorProto.FLOAT, "integer": TensorProto.INT64, "bool": TensorProto.BOOL}
    alone = model(
        list(nodes),
        [("x", ["n", *SHAPES[probe.shape]])],
        [result],
        list(constants),
        opset=probe.opset,
        kinds=[kinds[probe.result]],
        ml=5 if probe.op == "TreeEnsemble" else 3,
    )
    graph = import_onnx(alone)
    return graph.values[graph.outputs[0]].features


def _dense_after(nodes: list[Any], constants: list[Any], value: str, length: int) -> str:
    weights = np.random.default_rng(2).normal(size=(length, 2)) / np.sqrt(length)
    constants.append(tensor(weights, "last"))
    nodes += [
        helper.make_node("Cast", [value], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["numbers", "flat"], ["row"], name="flatten"),
        helper.make_node("MatMul", ["row", "last"], ["z"], name="last"),
    ]
    constants.append(tensor(np.array([-1, length], dtype=np.int64), "flat"))
    return "z"


def data_of(probe: Probe) -> FloatArray:
    """(40, …) numbers in [-1, 1], as float32 holds them."""
    numbers = np.random.default_rng(3).uniform(-1, 1, (40, *SHAPES[probe.shape]))
    return numbers.astype(np.float32).astype(np.float64)


@lru_cache(maxsize=512)
def _planned(index: int, at_end: bool) -> tuple[Case | None, Any]:
    """The case and its candidate, or ``None`` and the refusal."""
    probe = PROBES[index]
    try:
        graph: Graph = import_onnx(model_of(probe, at_end=at_end))
        case = Case(graph, data_of(probe), "latency", None)
        return case, plan_of(case)
    except (*REFUSALS, TacitError) as refusal:
        return None, refusal


def survey(index: int) -> Finding:
    """How the probe of this number runs under `ckks`."""
    inside, at_end, reason = "", "", ""
    case, found = _planned(index, False)
    if case is None:
        reason = type(found).__name__
    else:
        inside = _ways(found) or "affine"
    case, found = _planned(index, True)
    if case is not None:
        tail = [node.op for node in found.part.tail.nodes if node.op != "Reshape"]
        at_end = "owner" if tail else _ways(found) or "affine"
    return Finding(inside, at_end, reason)


def check(index: int, *, at_end: bool) -> Outcome | None:
    """The outcome of an encrypted run, or ``None`` where the model is refused."""
    case, found = _planned(index, at_end)
    return None if case is None else run_encrypted(case, found, index)


_WAYS = {"Polynomial": "polynomial", "Square": "square", "Product": "product"}
_COMPARING = ("Gate", "Max", "Sign", "Compare", "Order", "Pool", "Leaf", "Path")


def _ways(candidate: Any) -> str:
    """Kinds of the stages that are no linear maps."""
    if "comparison_margin" in candidate.declaration.details:
        return "comparison"
    ways: list[str] = []
    for stage in candidate.program.stages:
        name = type(stage).__name__
        way = next((way for part, way in _WAYS.items() if part in name), "")
        if any(part in name for part in _COMPARING):
            way = "comparison"
        if way and way not in ways:
            ways.append(way)
    return ", ".join(ways)
