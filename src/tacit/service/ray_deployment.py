"""The configuration of `tacit serve` as an application of Ray Serve, an optional extra (``tacit[ray]``).

``shards`` deployments of one replica each hold owners' keys; one deployment in front of them hands every call to the
shard of its owner (`shards`). A fixed deployment per shard, and not replicas behind Ray's balancer: an owner pays one
upload, and a replayed request meets the memory that refuses it, whichever way it comes.

Ray is imported by what needs it, so that this module can be read without it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from tacit.errors import BusyError, InternalError, InvalidParameterError, MalformedMessageError, TlsError
from tacit.net import wire
from tacit.net.development import dev_certificate, is_loopback
from tacit.net.tls import fingerprint, server_context
from tacit.service.exposure import check_exposure
from tacit.service.log import Log
from tacit.service.server import Options, state_folder
from tacit.service.shards import Answer, Front, Question, Shard

__all__ = ["application", "build", "run"]

CONTROLLER = ("serve", "SERVE_CONTROLLER_ACTOR")
"""Namespace and name of the actor of a Serve instance that runs."""
CALLS = 1000
"""Calls that one replica of Ray has at a time, and that wait for it: the queue of a shard says no long before."""
FRONT_CPUS = 0.5
HEALTH_S = 2.0
"""Between two looks at a replica: one that died is replaced so much later at most."""
USAGE = "RAY_USAGE_STATS_ENABLED"
FINGERPRINT_S = 10.0
QUIET = {"enable_access_log": False}
"""Ray writes a line of each call, with its path; a shard writes what SECURITY.md lists."""


def application(options: Options, *, shards: int, fronts: int = 1, behind_tls: bool = False) -> Any:
    """An application for `serve.run`, on a Serve instance whose HTTP options are yours.

    ``shards``: processes that hold owners' keys, each with the workers, memory and quotas of ``options``. ``fronts``:
    processes that hand calls to them. ``behind_tls``: says that something ends TLS before Ray's proxy, which speaks
    plain HTTP: without it this raises ``InvalidParameterError``, as for options that have no meaning under Ray. The
    address of ``options`` is not used.
    """
    if not behind_tls:
        raise InvalidParameterError(
            "nothing says that TLS ends before Ray's proxy, which would show tokens to the network",
            hint="say `behind_tls=True` where it does; `run` has Ray's proxy speak TLS",
        )
    _check(options, shards, fronts, behind_tls=True)
    return _bound(options, shards, fronts, behind_tls=True)


def run(
    options: Options, *, shards: int, fronts: int = 1, behind_tls: bool = False, name: str = "tacit"
) -> str:
    """Starts Serve, with the address and certificate of ``options``, on the Ray cluster of this process; gives the URL.

    TLS as for `tacit serve`: a certificate, or on loopback the development certificate. ``behind_tls``: plain HTTP on
    any address, because something before it ends TLS. Files of ``options`` have the same path on all machines.

    Raises ``InvalidParameterError``, also where Serve runs already: its options would stay as they are; ``TlsError``
    where the address does not answer with the certificate; Ray's own errors where replicas do not start.
    """
    ray, serve = _ray()
    _check(options, shards, fronts, behind_tls=behind_tls)
    cert, key = _certificate(options, behind_tls)
    if not ray.is_initialized():
        raise InvalidParameterError(
            "this process is of no Ray cluster yet", hint="`ray.init(…)` first: which cluster is yours to say"
        )
    if {"namespace": CONTROLLER[0], "name": CONTROLLER[1]} in ray.util.list_named_actors(all_namespaces=True):
        raise InvalidParameterError(
            "Serve runs on this cluster already, and keeps the address and certificate that it has",
            hint="end it with `serve shutdown`, or use `application(…, behind_tls=True)` behind a proxy with TLS",
        )
    http: dict[str, Any] = {"host": options.listen.host, "port": options.listen.port}
    if cert is not None:
        if not hasattr(serve.HTTPOptions(), "ssl_certfile"):
            raise InvalidParameterError(
                f"the proxy of Ray {ray.__version__} speaks no TLS",
                hint="take a newer Ray, or end TLS before it and say `behind_tls=True`",
            )
        http |= {"ssl_certfile": str(cert), "ssl_keyfile": str(key)}
    try:
        serve.start(http_options=http, logging_config=QUIET)
        if cert is not None:
            _check_certificate(options.listen.host, options.listen.port, cert)
        bound = _bound(options, shards, fronts, behind_tls=behind_tls)
        serve.run(bound, name=name, route_prefix="/", logging_config=QUIET)
    except BaseException:
        serve.shutdown()
        raise
    return f"{'http' if cert is None else 'https'}://{options.listen}"


def build(arguments: Mapping[str, Any]) -> Any:
    """An application from plain values, for `serve run tacit.service.ray_deployment:build …` and configuration files.

    ``arguments``: `models` (paths, one or a list), and the options of `tacit serve` by their names there with `_` for
    `-`, besides `shards`, `fronts` and `behind_tls`. Raises as ``application`` does.
    """
    given = dict(arguments)
    try:
        scale = {name: int(given.pop(name)) for name in ("shards", "fronts") if name in given}
        behind_tls = _truth(given.pop("behind_tls", False))
        known = {name: read(given.pop(name)) for name, (_, read) in READERS.items() if name in given}
    except (TypeError, ValueError):
        raise InvalidParameterError("an argument of the application is not of its kind") from None
    if given or "models" not in known or "shards" not in scale:
        wrong = f"`{min(map(str, given))[:100]}` is none" if given else "`models` and `shards` are needed"
        raise InvalidParameterError(
            f"the arguments of the application: {wrong}",
            hint=f"they are {', '.join([*READERS, 'shards', 'fronts', 'behind_tls'])}",
        )
    options = Options(
        version=importlib.metadata.version("tacit"),
        **{READERS[name][0]: value for name, value in known.items()},
    )
    return application(options, shards=scale["shards"], fronts=scale.get("fronts", 1), behind_tls=behind_tls)


def _truth(value: object) -> bool:
    if str(value).lower() not in ("true", "false"):
        raise ValueError(value)
    return str(value).lower() == "true"


def _list(value: object) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


READERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "models": ("models", lambda value: tuple(Path(path) for path in _list(value))),
    "protection": ("protections", lambda value: tuple(str(each) for each in _list(value))),
    "tokens": ("tokens", Path),
    "open": ("open_", _truth),
    "store": ("store", Path),
    "store_bytes": ("store_bytes", int),
    "workers": ("workers", int),
    "threads": ("threads", int),
    "worker_bytes": ("worker_bytes", int),
    "key_memory": ("key_memory_bytes", int),
    "request_bytes": ("request_bytes", int),
    "timeout_s": ("request_s", float),
    "rate": ("rate", float),
    "drain_s": ("drain_s", float),
    "otel": ("otel", str),
}
"""Argument of ``build``: the field of ``Options``, and how its value is read."""


def _ray() -> tuple[Any, Any]:
    try:
        import ray
        from ray import serve
    except ImportError:
        raise InvalidParameterError(
            "a deployment on Ray needs Ray Serve, which is not installed", hint='pip install "tacit[ray]"'
        ) from None
    return ray, serve


def _check(options: Options, shards: int, fronts: int, *, behind_tls: bool) -> None:
    if min(shards, fronts, options.workers, options.threads) < 1:
        raise InvalidParameterError("`shards`, `fronts`, `workers` and `threads` are at least 1")
    meaningless = {
        "client_ca": "Ray's proxy does not tell who has which certificate: use tokens",
        "grpc_listen": "gRPC is not passed on to shards: use HTTP",
        "metrics_listen": "a shard has no address of its own: `/metrics?shard=N` asks for a token",
        "calibration": "models are compiled before: `tacit compile`",
        "address_connections": "limits on connections are those of Ray's proxy",
    }
    for name, why in meaningless.items():
        if getattr(options, name) is not None:
            raise InvalidParameterError(f"`{name}` has no meaning on Ray", hint=why)
    if behind_tls:
        if options.cert is not None or options.plain_http:
            raise InvalidParameterError(
                "`behind_tls` says that TLS ends elsewhere: leave out `cert`, `key` and `plain_http`"
            )
        if (options.tokens is None) != options.open_:
            raise InvalidParameterError(
                "nothing, or too much, says who may ask", hint="give `tokens`, or `open_=True` for everybody"
            )
        return
    if (options.cert is None) != (options.key is None):
        raise InvalidParameterError("`cert` and `key` belong together")
    if options.listen.port == 0:
        raise InvalidParameterError("Ray's proxies listen on a port that is chosen: 0 is none")
    check_exposure(
        options.listen.host,
        cert=options.cert is not None,
        tokens=options.tokens is not None,
        client_ca=False,
        open_=options.open_,
        plain_http=options.plain_http,
    )


def _certificate(options: Options, behind_tls: bool) -> tuple[Path | None, Path | None]:
    if behind_tls or options.plain_http:
        return None, None
    if options.cert is None or options.key is None:
        made = dev_certificate()
        return made.cert, made.key
    server_context(options.cert, options.key)  # raises for what is expired or does not fit
    return options.cert.absolute(), options.key.absolute()


def _check_certificate(host: str, port: int, cert: Path) -> None:
    """Raises ``TlsError`` where the address answers without this certificate."""
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - recognised, not listened on
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # compared byte by byte below
    try:
        with (
            socket.create_connection((near, port), FINGERPRINT_S) as line,
            context.wrap_socket(line) as secured,
        ):
            found = secured.getpeercert(binary_form=True) or b""
    except OSError:
        found = b""
    if f"sha256:{hashlib.sha256(found).hexdigest()}" != fingerprint(cert):
        raise TlsError("Ray's proxy does not answer with the certificate; it was ended")


def _who_is_open(options: Options, behind_tls: bool) -> tuple[bool, bool]:
    """Of a service without tokens: whether it answers to names of this machine only, whether all have one address."""
    is_open, is_near = options.tokens is None, is_loopback(options.listen.host)
    return is_open and is_near and not behind_tls, is_open and (is_near or behind_tls)


def _bound(options: Options, shards: int, fronts: int, *, behind_tls: bool) -> Any:
    _, serve = _ray()
    absolute = dataclasses.replace(
        options,
        models=tuple(path.absolute() for path in options.models),
        tokens=None if options.tokens is None else options.tokens.absolute(),
        store=(options.store or state_folder() / "ray").absolute(),
    )
    common = {
        "max_ongoing_requests": CALLS,
        "max_queued_requests": CALLS,
        "graceful_shutdown_timeout_s": options.drain_s,
        "health_check_period_s": HEALTH_S,
    }
    # `shards` is among the arguments so that another number of them makes every shard anew: an owner that moves then
    # finds no shard that accepts what was sent before it started. Ray may start it before it ends the old ones.
    bound = [
        serve.deployment(_RayShard)
        .options(
            name=f"shard-{number}",
            num_replicas=1,
            ray_actor_options={"num_cpus": options.workers * options.threads},
            **common,
        )
        .bind(absolute, number, shards, *_who_is_open(options, behind_tls))
        for number in range(shards)
    ]
    return (
        serve.deployment(_RayFront)
        .options(name="front", num_replicas=fronts, ray_actor_options={"num_cpus": FRONT_CPUS}, **common)
        .bind(absolute, *bound)
    )


class _RayShard:
    """A replica of Ray Serve around a shard."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, options: Options, number: int, shards: int, is_local: bool, is_one_account: bool
    ) -> None:
        if os.environ.get(USAGE) != "0":
            raise InvalidParameterError(
                "this Ray cluster may report its use to others",
                hint=f"start Ray on each machine with `--disable-usage-stats` or {USAGE}=0",
            )
        if options.store is None:
            raise InternalError("a shard was made without a folder")
        self._shard = Shard()
        await self._shard.open(
            options,
            options.store / f"shard-{number}",
            log=Log(),
            only_local_names=is_local,
            is_one_account=is_one_account,
        )

    async def answer(self, head: bytes, body: bytes) -> bytes:
        """An answer as bytes, to the head of a question and its body."""
        return (await self._shard.answer(Question.of(head, body))).to_bytes()

    def check_health(self) -> None:
        """Ray replaces a replica that raises here again and again."""
        if not self._shard.is_well:
            raise InternalError("no workers can be started")


class _RayFront:
    """The replica that Ray's proxy calls."""

    def __init__(self, options: Options, *shards: Any) -> None:
        self._front = Front(options, [_asking(shard) for shard in shards], log=Log())

    async def __call__(self, request: Any) -> Any:
        answer = await self._front(request)
        if wire.REQUEST_ID in answer.headers:
            del answer.headers[wire.REQUEST_ID]  # Ray's proxy adds the same one
        return answer


def _asking(handle: Any) -> Callable[[Question], Awaitable[Answer]]:
    """How a shard is asked by its handle of Ray."""
    from ray.exceptions import RayError, RayTaskError
    from ray.serve.exceptions import RayServeException

    async def ask(question: Question) -> Answer:
        # Apart: Ray puts a large argument into its object store, and that onto a disk. The head has tokens.
        response = handle.answer.remote(question.head(), question.body)
        try:
            return Answer.from_bytes(await response)
        except (RayTaskError, MalformedMessageError):
            raise InternalError("a shard failed at this call") from None
        except (RayError, RayServeException):
            raise BusyError(
                "the part of the service that holds this owner's keys is away for the moment",
                retry_after_s=1.0,
                hint="send it anew; keys that went with it are asked for",
            ) from None
        finally:
            response.cancel()

    return ask
