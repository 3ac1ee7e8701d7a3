"""`tacit predict`: answers for a table of samples, with every role on this machine."""

from __future__ import annotations

import pathlib
from typing import Annotated, Any, Literal

import numpy as np
import typer
from rich.table import Table

import tacit
from tacit.backends.answer import answer_names
from tacit.cli import output
from tacit.cli.samples import check_same_columns, check_writable, read_table, write_answers
from tacit.errors import InvalidParameterError

__all__ = ["command"]

SHOWN_ROWS = 10
USELESS_BOUND = 0.5


def command(
    model: Annotated[pathlib.Path, typer.Argument(help="An ONNX file.", show_default=False)],
    data: Annotated[
        pathlib.Path, typer.Argument(help="Samples, one per row: .csv, .parquet or .npy.", show_default=False)
    ],
    protection: Annotated[
        Literal["ckks", "clear"], typer.Option(help="How the samples are protected.")
    ] = "ckks",
    calibration: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="Samples that set the region of the promise; default: the data.", show_default=False
        ),
    ] = None,
    out: Annotated[
        pathlib.Path | None,
        typer.Option(
            "-o", "--out", help="Write all answers here: .csv, .parquet or .npy.", show_default=False
        ),
    ] = None,
    max_error: Annotated[
        float | None, typer.Option(help="Largest error that the answers may have.", show_default=False)
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(help="Samples that one request carries; default: all rows.", show_default=False),
    ] = None,
    strict: Annotated[
        bool, typer.Option(help="Fail when a row gets no promise; otherwise mark such rows.")
    ] = True,
    check: Annotated[
        int | None,
        typer.Option(
            help="Calibration rows that the plan is tried on, encrypted; default 3, 0: none.",
            show_default=False,
        ),
    ] = None,
    memory_bytes: Annotated[
        int | None,
        typer.Option(help="Memory that the provider may take, in bytes.", show_default=False),
    ] = None,
    measured: Annotated[
        bool, typer.Option("--measured", help="Where no bound can be proven, take one that is measured.")
    ] = False,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Encrypt nothing: run the plan in the clear, with its noise.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Predict every row of DATA; provider and owner are both on this machine, with real encryption between them."""
    if simulate and protection == "clear":
        raise InvalidParameterError("`--simulate` is for `--protection ckks`: clear is exact")
    columns, samples = read_table(data)
    known = samples
    if calibration is not None:
        known_columns, known = read_table(calibration)
        check_same_columns(data, columns, known_columns)
    if out is not None:
        check_writable(out)
    plan: dict[str, Any] = {"batch": len(samples) if batch is None else batch, "max_error": max_error}
    if protection != "clear":
        plan |= {"calibration": known, "measured": measured}
    trial: dict[str, Any] = {} if check is None else {"check": check}
    if memory_bytes is not None:
        trial["memory_bytes"] = memory_bytes
    with output.progress("simulating" if simulate else "predicting") as bar:
        graph = tacit.load(model)
        if simulate:
            answer = tacit.simulate(graph, samples, strict=strict, progress=bar, **plan)
        else:
            with tacit.protect(graph, protection, progress=bar, **plan, **trial) as private:
                answer = private.predict(samples, strict=strict)
    values = np.asarray(answer).reshape(len(samples), -1)
    names = answer_names(graph, values.shape[1])
    promised = None if strict else answer.within_bound
    if out is not None:
        write_answers(out, values, answer.labels, names, within_bound=promised)
    if json:
        output.document(
            {
                "model": str(model),
                "rows": len(samples),
                "columns": names,
                "answers": None if out else values,
                "labels": None if out else answer.labels,
                "within_bound": None if out else promised,
                "out": out,
                "calibrated_on": str(calibration or data),
                "report": answer.report.to_dict(),
            }
        )
        return
    if out is None:
        output.show(table(values, answer.labels, names, promised))
    output.show(summary(len(samples), out, answer.report, own=calibration is None and protection != "clear"))
    if names[0].startswith("probabilities") and answer.report.error_bound >= USELESS_BOUND:
        output.show("so wide a promise says little about a probability: calibrate without outliers")


def table(
    values: np.ndarray, labels: np.ndarray | None, names: list[str], within_bound: np.ndarray | None = None
) -> Table:
    """The first rows, as a table; ``within_bound``: (rows,) whether the promise holds, where rows may lack it."""
    view = Table(box=None, header_style="bold", pad_edge=False)
    view.add_column("row", justify="right")
    if labels is not None:
        view.add_column("label")
    shown = names[:8]
    for name in shown:
        view.add_column(name, justify="right")
    if within_bound is not None:
        view.add_column("promised")
    for row in range(min(SHOWN_ROWS, len(values))):
        label = [] if labels is None else [str(labels[row])]
        promise = [] if within_bound is None else ["yes" if within_bound[row] else "no"]
        view.add_row(str(row + 1), *label, *(f"{value:.6g}" for value in values[row, : len(shown)]), *promise)
    if len(values) > SHOWN_ROWS:
        view.add_row("…")
    return view


def summary(rows: int, out: pathlib.Path | None, report: Any, *, own: bool) -> str:
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
    elif report.protection != "clear":
        up, down, keys = map(output.size_text, (report.bytes_up, report.bytes_down, report.key_bytes))
        lines.append(f"{up} up, {down} down, keys {keys} once; error at most {report.error_bound:.2g}")
    if own:
        lines.append("the region was taken from this data: `--calibration` sets it from other samples")
    return "\n".join(line for line in lines if line)
