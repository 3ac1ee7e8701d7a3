"""Tensors of the Open Inference Protocol, version 2: requests and answers as JSON, with the binary tensor extension.

A tensor holds its contents as the extension puts them on the wire: little-endian, row major, without padding; an
element of a BYTES tensor is its length (4 bytes) and its bytes. Reading is strict: unknown fields, repeated names,
sizes that do not fit and numbers outside their type are refused, and nothing is allocated by mere claims.
Sources: the protocol's REST definition (github.com/kserve/open-inference-protocol, specification/protocol) and the
binary tensor data extension of the same.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tacit.errors import DataError, MalformedMessageError, ShapeError, TooLargeError

__all__ = [
    "DTYPES",
    "InferRequest",
    "InferResponse",
    "Limits",
    "Output",
    "Parameters",
    "Tensor",
]

Parameters = Mapping[str, bool | int | float | str]

DTYPES: Final[Mapping[str, str]] = {
    "BOOL": "|b1",
    "UINT8": "|u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "|i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
"""Datatype of the protocol and the dtype of NumPy; BYTES has elements of any length, BF16 no dtype."""

BYTES = "BYTES"
WIDTHS = {name: np.dtype(dtype).itemsize for name, dtype in DTYPES.items()} | {"BF16": 2}
BASE64 = "base64"
"""Value of the parameter `content_type` of a BYTES tensor whose JSON strings are base64."""

MAX_RANK = 8
MAX_ELEMENTS = 1 << 40
"""Product of the sizes that are not zero: above it no array could have this shape."""
MAX_STRINGS = 1 << 20
"""Elements of one BYTES tensor: an element of four bytes on the wire takes a hundred as a text in memory."""
MAX_NAME = 256
MAX_PARAMETERS = 64
MAX_TEXT = 4096


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is read at all. ``json_bytes``: of the JSON part, which takes some twenty times as much memory when read;
    ``strings``: elements of one BYTES tensor, refused before they are walked."""

    json_bytes: int = 8 << 20
    tensors: int = 64
    strings: int = MAX_STRINGS


