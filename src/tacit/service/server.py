"""A server's life: what it needs is made in order, served, taken down in order; SIGTERM loses no answer."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
import os
import shutil
import signal
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from tacit.errors import InvalidParameterError, ModelError, TacitError
from tacit.net.development import dev_certificate, is_loopback
from tacit.net.tls import expires_in_s, fingerprint, renew, server_context
from tacit.service import grpc_service, metrics, tracing
from tacit.service.access import Access
from tacit.service.app import application
from tacit.service.catalog import Catalog
from tacit.service.connections import (
    HANDSHAKE_S,
    allow_connections,
    guarded_protocol,
    refusals,
    sweep,
)
from tacit.service.door import ADDRESS_CONNECTIONS, Door, Strangers
from tacit.service.endpoint import Endpoint, Settings
from tacit.service.exposure import check_exposure
from tacit.service.intake import Intake
from tacit.service.log import Log
from tacit.service.pool import KeyFile, Limits, Pool
from tacit.service.rate import Rates
from tacit.service.replay import ReplayWindow
from tacit.service.store import Store, StoreLimits
from tacit.service.workshop import Workshop

__all__ = ["Address", "Options", "Started", "assembled", "require_models", "serve", "state_folder", "watch"]

LOOK_S = 2.0
"""Seconds between two looks at the files of the models."""
SWEEP_S = 30.0
GUARD_S = 2.0
RENEW_S = 60.0
CONNECTIONS = 1000


@dataclass(frozen=True)
class Address:
    """Where to listen. ``port``: 0 takes any that is free."""

    host: str
    port: int

    @staticmethod
    def parse(text: str) -> Address:
        """Reads `HOST:PORT` or `[IPV6]:PORT`. Raises ``InvalidParameterError``."""
        host, colon, port = text.rpartition(":")
        is_bare = ":" in host and not (host.startswith("[") and host.endswith("]"))
        if not colon or not host or is_bare or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            raise InvalidParameterError(
                f"`{text}` is not an address to listen on", hint="write HOST:PORT, for example 127.0.0.1:8443"
            )
        return Address(host.strip("[]"), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Options:
    """All that a server is told. ``models``: files and folders; ``compiling``: options of `tacit compile`."""

    models: tuple[Path, ...]
    version: str
    protections: tuple[str, ...] = ("ckks",)
    calibration: Path | None = None
    compiling: tuple[str, ...] = ()
    listen: Address = field(default_factory=lambda: Address("127.0.0.1", 8443))
    cert: Path | None = None
    key: Path | None = None
    tokens: Path | None = None
    client_ca: Path | None = None
    open_: bool = False
    plain_http: bool = False
    store: Path | None = None
    store_bytes: int | None = None
    workers: int = 1
    threads: int = 1
    key_memory_bytes: int = 1 << 30
    worker_bytes: int = 0
    request_bytes: int = 256 << 20
    request_s: float = 600.0
    rate: float = 1000.0
    address_connections: int | None = None
    drain_s: float = 30.0
    grpc_listen: Address | None = None
    metrics_listen: Address | None = None
    otel: str | None = None


@dataclass(frozen=True, kw_only=True)
class Started:
    """What is served, where, and for whom: what a server says when it is ready."""

    address: str
    models: tuple[dict[str, Any], ...]
    access: str
    store: str
    fingerprint: str = ""
    certificate: str = ""
    grpc: str = ""
    metrics: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {**vars(self), "models": list(self.models)}


def state_folder() -> Path:
    """Where servers of this user keep keys and compiled models: ``$XDG_STATE_HOME/tacit``, by default under ``~``."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state") / "tacit"


async def serve(options: Options, *, log: Log, told: Callable[[Started], None]) -> None:
    """Serves until SIGTERM or SIGINT. ``told``: is called once, when everything is up.

    Raises ``InvalidParameterError`` for options that do not fit each other or an address that is taken, and the error
    of the first model where no model can be served.
    """
    _check(options)
    ending, up = asyncio.Event(), asyncio.Event()
    with _signals(ending):
        async with AsyncExitStack() as stack:
            endpoint, catalog = await assembled(options, log, up, stack)
            started = await _listening(options, endpoint, log, stack)
            loading = asyncio.create_task(_first_look(catalog, log, stack))
            waiting = asyncio.create_task(ending.wait())
            await asyncio.wait((loading, waiting), return_when=asyncio.FIRST_COMPLETED)
            if not loading.done():
                loading.cancel()
                return
            loading.result()
            require_models(options, catalog)
            told(started())
            up.set()
            await waiting
            log.event("draining", seconds=options.drain_s)
            endpoint.is_draining = True
            await endpoint.pool.drain(options.drain_s)
    log.event("ended")


