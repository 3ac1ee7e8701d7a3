"""Shards in one process: each owner has one, calls reach it through the front, and replays reach no other."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cbor2
import httpx
import numpy as np
import pytest
from starlette.requests import Request

from tacit.errors import BusyError, InternalError, MalformedMessageError, ModelError
from tacit.net import envelope, wire
from tacit.service.log import Log
from tacit.service.server import Options
from tacit.service.shards import Answer, Ask, Front, Question, Shard, shard_of
from tacit.service.tokens import add_token
from tests.patience import PATIENCE_S
from tests.service.models import data, estimator, package, write_model, write_package
from tests.service.owning import ByHand

TOKEN = {"Authorization": "Bearer secret-of-alice"}
SHARDS = 2


class Through(httpx.BaseTransport):
    """Calls to a front that lives on an event loop of another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, front: Front) -> None:
        self._loop, self._front = loop, front

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = [request.read()]

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body.pop(), "more_body": False}

        async def called() -> httpx.Response:
            answer = await self._front(Request(scope_of(request), receive))
            return httpx.Response(answer.status_code, headers=answer.raw_headers, content=answer.body)

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result(4 * PATIENCE_S)


def scope_of(request: httpx.Request) -> dict[str, Any]:
    return {
        "type": "http",
        "method": request.method,
        "path": request.url.path,
        "query_string": request.url.query,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": ("192.0.2.1", 4242),
        "scheme": "https",
    }


@contextmanager
def looping() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def wait(loop: asyncio.AbstractEventLoop, work: Any) -> Any:
    done: Future[Any] = asyncio.run_coroutine_threadsafe(work, loop)
    return done.result(4 * PATIENCE_S)


