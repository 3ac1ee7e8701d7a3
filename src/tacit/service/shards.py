"""One service in several processes, each with owners of its own: which shard an owner has, and the front before them.

An owner's evaluation keys and the memory of its requests are in one shard, which the client secret of the request
names. The tag of a frame is under a key derived from that secret, so a request that was captured reaches no other shard
than the one that has seen it: with another secret it is not authentic.

Nothing here knows how shards are reached: `ray_deployment` does.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cbor2
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Scope

from tacit.backends.ckks.envelope import read_cbor
from tacit.errors import MalformedMessageError, ModelError, PeerTimeoutError, TacitError
from tacit.net import wire
from tacit.service.access import Access
from tacit.service.app import application, refusal
from tacit.service.intake import Disconnected, Intake, pieces
from tacit.service.log import Log, code_of
from tacit.service.server import Options, assembled, require_models, watch
from tacit.service.workshop import Workshop

__all__ = ["Answer", "Ask", "Front", "Question", "Shard", "intake_of", "shard_of"]

GRACE_S = 30.0
"""What an answer of a shard may take beyond the most time of a prediction."""
BODILESS = ("GET", "HEAD")


@dataclass(frozen=True, repr=False)
class Question:
    """A call over HTTP with its whole body. ``headers``: as ASGI has them; ``client``: address and port."""

    method: str
    path: str
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    client: tuple[str, int] | None
    scheme: str
    root_path: str
    body: bytes

    def head(self) -> bytes:
        """All but the body, for another process: a canonical CBOR list of the other fields in their order."""
        client = None if self.client is None else list(self.client)
        headers = [list(pair) for pair in self.headers]
        return cbor2.dumps(
            [self.method, self.path, self.query, headers, client, self.scheme, self.root_path], canonical=True
        )

    @staticmethod
    def of(head: bytes, body: bytes) -> Question:
        """The question of a head and a body. Raises ``MalformedMessageError`` for what ``head`` does not make."""
        match read_cbor(head):
            case [
                str(method),
                str(path),
                bytes(query),
                [*headers],
                None | [str(), int()] as client,
                str(scheme),
                str(root),
            ]:
                peer = None if client is None else (client[0], client[1])
                return Question(method, path, query, _pairs(headers), peer, scheme, root, body)
        raise MalformedMessageError("the head of a question is not one")

    def __repr__(self) -> str:
        return f"<Question of {len(self.body)} bytes>"


@dataclass(frozen=True, repr=False)
class Answer:
    """What a shard says to a question. ``headers``: as ASGI has them."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def to_bytes(self) -> bytes:
        """For another process: a canonical CBOR list of the fields in their order."""
        return cbor2.dumps([self.status, [list(pair) for pair in self.headers], self.body], canonical=True)

    @staticmethod
    def from_bytes(data: bytes) -> Answer:
        """Reads what ``to_bytes`` made. Raises ``MalformedMessageError``."""
        match read_cbor(data):
            case [int(status), [*headers], bytes(body)] if 100 <= status <= 599:
                return Answer(status, _pairs(headers), body)
        raise MalformedMessageError("the answer of a shard is not one")

    def __repr__(self) -> str:
        return f"<Answer {self.status} of {len(self.body)} bytes>"


Ask = Callable[[Question], Awaitable[Answer]]
"""How a shard is asked. Raises ``BusyError`` where it cannot be reached now."""


def shard_of(client: str, shards: int) -> int:
    """The shard of an owner, from 0 to ``shards`` - 1. ``client``: the header `Tacit-Client`, which has one form only.

    The highest of one hash for each shard (rendezvous hashing): with one shard more, one owner in ``shards`` + 1 moves.
    """
    name = client.encode(errors="replace")
    return max(range(shards), key=lambda shard: hashlib.sha256(b"tacit shard v1 %d " % shard + name).digest())


def intake_of(options: Options) -> Intake:
    """Room for bodies, as `tacit serve` has it."""
    return Intake(max(1 << 30, options.request_bytes), max(1 << 28, options.request_bytes))


