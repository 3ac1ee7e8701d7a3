"""What an op is: its arity, the attributes that it takes, its shape rule and its meaning.

A ``TensorType`` is a shape and an element type. The first dimension may be ``None``: the batch, one size for
the whole graph that only the data decides. No other dimension is ever unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy.typing as npt

from tacit.errors import ModelError, ShapeError

__all__ = [
    "MAX_ELEMENTS",
    "MAX_RANK",
    "Array",
    "Attribute",
    "AttributeSpec",
    "Attributes",
    "DType",
    "Op",
    "Shape",
    "TensorType",
    "broadcast_shapes",
    "complete_attributes",
    "dtype_of",
]

MAX_ELEMENTS = 1 << 28
"""Most numbers per sample that a value may hold (2 GiB of float64)."""

MAX_RANK = 32
"""Most dimensions of a value: half of what NumPy takes."""

Array = npt.NDArray[Any]
Attribute = int | float | str | tuple[int, ...]
Attributes = Mapping[str, Attribute]
DType = Literal["float64", "int64", "bool", "str"]
Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape (``None`` only first: the batch) and element type of a value."""

    shape: Shape
    dtype: DType

    def __post_init__(self) -> None:
        if any(size is None for size in self.shape[1:]):
            raise ShapeError(
                f"only the first dimension may be the batch. Got shape {self.shape} instead.",
                hint="export the model with fixed sizes for every dimension but the first",
            )
        if len(self.shape) > MAX_RANK:
            raise ShapeError(f"a value has at most {MAX_RANK} dimensions. Got {len(self.shape)} instead.")
        if any(size is not None and size < 0 for size in self.shape):
            raise ShapeError(f"dimensions must be >= 0. Got shape {self.shape} instead.")
        if prod(size for size in self.shape if size is not None) > MAX_ELEMENTS:
            raise ShapeError(
                f"a value holds at most {MAX_ELEMENTS} numbers per sample. Got shape {self.shape} instead.",
                hint="the model asks for more memory than any model that runs protected needs",
            )

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def has_batch(self) -> bool:
        return bool(self.shape) and self.shape[0] is None

    def size(self, axis: int) -> int:
        """Size of a dimension that must not be the batch."""
        size = self.shape[axis]
        if size is None:
            raise ShapeError(
                f"axis {axis} is the batch; this operation would mix samples",
                hint="a model must treat every sample by itself: move this step out of the model",
            )
        return size


@dataclass(frozen=True, slots=True)
class AttributeSpec:
    """Kind of an attribute, its default (``None``: required), and for strings the allowed values."""

    kind: Literal["int", "float", "str", "ints"]
    default: Attribute | None = None
    choices: tuple[str, ...] = ()

    def accepts(self, value: object) -> bool:
        match self.kind:
            case "int":
                return type(value) is int
            case "float":
                return type(value) is float
            case "str":
                return type(value) is str and (not self.choices or value in self.choices)
            case "ints":
                return type(value) is tuple and all(type(item) is int for item in value)


@dataclass(frozen=True, slots=True)
class Op:
    """One row of the op table.

    ``infer`` maps the types of the inputs to the type of the output, or raises ``ShapeError``.
    ``meaning`` maps arrays to the array that the op stands for, in float64, int64, bool or str.
    ``note`` says in one line what the op does, for the reference page.
    """

    name: str
    arity: tuple[int, int | None]
    attributes: Mapping[str, AttributeSpec]
    infer: Callable[[Sequence[TensorType], Attributes], TensorType]
    meaning: Callable[[Sequence[Array], Attributes], Array]
    note: str
    elementwise: bool = False


def complete_attributes(op: Op, attributes: Attributes) -> dict[str, Attribute]:
    """The attributes of a node, checked against the op's schema, with defaults, in the schema's order."""
    for key in attributes:
        if key not in op.attributes:
            raise ModelError(f"`{op.name}` has no attribute `{key}`")
    result: dict[str, Attribute] = {}
    for key, spec in op.attributes.items():
        value = attributes.get(key, spec.default)
        if value is None:
            raise ModelError(f"`{op.name}` needs the attribute `{key}`")
        if not spec.accepts(value):
            raise ModelError(f"attribute `{key}` of `{op.name}` must be of kind {spec.kind}")
        result[key] = value
    return result


def broadcast_shapes(shapes: Sequence[Shape]) -> Shape:
    """NumPy broadcasting; the batch stays first, and only a size of 1 stretches to it."""
    rank = max(len(shape) for shape in shapes)
    result: list[int | None] = []
    for axis in range(rank):
        sizes = {shape[axis - rank + len(shape)] for shape in shapes if axis - rank + len(shape) >= 0} - {1}
        if len(sizes) > 1:
            raise ShapeError(f"shapes {', '.join(map(str, shapes))} do not broadcast")
        result.append(next(iter(sizes)) if sizes else 1)
    return tuple(result)


def dtype_of(array: Array) -> DType:
    """Element type of an array of the graph: float64, int64, bool or unicode strings, nothing else."""
    match array.dtype.kind, array.dtype.itemsize:
        case "f", 8:
            return "float64"
        case "i", 8:
            return "int64"
        case "b", _:
            return "bool"
        case "U", _:
            return "str"
    raise ModelError(f"arrays of a graph are float64, int64, bool or str. Got {array.dtype} instead.")
