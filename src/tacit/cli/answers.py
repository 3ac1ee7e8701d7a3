"""Answers of a prediction, as a table of a few rows, as one JSON object, or in a file."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

import tacit
from tacit.cli import output
from tacit.cli.samples import write_answers

__all__ = ["Asked", "show"]

SHOWN_ROWS = 10
USELESS_BOUND = 0.5


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What was predicted. ``facts``: more of it, for JSON; ``notes``: for people."""

    answer: tacit.Answer
    names: list[str]
    facts: dict[str, Any]
    notes: list[str]


def show(
    asked: Asked, model: str, data: pathlib.Path, out: pathlib.Path | None, *, strict: bool, json: bool
) -> None:
    """Write the answers to the file, if there is one, and print them, or what was done."""
    answer, names = asked.answer, asked.names
    rows = len(answer)
    values = np.asarray(answer).reshape(rows, -1)
    promised = None if strict else answer.within_bound
    if out is not None:
        write_answers(out, values, answer.labels, names, within_bound=promised)
    if json:
        output.document(
            {
                "model": model,
                "rows": rows,
                "columns": names,
                "answers": None if out else values,
                "labels": None if out else answer.labels,
                "within_bound": None if out else promised,
                "out": out,
                **asked.facts,
                "report": answer.report.to_dict(),
            }
        )
        return
    if out is None:
        output.show(table(values, answer.labels, names, promised))
    output.show("\n".join([summary(rows, out, answer.report), *asked.notes]))
    if names[0].startswith("probabilities") and answer.report.error_bound >= USELESS_BOUND:
        output.show("so wide a promise says little about a probability: calibrate without outliers")


def table(
    values: np.ndarray, labels: np.ndarray | None, names: list[str], within_bound: np.ndarray | None = None
) -> Table:
    """The first rows, as a table; ``within_bound``: (rows,) whether the promise holds, where rows may lack
    it."""
    view = Table(box=None, header_style="bold", pad_edge=False)
    view.add_column("row", justify="right")
    if labels is not None:
        view.add_column("label")
    shown = names[:8]
    for name in shown:
        view.add_column(Text(output.shown(name)), justify="right")
    if within_bound is not None:
        view.add_column("promised")
    for row in range(min(SHOWN_ROWS, len(values))):
        label = [] if labels is None else [Text(output.shown(str(labels[row])))]
        promise = [] if within_bound is None else ["yes" if within_bound[row] else "no"]
        view.add_row(str(row + 1), *label, *(f"{value:.6g}" for value in values[row, : len(shown)]), *promise)
    if len(values) > SHOWN_ROWS:
        view.add_row("…")
    return view


def summary(rows: int, out: pathlib.Path | None, report: Any) -> str:
    """What the run did and cost, in a few lines."""
    lines = ["" if out is None else f"wrote {rows} answers to {out}"]
    if out is None and rows > SHOWN_ROWS:
        lines.append(f"{rows - SHOWN_ROWS} more rows: `-o FILE` writes them all")
    spent = ", ".join(f"{phase} {output.time_text(seconds)}" for phase, seconds in report.seconds.items())
    lines.append(f"{report.protection}{', simulated' if report.simulated else ''}: {rows} rows; {spent}")
    if report.samples_out_of_bound:
        lines.append(
            f"{report.samples_out_of_bound} rows have no promise: "
            "a value lies too close to a threshold, or hidden values left their ranges"
        )
    if report.measured:
        lines.append("the bound is measured on calibration data, not proven")
    if report.simulated:
        lines.append(
            f"nothing was encrypted; error at most {report.error_bound:.2g}, here {report.max_error_against_clear:.2g}"
        )
    elif report.bytes_by_party:
        sent = ", ".join(f"{name} {output.size_text(count)}" for name, count in report.bytes_by_party.items())
        lines.append(
            f"{report.rounds} rounds between parties; sent: {sent}; error at most {report.error_bound:.2g}"
        )
    elif report.protection != "clear":
        up, down, keys = map(output.size_text, (report.bytes_up, report.bytes_down, report.key_bytes))
        lines.append(f"{up} up, {down} down, keys {keys} once; error at most {report.error_bound:.2g}")
    return "\n".join(line for line in lines if line)
