"""Ops that contract, reduce or rearrange whole tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from tacit.errors import ShapeError
from tacit.ir.signature import Array, Attributes, AttributeSpec, Op, TensorType, broadcast_shapes

__all__ = ["STRUCTURE"]

_BATCH_HINT = (
    "a model must treat every sample by itself: keep the batch first, and move this step out of the model"
)

_Infer = Callable[[Sequence[TensorType], Attributes], TensorType]


def _ints(attributes: Attributes, key: str) -> tuple[int, ...]:
    value = attributes[key]
    return value if isinstance(value, tuple) else ()


def _int(attributes: Attributes, key: str) -> int:
    value = attributes[key]
    return value if isinstance(value, int) else 0


def _check_axis(x: TensorType, axis: int) -> int:
    """The axis, when it is one of x and not the batch."""
    if not 0 <= axis < x.rank:
        raise ShapeError(f"axis must be in 0 … {x.rank - 1}. Got {axis} instead.")
    x.size(axis)
    return axis


def _check_float(x: TensorType) -> None:
    if x.dtype != "float64":
        raise ShapeError(f"the operand must be float64. Got {x.dtype} instead.")


def _infer_matmul(inputs: Sequence[TensorType], attributes: Attributes) -> TensorType:
    a, b = inputs
    _check_float(a)
    _check_float(b)
    if a.rank < 2 or b.rank < 2:
        raise ShapeError(f"operands must have rank >= 2. Got {a.shape} and {b.shape} instead.")
    if b.rank == 2 and b.has_batch:
        raise ShapeError("a contraction over the batch would mix samples", hint=_BATCH_HINT)
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(f"shapes {a.shape} and {b.shape} do not multiply")
    if a.rank == 2 and b.rank > 2 and a.has_batch:
        raise ShapeError("a (batch, n) matrix multiplies a matrix only")
    return TensorType((*broadcast_shapes([a.shape[:-2], b.shape[:-2]]), a.shape[-2], b.shape[-1]), "float64")


def _matmul(arrays: Sequence[Array], attributes: Attributes) -> Array:
    a, b = arrays
    if a.ndim == 4 and b.ndim == 3 and a.shape[2] == 1 and a.shape[1] == b.shape[0]:
        # (batch, n, 1, i) · (n, i, j): n products of (batch, i) are faster than batch · n products of one row
        return np.asarray(np.moveaxis(np.matmul(np.moveaxis(a[:, :, 0], 0, 1), b), 0, 1)[:, :, None])
    return np.asarray(np.matmul(a, b))


def _infer_softmax(inputs: Sequence[TensorType], attributes: Attributes) -> TensorType:
    (x,) = inputs
    _check_float(x)
    _check_axis(x, _int(attributes, "axis"))
    return x


def _softmax(arrays: Sequence[Array], attributes: Attributes) -> Array:
    (x,) = arrays
    axis = _int(attributes, "axis")
    if x.size == 0:
        return x.copy()
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


def _infer_reduce(inputs: Sequence[TensorType], attributes: Attributes) -> TensorType:
    (x,) = inputs
    if x.dtype not in ("float64", "int64"):
        raise ShapeError(f"the operand must be float64 or int64. Got {x.dtype} instead.")
    axes = _ints(attributes, "axes")
    if tuple(sorted(set(axes))) != axes:
        raise ShapeError(f"axes must be sorted and distinct. Got {axes} instead.")
    for axis in axes:
        _check_axis(x, axis)
    if attributes["keepdims"]:
        return TensorType(tuple(1 if i in axes else size for i, size in enumerate(x.shape)), x.dtype)
    return TensorType(tuple(size for i, size in enumerate(x.shape) if i not in axes), x.dtype)


def _infer_reduce_max(inputs: Sequence[TensorType], attributes: Attributes) -> TensorType:
    result = _infer_reduce(inputs, attributes)
    if any(inputs[0].size(axis) == 0 for axis in _ints(attributes, "axes")):
        raise ShapeError("an empty dimension has no largest element")
    return result


def _infer_argmax(inputs: Sequence[TensorType], attributes: Attributes) -> TensorType:
    axis = _int(attributes, "axis")
    reduced = _infer_reduce_max(inputs, {"axes": (axis,), "keepdims": attributes["keepdims"]})
    return TensorType(reduced.shape, "int64")


def _infer_reshape(inputs: Sequence[TensorType], attributes: Attributes) -> TensorType:
    """``shape`` holds sizes; -1, only first and only where the input has one, is the batch."""
    (x,) = inputs
    shape = _ints(attributes, "shape")
    if any(size < 0 for size in shape[1:]) or (shape and shape[0] < -1):
        raise ShapeError(
            f"sizes must be >= 0, and -1 (the batch) may only come first. Got {shape} instead.",
            hint=_BATCH_HINT,
        )
    if x.has_batch != (bool(shape) and shape[0] == -1):
        raise ShapeError(
            f"{x.shape} cannot become {shape}: the batch must stay the first dimension", hint=_BATCH_HINT
        )
    before = prod(size for size in x.shape if size is not None)
    after = prod(size for size in shape if size != -1)
    if before != after:
        raise ShapeError(f"{x.shape} cannot become {shape}: {before} elements of a sample are not {after}")
    return TensorType(tuple(None if size == -1 else size for size in shape), x.dtype)


def _reshape(arrays: Sequence[Array], attributes: Attributes) -> Array:
    (x,) = arrays
    shape = _ints(attributes, "shape")
    return x.reshape((x.shape[0], *shape[1:]) if shape and shape[0] == -1 else shape)


def _infer_transpose(inputs: Sequence[TensorType], attributes: Attributes) -> TensorType:
    (x,) = inputs
    perm = _ints(attributes, "perm")
    if sorted(perm) != list(range(x.rank)):
        raise ShapeError(f"perm must be a permutation of 0 … {x.rank - 1}. Got {perm} instead.")
    if x.has_batch and perm[0] != 0:
        raise ShapeError("the batch must stay the first dimension", hint=_BATCH_HINT)
    return TensorType(tuple(x.shape[axis] for axis in perm), x.dtype)


def _infer_concat(inputs: Sequence[TensorType], attributes: Attributes) -> TensorType:
    first, axis = inputs[0], _int(attributes, "axis")
    if any(x.rank != first.rank or x.dtype != first.dtype for x in inputs):
        raise ShapeError("operands must have one rank and one type")
    total = sum(x.size(_check_axis(x, axis)) for x in inputs)
    for i in range(first.rank):
        if i != axis and len({x.shape[i] for x in inputs}) > 1:
            raise ShapeError(f"shapes {', '.join(str(x.shape) for x in inputs)} differ outside axis {axis}")
    return TensorType((*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype)


def _infer_slice(inputs: Sequence[TensorType], attributes: Attributes) -> TensorType:
    (x,) = inputs
    axes, starts, ends, steps = (_ints(attributes, key) for key in ("axes", "starts", "ends", "steps"))
    if not len(axes) == len(starts) == len(ends) == len(steps) or tuple(sorted(set(axes))) != axes:
        raise ShapeError("axes must be sorted and distinct, with a start, an end and a step each")
    sizes = list(x.shape)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = x.size(_check_axis(x, axis))
        if not 0 <= start <= end <= size or step < 1:
            raise ShapeError(f"a slice of size {size} needs 0 <= start <= end <= size and step >= 1")
        sizes[axis] = -((start - end) // step)
    return TensorType(tuple(sizes), x.dtype)


def _slice(arrays: Sequence[Array], attributes: Attributes) -> Array:
    (x,) = arrays
    index = [slice(None)] * x.ndim
    axes, starts, ends, steps = (_ints(attributes, key) for key in ("axes", "starts", "ends", "steps"))
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


def _infer_gather(inputs: Sequence[TensorType], attributes: Attributes) -> TensorType:
    data, indices = inputs
    axis = _check_axis(data, _int(attributes, "axis"))
    if indices.dtype != "int64":
        raise ShapeError(f"indices must be int64. Got {indices.dtype} instead.")
    return TensorType((*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]), data.dtype)


def _infer_pad(inputs: Sequence[TensorType], attributes: Attributes) -> TensorType:
    (x,) = inputs
    pads = _ints(attributes, "pads")
    _check_float(x)
    if len(pads) != 2 * x.rank or min(pads, default=0) < 0:
        raise ShapeError(f"pads must be {2 * x.rank} sizes >= 0. Got {pads} instead.")
    sizes: list[int | None] = []
    for axis, size in enumerate(x.shape):
        extra = pads[axis] + pads[axis + x.rank]
        sizes.append(x.size(axis) + extra if extra else size)
    return TensorType(tuple(sizes), x.dtype)


def _pad(arrays: Sequence[Array], attributes: Attributes) -> Array:
    (x,) = arrays
    pads = _ints(attributes, "pads")
    width = [(pads[i], pads[i + x.ndim]) for i in range(x.ndim)]
    return np.pad(x, width, constant_values=attributes["value"]) if width else x.copy()


def _reduce(function: Callable[..., Array]) -> Callable[[Sequence[Array], Attributes], Array]:
    def meaning(arrays: Sequence[Array], attributes: Attributes) -> Array:
        axes, keepdims = _ints(attributes, "axes"), bool(attributes["keepdims"])
        return np.asarray(function(arrays[0], axis=axes, keepdims=keepdims))

    return meaning


def _argmax(arrays: Sequence[Array], attributes: Attributes) -> Array:
    axis, keepdims = _int(attributes, "axis"), bool(attributes["keepdims"])
    return np.asarray(np.argmax(arrays[0], axis=axis, keepdims=keepdims), dtype=np.int64)


_AXIS = AttributeSpec("int")
_INTS = AttributeSpec("ints")
_KEEP = AttributeSpec("int", default=1)

STRUCTURE = (
    Op(
        "MatMul",
        (2, 2),
        {},
        _infer_matmul,
        _matmul,
        "matrix product of the last two axes",
    ),
    Op("Softmax", (1, 1), {"axis": _AXIS}, _infer_softmax, _softmax, "e^x over its sum along axis"),
    Op(
        "ReduceSum",
        (1, 1),
        {"axes": _INTS, "keepdims": _KEEP},
        _infer_reduce,
        _reduce(np.sum),
        "sum along axes",
    ),
    Op(
        "ReduceMax",
        (1, 1),
        {"axes": _INTS, "keepdims": _KEEP},
        _infer_reduce_max,
        _reduce(np.max),
        "largest along axes",
    ),
    Op(
        "ArgMax",
        (1, 1),
        {"axis": _AXIS, "keepdims": _KEEP},
        _infer_argmax,
        _argmax,
        "index of the largest along axis; the first one where several are",
    ),
    Op("Reshape", (1, 1), {"shape": _INTS}, _infer_reshape, _reshape, "another shape; -1 first is the batch"),
    Op(
        "Transpose",
        (1, 1),
        {"perm": _INTS},
        _infer_transpose,
        lambda a, attributes: np.transpose(a[0], _ints(attributes, "perm")),
        "axes in another order",
    ),
    Op(
        "Concat",
        (1, None),
        {"axis": _AXIS},
        _infer_concat,
        lambda a, attributes: np.concatenate(a, axis=_int(attributes, "axis")),
        "operands one after the other along axis",
    ),
    Op(
        "Slice",
        (1, 1),
        {"axes": _INTS, "starts": _INTS, "ends": _INTS, "steps": _INTS},
        _infer_slice,
        _slice,
        "part of some axes; 0 <= start <= end <= size, step >= 1",
    ),
    Op(
        "Gather",
        (2, 2),
        {"axis": _AXIS},
        _infer_gather,
        lambda a, attributes: np.take(a[0], a[1], axis=_int(attributes, "axis")),
        "slices of the first operand along axis, named by the integers of the second",
    ),
    Op(
        "Pad",
        (1, 1),
        {"pads": _INTS, "value": AttributeSpec("float", default=0.0)},
        _infer_pad,
        _pad,
        "a constant around x; pads: all begins, then all ends",
    ),
)
