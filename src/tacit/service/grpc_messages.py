"""Messages of `inference.GRPCInferenceService`, the gRPC form of the Open Inference Protocol, version 2.

Built from a table of names and field numbers, which are facts of the public protocol
(github.com/kserve/open-inference-protocol, specification/protocol/inference_grpc.md), in a pool of descriptors of our
own, so that another library in the same process may register the same names. Needs ``tacit[grpc]``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from tacit.errors import MalformedMessageError, ShapeError, TooLargeError
from tacit.net.tensors import DTYPES, InferRequest, InferResponse, Output, Tensor

__all__ = ["METHODS", "PACKAGE", "SERVICE", "classes", "read_infer", "write_infer"]

PACKAGE: Final = "inference"
SERVICE: Final = "inference.GRPCInferenceService"
METHODS: Final = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
    "RepositoryIndex",
)

# Message → fields as (name, number, type); `*T`: repeated; `{T}`: map from string to T; `|T`: of the one oneof.
_TABLE: Final[Mapping[str, tuple[tuple[str, int, str], ...]]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": (("live", 1, "bool"),),
    "ServerReadyRequest": (),
    "ServerReadyResponse": (("ready", 1, "bool"),),
    "ModelReadyRequest": (("name", 1, "string"), ("version", 2, "string")),
    "ModelReadyResponse": (("ready", 1, "bool"),),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": (("name", 1, "string"), ("version", 2, "string"), ("extensions", 3, "*string")),
    "ModelMetadataRequest": (("name", 1, "string"), ("version", 2, "string")),
    "TensorMetadata": (("name", 1, "string"), ("datatype", 2, "string"), ("shape", 3, "*int64")),
    "ModelMetadataResponse": (
        ("name", 1, "string"),
        ("versions", 2, "*string"),
        ("platform", 3, "string"),
        ("inputs", 4, "*TensorMetadata"),
        ("outputs", 5, "*TensorMetadata"),
    ),
    "InferParameter": (
        ("bool_param", 1, "|bool"),
        ("int64_param", 2, "|int64"),
        ("string_param", 3, "|string"),
        ("double_param", 4, "|double"),
        ("uint64_param", 5, "|uint64"),
    ),
    "InferTensorContents": (
        ("bool_contents", 1, "*bool"),
        ("int_contents", 2, "*int32"),
        ("int64_contents", 3, "*int64"),
        ("uint_contents", 4, "*uint32"),
        ("uint64_contents", 5, "*uint64"),
        ("fp32_contents", 6, "*float"),
        ("fp64_contents", 7, "*double"),
        ("bytes_contents", 8, "*bytes"),
    ),
    "InferTensor": (
        ("name", 1, "string"),
        ("datatype", 2, "string"),
        ("shape", 3, "*int64"),
        ("parameters", 4, "{InferParameter}"),
        ("contents", 5, "InferTensorContents"),
    ),
    "InferRequestedOutputTensor": (("name", 1, "string"), ("parameters", 2, "{InferParameter}")),
    "ModelInferRequest": (
        ("model_name", 1, "string"),
        ("model_version", 2, "string"),
        ("id", 3, "string"),
        ("parameters", 4, "{InferParameter}"),
        ("inputs", 5, "*InferTensor"),
        ("outputs", 6, "*InferRequestedOutputTensor"),
        ("raw_input_contents", 7, "*bytes"),
    ),
    "ModelInferResponse": (
        ("model_name", 1, "string"),
        ("model_version", 2, "string"),
        ("id", 3, "string"),
        ("parameters", 4, "{InferParameter}"),
        ("outputs", 5, "*InferTensor"),
        ("raw_output_contents", 6, "*bytes"),
    ),
    "RepositoryIndexRequest": (("repository_name", 1, "string"), ("ready", 2, "bool")),
    "ModelIndex": (
        ("name", 1, "string"),
        ("version", 2, "string"),
        ("state", 3, "string"),
        ("reason", 4, "string"),
    ),
    "RepositoryIndexResponse": (("models", 1, "*ModelIndex"),),
}

# Datatype → field of `InferTensorContents`; FP16 and BF16 travel as raw contents only.
_CONTENTS: Final[Mapping[str, str]] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}

_RAW_INPUTS = 7
_MAX_FIELDS = 256
_MAX_TENSORS = 64
_MAX_RANK = 8
_MAX_PARAMETERS = 64
_MAX_NAME = 256
_MAX_TEXT = 4096
_MAX_STRUCTURE_BYTES = 4 << 20
"""Bytes of a request that are not raw contents. An empty message of two bytes takes some hundred when it is read, so
these are limited more tightly than contents, which are taken as they are."""


@functools.cache
def classes() -> Mapping[str, Any]:
    """Name → message class of protobuf. Raises ``ImportError`` where protobuf is not installed."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    scalars = {
        name: getattr(field, f"TYPE_{name.upper()}")
        for name in ("bool", "bytes", "double", "float", "int32", "int64", "string", "uint32", "uint64")
    }

    def kind(made: Any, target: str) -> None:
        if target in scalars:
            made.type = scalars[target]
        else:
            made.type, made.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{target}"

    file = descriptor_pb2.FileDescriptorProto(name="tacit_inference.proto", package=PACKAGE, syntax="proto3")
    for message, fields in _TABLE.items():
        made = file.message_type.add(name=message)
        for name, number, target in fields:
            added = made.field.add(name=name, number=number)
            added.label = field.LABEL_REPEATED if target[0] in "*{" else field.LABEL_OPTIONAL
            if target[0] == "{":
                entry = made.nested_type.add(name=f"{name.title()}Entry")
                entry.options.map_entry = True
                kind(entry.field.add(name="key", number=1, label=field.LABEL_OPTIONAL), "string")
                kind(entry.field.add(name="value", number=2, label=field.LABEL_OPTIONAL), target[1:-1])
                kind(added, f"{message}.{entry.name}")
            else:
                kind(added, target.lstrip("*|"))
            if target[0] == "|":
                if not made.oneof_decl:
                    made.oneof_decl.add(name="parameter_choice")
                added.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return MappingProxyType(
        {
            name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
            for name in _TABLE
        }
    )


