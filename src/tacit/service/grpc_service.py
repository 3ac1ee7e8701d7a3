"""`inference.GRPCInferenceService`: the same predictions as over REST, for clients that speak gRPC (``tacit[grpc]``).

Access, limits, the queue and errors are those of REST: both call one endpoint. Who asks is known before a message is
read (`grpc_intake`): methods are declared as streams of messages, of which one is taken; on the wire both are alike.
Plans and keys travel over REST; an encrypted request is a BYTES tensor here as there. An error carries, beside its gRPC
status, the JSON body that REST would send, as trailing metadata `tacit-error-bin`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from tacit.errors import InvalidParameterError, MalformedMessageError, TacitError, TooLargeError
from tacit.net import wire
from tacit.service import grpc_messages, tracing
from tacit.service.grpc_intake import CALLS, Turns
from tacit.service.intake import Intake
from tacit.service.log import Log, code_of

if TYPE_CHECKING:
    from tacit.net.tensors import InferRequest, InferResponse

__all__ = ["STATUS", "GrpcServer", "Served", "serve"]

STATUS: Final[Mapping[int, str]] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    410: "NOT_FOUND",
    413: "RESOURCE_EXHAUSTED",
    415: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    507: "RESOURCE_EXHAUSTED",
}
"""HTTP status of an error → gRPC status, after the table of google.rpc.Code."""

_CONCURRENT_STREAMS = 16
_CONNECTIONS = 1000
_IDLE_MS = 60_000
"""A connection without calls ends after this; one whose peer is gone is noticed in the same time."""
_AGE_MS = 600_000
"""Connections are renewed, so that an answer that nobody reads is not kept for ever."""
_SMALL_BYTES = 1 << 16
"""Of a message that only names something."""
_LARGE_BYTES = 1 << 16
# Longest time for which a wait is asked of `asyncio`; a client without a deadline gets the endpoint's own.
_MAX_TIMEOUT_MS = 3_600_000


class Served(Protocol):
    """What is behind both REST and gRPC. Documents are dicts in the JSON forms of REST."""

    def is_live(self) -> bool: ...
    def is_ready(self) -> bool: ...
    def server_metadata(self) -> dict[str, Any]: ...
    def model_metadata(self, model: str, version: str = "") -> dict[str, Any]: ...
    def is_model_ready(self, model: str, version: str = "") -> bool: ...
    def repository_index(self) -> list[dict[str, Any]]: ...
    def body_limit(self, model: str) -> int: ...
    def principal(self, headers: Mapping[str, str], certificate: bytes | None, address: str) -> Any: ...

    async def infer(
        self,
        model: str,
        version: str,
        request: InferRequest,
        *,
        principal: Any,
        client: str | None,
        timeout_ms: int | None,
        request_id: str,
        protocol: str,
    ) -> InferResponse: ...


class GrpcServer:
    """A server that runs. ``port``: the one that was bound."""

    def __init__(self, server: Any, port: int) -> None:
        self._server = server
        self.port = port

    async def stop(self, grace_s: float) -> None:
        """Takes no more calls, and cuts those that still run after ``grace_s`` seconds."""
        await self._server.stop(grace_s)


async def serve(
    endpoint: Served,
    host: str,
    port: int,
    *,
    log: Log,
    max_bytes: int,
    call_s: float = 600.0,
    intake: Intake | None = None,
    connections: int = _CONNECTIONS,
    certificate: tuple[Path, Path] | None = None,
    client_ca: Path | None = None,
) -> GrpcServer:
    """Serve on ``host``:``port`` (0: any free one) in the running loop.

    ``log`` gets a line of each call. ``max_bytes``: largest message; ``call_s``: longest time of a call. ``intake``:
    room for bytes of requests, which REST shares. ``connections``: most of them at a time. ``certificate``: chain and
    key as PEM files, read anew when they change; ``None``: in the clear. ``client_ca``: certificates of clients are
    required, signed by it.
    Raises ``InvalidParameterError`` where the extra is missing or the address cannot be bound.
    """
    try:
        import grpc
    except ImportError:
        raise InvalidParameterError(
            "gRPC needs a library that is not installed", hint='pip install "tacit[grpc]"'
        ) from None
    grpc_messages.classes()
    server = grpc.aio.server(
        maximum_concurrent_rpcs=CALLS,
        options=[
            ("grpc.max_receive_message_length", max_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_concurrent_streams", _CONCURRENT_STREAMS),
            ("grpc.max_metadata_size", 16 << 10),
            ("grpc.so_reuseport", 0),
            ("grpc.server_handshake_timeout_ms", 10_000),
            ("grpc.max_allowed_incoming_connections", connections),
            ("grpc.max_connection_idle_ms", _IDLE_MS),
            ("grpc.max_connection_age_ms", _AGE_MS),
            ("grpc.max_connection_age_grace_ms", int(call_s * 1000) + _IDLE_MS),
            ("grpc.keepalive_time_ms", _IDLE_MS),
            # Windows do not grow with the line: what nobody reads yet is 64 KiB of a connection, and a message that is
            # read gets the window that it needs.
            ("grpc.http2.bdp_probe", 0),
            # Identity only: what is decompressed could be a thousand times larger than what the limit has seen.
            ("grpc.compression_enabled_algorithms_bitset", 1),
        ],
    )
    calls = _Calls(endpoint, log, Turns(max_bytes=max_bytes), intake or Intake(4 * max_bytes, max_bytes))
    server.add_generic_rpc_handlers((calls.handler(grpc),))
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if certificate is None:
            bound = server.add_insecure_port(where)
        else:
            bound = server.add_secure_port(where, _credentials(grpc, certificate, client_ca))
    except RuntimeError:
        bound = 0
    if not bound:
        await server.stop(None)
        raise InvalidParameterError(f"cannot listen for gRPC on {where}", hint="is another server there?")
    await server.start()
    return GrpcServer(server, bound)


def _credentials(grpc: Any, certificate: tuple[Path, Path], client_ca: Path | None) -> Any:
    """Credentials that follow the files: a renewed certificate is used from the next handshake on."""

    def stamp() -> tuple[int, ...]:
        return tuple(path.stat().st_mtime_ns for path in certificate)

    def read() -> Any:
        chain, key = (path.read_bytes() for path in certificate)
        root = None if client_ca is None else client_ca.read_bytes()
        return grpc.ssl_server_certificate_configuration([(key, chain)], root)

    seen = [stamp()]

    def renewed() -> Any:
        # While files are being replaced the old certificate stays in use.
        with contextlib.suppress(OSError, ValueError):
            now = stamp()
            if now != seen[0]:
                found = read()
                seen[0] = now
                return found
        return None

    return grpc.dynamic_ssl_server_credentials(
        read(), renewed, require_client_authentication=client_ca is not None
    )


class _Calls:
    """One method for each of the protocol. Messages come and go as bytes, so that reading them is ours to limit."""

    def __init__(self, endpoint: Served, log: Log, turns: Turns, intake: Intake) -> None:
        self._endpoint = endpoint
        self._log = log
        self._turns = turns
        self._intake = intake

    def handler(self, grpc: Any) -> Any:
        methods = {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.server_metadata,
            "ModelMetadata": self.model_metadata,
            "ModelInfer": self.infer,
            "RepositoryIndex": self.repository_index,
        }
        return grpc.method_handlers_generic_handler(
            grpc_messages.SERVICE,
            {
                name: grpc.stream_unary_rpc_method_handler(_answering(grpc, name, call, self._log))
                for name, call in methods.items()
            },
        )

    async def server_live(self, call: _Call) -> bytes:
        return _written("ServerLiveResponse", live=self._endpoint.is_live())

    async def server_ready(self, call: _Call) -> bytes:
        return _written("ServerReadyResponse", ready=self._endpoint.is_ready())

    async def model_ready(self, call: _Call) -> bytes:
        asked = grpc_messages.parse("ModelReadyRequest", await self._small(call))
        call.note(self._endpoint, asked.name)
        return _written("ModelReadyResponse", ready=self._endpoint.is_model_ready(asked.name, asked.version))

    async def server_metadata(self, call: _Call) -> bytes:
        call.principal(self._endpoint)
        found = self._endpoint.server_metadata()
        return _written(
            "ServerMetadataResponse", **{key: found[key] for key in ("name", "version", "extensions")}
        )

    async def model_metadata(self, call: _Call) -> bytes:
        asked = grpc_messages.parse("ModelMetadataRequest", await self._small(call))
        call.note(self._endpoint, asked.name)
        found = self._endpoint.model_metadata(asked.name, asked.version)
        tensors = {
            side: [{key: item[key] for key in ("name", "datatype", "shape")} for item in found[side]]
            for side in ("inputs", "outputs")
        }
        return _written(
            "ModelMetadataResponse",
            name=found["name"],
            versions=found.get("versions", []),
            platform=found["platform"],
            **tensors,
        )

    async def repository_index(self, call: _Call) -> bytes:
        asked = grpc_messages.parse("RepositoryIndexRequest", await self._small(call))
        rows = [
            {key: str(row.get(key) or "") for key in ("name", "version", "state", "reason")}
            for row in self._endpoint.repository_index()
            if row.get("state") == "READY" or not asked.ready
        ]
        return _written("RepositoryIndexResponse", models=rows)

    async def infer(self, call: _Call) -> bytes:
        principal = call.principal(self._endpoint)
        with self._turns.call(principal.account), self._intake.hold(principal.account) as take:
            message = await self._turns.read(principal.account, call.message)
            take(len(message))
            return await self._predicted(principal, message, call)

    async def _small(self, call: _Call) -> bytes:
        """The message of a call that only names something."""
        account = call.principal(self._endpoint).account
        with self._turns.call(account):
            message = await self._turns.read(account, call.message)
        if len(message) > _SMALL_BYTES:
            raise TooLargeError(f"this call reads {_SMALL_BYTES} bytes at most")
        return message

    async def _predicted(self, principal: Any, message: bytes, call: _Call) -> bytes:
        if len(message) > _LARGE_BYTES:
            model, version, request = await asyncio.to_thread(grpc_messages.read_infer, message)
        else:
            model, version, request = grpc_messages.read_infer(message)
        call.note(self._endpoint, model)
        limit = self._endpoint.body_limit(model)
        if len(message) > limit:
            raise TooLargeError(
                f"the message is larger than the {limit} bytes that are read for this model",
                hint="send fewer samples at a time",
            )
        response = await self._endpoint.infer(
            model,
            version,
            request,
            principal=principal,
            client=call.headers.get(wire.CLIENT.lower()),
            timeout_ms=call.timeout_ms(),
            request_id=call.request_id,
            protocol="grpc",
        )
        return grpc_messages.write_infer(response)


class _Call:
    """What a call says beside its message."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self.identity = self.model = ""
        # Binary metadata (`-bin`) is none of ours; of a repeated name the last one counts, as for REST.
        self.headers = {
            name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)
        }
        given = self.headers.get(wire.REQUEST_ID.lower(), "")
        self.request_id = given if wire.is_request_id(given) else uuid.uuid4().hex

    async def message(self) -> bytes:
        """The one message. Raises ``MalformedMessageError`` where none comes."""
        found = await self._context.read()
        if not isinstance(found, bytes):
            raise MalformedMessageError("the call has no message")
        return found

    def principal(self, endpoint: Served) -> Any:
        pem = self._context.auth_context().get("x509_pem_cert")
        certificate = ssl.PEM_cert_to_DER_cert(pem[0].decode("ascii")) if pem else None
        found = endpoint.principal(self.headers, certificate, _address(self._context.peer()))
        self.identity = str(found.identity)
        return found

    def note(self, endpoint: Served, model: str) -> None:
        """For the log: the name of a model, if it is one of the server's."""
        if any(row["name"] == model for row in endpoint.repository_index()):
            self.model = model

    def timeout_ms(self) -> int | None:
        """The client's deadline, from now. Raises ``MalformedMessageError`` for a header that is no number."""
        left = self._context.time_remaining()
        times = [] if left is None else [max(0, int(left * 1000))]
        text = self.headers.get(wire.TIMEOUT_MS.lower())
        if text is not None:
            if not (text.isascii() and text.isdigit() and 0 < len(text) < 10):
                raise MalformedMessageError(f"`{wire.TIMEOUT_MS}` is a number of milliseconds")
            times.append(int(text))
        return min(min(times), _MAX_TIMEOUT_MS) if times else None


