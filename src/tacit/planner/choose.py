"""Asks every backend for its candidates and keeps the cheapest of each, and the reasons of refusals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.backends.base import Backend, Candidate, Refusal
from tacit.errors import InternalError, NoAdmissiblePlanError, TacitError, UsageError
from tacit.ir.graph import Graph
from tacit.planner.cost import rank
from tacit.planner.visibility import check_visibility

__all__ = ["Survey", "choose", "survey"]


@dataclass(frozen=True)
class Survey:
    """The best candidate of each backend that admits the graph, and the refusals of the others."""

    candidates: tuple[Candidate, ...]
    refusals: tuple[Refusal, ...]

    def of(self, protection: str) -> Candidate:
        """The candidate of a protection. Raises what the backend raised, or ``NoAdmissiblePlanError``."""
        for candidate in self.candidates:
            if candidate.declaration.protection == protection:
                return candidate
        for refusal in self.refusals:
            if refusal.protection == protection and refusal.error is not None:
                raise refusal.error
        reasons = tuple(f"{refusal.protection}: {refusal.reason}" for refusal in self.refusals)
        raise NoAdmissiblePlanError(f"no plan under `{protection}`", reasons=reasons)


def choose(candidates: Sequence[Candidate], batch: int) -> Candidate:
    """The candidate with the fewest seconds for ``batch`` samples; of equals the one with the fewest bytes."""

    def key(candidate: Candidate) -> tuple[float, int]:
        cost = candidate.declaration.cost
        return rank(cost, batch), cost.bytes_up + cost.key_bytes

    return min(candidates, key=key)


def survey(
    backends: Sequence[Backend],
    graph: Graph,
    calibration: npt.NDArray[np.float64] | None,
    *,
    batch: int = 1,
    max_error: float | None = None,
    threads: int = 1,
) -> Survey:
    """Every backend asked once. A ``TacitError`` of a backend becomes a refusal; other exceptions are bugs and pass."""
    found: list[Candidate] = []
    refusals: list[Refusal] = []
    for backend in backends:
        try:
            candidates = backend.candidates(
                graph, calibration, batch=batch, max_error=max_error, threads=threads
            )
        except InternalError:
            raise
        except TacitError as error:
            if isinstance(error, UsageError) and len(backends) == 1:
                raise
            refusals.append(Refusal(backend.name, str(error), error.hint, error))
            continue
        for candidate in candidates:
            check_visibility(candidate.declaration)
        found.append(choose(candidates, batch))
    return Survey(tuple(found), tuple(refusals))
