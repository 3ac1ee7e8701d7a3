"""What the planner may know of a backend: its declarations. It never sees a concrete one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tacit.ir.graph import Graph

__all__ = ["Backend", "Candidate", "Cost", "Declaration", "Refusal", "Sight"]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one request costs, as predicted: a request carries ``samples`` samples.

    ``seconds``: the provider's time, with reading the request and writing the response. ``owner_seconds``: encrypt and
    decrypt. ``setup_seconds``: keys, once. ``memory_bytes``: of the provider.
    """

    samples: int
    seconds: float
    owner_seconds: float = 0.0
    setup_seconds: float = 0.0
    bytes_up: int = 0
    bytes_down: int = 0
    key_bytes: int = 0
    memory_bytes: int = 0

    @property
    def seconds_per_sample(self) -> float:
        return self.seconds / max(1, self.samples)


@dataclass(frozen=True)
class Sight:
    """Who sees a thing in the clear. ``what`` is one of the rows of ``planner.visibility``; ``who`` names roles."""

    what: str
    who: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What a backend says of one way to run a graph, before anything runs.

    ``error_bound``: largest absolute error of the primary output, for every input of the declared region.
    """

    protection: str
    variant: str
    cost: Cost
    error_bound: float
    sights: tuple[Sight, ...]
    assumptions: tuple[str, ...]
    parameters: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Refusal:
    """Why a protection does not run this graph, and what to change."""

    protection: str
    reason: str
    hint: str = ""
    error: Exception | None = field(default=None, compare=False, repr=False)


class Candidate(Protocol):
    """One way to run a graph. ``compile`` gives the backend's own compiled form."""

    @property
    def declaration(self) -> Declaration: ...

    def compile(self) -> Any: ...


class Backend(Protocol):
    """A protection. ``candidates`` gives every way worth comparing, or raises a ``TacitError`` that says why."""

    @property
    def name(self) -> str: ...

    def candidates(
        self,
        graph: Graph,
        calibration: npt.NDArray[np.float64] | None,
        *,
        batch: int,
        max_error: float | None,
        threads: int,
    ) -> Sequence[Candidate]: ...