def options(folder: Path) -> Options:
    return Options(models=(folder / "models",), version="0", tokens=folder / "tokens")


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Two shards of one model, and a client of the front before them."""
    folder = tmp_path_factory.mktemp("shards")
    (folder / "models").mkdir()
    write_package(folder / "models")
    add_token(folder / "tokens", "alice", "secret-of-alice")
    shards = [Shard() for _ in range(SHARDS)]
    with looping() as loop:
        try:
            for number, shard in enumerate(shards):
                wait(loop, shard.open(options(folder), folder / f"shard-{number}", log=Log()))
            front = Front(options(folder), [shard.answer for shard in shards], log=Log())
            with httpx.Client(
                transport=Through(loop, front), base_url="https://shards", headers=TOKEN
            ) as client:
                yield client
        finally:
            for shard in shards:
                wait(loop, shard.close())


def owner_in(http: httpx.Client, shard: int) -> ByHand:
    """An owner whose client secret belongs to this shard."""
    while shard_of(envelope.client_header(secret := envelope.new_client_secret()), SHARDS) != shard:
        pass
    return ByHand(http, "risk", package().offers[0].plan_id, secret)


def keys_in(http: httpx.Client, shard: int) -> int:
    return int(http.get(f"/v2/load?shard={shard}").json()["keys"]["count"])


def test_owners_spread_and_few_move_to_one_more_shard() -> None:
    names = [f"owner {number}" for number in range(3000)]
    counts = Counter(shard_of(name, 3) for name in names)
    assert set(counts) == {0, 1, 2} and min(counts.values()) > 850
    moved = [(shard_of(name, 3), shard_of(name, 4)) for name in names]
    assert all(before == after or after == 3 for before, after in moved)
    assert 600 < sum(before != after for before, after in moved) < 900


@pytest.mark.parametrize("shard", range(SHARDS))
def test_an_owner_pays_one_upload_and_is_answered_by_its_shard(http: httpx.Client, shard: int) -> None:
    other, before = keys_in(http, 1 - shard), keys_in(http, shard)
    owner = owner_in(http, shard)
    assert owner.upload().status_code == 201
    for row in data()[:4]:
        found = owner.predict(row[None])
        assert (
            np.abs(found[0, 1] - estimator().predict_proba(row[None])[0, 1]) <= owner.owner.plan.error_bound
        )
    assert (keys_in(http, shard), keys_in(http, 1 - shard)) == (before + 1, other)


def test_a_captured_request_is_refused_whichever_way_it_comes(http: httpx.Client) -> None:
    owner = owner_in(http, 0)
    assert owner.upload().status_code == 201
    message = owner.message(data()[:1])
    assert owner.send(message).status_code == 200
    for _ in range(2 * SHARDS):
        again = owner.send(message)
        assert (again.status_code, again.json()["code"]) == (409, "replay")
    # Another secret leads to the other shard, where the frame is not authentic.
    stranger = owner_in(http, 1)
    moved = owner.send(message, **{wire.CLIENT: envelope.client_header(stranger.secret)})
    assert (moved.status_code, moved.json()["code"]) == (400, "malformed-message")


def test_front_and_shard_read_the_same_of_two_secrets(http: httpx.Client) -> None:
    """Else a second header would lead a captured request to a shard that has not seen it."""
    owner, decoy = owner_in(http, 0), owner_in(http, 1)
    assert owner.upload().status_code == 201
    message = owner.message(data()[:1])
    assert owner.send(message).status_code == 200
    ours, theirs = (envelope.client_header(each.secret) for each in (owner, decoy))
    for first, second, code in ((ours, theirs, "replay"), (theirs, ours, "malformed-message")):
        sent = owner.send(message).request
        kept = [(name, value) for name, value in sent.headers.multi_items() if name.lower() != "tacit-client"]
        request = httpx.Request(
            "POST",
            sent.url,
            headers=[*kept, (wire.CLIENT, first), (wire.CLIENT, second)],
            content=sent.read(),
        )
        assert http.send(request).json()["code"] == code


def test_calls_without_an_owner_take_turns(http: httpx.Client) -> None:
    starts = {http.get("/v2/load").json()["started_at"] for _ in range(2 * SHARDS)}
    assert len(starts) == SHARDS
    assert http.get("/metrics?shard=1").text.startswith("# HELP")
    assert http.get("/v2/load?shard=99999999999").status_code == 200


def asked(front: Front, method: str = "POST", **more: Any) -> Any:
    """The answer to a call whose body must not be read."""

    async def receive() -> dict[str, Any]:
        raise AssertionError("a body was read")

    request = httpx.Request(method, "https://shards/v2/models/risk/infer", **more)
    return asyncio.run(front(Request(scope_of(request), receive)))


def front_of(folder: Path, ask: Ask) -> Front:
    (folder / "tokens").unlink(missing_ok=True)
    add_token(folder / "tokens", "alice", "secret-of-alice")
    return Front(options(folder), [ask], log=Log())


async def unasked(question: Question) -> Answer:
    raise AssertionError("a shard was asked")


def test_nothing_is_read_of_who_may_not_ask_or_asks_too_much(tmp_path: Path) -> None:
    front = front_of(tmp_path, unasked)
    assert asked(front).status_code == 401
    assert asked(front, headers={"Authorization": "Bearer wrong"}).status_code == 401
    large = asked(front, headers=TOKEN | {"Content-Length": str(1 << 40)})
    assert large.status_code == 413 and large.headers["connection"] == "close"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (BusyError("away", retry_after_s=1.0), 503, "busy"),
        (InternalError("it broke"), 500, "internal"),
        (RuntimeError("what a caller sent"), 500, "internal"),
    ],
)
def test_what_a_shard_cannot_answer_is_a_typed_refusal(
    tmp_path: Path, error: Exception, status: int, code: str
) -> None:
    async def ask(question: Question) -> Answer:
        raise error

    answer = asked(front_of(tmp_path, ask), "GET", headers={wire.REQUEST_ID: "mine"})
    assert answer.status_code == status
    assert f'"{code}"'.encode() in answer.body and b"caller sent" not in answer.body
    assert answer.headers[wire.REQUEST_ID] == "mine"
    assert (status == 503) == (wire.RETRY_AFTER in answer.headers)


QUESTION = Question(
    method="POST",
    path="/v2/models/risk/infer",
    query=b"shard=1",
    headers=((b"host", b"shards"), (b"tacit-client", b"one"), (b"tacit-client", b"\xff")),
    client=("192.0.2.1", 4242),
    scheme="https",
    root_path="/other",
    body=b"body",
)


@pytest.mark.parametrize("client", [("2001:db8::1", 1), None])
def test_questions_and_answers_are_bytes_between_processes(client: tuple[str, int] | None) -> None:
    question = dataclasses.replace(QUESTION, client=client)
    assert Question.of(question.head(), question.body) == question
    answer = Answer(200, ((b"content-type", b"text/plain"), (b"x", b"")), bytes(range(256)) * 9)
    assert Answer.from_bytes(answer.to_bytes()) == answer


@pytest.mark.parametrize("at", range(len(QUESTION.head())))
def test_a_head_that_is_cut_is_none(at: int) -> None:
    with pytest.raises(MalformedMessageError):
        Question.of(QUESTION.head()[:at], b"")


@pytest.mark.parametrize(
    "message",
    [None, [], [200, [], "text"], [99, [], b""], [200, [[b"name"]], b""], [200, [["name", "value"]], b""]],
)
def test_what_is_no_answer_is_refused(message: object) -> None:
    with pytest.raises(MalformedMessageError):
        Answer.from_bytes(cbor2.dumps(message, canonical=True))


def test_a_front_holds_a_body_once(tmp_path: Path) -> None:
    piece, count = 1 << 20, 32
    seen: list[int] = []

    async def ask(question: Question) -> Answer:
        seen.append(question.body.count(0))
        return Answer(200, (), b"")

    left = iter(range(count, 0, -1))

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": bytes(piece), "more_body": next(left) > 1}

    front = front_of(tmp_path, ask)
    request = httpx.Request("POST", "https://shards/v2/models/risk/infer", headers=TOKEN)
    tracemalloc.start()
    try:
        asyncio.run(front(Request(scope_of(request), receive)))
        _, largest = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen == [count * piece] and largest < 1.5 * count * piece


def test_a_cancelled_call_is_cancelled_in_the_shard(tmp_path: Path) -> None:
    ended = []

    async def ask(question: Question) -> Answer:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(question.method)
        raise AssertionError

    async def leave() -> None:
        request = httpx.Request("GET", "https://shards/v2")
        call = asyncio.create_task(front(Request(scope_of(request))))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    front = front_of(tmp_path, ask)
    asyncio.run(leave())
    assert ended == ["GET"]


def test_models_that_each_shard_would_compile_are_refused(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    onnx = write_model(tmp_path / "models")
    add_token(tmp_path / "tokens", "alice", "secret-of-alice")
    with looping() as loop:
        shard = Shard()
        try:
            told = Options(models=(onnx,), version="0", tokens=tmp_path / "tokens")
            with pytest.raises(ModelError, match="each shard"):
                wait(loop, shard.open(told, tmp_path / "shard", log=Log()))
        finally:
            wait(loop, shard.close())
