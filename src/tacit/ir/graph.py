"""The graph: immutable values, nodes and graphs. Everything that Tacit runs is one of these.

A graph is a list of nodes in an order in which every node comes after the nodes whose outputs it reads.
Nodes, inputs and constants are known by the name of the value that they make; each value is made once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np

from tacit.errors import ModelError, ShapeError
from tacit.ir.ops import OPS
from tacit.ir.signature import Array, Attributes, DType, Shape, TensorType, complete_attributes, dtype_of

__all__ = ["Graph", "Node", "Owner", "Value", "infer_node", "infer_values", "join_owners"]

Owner = Literal["owner", "provider", "public"]


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the graph. ``owner``: whose secret it is: the data owner's, the provider's, or nobody's."""

    name: str
    shape: Shape
    dtype: DType = "float64"
    owner: Owner = "owner"

    @property
    def type(self) -> TensorType:
        return TensorType(self.shape, self.dtype)

    @property
    def has_batch(self) -> bool:
        return bool(self.shape) and self.shape[0] is None

    @property
    def features(self) -> int:
        """Number of elements of one sample (the batch not counted)."""
        return int(np.prod([size for size in self.shape if size is not None], dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Node:
    """One application of an op. ``attributes`` has every key of the op; ``name`` is for messages only."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: Attributes = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", tuple(self.inputs))
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Graph:
    """A program on tensors. Two graphs are the same program when their ``digest`` is equal.

    ``constants``: read-only arrays; the provider's secret unless named in ``public_constants``.
    ``values``: every value, inputs and constants included. ``outputs``: names of values, in order.
    ``roles``: what outputs mean: ``label``, ``probabilities``, ``scores`` or ``output`` → value.
    ``classes``: class labels in the order of the columns of the scores, for classifiers.
    ``metadata``: where the graph came from (``source``, ``opset`` …); no part of its meaning.
    """

    name: str
    inputs: tuple[Value, ...]
    constants: Mapping[str, Array]
    nodes: tuple[Node, ...]
    values: Mapping[str, Value]
    outputs: tuple[str, ...]
    roles: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] | tuple[int, ...] | None = None
    feature_names: tuple[str, ...] | None = None
    public_constants: frozenset[str] = frozenset()
    metadata: Mapping[str, str] = field(default_factory=dict)
    _makers: Mapping[str, Node] = field(init=False, repr=False)
    _users: Mapping[str, tuple[Node, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        users: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                users.setdefault(name, []).append(node)
        set_field(self, "_makers", {node.output: node for node in self.nodes})
        set_field(self, "_users", {name: tuple(nodes) for name, nodes in users.items()})
        set_field(self, "constants", MappingProxyType({k: _frozen(a) for k, a in self.constants.items()}))
        set_field(self, "values", MappingProxyType(dict(self.values)))
        set_field(self, "roles", MappingProxyType(dict(self.roles)))
        set_field(self, "metadata", MappingProxyType(dict(self.metadata)))

    def __repr__(self) -> str:
        shape = ", ".join(f"{v.name}: {list(v.shape)}" for v in self.inputs)
        return f"<Graph {self.name!r} ({shape}), {len(self.nodes)} nodes, {len(self.constants)} constants>"

    @property
    def primary(self) -> str:
        """The output that `predict` returns: probabilities, else scores, else the first that is float."""
        for role in ("probabilities", "scores", "output"):
            if role in self.roles:
                return self.roles[role]
        for output in self.outputs:
            if self.values[output].dtype == "float64":
                return output
        return self.outputs[0]

    @property
    def label(self) -> str | None:
        """The output with the predicted class, or ``None`` when the graph is no classifier."""
        return self.roles.get("label")

    def node_of(self, value: str) -> Node | None:
        """The node that makes a value; ``None`` for inputs and constants."""
        return self._makers.get(value)

    def users(self, value: str) -> tuple[Node, ...]:
        """The nodes that read a value, in order."""
        return self._users.get(value, ())

    def with_nodes(
        self,
        nodes: Iterable[Node],
        *,
        constants: Mapping[str, Array] | None = None,
        outputs: Sequence[str] | None = None,
        roles: Mapping[str, str] | None = None,
    ) -> Graph:
        """This graph with other nodes (in order) and, where given, other constants, outputs and roles."""
        kept_nodes = tuple(nodes)
        kept_constants = dict(self.constants if constants is None else constants)
        kept_outputs = self.outputs if outputs is None else tuple(outputs)
        kept_roles = {k: v for k, v in self.roles.items() if v in kept_outputs} if roles is None else roles
        public = self.public_constants & kept_constants.keys()
        return Graph(
            name=self.name,
            inputs=self.inputs,
            constants=kept_constants,
            nodes=kept_nodes,
            values=infer_values(self.inputs, kept_constants, kept_nodes, public_constants=public),
            outputs=kept_outputs,
            roles=kept_roles,
            classes=self.classes,
            feature_names=self.feature_names,
            public_constants=public,
            metadata=self.metadata,
        )

    def subgraph(self, inputs: Sequence[str], outputs: Sequence[str]) -> Graph:
        """The part that computes ``outputs`` from the values ``inputs``; what it does not use is dropped."""
        needed = set(outputs)
        nodes: list[Node] = []
        for node in reversed(self.nodes):
            if node.output in needed and node.output not in inputs:
                nodes.append(node)
                needed.update(node.inputs)
        made = {node.output for node in nodes} | set(inputs)
        missing = sorted(needed - made - self.constants.keys())
        if missing:
            raise ModelError(f"the subgraph needs the value `{missing[0]}` that its inputs do not give")
        nodes.reverse()
        new_inputs = tuple(self.values[name] for name in inputs)
        constants = {name: a for name, a in self.constants.items() if name in needed and name not in inputs}
        public = self.public_constants & constants.keys()
        return Graph(
            name=self.name,
            inputs=new_inputs,
            constants=constants,
            nodes=tuple(nodes),
            values=infer_values(new_inputs, constants, nodes, public_constants=public),
            outputs=tuple(outputs),
            roles={role: value for role, value in self.roles.items() if value in outputs},
            classes=self.classes,
            feature_names=self.feature_names if self.inputs == new_inputs else None,
            public_constants=public,
            metadata=self.metadata,
        )

    def digest(self) -> str:
        """SHA-256 of the text form, in hexadecimal: identifies the program."""
        from tacit.ir.text import digest

        return digest(self)


def infer_values(
    inputs: Iterable[Value],
    constants: Mapping[str, Array],
    nodes: Iterable[Node],
    *,
    public_constants: frozenset[str] = frozenset(),
) -> dict[str, Value]:
    """Types and owners of all values. Raises ``ModelError`` or ``ShapeError`` that names the node."""
    values = {value.name: value for value in inputs}
    for name, array in constants.items():
        owner: Owner = "public" if name in public_constants else "provider"
        values[name] = Value(name, array.shape, dtype_of(array), owner)
    for node in nodes:
        values[node.output] = infer_node(node, values)
    return values


def infer_node(node: Node, values: Mapping[str, Value]) -> Value:
    """The value that a node makes. Raises ``ModelError`` or ``ShapeError`` that names the node."""
    where = f"node `{node.name or node.output}` ({node.op})"
    op = OPS.get(node.op)
    if op is None:
        raise ModelError(f"{where}: no such op in the table")
    low, high = op.arity
    if len(node.inputs) < low or (high is not None and len(node.inputs) > high):
        raise ModelError(f"{where}: takes {low} to {high} inputs. Got {len(node.inputs)} instead.")
    for name in node.inputs:
        if name not in values:
            raise ModelError(f"{where}: reads `{name}`, which nothing before it makes")
    operands = [values[name] for name in node.inputs]
    try:
        attributes = complete_attributes(op, node.attributes)
        result = op.infer([value.type for value in operands], attributes)
    except (ModelError, ShapeError) as error:
        raise type(error)(f"{where}: {error}", hint=error.hint) from error
    return Value(node.output, result.shape, result.dtype, join_owners([v.owner for v in operands]))


def join_owners(owners: Iterable[Owner]) -> Owner:
    """Whose secret a result is: the data owner's if any operand is, else the provider's, else nobody's."""
    found = set(owners)
    return "owner" if "owner" in found else "provider" if "provider" in found else "public"


def _frozen(array: Array) -> Array:
    """The array itself when nobody can write to it, else a read-only copy."""
    if not array.flags.writeable and array.flags.c_contiguous:
        return array
    copy = np.array(array, order="C", copy=True)
    copy.setflags(write=False)
    return copy
