"""From untrusted bytes to a checked ONNX model, and from its tensors to arrays. Nothing is executed.

Refused here: files over 2 GiB, damaged files, external data, functions, training information, custom domains.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tacit.errors import ModelError, UnsupportedOpError
from tacit.ir.signature import Array

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

__all__ = ["MAX_BYTES", "MAX_NODES", "MAX_RANK", "attributes_of", "opsets_of", "read_model", "tensor_array"]

MAX_BYTES = (1 << 31) - 1
"""Longest model in bytes: protobuf's own limit."""

MAX_NODES = 100_000
"""Most nodes of a model."""

MAX_RANK = 32
"""Most dimensions of a tensor."""

_DAMAGED = "the file is damaged or no ONNX model: export it again"
_FAULTS = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    RuntimeError,
    AttributeError,
    MemoryError,
)


def read_model(source: str | Path | bytes | ModelProto) -> ModelProto:
    """A model that is well formed and within the limits. Raises ``ModelError`` or ``UnsupportedOpError``."""
    import onnx
    from google.protobuf.message import DecodeError

    if isinstance(source, str | Path):
        source = _read_file(Path(source))
    if isinstance(source, bytes | bytearray | memoryview):
        raw = bytes(source)
        if len(raw) > MAX_BYTES:
            raise ModelError(f"a model must be at most {MAX_BYTES} bytes long. Got {len(raw)} instead.")
        model = onnx.ModelProto()
        try:
            model.ParseFromString(raw)
        except (DecodeError, *_FAULTS) as error:
            raise ModelError("the bytes are no ONNX model", hint=_DAMAGED) from error
    else:
        model = source
    _check_model(model)
    _check_names(model)
    return model


def _read_file(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ModelError(f"a model must be at most {MAX_BYTES} bytes long. `{path.name}` has {size}.")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"the model `{path.name}` cannot be read: {(error.strerror or 'failed').lower()}",
            hint="check the path and its permissions",
        ) from error


def _check_model(model: ModelProto) -> None:
    if not model.HasField("graph") or not model.graph.output:
        raise ModelError("the bytes are no ONNX model: there is no graph with an output", hint=_DAMAGED)
    if model.functions:
        raise UnsupportedOpError(
            f"the model defines the function `{model.functions[0].name}`",
            node=model.functions[0].name,
            op=model.functions[0].name,
            hint="inline functions before export (`onnx.inliner.inline_local_functions`)",
        )
    if model.training_info:
        raise ModelError("the model holds training information", hint="export the model for inference")
    if len(model.graph.node) > MAX_NODES:
        raise ModelError(f"a model has at most {MAX_NODES} nodes. Got {len(model.graph.node)} instead.")
    if model.graph.sparse_initializer:
        raise ModelError("the model holds sparse tensors", hint="store its weights as dense initializers")
    for tensor in model.graph.initializer:
        _check_tensor(tensor)


def _check_names(model: ModelProto) -> None:
    """Protobuf hands on names that are not UTF-8 as bytes."""
    graph = model.graph
    names: list[object] = [graph.name, model.producer_name]
    names += [entry.domain for entry in model.opset_import]
    names += [value.name for value in (*graph.input, *graph.output, *graph.initializer)]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output]
        names += [attribute.name for attribute in node.attribute]
    if not all(isinstance(name, str) for name in names):
        raise ModelError("a name in the model is not UTF-8", hint=_DAMAGED)


def opsets_of(model: ModelProto) -> dict[str, int]:
    """Versions of the operator sets by domain (``ai.onnx`` is written as the empty string)."""
    opsets: dict[str, int] = {}
    for entry in model.opset_import:
        opsets["" if entry.domain == "ai.onnx" else entry.domain] = entry.version
    return opsets


def _check_tensor(tensor: TensorProto) -> None:
    if tensor.data_location == tensor.EXTERNAL or tensor.external_data:
        raise ModelError(
            f"the tensor `{tensor.name}` lies in another file",
            hint="save the model with its weights inside (`onnx.save(..., save_as_external_data=False)`)",
        )
    if len(tensor.dims) > MAX_RANK or any(size < 0 for size in tensor.dims):
        raise ModelError(f"the tensor `{tensor.name}` has an impossible shape", hint=_DAMAGED)
    if prod(tensor.dims) > MAX_BYTES:
        raise ModelError(f"the tensor `{tensor.name}` is too large", hint=_DAMAGED)


def tensor_array(tensor: TensorProto) -> Array:
    """The elements of a tensor as float64, int64, bool or str. Raises ``ModelError`` where malformed."""
    import onnx

    _check_tensor(tensor)
    try:
        array = np.asarray(onnx.numpy_helper.to_array(tensor))
    except _FAULTS as error:
        raise ModelError(f"the tensor `{tensor.name}` is malformed", hint=_DAMAGED) from error
    if array.shape != tuple(tensor.dims):
        raise ModelError(
            f"the tensor `{tensor.name}` does not hold as many numbers as its shape says", hint=_DAMAGED
        )
    match array.dtype.kind:
        case "f":
            return array.astype(np.float64)
        case "i" | "u":
            if array.dtype == np.uint64 and array.size and int(array.max()) > np.iinfo(np.int64).max:
                raise ModelError(f"the tensor `{tensor.name}` holds integers over 2^63")
            return array.astype(np.int64)
        case "b":
            return array
        case "O" | "S" | "U":
            return _strings(tensor.name, array)
    if array.dtype.name in ("bfloat16",):
        return array.astype(np.float64)
    raise ModelError(f"the tensor `{tensor.name}` is of the type {array.dtype}, which is not supported")


def _strings(name: str, array: Array) -> Array:
    try:
        items = [x.decode() if isinstance(x, bytes) else str(x) for x in array.reshape(-1)]
    except UnicodeDecodeError as error:
        raise ModelError(f"the tensor `{name}` holds a string that is not UTF-8", hint=_DAMAGED) from error
    return np.array(items, dtype=np.str_).reshape(array.shape)


def attributes_of(node: NodeProto, where: str, opset: int) -> dict[str, Any]:
    """The attributes of a node: int, float, str, lists of them, and tensors as arrays."""
    import onnx

    kinds = onnx.AttributeProto
    result: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.name in result:
            raise ModelError(
                f"node `{where}`: the attribute `{attribute.name}` is there twice", hint=_DAMAGED
            )
        try:
            match attribute.type:
                case kinds.FLOAT:
                    result[attribute.name] = float(attribute.f)
                case kinds.INT:
                    result[attribute.name] = int(attribute.i)
                case kinds.STRING:
                    result[attribute.name] = attribute.s.decode()
                case kinds.FLOATS:
                    result[attribute.name] = [float(item) for item in attribute.floats]
                case kinds.INTS:
                    result[attribute.name] = [int(item) for item in attribute.ints]
                case kinds.STRINGS:
                    result[attribute.name] = [item.decode() for item in attribute.strings]
                case kinds.TENSOR:
                    result[attribute.name] = tensor_array(attribute.t)
                case _:
                    raise UnsupportedOpError(
                        f"node `{where}` ({node.op_type}): the attribute `{attribute.name}` is a graph"
                        " or of another kind that is not supported",
                        node=where,
                        op=node.op_type,
                        opset=opset,
                        hint="models with loops and branches are not run: export one without control flow",
                    )
        except UnicodeDecodeError as error:
            raise ModelError(f"node `{where}`: an attribute is not UTF-8", hint=_DAMAGED) from error
    return result
