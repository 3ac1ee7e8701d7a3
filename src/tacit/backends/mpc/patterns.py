"""Terms: the nodes of a graph, where several nodes that together are one function are one term.

Beside the ops of the table there are ``Clip`` (x, low, high), ``Gelu``, ``Silu``, ``Normalize`` (the standardised
values along axes), ``Reciprocal`` and ``Rsqrt``. A pattern is known by its shape and its constants: they are public.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np

from tacit.ir.graph import Graph, Node
from tacit.ir.signature import Array, Attribute

__all__ = ["Term", "Terms", "terms_of"]

_CLOSE = 1e-5


@dataclass(frozen=True, slots=True)
class Term:
    """A function of values. ``node``: of the model, for messages."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Attribute]
    node: str


@dataclass(frozen=True, eq=False)
class Terms:
    """In order; types are those of the graph, `graph.values`. ``constants``, ``public``: with those of patterns."""

    graph: Graph
    terms: tuple[Term, ...]
    constants: dict[str, Array]
    public: set[str]

    def add_constant(self, name: str, array: Array, *, like: str = "") -> None:
        """One more; as public as the constant ``like``, public where none is named."""
        self.constants[name] = array
        if not like or like in self.public:
            self.public.add(name)


def terms_of(graph: Graph, outputs: Sequence[str]) -> Terms:
    """The terms that values of the graph need."""
    work = _Matching(graph)
    found: dict[str, Term] = {}
    for node in graph.nodes:
        for term in work.terms(node):
            found[term.output] = term
    found = _pools_first(graph, found)
    needed = set(outputs)
    kept: list[Term] = []
    for term in reversed(found.values()):
        if term.output in needed:
            kept.append(term)
            needed.update(term.inputs)
    return Terms(graph, tuple(kept[::-1]), work.constants, work.public)


