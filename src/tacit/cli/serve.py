"""`tacit serve`: the provider's endpoint, until it is interrupted."""

from __future__ import annotations

import asyncio
import os
import pathlib
from typing import TYPE_CHECKING, Annotated

import typer

import tacit
from tacit.cli import output
from tacit.errors import InvalidParameterError

if TYPE_CHECKING:
    from tacit.service.server import Started

__all__ = ["command"]


def command(
    models: Annotated[
        list[pathlib.Path],
        typer.Argument(help="ONNX files, files of `tacit compile`, or folders of them.", show_default=False),
    ],
    protection: Annotated[
        list[str] | None,
        typer.Option(help="`ckks` (default) or `clear`; may be given twice.", show_default=False),
    ] = None,
    calibration: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="Samples like those to come; default: NAME.calibration.csv beside the model.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(help="Samples of one request, one plan for each.", show_default=False),
    ] = None,
    max_error: Annotated[
        float | None, typer.Option(help="Largest error that the answers may have.", show_default=False)
    ] = None,
    measured: Annotated[
        bool, typer.Option("--measured", help="Where no bound can be proven, take one that is measured.")
    ] = False,
    listen: Annotated[str, typer.Option(help="HOST:PORT; port 0 takes a free one.")] = "127.0.0.1:8443",
    cert: Annotated[
        pathlib.Path | None, typer.Option(help="Certificate chain, PEM.", show_default=False)
    ] = None,
    key: Annotated[
        pathlib.Path | None, typer.Option(help="Key of the certificate, PEM.", show_default=False)
    ] = None,
    tokens: Annotated[
        pathlib.Path | None,
        typer.Option(help="File of tokens (`tacit keys token`).", show_default=False),
    ] = None,
    client_ca: Annotated[
        pathlib.Path | None,
        typer.Option(help="Clients need a certificate of this authority, PEM.", show_default=False),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Let everybody in who reaches the address.")] = False,
    plain_http: Annotated[
        bool, typer.Option("--insecure-http", help="Plain HTTP, on a loopback address only.")
    ] = False,
    store: Annotated[
        pathlib.Path | None,
        typer.Option(help="Folder for owners' evaluation keys and compiled models.", show_default=False),
    ] = None,
    store_bytes: Annotated[
        int | None, typer.Option(help="Most bytes of keys in the store.", show_default=False)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Compute processes; default: cores / threads.", show_default=False)
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of each compute process.")] = 1,
    key_memory: Annotated[int, typer.Option(help="Most bytes of keys in memory.")] = 1 << 30,
    worker_bytes: Annotated[
        int,
        typer.Option(help="Most bytes that each compute process takes beside the model's weights; 0: any."),
    ] = 0,
    request_bytes: Annotated[int, typer.Option(help="Largest request, in bytes.")] = 256 << 20,
    timeout_s: Annotated[float, typer.Option(help="Most seconds of one prediction.")] = 600.0,
    rate: Annotated[float, typer.Option(help="Requests per second of one client.")] = 1000.0,
    address_connections: Annotated[
        int | None,
        typer.Option(
            help="Connections of one address on which nobody is known; default 64, any on loopback.",
            show_default=False,
        ),
    ] = None,
    drain_s: Annotated[float, typer.Option(help="Seconds to finish what runs, at the end.")] = 30.0,
    grpc_listen: Annotated[str | None, typer.Option(help="HOST:PORT for gRPC.", show_default=False)] = None,
    metrics_listen: Annotated[
        str | None, typer.Option(help="HOST:PORT for /metrics and health, plain HTTP.", show_default=False)
    ] = None,
    otel: Annotated[
        str | None, typer.Option(help="Where traces go (OTLP over HTTP).", show_default=False)
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object at the start; log calls on stderr.")
    ] = False,
) -> None:
    """Serve models to owners elsewhere: their samples stay encrypted, here and on the way."""
    from tacit.service.log import Log
    from tacit.service.server import Address, Options, serve

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    compiling = [f"--batch={size}" for size in batch or ()] + [f"--threads={threads}"]
    compiling += [f"--max-error={max_error}"] if max_error is not None else []
    compiling += ["--measured"] if measured else []
    if threads < 1 or (workers is not None and workers < 1):
        raise InvalidParameterError("`--threads` and `--workers` are at least 1")
    if worker_bytes < 0:
        raise InvalidParameterError("`--worker-bytes` is at least 0, which sets no limit")
    options = Options(
        models=tuple(models),
        version=tacit.__version__,
        protections=tuple(protection or ("ckks",)),
        calibration=calibration,
        compiling=tuple(compiling),
        listen=Address.parse(listen),
        cert=cert,
        key=key,
        tokens=tokens,
        client_ca=client_ca,
        open_=open_,
        plain_http=plain_http,
        store=store,
        store_bytes=store_bytes,
        workers=workers or max(1, cores // threads),
        threads=threads,
        key_memory_bytes=key_memory,
        worker_bytes=worker_bytes,
        request_bytes=request_bytes,
        request_s=timeout_s,
        rate=rate,
        address_connections=address_connections,
        drain_s=drain_s,
        grpc_listen=None if grpc_listen is None else Address.parse(grpc_listen),
        metrics_listen=None if metrics_listen is None else Address.parse(metrics_listen),
        otel=otel,
    )

    def told(started: Started) -> None:
        if json:
            output.document(started.to_dict())
        else:
            output.write(text(started))

    asyncio.run(serve(options, log=Log(is_plain=not json), told=told))


def text(started: Started) -> str:
    """The message of the start: what, where, for whom, by which certificate."""
    lines = [f"serving at {started.address}"]
    for model in started.models:
        if "protection" not in model:
            lines.append(f"  {model['name']}: NOT SERVED: {model['reason']}")
            continue
        sizes = ", ".join(str(batch) for batch in model["batches"])
        plans = f", samples of one request: {sizes}" if sizes else ", NOT ENCRYPTED for this server"
        lines.append(f"  {model['name']}: {model['protection']}, version {model['version']}{plans}")
    lines.append(f"for {started.access}")
    if started.fingerprint:
        lines.append(f"certificate {started.fingerprint}")
        lines.append(f"  {started.certificate}")
    else:
        lines.append("WITHOUT TLS: whoever reads this machine's traffic reads tokens and clear requests")
    lines += [f"gRPC at {started.grpc}"] if started.grpc else []
    lines += [f"metrics at {started.metrics}"] if started.metrics else []
    lines.append(f"keys of owners in {started.store}")
    lines.append("Ctrl-C ends it")
    return "\n".join(lines) + "\n"
