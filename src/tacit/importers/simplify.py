"""Rewrites that undo what exporters do to classifiers, so that what is secret and what is not can be told apart.

Two opposite rows of weights (-w and w) become one score z and its mirror image; the sigmoid of -z and z becomes
1 - p and p; a sum that is 1 is not divided by; a part cut out of what was just joined is that part. Each rewrite
keeps the value up to rounding in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tacit.ir.graph import Graph, Node
from tacit.ir.ops import OPS
from tacit.ir.signature import Array, Attribute, complete_attributes
from tacit.ir.verify import verify

__all__ = ["simplify"]

_NOT_NEGATIVE = frozenset({"Abs", "Exp", "Relu", "Sigmoid", "Softmax", "Sqrt"})


def simplify(graph: Graph) -> Graph:
    """The same program with the rewrites applied, verified; outputs keep their names, and roles are told anew."""
    work = _Rewriting(graph)
    for node in graph.nodes:
        work.take(node)
    return work.finish()


@dataclass(slots=True)
class _Rewriting:
    """Nodes are taken in order; ``alias`` says which value stands for one that is gone."""

    graph: Graph
    nodes: dict[str, Node]
    constants: dict[str, Array]
    public: set[str]
    alias: dict[str, str]
    fresh: int

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes = {}
        self.constants = dict(graph.constants)
        self.public = set(graph.public_constants)
        self.alias = {}
        self.fresh = 0

    def take(self, node: Node) -> None:
        node = replace(node, inputs=tuple(self.alias.get(name, name) for name in node.inputs))
        match node.op:
            case "Abs":
                value = node.inputs[0] if self._is_positive(node.inputs[0]) else None
            case "Add":
                value = self._mirrored(node)
            case "Sigmoid":
                value = self._complement(node)
            case "Div":
                value = node.inputs[0] if self._is_divided_by_one(node) else None
            case "Slice":
                value = self._cut_out(node)
            case _:
                value = None
        if value is None:
            self.nodes[node.output] = node
        else:
            self.alias[node.output] = value

    def finish(self) -> Graph:
        """Drops what no output needs and gives outputs their names back; scores that sum to 1 are probabilities."""
        if not self.alias:
            return self._with_roles(self.graph)
        names: dict[str, str] = {}
        for output in self.graph.outputs:
            target = self.alias.get(output)
            if target in self.nodes and target not in self.graph.outputs and target not in names:
                names[target] = output
            elif target is not None:
                shape = tuple(-1 if size is None else size for size in self.graph.values[output].shape)
                self.nodes[output] = Node("Reshape", (target,), output, {"shape": shape}, output)
        needed = {names.get(name, name) for name in self.graph.outputs}
        kept: list[Node] = []
        for made in reversed(self.nodes.values()):
            inputs = tuple(names.get(name, name) for name in made.inputs)
            node = replace(made, inputs=inputs, output=names.get(made.output, made.output))
            if node.output in needed:
                kept.append(node)
                needed.update(node.inputs)
        constants = {name: array for name, array in self.constants.items() if name in needed}
        public = frozenset(self.public & constants.keys())
        graph = replace(self.graph, public_constants=public).with_nodes(kept[::-1], constants=constants)
        verify(graph)
        self.nodes = {node.output: node for node in graph.nodes}
        return self._with_roles(graph)

    def _with_roles(self, graph: Graph) -> Graph:
        scores = graph.roles.get("scores")
        if scores is None or "probabilities" in graph.roles or not self._sums_to_one(scores):
            return graph
        roles = {role: value for role, value in graph.roles.items() if role != "scores"}
        return replace(graph, roles={**roles, "probabilities": scores})

    def _mirrored(self, node: Node) -> str | None:
        """x · [-w, w] + [-b, b] as -z and z with z = x · w + b."""
        product = self.nodes.get(node.inputs[0])
        bias = self.constants.get(node.inputs[1])
        if product is None or product.op != "MatMul" or bias is None or bias.shape not in ((2,), (1, 2)):
            return None
        known = self.graph.values.get(product.output)
        if known is None or len(known.shape) != 2:
            return None
        weights = self.constants.get(product.inputs[1])
        if weights is None or weights.ndim != 2 or weights.shape[1] != 2 or product.inputs[1] in self.public:
            return None
        flat = bias.reshape(2)
        if flat[0] != -flat[1] or (weights[:, 0] != -weights[:, 1]).any():
            return None
        column = self._constant(product.inputs[1], weights[:, 1:])
        score = self._node("MatMul", (product.inputs[0], column), node)
        if flat[1]:
            score = self._node("Add", (score, self._constant(node.inputs[1], flat[1:])), node)
        mirror = self._node("Mul", (score, self._literal(-1.0)), node)
        return self._node("Concat", (mirror, score), node, {"axis": 1})

    def _complement(self, node: Node) -> str | None:
        """The sigmoid of -z and z as 1 - p and p."""
        pair = self.nodes.get(node.inputs[0])
        if pair is None or pair.op != "Concat" or len(pair.inputs) != 2 or pair.attributes["axis"] != 1:
            return None
        mirror = self.nodes.get(pair.inputs[0])
        if mirror is None or mirror.op != "Mul" or mirror.inputs[0] != pair.inputs[1]:
            return None
        if not self._is_literal(mirror.inputs[1], -1.0):
            return None
        chance = self._node("Sigmoid", (pair.inputs[1],), node)
        other = self._node("Sub", (self._literal(1.0), chance), node)
        return self._node("Concat", (other, chance), node, {"axis": 1})

    def _is_divided_by_one(self, node: Node) -> bool:
        total = self.nodes.get(node.inputs[1])
        if total is None or total.op != "ReduceSum" or total.inputs != node.inputs[:1]:
            return False
        return total.attributes == {"axes": (1,), "keepdims": 1} and self._sums_to_one(node.inputs[0])

    def _cut_out(self, node: Node) -> str | None:
        """A slice that is exactly one of the operands of a concatenation."""
        whole = self.nodes.get(node.inputs[0])
        wanted = (node.attributes["axes"], node.attributes["steps"])
        if whole is None or whole.op != "Concat" or wanted != ((whole.attributes["axis"],), (1,)):
            return None
        axis = whole.attributes["axis"]
        start = 0
        for part in whole.inputs:
            size = self._size(part, axis)
            if size is None:
                return None
            if node.attributes["starts"] == (start,) and node.attributes["ends"] == (start + size,):
                return part
            start += size
        return None

    def _size(self, name: str, axis: Attribute) -> int | None:
        """Size of a value along axis 1, where it is known without types of new nodes."""
        if axis != 1:
            return None
        if name in self.graph.values and len(self.graph.values[name].shape) > 1:
            return self.graph.values[name].shape[1]
        made = self.nodes.get(name)
        if made is None:
            return None
        match made.op:
            case "Sigmoid" | "Mul":
                return self._size(made.inputs[0], axis)
            case "Sub":
                return self._size(made.inputs[1], axis)
            case "Add" | "MatMul":
                return 1  # made here, by _mirrored
        return None

    def _sums_to_one(self, name: str) -> bool:
        """Whether the rows of a value are probabilities: softmax, 1 - p and p, or positive numbers over their sum."""
        made = self.nodes.get(name)
        if made is None:
            return False
        match made.op:
            case "Softmax":
                return made.attributes["axis"] == 1
            case "Concat" if len(made.inputs) == 2 and made.attributes["axis"] == 1:
                other, chance = (self.nodes.get(part) for part in made.inputs)
                for first, second, value in ((other, made.inputs[1], 0), (chance, made.inputs[0], 1)):
                    if first is not None and first.op == "Sub" and first.inputs[1] == second:
                        inner = self.nodes.get(made.inputs[1 - value])
                        if self._is_literal(first.inputs[0], 1.0) and inner is not None:
                            return inner.op == "Sigmoid"
            case "Div":
                total = self.nodes.get(made.inputs[1])
                if total is not None and total.op == "ReduceSum" and total.inputs == made.inputs[:1]:
                    sums_rows = total.attributes == {"axes": (1,), "keepdims": 1}
                    return sums_rows and self._is_positive(made.inputs[0])
        return False

    def _is_positive(self, name: str, depth: int = 6) -> bool:
        """Whether no element of a value can be negative, as far as its makers show it."""
        made = self.nodes.get(name)
        if made is None or depth == 0:
            return False
        if made.op in ("Concat", "Slice", "Reshape"):
            return all(self._is_positive(part, depth - 1) for part in made.inputs)
        if made.op == "Sub":
            chance = self.nodes.get(made.inputs[1])
            return self._is_literal(made.inputs[0], 1.0) and chance is not None and chance.op == "Sigmoid"
        return made.op in _NOT_NEGATIVE

    def _is_literal(self, name: str, value: float) -> bool:
        array = self.constants.get(name)
        return array is not None and name in self.public and array.size == 1 and bool((array == value).all())

    def _literal(self, value: float) -> str:
        name = self._constant("literal", np.array(value))
        self.public.add(name)
        return name

    def _constant(self, stem: str, array: Array) -> str:
        name = self._name(stem)
        self.constants[name] = np.ascontiguousarray(array) if array.ndim else array
        return name

    def _node(
        self,
        op: str,
        inputs: tuple[str, ...],
        source: Node,
        attributes: Mapping[str, Attribute] | None = None,
    ) -> str:
        name = self._name(source.output)
        complete = complete_attributes(OPS[op], attributes or {})
        self.nodes[name] = Node(op, inputs, name, complete, source.name)
        return name

    def _name(self, stem: str) -> str:
        while True:
            self.fresh += 1
            name = f"{stem}.s{self.fresh}"
            if name not in self.graph.values:
                return name