def _check(options: Options) -> None:
    if (options.cert is None) != (options.key is None):
        raise InvalidParameterError("`--cert` and `--key` belong together")
    for address in (options.listen, options.grpc_listen):
        if address is not None:
            check_exposure(
                address.host,
                cert=options.cert is not None,
                tokens=options.tokens is not None,
                client_ca=options.client_ca is not None,
                open_=options.open_,
                plain_http=options.plain_http,
            )


async def assembled(
    options: Options,
    log: Log,
    up: asyncio.Event,
    stack: AsyncExitStack,
    *,
    folder: Path | None = None,
    workshop: Workshop | None = None,
    is_one_account: bool | None = None,
) -> tuple[Endpoint, Catalog]:
    """Everything that does not listen. ``up``: is set once the server has said what it serves.

    ``folder``: for keys, in place of what the options say. ``workshop``: who compiles. ``is_one_account``: whether all
    who ask come from one address; by default a server that is open on loopback takes it so.
    """
    if options.otel:
        tracing.start(options.otel)
        stack.callback(tracing.stop)
    folder = folder or _store_folder(options, stack)
    is_open = options.tokens is None and options.client_ca is None
    limits = StoreLimits()
    if options.store_bytes is not None:
        limits = dataclasses.replace(limits, total_bytes=options.store_bytes)
    if is_one_account is None:
        is_one_account = is_open and is_loopback(options.listen.host)
    if is_one_account:
        # Everybody here has one address, and so one account: its quota is the store.
        limits = dataclasses.replace(
            limits, account_bytes=limits.total_bytes, account_entries=limits.total_entries
        )
    store = await asyncio.to_thread(Store, folder / "keys", limits)
    stack.callback(store.close)
    access = Access(
        tokens=options.tokens,
        certificates=options.client_ca is not None,
        open_=is_open,
        rates=Rates(per_s=options.rate, burst=max(1.0, 2 * options.rate)),
    )
    pool = Pool(
        Limits(
            workers=options.workers,
            threads=options.threads,
            key_memory_bytes=options.key_memory_bytes,
            worker_bytes=options.worker_bytes,
        )
    )
    await pool.start()
    stack.push_async_callback(pool.close)
    compiled = (options.store or state_folder()) / "compiled"
    workshop = workshop or Workshop(compiled, options.compiling)

    def changed(name: str, what: str) -> None:
        if up.is_set():  # what the first look finds is in the words of the start
            log.event("model", model=name, what=what)

    catalog = Catalog(
        options.models,
        host=pool,
        workshop=workshop,
        protections=options.protections,
        calibration=options.calibration,
        told=changed,
    )
    stack.push_async_callback(catalog.close)
    endpoint = Endpoint(
        catalog=catalog,
        pool=pool,
        store=store,
        access=access,
        replay=ReplayWindow(),
        metrics=metrics.Metrics(),
        settings=Settings(
            version=options.version,
            store=str(folder),
            request_bytes=options.request_bytes,
            request_s=options.request_s,
        ),
    )
    loop = asyncio.get_running_loop()

    def removed(owner: str, digest: str) -> None:
        loop.call_soon_threadsafe(_forget, pool, owner, digest)

    store.on_removed(removed)
    stack.push_async_callback(_stopped, asyncio.create_task(_sweep_store(endpoint, log)))
    return endpoint, catalog


