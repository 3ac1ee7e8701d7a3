"""Max-pools of a graph: rewritten so that each takes few comparisons, and read as windows."""

from __future__ import annotations

from dataclasses import replace

from tacit.backends.ckks.maximum import Windows
from tacit.errors import UnsupportedOpError
from tacit.ir.graph import Graph, Node, infer_values

__all__ = ["pools_first", "windows_of"]


def pools_first(graph: Graph) -> Graph:
    """The graph with max(relu(x)) as relu(max(x)) in every pool: one ReLU on fewer elements. Padding becomes zeros."""
    nodes = list(graph.nodes)
    for pool in graph.nodes:
        relu = graph.node_of(pool.inputs[0]) if pool.op == "MaxPool" else None
        if relu is None or relu.op != "Relu":
            continue
        if len(graph.users(relu.output)) != 1 or relu.output in graph.outputs:
            continue
        first = [replace(pool, inputs=relu.inputs, output=relu.output)]
        pads = _sizes(pool, "pads")
        if any(pads):
            # A zero that wins over the elements of a window makes no difference after ReLU.
            half, padded = len(pads) // 2, f"{relu.output}.padded"
            around = (0, 0, *pads[:half], 0, 0, *pads[half:])
            first.insert(0, Node("Pad", relu.inputs, padded, {"pads": around, "value": 0.0}, pool.name))
            inside = {**pool.attributes, "pads": (0,) * len(pads)}
            first[1] = replace(first[1], inputs=(padded,), attributes=inside)
        nodes[nodes.index(pool)] = replace(relu, inputs=(relu.output,), output=pool.output)
        position = nodes.index(relu)
        nodes[position : position + 1] = first
    if all(a is b for a, b in zip(nodes, graph.nodes, strict=False)):
        return graph
    values = infer_values(graph.inputs, graph.constants, nodes, public_constants=graph.public_constants)
    return replace(graph, nodes=tuple(nodes), values=values)


def windows_of(graph: Graph, node: Node) -> Windows:
    """The windows of a max-pool. Raises ``UnsupportedOpError`` for padded ones, and other than one or two axes."""
    shape = tuple(int(size) for size in graph.values[node.inputs[0]].shape[1:] if size is not None)
    if any(_sizes(node, "pads")) or len(shape) not in (2, 3):
        raise UnsupportedOpError(
            f"node `{node.name or node.output}` (MaxPool) cannot run encrypted: its windows are padded or have "
            "more than two axes",
            node=node.name or node.output,
            op=node.op,
            hint="padded windows run right after a ReLU; else leave out the padding",
        )
    channels, height, width = shape if len(shape) == 3 else (shape[0], 1, shape[1])
    kernel, strides, dilations = (_pair(_sizes(node, key)) for key in ("kernel", "strides", "dilations"))
    return Windows((channels, height, width), kernel, strides, dilations)


def _pair(sizes: tuple[int, ...]) -> tuple[int, int]:
    return (1, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


def _sizes(node: Node, key: str) -> tuple[int, ...]:
    sizes = node.attributes[key]
    return sizes if isinstance(sizes, tuple) else ()
