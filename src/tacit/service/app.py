"""The HTTP interface as an ASGI application: reads requests within limits, asks the endpoint, writes answers."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tacit.errors import (
    AccessDeniedError,
    InternalError,
    MalformedMessageError,
    MediaTypeError,
    NotServedError,
    TacitError,
    TooLargeError,
    UsageError,
)
from tacit.net import wire
from tacit.net.tensors import InferRequest, InferResponse, Limits
from tacit.service import page, peer, tracing
from tacit.service.calls import CALLS
from tacit.service.endpoint import Endpoint
from tacit.service.exposure import is_local_host, is_local_page
from tacit.service.intake import Disconnected, Intake, pieces
from tacit.service.keys import Keys
from tacit.service.log import Log, code_of
from tacit.service.openapi import document

__all__ = ["application", "refusal"]

JSON, BINARY, CBOR = "application/json", "application/octet-stream", "application/cbor"
SMALL_BODY = 1 << 16
DIGEST = re.compile(r"[0-9a-f]{64}")
COUNT = re.compile(r"0|[1-9][0-9]{0,11}")
PARSED_ELSEWHERE = 1 << 16
"""Bytes of a body, binary data too, above which it is read in a thread, so that the event loop goes on; unless it is
within ``QUICK``, as encrypted samples are: whatever its size, that takes no longer than a small body."""
QUICK = Limits(json_bytes=1 << 12, tensors=4, strings=64)
SAFE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def application(
    endpoint: Endpoint,
    *,
    log: Log,
    intake: Intake | None = None,
    only_local_names: bool = False,
    known: Callable[[tuple[str, int]], None] = lambda peer: None,
) -> ASGIApp:
    """The application. ``intake``: room for bodies that are being read. ``only_local_names``: see ``is_local_host``
    and ``is_local_page``. ``known``: is told host and port of a connection on which somebody has access by name."""
    handlers = _Handlers(endpoint, intake or Intake(1 << 30), only_local_names, known)
    routes = [
        Route(call.path, getattr(handlers, call.name), methods=[call.method], name=call.name)
        for call in CALLS
    ]
    # No `Starlette` around the router: it would answer errors itself, as plain text.
    router = Router(
        [*routes, Route("/metrics", handlers.metrics, methods=["GET"]), *page.routes()],
        redirect_slashes=False,
    )
    return _Frame(router, endpoint, log)


class _Frame:
    """Around every call: request id in and out, errors as JSON, one line of the log, metrics."""

    def __init__(self, inner: ASGIApp, endpoint: Endpoint, log: Log) -> None:
        self._inner = inner
        self._endpoint = endpoint
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # No lifespan and no websockets: uvicorn is told so.
            raise InternalError(f"no answer to `{scope['type']}`")
        headers = dict(_text_headers(scope))
        given = headers.get(wire.REQUEST_ID.lower(), "")
        request_id = given if wire.is_request_id(given) else uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"], state["headers"] = request_id, headers
        scope["app"] = self._inner  # so that the router raises what it does not find
        started, status = time.monotonic(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", []),
                    (wire.REQUEST_ID.lower().encode(), request_id.encode()),
                ]
            await send(message)

        error: BaseException | None = None
        try:
            with tracing.span("call", headers, request_id=request_id) as span:
                try:
                    await self._inner(scope, receive, sending)
                except Disconnected:
                    status = status or 499
                except Exception as failure:
                    error = _understood(failure, state)
                    if status:
                        raise  # an answer has begun: the connection ends, which the caller sees
                    await refusal(error, request_id, state)(scope, receive, sending)
                span.set("status", status)
                span.set("route", _route(scope))
                if error is not None:
                    span.set("code", code_of(error))
                if state.get("model"):
                    span.set("model", state["model"])
        finally:
            route = _route(scope)
            if route:
                self._endpoint.metrics.route(route, status)
            self._log.call(
                method=scope["method"],
                route=route,
                status=status,
                seconds=time.monotonic() - started,
                request_id=request_id,
                model=state.get("model", ""),
                code=code_of(error),
                principal=state.get("principal", ""),
            )
            if error is not None and not isinstance(error, TacitError):
                self._log.failure(error, request_id)


class _Handlers:
    """One method per call of the table."""

    def __init__(
        self,
        endpoint: Endpoint,
        intake: Intake,
        only_local_names: bool,
        known: Callable[[tuple[str, int]], None],
    ) -> None:
        self._known = known
        self._endpoint = endpoint
        self._intake = intake
        self._only_local_names = only_local_names
        self._keys = Keys(endpoint)
        self._document = json.dumps(document(endpoint.settings.version)).encode()

    async def live(self, request: Request) -> Response:
        return _json({"live": self._endpoint.is_live()})

    async def ready(self, request: Request) -> Response:
        is_ready = self._endpoint.is_ready()
        return _json({"ready": is_ready}, 200 if is_ready else 503)

    async def server(self, request: Request) -> Response:
        self._principal(request)
        return _json(self._endpoint.server_metadata())

    async def load(self, request: Request) -> Response:
        self._principal(request)
        return _json(self._endpoint.load())

    async def metrics(self, request: Request) -> Response:
        self._principal(request)
        content, media_type = await asyncio.to_thread(self._endpoint.metrics.text)
        return Response(content, media_type=media_type)

    async def openapi(self, request: Request) -> Response:
        self._principal(request)
        return Response(self._document, media_type=JSON, headers=SAFE)

    async def index(self, request: Request) -> Response:
        self._principal(request)
        body = await self._body(request, SMALL_BODY)
        rows = self._endpoint.repository_index()
        if not _asks_for_ready(body):
            return _json(rows)
        return _json([row for row in rows if row["state"] == "READY"])

    async def model(self, request: Request) -> Response:
        self._principal(request)
        found = self._endpoint.model_metadata(*self._model(request))
        return _json(found)

    async def model_ready(self, request: Request) -> Response:
        self._principal(request)
        name, version = self._model(request)
        is_ready = self._endpoint.is_model_ready(name, version)
        return _json({"name": name, "ready": is_ready}, 200 if is_ready else 503)

    async def plans(self, request: Request) -> Response:
        self._principal(request)
        return _json({"plans": self._endpoint.plans(self._model(request)[0])})

    async def plan(self, request: Request) -> Response:
        self._principal(request)
        plan_id = request.path_params["plan_id"]
        content = self._endpoint.plan(self._model(request)[0], plan_id)
        tag = {"ETag": f'"{plan_id}"', "Cache-Control": "private, no-cache"}
        asked = request.headers.get("if-none-match", "")
        if tag["ETag"] in [each.strip().removeprefix("W/") for each in asked.split(",")] or asked == "*":
            return Response(status_code=304, headers=tag)
        return Response(content, media_type=CBOR, headers=tag)

    async def explain(self, request: Request) -> Response:
        self._principal(request)
        return _json(self._endpoint.explain(self._model(request)[0]))

    async def infer(self, request: Request) -> Response:
        request.state.call = "infer"
        principal = self._principal(request)
        name, version = self._model(request)
        limit = self._endpoint.body_limit(name)
        timeout_ms = _count(request, wire.TIMEOUT_MS, 1, 10**9)
        json_length = _count(request, wire.CONTENT_LENGTH_OF_JSON, 1, 10**12)
        _media(request, (JSON,) if json_length is None else (JSON, BINARY))
        with self._intake.hold(principal.account) as take:
            body = await _whole(request, limit, take)
            asked = await _decoded(body, json_length)
            work = asyncio.create_task(
                self._endpoint.infer(
                    name,
                    version,
                    asked,
                    principal=principal,
                    client=request.headers.get(wire.CLIENT),
                    timeout_ms=timeout_ms,
                    request_id=request.state.request_id,
                )
            )
            answer = await _while_connected(work, request)
        return _answered(answer, asked)

    async def key_state(self, request: Request) -> Response:
        principal = self._principal(request)
        state = self._keys.state(principal, request.headers.get(wire.CLIENT), _digest(request))
        headers = {
            wire.UPLOAD_OFFSET: str(state.offset),
            wire.UPLOAD_LENGTH: str(state.length),
            wire.UPLOAD_COMPLETE: "?1" if state.complete else "?0",
        }
        return Response(status_code=200, headers=headers | SAFE)

    async def key_piece(self, request: Request) -> Response:
        principal = self._principal(request)
        digest = _digest(request)
        _media(request, (BINARY, "application/partial-upload"))
        offset = _needed(request, wire.UPLOAD_OFFSET)
        length = _needed(request, wire.UPLOAD_LENGTH)
        limit = wire.MAX_PIECE_BYTES
        body = pieces(request.receive, declared=request.headers.get("content-length"), limit=limit)
        reached, is_complete = await self._keys.take(
            principal,
            request.headers.get(wire.CLIENT),
            digest,
            offset=offset,
            length=length,
            model=request.headers.get(wire.MODEL, ""),
            plan=request.headers.get(wire.PLAN, ""),
            body=body,
        )
        headers = {wire.UPLOAD_OFFSET: str(reached), wire.UPLOAD_COMPLETE: "?1" if is_complete else "?0"}
        return Response(status_code=201 if is_complete else 204, headers=headers | SAFE)

    async def key_removal(self, request: Request) -> Response:
        principal = self._principal(request)
        await self._keys.remove(principal, request.headers.get(wire.CLIENT), _digest(request))
        return Response(status_code=204, headers=SAFE)

    def _principal(self, request: Request) -> Any:
        if self._only_local_names and not is_local_host(request.headers.get("host", "")):
            raise AccessDeniedError(
                "this server answers only to names of this machine",
                hint="use `localhost` or 127.0.0.1; with `--tokens` a server answers to any name",
            )
        if self._only_local_names and not is_local_page(request.state.headers):
            raise AccessDeniedError(
                "this server answers no web page of another machine",
                hint="open the page from this machine; with `--tokens` a server answers whoever has a token",
            )
        address = request.client.host if request.client else ""
        certificate = request.scope["state"].get(peer.KEY)
        principal = self._endpoint.principal(request.state.headers, certificate, address)
        request.state.principal = principal.identity
        if request.client is not None and not principal.is_open:
            self._known((request.client.host, request.client.port))
        return principal

    def _model(self, request: Request) -> tuple[str, str]:
        """Name and version of the path; a name that is served goes into the log."""
        name = request.path_params["model"]
        if any(row["name"] == name for row in self._endpoint.repository_index()):
            request.state.model = name
        return name, request.path_params.get("version", "")

    async def _body(self, request: Request, limit: int) -> bytes:
        return b"".join(
            [
                piece
                async for piece in pieces(
                    request.receive, declared=request.headers.get("content-length"), limit=limit
                )
            ]
        )


async def _whole(request: Request, limit: int, take: Callable[[int], None]) -> memoryview:
    """The body in one piece; ``take`` is told of every byte before it is kept. It never lies in memory twice."""
    found = bytearray()
    async for piece in pieces(request.receive, declared=request.headers.get("content-length"), limit=limit):
        take(len(piece))
        found += piece
    return memoryview(found).toreadonly()


async def _decoded(body: memoryview, json_length: int | None) -> InferRequest:
    if len(body) < PARSED_ELSEWHERE:
        return InferRequest.decode(body, json_length)
    with suppress(TooLargeError):
        return InferRequest.decode(body, json_length, QUICK)
    return await asyncio.to_thread(InferRequest.decode, body, json_length)


async def _while_connected(work: asyncio.Task[InferResponse], request: Request) -> InferResponse:
    """The result of the work, which is cancelled when the caller goes away."""

    async def leaving() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    watch = asyncio.create_task(leaving())
    try:
        await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        raise Disconnected
    finally:
        for task in (watch, work):
            task.cancel()
        for task in (watch, work):
            with suppress(BaseException):
                await task


def _answered(answer: InferResponse, asked: InferRequest) -> Response:
    """The answer in the forms that were asked for, output by output."""
    said = {output.name: output.binary for output in asked.outputs}
    binary = [
        asked.binary if said.get(tensor.name) is None else bool(said[tensor.name])
        for tensor in answer.outputs
    ]
    parts, json_length = answer.encode(binary=binary)
    if json_length is None:
        return Response(b"".join(parts), media_type=JSON, headers=SAFE)
    headers = {wire.CONTENT_LENGTH_OF_JSON: str(json_length), **SAFE}
    return Response(b"".join(parts), media_type=BINARY, headers=headers)


def refusal(error: BaseException, request_id: str, state: dict[str, Any]) -> Response:
    """The answer that says why there is none. ``state``: of the request, with `status` and `error_headers` of its own
    where the router gave them."""
    body = json.dumps(wire.error_body(error, request_id)).encode()
    status = state.get("status") or wire.status_of(error)
    headers = SAFE | wire.error_headers(error) | state.get("error_headers", {})
    # What is left of a body that was refused is not read: the connection ends.
    headers |= {"Connection": "close"} if status in (408, 413, 504) else {}
    return Response(body, status, headers, JSON)


def _understood(error: Exception, state: dict[str, Any]) -> Exception:
    """What the router raises for paths and methods that do not exist, as an error of ours."""
    if not isinstance(error, HTTPException):
        return error
    state["status"], state["error_headers"] = error.status_code, dict(error.headers or {})
    if error.status_code == 405:
        return UsageError("this path does not take this method", hint="`GET /openapi.json` lists all paths")
    return NotServedError("there is nothing at this path", hint="`GET /openapi.json` lists all paths")


def _asks_for_ready(body: bytes) -> bool:
    """What the body of a call for the index says. Raises ``MalformedMessageError``."""
    try:
        found = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        found = None
    if (
        not isinstance(found, dict)
        or not set(found) <= {"ready"}
        or type(found.get("ready", False)) is not bool
    ):
        raise MalformedMessageError('the body is empty or `{"ready": true}`')
    return bool(found.get("ready", False))


def _json(content: Any, status: int = 200) -> Response:
    return Response(json.dumps(content, ensure_ascii=False).encode(), status, SAFE, JSON)


def _digest(request: Request) -> str:
    digest: str = request.path_params["digest"]
    if not DIGEST.fullmatch(digest):
        raise MalformedMessageError("keys are named by their SHA-256, 64 digits in hexadecimal")
    return digest


def _needed(request: Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not COUNT.fullmatch(text):
        raise MalformedMessageError(f"the header `{name}` is missing or not a number")
    return int(text)


def _count(request: Request, name: str, low: int, high: int) -> int | None:
    text = request.headers.get(name)
    if text is None:
        return None
    if not COUNT.fullmatch(text) or not low <= int(text) <= high:
        raise MalformedMessageError(f"the header `{name}` is not a number from {low} to {high}")
    return int(text)


def _media(request: Request, allowed: tuple[str, ...]) -> None:
    """Refuses a body of another kind. None named is taken as the first: many clients of the protocol name none."""
    kind = request.headers.get("content-type", allowed[0]).partition(";")[0].strip().lower()
    if kind not in allowed:
        raise MediaTypeError(f"the body is not {' or '.join(allowed)}")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise MediaTypeError("compressed bodies are not read", hint="send it without `Content-Encoding`")


def _text_headers(scope: Scope) -> list[tuple[str, str]]:
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]


def _route(scope: Scope) -> str:
    """The template of the path, empty where there is none."""
    route = scope.get("route")
    return getattr(route, "path", "")
