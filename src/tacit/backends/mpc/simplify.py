"""A graph with fewer multiplications: constants folded, scales and offsets taken into the weights around them.

Every rewrite keeps the value up to rounding in float64. Types and owners are inferred anew by the graph.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tacit.ir.graph import Graph, Node
from tacit.ir.ops import OPS
from tacit.ir.signature import Array, Attribute, complete_attributes
from tacit.ir.verify import verify

__all__ = ["simplify"]


def simplify(graph: Graph) -> Graph:
    """The same program on the same inputs; outputs keep their names."""
    work = _Work.of(graph)
    for rewrite in (_fold, _no_division, _scores_scaled, _affine_joined):
        rewrite(work)
    return work.finished()


@dataclass(eq=False)
class _Work:
    """``nodes`` by output, in order; ``public``: constants that are nobody's secret."""

    graph: Graph
    nodes: dict[str, Node]
    constants: dict[str, Array]
    public: set[str]
    fresh: int = 0

    @classmethod
    def of(cls, graph: Graph) -> _Work:
        return cls(
            graph,
            {node.output: node for node in graph.nodes},
            dict(graph.constants),
            set(graph.public_constants),
        )

    def finished(self) -> Graph:
        needed = set(self.graph.outputs)
        kept: list[Node] = []
        for node in reversed(self.nodes.values()):
            if node.output in needed:
                kept.append(node)
                needed.update(node.inputs)
        constants = {name: array for name, array in self.constants.items() if name in needed}
        public = frozenset(self.public & constants.keys())
        base = replace(self.graph, public_constants=public)
        graph = base.with_nodes(kept[::-1], constants=constants)
        verify(graph)
        return graph

    def constant(self, array: Array, *sources: str) -> str:
        """A new constant; public only where all that it is made from are."""
        self.fresh += 1
        name = f"{sources[0]}~{self.fresh}"
        self.constants[name] = np.asarray(array)
        if all(source in self.public for source in sources):
            self.public.add(name)
        return name

    def only_user(self, name: str, counts: dict[str, int]) -> bool:
        return counts.get(name, 0) == 1 and name not in self.graph.outputs

    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for node in self.nodes.values():
            for name in node.inputs:
                counts[name] = counts.get(name, 0) + 1
        return counts

    def is_alike(self, first: str, second: str) -> bool:
        """Whether two values are known to have one shape."""
        values = self.graph.values
        return first in values and second in values and values[first].shape == values[second].shape


def _fold(work: _Work) -> None:
    """Nodes on constants alone become constants."""
    for node in list(work.nodes.values()):
        if node.output in work.graph.outputs or not all(name in work.constants for name in node.inputs):
            continue
        arrays = [work.constants[name] for name in node.inputs]
        with np.errstate(all="ignore"):
            result = np.asarray(OPS[node.op].meaning(arrays, node.attributes))
        if result.dtype.kind == "f" and not np.isfinite(result).all():
            continue
        work.constants[node.output] = result
        if all(name in work.public for name in node.inputs):
            work.public.add(node.output)
        del work.nodes[node.output]


def _no_division(work: _Work) -> None:
    """x / c as x · (1 / c); x - c as x + (-c)."""
    for node in list(work.nodes.values()):
        if node.op not in ("Div", "Sub") or len(node.inputs) != 2:
            continue
        array = work.constants.get(node.inputs[1])
        if array is None or array.dtype.kind != "f" or (node.op == "Div" and (array == 0).any()):
            continue
        other = 1.0 / array if node.op == "Div" else -array
        if not np.isfinite(other).all():
            continue
        name = work.constant(other, node.inputs[1])
        op = "Mul" if node.op == "Div" else "Add"
        work.nodes[node.output] = replace(node, op=op, inputs=(node.inputs[0], name))


def _scores_scaled(work: _Work) -> None:
    """A number times a product of two unknown matrices: taken into the weights that made the first of them."""
    counts = work.counts()
    for node in list(work.nodes.values()):
        split = _constant_operand(work, node)
        if node.op != "Mul" or split is None:
            continue
        made = work.nodes.get(split[0])
        if made is None or made.op != "MatMul" or made.inputs[0] in work.constants:
            continue
        if work.constants[split[1]].size != 1 or not work.only_user(split[0], counts):
            continue
        if made.inputs[1] in work.constants or not _pushed(work, made.inputs[0], split[1], counts):
            continue
        work.nodes[node.output] = replace(made, output=node.output, name=node.name or made.name)
        del work.nodes[made.output]


