"""Affine subgraphs as sparse matrices between flattened values, whatever ops they were made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.matrix import Matrix
from tacit.errors import InternalError
from tacit.ir.graph import Graph, Node, infer_values
from tacit.ir.interpret import interpret

__all__ = ["Affine", "compose"]

FloatArray = npt.NDArray[np.float64]

_CHUNK = 256
"""Basis vectors that are pushed through an affine subgraph at once."""
_DUST = 2.0**-44
"""Part of a bias below which a difference of two images is rounding and no entry."""


@dataclass(frozen=True, eq=False)
class Affine:
    """z = Σ matrices[j] · (value reads[j]) + bias, between flattened values.

    ``matrices``: (outputs, elements of the value); ``shape``: of z, unflattened.
    """

    reads: tuple[int, ...]
    matrices: tuple[Matrix, ...]
    bias: FloatArray
    name: str = ""
    shape: tuple[int, ...] = ()

    @property
    def matrix(self) -> Matrix:
        """The only matrix, of a map that reads one value."""
        if len(self.matrices) != 1:
            raise InternalError(f"a map that reads {len(self.matrices)} values has no single matrix")
        return self.matrices[0]


def compose(
    graph: Graph,
    held: Mapping[str, int],
    targets: tuple[str, ...],
    *,
    broadcast: tuple[int | None, ...] | None = None,
) -> Affine:
    """The map to ``targets`` (flattened, one after the other) from the values ``held`` (name → number) next above them.

    It is found by running the subgraph on the origin and on every unit vector of every value that it reads. Which
    entries are stored is found on a copy of the graph with random weights: an entry that only happens to be zero is
    stored, one that no weights could make other than zero is not. ``broadcast``: a shape to which the only target is
    repeated as NumPy would.
    """
    if broadcast is not None:
        graph, targets = _broadcast(graph, targets[0], broadcast)
    sources = _sources(graph, held, targets)
    part = graph.subgraph(sources, targets)
    other = _with_random_weights(part)
    widths = [graph.values[name].features for name in sources]
    bias = _image(part, targets, sources, 1, None)[0]
    reads, matrices = [], []
    for name, width in zip(sources, widths, strict=True):
        matrix = _linear(part, other, targets, sources, name, width, bias)
        if matrix.nnz or len(sources) == 1:
            reads.append(held[name])
            matrices.append(matrix)
    name = next((n.name or n.output for n in reversed(part.nodes)), sources[0])
    result = graph.values[targets[0]].shape if len(targets) == 1 else (None, bias.size)
    shape = tuple(int(size) for size in result if size is not None)
    return Affine(tuple(reads), tuple(matrices), bias, name, shape)


def _broadcast(graph: Graph, target: str, shape: tuple[int | None, ...]) -> tuple[Graph, tuple[str]]:
    """The graph with one node more: the target plus zeros of a shape."""
    zeros = np.zeros([1 if size is None else size for size in shape])
    name, made = f"{target}:zeros", f"{target}:repeated"
    constants = {**graph.constants, name: zeros}
    nodes = (*graph.nodes, Node("Add", (target, name), made))
    values = infer_values(graph.inputs, constants, nodes, public_constants=graph.public_constants)
    return replace(graph, nodes=nodes, constants=constants, values=values), (made,)


def _sources(graph: Graph, held: Mapping[str, int], targets: tuple[str, ...]) -> tuple[str, ...]:
    """The held values that the targets read, not through others, in the order of their numbers."""
    needed = set(targets)
    for node in reversed(graph.nodes):
        if node.output in needed and node.output not in held:
            needed.update(node.inputs)
    return tuple(sorted((name for name in needed if name in held), key=lambda name: held[name]))


def _linear(
    part: Graph,
    other: Graph,
    targets: tuple[str, ...],
    sources: tuple[str, ...],
    source: str,
    width: int,
    bias: FloatArray,
) -> Matrix:
    """The matrix from one source; its structure is that of the graph ``other``."""
    origin = _image(other, targets, sources, 1, None)[0]
    pieces, rows = [], []
    for start in range(0, width, _CHUNK):
        count = min(width - start, _CHUNK)
        units = np.eye(count, width, k=start)
        pattern = _difference(_image(other, targets, sources, count, (source, units)), origin)
        images = _difference(_image(part, targets, sources, count, (source, units)), bias)
        columns, outputs = np.nonzero(pattern)
        pieces.append(np.stack([outputs, columns + start]))
        rows.append(images[columns, outputs])
    places = np.concatenate(pieces, axis=1)
    order = np.lexsort((places[1], places[0]))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(places[0], minlength=bias.size))])
    return Matrix(
        (np.concatenate(rows)[order], places[1][order].astype(np.int32), indptr.astype(np.int32)),
        shape=(bias.size, width),
    )


def _difference(images: FloatArray, origin: FloatArray) -> FloatArray:
    difference: FloatArray = images - origin
    difference[np.abs(difference) <= _DUST * (np.abs(origin) + 1e-300)] = 0.0
    return difference


def _image(
    part: Graph,
    targets: tuple[str, ...],
    sources: tuple[str, ...],
    count: int,
    units: tuple[str, FloatArray] | None,
) -> FloatArray:
    """(count, outputs) images of a batch that is 0 but for the values ``units`` = (source, (count, elements))."""
    inputs = {}
    for value in part.inputs:
        shape = (count, *(int(size) for size in value.shape if size is not None))
        given = units is not None and value.name == units[0]
        inputs[value.name] = units[1].reshape(shape) if given and units is not None else np.zeros(shape)
    outputs = interpret(part, inputs)
    return np.concatenate([outputs[name].reshape(count, -1) for name in targets], axis=1)


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