@dataclass(frozen=True)
class Tensor:
    """``shape``: sizes >= 0; ``data``: contents as the binary extension has them, of the length that the shape says.

    Raises ``MalformedMessageError`` where contents and shape do not fit each other.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes | memoryview = field(repr=False)
    parameters: Parameters = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_head(self.name, self.datatype, self.shape)
        if self.datatype == BYTES:
            for _ in _walk(self.data, math.prod(self.shape)):
                pass
        elif len(self.data) != math.prod(self.shape) * WIDTHS[self.datatype]:
            raise MalformedMessageError(
                f"tensor `{self.name}` holds {len(self.data)} bytes, its shape says "
                f"{math.prod(self.shape) * WIDTHS[self.datatype]}"
            )

    @staticmethod
    def of(name: str, array: npt.NDArray[Any], parameters: Parameters | None = None) -> Tensor:
        """The tensor of an array of numbers, booleans, bytes or text. Raises ``DataError`` for another dtype."""
        if array.dtype.kind in "OUS":
            elements = (
                item if isinstance(item, bytes) else str(item).encode() for item in array.reshape(-1).tolist()
            )
            return Tensor.of_bytes(name, elements, shape=array.shape, parameters=parameters)
        little = array.dtype.newbyteorder("<")
        for datatype, dtype in DTYPES.items():
            if np.dtype(dtype) == little:
                raw = np.ascontiguousarray(array, dtype=dtype).tobytes()
                return Tensor(name, datatype, array.shape, raw, parameters or {})
        raise DataError(f"tensor `{name}`: no datatype of the protocol for {array.dtype}")

    @staticmethod
    def of_bytes(
        name: str,
        elements: Iterable[bytes | memoryview],
        *,
        shape: tuple[int, ...] | None = None,
        parameters: Parameters | None = None,
    ) -> Tensor:
        """A BYTES tensor, by default of one axis."""
        parts: list[bytes | memoryview] = []
        for element in elements:
            parts += [struct.pack("<I", len(element)), element]
        return Tensor(name, BYTES, shape or (len(parts) // 2,), b"".join(parts), parameters or {})

    def array(self) -> npt.NDArray[Any]:
        """Contents as an array (``shape``); of BYTES with objects ``bytes``. Raises ``DataError`` for BF16."""
        if self.datatype == BYTES:
            result = np.empty(math.prod(self.shape), dtype=object)
            for index, element in enumerate(_walk(self.data, math.prod(self.shape))):
                result[index] = bytes(element)
            return result.reshape(self.shape)
        if self.datatype not in DTYPES:
            raise DataError(f"tensor `{self.name}`: {self.datatype} is not read as numbers")
        raw = np.frombuffer(self.data, dtype=DTYPES[self.datatype] if self.datatype != "BOOL" else "|u1")
        if self.datatype == "BOOL":
            if raw.size and raw.max() > 1:
                raise DataError(f"tensor `{self.name}`: a boolean is one byte, 0 or 1")
            raw = raw.view(np.bool_)
        return raw.reshape(self.shape)

    def elements(self) -> list[memoryview]:
        """The elements of a BYTES tensor, without a copy."""
        return list(_walk(self.data, math.prod(self.shape)))

    def _json(self, binary: bool) -> dict[str, Any]:
        head: dict[str, Any] = {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}
        parameters = dict(self.parameters)
        if binary:
            parameters["binary_data_size"] = len(self.data)
        elif self.datatype == BYTES:
            is_base64 = parameters.get("content_type") == BASE64
            head["data"] = [_text(element, self.name, is_base64) for element in self.elements()]
        elif self.datatype in ("FP16", "BF16"):
            raise DataError(
                f"tensor `{self.name}`: {self.datatype} has no form in JSON",
                hint="ask for binary data",
            )
        else:
            values = self.array().reshape(-1)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise DataError(
                    f"tensor `{self.name}` holds numbers that JSON does not know", hint="ask for binary data"
                )
            head["data"] = values.tolist()
        if parameters:
            head["parameters"] = parameters
        return head


@dataclass(frozen=True)
class Output:
    """An output that is asked for; ``binary``: whether as binary data, ``None`` where the request does not say."""

    name: str
    binary: bool | None = None
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class InferRequest:
    """``outputs``: those asked for, all where empty. ``binary``: whether outputs that do not say are binary."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Output, ...] = ()
    id: str = ""
    parameters: Parameters = field(default_factory=dict)
    binary: bool = False

    def encode(self, *, binary: bool = True) -> tuple[list[bytes | memoryview], int | None]:
        """Parts of the body, and the length of its JSON part where binary data follow (else ``None``)."""
        head: dict[str, Any] = {"id": self.id} if self.id else {}
        head["inputs"] = [tensor._json(binary) for tensor in self.inputs]
        if self.outputs:
            head["outputs"] = [_output_json(output) for output in self.outputs]
        parameters = dict(self.parameters)
        if self.binary:
            parameters["binary_data_output"] = True
        if parameters:
            head["parameters"] = parameters
        return _assembled(head, self.inputs if binary else ())

    @staticmethod
    def decode(
        body: bytes | memoryview, json_length: int | None = None, limits: Limits | None = None
    ) -> InferRequest:
        """Reads ``encode``; tensors hold views of ``body``.

        Raises ``MalformedMessageError``, ``TooLargeError`` above a limit, and ``ShapeError`` where JSON data do not
        have the shape that they say.
        """
        head, rest = _taken_apart(body, json_length, limits or Limits(), "inputs")
        _known(head, {"id", "inputs", "outputs", "parameters"}, "request")
        parameters = _parameters(head.get("parameters"))
        binary = parameters.pop("binary_data_output", False)
        if not isinstance(binary, bool):
            raise MalformedMessageError("the parameter `binary_data_output` is true or false")
        inputs = _tensors(head, "inputs", rest, limits or Limits())
        outputs = tuple(_output(found) for found in _list(head.get("outputs", []), limits or Limits()))
        _no_name_twice([output.name for output in outputs])
        return InferRequest(
            inputs=inputs, outputs=outputs, id=_id(head), parameters=parameters, binary=binary
        )


