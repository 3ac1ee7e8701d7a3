"""The text form of a graph: exact, canonical, one line per thing. Its SHA-256 identifies the program.

::

    tacit graph 1
    name "line"
    metadata "opset" "21"
    feature "age"
    class "benign"
    input "x" float64 [?, 2] owner
    constant "w" float64 [2, 1] provider AAAAAAAA8D8AAAAAAAAAQA==
    node "y" = MatMul("x", "w") {} "source name"
    output "y"
    role "output" "y"

``?`` is the batch. Numbers of constants are base64 of little-endian float64, int64 or one byte per bool, row
by row; strings are a JSON list. Float attributes are hexadecimal. A graph has one text, and a text that is
not the text of its graph is refused, so that equal programs have equal digests.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np

from tacit.errors import ModelError, TacitError
from tacit.ir.graph import Graph, Node, Owner, Value, infer_values
from tacit.ir.signature import Array, Attribute, DType, Shape
from tacit.ir.verify import verify

__all__ = ["MAX_TEXT", "digest", "from_text", "to_text"]

MAX_TEXT = 1 << 31
"""Longest text that is parsed, in characters."""

_HEADER = "tacit graph 1"
_STORED = {"float64": "<f8", "int64": "<i8", "bool": "|b1"}
_STRING = r'"(?:[^"\\]|\\.)*"'
_SHAPE = r"\[[?0-9, ]*\]"
_ITEM = rf"\[[-0-9, ]*\]|{_STRING}|[-+.\w]+"
_ATTRIBUTES = rf"(?:\w+=(?:{_ITEM})(?:, \w+=(?:{_ITEM}))*)?"
"""Matched as a whole before it is cut into pieces, so that no text makes the cutting slow."""
_LINES = {
    "name": re.compile(rf"({_STRING})"),
    "metadata": re.compile(rf"({_STRING}) ({_STRING})"),
    "feature": re.compile(rf"({_STRING})"),
    "class": re.compile(rf"({_STRING}|-?\d{{1,19}})"),
    "input": re.compile(rf"({_STRING}) (float64|int64|bool) ({_SHAPE}) (owner|provider|public)"),
    "constant": re.compile(rf"({_STRING}) (float64|int64|bool|str) ({_SHAPE}) (provider|public) (.*)"),
    "node": re.compile(rf"({_STRING}) = (\w+)\(((?:{_STRING}(?:, )?)*)\) \{{({_ATTRIBUTES})\}} ({_STRING})"),
    "output": re.compile(rf"({_STRING})"),
    "role": re.compile(rf"({_STRING}) ({_STRING})"),
}


def to_text(graph: Graph) -> str:
    """The text of a graph."""
    return "".join(f"{line}\n" for line in _lines(graph))


def digest(graph: Graph) -> str:
    """SHA-256 of the text, in hexadecimal."""
    state = hashlib.sha256()
    for line in _lines(graph):
        state.update(line.encode())
        state.update(b"\n")
    return state.hexdigest()


def from_text(text: str) -> Graph:
    """The verified graph of a text. Raises ``ModelError`` for anything that ``to_text`` would not write."""
    if len(text) > MAX_TEXT:
        raise ModelError(f"the text of a graph must be at most {MAX_TEXT} characters long")
    try:
        graph = _parse(text)
        verify(graph)
    except TacitError:
        raise
    except (ValueError, RecursionError, OverflowError, KeyError, TypeError) as error:
        raise ModelError(f"the text of the graph is malformed: {type(error).__name__}") from error
    if to_text(graph) != text:
        raise ModelError("the text of the graph is not in canonical form")
    return graph


def _lines(graph: Graph) -> Iterator[str]:
    yield _HEADER
    yield f"name {_quote(graph.name)}"
    for key, item in sorted(graph.metadata.items()):
        yield f"metadata {_quote(key)} {_quote(item)}"
    for feature in graph.feature_names or ():
        yield f"feature {_quote(feature)}"
    for label in graph.classes or ():
        yield f"class {_quote(label) if isinstance(label, str) else label}"
    for value in graph.inputs:
        yield f"input {_quote(value.name)} {value.dtype} {_write_shape(value.shape)} {value.owner}"
    for name in sorted(graph.constants):
        value = graph.values[name]
        stored = _write_array(graph.constants[name])
        yield f"constant {_quote(name)} {value.dtype} {_write_shape(value.shape)} {value.owner} {stored}"
    for node in graph.nodes:
        operands = ", ".join(_quote(name) for name in node.inputs)
        attributes = ", ".join(
            f"{key}={_write_attribute(item)}" for key, item in sorted(node.attributes.items())
        )
        yield f"node {_quote(node.output)} = {node.op}({operands}) {{{attributes}}} {_quote(node.name)}"
    for name in graph.outputs:
        yield f"output {_quote(name)}"
    for role, name in sorted(graph.roles.items()):
        yield f"role {_quote(role)} {_quote(name)}"


def _parse(text: str) -> Graph:
    lines = text.split("\n")
    if lines[0] != _HEADER or lines[-1] != "":
        raise ModelError("this is not the text of a graph of version 1")
    found: dict[str, list[tuple[str, ...]]] = {keyword: [] for keyword in _LINES}
    for number, line in enumerate(lines[1:-1], start=2):
        keyword, _, rest = line.partition(" ")
        pattern = _LINES.get(keyword)
        match = pattern.fullmatch(rest) if pattern else None
        if match is None:
            raise ModelError(f"line {number} of the text of the graph is malformed")
        found[keyword].append(match.groups())
    if len(found["name"]) != 1:
        raise ModelError("the text of a graph has one line `name`")
    inputs = tuple(
        Value(_unquote(name), _read_shape(shape), _dtype(dtype), _owner(owner))
        for name, dtype, shape, owner in found["input"]
    )
    constants: dict[str, Array] = {}
    public = set()
    for name, dtype, shape, owner, stored in found["constant"]:
        constants[_unquote(name)] = _read_array(stored, _dtype(dtype), _read_shape(shape))
        if owner == "public":
            public.add(_unquote(name))
    nodes = tuple(_read_node(groups) for groups in found["node"])
    labels = [_unquote(item) if item.startswith('"') else int(item) for (item,) in found["class"]]
    features = [_unquote(item) for (item,) in found["feature"]]
    return Graph(
        name=_unquote(found["name"][0][0]),
        inputs=inputs,
        constants=constants,
        nodes=nodes,
        values=infer_values(inputs, constants, nodes, public_constants=frozenset(public)),
        outputs=tuple(_unquote(name) for (name,) in found["output"]),
        roles={_unquote(role): _unquote(name) for role, name in found["role"]},
        classes=_uniform(labels),
        feature_names=tuple(features) or None,
        public_constants=frozenset(public),
        metadata={_unquote(key): _unquote(item) for key, item in found["metadata"]},
    )


def _uniform(labels: list[str | int]) -> tuple[str, ...] | tuple[int, ...] | None:
    if not labels:
        return None
    strings = tuple(item for item in labels if isinstance(item, str))
    integers = tuple(item for item in labels if isinstance(item, int))
    if strings and integers:
        raise ModelError("class labels are all integers or all strings")
    return strings or integers


def _read_node(groups: tuple[str, ...]) -> Node:
    output, op, operands, attributes, name = groups
    names = [_unquote(item) for item in re.findall(_STRING, operands)]
    read: dict[str, Attribute] = {}
    for key, item in re.findall(rf"(\w+)=({_ITEM})", attributes):
        read[key] = _read_attribute(item)
    return Node(op, tuple(names), _unquote(output), read, _unquote(name))


def _write_attribute(attribute: Attribute) -> str:
    match attribute:
        case str():
            return _quote(attribute)
        case float():
            return attribute.hex()
        case tuple():
            return "[" + ", ".join(map(str, attribute)) + "]"
        case _:
            return str(attribute)


def _read_attribute(text: str) -> Attribute:
    if text.startswith('"'):
        return _unquote(text)
    if text.startswith("["):
        return tuple(int(item) for item in text[1:-1].split(", ") if item)
    return float.fromhex(text) if "p" in text or "n" in text else int(text)


def _write_shape(shape: Shape) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def _read_shape(text: str) -> Shape:
    return tuple(None if item == "?" else int(item) for item in text[1:-1].split(", ") if item)


def _write_array(array: Array) -> str:
    if array.dtype.kind == "U":
        return json.dumps(array.ravel().tolist())
    stored = np.ascontiguousarray(array).astype(_STORED[_kind_name(array)], copy=False)
    return base64.b64encode(stored.tobytes()).decode()


def _read_array(text: str, dtype: DType, shape: Shape) -> Array:
    sizes = tuple(-1 if size is None else size for size in shape)
    if -1 in sizes:
        raise ModelError("a constant has no batch")
    if dtype == "str":
        items: Any = json.loads(text)
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise ModelError("a constant of strings is a list of strings")
        if len(items) != prod(sizes):
            raise ModelError("a constant does not hold as many elements as its shape says")
        return np.array(items, dtype=np.str_).reshape(sizes)
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ModelError("the numbers of a constant are not base64") from error
    stored = np.dtype(_STORED[dtype])
    if len(raw) != prod(sizes) * stored.itemsize:
        raise ModelError("a constant does not hold as many elements as its shape says")
    if dtype == "bool" and raw.strip(b"\x00\x01"):
        raise ModelError("a constant of type bool holds bytes 0 and 1 only")
    array = np.frombuffer(raw, dtype=stored).reshape(sizes).astype(dtype)
    array.setflags(write=False)
    return array


def _kind_name(array: Array) -> str:
    return {"f": "float64", "i": "int64", "b": "bool"}[array.dtype.kind]


def _dtype(text: str) -> DType:
    names: dict[str, DType] = {"float64": "float64", "int64": "int64", "bool": "bool", "str": "str"}
    return names[text]


def _owner(text: str) -> Owner:
    names: dict[str, Owner] = {"owner": "owner", "provider": "provider", "public": "public"}
    return names[text]


_quote: Callable[[str], str] = json.dumps


def _unquote(text: str) -> str:
    item: Any = json.loads(text)
    return str(item)
