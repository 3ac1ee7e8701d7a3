"""What errors of the scores amount to after the owner's tail: intervals and slopes, value by value.

Every value of the tail is bounded over the box of scores, together with how far it can move for scores that move by
at most 1: an upper bound on Σ_j |∂value/∂score_j| over the box. By the mean value theorem that is a Lipschitz constant
in the largest-error norm. Of positive values the same is kept for their logarithm, which stays useful where the values
are tiny: u / Σ u is the softmax of log u.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import pi, sqrt

import numpy as np
import numpy.typing as npt

from tacit.errors import PrecisionError
from tacit.ir.graph import Graph, Node
from tacit.ir.ops import OPS
from tacit.ir.signature import Attribute

__all__ = ["tail_gain"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Moves:
    """One value: ``low`` <= value <= ``high``, arrays of the shape of one sample (1, …).

    ``gain``: how far each element moves for scores that move by 1, infinite at jumps. ``relative``: the same for its
    logarithm, infinite where it may not be positive. ``complement``: the same for the logarithm of 1 - value.
    """

    low: FloatArray
    high: FloatArray
    gain: FloatArray
    relative: FloatArray
    complement: FloatArray | None = None

    @property
    def magnitude(self) -> FloatArray:
        return np.maximum(np.abs(self.low), np.abs(self.high))


def tail_gain(tail: Graph, low: FloatArray | None = None, high: FloatArray | None = None) -> float:
    """Lipschitz constant, in the largest-error norm, of the primary output in the decrypted values.

    ``low``, ``high``: (values,) sound range of the decrypted values, one after the other; without them anything goes.
    Raises ``PrecisionError`` where there is none: after a jump (comparison, index, rounding) or an unbounded slope.
    """
    known = _inputs(tail, low, high)
    for name, array in tail.constants.items():
        if array.dtype.kind in "fib":
            numbers = np.asarray(array, dtype=np.float64)
            known[name] = _bounded(numbers, numbers, np.zeros(array.shape))
        else:
            known[name] = _anything(array.shape)
    culprit: dict[str, str] = {}
    with np.errstate(all="ignore"):
        for node in tail.nodes:
            made = _rule(node)(tail, node, [known[name] for name in node.inputs])
            if high is not None and not (np.isfinite(made.low) & np.isfinite(made.high)).all():
                made = _anything(
                    made.low.shape
                )  # overflows, or is not bounded: what follows may be no number
            known[node.output] = made
            if np.isinf(made.gain).any():
                inherited = [culprit[name] for name in node.inputs if name in culprit]
                culprit[node.output] = inherited[0] if inherited else node.op
    gain = float(known[tail.primary].gain.max(initial=0.0))
    if not np.isfinite(gain):
        raise PrecisionError(
            f"no error can be promised after the function {culprit[tail.primary]} that ends the model",
            hint="export the model with its scores as the output, or calibrate on a narrower range",
        )
    return max(gain, 1e-12)


def _inputs(tail: Graph, low: FloatArray | None, high: FloatArray | None) -> dict[str, _Moves]:
    known: dict[str, _Moves] = {}
    position = 0
    for value in tail.inputs:
        shape = (1, *(int(size) for size in value.shape[1:] if size is not None))
        part = slice(position, position + value.features)
        position += value.features
        least = np.full(shape, -np.inf) if low is None else low[part].reshape(shape)
        most = np.full(shape, np.inf) if high is None else high[part].reshape(shape)
        known[value.name] = _bounded(least, most, np.ones(shape))
    return known


def _bounded(
    low: FloatArray, high: FloatArray, gain: FloatArray, relative: FloatArray | float = np.inf
) -> _Moves:
    """Each slope from the other too, where that is less. ``relative`` is only true where the value is positive.

    What is not known (0·∞, ∞ - ∞) counts as unbounded.
    """
    low, high, gain, relative = np.broadcast_arrays(low, high, gain, relative)
    low = np.where(np.isnan(low), -np.inf, low)
    high = np.where(np.isnan(high), np.inf, high)
    gain = np.where(np.isnan(gain), np.inf, gain)
    by_value = np.where(gain == 0, 0.0, np.where(low > 0, gain / np.where(low > 0, low, 1.0), np.inf))
    relative = np.where(low >= 0, np.fmin(relative, by_value), np.inf)
    by_logarithm = np.where(np.isinf(relative), np.inf, _times(relative, high))
    return _Moves(low, high, np.fmin(gain, by_logarithm), relative)


def _anything(shape: tuple[int, ...]) -> _Moves:
    """A value of which nothing is known: a jump, or no number."""
    never = np.full(shape, np.inf)
    return _Moves(-never, never, never, never)


_Rule = Callable[[Graph, Node, list[_Moves]], _Moves]


def _rule(node: Node) -> _Rule:
    match node.op:
        case "Concat" | "Reshape" | "Slice" | "Transpose" | "Pad" | "Gather":
            return _moved
        case "ReduceMax" | "MaxPool" | "Max" | "Min":
            return _chosen
        case "Add" | "Sub":
            return _sum
        case "ReduceSum" | "AveragePool":
            return _total
    return _RULES.get(node.op, _jump)


def _jump(tail: Graph, node: Node, operands: list[_Moves]) -> _Moves:
    return _anything(tuple(1 if size is None else size for size in tail.values[node.output].shape))


def _apply(node: Node, *arrays: FloatArray, **changed: Attribute) -> FloatArray:
    attributes = {**node.attributes, **changed}
    return np.asarray(OPS[node.op].meaning(list(arrays), attributes), dtype=np.float64)


def _moved(tail: Graph, node: Node, operands: list[_Moves]) -> _Moves:
    """Elements go elsewhere; what a pad adds stands still."""
    if node.op == "Gather":
        index = tail.constants.get(node.inputs[1])
        if index is None or tail.values[node.output].dtype != "float64":
            return _jump(tail, node, operands)
        x, places = operands[0], np.asarray(index)
        axis = node.attributes["axis"]
        parts = (np.take(part, places, axis=int(str(axis))) for part in (x.low, x.high, x.gain, x.relative))
        return _Moves(*parts)
    still: dict[str, Attribute] = {"value": 0.0} if node.op == "Pad" else {}
    low = _apply(node, *(x.low for x in operands))
    high = _apply(node, *(x.high for x in operands))
    gain = _apply(node, *(x.gain for x in operands), **still)
    relative = _apply(node, *(x.relative for x in operands), **still)
    return _bounded(low, high, gain, relative)


def _chosen(tail: Graph, node: Node, operands: list[_Moves]) -> _Moves:
    """One of the elements."""
    most = node if node.op in ("ReduceMax", "MaxPool") else _renamed(node, "Max")
    low = _apply(node, *(x.low for x in operands))
    high = _apply(node, *(x.high for x in operands))
    gain = _apply(most, *(x.gain for x in operands))
    return _bounded(low, high, gain, _apply(most, *(x.relative for x in operands)))


def _renamed(node: Node, op: str) -> Node:
    return Node(op, node.inputs, node.output, node.attributes, node.name)


def _sum(tail: Graph, node: Node, operands: list[_Moves]) -> _Moves:
    a, b = operands
    gain = a.gain + b.gain
    if node.op == "Add":
        # a weighted mean of the slopes of the logarithms, where both are positive
        return _bounded(a.low + b.low, a.high + b.high, gain, np.maximum(a.relative, b.relative))
    is_complement = b.complement is not None and not a.gain.any() and bool((a.low == 1).all())
    relative = b.complement if is_complement and b.complement is not None else np.inf
    return _bounded(a.low - b.high, a.high - b.low, gain, relative)


def _total(tail: Graph, node: Node, operands: list[_Moves]) -> _Moves:
    """Sums and means: the slope of the logarithm of a sum is a weighted mean of those of its positive terms."""
    (x,) = operands
    low, high, gain = (_apply(node, part) for part in (x.low, x.high, x.gain))
    relative: FloatArray | float = np.inf
    if node.op == "ReduceSum":
        relative = _apply(_renamed(node, "ReduceMax"), x.relative)
    return _bounded(low, high, gain, relative)


def _product(tail: Graph, node: Node, operands: list[_Moves]) -> _Moves:
    a, b = operands
    gain = _times(a.magnitude, b.gain) + _times(b.magnitude, a.gain)
    if node.inputs[0] == node.inputs[1]:
        least = np.where((a.low <= 0) & (a.high >= 0), 0.0, np.minimum(a.low**2, a.high**2))
        return _bounded(least, a.magnitude**2, gain, 2 * a.relative)
    corners = np.stack(np.broadcast_arrays(*(_times(x, y) for x in (a.low, a.high) for y in (b.low, b.high))))
    return _bounded(corners.min(axis=0), corners.max(axis=0), gain, a.relative + b.relative)


def _times(a: FloatArray, b: FloatArray) -> FloatArray:
    """Products in which 0 times anything is 0."""
    return np.where((a == 0) | (b == 0), 0.0, a * b)


def _quotient(tail: Graph, node: Node, operands: list[_Moves]) -> _Moves:
    a, b = operands
    shares = _shares(tail, node, a)
    if shares is not None:
        return shares
    away = np.where((b.low > 0) | (b.high < 0), np.minimum(np.abs(b.low), np.abs(b.high)), 0.0)
    gain = a.gain / away + _times(a.magnitude, b.gain) / away**2
    gain = np.where((away == 0) & ((a.gain > 0) | (b.gain > 0)), np.inf, gain)
    corners = np.stack(np.broadcast_arrays(*(x / y for x in (a.low, a.high) for y in (b.low, b.high))))
    least = np.where((a.low >= 0) & (b.low >= 0), 0.0, -np.inf)
    low = np.where(away > 0, corners.min(axis=0), least)
    high = np.where(away > 0, corners.max(axis=0), np.inf)
    return _bounded(low, high, gain, a.relative + b.relative)


def _shares(tail: Graph, node: Node, u: _Moves) -> _Moves | None:
    """u / Σ u for positive u: the softmax of log u, which moves by half of what its argument does."""
    total = tail.node_of(node.inputs[1])
    if total is None or total.op != "ReduceSum" or total.inputs[0] != node.inputs[0]:
        return None
    if total.attributes["keepdims"] != 1 or not np.isfinite(u.relative).all():
        return None
    most = _apply(_renamed(total, "ReduceMax"), u.relative) * np.ones_like(u.low)
    return _bounded(np.zeros_like(most), np.ones_like(most), most / 2, 2 * most)


def _power(tail: Graph, node: Node, operands: list[_Moves]) -> _Moves:
    """x^p for a constant p: monotone for x >= 0; for any x where p is a natural number."""
    x, p = operands
    if p.gain.any() or p.low.size != 1:
        return _jump(tail, node, operands)
    exponent = float(p.low.reshape(-1)[0])
    is_natural = exponent >= 0 and exponent == int(exponent)
    if not is_natural and not (x.low > 0).all():
        return _jump(tail, node, operands)
    ends = np.stack([x.low**exponent, x.high**exponent])
    low, high = ends.min(axis=0), ends.max(axis=0)
    if is_natural and exponent > 0 and exponent % 2 == 0:
        low = np.where((x.low <= 0) & (x.high >= 0), 0.0, low)
    slope = abs(exponent) * np.maximum(np.abs(x.low) ** (exponent - 1), np.abs(x.high) ** (exponent - 1))
    slope = np.zeros_like(slope) if exponent == 0 else slope
    return _bounded(low, high, _times(slope, x.gain), abs(exponent) * x.relative)


def _matrix(tail: Graph, node: Node, operands: list[_Moves]) -> _Moves:
    """A product with a constant matrix on either side."""
    a, b = operands
    if a.gain.any() and b.gain.any():
        return _jump(tail, node, operands)
    is_left = not b.gain.any()
    x, w = (a, b.low) if is_left else (b, a.low)

    def times(part: FloatArray, weights: FloatArray) -> FloatArray:
        """A matrix product in which 0 times infinity is 0."""
        first, second = (part, weights) if is_left else (weights, part)
        return np.asarray(_times(first[..., :, :, None], second[..., None, :, :]).sum(axis=-2))

    up, down = np.maximum(w, 0), np.minimum(w, 0)
    low = times(x.low, up) + times(x.high, down)
    high = times(x.high, up) + times(x.low, down)
    return _bounded(low, high, times(x.gain, np.abs(w)))


def _compared(tail: Graph, node: Node, operands: list[_Moves]) -> _Moves:
    """A jump, but for intervals that say what comes out."""
    a, b = operands
    if node.op == "Less":
        yes, no = a.high < b.low, a.low >= b.high
    else:
        yes = (a.low == a.high) & (b.low == b.high) & (a.low == b.low)
        no = (a.high < b.low) | (b.high < a.low)
    gain = np.where(yes | no, 0.0, np.inf)
    return _bounded(yes.astype(np.float64), (~no).astype(np.float64), gain)


def _where(tail: Graph, node: Node, operands: list[_Moves]) -> _Moves:
    condition, a, b = operands
    yes, no = condition.low == 1, condition.high == 0
    parts = []
    for first, second, worst in (
        (a.low, b.low, np.minimum),
        (a.high, b.high, np.maximum),
        (a.gain, b.gain, np.maximum),
        (a.relative, b.relative, np.maximum),
    ):
        parts.append(np.where(yes, first, np.where(no, second, worst(first, second))))
    low, high, gain, relative = parts
    decided = yes | no
    return _bounded(low, high, np.where(decided, gain, np.inf), np.where(decided, relative, np.inf))


def _cast(tail: Graph, node: Node, operands: list[_Moves]) -> _Moves:
    """To float nothing changes; to anything else it is a jump unless nothing moves."""
    (x,) = operands
    if node.attributes["to"] == "float64" or not x.gain.any():
        return x
    return _jump(tail, node, operands)


def _softmax(tail: Graph, node: Node, operands: list[_Moves]) -> _Moves:
    """‖J‖ is at most max 2·p·(1 - p) <= 1/2; the logarithm moves by twice the argument."""
    (x,) = operands
    most = x.gain.max(axis=int(str(node.attributes["axis"])), keepdims=True) * np.ones_like(x.gain)
    return _bounded(np.zeros_like(most), np.ones_like(most), most / 2, 2 * most)


def _monotone(
    function: Callable[[FloatArray], FloatArray],
    slope: Callable[[FloatArray, FloatArray], FloatArray],
    relative: Callable[[_Moves], FloatArray | float] = lambda x: np.inf,
) -> _Rule:
    """An increasing function; ``slope``: the largest on an interval; ``relative``: of the logarithm of the result."""

    def rule(tail: Graph, node: Node, operands: list[_Moves]) -> _Moves:
        (x,) = operands
        gain = _times(slope(x.low, x.high), x.gain)
        return _bounded(function(x.low), function(x.high), gain, relative(x))

    return rule


def _at_nearest(slope: Callable[[FloatArray], FloatArray]) -> Callable[[FloatArray, FloatArray], FloatArray]:
    """Slopes that fall on both sides of 0: taken at the point of the interval that is nearest to it."""
    return lambda low, high: slope(np.maximum(low, 0.0) + np.minimum(high, 0.0))


def _named(op: str) -> Callable[[FloatArray], FloatArray]:
    return lambda x: np.asarray(OPS[op].meaning([x], {}), dtype=np.float64)


def _sigmoid(tail: Graph, node: Node, operands: list[_Moves]) -> _Moves:
    """The logarithms of σ(z) and of 1 - σ(z) = σ(-z) have slopes of at most 1."""
    (x,) = operands
    nearest = np.maximum(x.low, 0.0) + np.minimum(x.high, 0.0)
    gain = _times(0.25 / np.cosh(nearest / 2) ** 2, x.gain)
    made = _bounded(_named("Sigmoid")(x.low), _named("Sigmoid")(x.high), gain, x.gain)
    return replace(made, complement=x.gain)


def _logarithm(tail: Graph, node: Node, operands: list[_Moves]) -> _Moves:
    (x,) = operands
    return _bounded(np.log(np.maximum(x.low, 0.0)), np.log(np.maximum(x.high, 0.0)), x.relative)


def _absolute(tail: Graph, node: Node, operands: list[_Moves]) -> _Moves:
    (x,) = operands
    least = np.maximum(np.maximum(x.low, -x.high), 0.0)
    return _bounded(least, x.magnitude, x.gain, x.relative)


_RULES: dict[str, _Rule] = {
    "Abs": _absolute,
    "Cast": _cast,
    "Div": _quotient,
    "Equal": _compared,
    "Erf": _monotone(_named("Erf"), _at_nearest(lambda t: 2 / sqrt(pi) * np.exp(-(t**2)))),
    "Exp": _monotone(np.exp, lambda low, high: np.exp(high), lambda x: x.gain),
    "Less": _compared,
    "Log": _logarithm,
    "MatMul": _matrix,
    "Mul": _product,
    "Pow": _power,
    "Relu": _monotone(_named("Relu"), lambda low, high: (high > 0).astype(np.float64)),
    "Sigmoid": _sigmoid,
    "Softmax": _softmax,
    "Sqrt": _monotone(
        lambda t: np.sqrt(np.maximum(t, 0.0)),
        lambda low, high: np.where(low > 0, 0.5 / np.sqrt(np.maximum(low, 1e-300)), np.inf),
        lambda x: x.relative / 2,
    ),
    "Tanh": _monotone(np.tanh, _at_nearest(lambda t: 1 / np.cosh(t) ** 2)),
    "Where": _where,
}