def _store_folder(options: Options, stack: AsyncExitStack) -> Path:
    if options.store is None and options.listen.port == 0:
        # Nobody finds a port again that was chosen by chance; its keys would lie about for ever.
        folder = Path(tempfile.mkdtemp(prefix="tacit-store-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder
    return options.store or state_folder() / f"serve-{options.listen.host}-{options.listen.port}"


async def _listening(
    options: Options, endpoint: Endpoint, log: Log, stack: AsyncExitStack
) -> Callable[[], Started]:
    """The sockets, with what answers on them; gives what to say about them once models are there."""
    cert, key, is_dev = _certificate(options)
    context = None
    if cert is not None and key is not None:
        context = server_context(cert, key, client_ca=options.client_ca, refused=refusals(log))
        stack.push_async_callback(_stopped, asyncio.create_task(_renew(context, cert, key, is_dev, log)))
    intake = Intake(max(1 << 30, options.request_bytes), max(1 << 28, options.request_bytes))
    # On loopback everybody comes by one address, and who is on this machine can stop the server in other ways.
    usual = None if is_loopback(options.listen.host) else ADDRESS_CONNECTIONS
    most = usual if options.address_connections is None else options.address_connections
    strangers = None if most is None else Strangers(most, refused=refusals(log))
    app = application(
        endpoint,
        log=log,
        intake=intake,
        known=strangers.leave if strangers is not None else lambda peer: None,
        only_local_names=options.tokens is None
        and options.client_ca is None
        and is_loopback(options.listen.host),
    )
    allow_connections(CONNECTIONS)
    server, address = await stack.enter_async_context(
        _uvicorn(app, options.listen, context, options.drain_s, strangers)
    )
    stack.push_async_callback(_stopped, asyncio.create_task(_guard(server, log)))
    scheme = "https" if context else "http"
    facts: dict[str, str] = {"address": f"{scheme}://{address}", "store": endpoint.settings.store}
    if cert is not None:
        days = expires_in_s(cert) / 86400
        kind = "for development, trusted by this user on this machine" if is_dev else f"`{cert}`"
        facts |= {"fingerprint": fingerprint(cert), "certificate": f"{kind}, {days:.0f} days left"}
    if options.grpc_listen is not None:
        grpc = await grpc_service.serve(
            endpoint,
            options.grpc_listen.host,
            options.grpc_listen.port,
            log=log,
            max_bytes=options.request_bytes,
            call_s=options.request_s,
            intake=intake,
            certificate=None if cert is None or key is None else (cert, key),
            client_ca=options.client_ca,
        )
        stack.push_async_callback(grpc.stop, options.drain_s)
        facts["grpc"] = f"{'grpcs' if cert else 'grpc'}://{Address(options.grpc_listen.host, grpc.port)}"
    if options.metrics_listen is not None:
        scraped = metrics.application(endpoint.metrics, endpoint)
        _, where = await stack.enter_async_context(_uvicorn(scraped, options.metrics_listen, None, 1.0))
        facts["metrics"] = f"http://{where}/metrics"

    def started() -> Started:
        return Started(models=tuple(_described(endpoint)), access=_who(options), **facts)

    return started


def _certificate(options: Options) -> tuple[Path | None, Path | None, bool]:
    if options.plain_http:
        return None, None, False
    if options.cert is not None:
        return options.cert, options.key, False
    made = dev_certificate()
    return made.cert, made.key, True


@asynccontextmanager
async def _uvicorn(
    app: Any,
    address: Address,
    context: ssl.SSLContext | None,
    drain_s: float,
    strangers: Strangers | None = None,
) -> AsyncIterator[tuple[uvicorn.Server, Address]]:
    """A server of uvicorn on an address, without its logs, its signals and its name in the answers."""
    bound = _bound(address)
    if strangers is not None:
        bound = Door.of(bound, strangers)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        app,
        http=guarded_protocol(CONNECTIONS, strangers.attend)
        if strangers is not None
        else guarded_protocol(CONNECTIONS),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=512,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=max(1, round(drain_s)),
        h11_max_incomplete_event_size=64 << 10,
    )
    config.load()
    config.ssl = context
    server = _Quiet(config)
    running = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        while not server.started and not running.done():
            await asyncio.sleep(0.01)
        if running.done():
            running.result()
        yield server, Address(address.host, bound.getsockname()[1])
    finally:
        server.should_exit = True
        await _closed(server, running, drain_s)


async def _closed(server: uvicorn.Server, running: asyncio.Task[None], drain_s: float) -> None:
    """Waits for a server that was told to end. Connections that have nothing left to say are cut after a second: a
    caller that keeps one open would be waited for, over TLS for half a minute."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while not running.done():
        await asyncio.sleep(0.05)
        spent = loop.time() - begun
        for connection in list(server.server_state.connections):
            is_idle = not server.server_state.tasks and not connection.transport.get_write_buffer_size()
            if spent > max(1.0, drain_s) or (is_idle and spent > 1.0):
                connection.transport.abort()
    await running


class _Quiet(uvicorn.Server):
    """Leaves signals to whoever runs it, and gives handshakes less time than asyncio does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.config.ssl is None:
            return await super().startup(sockets)
        loop: Any = asyncio.get_running_loop()
        # uvicorn passes no such limit on, and a connection counts nowhere before its handshake is done.
        loop.create_server = functools.partial(loop.create_server, ssl_handshake_timeout=HANDSHAKE_S)
        try:
            await super().startup(sockets)
        finally:
            del loop.create_server

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bound(address: Address) -> socket.socket:
    """A socket on an address. Raises ``InvalidParameterError``."""
    try:
        family, kind, number, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, number)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(where)
    except OSError as error:
        raise InvalidParameterError(
            f"cannot listen on {address}: {(error.strerror or 'no such address').lower()}",
            hint="does another server run there? `--listen HOST:PORT` chooses another address",
        ) from None
    bound.setblocking(False)
    return bound


