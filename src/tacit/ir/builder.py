"""Builds a graph node by node, with types checked at each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tacit.errors import ModelError
from tacit.ir.graph import Graph, Node, Owner, Value, infer_node
from tacit.ir.ops import OPS
from tacit.ir.signature import Array, Attribute, DType, Shape, TensorType, complete_attributes, dtype_of
from tacit.ir.verify import verify

__all__ = ["GraphBuilder"]


class GraphBuilder:
    """Collects inputs, constants and nodes; ``finish`` gives the verified graph.

    >>> builder = GraphBuilder("line")
    >>> x = builder.input("x", (None, 2))
    >>> y = builder.node("MatMul", x, builder.constant([[1.0], [2.0]]))
    >>> graph = builder.finish([y])
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.values: dict[str, Value] = {}
        self.constants: dict[str, Array] = {}
        self.nodes: list[Node] = []
        self._inputs: list[Value] = []
        self._public: set[str] = set()
        self._fresh = 0

    def fresh(self, stem: str = "v") -> str:
        """A name that no value has yet."""
        while True:
            self._fresh += 1
            name = f"{stem}.{self._fresh}"
            if name not in self.values:
                return name

    def input(self, name: str, shape: Shape, *, dtype: DType = "float64", owner: Owner = "owner") -> str:
        """Declares an input and returns its name."""
        TensorType(shape, dtype)
        value = Value(self._unused(name), shape, dtype, owner)
        self._inputs.append(value)
        self.values[name] = value
        return name

    def constant(self, array: npt.ArrayLike, *, name: str = "", public: bool = False) -> str:
        """Adds an array (float64, int64, bool or str after NumPy's rules) and returns its name."""
        held = np.asarray(array)
        if held.dtype.kind in "fiu":
            held = held.astype(np.float64 if held.dtype.kind == "f" else np.int64)
        name = self._unused(name or self.fresh("c"))
        self.values[name] = Value(name, held.shape, dtype_of(held), "public" if public else "provider")
        self.constants[name] = held
        if public:
            self._public.add(name)
        return name

    def node(self, op: str, *inputs: str, output: str = "", name: str = "", **attributes: Attribute) -> str:
        """Applies an op and returns the name of its output. Lists of integers are given as tuples."""
        return self.add(op, inputs, attributes, output=output, name=name)

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        attributes: Mapping[str, Attribute],
        *,
        output: str = "",
        name: str = "",
    ) -> str:
        """As ``node``, with inputs and attributes as collections."""
        if op not in OPS:
            raise ModelError(f"no such op in the table: `{op}`")
        complete = complete_attributes(OPS[op], attributes)
        node = Node(op, tuple(inputs), self._unused(output or self.fresh()), complete, name)
        self.values[node.output] = infer_node(node, self.values)
        self.nodes.append(node)
        return node.output

    def rename(self, names: Mapping[str, str]) -> None:
        """Gives values that nodes make other names; names that are taken are refused."""
        for old, new in names.items():
            if new in self.values and new not in names:
                raise ModelError(f"the value `{new}` is made twice")
            if old in self.constants or old not in self.values:
                raise ModelError(f"`{old}` is no value that a node makes")
        self.nodes = [
            Node(
                node.op,
                tuple(names.get(name, name) for name in node.inputs),
                names.get(node.output, node.output),
                node.attributes,
                node.name,
            )
            for node in self.nodes
        ]
        self.values = {
            names.get(name, name): Value(names.get(name, name), value.shape, value.dtype, value.owner)
            for name, value in self.values.items()
        }

    def finish(
        self,
        outputs: Sequence[str],
        *,
        roles: Mapping[str, str] | None = None,
        classes: tuple[str, ...] | tuple[int, ...] | None = None,
        feature_names: tuple[str, ...] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Graph:
        """The verified graph of what the outputs need; other nodes and constants are left out."""
        needed = set(outputs)
        for node in reversed(self.nodes):
            if node.output in needed:
                needed.update(node.inputs)
        kept = {value.name for value in self._inputs} | needed
        graph = Graph(
            name=self.name,
            inputs=tuple(self._inputs),
            constants={name: array for name, array in self.constants.items() if name in needed},
            nodes=tuple(node for node in self.nodes if node.output in needed),
            values={name: value for name, value in self.values.items() if name in kept},
            outputs=tuple(outputs),
            roles=roles or {},
            classes=classes,
            feature_names=feature_names,
            public_constants=frozenset(self._public & needed),
            metadata=metadata or {},
        )
        verify(graph)
        return graph

    def _unused(self, name: str) -> str:
        if name in self.values:
            raise ModelError(f"the value `{name}` is made twice")
        return name
