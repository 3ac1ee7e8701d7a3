"""`tacit predict`: answers for a table of samples, by a model file with every role here, or by a provider's
model."""

from __future__ import annotations

import pathlib
from typing import Annotated, Any, Literal

import numpy as np
import typer

import tacit
from tacit.backends.answer import answer_names
from tacit.cli import connection, output
from tacit.cli.answers import Asked, show
from tacit.cli.connection import Connection, is_url
from tacit.cli.samples import check_same_columns, check_writable, read_table
from tacit.errors import InvalidParameterError

__all__ = ["command"]


def command(
    model: Annotated[
        str,
        typer.Argument(
            help="An ONNX file, or https://HOST:PORT/MODEL of a provider.",
            metavar="MODEL|URL",
            show_default=False,
        ),
    ],
    data: Annotated[
        pathlib.Path, typer.Argument(help="Samples, one per row: .csv, .parquet or .npy.", show_default=False)
    ],
    protection: Annotated[
        Literal["ckks", "mpc", "mpc:dealer2", "clear"],
        typer.Option(help="How the samples are protected; `mpc:dealer2` has a dealer as a third party."),
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
    plan: Annotated[
        str | None,
        typer.Option(
            help="At a provider: id of the only plan to trust, at least 32 digits.", show_default=False
        ),
    ] = None,
    token_file: connection.TokenFile = None,
    ca: connection.Authority = None,
    cert: connection.Certificate = None,
    key: connection.CertificateKey = None,
    keyring: connection.KeyFolder = None,
    passphrase_file: connection.PassphraseFile = None,
    timeout: connection.Timeout = 300.0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Predict every row of DATA, encrypted: by a file with both roles on this machine, or by a provider's
    model."""
    place = Connection(
        token_file=token_file,
        ca=ca,
        cert=cert,
        key=key,
        keyring=keyring,
        passphrase_file=passphrase_file,
        timeout=timeout,
    )
    if is_url(model):
        only_here = {
            "--calibration": calibration,
            "--batch": batch,
            "--check": check,
            "--memory-bytes": memory_bytes,
            "--simulate": simulate or None,
        }
        refuse(only_here, "is for a model on this machine: a provider chose it when it compiled the model")
        if protection not in ("ckks", "clear"):
            raise InvalidParameterError(
                f"`--protection {protection}` is for a model on this machine: a provider's server computes alone",
                hint="parties of several organisations meet by `tacit party`",
            )
        if out is not None:
            check_writable(out)
        samples = read_table(data)[1]
        asked = at_provider(
            model,
            samples,
            place,
            protection=protection,
            plan=plan,
            max_error=max_error,
            measured=measured,
            strict=strict,
        )
        show(asked, model, data, out, strict=strict, json=json)
        return
    refuse(
        {"--plan": plan, **{name: value for name, value in place.given().items() if value is not None}},
        "is for a provider's model: name it by its https:// address",
    )
    show(
        on_this_machine(
            pathlib.Path(model),
            data,
            protection,
            calibration,
            out,
            max_error,
            batch,
            strict,
            check,
            memory_bytes,
            measured,
            simulate,
        ),
        model,
        data,
        out,
        strict=strict,
        json=json,
    )


def refuse(options: dict[str, Any], why: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise InvalidParameterError(f"`{name}` {why}")


def at_provider(
    url: str,
    samples: np.ndarray,
    place: Connection,
    *,
    protection: Literal["ckks", "clear"],
    plan: str | None,
    max_error: float | None,
    measured: bool,
    strict: bool,
) -> Asked:
    """Answers of a provider's model; keys are made and uploaded where there are none."""
    with (
        output.progress("connecting") as bar,
        place.connect(
            url, protection=protection, plan=plan, max_error=max_error, measured=measured, progress=bar
        ) as remote,
    ):
        known = remote.trusted_plans()
        answer = remote.predict(samples, strict=strict)
        names = remote.columns(answer)
    if protection == "clear":
        return Asked(
            answer=answer, names=names, facts={"url": url}, notes=["the provider saw samples and answers"]
        )
    trust = {"url": url, "plan_id": answer.report.plan_id, "first_use": not known}
    said = "trusted on first use, and from now on" if not known else "trusted since the first use"
    return Asked(
        answer=answer, names=names, facts=trust, notes=[f"plan {answer.report.plan_id[:12]}: {said}"]
    )


def on_this_machine(
    model: pathlib.Path,
    data: pathlib.Path,
    protection: str,
    calibration: pathlib.Path | None,
    out: pathlib.Path | None,
    max_error: float | None,
    batch: int | None,
    strict: bool,
    check: int | None,
    memory_bytes: int | None,
    measured: bool,
    simulate: bool,
) -> Asked:
    """Answers of a model file, provider and owner both in this process."""
    if simulate and protection != "ckks":
        raise InvalidParameterError("`--simulate` is for `--protection ckks`: nothing else adds noise")
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
    notes = []
    if calibration is None and protection != "clear":
        notes.append("the region was taken from this data: `--calibration` sets it from other samples")
    names = answer_names(graph, np.asarray(answer).reshape(len(samples), -1).shape[1])
    return Asked(answer=answer, names=names, facts={"calibrated_on": str(calibration or data)}, notes=notes)