def _pushed(work: _Work, name: str, factor: str, counts: dict[str, int], *, dry: bool = True) -> bool:
    """Multiplies the value by the factor through what made it, where weights are all that changes."""
    made = work.nodes.get(name)
    if made is None or not work.only_user(name, counts):
        return False
    if dry:
        possible = _pushed(work, name, factor, counts, dry=False) if _can_push(work, name, counts) else False
        return possible
    scale = float(work.constants[factor].reshape(()))
    match made.op:
        case "Reshape" | "Transpose":
            return _pushed(work, made.inputs[0], factor, counts, dry=False)
        case "Add":
            value, constant = _constant_operand(work, made) or ("", "")
            scaled = work.constant(work.constants[constant] * scale, constant, factor)
            work.nodes[name] = replace(made, inputs=(value, scaled))
            return _pushed(work, value, factor, counts, dry=False)
    scaled = work.constant(work.constants[made.inputs[1]] * scale, made.inputs[1], factor)
    work.nodes[name] = replace(made, inputs=(made.inputs[0], scaled))
    return True


def _can_push(work: _Work, name: str, counts: dict[str, int]) -> bool:
    made = work.nodes.get(name)
    if made is None or not work.only_user(name, counts):
        return False
    match made.op:
        case "Reshape" | "Transpose":
            return _can_push(work, made.inputs[0], counts)
        case "Add":
            split = _constant_operand(work, made)
            return split is not None and _can_push(work, split[0], counts)
        case "MatMul":
            return made.inputs[1] in work.constants and made.inputs[1] not in work.public
    return False


def _affine_joined(work: _Work) -> None:
    """Scales and offsets per feature or channel before and after products with weights, until none is left."""
    changed = True
    while changed:
        changed = False
        counts = work.counts()
        for node in list(work.nodes.values()):
            if node.output not in work.nodes:
                continue
            if _after(work, node, counts) or _before(work, node, counts):
                changed = True
                break


def _after(work: _Work, node: Node, counts: dict[str, int]) -> bool:
    """(x · W) · s as x · (W · s), (x · W + b) · s likewise, and (v + b) + c as v + (b + c)."""
    split = _constant_operand(work, node)
    if split is None or not work.only_user(split[0], counts):
        return False
    value, constant = split
    made = work.nodes.get(value)
    array = work.constants[constant]
    if made is None or array.dtype.kind != "f":
        return False
    inner = _constant_operand(work, made)
    if node.op == made.op and node.op in ("Add", "Mul") and inner is not None:
        first = work.constants[inner[1]]
        with np.errstate(all="ignore"):
            joined = first + array if node.op == "Add" else first * array
        if not np.isfinite(joined).all():
            return False
        work.nodes[node.output] = replace(node, inputs=(inner[0], work.constant(joined, inner[1], constant)))
        del work.nodes[value]
        return True
    if node.op == "Mul" and made.op == "Add" and inner is not None and _takes(work, inner[0], array, counts):
        scaled = work.constant(work.constants[inner[1]] * array, inner[1], constant)
        factor = _named(work, inner[0])
        work.nodes = _inserted(
            work.nodes, made.output, Node("Mul", (inner[0], constant), factor, {}, node.name)
        )
        work.nodes[node.output] = Node(
            "Add", (factor, scaled), node.output, complete_attributes(OPS["Add"], {}), node.name
        )
        del work.nodes[made.output]
        return True
    if node.op == "Mul" and made.op in ("MatMul", "Conv") and _is_channelwise(work, made, array):
        weight = made.inputs[1]
        if weight not in work.constants:
            return False
        inputs = [
            made.inputs[0],
            work.constant(_scaled(made, work.constants[weight], array), weight, constant),
        ]
        if len(made.inputs) == 3:
            bias = work.constants.get(made.inputs[2])
            if bias is None:
                return False
            inputs.append(work.constant(bias * array.reshape(-1), made.inputs[2], constant))
        work.nodes[node.output] = replace(made, inputs=tuple(inputs), output=node.output)
        del work.nodes[value]
        return True
    if node.op == "Add" and made.op == "Conv" and made.inputs[1] in work.constants:
        filters = work.constants[made.inputs[1]].shape[0]
        if not _is_channelwise(work, made, array):
            return False
        bias = work.constants[made.inputs[2]] if len(made.inputs) == 3 else np.zeros(filters)
        sources = (constant, *made.inputs[2:])
        name = work.constant(bias + np.broadcast_to(array.reshape(-1), (filters,)), *sources)
        work.nodes[node.output] = replace(made, inputs=(*made.inputs[:2], name), output=node.output)
        del work.nodes[value]
        return True
    return False