@dataclass(eq=False)
class _Matching:
    graph: Graph

    def __post_init__(self) -> None:
        self.constants: dict[str, Array] = dict(self.graph.constants)
        self.public: set[str] = set(self.graph.public_constants)

    def terms(self, node: Node) -> list[Term]:
        name = node.name or node.output
        plain = Term(node.op, node.inputs, node.output, node.attributes, name)
        match node.op:
            case "Mul":
                return self._gelu(node, name) or self._silu(node, name) or self._normal(node, name) or [plain]
            case "Div":
                return self._normal(node, name) or self._quotient(node, name)
            case "Min" | "Max":
                return self._clip(node, name) or [plain]
        return [plain]

    def _gelu(self, node: Node, name: str) -> list[Term] | None:
        """k·x · (1 + erf(x / √2)) is 2k times GELU."""
        for factor, gate in (node.inputs, node.inputs[::-1]):
            added = self._with_number(gate, "Add")
            if added is None or abs(added[1] - 1.0) > _CLOSE:
                continue
            bend = self.graph.node_of(added[0])
            inner = None if bend is None or bend.op != "Erf" else self._with_number(bend.inputs[0], "Mul")
            if inner is None or abs(inner[1] - sqrt(0.5)) > _CLOSE:
                continue
            x, k = (inner[0], 1.0) if factor == inner[0] else self._with_number(factor, "Mul") or ("", 0.0)
            if x != inner[0] or k <= 0:
                continue
            curve = f"{node.output}~gelu"
            literal = self._literal(f"{node.output}~two", 2.0 * k)
            return [
                Term("Gelu", (x,), curve, {}, name),
                Term("Mul", (curve, literal), node.output, {}, name),
            ]
        return None

    def _silu(self, node: Node, name: str) -> list[Term] | None:
        for x, gate in (node.inputs, node.inputs[::-1]):
            made = self.graph.node_of(gate)
            if made is not None and made.op == "Sigmoid" and made.inputs == (x,):
                return [Term("Silu", (x,), node.output, {}, name)]
        return None

    def _normal(self, node: Node, name: str) -> list[Term] | None:
        """(x - mean) / √(variance + ε), the root as a divisor or as a factor."""
        pairs = (node.inputs,) if node.op == "Div" else (node.inputs, node.inputs[::-1])
        for centred, other in pairs:
            spread = self._root(other, inverse=node.op == "Mul")
            moved = None if spread is None else self._with_number(spread, "Add")
            middle = self.graph.node_of(centred)
            if moved is None or moved[1] <= 0 or middle is None or middle.op != "Sub":
                continue
            axes = self._mean_of(middle.inputs[1], middle.inputs[0])
            square = self._mean_source(moved[0])
            if axes is None or square is None or square[1] != axes:
                continue
            squared = self.graph.node_of(square[0])
            if squared is None or not self._is_square(squared, centred):
                continue
            attributes: dict[str, Attribute] = {"axes": axes, "epsilon": moved[1]}
            return [Term("Normalize", (middle.inputs[0],), node.output, attributes, name)]
        return None

    def _root(self, value: str, *, inverse: bool) -> str | None:
        """What the (inverse) square root is of."""
        made = self.graph.node_of(value)
        if made is None:
            return None
        if made.op == "Pow":
            exponent = self._scalar(made.inputs[1])
            return made.inputs[0] if exponent == (-0.5 if inverse else 0.5) else None
        if inverse:
            if made.op != "Div" or self._scalar(made.inputs[0]) != 1.0:
                return None
            made = self.graph.node_of(made.inputs[1])
        return made.inputs[0] if made is not None and made.op == "Sqrt" else None

    def _is_square(self, node: Node, value: str) -> bool:
        if node.op == "Mul":
            return node.inputs == (value, value)
        return node.op == "Pow" and node.inputs[0] == value and self._scalar(node.inputs[1]) == 2.0

    def _mean_of(self, value: str, source: str) -> tuple[int, ...] | None:
        found = self._mean_source(value)
        return None if found is None or found[0] != source else found[1]

    def _mean_source(self, value: str) -> tuple[str, tuple[int, ...]] | None:
        """What the value is the mean of, and along which axes; they are kept with size 1."""
        scaled = self._with_number(value, "Mul")
        made = None if scaled is None else self.graph.node_of(scaled[0])
        if scaled is None or made is None or made.op != "ReduceSum" or not made.attributes["keepdims"]:
            return None
        axes = made.attributes["axes"]
        if not isinstance(axes, tuple) or not axes:
            return None
        count = np.prod([self.graph.values[made.inputs[0]].type.size(axis) for axis in axes])
        return (made.inputs[0], axes) if abs(scaled[1] * count - 1.0) < _CLOSE else None

    def _quotient(self, node: Node, name: str) -> list[Term]:
        """a / b as a · (1 / b); a / √b as a · b^(-1/2)."""
        top, below = node.inputs
        root = self._root(below, inverse=False)
        op, source = ("Reciprocal", below) if root is None else ("Rsqrt", root)
        if self._scalar(top) == 1.0 and top in self.public and self.graph.values[top].shape == ():
            return [Term(op, (source,), node.output, {}, name)]
        inverse = f"{node.output}~inverse"
        return [Term(op, (source,), inverse, {}, name), Term("Mul", (top, inverse), node.output, {}, name)]

    def _clip(self, node: Node, name: str) -> list[Term] | None:
        """Between two numbers."""
        outer = self._with_scalar(node.output, node.op)
        made = None if outer is None else self.graph.node_of(outer[0])
        if outer is None or made is None or len(self.graph.users(made.output)) > 1:
            return None
        if made.output in self.graph.outputs or self.graph.values[made.output].dtype != "float64":
            return None
        if made.op == "Relu":
            zero = self._literal(f"{node.output}~zero", 0.0)
            inner: tuple[str, str] | None = (made.inputs[0], zero) if node.op == "Min" else None
        else:
            inner = self._with_scalar(made.output, "Max" if node.op == "Min" else "Min")
        if inner is None:
            return None
        low, high = (inner[1], outer[1]) if node.op == "Min" else (outer[1], inner[1])
        if float(self.constants[low].reshape(())) >= float(self.constants[high].reshape(())):
            return None
        return [Term("Clip", (inner[0], low, high), node.output, {}, name)]

    def _with_scalar(self, value: str, op: str) -> tuple[str, str] | None:
        """(operand, constant) of a node of this op with a number."""
        made = self.graph.node_of(value)
        if made is None or made.op != op:
            return None
        for operand, constant in (made.inputs, made.inputs[::-1]):
            if self._scalar(constant) is not None:
                return operand, constant
        return None

    def _with_number(self, value: str, op: str) -> tuple[str, float] | None:
        found = self._with_scalar(value, op)
        return None if found is None else (found[0], float(self.constants[found[1]].reshape(())))

    def _scalar(self, name: str) -> float | None:
        array = self.graph.constants.get(name)
        return float(array.reshape(())) if array is not None and array.size == 1 else None

    def _literal(self, name: str, number: float) -> str:
        self.constants[name] = np.array(number)
        self.public.add(name)
        return name


def _pools_first(graph: Graph, terms: dict[str, Term]) -> dict[str, Term]:
    """The largest of rectified values is the rectified largest: fewer comparisons."""
    for term in list(terms.values()):
        made = terms.get(term.inputs[0]) if term.op == "MaxPool" else None
        if made is None or made.op != "Relu" or len(graph.users(made.output)) > 1:
            continue
        if made.output in graph.outputs:
            continue
        between = f"{term.output}~pool"
        moved: dict[str, Term] = {}
        for name, each in terms.items():
            if name == term.output:
                moved[between] = replace(term, inputs=made.inputs, output=between)
                moved[name] = replace(made, inputs=(between,), output=name)
            elif name != made.output:
                moved[name] = each
        terms = moved
    return terms
