"""`tacit explain`: the price list of a model, before anything runs."""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer

import tacit
from tacit.cli import output
from tacit.cli.samples import read_samples
from tacit.roles.compilation import PROTECTIONS

__all__ = ["command"]


def command(
    model: Annotated[pathlib.Path, typer.Argument(help="An ONNX file.", show_default=False)],
    calibration: Annotated[
        pathlib.Path | None,
        typer.Option(help="Samples like those to come: .csv, .parquet or .npy.", show_default=False),
    ] = None,
    batch: Annotated[int, typer.Option(help="Samples that one request carries.")] = 1,
    max_error: Annotated[
        float | None, typer.Option(help="Largest error that the answers may have.", show_default=False)
    ] = None,
    memory_bytes: Annotated[
        int | None,
        typer.Option(help="Memory that the provider may take, in bytes.", show_default=False),
    ] = None,
    measured: Annotated[
        bool, typer.Option("--measured", help="Where no bound can be proven, take one that is measured.")
    ] = False,
    protection: Annotated[
        list[str] | None,
        typer.Option(
            help="A column; default: all but `mpc:dealer2`, which has a dealer.", show_default=False
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say for each protection who sees what, what it assumes and costs, or why it is refused."""
    known = None if calibration is None else read_samples(calibration)
    with output.progress("planning"):
        explanation = tacit.explain(
            tacit.load(model),
            calibration=known,
            batch=batch,
            max_error=max_error,
            memory_bytes=memory_bytes,
            measured=measured,
            protections=tuple(protection or PROTECTIONS),
        )
    if json:
        output.document(explanation.to_dict())
    else:
        output.write(f"{explanation}\n")
        if known is not None and batch == 1:
            output.write(
                "\n`tacit predict` plans for all rows of its data: `--batch ROWS` shows that plan.\n"
            )