class Shard:
    """All of a server but what listens: models, workers, keys and the memory of requests. One event loop uses it."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._app: Any = None
        self._endpoint: Any = None

    async def open(
        self,
        options: Options,
        folder: Path,
        *,
        log: Log,
        only_local_names: bool = False,
        is_one_account: bool = False,
    ) -> None:
        """Loads models and starts workers. ``folder``: for this shard's keys, of no other process.

        Raises as `server.serve` does, and ``ModelError`` for a model that would have to be compiled first.
        """
        up = asyncio.Event()
        endpoint, catalog = await assembled(
            options,
            log,
            up,
            self._stack,
            folder=folder,
            workshop=_NoWorkshop(folder),
            is_one_account=is_one_account,
        )
        await catalog.refresh()
        require_models(options, catalog)
        up.set()
        watching = asyncio.create_task(watch(catalog, log))
        self._stack.callback(watching.cancel)
        self._endpoint = endpoint
        self._app = application(
            endpoint, log=log, intake=intake_of(options), only_local_names=only_local_names
        )

    @property
    def is_well(self) -> bool:
        """Whether workers can be started."""
        return self._endpoint is not None and bool(self._endpoint.pool.ready)

    async def answer(self, question: Question) -> Answer:
        """What the application says. Cancelling it cancels the work."""
        given: list[bytes] = [question.body]
        status, headers = 500, []
        body: list[bytes] = []

        async def receive() -> Message:
            if given:
                return {"type": "http.request", "body": given.pop(), "more_body": False}
            await asyncio.Event().wait()  # who asked is here for as long as this call is not cancelled
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status, headers = message["status"], list(message.get("headers", []))
            else:
                body.append(bytes(message.get("body", b"")))

        await self._app(_scope(question), receive, send)
        return Answer(status, tuple((bytes(n), bytes(v)) for n, v in headers), b"".join(body))

    async def close(self) -> None:
        """Ends the workers and lets another process have the folder."""
        await self._stack.aclose()


class Front:
    """Takes calls, and hands each to the shard of its owner. Keeps nothing; there may be several.

    A body is read only of who may ask. Calls without a client secret go to the shards in turn, or to that of the
    parameter `shard` in the query.
    """

    def __init__(self, options: Options, shards: Sequence[Ask], *, log: Log) -> None:
        self._shards = tuple(shards)
        self._log = log
        self._access = Access(tokens=options.tokens, open_=options.tokens is None)
        self._intake = intake_of(options)
        self._limits = {"PATCH": wire.MAX_PIECE_BYTES}
        self._limit = options.request_bytes
        self._most_s = options.request_s + GRACE_S
        self._turns = itertools.count()

    async def __call__(self, request: Request) -> Response:
        """The answer of a shard, or a typed refusal. Cancelling it cancels the work."""
        started, error = time.monotonic(), None
        given = request.headers.get(wire.REQUEST_ID, "")
        request_id = given if wire.is_request_id(given) else uuid.uuid4().hex
        try:
            return await self._handed_on(request)
        except Disconnected:
            return Response(status_code=499)  # nobody reads it
        except Exception as failure:
            error = failure
        answer = refusal(error, request_id, {})
        answer.headers[wire.REQUEST_ID] = request_id
        self._log.call(
            method=request.method,
            route="",
            status=answer.status_code,
            seconds=time.monotonic() - started,
            request_id=request_id,
            code=code_of(error),
        )
        if not isinstance(error, TacitError):
            self._log.failure(error, request_id)
        return answer

    async def _handed_on(self, request: Request) -> Response:
        if request.method in BODILESS:
            return await self._asked(request, b"")
        headers = {name.lower(): value for name, value in request.headers.items()}
        principal = self._access.identify(headers, address=request.client.host if request.client else "")
        limit = self._limits.get(request.method, self._limit)
        body = io.BytesIO()  # a list of the pieces would be there beside what is made of it
        with self._intake.hold(principal.account) as take:
            async for piece in pieces(
                request.receive, declared=request.headers.get("content-length"), limit=limit
            ):
                take(len(piece))
                body.write(piece)
            return await self._asked(request, body.getvalue())

    async def _asked(self, request: Request, body: bytes) -> Response:
        question = Question(
            method=request.method,
            path=request.scope["path"],
            query=request.scope.get("query_string", b""),
            headers=tuple((bytes(name), bytes(value)) for name, value in request.scope["headers"]),
            client=None if request.client is None else (request.client.host, request.client.port),
            scheme=request.scope.get("scheme", "http"),
            root_path=request.scope.get("root_path", ""),
            body=body,
        )
        try:
            async with asyncio.timeout(self._most_s):
                answer = await self._shards[self._number(request)](question)
        except TimeoutError:
            raise PeerTimeoutError("the call was not answered in time") from None
        made = Response(answer.body, answer.status)
        made.raw_headers = list(answer.headers)
        return made

    def _number(self, request: Request) -> int:
        # The first header of the name, as the shard reads it: both must mean the same secret.
        client = request.headers.get(wire.CLIENT)
        if client is not None:
            return shard_of(client, len(self._shards))
        wanted = request.query_params.get("shard", "")
        if wanted.isascii() and wanted.isdigit() and len(wanted) < 6 and int(wanted) < len(self._shards):
            return int(wanted)
        return next(self._turns) % len(self._shards)


class _NoWorkshop(Workshop):
    """Refuses to compile: each shard would make a plan of its own, and owners have keys for one."""

    async def package(self, model: Path, calibration: Path) -> bytes:
        """Raises ``ModelError``."""
        raise ModelError(
            f"`{model.name}` would be compiled by each shard by itself",
            hint="serve what `tacit compile` made of it, so that all shards serve the same plan",
        )


def _pairs(headers: list[Any]) -> tuple[tuple[bytes, bytes], ...]:
    pairs = []
    for pair in headers:
        match pair:
            case [bytes(name), bytes(value)]:
                pairs.append((name, value))
            case _:
                raise MalformedMessageError("a header is not a name and a value")
    return tuple(pairs)


def _scope(question: Question) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": question.method,
        "scheme": question.scheme,
        "path": question.path,
        "raw_path": question.path.encode(errors="replace"),
        "query_string": question.query,
        "root_path": question.root_path,
        "headers": list(question.headers),
        "client": question.client,
        "server": None,
        "state": {},
    }
