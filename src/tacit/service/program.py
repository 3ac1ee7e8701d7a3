"""What a worker computes: a plan with encoded weights that runs on ciphertexts, or a model in the clear."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import cbor2
import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.envelope import read_cbor
from tacit.backends.ckks.provider import OwnerKeys, Provider
from tacit.backends.ckks.public import PublicPlan
from tacit.errors import DataError, InvalidParameterError, MalformedMessageError
from tacit.ir.graph import Graph
from tacit.ir.interpret import interpret

__all__ = [
    "KINDS",
    "CkksProgram",
    "ClearProgram",
    "TensorSpec",
    "key_memory_bytes",
    "load_program",
    "pack_arrays",
    "plan_id_of",
    "program_id",
    "unpack_arrays",
]

KINDS = ("ckks", "clear")
Arrays = Mapping[str, npt.NDArray[Any]]
MAX_ARRAYS = 256
_NUMBERS = ("bool", "uint8", "int32", "int64", "float32", "float64")


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a model in the clear. ``dtype``: NumPy's name, ``str`` for text. ``None`` is the batch."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class CkksProgram:
    """A compiled plan, encoded once when it is loaded; workers share it. It holds no key of an owner."""

    kind = "ckks"

    def __init__(self, bundle: bytes, threads: int) -> None:
        self.provider = Provider.from_bytes(bundle, threads=threads)
        self.public_plan = self.provider.public_plan()
        self.key_memory_bytes = key_memory_bytes(PublicPlan.from_bytes(self.public_plan))
        self.inputs: tuple[TensorSpec, ...] = ()
        self.outputs: tuple[TensorSpec, ...] = ()

    def read_keys(self, message: bytes) -> OwnerKeys:
        return self.provider.read_keys(message)

    def run(self, request: bytes, keys: OwnerKeys, checkpoint: Callable[[], None], *, threads: int) -> bytes:
        """``threads``: for this request, more than usual when no other one runs."""
        if threads != keys.engine.threads:
            keys = replace(keys, engine=keys.engine.on(threads))
        return self.provider.run(request, keys=keys, checkpoint=checkpoint)


class ClearProgram:
    """A model that protects nothing, interpreted: the same numbers as every clear answer of Tacit."""

    kind = "clear"
    public_plan = b""
    key_memory_bytes = 0

    def __init__(self, model: bytes) -> None:
        from tacit.importers import import_onnx

        self.graph: Graph = import_onnx(model)
        self.inputs = tuple(TensorSpec(v.name, v.dtype, v.shape) for v in self.graph.inputs)
        self.outputs = tuple(self._spec(name) for name in self.graph.outputs)

    def _spec(self, name: str) -> TensorSpec:
        value = self.graph.values[name]
        return TensorSpec(name, value.dtype, value.shape)

    def predict(self, arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Raises ``ShapeError`` or ``DataError`` for inputs that the model does not take."""
        return interpret(self.graph, arrays)


Program = CkksProgram | ClearProgram


def load_program(kind: str, body: bytes, *, threads: int) -> Program:
    """Reads and encodes. Raises the ``TacitError`` that says what is wrong with the bytes."""
    if kind == "ckks":
        return CkksProgram(body, threads)
    if kind == "clear":
        return ClearProgram(body)
    raise InvalidParameterError(f"a program is one of {', '.join(KINDS)}. Got {kind!r} instead.")


def program_id(kind: str, body: bytes) -> str:
    """A name for what is offered, by its content: the same bytes are the same program."""
    return hashlib.sha256(kind.encode() + b"\0" + body).hexdigest()


def plan_id_of(public_plan: bytes) -> str:
    """As ``PublicPlan.plan_id``, of bytes that are in canonical form."""
    return hashlib.sha256(public_plan).hexdigest()


def key_memory_bytes(plan: PublicPlan) -> int:
    """What the evaluation keys of one owner take in a worker's memory, before any of them is read.

    A key for level l has ⌈(l + 1)/|P|⌉ digits of two polynomials modulo q_0 … q_l and all of P, 8 bytes a number.
    """
    special = len(plan.log_p)
    single = (level for level in (plan.relinearize, plan.conjugate) if level is not None)
    levels = [*plan.rotations.values(), *single]
    rows = sum(-(-(level + 1) // special) * 2 * (level + 1 + special) for level in levels) if special else 0
    return rows * 8 << plan.log_n


def pack_arrays(arrays: Arrays) -> tuple[list[list[Any]], bytes]:
    """Names, types and shapes of arrays, and their contents end to end: numbers as they lie, text as CBOR."""
    heads: list[list[Any]] = []
    parts: list[bytes] = []
    for name, array in arrays.items():
        if array.dtype.kind in "UO":
            part = cbor2.dumps([str(item) for item in array.ravel()], canonical=True)
            heads.append([name, "str", list(array.shape), len(part)])
        elif array.dtype.name in _NUMBERS:
            part = np.ascontiguousarray(array).tobytes()
            heads.append([name, array.dtype.name, list(array.shape), len(part)])
        else:
            raise DataError(f"tensor `{name}` has the type {array.dtype}, which no model takes")
        parts.append(part)
    return heads, b"".join(parts)


def unpack_arrays(heads: object, body: bytes) -> dict[str, npt.NDArray[Any]]:
    """Reads ``pack_arrays``. Raises ``MalformedMessageError``; allocates no more than it was given."""
    if not isinstance(heads, list) or len(heads) > MAX_ARRAYS:
        raise MalformedMessageError("the arrays of a frame are not a list, or are too many")
    arrays: dict[str, npt.NDArray[Any]] = {}
    offset = 0
    for head in heads:
        try:
            name, dtype, shape, size = head
            part = body[offset : offset + size]
            if type(name) is not str or len(part) != size or any(type(n) is not int or n < 0 for n in shape):
                raise ValueError(name)
            if dtype == "str":
                items = read_cbor(part)
                if not all(type(item) is str for item in items):
                    raise ValueError(name)
                array = np.array(items, dtype=object).reshape(shape)
            elif dtype in _NUMBERS:
                array = np.frombuffer(part, dtype=dtype).reshape(shape)
            else:
                raise ValueError(name)
        except (TypeError, ValueError) as error:
            raise MalformedMessageError(
                "an array of a frame does not have the form that it announces"
            ) from error
        arrays[name] = array
        offset += size
    if offset != len(body):
        raise MalformedMessageError("bytes follow the arrays of a frame")
    return arrays
