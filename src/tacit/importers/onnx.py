"""ONNX models as graphs."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from itertools import count
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tacit.errors import ModelError, ShapeError, TacitError, UnsupportedOpError
from tacit.importers.lowering import Lowering, Operand, SourceNode
from tacit.importers.onnx_ops import MAX_OPSET, MIN_OPSET, RULES
from tacit.importers.protobuf import MAX_RANK, attributes_of, opsets_of, read_model, tensor_array
from tacit.importers.simplify import simplify
from tacit.ir.builder import GraphBuilder
from tacit.ir.graph import Graph
from tacit.ir.signature import DType, Shape

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

__all__ = ["import_onnx", "inline_onnx"]

_ML = "ai.onnx.ml"
_DOUBLE = 11
_FAULTS = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    ArithmeticError,
    AttributeError,
    MemoryError,
)

_EXPORT = "the file is damaged or no valid ONNX model: export it again"
_HINTS = {
    "If": "models with loops and branches are not run: export one without control flow",
    "Loop": "models with loops and branches are not run: export one without control flow",
    "Scan": "models with loops and branches are not run: export one without control flow",
    "LSTM": "recurrent layers are not run: unroll them or use a feed-forward model",
    "GRU": "recurrent layers are not run: unroll them or use a feed-forward model",
    "RNN": "recurrent layers are not run: unroll them or use a feed-forward model",
    "Einsum": "write it as Transpose, Reshape and MatMul",
    "Resize": "enlarge by whole numbers with Expand and Reshape, or with ConvTranspose",
    "Upsample": "enlarge by whole numbers with Expand and Reshape, or with ConvTranspose",
    "LRN": "use BatchNormalization, which is folded into the layer before",
    "Floor": "rounding is a jump: keep the number, or let the owner round the answer",
    "Ceil": "rounding is a jump: keep the number, or let the owner round the answer",
    "Round": "rounding is a jump: keep the number, or let the owner round the answer",
    "QuantizeLinear": "export the model in float, before it is quantised",
    "DequantizeLinear": "export the model in float, before it is quantised",
    "QLinearConv": "export the model in float, before it is quantised",
    "QLinearMatMul": "export the model in float, before it is quantised",
    "TopK": "return the scores and let the owner sort them",
}


def import_onnx(source: str | Path | bytes | ModelProto, *, name: str = "") -> Graph:
    """The graph of an ONNX model.

    ``source``: a path, the bytes of a file, or a loaded model; it is read, never executed. The first
    dimension of the inputs is the batch when the model leaves it open; that of a single input that is fixed
    to 1 is opened when no operator depends on it. All arithmetic becomes float64.

    Raises ``ModelError`` for what is damaged, ``UnsupportedOpError`` for operators without a rule.
    """
    with np.errstate(all="ignore"):  # a NaN of the file is found where it becomes a constant
        return _import_model(read_model(source), name)


def _import_model(model: ModelProto, name: str) -> Graph:
    label = name or model.graph.name or "model"
    opsets = opsets_of(model)
    _check_opsets(model.graph, opsets)
    shapes = [_input_shape(value) for value in _real_inputs(model.graph)]
    if len(shapes) == 1 and len(shapes[0]) >= 2 and shapes[0][0] == 1:
        try:
            graph = _import(model, label, opsets, open_batch=True)
            if all(graph.values[output].has_batch for output in graph.outputs):
                return graph
        except (ModelError, ShapeError):
            pass
    return _import(model, label, opsets, open_batch=False)


def _import(model: ModelProto, name: str, opsets: Mapping[str, int], *, open_batch: bool) -> Graph:
    ctx = Lowering(GraphBuilder(name))
    metadata = {"source": "onnx", "opset": str(opsets.get("", 0))}
    if model.producer_name:
        metadata["producer"] = model.producer_name
    ctx.is_double = any(v.type.tensor_type.elem_type == _DOUBLE for v in _real_inputs(model.graph))
    features = _columns(model.graph)
    inputs: list[Operand] = []
    if features is not None:
        whole = ctx.input(_unused_name(model.graph), (None, len(features)))
        inputs = [_column(ctx, whole, i, value) for i, value in enumerate(_real_inputs(model.graph))]
    else:
        inputs = [_input(ctx, value, open_batch=open_batch) for value in _real_inputs(model.graph)]
    outputs = inline_onnx(model.graph, ctx, inputs, opsets)
    return _finish(ctx, outputs, metadata, features)


def _input(ctx: Lowering, value: ValueInfoProto, *, open_batch: bool) -> Operand:
    shape = _input_shape(value)
    try:
        return ctx.input(value.name, (None, *shape[1:]) if open_batch else shape, _input_dtype(value))
    except ShapeError as error:
        raise ModelError(f"input `{value.name}`: {error}", hint=error.hint) from error


def _columns(graph: GraphProto) -> tuple[str, ...] | None:
    """Names of the inputs when there are several of one number for each sample, as for a table with named columns."""
    values = _real_inputs(graph)
    if len(values) < 2 or any(_input_shape(value) != (None, 1) for value in values):
        return None
    return tuple(value.name for value in values)


def _column(ctx: Lowering, whole: Operand, index: int, value: ValueInfoProto) -> Operand:
    part = ctx.apply("Slice", whole, axes=(1,), starts=(index,), ends=(index + 1,), steps=(1,))
    dtype = _input_dtype(value)
    return part if dtype == "float64" else ctx.apply("Cast", part, to=dtype)


def _unused_name(graph: GraphProto) -> str:
    taken = {value.name for value in graph.output}
    return next(name for number in count() if (name := f"X{number or ''}") not in taken)


def inline_onnx(
    graph: GraphProto, ctx: Lowering, inputs: list[Operand], opsets: Mapping[str, int]
) -> dict[str, Operand]:
    """Lowers the nodes of a model on operands in the order of its inputs. Outputs by name, in order."""
    known: dict[str, Operand] = {}
    for tensor in graph.initializer:
        known[tensor.name] = ctx.known(tensor_array(tensor), tensor.name)
        ctx.weights += prod(tensor.dims)
    for value, operand in zip(_real_inputs(graph), inputs, strict=True):
        known[value.name] = operand
    for index, proto in enumerate(graph.node):
        where = proto.name or (proto.output[0] if proto.output else f"{proto.op_type} {index}")
        ctx.source = where
        node = _source_node(proto, where, known, opsets)
        for output, operand in zip(_named(proto), _lower(node, ctx), strict=False):
            if output:
                if output in known:
                    raise node.malformed(f"the value `{output}` is made twice")
                known[output] = operand
    missing = [value.name for value in graph.output if value.name not in known]
    if missing:
        raise ModelError(f"the output `{missing[0]}` is made by no node", hint="export the model again")
    return {value.name: known[value.name] for value in graph.output}


def _named(proto: NodeProto) -> list[str]:
    """Names of the outputs, without those that are left out at the end."""
    names = list(proto.output)
    while names and not names[-1]:
        names.pop()
    return names


def _source_node(
    proto: NodeProto, where: str, known: Mapping[str, Operand], opsets: Mapping[str, int]
) -> SourceNode:
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    opset = opsets.get(domain, 1)
    if (domain, proto.op_type) not in RULES:
        raise _unknown(proto.op_type, domain, where, opset)
    inputs: list[Operand | None] = []
    for name in proto.input:
        if name and name not in known:
            raise ModelError(
                f"node `{where}` ({proto.op_type}): reads `{name}`, which nothing before it makes",
                hint=_EXPORT,
            )
        inputs.append(known[name] if name else None)
    return SourceNode(
        name=where,
        op=proto.op_type,
        domain=domain,
        opset=opset,
        inputs=tuple(inputs),
        attributes=attributes_of(proto, where, opset),
        n_outputs=len(_named(proto)),
    )


def _unknown(op: str, domain: str, where: str, opset: int) -> UnsupportedOpError:
    hint = _HINTS.get(op, "")
    if not hint:
        near = get_close_matches(op, [name for _, name in RULES], n=1)
        hint = f"the nearest supported operator is {near[0]}" if near else "see docs/reference/operators.md"
    title = f"{domain}.{op}" if domain else op
    return UnsupportedOpError(
        f"node `{where}`: the operator {title} (opset {opset}) is not supported",
        node=where,
        op=op,
        opset=opset,
        hint=hint,
    )


def _lower(node: SourceNode, ctx: Lowering) -> list[Operand]:
    """One rule, with every fault told as an error that names the node."""
    rule = RULES[(node.domain, node.op)]
    where = f"node `{node.name}` ({node.op}, opset {node.opset})"
    if node.opset < rule.since:
        raise node.malformed(f"the operator exists since opset {rule.since}")
    if not node.inputs and node.op != "Constant":
        raise node.malformed("there is no input")
    try:
        results = list(rule.lower(node, ctx))
    except TacitError as error:
        if isinstance(error, UnsupportedOpError):
            raise
        told = str(error).removeprefix(f"node `{node.name}` (")
        if told != str(error):  # it names the op of the graph, which the model does not know
            told = told.partition("): ")[2]
        raise ModelError(f"{where}: {told}", hint=error.hint or _EXPORT) from error
    except _FAULTS as error:
        raise node.malformed(f"its inputs or attributes are malformed ({type(error).__name__})") from error
    ignored = node.ignored()
    if ignored:
        raise node.unsupported(f"the attribute `{ignored[0]}` is not supported", "export the node without it")
    if node.n_outputs > len(results):
        raise node.unsupported(
            f"only its first {len(results)} outputs are computed", "leave the other outputs out"
        )
    return results


def _check_opsets(graph: GraphProto, opsets: Mapping[str, int]) -> None:
    if not opsets:
        raise ModelError("the model names no operator set", hint="export the model again")
    version = opsets.get("")
    if version is not None and not MIN_OPSET <= version <= MAX_OPSET:
        raise UnsupportedOpError(
            f"the model is of opset {version}; supported are {MIN_OPSET} to {MAX_OPSET}",
            node="",
            op="ai.onnx",
            opset=version,
            hint="export it with a supported opset, or use `onnx.version_converter`",
        )
    for proto in graph.node:
        if proto.domain not in ("", "ai.onnx", _ML):
            raise _unknown(proto.op_type, proto.domain, proto.name, opsets.get(proto.domain, 0))


def _real_inputs(graph: GraphProto) -> list[ValueInfoProto]:
    """Inputs that are no initializers (old exporters list both)."""
    held = {tensor.name for tensor in graph.initializer}
    found = [value for value in graph.input if value.name not in held]
    if not found:
        raise ModelError("the model has no input")
    return found


def _input_shape(value: ValueInfoProto) -> Shape:
    if value.type.WhichOneof("value") != "tensor_type" or not value.type.tensor_type.HasField("shape"):
        raise ModelError(
            f"input `{value.name}` is no tensor of a known rank", hint="export the model with input shapes"
        )
    dims = value.type.tensor_type.shape.dim
    if len(dims) > MAX_RANK:
        raise ModelError(f"input `{value.name}` has {len(dims)} dimensions")
    sizes: list[int | None] = []
    for axis, dim in enumerate(dims):
        size = dim.dim_value if dim.WhichOneof("value") == "dim_value" else None
        if size is not None and size <= 0:
            size = None
        if size is None and axis > 0:
            raise ModelError(
                f"input `{value.name}` leaves dimension {axis} open",
                hint="export the model with fixed sizes for every dimension but the first",
            )
        sizes.append(size)
    return tuple(sizes)


def _input_dtype(value: ValueInfoProto) -> DType:
    kinds: dict[int, DType] = {1: "float64", 10: "float64", 11: "float64", 16: "float64", 9: "bool"}
    kinds |= {kind: "int64" for kind in (2, 3, 4, 5, 6, 7, 12, 13)}
    found = kinds.get(value.type.tensor_type.elem_type)
    if found is None:
        raise ModelError(
            f"input `{value.name}` is not numeric",
            hint="encode strings as numbers before they enter the model",
        )
    return found


def _finish(
    ctx: Lowering,
    outputs: Mapping[str, Operand],
    metadata: Mapping[str, str],
    features: tuple[str, ...] | None,
) -> Graph:
    """Names the outputs as the model does, and says what they mean."""
    inner: dict[str, str] = {}
    computed = {node.output for node in ctx.builder.nodes}
    for output, operand in outputs.items():
        value = ctx.place(operand)
        if value not in computed or value in inner:
            shape = tuple(-1 if size is None else size for size in operand.shape)
            value = ctx.builder.node("Reshape", value, shape=shape, name=output)
        inner[value] = output
    roles = _roles(ctx, outputs)
    label = roles.get("label")
    choices = None if label is None else ctx.choice_table(outputs[label])
    taken = {output for value, output in inner.items() if output in ctx.builder.values and output != value}
    inputs = sorted(name for name in taken if ctx.is_input(outputs[name]))
    if inputs:
        raise ModelError(
            f"the output `{inputs[0]}` is an input of the model",
            hint="leave this output out: its owner has it",
        )
    if taken:
        raise ModelError(f"the value `{sorted(taken)[0]}` is made twice", hint="export the model again")
    ctx.builder.rename(inner)
    graph = ctx.builder.finish(
        list(inner.values()), roles=roles, classes=choices, feature_names=features, metadata=metadata
    )
    return simplify(graph)


def _roles(ctx: Lowering, outputs: Mapping[str, Operand]) -> dict[str, str]:
    """Which output is the label, and which one is returned as probabilities, scores or plain output."""
    roles: dict[str, str] = {}
    labels = [name for name, operand in outputs.items() if ctx.choice(operand) is not None]
    labels = labels or [name for name, operand in outputs.items() if operand.dtype == "int64"]
    if len(labels) == 1:
        roles["label"] = labels[0]
    floats = {name: operand for name, operand in outputs.items() if operand.dtype == "float64"}
    for role in ("probabilities", "scores"):
        for name, operand in floats.items():
            if ctx.roles.get(role) == operand.name:
                roles.setdefault(role, name)
    if floats and not roles.keys() & {"probabilities", "scores"}:
        name, operand = next(iter(floats.items()))
        if operand.name in ctx.normalized:
            roles["probabilities"] = name
        else:
            roles["scores" if "label" in roles else "output"] = name
    return roles
