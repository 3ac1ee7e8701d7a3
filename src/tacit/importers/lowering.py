"""From source operators to the graph's ops: operands, the nodes that are read, and the constant folder.

An operand is either known (an array, at import) or computed (a value of the graph). An op on known operands
is evaluated at once, so that helper chains of exporters (``Shape``, ``Gather``, ``Concat``, ``Reshape``)
vanish. The size of the batch is known to nobody: in such chains it is the object ``BATCH``, which can be
moved but not calculated with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from tacit.errors import ModelError, ShapeError, UnsupportedOpError
from tacit.ir.builder import GraphBuilder
from tacit.ir.ops import OPS
from tacit.ir.signature import Array, Attribute, DType, Shape, TensorType, complete_attributes, dtype_of

__all__ = ["BATCH", "HARMLESS", "MAX_FOLDED", "Lowering", "Operand", "Rule", "SourceNode"]

MAX_FOLDED = 1 << 24
"""Most numbers that one import may compute in constants (128 MiB), over all, besides four times its weights."""

HARMLESS = frozenset(
    {
        "consumed_inputs",  # an optimisation of the first opsets
        "default_float",  # of LabelEncoder: every class has an entry here
        "default_int64",
        "default_string",
        "default_tensor",
        "is_test",  # training only, as the next three
        "momentum",
        "n_supports",  # the number of coefficients says it
        "ratio",
        "seed",
        "kernel_params",  # of kernels that are not linear
        "multi_class",  # ONNX Runtime does not read it
        "storage_order",  # of the output Indices of MaxPool
        "stash_type",  # precision of intermediate numbers, as the next two
        "saturate",
        "round_mode",
    }
)
"""Attributes that do not change what the supported operators compute."""

_MOVING = frozenset({"Concat", "Gather", "Slice", "Reshape", "Transpose"})


class _Batch:
    """The unknown size of the batch in a known shape."""

    def __repr__(self) -> str:
        return "BATCH"


BATCH = _Batch()


@dataclass(frozen=True, slots=True, eq=False)
class Operand:
    """A tensor while a model is read. ``array``: its elements when known; ``name``: its value or source.

    ``is_public``: known and nobody's secret, because it comes from the operator and not from the model.
    """

    name: str
    type: TensorType
    array: Array | None = None
    is_public: bool = False

    @property
    def shape(self) -> Shape:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    @property
    def is_known(self) -> bool:
        return self.array is not None


@dataclass(frozen=True, slots=True, eq=False)
class SourceNode:
    """A node of the model as it was read. ``inputs``: ``None`` where an optional input is left out."""

    name: str
    op: str
    domain: str
    opset: int
    inputs: tuple[Operand | None, ...]
    attributes: Mapping[str, Any]
    n_outputs: int = 1
    asked: set[str] = field(default_factory=set)

    def operand(self, index: int) -> Operand:
        """The input at an index, which must be there."""
        found = self.optional(index)
        if found is None:
            raise self.malformed(f"input {index} is missing")
        return found

    def optional(self, index: int) -> Operand | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def known(self, index: int, what: str) -> Array:
        """The array of an input that must be constant."""
        operand = self.operand(index)
        if operand.array is None:
            raise self.unsupported(
                f"{what} must be constant", "make it an initializer or an attribute of the model"
            )
        return operand.array

    def known_ints(self, index: int, what: str) -> list[int]:
        """The integers of an input that must be constant and must not hold the size of the batch."""
        array = self.known(index, what)
        if array.dtype.kind != "i" or array.ndim > 1:
            if array.dtype == object:
                raise self.unsupported(
                    f"{what} must not depend on the size of the batch", "use a fixed shape"
                )
            raise self.malformed(f"{what} must be a list of integers")
        return [int(item) for item in array.reshape(-1)]

    def integer(self, key: str, default: int | None = None) -> int:
        return int(self._attribute(key, int, default))

    def number(self, key: str, default: float | None = None) -> float:
        return float(self._attribute(key, (float, int), default))

    def text(self, key: str, default: str | None = None) -> str:
        return str(self._attribute(key, str, default))

    def integers(self, key: str, default: Sequence[int] | None = None) -> list[int]:
        return [int(item) for item in self._attribute(key, (list, tuple), default)]

    def numbers(self, key: str, default: Sequence[float] | None = None) -> list[float]:
        return [float(item) for item in self._attribute(key, (list, tuple), default)]

    def texts(self, key: str, default: Sequence[str] | None = None) -> list[str]:
        return [str(item) for item in self._attribute(key, (list, tuple), default)]

    def has(self, key: str) -> bool:
        self.asked.add(key)
        return key in self.attributes

    def raw(self, key: str, default: object = None) -> Any:
        """An attribute of any kind."""
        self.asked.add(key)
        return self.attributes.get(key, default)

    def ignored(self) -> list[str]:
        """Attributes that are there and that no rule asked for: they may change the meaning."""
        return sorted(self.attributes.keys() - self.asked - HARMLESS)

    def _attribute(self, key: str, kind: type | tuple[type, ...], default: object) -> Any:
        self.asked.add(key)
        value = self.attributes.get(key, default)
        if value is None:
            raise self.malformed(f"the attribute `{key}` is missing")
        if not isinstance(value, kind):
            raise self.malformed(f"the attribute `{key}` is of a wrong kind")
        return value

    def axis(self, value: int, rank: int) -> int:
        """An axis of a tensor of this rank, counted from the front."""
        if not -rank <= value < rank:
            raise self.malformed(f"axis {value} is out of range for rank {rank}")
        return value % rank

    def axes(self, values: Sequence[int], rank: int) -> tuple[int, ...]:
        found = sorted({self.axis(value, rank) for value in values})
        if len(found) != len(values):
            raise self.malformed("an axis is named twice")
        return tuple(found)

    def unsupported(self, reason: str, hint: str = "") -> UnsupportedOpError:
        return UnsupportedOpError(
            f"node `{self.name}` ({self.op}, opset {self.opset}): {reason}",
            node=self.name,
            op=self.op,
            opset=self.opset,
            hint=hint,
        )

    def malformed(self, reason: str) -> ModelError:
        return ModelError(
            f"node `{self.name}` ({self.op}, opset {self.opset}): {reason}",
            hint="the file is damaged or no valid ONNX model: export it again",
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """How one source operator is lowered. ``to``: ops of the graph; ``note``: restrictions."""

    op: str
    lower: Callable[[SourceNode, Lowering], Sequence[Operand]]
    to: str
    note: str = ""
    since: int = 7
    domain: str = ""


@dataclass(slots=True)
class Lowering:
    """The graph under construction, and what is known about values that only a source operator can know."""

    builder: GraphBuilder
    source: str = ""
    roles: dict[str, str] = field(default_factory=dict)
    normalized: set[str] = field(default_factory=set)
    rounded: list[str] = field(default_factory=list)
    weights: int = 0
    is_double: bool = False
    _held: dict[int, tuple[Array, str]] = field(default_factory=dict)
    _choices: dict[str, tuple[Array, str]] = field(default_factory=dict)
    _inputs: list[str] = field(default_factory=list)
    _folded: int = 0

    def literal(self, array: Any) -> Operand:
        """A known operand that is the same for every model, as the 1 of 1 - p: public."""
        return self.known(array, public=True)

    def known(self, array: Any, name: str = "", *, public: bool = False) -> Operand:
        """An operand of known value: numbers, bool, strings, or an object array of sizes with ``BATCH``."""
        held = np.asarray(array)
        if held.dtype.kind in "iu":
            held = held.astype(np.int64)
        elif held.dtype.kind == "f":
            held = held.astype(np.float64)
        elif held.dtype == object and all(isinstance(item, int | np.integer) for item in held.reshape(-1)):
            held = held.astype(np.int64)
        dtype: DType = "int64" if held.dtype == object else dtype_of(held)
        return Operand(name, TensorType(held.shape, dtype), held, public)

    def input(self, name: str, shape: Shape, dtype: DType = "float64") -> Operand:
        self._inputs.append(self.builder.input(name, shape, dtype=dtype))
        return Operand(name, TensorType(shape, dtype))

    def is_input(self, operand: Operand) -> bool:
        """Whether the operand is data as they came in, which are finite."""
        return operand.array is None and operand.name in self._inputs

    def batch_of_zeros(self) -> Operand | None:
        """A zero (batch, 1) for each sample, or ``None`` when no input has a batch of numbers."""
        for value in self.builder.values.values():
            if value.name in self._inputs and value.has_batch and value.dtype == "float64" and value.features:
                flat = self.apply("Reshape", Operand(value.name, value.type), shape=(-1, value.features))
                first = self.apply("Slice", flat, axes=(1,), starts=(0,), ends=(1,), steps=(1,))
                return self.apply("Mul", first, self.literal(0.0))
        return None

    def apply(self, op: str, *operands: Operand, **attributes: Attribute) -> Operand:
        """An op on operands: evaluated at once when all are known, else a node of the graph."""
        if all(operand.is_known for operand in operands):
            return self._fold(op, operands, attributes)
        names = [self.place(operand) for operand in operands]
        output = self.builder.add(op, names, attributes, name=self.source)
        return Operand(output, self.builder.values[output].type)

    def choose(self, choices: Array, index: Operand) -> Operand:
        """``choices[index]``: how predicted classes are named. The choices are public."""
        if index.is_known:
            return self.known(np.take(choices, np.asarray(index.array)))
        table = self.builder.constant(choices, public=True)
        output = self.builder.node("Gather", table, index.name, axis=0, name=self.source)
        self._choices[output] = (choices, index.name)
        return Operand(output, self.builder.values[output].type)

    def choice(self, operand: Operand) -> tuple[Array, Operand] | None:
        """The table and the index that a value was chosen by, or ``None`` when it is no choice."""
        found = self._choices.get(operand.name) if operand.array is None else None
        if found is None:
            return None
        choices, index = found
        return choices, Operand(index, self.builder.values[index].type)

    def choice_table(self, operand: Operand) -> tuple[str, ...] | tuple[int, ...] | None:
        """The class labels that a value was chosen from, or ``None``."""
        found = self.choice(operand)
        if found is None:
            return None
        if found[0].dtype.kind == "U":
            return tuple(str(item) for item in found[0])
        return tuple(int(item) for item in found[0]) if found[0].dtype.kind == "i" else None

    def place(self, operand: Operand) -> str:
        """The name of the operand's value in the graph; a known one becomes a constant."""
        if operand.array is None:
            return operand.name
        array = operand.array
        if array.dtype == object:
            raise ModelError(
                "the size of the batch takes part in a calculation",
                hint="export the model with a fixed shape for all but the first dimension",
            )
        held = self._held.get(id(array))
        if held is not None:
            return held[1]
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ModelError(
                f"the tensor `{operand.name or self.source}` holds NaN or infinity",
                hint="the model is damaged or its training diverged: fit or export it again",
            )
        wanted = operand.name
        if not wanted or wanted in self.builder.values:
            wanted = self.builder.fresh(wanted or "c")
        name = self.builder.constant(array, name=wanted, public=operand.is_public)
        self._held[id(array)] = (array, name)
        return name

    def spend(self, shape: Shape) -> None:
        """Counts numbers that are about to be computed at import against ``MAX_FOLDED``."""
        self._folded += prod(1 if size is None else size for size in shape)
        if self._folded > MAX_FOLDED + 4 * self.weights:
            raise ModelError(
                f"the model computes more than {MAX_FOLDED} numbers in constants",
                hint="store large constants as initializers",
            )

    def _fold(self, op: str, operands: Sequence[Operand], attributes: Mapping[str, Attribute]) -> Operand:
        arrays = [np.asarray(operand.array) for operand in operands]
        row = OPS[op]
        complete = complete_attributes(row, attributes)
        result_type = row.infer([operand.type for operand in operands], complete)
        self.spend(result_type.shape)
        if any(array.dtype == object for array in arrays) and op not in _MOVING:
            raise ShapeError(
                "the size of the batch takes part in a calculation",
                hint="export the model with a fixed shape for all but the first dimension",
            )
        with np.errstate(all="ignore"):
            result = row.meaning(arrays, complete)
        name = operands[0].name if op in _MOVING | {"Cast"} else ""
        return self.known(result, name, public=all(operand.is_public for operand in operands))