@contextlib.contextmanager
def _signals(ending: asyncio.Event) -> Iterator[None]:
    """SIGTERM and SIGINT end the server in order; a second one ends it at once."""
    loop = asyncio.get_running_loop()
    caught = (signal.SIGTERM, signal.SIGINT)

    def end(number: signal.Signals) -> None:
        if ending.is_set():
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        ending.set()

    for number in caught:
        loop.add_signal_handler(number, end, number)
    try:
        yield
    finally:
        for number in caught:
            loop.remove_signal_handler(number)


def require_models(options: Options, catalog: Catalog) -> None:
    """A server that was given files and can serve none of them ends; a folder may be filled later."""
    if catalog.all() or any(path.is_dir() for path in options.models):
        return
    reasons = [row["reason"] for row in catalog.index() if row["reason"]]
    raise ModelError(reasons[0] if reasons else "there is no model to serve")


def _described(endpoint: Endpoint) -> list[dict[str, Any]]:
    """What is served, for the message at the start."""
    rows = []
    ready = {served.name: served for served in endpoint.catalog.all()}
    for row in endpoint.repository_index():
        served = ready.get(row["name"])
        found: dict[str, Any] = dict(row)
        if served is not None:
            found["protection"] = served.protection
            found["batches"] = [plan.facts["batch"] for plan in served.rows.values()]
        rows.append(found)
    return rows


def _who(options: Options) -> str:
    if options.tokens is not None and options.client_ca is not None:
        return f"holders of a token of `{options.tokens}` and a certificate of `{options.client_ca}`"
    if options.tokens is not None:
        return f"holders of a token of `{options.tokens}`"
    if options.client_ca is not None:
        return f"holders of a certificate of `{options.client_ca}`"
    if is_loopback(options.listen.host):
        return "everybody on this machine"
    return "EVERYBODY who reaches this address"


async def _first_look(catalog: Catalog, log: Log, stack: AsyncExitStack) -> None:
    """Until every model is there. From when those are that need not be compiled, files are looked at again."""
    await catalog.refresh(waits=False)
    stack.push_async_callback(_stopped, asyncio.create_task(watch(catalog, log)))
    await catalog.compiled()


async def watch(catalog: Catalog, log: Log) -> None:
    """Looks at the files of the models again and again, until it is cancelled."""
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            await catalog.refresh(settled=True, waits=False)
        except (TacitError, OSError) as error:
            log.event(
                "catalog", what=str(error) if isinstance(error, TacitError) else "a folder cannot be read"
            )


async def _sweep_store(endpoint: Endpoint, log: Log) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        try:
            await asyncio.to_thread(endpoint.store.sweep)
        except TacitError as error:
            log.event("store", what=str(error))


def _forget(pool: Pool, owner: str, digest: str) -> None:
    """Tells the workers of keys that left the store: removed, evicted or expired."""
    pool.forget_keys(KeyFile(owner=bytes.fromhex(owner), sha256=bytes.fromhex(digest), path=Path()))


async def _renew(context: ssl.SSLContext, cert: Path, key: Path, is_dev: bool, log: Log) -> None:
    """Takes over files of the certificate that changed; new connections get them."""
    before = cert.stat().st_mtime_ns
    while True:
        await asyncio.sleep(RENEW_S)
        try:
            if is_dev:
                await asyncio.to_thread(dev_certificate)
            now = cert.stat().st_mtime_ns
            if now != before:
                renew(context, cert, key)
                before = now
                log.event("certificate", what="renewed", fingerprint=fingerprint(cert))
        except (TacitError, OSError) as error:
            log.event("certificate", what=str(error) if isinstance(error, TacitError) else "cannot be read")


async def _guard(server: uvicorn.Server, log: Log) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(GUARD_S)
        if ended := sweep(list(server.server_state.connections), loop.time()):
            log.event("connections", what="stuck, ended", count=ended)


async def _stopped(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
