"""`tacit compile`: a model becomes one file from which a server offers the same plans after every start."""

from __future__ import annotations

import os
import pathlib
import tempfile
from typing import Annotated

import typer
from rich.table import Table

from tacit.cli import output
from tacit.cli.samples import read_samples
from tacit.errors import DataError, InvalidParameterError

__all__ = ["command"]


def command(
    model: Annotated[pathlib.Path, typer.Argument(help="An ONNX file.", show_default=False)],
    out: Annotated[
        pathlib.Path, typer.Option("-o", "--out", help="Where to write: NAME.tacit.", show_default=False)
    ],
    calibration: Annotated[
        pathlib.Path | None,
        typer.Option(help="Samples like those to come: .csv, .parquet or .npy.", show_default=False),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(
            help="Samples that one request carries, one plan for each; default: 1, and many.",
            show_default=False,
        ),
    ] = None,
    max_error: Annotated[
        float | None, typer.Option(help="Largest error that the answers may have.", show_default=False)
    ] = None,
    check: Annotated[
        int, typer.Option(help="Calibration rows that each plan is tried on, encrypted; 0: none.")
    ] = 3,
    memory_bytes: Annotated[
        int | None,
        typer.Option(help="Memory that the provider may take, in bytes.", show_default=False),
    ] = None,
    measured: Annotated[
        bool, typer.Option("--measured", help="Where no bound can be proven, take one that is measured.")
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option(help="Threads of one prediction at the server; default: all.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compile MODEL for `tacit serve`. The file holds the weights: whoever reads it has the model."""
    from tacit.service.package import compile_package

    if out.suffix != ".tacit":
        raise InvalidParameterError(
            "the file of a compiled model ends in `.tacit`", hint=f"`-o {out.stem}.tacit`"
        )
    if not out.parent.is_dir():
        raise DataError(f"no such folder: `{out.parent}`", hint="make it first")
    known = None if calibration is None else read_samples(calibration)
    with output.progress("compiling") as bar:
        package = compile_package(
            model,
            calibration=known,
            batches=tuple(batch or ()),
            max_error=max_error,
            check=check,
            memory_bytes=memory_bytes,
            measured=measured,
            threads=threads,
            progress=bar,
        )
    write_secret(out, package.to_bytes())
    rows = [offer.row() for offer in package.offers]
    if json:
        output.document({"model": str(model), "out": out, "plans": rows, "refusals": list(package.refusals)})
        return
    view = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("plan", "layout", "samples", "provider time", "request", "answer", "keys, once", "error"):
        view.add_column(title, justify="left" if title in ("plan", "layout") else "right")
    for row in rows:
        sizes = (output.size_text(row[name]) for name in ("request_bytes", "response_bytes", "key_bytes"))
        view.add_row(
            row["plan_id"][:12],
            row["layout"],
            str(row["batch"]),
            output.time_text(row["seconds"]),
            *sizes,
            f"<= {row['error_bound']:.2g}",
        )
    output.show(view)
    for refusal in package.refusals:
        output.show(f"no plan for {refusal['batch']} samples: {refusal['reason']}")
    output.show(f"wrote {out}: it holds the weights, keep it secret")


def write_secret(path: pathlib.Path, content: bytes) -> None:
    """Write a file that only its owner can read, all or nothing."""
    handle, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except BaseException:
        os.unlink(scratch)
        raise
