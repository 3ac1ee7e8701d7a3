"""Random graphs of up to 12 nodes over the whole op table, for property tests (hypothesis)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tacit.errors import ModelError, ShapeError
from tacit.ir import OPS, Graph, GraphBuilder
from tacit.ir.signature import Attribute, TensorType

__all__ = ["batches", "graphs"]

Draw = Callable[[st.SearchStrategy[Any]], Any]

NUMBERS = st.floats(-3.0, 3.0, allow_nan=False, width=32).map(float)


def _array(draw: Draw, shape: tuple[int, ...]) -> Any:
    seed = draw(st.integers(0, 2**16))
    return np.random.default_rng(seed).normal(size=shape).round(3)


def _attributes(draw: Draw, op: str, x: TensorType) -> dict[str, Attribute]:
    """Attributes that mostly fit; those that do not are refused by the shape rule and the node is left out."""
    rank = x.rank
    axis = draw(st.integers(1, max(1, rank - 1)))
    match op:
        case "Softmax":
            return {"axis": axis}
        case "ReduceSum" | "ReduceMax":
            return {"axes": (axis,), "keepdims": draw(st.integers(0, 1))}
        case "ArgMax":
            return {"axis": axis, "keepdims": draw(st.integers(0, 1))}
        case "Cast":
            return {"to": draw(st.sampled_from(["float64", "int64", "bool"]))}
        case "Transpose":
            return {"perm": (0, *draw(st.permutations(range(1, rank))))}
        case "Concat":
            return {"axis": axis}
        case "Gather":
            return {"axis": axis}
        case "Pad":
            pads = tuple(draw(st.integers(0, 2)) if i % rank else 0 for i in range(2 * rank))
            return {"pads": pads, "value": draw(NUMBERS)}
        case "Slice":
            size = x.shape[axis] if axis < rank else 0
            start = draw(st.integers(0, size or 0))
            end = draw(st.integers(start, size or 0))
            return {"axes": (axis,), "starts": (start,), "ends": (end,), "steps": (draw(st.integers(1, 2)),)}
        case "Reshape":
            count = int(np.prod([size for size in x.shape if size is not None], dtype=np.int64))
            divisors = [n for n in range(1, count + 1) if count % n == 0] or [0]
            first = draw(st.sampled_from(divisors))
            return {"shape": (-1, first, count // first if first else 0)}
        case "Conv":
            n = max(0, rank - 2)
            pads = tuple(draw(st.integers(0, 1)) for _ in range(2 * n))
            return {"strides": (draw(st.integers(1, 2)),) * n, "pads": pads, "dilations": (1,) * n}
        case "MaxPool" | "AveragePool":
            n = max(0, rank - 2)
            return {"kernel": (2,) * n, "strides": (1,) * n, "pads": (0, 1) * n, "dilations": (1,) * n}
    return {}


def _fits(op: str, x: TensorType) -> bool:
    """Whether an op may work on a value: floats, and (batch, channels, positions) for windows."""
    least = 3 if op in ("Conv", "MaxPool", "AveragePool") else 2
    return x.dtype == "float64" and x.rank >= least


def _operands(draw: Draw, op: str, builder: GraphBuilder, pool: list[str]) -> list[str]:
    low, high = OPS[op].arity
    count = low if high == low else draw(st.integers(low, high or 3))
    fitting = [name for name in pool if OPS[op].elementwise or _fits(op, builder.values[name].type)]
    first = draw(st.sampled_from(fitting or pool))
    x = builder.values[first]
    if op == "Where":
        shape = tuple(size or 1 for size in x.shape)
        return [builder.constant(_array(draw, shape) > 0), first, builder.constant(_array(draw, shape))]
    operands = [first]
    for index in range(1, count):
        if op == "Gather":
            operands.append(
                builder.constant(np.array(draw(st.lists(st.integers(0, 1), max_size=3)), dtype=np.int64))
            )
        elif op == "MatMul":
            operands.append(builder.constant(_array(draw, (x.shape[-1] or 1, draw(st.integers(1, 4))))))
        elif op == "Conv":
            channels = x.shape[1] if len(x.shape) > 1 and x.shape[1] else 1
            shape = (2, channels, *(2,) * max(0, len(x.shape) - 2)) if index == 1 else (2,)
            operands.append(builder.constant(_array(draw, shape)))
        elif draw(st.booleans()):
            operands.append(draw(st.sampled_from(pool)))
        else:
            operands.append(builder.constant(_array(draw, tuple(size or 1 for size in x.shape))))
    return operands


@st.composite
def graphs(draw: Draw, *, max_nodes: int = 12) -> Graph:
    """A verified graph on x (batch, 3) and z (batch, 2, 4) with up to ``max_nodes`` nodes."""
    builder = GraphBuilder("random")
    pool = [builder.input("x", (None, 3)), builder.input("z", (None, 2, 4))]
    for _ in range(draw(st.integers(1, max_nodes))):
        op = draw(st.sampled_from(sorted(OPS)))
        operands = _operands(draw, op, builder, pool)
        try:
            attributes = _attributes(draw, op, builder.values[operands[0]].type)
            made = builder.node(op, *operands, **attributes)  # type: ignore[arg-type]
        except (ModelError, ShapeError):
            continue
        pool.append(made)
    if len(pool) == 2:
        pool.append(builder.node("Abs", "x"))
    outputs = draw(st.lists(st.sampled_from(pool[2:]), min_size=1, max_size=3, unique=True))
    return builder.finish(outputs)


@st.composite
def batches(draw: Draw) -> dict[str, Any]:
    """Data for ``graphs``: 0 to 3 samples."""
    count = draw(st.integers(0, 3))
    return {"x": _array(draw, (count, 3)), "z": _array(draw, (count, 2, 4))}
