"""The arguments of the public calls, checked: each function returns what it was given or names the parameter."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.errors import InvalidParameterError, ShapeError
from tacit.ir.graph import Graph

__all__ = ["checked_batch", "checked_calibration", "checked_check", "checked_max_error", "checked_threads"]


def checked_batch(batch: int) -> int:
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= 1 << 24:
        raise InvalidParameterError(
            f"the 'batch' parameter must be an integer from 1 to {1 << 24}. Got {batch!r} instead."
        )
    return batch


def checked_check(check: int) -> int:
    if isinstance(check, bool) or not isinstance(check, int) or not 0 <= check <= 1 << 16:
        raise InvalidParameterError(
            f"the 'check' parameter must be an integer from 0 to {1 << 16}. Got {check!r} instead."
        )
    return check


def checked_max_error(max_error: float | None) -> float | None:
    if max_error is None:
        return None
    if isinstance(max_error, bool) or not isinstance(max_error, (int, float)) or not 0 < max_error < math.inf:
        raise InvalidParameterError(
            f"the 'max_error' parameter must be > 0 and finite. Got {max_error!r} instead."
        )
    return max_error


def checked_threads(threads: int | None) -> int:
    if threads is None:
        return max(1, min(8, len(os.sched_getaffinity(0))))
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= 1024:
        raise InvalidParameterError(
            f"the 'threads' parameter must be an integer from 1 to 1024. Got {threads!r} instead."
        )
    return threads


def checked_calibration(graph: Graph, calibration: Any) -> npt.NDArray[np.float64] | None:
    """Calibration data as (samples, features…) float64, checked against the graph's only input."""
    if calibration is None:
        return None
    if len(graph.inputs) != 1:
        names = ", ".join(f"`{value.name}`" for value in graph.inputs)
        raise ShapeError(
            f"a protected model takes one input. Got {len(graph.inputs)} instead: {names}.",
            hint="export the model with one input that holds all features side by side, and split it inside",
        )
    from tacit.ir.interpret import bind_inputs

    _, bound = bind_inputs(graph, np.asarray(calibration))
    array: npt.NDArray[np.float64] = bound[graph.inputs[0].name].astype(np.float64)
    if len(array) < 2:
        raise ShapeError(
            f"calibration data must hold at least two samples. Got {len(array)} instead.",
            hint="give some hundred samples like those to come (in a shell `--calibration`)",
        )
    return array
