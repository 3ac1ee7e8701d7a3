"""Runs a graph in the clear, in NumPy and float64. This is the definition of the correct answer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tacit.errors import DataError, InternalError, ShapeError
from tacit.ir.graph import Graph, Value
from tacit.ir.ops import OPS
from tacit.ir.signature import Array, dtype_of

__all__ = ["bind_inputs", "interpret"]


def interpret(graph: Graph, inputs: Mapping[str, Array] | Array, *, trace: bool = False) -> dict[str, Array]:
    """Outputs by name; with ``trace`` every value by name. One array stands for the only input.

    Raises ``ShapeError`` for inputs of another shape, ``DataError`` for NaN, infinity or what is no number.
    """
    batch, values = bind_inputs(graph, inputs)
    values.update(graph.constants)
    last_reader = {name: node for node in graph.nodes for name in node.inputs}
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            result = OPS[node.op].meaning([values[name] for name in node.inputs], node.attributes)
            expected = graph.values[node.output]
            shape = tuple(batch if size is None else size for size in expected.shape)
            if result.shape != shape or dtype_of(result) != expected.dtype:
                raise InternalError(
                    f"node `{node.name or node.output}` ({node.op}) gave {result.dtype} {result.shape}"
                    f" and not {expected.dtype} {shape}"
                )
            values[node.output] = result
            if not trace:
                for name in set(node.inputs) - set(graph.outputs):
                    if last_reader[name] is node:
                        del values[name]
    return values if trace else {name: values[name] for name in graph.outputs}


def bind_inputs(graph: Graph, inputs: Mapping[str, Array] | Array) -> tuple[int | None, dict[str, Array]]:
    """The batch size (``None`` when the graph has no batch) and the inputs as checked arrays by name."""
    if not isinstance(inputs, Mapping):
        if len(graph.inputs) != 1:
            names = ", ".join(f"`{value.name}`" for value in graph.inputs)
            raise ShapeError(f"the model has {len(graph.inputs)} inputs: give a mapping with {names}")
        inputs = {graph.inputs[0].name: inputs}
    declared = {value.name for value in graph.inputs}
    if set(inputs) != declared:
        raise ShapeError(f"inputs must be {sorted(declared)}. Got {sorted(inputs)} instead.")
    batch: int | None = None
    bound: dict[str, Array] = {}
    for value in graph.inputs:
        array = _checked(value, inputs[value.name])
        if value.has_batch:
            if batch is not None and array.shape[0] != batch:
                raise ShapeError(
                    f"input `{value.name}` has {array.shape[0]} samples and another input {batch}"
                )
            batch = array.shape[0]
        bound[value.name] = array
    return batch, bound


def _checked(value: Value, given: Array) -> Array:
    try:
        array = np.asarray(given)
        if array.dtype.kind not in "biuf":
            raise DataError(f"input `{value.name}` must be numeric. Got {array.dtype} instead.")
        if value.dtype != "float64" and array.dtype.kind == "f" and (array != np.trunc(array)).any():
            raise DataError(f"input `{value.name}` must be integers")
        with np.errstate(invalid="ignore"):
            array = array.astype(value.dtype)
    except (TypeError, ValueError) as error:
        raise DataError(f"input `{value.name}` must be a numeric array") from error
    expected = ["n" if size is None else str(size) for size in value.shape]
    fits = array.ndim == len(value.shape) and all(
        size is None or size == got for size, got in zip(value.shape, array.shape, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"input `{value.name}` must have shape ({', '.join(expected)}). Got {array.shape} instead.",
            hint="give one row per sample and one column per feature: no row numbers, no target",
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(
            f"input `{value.name}` holds NaN or infinity",
            hint="fill in or drop missing values before you predict",
        )
    return array