@dataclass(frozen=True, kw_only=True)
class InferResponse:
    """The answer of one model. ``id``: the one of the request, empty where it had none."""

    model: str
    version: str
    outputs: tuple[Tensor, ...]
    id: str = ""
    parameters: Parameters = field(default_factory=dict)

    def encode(self, *, binary: bool | Sequence[bool] = True) -> tuple[list[bytes | memoryview], int | None]:
        """As ``InferRequest.encode``; ``binary``: of all outputs, or of each."""
        each = [binary] * len(self.outputs) if isinstance(binary, bool) else list(binary)
        head: dict[str, Any] = {"model_name": self.model, "model_version": self.version}
        head |= {"id": self.id} if self.id else {}
        head["outputs"] = [
            tensor._json(is_binary) for tensor, is_binary in zip(self.outputs, each, strict=True)
        ]
        if self.parameters:
            head["parameters"] = dict(self.parameters)
        return _assembled(
            head, [tensor for tensor, is_binary in zip(self.outputs, each, strict=True) if is_binary]
        )

    @staticmethod
    def decode(
        body: bytes | memoryview, json_length: int | None = None, limits: Limits | None = None
    ) -> InferResponse:
        """Reads ``encode``; tensors hold views of ``body``. Raises as ``InferRequest.decode``."""
        head, rest = _taken_apart(body, json_length, limits or Limits(), "outputs")
        _known(head, {"id", "model_name", "model_version", "outputs", "parameters"}, "answer")
        name, version = head.get("model_name"), head.get("model_version", "")
        if not isinstance(name, str) or not isinstance(version, str):
            raise MalformedMessageError("the answer does not name its model")
        return InferResponse(
            model=name,
            version=version,
            outputs=_tensors(head, "outputs", rest, limits or Limits()),
            id=_id(head),
            parameters=_parameters(head.get("parameters")),
        )


