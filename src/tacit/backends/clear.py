"""No protection: the graph is interpreted. The definition of correct, and the first column of the price list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.backends.base import Cost, Declaration, Sight
from tacit.ir.graph import Graph

__all__ = ["ClearBackend", "ClearCandidate"]

SECONDS_PER_NODE = 5e-6
"""NumPy call overhead; an estimate of magnitude, not a measurement of this machine."""
SECONDS_PER_MULTIPLY = 5e-10


@dataclass(frozen=True)
class ClearCandidate:
    """Runs the graph where it lies; whoever runs it sees everything."""

    graph: Graph
    declaration: Declaration

    def compile(self) -> Graph:
        return self.graph


class ClearBackend:
    """The backend that protects nothing."""

    name = "clear"

    def candidates(
        self,
        graph: Graph,
        calibration: npt.NDArray[np.float64] | None = None,
        *,
        batch: int = 1,
        max_error: float | None = None,
        threads: int = 1,
    ) -> Sequence[ClearCandidate]:
        """One candidate, always."""
        weights = sum(array.size for array in graph.constants.values())
        features = sum(value.features for value in graph.inputs)
        outputs = sum(graph.values[name].features for name in graph.outputs)
        cost = Cost(
            samples=batch,
            seconds=len(graph.nodes) * SECONDS_PER_NODE + batch * weights * SECONDS_PER_MULTIPLY,
            bytes_up=8 * batch * features,
            bytes_down=8 * batch * outputs,
            memory_bytes=8 * (weights + batch * (features + outputs)),
        )
        declaration = Declaration(
            protection=self.name,
            variant="clear",
            cost=cost,
            error_bound=0.0,
            sights=(
                Sight("inputs", ("owner", "provider")),
                Sight("model weights", ("provider",)),
                Sight("model structure", ("provider",)),
                Sight("outputs", ("owner", "provider")),
            ),
            assumptions=("the provider is trusted with every input and every answer",),
            parameters="float64",
        )
        return (ClearCandidate(graph, declaration),)