def _answering(
    grpc: Any, name: str, method: Callable[[_Call], Awaitable[bytes]], log: Log
) -> Callable[[Any, Any], Awaitable[bytes]]:
    """A method whose errors become a status with the body that REST would send, with a span and a line of the log.

    Cancelling goes through, and is written down as REST does.
    """
    route = f"/{grpc_messages.SERVICE}/{name}"

    async def answer(messages: Any, context: Any) -> bytes:
        call, started = _Call(context), time.monotonic()
        status, error = 499, None
        try:
            facts = {"request_id": call.request_id, "route": route, "protocol": "grpc"}
            with tracing.span("call", call.headers, **facts) as span:
                try:
                    await context.send_initial_metadata(((wire.REQUEST_ID.lower(), call.request_id),))
                    found = await method(call)
                    status = 200
                    return found
                except Exception as failure:
                    error, status = failure, wire.status_of(failure)
                    span.set("code", code_of(failure))
                finally:
                    span.set("status", status)
                    if call.model:
                        span.set("model", call.model)
            await _refuse(grpc, context, error, call.request_id, status)
            raise error  # not reached: `abort` raises
        finally:
            log.call(
                method="GRPC",
                route=route,
                status=status,
                seconds=time.monotonic() - started,
                request_id=call.request_id,
                model=call.model,
                code=code_of(error),
                principal=call.identity,
            )
            if error is not None and not isinstance(error, TacitError):
                log.failure(error, call.request_id)

    return answer


async def _refuse(grpc: Any, context: Any, error: BaseException, request_id: str, status: int) -> None:
    body = wire.error_body(error, request_id)
    headers = {name.lower(): value for name, value in wire.error_headers(error).items()}
    headers.pop(wire.CHALLENGE.lower(), None)
    await context.abort(
        getattr(grpc.StatusCode, STATUS.get(status, "UNKNOWN")),
        _ascii(body["error"]),
        (*headers.items(), ("tacit-error-bin", json.dumps(body).encode())),
    )


def _written(message: str, /, **fields: Any) -> bytes:
    return bytes(grpc_messages.classes()[message](**fields).SerializeToString())


def _address(peer: str) -> str:
    """The host of a peer as gRPC writes it: `ipv4:127.0.0.1:1234`, `ipv6:%5B::1%5D:1234`."""
    scheme, _, rest = peer.partition(":")
    if scheme not in ("ipv4", "ipv6"):
        return ""
    return rest.replace("%5B", "[").replace("%5D", "]").rpartition(":")[0].strip("[]")


def _ascii(text: str) -> str:
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)
