"""Ops that work element by element, with NumPy broadcasting: arithmetic, functions, comparison, choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import erf

import numpy as np

from tacit.errors import ShapeError
from tacit.ir.signature import Array, Attributes, AttributeSpec, DType, Op, TensorType, broadcast_shapes

__all__ = ["ELEMENTWISE"]

_erf = np.frompyfunc(erf, 1, 1)


def _sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x) without overflow: e^-|x| never exceeds 1."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


def _power(base: Array, exponent: Array) -> Array:
    """Powers; exponents 2 and -1 as the exact products that they stand for."""
    if exponent.size == 1 and exponent.reshape(()) == 2.0:
        return np.square(base) * np.ones_like(exponent)
    return np.power(base, exponent)


def _infer_numeric(allowed: tuple[DType, ...]) -> Callable[[Sequence[TensorType], Attributes], TensorType]:
    def infer(inputs: Sequence[TensorType], attributes: Attributes) -> TensorType:
        dtypes = {operand.dtype for operand in inputs}
        if len(dtypes) > 1 or not dtypes <= set(allowed):
            found = ", ".join(operand.dtype for operand in inputs)
            raise ShapeError(f"operands must all be one of {', '.join(allowed)}. Got {found} instead.")
        return TensorType(broadcast_shapes([operand.shape for operand in inputs]), inputs[0].dtype)

    return infer


def _infer_compare(inputs: Sequence[TensorType], attributes: Attributes) -> TensorType:
    left, right = inputs
    if left.dtype != right.dtype or left.dtype == "str":
        raise ShapeError(f"operands must have one numeric type. Got {left.dtype} and {right.dtype} instead.")
    return TensorType(broadcast_shapes([left.shape, right.shape]), "bool")


def _infer_where(inputs: Sequence[TensorType], attributes: Attributes) -> TensorType:
    condition, left, right = inputs
    if condition.dtype != "bool":
        raise ShapeError(f"the condition must be bool. Got {condition.dtype} instead.")
    if left.dtype != right.dtype or left.dtype == "str":
        raise ShapeError(
            f"both choices must have one numeric type. Got {left.dtype} and {right.dtype} instead."
        )
    return TensorType(broadcast_shapes([operand.shape for operand in inputs]), left.dtype)


def _infer_cast(inputs: Sequence[TensorType], attributes: Attributes) -> TensorType:
    (operand,) = inputs
    if operand.dtype == "str":
        raise ShapeError("strings cannot be cast")
    to = attributes["to"]
    return TensorType(operand.shape, "float64" if to == "float64" else "int64" if to == "int64" else "bool")


def _cast(arrays: Sequence[Array], attributes: Attributes) -> Array:
    (x,) = arrays
    if attributes["to"] == "int64" and x.dtype.kind == "f":
        return np.trunc(x).astype(np.int64)
    return x.astype({"float64": np.float64, "int64": np.int64, "bool": np.bool_}[str(attributes["to"])])


def _unary(name: str, function: Callable[[Array], Array], note: str, *, ints: bool = False) -> Op:
    allowed: tuple[DType, ...] = ("float64", "int64") if ints else ("float64",)
    return Op(name, (1, 1), {}, _infer_numeric(allowed), lambda a, _: function(a[0]), note, elementwise=True)


def _binary(name: str, function: Callable[[Array, Array], Array], note: str, *, ints: bool = True) -> Op:
    allowed: tuple[DType, ...] = ("float64", "int64") if ints else ("float64",)
    return Op(
        name, (2, 2), {}, _infer_numeric(allowed), lambda a, _: function(a[0], a[1]), note, elementwise=True
    )


ELEMENTWISE = (
    _binary("Add", np.add, "a + b"),
    _binary("Sub", np.subtract, "a - b"),
    _binary("Mul", np.multiply, "a · b"),
    _binary("Div", np.divide, "a / b", ints=False),
    _binary("Pow", _power, "a to the power b", ints=False),
    _binary("Max", np.maximum, "the larger of a and b"),
    _binary("Min", np.minimum, "the smaller of a and b"),
    _unary("Abs", np.abs, "|x|", ints=True),
    _unary("Sqrt", np.sqrt, "√x"),
    _unary("Exp", np.exp, "e^x"),
    _unary("Log", np.log, "natural logarithm"),
    _unary("Erf", lambda x: np.asarray(_erf(x), dtype=np.float64), "2/√π · ∫ e^(-t²) dt from 0 to x"),
    _unary("Relu", lambda x: np.maximum(x, 0.0), "max(x, 0)"),
    _unary("Sigmoid", _sigmoid, "1 / (1 + e^-x)"),
    _unary("Tanh", np.tanh, "hyperbolic tangent"),
    Op("Less", (2, 2), {}, _infer_compare, lambda a, _: np.less(a[0], a[1]), "a < b", elementwise=True),
    Op("Equal", (2, 2), {}, _infer_compare, lambda a, _: np.equal(a[0], a[1]), "a = b", elementwise=True),
    Op(
        "Where",
        (3, 3),
        {},
        _infer_where,
        lambda a, _: np.where(a[0], a[1], a[2]),
        "b where a, else c",
        elementwise=True,
    ),
    Op(
        "Cast",
        (1, 1),
        {"to": AttributeSpec("str", choices=("float64", "int64", "bool"))},
        _infer_cast,
        _cast,
        "another element type; float to int truncates towards zero",
        elementwise=True,
    ),
)