def read_infer(message: bytes) -> tuple[str, str, InferRequest]:
    """Model, version (may be empty) and request of a serialised `ModelInferRequest`.

    Raises ``MalformedMessageError``, ``TooLargeError`` above a limit, and ``ShapeError`` where contents do not have the
    shape that the tensor says.
    """
    _check_structure(message)
    found = parse("ModelInferRequest", message)
    if len(found.inputs) > _MAX_TENSORS or len(found.outputs) > _MAX_TENSORS:
        raise TooLargeError(f"a request has at most {_MAX_TENSORS} inputs and as many outputs")
    raw = found.raw_input_contents
    if raw and len(raw) != len(found.inputs):
        raise MalformedMessageError(f"{len(found.inputs)} inputs with {len(raw)} raw contents")
    for tensors in (found.inputs, found.outputs):
        if len({item.name for item in tensors}) < len(tensors):
            raise MalformedMessageError("two tensors have the same name")
    if len(found.id) > _MAX_NAME:
        raise MalformedMessageError(f"the id is a text of at most {_MAX_NAME} characters")
    inputs = tuple(_tensor(item, raw[place] if raw else None) for place, item in enumerate(found.inputs))
    outputs = tuple(_output(item) for item in found.outputs)
    request = InferRequest(
        inputs=inputs, outputs=outputs, id=found.id, parameters=_parameters(found.parameters), binary=True
    )
    return found.model_name, found.model_version, request


def write_infer(response: InferResponse) -> bytes:
    """A serialised `ModelInferResponse`, all outputs as raw contents."""
    made = classes()["ModelInferResponse"](
        model_name=response.model, model_version=response.version, id=response.id
    )
    _put(made.parameters, response.parameters)
    for tensor in response.outputs:
        head = made.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        _put(head.parameters, tensor.parameters)
        made.raw_output_contents.append(bytes(tensor.data))
    return bytes(made.SerializeToString())


def parse(name: str, message: bytes) -> Any:
    """A message of that name. Raises ``MalformedMessageError``."""
    from google.protobuf.message import DecodeError

    try:
        return classes()[name].FromString(message)
    except (DecodeError, ValueError):
        raise MalformedMessageError(f"the bytes are no `{name}`") from None


