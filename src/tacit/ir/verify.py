"""Checks that a graph is what the rest of Tacit takes it for. Run after each pass and on what is parsed."""

from __future__ import annotations

import numpy as np

from tacit.errors import ModelError
from tacit.ir.graph import Graph, infer_node
from tacit.ir.ops import OPS
from tacit.ir.signature import complete_attributes, dtype_of

__all__ = ["ROLES", "verify"]

ROLES = frozenset({"label", "probabilities", "scores", "output"})


def verify(graph: Graph) -> None:
    """Raises ``ModelError`` or ``ShapeError`` for the first rule that the graph breaks."""
    _verify_inputs(graph)
    _verify_constants(graph)
    _verify_nodes(graph)
    _verify_outputs(graph)


def _verify_inputs(graph: Graph) -> None:
    if not graph.inputs:
        raise ModelError("a graph needs an input")
    names = [value.name for value in graph.inputs]
    if len(set(names)) != len(names):
        raise ModelError("two inputs have one name")
    for value in graph.inputs:
        value.type  # noqa: B018 (checks the shape)
        if graph.values.get(value.name) != value:
            raise ModelError(f"input `{value.name}` is not recorded among the values as declared")
        if value.dtype == "str":
            raise ModelError(f"input `{value.name}` is a string; a graph computes on numbers")
    if graph.feature_names is not None and len(graph.feature_names) != graph.inputs[0].features:
        raise ModelError(
            f"{len(graph.feature_names)} feature names for an input of {graph.inputs[0].features} features"
        )


def _verify_constants(graph: Graph) -> None:
    names = {value.name for value in graph.inputs}
    for name, array in graph.constants.items():
        if name in names:
            raise ModelError(f"the value `{name}` is made twice")
        if array.flags.writeable:
            raise ModelError(f"constant `{name}` must be read-only")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ModelError(
                f"constant `{name}` holds NaN or infinity",
                hint="the model is damaged or its training diverged: fit or export it again",
            )
        value = graph.values.get(name)
        owner = "public" if name in graph.public_constants else "provider"
        if value is None or (value.shape, value.dtype, value.owner) != (array.shape, dtype_of(array), owner):
            raise ModelError(f"constant `{name}` is not recorded among the values as it is")
    unknown = sorted(graph.public_constants - graph.constants.keys())
    if unknown:
        raise ModelError(f"`{unknown[0]}` is declared a public constant and is no constant")


def _verify_nodes(graph: Graph) -> None:
    made = {value.name for value in graph.inputs} | graph.constants.keys()
    for node in graph.nodes:
        where = f"node `{node.name or node.output}` ({node.op})"
        if node.output in made:
            raise ModelError(f"{where}: the value `{node.output}` is made twice")
        for name in node.inputs:
            if name not in made:
                raise ModelError(f"{where}: reads `{name}`, which nothing before it makes")
        result = infer_node(node, graph.values)
        if complete_attributes(OPS[node.op], node.attributes) != dict(node.attributes):
            raise ModelError(f"{where}: attributes must be complete")
        if graph.values.get(node.output) != result:
            raise ModelError(f"{where}: the type or owner on record is not the one that the op gives")
        made.add(node.output)
    stray = sorted(graph.values.keys() - made)
    if stray:
        raise ModelError(f"the value `{stray[0]}` is on record and nothing makes it")


def _verify_outputs(graph: Graph) -> None:
    if not graph.outputs:
        raise ModelError("a graph needs an output")
    if len(set(graph.outputs)) != len(graph.outputs):
        raise ModelError("an output is named twice")
    for name in graph.outputs:
        if name not in graph.values:
            raise ModelError(f"the output `{name}` is made by nothing")
    for role, name in graph.roles.items():
        if role not in ROLES:
            raise ModelError(f"a role is one of {', '.join(sorted(ROLES))}. Got `{role}` instead.")
        if name not in graph.outputs:
            raise ModelError(f"the role `{role}` names `{name}`, which is no output")
    if graph.classes is not None:
        kinds = {type(item) for item in graph.classes}
        if not kinds <= {int} and not kinds <= {str}:
            raise ModelError("class labels are all integers or all strings")
        if len(set(graph.classes)) != len(graph.classes):
            raise ModelError("a class label is named twice")
