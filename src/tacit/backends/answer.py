"""What a prediction returns: the numbers, the labels, and a report of what the run cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tacit.ir.graph import Graph

__all__ = ["Answer", "Report", "answer_names"]


@dataclass(frozen=True, kw_only=True)
class Report:
    """Cost and quality of one prediction.

    ``seconds``: wall time by phase (``encrypt``, ``server``, ``decrypt`` …); ``server`` includes reading the request
    and writing the response. ``bytes_up``/``bytes_down``: request and response. ``error_bound``: promised before the
    run, largest absolute error of the primary output. ``max_error_against_clear``: measured; only where one process
    holds model and data and was asked to compare. ``comparison_margin``: for models that compare, over half the
    range of a feature: samples farther from every threshold on their way are always within the bound.
    ``samples_out_of_bound``: samples without a promise: too close to a threshold, or with hidden values out of range.
    ``measured``: ``error_bound`` is the largest error of calibration samples times a margin, not proven.
    ``simulated``: nothing was encrypted; the compiled program ran in the clear with the noise that encryption adds.
    ``rounds``, ``bytes_by_party``: among parties that compute together, what the run took of messages; then
    ``bytes_up`` and ``bytes_down`` are of the owner's shares and of those of the answer.
    """

    protection: str
    plan_id: str
    samples: int
    seconds: Mapping[str, float] = field(default_factory=dict)
    bytes_up: int = 0
    bytes_down: int = 0
    key_bytes: int = 0
    error_bound: float = 0.0
    max_error_against_clear: float | None = None
    comparison_margin: float | None = None
    samples_out_of_bound: int = 0
    measured: bool = False
    simulated: bool = False
    rounds: int = 0
    bytes_by_party: Mapping[str, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        seconds = sum(self.seconds.values())
        plural = "s" if self.samples != 1 else ""
        return f"<Report {self.samples} sample{plural} under {self.protection} in {seconds:.3g} s>"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "protection": self.protection,
            "plan_id": self.plan_id,
            "samples": self.samples,
            "seconds": dict(self.seconds),
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
            "key_bytes": self.key_bytes,
            "error_bound": self.error_bound,
            "max_error_against_clear": self.max_error_against_clear,
            "comparison_margin": self.comparison_margin,
            "samples_out_of_bound": self.samples_out_of_bound,
            "measured": self.measured,
            "simulated": self.simulated,
            "rounds": self.rounds,
            "bytes_by_party": dict(self.bytes_by_party),
        }

    def __str__(self) -> str:
        phases = ", ".join(f"{name} {value * 1e3:.3g} ms" for name, value in self.seconds.items())
        how = f"under {self.protection}, simulated" if self.simulated else f"under {self.protection}"
        text = f"{self.samples} samples {how}: {phases}; "
        text += f"{self.bytes_up} bytes up, {self.bytes_down} down"
        if self.bytes_by_party:
            text += f"; {self.rounds} rounds, up to {max(self.bytes_by_party.values())} bytes sent by a party"
        text += f"; promised error <= {self.error_bound:.3g}"
        text += " (measured on calibration data, not proven)" if self.measured else ""
        if self.max_error_against_clear is not None:
            text += f", measured {self.max_error_against_clear:.3g}"
        if self.comparison_margin is not None:
            text += f"; comparison margin {self.comparison_margin:.2g}"
            text += f", {self.samples_out_of_bound} samples too close to a threshold"
        elif self.samples_out_of_bound:
            text += f"; {self.samples_out_of_bound} samples with hidden values out of range"
        return text


NO_REPORT = Report(protection="", plan_id="", samples=0)
"""The report of arrays that were computed from an answer: they are no answers."""
_NOTHING = np.zeros(0, dtype=np.bool_)


class Answer(np.ndarray[Any, np.dtype[np.float64]]):
    """The primary output of the model, (samples, …) float64, with ``labels`` and a ``report``.

    ``within_bound``: (samples,) whether the promised error bound holds for each sample; all true for models without
    comparisons and hidden ranges, also where the bound is measured and not proven (``report.measured``).
    Arithmetic on it gives plain values; the rest belongs to the answer as it was returned.
    """

    labels: npt.NDArray[Any] | None
    report: Report
    within_bound: npt.NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        values: npt.NDArray[np.float64],
        *,
        labels: npt.NDArray[Any] | None,
        report: Report,
        within_bound: npt.NDArray[np.bool_] | None = None,
    ) -> Answer:
        """``values`` is copied. ``within_bound``: all samples where it is not given."""
        answer = np.array(values, dtype=np.float64, copy=True).view(cls)
        answer.labels = labels
        answer.report = report
        if within_bound is None:
            within_bound = np.ones(len(answer) if answer.ndim else 1, dtype=np.bool_)
        answer.within_bound = within_bound
        return answer

    def __array_finalize__(self, obj: object) -> None:
        self.labels = None
        self.report = NO_REPORT
        self.within_bound = _NOTHING

    def copy(self, order: Literal["K", "A", "C", "F"] | None = "C") -> Answer:
        """A whole answer again, with labels and report."""
        return Answer.of(
            np.asarray(self), labels=self.labels, report=self.report, within_bound=self.within_bound
        )

    def __copy__(self) -> Answer:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Answer:
        answer = self.copy()
        answer.labels = None if self.labels is None else self.labels.copy()
        answer.within_bound = self.within_bound.copy()
        return answer

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (np.asarray(self), self.labels, self.report, self.within_bound)

    def __array_wrap__(
        self, array: npt.NDArray[Any], context: Any = None, return_scalar: bool = False
    ) -> Any:
        plain = np.asarray(array)
        return plain[()] if return_scalar else plain


def _restored(
    values: npt.NDArray[np.float64],
    labels: npt.NDArray[Any] | None,
    report: Report,
    within_bound: npt.NDArray[np.bool_],
) -> Answer:
    """An answer out of its parts: what the copy protocol of the language calls."""
    return Answer.of(values, labels=labels, report=report, within_bound=within_bound)


def answer_names(graph: Graph, width: int) -> list[str]:
    """One name per number of a graph's primary output: its role, and the class where there is one each."""
    role = next((role for role, value in graph.roles.items() if value == graph.primary), "output")
    if width == 1:
        return [role]
    ends = graph.classes if graph.classes and len(graph.classes) == width else range(width)
    return [f"{role}_{end}" for end in ends]