def _tensor(item: Any, raw: bytes | None) -> Tensor:
    parameters = _parameters(item.parameters)
    if any(name.startswith("shared_memory") for name in parameters):
        raise MalformedMessageError("shared memory is not served")
    if len(item.shape) > _MAX_RANK:
        raise MalformedMessageError(f"an input has more than {_MAX_RANK} axes")
    shape = tuple(item.shape)
    if raw is not None:
        if item.HasField("contents"):
            raise MalformedMessageError("an input has both contents and raw contents")
        return Tensor(item.name, item.datatype, shape, raw, parameters)
    field = _CONTENTS.get(item.datatype)
    if field is None:
        raise MalformedMessageError("an input of this datatype travels as raw contents only")
    if any(filled.name != field for filled, _ in item.contents.ListFields()):
        raise MalformedMessageError("the contents of an input are of another datatype than it says")
    values = getattr(item.contents, field)
    if min(shape, default=0) < 0 or len(values) != math.prod(shape):
        raise ShapeError(f"an input holds {len(values)} elements, its shape says another number")
    if item.datatype == "BYTES":
        return Tensor.of_bytes(item.name, values, shape=shape, parameters=parameters)
    return Tensor(item.name, item.datatype, shape, _packed(item.datatype, values), parameters)


def _packed(datatype: str, values: Any) -> bytes:
    """Numbers as the binary extension has them. Raises ``MalformedMessageError`` for one outside its type."""
    dtype = np.dtype("|u1" if datatype == "BOOL" else DTYPES[datatype])
    wide = np.array(values, dtype=np.float64 if dtype.kind == "f" else None)
    if wide.size == 0:
        return b""
    if dtype.kind in "iu" and datatype != "BOOL":
        limits = np.iinfo(dtype)
        if int(wide.min()) < limits.min or int(wide.max()) > limits.max:
            raise MalformedMessageError(f"an input holds a number outside {datatype}")
    return wide.astype(dtype).tobytes()


def _output(item: Any) -> Output:
    parameters = _parameters(item.parameters)
    if not 0 < len(item.name) <= _MAX_NAME:
        raise MalformedMessageError("an output that is asked for has no name")
    if any(name.startswith("shared_memory") for name in parameters):
        raise MalformedMessageError("shared memory is not served")
    parameters.pop("binary_data", None)
    return Output(item.name, True, parameters)


def _parameters(found: Any) -> dict[str, bool | int | float | str]:
    if len(found) > _MAX_PARAMETERS:
        raise MalformedMessageError(f"more than {_MAX_PARAMETERS} parameters")
    values: dict[str, bool | int | float | str] = {}
    for name, parameter in found.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is None or len(name) > _MAX_NAME:
            raise MalformedMessageError("a parameter has no value or a name that is too long")
        value = getattr(parameter, choice)
        if isinstance(value, str) and len(value) > _MAX_TEXT:
            raise MalformedMessageError("the text of a parameter is too long")
        values[name] = value
    return values


def _put(into: Any, parameters: Mapping[str, bool | int | float | str]) -> None:
    for name, value in parameters.items():
        field = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}[
            type(value)
        ]
        setattr(into[name], field, value)


def _check_structure(message: bytes) -> None:
    """Refuses, before anything is allocated, a message of very many parts, or with much beside raw contents."""
    structure = 0
    for place, (number, size) in enumerate(_top_level(message)):
        structure += size if number != _RAW_INPUTS else 0
        if place >= _MAX_FIELDS:
            raise TooLargeError(f"a request has at most {_MAX_FIELDS} parts")
        if structure > _MAX_STRUCTURE_BYTES:
            raise TooLargeError(
                f"a request has at most {_MAX_STRUCTURE_BYTES} bytes beside raw contents",
                hint="send large tensors as raw contents",
            )


def _top_level(message: bytes) -> Iterator[tuple[int, int]]:
    """Field number and size of each field (protobuf encoding, wire types 0, 1, 2 and 5)."""
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        start = position
        if wire == 0:
            _, position = _varint(message, position)
        elif wire in (1, 5):
            position += 8 if wire == 1 else 4
        elif wire == 2:
            size, position = _varint(message, position)
            position += size
        else:
            raise MalformedMessageError("the bytes are no `ModelInferRequest`")
        if position > end or number == 0:
            raise MalformedMessageError("the bytes are no `ModelInferRequest`")
        yield number, position - start


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise MalformedMessageError("the bytes are no `ModelInferRequest`")
