"""Random models that a provider could have: up to 12 ops with weights on one input, from one source of randomness.

Two kinds: networks on rows, sequences and images (affine ops of every sort, functions of one variable, residual
branches, products, pooling), and fitted trees. Every choice is made by a ``random.Random``, so that a seed names a
model, and hypothesis, which can stand behind one, shrinks it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from random import Random

import numpy as np
import numpy.typing as npt

from tacit.errors import ModelError, ShapeError
from tacit.ir.builder import GraphBuilder
from tacit.ir.graph import Graph
from tacit.ir.signature import Attribute
from tests.conformance.random_functions import FUNCTIONS, JOINS, Sketch

__all__ = ["Case", "random_case", "random_network"]

FloatArray = npt.NDArray[np.float64]

MAX_OPS = 12
MAX_ELEMENTS = 150
"""Of any value: more would be slow in throughput packing, and show nothing new."""
COLUMNS, COLUMNS_OF_FUNCTIONS = 150, 16
"""Widest value in throughput packing, where each element is a ciphertext."""
CALIBRATION_ROWS = 60


@dataclass(frozen=True, eq=False)
class Case:
    """A model, the rows that it is calibrated with, and the packing and tolerance that it is asked for.

    ``max_error``: ``None`` where the plan is to promise what it can.
    """

    graph: Graph
    calibration: FloatArray
    layout: str
    max_error: float | None


def random_case(rng: Random, *, max_functions: int = 2) -> Case:
    """A network with data for it. ``max_functions``: how many functions, products and maxima it may have."""
    graph = random_network(rng, max_functions=max_functions)
    shape = tuple(int(size) for size in graph.inputs[0].shape[1:] if size is not None)
    data = _numbers(rng, (CALIBRATION_ROWS, *shape), rng.choice(("uniform", "uniform", "normal")))
    if rng.random() < 0.2:
        data = data * _numbers(rng, shape, "sizes") + _numbers(rng, shape, "normal")
    if rng.random() < 0.1:
        data.reshape(len(data), -1)[:, 0] = 1.5
    widest = max(value.features for value in graph.values.values())
    slim = widest <= (COLUMNS if max_functions == 0 else COLUMNS_OF_FUNCTIONS)
    layout = rng.choice(("latency", "throughput")) if slim else "latency"
    return Case(graph, data, layout, rng.choice((None, None, 0.05)))


def random_network(rng: Random, *, max_functions: int = 2) -> Graph:
    """A verified graph of up to 12 nodes on one input (batch, …), whose first output depends on it and on weights."""
    builder = GraphBuilder("random")
    value = builder.input("x", _input_shape(rng))
    sketch = Sketch(builder, rng)
    pool = [value]
    functions = 0
    goal = rng.randint(1, MAX_OPS - 3)
    for _ in range(4 * goal):
        if len(builder.nodes) >= goal:
            break
        kind = rng.random()
        source = pool[-1] if rng.random() < 0.8 else rng.choice(pool)
        before = len(builder.nodes)
        try:
            if kind < 0.25 and functions < max_functions:
                made, cost = rng.choice(FUNCTIONS)(sketch, source), 1
            elif kind < 0.40:
                partner = _partner(builder, pool, source, rng)
                join, cost = rng.choice(JOINS)
                if functions + cost > max_functions or partner is None:
                    continue
                made = join(sketch, source, partner)
            else:
                made, cost = rng.choice(_AFFINE)(sketch, source), 0
        except (ModelError, ShapeError):
            continue
        too_many = len(builder.nodes) > MAX_OPS - 3 or builder.values[made].features > MAX_ELEMENTS
        if made == source or too_many or builder.values[made].features == 0:
            del builder.nodes[before:]
            continue
        functions += cost
        pool.append(made)
    return _finished(sketch, pool)


def _finished(sketch: Sketch, pool: Sequence[str]) -> Graph:
    """Scores by a last dense layer where nothing so far holds a weight or the coin says so, and a tail of the owner."""
    builder, rng = sketch.builder, sketch.rng
    value = pool[-1]
    flat = builder.values[value].features
    if not any(op in ("MatMul", "Conv") for op in _behind(builder, value)) or rng.random() < 0.7:
        if len(builder.values[value].shape) != 2:
            value = builder.node("Reshape", value, shape=(-1, flat))
        value = _dense(sketch, value)
    roles = {"scores": value}
    outputs = [value]
    width = builder.values[value].features
    tail = rng.random()
    if tail < 0.15:
        value = builder.node(rng.choice(("Sigmoid", "Tanh")), value)
        roles, outputs = {"output": value}, [value]
    elif tail < 0.35 and width > 1 and len(builder.values[value].shape) == 2:
        value = builder.node("Softmax", value, axis=1)
        names = builder.constant(np.array([f"class {i}" for i in range(width)]), public=True)
        label = builder.node("Gather", names, builder.node("ArgMax", value, axis=1, keepdims=0), axis=0)
        roles, outputs = {"probabilities": value, "label": label}, [value, label]
    return builder.finish(outputs, roles=roles)


def _behind(builder: GraphBuilder, value: str) -> set[str]:
    """Ops that a value depends on."""
    needed, ops = {value}, set()
    for node in reversed(builder.nodes):
        if node.output in needed:
            needed.update(node.inputs)
            ops.add(node.op)
    return ops


def _input_shape(rng: Random) -> tuple[int | None, ...]:
    kind = rng.random()
    if kind < 0.5:
        return (None, rng.randint(1, 24))
    if kind < 0.65:
        return (None, rng.randint(1, 4), rng.randint(3, 12))
    return (None, rng.randint(1, 3), rng.randint(3, 7), rng.randint(3, 7))


def _partner(builder: GraphBuilder, pool: Sequence[str], source: str, rng: Random) -> str | None:
    """Another value of the same shape, where there is one."""
    shape = builder.values[source].shape
    others = [name for name in pool if builder.values[name].shape == shape and name != source]
    return rng.choice(others) if others else None


def _numbers(rng: Random, shape: tuple[int, ...], kind: str = "normal") -> FloatArray:
    """``kind``: ``normal``, ``uniform`` on [-1, 1], or ``sizes``: positive, over four orders of magnitude."""
    numbers = np.random.default_rng(rng.getrandbits(32))
    match kind:
        case "uniform":
            return numbers.uniform(-1, 1, shape)
        case "sizes":
            return 10.0 ** numbers.uniform(-2, 2, shape)
    return numbers.normal(size=shape)


def _shape(sketch: Sketch, value: str) -> tuple[int, ...]:
    """Sizes of one sample."""
    return tuple(int(size) for size in sketch.builder.values[value].shape[1:] if size is not None)


def _weights(sketch: Sketch, shape: tuple[int, ...], size: float = 1.0) -> str:
    return sketch.builder.constant(size * _numbers(sketch.rng, shape))


def _dense(sketch: Sketch, value: str) -> str:
    """Of the last axis, whatever the rank."""
    width = _shape(sketch, value)[-1]
    height = sketch.rng.randint(1, 12)
    made = sketch.node("MatMul", value, _weights(sketch, (width, height), 1 / sqrt(width)))
    return sketch.node("Add", made, _weights(sketch, (height,), 0.3)) if sketch.rng.random() < 0.6 else made


def _bias(sketch: Sketch, value: str) -> str:
    shape = _broadcast(sketch, value)
    if sketch.rng.random() < 0.5:
        return sketch.node("Add", value, _weights(sketch, shape, 0.3))
    order = [value, _weights(sketch, shape, 0.3)]
    return sketch.node("Sub", *(order if sketch.rng.random() < 0.5 else order[::-1]))


def _scale(sketch: Sketch, value: str) -> str:
    sizes = 0.5 + np.abs(_numbers(sketch.rng, _broadcast(sketch, value), "uniform"))
    return sketch.node(sketch.rng.choice(("Mul", "Div")), value, sketch.builder.constant(sizes))


def _broadcast(sketch: Sketch, value: str) -> tuple[int, ...]:
    """The shape of a sample with some axes of size 1, or none at all."""
    shape = _shape(sketch, value)
    return (
        tuple(size if sketch.rng.random() < 0.7 else 1 for size in shape) if sketch.rng.random() < 0.8 else ()
    )


def _mask(sketch: Sketch, value: str) -> str:
    shape = _shape(sketch, value)
    mask = sketch.builder.constant(_numbers(sketch.rng, shape) > -0.5)
    return sketch.node("Where", mask, value, _weights(sketch, shape, 0.5))


def _transpose(sketch: Sketch, value: str) -> str:
    axes = list(range(1, len(_shape(sketch, value)) + 1))
    sketch.rng.shuffle(axes)
    return sketch.node("Transpose", value, perm=(0, *axes))


def _reshape(sketch: Sketch, value: str) -> str:
    count = prod(_shape(sketch, value))
    first = sketch.rng.choice([n for n in range(1, count + 1) if count % n == 0])
    rest = count // first
    second = sketch.rng.choice([n for n in range(1, rest + 1) if rest % n == 0])
    shape = sketch.rng.choice(((count,), (first, rest), (first, second, rest // second)))
    return sketch.node("Reshape", value, shape=(-1, *shape))


def _slice(sketch: Sketch, value: str) -> str:
    axis, size = _axis(sketch, value)
    start = sketch.rng.randint(0, size - 1)
    end, step = sketch.rng.randint(start + 1, size), sketch.rng.randint(1, 2)
    return sketch.node("Slice", value, axes=(axis,), starts=(start,), ends=(end,), steps=(step,))


def _pad(sketch: Sketch, value: str) -> str:
    rank = len(_shape(sketch, value)) + 1
    pads = tuple(sketch.rng.randint(0, 1) if i % rank else 0 for i in range(2 * rank))
    return sketch.node("Pad", value, pads=pads, value=sketch.rng.choice((0.0, 0.5)))


def _gather(sketch: Sketch, value: str) -> str:
    axis, size = _axis(sketch, value)
    picks = [sketch.rng.randrange(size) for _ in range(sketch.rng.randint(1, size + 1))]
    return sketch.node("Gather", value, sketch.builder.constant(np.array(picks)), axis=axis)


def _repeat(sketch: Sketch, value: str) -> str:
    return sketch.node("Concat", value, value, axis=_axis(sketch, value)[0])


def _mean(sketch: Sketch, value: str) -> str:
    axis, size = _axis(sketch, value)
    keepdims = 1 if len(_shape(sketch, value)) == 1 else sketch.rng.randint(0, 1)
    total = sketch.node("ReduceSum", value, axes=(axis,), keepdims=keepdims)
    return sketch.node("Mul", total, sketch.builder.constant(1.0 / size, public=True))


def _axis(sketch: Sketch, value: str) -> tuple[int, int]:
    shape = _shape(sketch, value)
    axis = sketch.rng.randint(1, len(shape))
    return axis, shape[axis - 1]


def _conv(sketch: Sketch, value: str) -> str:
    shape, rng = _shape(sketch, value), sketch.rng
    n = len(shape) - 1
    channels = shape[0]
    group = channels if rng.random() < 0.3 else 1
    filters = group * rng.randint(1, 4 if group == 1 else 2)
    kernel = tuple(rng.randint(1, 3) for _ in range(n))
    attributes: dict[str, Attribute] = {
        "strides": tuple(rng.randint(1, 2) for _ in range(n)),
        "pads": tuple(rng.randint(0, 1) for _ in range(2 * n)),
        "dilations": tuple(rng.choice((1, 1, 2)) for _ in range(n)),
        "group": group,
    }
    depth = channels // group
    operands = [_weights(sketch, (filters, depth, *kernel), 1 / sqrt(depth * prod(kernel)))]
    if rng.random() < 0.6:
        operands.append(_weights(sketch, (filters,), 0.3))
    return sketch.builder.add("Conv", [value, *operands], attributes)


def _average(sketch: Sketch, value: str) -> str:
    n = len(_shape(sketch, value)) - 1
    pads = tuple(sketch.rng.randint(0, 1) for _ in range(2 * n))
    return sketch.node(
        "AveragePool",
        value,
        kernel=(2,) * n,
        strides=(sketch.rng.randint(1, 2),) * n,
        pads=pads,
        dilations=(1,) * n,
        count_include_pad=sketch.rng.randint(0, 1),
    )


_AFFINE: tuple[Callable[[Sketch, str], str], ...] = (
    _dense,
    _dense,
    _dense,
    _conv,
    _conv,
    _conv,
    _bias,
    _scale,
    _mask,
    _transpose,
    _reshape,
    _slice,
    _pad,
    _gather,
    _repeat,
    _mean,
    _average,
)
