"""A graph cut into what runs encrypted and what the owner runs after decryption.

The encrypted part is a list of affine maps and element-wise functions, each of which reads values made before and makes
one. A value may be read several times: branches, and skips over functions. The *tail* is the maximal suffix of nodes
that hold no secret of the provider (sigmoid, softmax, argmax, lookup of public class names).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.affine import Affine, compose
from tacit.backends.ckks.maximum import Windows
from tacit.backends.ckks.pools import pools_first, windows_of
from tacit.errors import NoAdmissiblePlanError, ShapeError, UnsupportedOpError
from tacit.ir.graph import Graph, Node, infer_values
from tacit.ir.interpret import interpret
from tacit.ir.ops import OPS

__all__ = ["EXACT", "Activation", "Affine", "Partition", "affine_between", "cut_and_tail", "partition"]

FloatArray = npt.NDArray[np.float64]

EXACT = frozenset({"square", "product"})
"""Kinds of functions that ciphertexts compute without approximation."""
_PAIRWISE = {"Mul": "product"}
"""Functions of two values, element by element: op → kind."""


@dataclass(frozen=True, eq=False)
class Activation:
    """An element-wise function of the values ``reads``.

    ``kind``: ``square``, ``relu`` (homogeneous) or ``smooth`` for functions of one value, ``product`` of two;
    ``pool`` for the largest elements of ``windows``: (elements, …) → (results, …).
    """

    reads: tuple[int, ...]
    kind: str
    function: Callable[..., FloatArray]
    name: str
    op: str
    windows: Windows | None = None


@dataclass(frozen=True, eq=False)
class Partition:
    """Value 0 is the input; ``nodes[i]`` makes value i + 1 from values before it, flattened.

    The last node is affine and makes the values named ``cut`` (flattened, one after the other), which the owner
    decrypts and feeds to ``tail``. ``tail`` has no constant that is the provider's secret.
    """

    nodes: tuple[Affine | Activation, ...]
    cut: tuple[str, ...]
    tail: Graph
    input_shape: tuple[int, ...]

    @property
    def affines(self) -> tuple[Affine, ...]:
        return tuple(node for node in self.nodes if isinstance(node, Affine))

    @property
    def activations(self) -> tuple[Activation, ...]:
        return tuple(node for node in self.nodes if isinstance(node, Activation))

    @property
    def is_exact(self) -> bool:
        """Whether no function has to be approximated."""
        return all(activation.kind in EXACT for activation in self.activations)


def partition(graph: Graph) -> Partition:
    """Cuts the graph. Raises ``UnsupportedOpError`` naming the node that cannot run encrypted."""
    if len(graph.inputs) != 1 or not graph.inputs[0].has_batch or graph.inputs[0].dtype != "float64":
        raise ShapeError(
            "encrypted prediction takes a model with one float input whose first dimension is the batch",
            hint="export the model with a single (batch, features) input",
        )
    graph = pools_first(graph)
    cut, tail = cut_and_tail(graph)
    produced = {node.output for node in graph.nodes}
    encrypted = _ancestors(graph, cut, produced)
    found = _Found(graph, encrypted, cut)
    while True:
        closure = _affine_closure(graph, set(found.held), encrypted)
        if all(name in closure for name in cut):
            found.nodes.append(compose(graph, found.held, cut))
            break
        found.add(found.first_open(closure), closure)
    if not all(any(m.data.any() for m in node.matrices) for node in found.nodes if isinstance(node, Affine)):
        raise NoAdmissiblePlanError(
            "the model gives the same answer for every input: there is nothing to protect",
            hint="check that the model was fitted",
        )
    return Partition(
        nodes=tuple(found.nodes),
        cut=cut,
        tail=tail,
        input_shape=tuple(int(size) for size in graph.inputs[0].shape[1:] if size is not None),
    )


def cut_and_tail(graph: Graph, *, inner: frozenset[str] = frozenset()) -> tuple[tuple[str, ...], Graph]:
    """The values that the owner decrypts, and the tail that it runs on them; no value of ``inner`` is made by the tail.

    Raises ``NoAdmissiblePlanError`` where nothing would run encrypted.
    """
    tail_nodes = _tail(graph, inner)
    read = {name for node in graph.nodes if node.output in tail_nodes for name in node.inputs}
    wanted = read | set(graph.outputs)
    source = graph.inputs[0].name
    cut = tuple(
        name
        for name in (source, *(node.output for node in graph.nodes))
        if name in wanted and name not in tail_nodes and _is_secret(graph, name)
    )
    if not cut or cut == (source,):
        raise NoAdmissiblePlanError(
            "the model holds no secret of the provider: nothing would run encrypted",
            hint="run this model in the clear, where its data are",
        )
    return cut, _published(graph.subgraph(cut, graph.outputs))


def affine_between(graph: Graph, source: str, targets: tuple[str, ...]) -> Affine | None:
    """The affine map from one value to others (flattened, one after the other); ``None`` where they are not affine."""
    nodes = _ancestors(graph, targets, {node.output for node in graph.nodes}, above=source)
    closure = _affine_closure(graph, {source}, nodes)
    return compose(graph, {source: 0}, targets) if all(name in closure for name in targets) else None


def _is_secret(graph: Graph, name: str) -> bool:
    return graph.values[name].owner == "owner"


def _is_public(graph: Graph, name: str) -> bool:
    """Public constants, and the numbers 0 and 1, which tell nothing of any model."""
    constant = graph.constants.get(name)
    structural = constant is not None and constant.size == 1 and constant.reshape(-1)[0] in (0, 1)
    return structural or graph.values[name].owner == "public"


def _tail(graph: Graph, inner: frozenset[str]) -> set[str]:
    """Outputs of the nodes of the tail."""
    tail: set[str] = set()
    for node in reversed(graph.nodes):
        if node.output in inner or not _is_secret(graph, node.output):
            continue
        public = all(_is_secret(graph, name) or _is_public(graph, name) for name in node.inputs)
        if public and all(user.output in tail for user in graph.users(node.output)):
            tail.add(node.output)
    return tail


def _published(tail: Graph) -> Graph:
    """The tail with its constants declared public, which `_tail` made sure of, and without notes on its origin."""
    public = frozenset(tail.constants)
    values = infer_values(tail.inputs, tail.constants, tail.nodes, public_constants=public)
    return replace(tail, values=values, public_constants=public, metadata={})


def _ancestors(
    graph: Graph, targets: tuple[str, ...], produced: set[str], *, above: str = ""
) -> tuple[Node, ...]:
    """The secret nodes that the targets need, in order; the value ``above`` is taken as given."""
    needed = set(targets)
    nodes: list[Node] = []
    for node in reversed(graph.nodes):
        if node.output == above:
            continue
        if node.output in needed and node.output in produced and _is_secret(graph, node.output):
            nodes.append(node)
            needed.update(node.inputs)
    return tuple(reversed(nodes))


def _is_affine(graph: Graph, node: Node) -> bool:
    """Whether the node is affine in its secret operands, by its op and by which operands are secret."""
    secret = [_is_secret(graph, name) for name in node.inputs]
    match node.op:
        case "Add" | "Sub" | "Concat" | "Reshape" | "Transpose" | "Slice" | "Pad" | "ReduceSum":
            return True
        case "AveragePool":
            return True
        case "Mul" | "MatMul":
            return sum(secret) == 1
        case "Div" | "Conv" | "Gather":
            return secret[0] and not any(secret[1:])
        case "Where":
            return not secret[0]
        case "Cast":
            return node.attributes["to"] == "float64" and graph.values[node.inputs[0]].dtype == "float64"
    return False


def _affine_closure(graph: Graph, held: set[str], encrypted: tuple[Node, ...]) -> set[str]:
    """Values that are affine in the values ``held`` and depend on nothing else that is secret."""
    closure = set(held)
    for node in encrypted:
        operands = [name for name in node.inputs if _is_secret(graph, name)]
        if _is_affine(graph, node) and all(name in closure for name in operands):
            closure.add(node.output)
    return closure


def _scalar_elementwise(graph: Graph, node: Node, inside: set[str]) -> bool:
    """Whether the node applies one function of one variable to each element of the values ``inside``."""
    shapes = {graph.values[name].shape for name in node.inputs if name in inside}
    return (
        OPS[node.op].elementwise
        and graph.values[node.output].dtype == "float64"
        and shapes == {graph.values[node.output].shape}
        and all(
            name in inside or (not _is_secret(graph, name) and graph.values[name].features == 1)
            for name in node.inputs
        )
    )


class _Found:
    """The nodes found so far, and where the values of the graph that they make are: name → number."""

    def __init__(self, graph: Graph, encrypted: tuple[Node, ...], cut: tuple[str, ...]) -> None:
        self.graph, self.encrypted, self.cut = graph, encrypted, cut
        self.nodes: list[Affine | Activation] = []
        self.held = {graph.inputs[0].name: 0}

    def first_open(self, affine: set[str]) -> Node:
        """The first node that is not affine in what is held, of those that the results still need."""
        needed = set(self.cut)
        for node in reversed(self.encrypted):
            if node.output in needed and node.output not in self.held:
                needed.update(node.inputs)
        return next(
            node
            for node in self.encrypted
            if node.output in needed
            and node.output not in affine
            and all(name in affine for name in node.inputs if _is_secret(self.graph, name))
        )

    def add(self, first: Node, affine: set[str]) -> None:
        """The function that begins with a node whose operands are affine in what is held, and what it reads."""
        graph = self.graph
        secret = [name for name in first.inputs if _is_secret(graph, name)]
        if first.op == "MaxPool":
            windows = windows_of(graph, first)
            number = self._affine(secret[0])
            self.nodes.append(
                Activation((number,), "pool", windows.apply, first.name or first.output, first.op, windows)
            )
            self.held[first.output] = len(self.nodes)
            return
        if len(set(secret)) == 1:
            entry, exit_value = self._one_variable(first, secret[0], affine)
            z = self._affine(entry)
            self.nodes.append(_activation(graph, entry, exit_value, z))
            self.held[exit_value] = len(self.nodes)
            return
        kind = _PAIRWISE.get(first.op)
        if kind is None or len(secret) != len(first.inputs):
            raise _refusal(first)
        reads = tuple(self._operand(name, first.output) for name in first.inputs)
        meaning, attributes = OPS[first.op].meaning, first.attributes

        def function(a: FloatArray, b: FloatArray) -> FloatArray:
            return np.asarray(meaning([a, b], attributes), dtype=np.float64)

        self.nodes.append(Activation(reads, kind, function, first.name or first.output, first.op))
        self.held[first.output] = len(self.nodes)

    def _one_variable(self, first: Node, entry: str, affine: set[str]) -> tuple[str, str]:
        """The value that a function of one variable reads, and the one that it makes.

        Several nodes may make up one function (x · erf(x) …): all element-wise nodes between one value and another.
        """
        graph, chain, name = self.graph, [], entry
        while True:
            chain.append(name)
            maker = graph.node_of(name)
            before = [] if maker is None else [operand for operand in maker.inputs if operand in affine]
            if maker is None or len(before) != 1 or not _scalar_elementwise(graph, maker, {before[0]}):
                break
            name = before[0]
        for candidate in reversed(chain):
            exit_value = _exit_of(graph, candidate, self.encrypted, self.cut)
            if exit_value is not None and exit_value not in affine:
                return candidate, exit_value
        raise _refusal(first)

    def _affine(self, name: str, broadcast: tuple[int | None, ...] | None = None) -> int:
        """The number of the affine value ``name``, made if it is not there."""
        number = self.held.get(name, 0)
        if broadcast is None and number:
            maker = self.nodes[number - 1]
            if isinstance(maker, Affine) or maker.kind == "pool":
                return number
        self.nodes.append(compose(self.graph, self.held, (name,), broadcast=broadcast))
        if broadcast is None and name not in self.held:
            self.held[name] = len(self.nodes)
        return len(self.nodes)

    def _operand(self, name: str, result: str) -> int:
        """The number of an operand of a function of two values, in the shape of the result."""
        shape = self.graph.values[result].shape
        if self.graph.values[name].shape != shape:
            return self._affine(name, shape)
        return self.held.get(name) or self._affine(name)


def _refusal(node: Node) -> UnsupportedOpError:
    return UnsupportedOpError(
        f"node `{node.name or node.output}` ({node.op}) cannot run encrypted in this version",
        node=node.name or node.output,
        op=node.op,
        hint="linear layers, element-wise functions of one variable, products of two values and sums of branches run; "
        "quotients and maxima of two values, comparisons and sorting do not yet",
    )


def _exit_of(graph: Graph, entry: str, encrypted: tuple[Node, ...], cut: tuple[str, ...]) -> str | None:
    """The only value through which the element-wise nodes after ``entry`` are read by other nodes, or ``None``."""
    inside = {entry}
    for node in encrypted:
        if any(name in inside for name in node.inputs) and _scalar_elementwise(graph, node, inside):
            inside.add(node.output)
    while len(inside) > 1:
        exits = [
            name
            for name in inside - {entry}
            if name in cut
            or any(user in encrypted and user.output not in inside for user in graph.users(name))
        ]
        if len(exits) == 1:
            return exits[0]
        last = [node.output for node in encrypted if node.output in inside][-1]
        inside.discard(last)
    return None


def _activation(graph: Graph, entry: str, exit_value: str, number: int) -> Activation:
    inner = graph.subgraph([entry], [exit_value])
    shape = tuple(size for size in inner.inputs[0].shape if size is not None)

    def function(t: FloatArray) -> FloatArray:
        """Element by element; any shape."""
        flat = np.asarray(t, dtype=np.float64).reshape(-1)
        width = int(np.prod(shape, dtype=np.int64))
        rows = -(-flat.size // width)
        padded = np.zeros(rows * width)
        padded[: flat.size] = flat
        result = interpret(inner, padded.reshape(rows, *shape))[exit_value]
        values: FloatArray = result.reshape(-1)[: flat.size].reshape(np.shape(t))
        return values

    node = inner.nodes[-1]
    return Activation((number,), _kind(inner, entry), function, node.name or node.output, node.op)


def _kind(inner: Graph, entry: str) -> str:
    """Whether a function of one node is one of those that scale: f(c·t) = g(c)·f(t) for c > 0."""
    node = inner.nodes[-1]
    if len(inner.nodes) > 1:
        return "smooth"
    other = next((inner.constants[name] for name in node.inputs if name in inner.constants), None)
    constant = None if other is None else float(other.reshape(-1)[0])
    match node.op:
        case "Relu":
            return "relu"
        case "Max" if constant == 0:
            return "relu"
        case "Mul" if node.inputs[0] == node.inputs[1]:
            return "square"
        case "Pow" if constant == 2 and node.inputs[0] == entry:
            return "square"
    return "smooth"
