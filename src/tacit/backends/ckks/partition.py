"""A graph cut into what runs encrypted and what the owner runs after decryption.

The encrypted part alternates affine maps and element-wise functions of one variable. The *tail* is the maximal suffix
of nodes that hold no secret of the provider (sigmoid, softmax, argmax, lookup of public class names).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.matrix import Matrix
from tacit.errors import NoAdmissiblePlanError, ShapeError, UnsupportedOpError
from tacit.ir.graph import Graph, Node, infer_values
from tacit.ir.interpret import interpret

__all__ = ["Activation", "Affine", "Partition", "affine_between", "cut_and_tail", "partition"]

FloatArray = npt.NDArray[np.float64]

_CHUNK = 256
"""Basis vectors that are pushed through an affine subgraph at once."""
_DUST = 2.0**-44
"""Part of a bias below which a difference of two images is rounding and no entry."""


@dataclass(frozen=True, eq=False)
class Affine:
    """z = matrix · h + bias, between flattened values. ``matrix``: (outputs, inputs); ``shape``: of z, unflattened."""

    matrix: Matrix
    bias: FloatArray
    name: str = ""
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Activation:
    """A function of one variable for every element. ``kind``: ``square``, ``relu`` (homogeneous) or ``smooth``."""

    kind: str
    function: Callable[[FloatArray], FloatArray]
    name: str
    op: str


@dataclass(frozen=True, eq=False)
class Partition:
    """``affines[0]``, ``activations[0]``, ``affines[1]`` … ``affines[-1]``: one more affine map than activations.

    The last affine map makes the values named ``cut`` (flattened, one after the other), which the owner decrypts and
    feeds to ``tail``. ``tail`` has no constant that is the provider's secret.
    """

    affines: tuple[Affine, ...]
    activations: tuple[Activation, ...]
    cut: tuple[str, ...]
    tail: Graph
    input_shape: tuple[int, ...]

    @property
    def is_exact(self) -> bool:
        """Whether no function has to be approximated."""
        return all(activation.kind == "square" for activation in self.activations)


def partition(graph: Graph) -> Partition:
    """Cuts the graph. Raises ``UnsupportedOpError`` naming the node that cannot run encrypted."""
    if len(graph.inputs) != 1 or not graph.inputs[0].has_batch or graph.inputs[0].dtype != "float64":
        raise ShapeError(
            "encrypted prediction takes a model with one float input whose first dimension is the batch",
            hint="export the model with a single (batch, features) input",
        )
    cut, tail = cut_and_tail(graph)
    source = graph.inputs[0].name
    produced = {node.output for node in graph.nodes}
    encrypted = _ancestors(graph, cut, produced)
    affines: list[Affine] = []
    activations: list[Activation] = []
    while True:
        affine = _affine_closure(graph, source, encrypted)
        if all(name in affine for name in cut):
            affines.append(_lower(graph, source, cut))
            break
        entry, exit_value = _next_activation(graph, affine, encrypted, cut)
        affines.append(_lower(graph, source, (entry,)))
        activations.append(_activation(graph, entry, exit_value))
        source = exit_value
    if not all(affine.matrix.data.any() for affine in affines):
        raise NoAdmissiblePlanError(
            "the model gives the same answer for every input: there is nothing to protect",
            hint="check that the model was fitted",
        )
    return Partition(
        affines=tuple(affines),
        activations=tuple(activations),
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
    closure = _affine_closure(graph, source, nodes)
    return _lower(graph, source, targets) if all(name in closure for name in targets) else None


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


def _affine_closure(graph: Graph, source: str, encrypted: tuple[Node, ...]) -> set[str]:
    """Values that are affine in ``source`` and depend on nothing else that is secret."""
    closure = {source}
    for node in encrypted:
        operands = [name for name in node.inputs if _is_secret(graph, name)]
        if _is_affine(graph, node) and all(name in closure for name in operands):
            closure.add(node.output)
    return closure


def _scalar_elementwise(graph: Graph, node: Node, inside: set[str]) -> bool:
    """Whether the node applies one function of one variable to each element of the values ``inside``."""
    from tacit.ir.ops import OPS

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


def _next_activation(
    graph: Graph, affine: set[str], encrypted: tuple[Node, ...], cut: tuple[str, ...]
) -> tuple[str, str]:
    """The value that the next element-wise function reads and the one that it makes.

    Several nodes may make up one function (x · erf(x) …): all element-wise nodes between one value and another.
    """
    frontier = [
        node
        for node in encrypted
        if node.output not in affine
        and all(name in affine for name in node.inputs if _is_secret(graph, name))
    ]
    if not frontier:
        raise _refusal(next(node for node in encrypted if _mixes(graph, node, affine)))
    first = frontier[0]
    entries = [name for name in first.inputs if _is_secret(graph, name)]
    if len(set(entries)) == 1:
        entry: str | None = entries[0]
        chain = []
        while entry is not None:
            chain.append(entry)
            maker = graph.node_of(entry)
            before = [] if maker is None else [name for name in maker.inputs if name in affine]
            simple = maker is not None and len(before) == 1 and _scalar_elementwise(graph, maker, {before[0]})
            entry = before[0] if simple else None
        for candidate in reversed(chain):
            exit_value = _exit_of(graph, candidate, encrypted, cut)
            if exit_value is not None and exit_value not in affine:
                return candidate, exit_value
    raise _refusal(first)


def _mixes(graph: Graph, node: Node, affine: set[str]) -> bool:
    """Whether a node reads a value of this layer and one of an earlier layer: a branch that skips an activation."""
    inside = [name in affine for name in node.inputs if _is_secret(graph, name)]
    return any(inside) and not all(inside)


def _refusal(node: Node) -> UnsupportedOpError:
    return UnsupportedOpError(
        f"node `{node.name or node.output}` ({node.op}) cannot run encrypted in this version",
        node=node.name or node.output,
        op=node.op,
        hint="models that alternate linear layers and element-wise functions of one variable run; "
        "products of different values, comparisons and branches that skip an activation do not yet",
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
            for name in inside
            if name in cut
            or any(user in encrypted and user.output not in inside for user in graph.users(name))
        ]
        if entry not in exits and len(exits) == 1:
            return exits[0]
        last = [node.output for node in encrypted if node.output in inside][-1]
        inside.discard(last)
    return None


def _activation(graph: Graph, entry: str, exit_value: str) -> Activation:
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
    return Activation(_kind(inner, entry), function, node.name or node.output, node.op)


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


def _lower(graph: Graph, source: str, targets: tuple[str, ...]) -> Affine:
    """Composes an affine subgraph into one sparse matrix, by running it on the origin and on every unit vector.

    Which entries are stored is found on a copy of the graph with random weights: an entry that only happens to be zero
    is stored, one that no weights could make other than zero is not.
    """
    part = graph.subgraph([source], targets)
    shape = tuple(int(size) for size in graph.values[source].shape if size is not None)
    width = int(np.prod(shape, dtype=np.int64))
    bias, linear = _images(part, targets, shape, width)
    _, pattern = _images(_with_random_weights(part), targets, shape, width)
    pieces, rows = [], []
    for start in range(0, width, _CHUNK):
        stop = min(width, start + _CHUNK)
        columns, outputs = np.nonzero(pattern(start, stop))
        pieces.append(np.stack([outputs, columns + start]))
        rows.append(linear(start, stop)[columns, outputs])
    places = np.concatenate(pieces, axis=1)
    order = np.lexsort((places[1], places[0]))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(places[0], minlength=bias.size))])
    matrix = Matrix(
        (np.concatenate(rows)[order], places[1][order].astype(np.int32), indptr.astype(np.int32)),
        shape=(bias.size, width),
    )
    name = next((n.name or n.output for n in reversed(part.nodes)), source)
    result = graph.values[targets[0]].shape if len(targets) == 1 else (None, bias.size)
    return Affine(matrix, bias, name, tuple(int(size) for size in result if size is not None))


def _images(
    part: Graph, targets: tuple[str, ...], shape: tuple[int, ...], width: int
) -> tuple[FloatArray, Callable[[int, int], FloatArray]]:
    """The image of the origin, and those of unit vectors start … stop less that: (stop - start, outputs)."""

    def run(batch: FloatArray) -> FloatArray:
        outputs = interpret(part, batch.reshape(len(batch), *shape))
        return np.concatenate([outputs[name].reshape(len(batch), -1) for name in targets], axis=1)

    bias = run(np.zeros((1, width)))[0]

    def linear(start: int, stop: int) -> FloatArray:
        images: FloatArray = run(np.eye(stop - start, width, k=start)) - bias
        images[np.abs(images) <= _DUST * (np.abs(bias) + 1e-300)] = 0.0
        return images

    return bias, linear


def _with_random_weights(part: Graph) -> Graph:
    """The graph with every number that may be secret replaced by another one, none near zero."""
    rng = np.random.default_rng(0)
    constants = {
        name: rng.uniform(0.5, 1.5, array.shape)
        if graph_value.owner == "provider" and array.dtype == np.float64
        else array
        for name, array in part.constants.items()
        for graph_value in (part.values[name],)
    }
    return replace(part, constants=constants)