def _assembled(
    head: Mapping[str, Any], binary: Iterable[Tensor]
) -> tuple[list[bytes | memoryview], int | None]:
    text = json.dumps(head, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    tensors = list(binary)
    return [text, *(tensor.data for tensor in tensors)], len(text) if tensors else None


def _taken_apart(
    body: bytes | memoryview, json_length: int | None, limits: Limits, what: str
) -> tuple[dict[str, Any], memoryview]:
    """The JSON object and the bytes behind it."""
    view = memoryview(body)
    length = len(view) if json_length is None else json_length
    if not 0 < length <= len(view):
        raise MalformedMessageError(f"the JSON part has {length} bytes, the body {len(view)}")
    if length > limits.json_bytes:
        raise TooLargeError(
            f"the JSON part has {length} bytes. At most {limits.json_bytes} are read.",
            hint="send large tensors as binary data (the binary tensor extension)",
        )
    head = _json_object(bytes(view[:length]))
    if not isinstance(head.get(what), list):
        raise MalformedMessageError(f"the field `{what}` is missing or no list")
    return head, view[length:]


def _json_object(text: bytes) -> dict[str, Any]:
    def refuse(constant: str) -> float:
        raise ValueError(constant)

    try:
        found = json.loads(text.decode("utf-8"), parse_constant=refuse, object_pairs_hook=_pairs)
    except (ValueError, RecursionError):
        raise MalformedMessageError(
            "the JSON part is not JSON, or names a field twice", hint="send UTF-8 without NaN and Infinity"
        ) from None
    if not isinstance(found, dict):
        raise MalformedMessageError("the JSON part is not an object")
    return found


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("twice")
    return found


def _tensors(head: Mapping[str, Any], what: str, rest: memoryview, limits: Limits) -> tuple[Tensor, ...]:
    tensors = []
    for found in _list(head[what], limits):
        _known(found, {"name", "datatype", "shape", "parameters", "data"}, "tensor")
        name, datatype, shape = found.get("name"), found.get("datatype"), found.get("shape")
        if not isinstance(shape, list) or not all(type(size) is int for size in shape):
            raise MalformedMessageError("the shape of a tensor is a list of integers")
        name, datatype = _check_head(name, datatype, tuple(shape), limits.strings)
        parameters = _parameters(found.get("parameters"))
        size = parameters.pop("binary_data_size", None)
        if any(key.startswith("shared_memory") for key in parameters):
            raise MalformedMessageError(f"tensor `{name}`: shared memory is not served")
        if size is None:
            if "data" not in found:
                raise MalformedMessageError(f"tensor `{name}` has neither `data` nor `binary_data_size`")
            data: bytes | memoryview = _from_json(name, datatype, shape, found["data"], parameters)
        elif "data" in found:
            raise MalformedMessageError(f"tensor `{name}` has both `data` and `binary_data_size`")
        elif type(size) is not int or not 0 <= size <= len(rest):
            raise MalformedMessageError(f"tensor `{name}` claims more bytes than follow the JSON part")
        else:
            data, rest = rest[:size], rest[size:]
        tensors.append(Tensor(name, datatype, tuple(shape), data, parameters))
    if len(rest):
        raise MalformedMessageError(f"{len(rest)} bytes follow the last tensor")
    _no_name_twice([tensor.name for tensor in tensors])
    return tuple(tensors)


def _check_head(
    name: Any, datatype: Any, shape: tuple[int, ...], strings: int = MAX_STRINGS
) -> tuple[str, str]:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise MalformedMessageError(f"the name of a tensor is a text of 1 to {MAX_NAME} characters")
    _written(name)
    if not isinstance(datatype, str) or (datatype != BYTES and datatype not in WIDTHS):
        raise MalformedMessageError(
            f"tensor `{name}` has a datatype that the protocol does not know",
            hint=f"use one of {', '.join((*WIDTHS, BYTES))}",
        )
    if (
        len(shape) > MAX_RANK
        or min(shape, default=0) < 0
        or math.prod(max(1, n) for n in shape) > MAX_ELEMENTS
    ):
        raise MalformedMessageError(f"tensor `{name}` has more than {MAX_RANK} axes or a size out of range")
    if datatype == BYTES and math.prod(shape) > strings:
        raise TooLargeError(
            f"tensor `{name}` has {math.prod(shape)} elements. A BYTES tensor has at most {strings}.",
            hint="send fewer samples at a time",
        )
    return name, datatype


def _from_json(name: str, datatype: str, shape: list[int], data: Any, parameters: Parameters) -> bytes:
    """Contents of a tensor in JSON, whose lists may follow its shape or be flat."""
    flat: list[Any] = []
    _flatten(data, flat, 0)
    if len(flat) != math.prod(shape):
        raise ShapeError(f"tensor `{name}` holds {len(flat)} elements, its shape says {math.prod(shape)}")
    if datatype == BYTES:
        is_base64 = parameters.get("content_type") == BASE64
        return Tensor.of_bytes(name, [_element(item, name, is_base64) for item in flat]).data  # type: ignore[return-value]
    if datatype in ("FP16", "BF16"):
        raise MalformedMessageError(f"tensor `{name}`: {datatype} travels as binary data only")
    dtype = np.dtype(DTYPES[datatype])
    allowed = {"b": (bool,), "f": (int, float)}.get(dtype.kind, (int,))
    if not all(type(item) in allowed for item in flat):
        raise MalformedMessageError(f"tensor `{name}` holds an element that is not {datatype}")
    try:
        array = np.array(flat, dtype=np.float64 if dtype.kind == "f" else dtype)
        with np.errstate(over="raise"):
            narrow = array.astype(dtype)
        if dtype.kind == "f" and not np.isfinite(narrow).all():
            raise OverflowError
        return narrow.tobytes()
    except (OverflowError, FloatingPointError, ValueError):
        raise MalformedMessageError(f"tensor `{name}` holds a number outside {datatype}") from None


def _flatten(data: Any, into: list[Any], depth: int) -> None:
    if not isinstance(data, list) or depth > MAX_RANK:
        raise MalformedMessageError("the `data` of a tensor are lists, nested as deeply as it has axes")
    for item in data:
        if isinstance(item, list):
            _flatten(item, into, depth + 1)
        else:
            into.append(item)


def _element(item: Any, name: str, is_base64: bool) -> bytes:
    if not isinstance(item, str):
        raise MalformedMessageError(f"tensor `{name}` holds an element that is not a text")
    try:
        return base64.b64decode(item, validate=True) if is_base64 else item.encode()
    except (binascii.Error, ValueError):
        raise MalformedMessageError(f"tensor `{name}` holds a text that is not base64 or UTF-8") from None


def _text(element: memoryview, name: str, is_base64: bool) -> str:
    if is_base64:
        return base64.b64encode(element).decode()
    try:
        return bytes(element).decode()
    except UnicodeDecodeError:
        raise DataError(f"tensor `{name}` holds bytes that are no text", hint="ask for binary data") from None


def _walk(data: bytes | memoryview, count: int) -> Iterator[memoryview]:
    """The elements of a BYTES tensor, no more of them than its shape says: the work is bounded by the claim."""
    view, position = memoryview(data), 0
    if 4 * count > len(view):
        raise MalformedMessageError(f"a BYTES tensor of {len(view)} bytes cannot hold {count} elements")
    for _ in range(count):
        if len(view) - position < 4:
            raise MalformedMessageError("an element of a BYTES tensor is truncated")
        end = position + 4 + int.from_bytes(view[position : position + 4], "little")
        if end > len(view):
            raise MalformedMessageError("an element of a BYTES tensor is truncated")
        yield view[position + 4 : end]
        position = end
    if position < len(view):
        raise MalformedMessageError(
            f"a BYTES tensor holds more elements than the {count} that its shape says"
        )


def _output(found: dict[str, Any]) -> Output:
    _known(found, {"name", "parameters"}, "output")
    name = found.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise MalformedMessageError("an output that is asked for has no name")
    _written(name)
    parameters = _parameters(found.get("parameters"))
    binary = parameters.pop("binary_data", None)
    if not isinstance(binary, bool | None):
        raise MalformedMessageError("the parameter `binary_data` is true or false")
    if any(key.startswith("shared_memory") for key in parameters):
        raise MalformedMessageError(f"output `{name}`: shared memory is not served")
    return Output(name, binary, parameters)


def _output_json(output: Output) -> dict[str, Any]:
    parameters = dict(output.parameters)
    if output.binary is not None:
        parameters["binary_data"] = output.binary
    return {"name": output.name, "parameters": parameters} if parameters else {"name": output.name}


def _list(found: Any, limits: Limits) -> list[dict[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise MalformedMessageError("inputs and outputs are lists of objects")
    if len(found) > limits.tensors:
        raise TooLargeError(f"a message has at most {limits.tensors} tensors. Got {len(found)} instead.")
    return found


def _parameters(found: Any) -> dict[str, bool | int | float | str]:
    if found is None:
        return {}
    fits = isinstance(found, dict) and len(found) <= MAX_PARAMETERS
    if not fits or not all(
        len(key) <= MAX_NAME
        and isinstance(value, bool | int | float | str)
        and not (isinstance(value, str) and len(value) > MAX_TEXT)
        and not (isinstance(value, float) and not math.isfinite(value))
        for key, value in found.items()
    ):
        raise MalformedMessageError("parameters are an object of booleans, numbers and short texts")
    return dict(found)


def _id(head: Mapping[str, Any]) -> str:
    found = head.get("id", "")
    if not isinstance(found, str) or len(found) > MAX_NAME:
        raise MalformedMessageError(f"the id is a text of at most {MAX_NAME} characters")
    _written(found)
    return found


def _written(text: str) -> None:
    """Refuses what JSON can say and UTF-8 cannot: half of a surrogate pair, which no answer could repeat."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise MalformedMessageError("a name or id holds half of a surrogate pair") from None


def _known(found: Mapping[str, Any], fields: set[str], what: str) -> None:
    if not set(found) <= fields:
        raise MalformedMessageError(f"the {what} has a field that the protocol does not know")


def _no_name_twice(names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise MalformedMessageError("two tensors have the same name")