def _before(work: _Work, node: Node, counts: dict[str, int]) -> bool:
    """(x · s) · W as x · (s · W), and (x + c) · W as x · W + c · W, for factors along the last axis."""
    if node.op != "MatMul" or node.inputs[1] not in work.constants:
        return False
    value, weight = node.inputs
    made = work.nodes.get(value)
    if made is None or not work.only_user(value, counts) or made.op not in ("Mul", "Add"):
        return False
    split = _constant_operand(work, made)
    if split is None:
        return False
    array, matrix = work.constants[split[1]], work.constants[weight]
    if matrix.ndim != 2 or array.size not in (1, array.shape[-1] if array.ndim else 1):
        return False
    if not work.is_alike(split[0], value):
        return False
    row = np.broadcast_to(array.reshape(-1), (matrix.shape[0],))
    if made.op == "Mul":
        scaled = work.constant(row[:, None] * matrix, weight, split[1])
        work.nodes[node.output] = replace(node, inputs=(split[0], scaled))
        del work.nodes[value]
        return True
    factor = _named(work, node.output)
    offset = work.constant(row @ matrix, split[1], weight)
    work.nodes = _inserted(work.nodes, value, replace(node, inputs=(split[0], weight), output=factor))
    work.nodes[node.output] = Node(
        "Add", (factor, offset), node.output, complete_attributes(OPS["Add"], {}), node.name
    )
    del work.nodes[value]
    return True


def _named(work: _Work, stem: str) -> str:
    work.fresh += 1
    return f"{stem}~{work.fresh}"


def _inserted(nodes: dict[str, Node], before: str, new: Node) -> dict[str, Node]:
    """The nodes with one more, in front of the one that makes ``before``."""
    complete: dict[str, Attribute] = complete_attributes(OPS[new.op], new.attributes)
    made: dict[str, Node] = {}
    for name, node in nodes.items():
        if name == before:
            made[new.output] = replace(new, attributes=complete)
        made[name] = node
    return made


def _takes(work: _Work, name: str, array: Array, counts: dict[str, int]) -> bool:
    """Whether a product with weights made the value and can take a factor."""
    made = work.nodes.get(name)
    return (
        made is not None
        and made.op in ("MatMul", "Conv")
        and made.inputs[1] in work.constants
        and work.only_user(name, counts)
        and _is_channelwise(work, made, array)
    )


def _constant_operand(work: _Work, node: Node) -> tuple[str, str] | None:
    """(value, constant) of an addition or product of the two."""
    if node.op not in ("Add", "Mul") or len(node.inputs) != 2:
        return None
    a, b = node.inputs
    if b in work.constants and a not in work.constants:
        return a, b
    return (b, a) if a in work.constants and b not in work.constants else None


def _is_channelwise(work: _Work, made: Node, array: Array) -> bool:
    """Whether the array has one number, or one for each column of the matrix or filter of the kernel."""
    weight = work.constants.get(made.inputs[1])
    if weight is None:
        return False
    if array.size == 1:
        return array.ndim <= (weight.ndim if made.op == "Conv" else 2)
    if made.op == "MatMul":
        return weight.ndim == 2 and array.shape[-1] == array.size == weight.shape[-1]
    spatial = weight.ndim - 2
    if array.ndim not in (spatial + 1, spatial + 2) or array.size != weight.shape[0]:
        return False
    return bool(array.shape[-spatial - 1] == weight.shape[0])


def _scaled(made: Node, weight: Array, array: Array) -> Array:
    if array.size == 1:
        return np.asarray(weight * float(array.reshape(())))
    if made.op == "MatMul":
        return np.asarray(weight * array.reshape(-1))
    return np.asarray(weight * array.reshape(-1, *(1,) * (weight.ndim - 1)))
