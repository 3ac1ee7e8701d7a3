"""`tacit simulate`: what encrypted answers for a table would be, without keys and without protection."""

from __future__ import annotations

import pathlib
from typing import Annotated

import numpy as np
import typer

import tacit
from tacit.cli import output
from tacit.cli.samples import check_same_columns, read_table

__all__ = ["command"]


def command(
    model: Annotated[pathlib.Path, typer.Argument(help="An ONNX file.", show_default=False)],
    data: Annotated[
        pathlib.Path, typer.Argument(help="Samples, one per row: .csv, .parquet or .npy.", show_default=False)
    ],
    calibration: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="Samples that set the region of the promise; default: the data.", show_default=False
        ),
    ] = None,
    batch: Annotated[int, typer.Option(help="Samples that one request would carry.")] = 1,
    max_error: Annotated[
        float | None, typer.Option(help="Largest error that the answers may have.", show_default=False)
    ] = None,
    measured: Annotated[
        bool, typer.Option("--measured", help="Where no bound can be proven, take one that is measured.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare simulated encrypted answers for every row of DATA with the clear ones: know accuracy before
    paying."""
    columns, samples = read_table(data)
    known = samples
    if calibration is not None:
        known_columns, known = read_table(calibration)
        check_same_columns(data, columns, known_columns)
    with output.progress("simulating") as bar:
        graph = tacit.load(model)
        answer = tacit.simulate(
            graph,
            samples,
            calibration=known,
            batch=batch,
            max_error=max_error,
            measured=measured,
            strict=False,
            progress=bar,
        )
        with tacit.protect(graph, "clear") as plain:
            clear = plain.predict(samples)
    report, kept = answer.report, answer.within_bound
    equal = None
    if answer.labels is not None and clear.labels is not None:
        equal = int((answer.labels == clear.labels)[kept].sum())
    if json:
        output.document(
            {
                "model": str(model),
                "rows": len(samples),
                "rows_without_promise": int((~kept).sum()),
                "labels_equal_to_clear": equal,
                "mean_error": float(np.mean(np.abs(np.asarray(answer) - np.asarray(clear))[kept]))
                if kept.any()
                else None,
                "calibrated_on": str(calibration or data),
                "report": report.to_dict(),
            }
        )
        return
    lines = [f"{len(samples)} rows in {output.time_text(report.seconds['simulate'])}; nothing was encrypted"]
    if equal is not None:
        lines.append(f"{equal} of {int(kept.sum())} labels are those of the clear model")
    lines.append(f"largest error {report.max_error_against_clear:.2g}, promised {report.error_bound:.2g}")
    if report.measured:
        lines.append("what is promised is measured on calibration data, not proven")
    if not kept.all():
        lines.append(f"{int((~kept).sum())} rows have no promise and are not counted")
    output.show("\n".join(lines))
