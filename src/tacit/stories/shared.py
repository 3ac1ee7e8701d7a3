"""What a story under `mpc` measures: a model among processes of this machine, held against the clear model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import tacit

__all__ = ["Part", "Progress", "Story", "ask"]

Progress = Callable[[str, float], None]
"""Called with what is being done and the part of the story that is behind, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One model asked in one way. ``seconds`` by phase, ``rounds`` and ``bytes_by_party`` are of a run; medians.

    ``labels_differ``: samples whose label is not the one of the clear model. ``broken``: those of them whose two
    best answers are farther apart than the promise explains. ``largest_error`` is over all numbers of all answers;
    ``error_bound`` was promised before. Accuracies are against the true labels.
    """

    model: str
    what: str
    samples: int
    runs: int
    labels_differ: int
    broken: int
    accuracy: float
    accuracy_clear: float
    largest_error: float
    error_bound: float
    seconds: Mapping[str, float]
    rounds: int
    bytes_by_party: Mapping[str, int]
    plan_id: str

    @property
    def kept(self) -> bool:
        """Whether the promised bound holds, and with it every label that it decides."""
        return self.broken == 0 and self.largest_error <= self.error_bound

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self) | {"kept": self.kept}


@dataclass(frozen=True, kw_only=True)
class Story:
    """What happened. ``sees``: who, and what of it they saw. ``data``: where the samples are from, in words."""

    name: str
    variant: str
    data: str
    parts: tuple[Part, ...]
    sees: tuple[tuple[str, str], ...]
    assumptions: tuple[str, ...]

    @property
    def kept(self) -> bool:
        return all(part.kept for part in self.parts)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        parts = [part.to_dict() for part in self.parts]
        return asdict(self) | {"kept": self.kept, "parts": parts, "protection": "mpc"}


def ask(
    private: tacit.Private,
    pieces: list[npt.NDArray[np.float64]],
    *,
    model: str,
    what: str,
    clear: npt.NDArray[np.float64],
    clear_labels: npt.NDArray[Any],
    truth: npt.NDArray[Any],
) -> Part:
    """Predicts each of ``pieces`` (samples, …) in a run of its own and compares all answers with the clear ones."""
    answers = [private.predict(piece) for piece in pieces]
    values = np.concatenate([np.asarray(answer) for answer in answers])
    labels = np.concatenate([np.asarray(answer.labels) for answer in answers])
    bound = private.plan.error_bound
    ordered = np.sort(clear, axis=1)
    decided = ordered[:, -1] - ordered[:, -2] > 2 * bound
    differ = labels != clear_labels
    reports = [answer.report for answer in answers]
    return Part(
        model=model,
        what=what,
        samples=len(values),
        runs=len(pieces),
        labels_differ=int(differ.sum()),
        broken=int((differ & decided).sum()),
        accuracy=float((labels == truth).mean()),
        accuracy_clear=float((clear_labels == truth).mean()),
        largest_error=float(np.max(np.abs(values - clear))),
        error_bound=bound,
        seconds={
            phase: float(np.median([report.seconds[phase] for report in reports]))
            for phase in reports[0].seconds
        },
        rounds=reports[-1].rounds,
        bytes_by_party=dict(reports[-1].bytes_by_party),
        plan_id=private.plan.plan_id,
    )
