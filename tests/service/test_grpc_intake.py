"""Callers of gRPC that nobody knows, that are slow, or that are many: what they can make the server hold."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import select
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from tacit.errors import BusyError, PeerTimeoutError, RateLimitError
from tacit.service import grpc_intake, grpc_messages, grpc_service
from tacit.service.grpc_intake import Turns
from tacit.service.intake import Intake
from tests.patience import PATIENCE_S
from tests.service.test_grpc import Endpoint, running
from tests.service.test_intake import run

grpc = pytest.importorskip("grpc", reason="needs tacit[grpc]")

PREFIX = "/inference.GRPCInferenceService/"
NAMED = b"\x0a\x01m"
"""The message that names the model `m`, for every method that takes one."""
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""What a client of HTTP/2 begins with: RFC 9113, section 3.4."""


async def never() -> bytes:
    await asyncio.Event().wait()
    return b""


def at(event: asyncio.Event) -> Callable[[], Awaitable[bytes]]:
    async def message() -> bytes:
        await event.wait()
        return b"whole"

    return message


def test_an_account_has_its_part_of_the_turns() -> None:
    async def main() -> None:
        turns, here = Turns(max_bytes=1, turns=3, account_turns=2), asyncio.Event()
        greedy = [asyncio.create_task(turns.read("a", at(here))) for _ in range(3)]
        await asyncio.sleep(0)
        assert turns._given == {"a": 2}
        there = asyncio.Event()
        there.set()
        assert await turns.read("b", at(there)) == b"whole"  # past the third of `a`, which waits
        here.set()
        assert await asyncio.gather(*greedy) == [b"whole"] * 3
        assert not turns._given and not turns._waiting and not turns._running

    run(main())


def test_a_slow_message_ends_when_another_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_intake, "PACE", 1)

    async def main() -> None:
        turns, there = Turns(max_bytes=600, turns=1, account_turns=1, patience_s=0.2), asyncio.Event()
        there.set()
        slow = asyncio.create_task(turns.read("a", never))
        await asyncio.sleep(0.4)
        assert not slow.done()  # nobody waits: the largest message may take ten minutes at this pace
        assert await turns.read("b", at(there)) == b"whole"
        with pytest.raises(PeerTimeoutError, match="slowly"):
            await slow
        assert not turns._given

    run(main())


def test_a_message_that_never_comes_ends_by_itself() -> None:
    async def main() -> None:
        turns = Turns(max_bytes=1, patience_s=0.05)
        with pytest.raises(PeerTimeoutError):
            await turns.read("a", never)
        assert not turns._given

    run(main())


def test_who_gets_no_turn_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        turns = Turns(max_bytes=1, turns=1, patience_s=0.05)
        monkeypatch.setattr(turns, "_press", lambda: None)  # as if the turns before it all took their time
        turns._given["a"] = 1
        with pytest.raises(BusyError) as error:
            await turns.read("b", never)
        assert not isinstance(error.value, RateLimitError)
        waiting = asyncio.create_task(turns.read("b", never))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert turns._given == {"a": 1} and not turns._waiting

    run(main())


def test_the_calls_of_an_account_are_bounded() -> None:
    turns = Turns(max_bytes=1, account_calls=2)
    with turns.call("a"), turns.call("a"), turns.call("b"), pytest.raises(RateLimitError), turns.call("a"):
        pass
    with turns.call("a"):
        assert turns._calls == {"a": 1}
    assert not turns._calls


@contextlib.contextmanager
def silent(port: int, method: str, *, is_known: bool = True) -> Iterator[Any]:
    """A call that has begun and brings no message while this lasts."""
    over = threading.Event()

    def messages() -> Iterator[bytes]:
        over.wait(PATIENCE_S)
        yield from ()

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.stream_unary(PREFIX + method).future(
            messages(),
            metadata=(("authorization", f"Bearer {'right' if is_known else 'wrong'}"),),
            timeout=PATIENCE_S,
        )
        try:
            yield call
        finally:
            over.set()
            call.cancel()


def refused(call: Any) -> tuple[str, str]:
    """Status, and code of the error, of a call that is refused while its message is not there."""
    error = call.exception(timeout=PATIENCE_S)
    assert isinstance(error, grpc.RpcError)
    body = json.loads(dict(call.trailing_metadata() or ()).get("tacit-error-bin", b"{}"))
    return call.code().name, body.get("code", "")


@pytest.mark.parametrize("method", ["ModelInfer", "ModelReady", "ModelMetadata", "RepositoryIndex"])
def test_who_asks_is_known_before_a_message_is_read(method: str) -> None:
    with running(Endpoint()) as port, silent(port, method, is_known=False) as call:
        assert refused(call) == ("UNAUTHENTICATED", "access-denied")


def test_health_needs_no_message() -> None:
    with running(Endpoint()) as port, silent(port, "ServerLive") as call:
        assert call.result(timeout=PATIENCE_S) == b"\x08\x01"


def test_a_silent_caller_is_given_up_and_many_do_not_keep_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The silent one would have twelve days, were there nobody else; who asks after it waits twice five seconds."""
    monkeypatch.setattr(grpc_service, "Turns", functools.partial(Turns, turns=1, patience_s=5.0))
    monkeypatch.setattr(grpc_intake, "PACE", 1)
    press, begun = Turns._press, threading.Event()

    def pressed(self: Turns) -> None:
        press(self)
        if self._running:
            begun.set()

    monkeypatch.setattr(Turns, "_press", pressed)
    with running(Endpoint()) as port, silent(port, "ModelInfer") as call:
        assert begun.wait(PATIENCE_S)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            ready = channel.unary_unary(PREFIX + "ModelReady")(NAMED, timeout=PATIENCE_S, wait_for_ready=True)
        assert ready == b"\x08\x01"
        assert refused(call) == ("DEADLINE_EXCEEDED", "peer-timeout")


@contextlib.contextmanager
def counted(port: int) -> Iterator[tuple[int, list[int]]]:
    """A line to a port: its own port, and how many bytes went through to the server."""
    passed, over = [0], threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as door:

        def carry() -> None:
            caller, _ = door.accept()
            with caller, socket.create_connection(("127.0.0.1", port)) as server:
                while not over.is_set():
                    for line in select.select([caller, server], [], [], 0.1)[0]:
                        piece = line.recv(1 << 16)
                        if not piece:
                            return
                        if line is caller:
                            passed[0] += len(piece)
                        with contextlib.suppress(OSError):
                            (server if line is caller else caller).sendall(piece)

        thread = threading.Thread(target=carry, daemon=True)
        thread.start()
        try:
            yield door.getsockname()[1], passed
        finally:
            over.set()
            thread.join(PATIENCE_S)


def test_nothing_is_read_of_a_message_that_has_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sender waits with all but a window of it. The call before it has its turn for weeks."""
    monkeypatch.setattr(grpc_intake, "PACE", 1)
    monkeypatch.setattr(grpc_service, "Turns", functools.partial(Turns, turns=1, patience_s=1.0))
    large = NAMED + bytes(1 << 20)
    with running(Endpoint(), max_bytes=1 << 22) as port:
        begun = threading.Event()
        monkeypatch.setattr(Turns, "_press", lambda self: begun.set())  # it is not given up
        with silent(port, "ModelInfer"), counted(port) as (line, passed):
            assert begun.wait(PATIENCE_S)
            with grpc.insecure_channel(f"127.0.0.1:{line}") as channel:
                call = channel.unary_unary(PREFIX + "ModelInfer").future(large, timeout=PATIENCE_S)
                assert refused(call) == ("UNAVAILABLE", "busy")
            assert 0 < passed[0] < 1 << 18


@pytest.mark.parametrize(
    ("room", "status", "code"),
    [
        (Intake(1 << 20, 100), "RESOURCE_EXHAUSTED", "rate-limit"),
        (Intake(100, 1 << 20), "UNAVAILABLE", "busy"),
        (Intake(1 << 24, 1 << 24), "RESOURCE_EXHAUSTED", "too-large"),  # more than this model takes
    ],
)
def test_bytes_are_counted_as_those_of_rest(room: Intake, status: str, code: str) -> None:
    content = (1_000_000).to_bytes(4, "little") + bytes(1_000_000)
    asked = grpc_messages.classes()["ModelInferRequest"](
        model_name="m",
        inputs=[{"name": "x", "datatype": "BYTES", "shape": [1]}],
        raw_input_contents=[content],
    )
    message = asked.SerializeToString()
    with (
        running(Endpoint(), intake=room, max_bytes=1 << 22) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        call = channel.unary_unary(PREFIX + "ModelInfer").future(message, timeout=PATIENCE_S)
        assert refused(call) == (status, code)
        assert room.held_bytes == 0


def test_a_message_that_only_names_something_is_small() -> None:
    with running(Endpoint()) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for method in ("ModelReady", "ModelMetadata", "RepositoryIndex"):
            call = channel.unary_unary(PREFIX + method).future(NAMED + bytes(1 << 17), timeout=PATIENCE_S)
            assert refused(call) == ("RESOURCE_EXHAUSTED", "too-large")


def test_a_call_without_a_message_is_refused() -> None:
    with running(Endpoint()) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.stream_unary(PREFIX + "ModelReady").future(iter(()), timeout=PATIENCE_S)
        assert refused(call) == ("INVALID_ARGUMENT", "malformed-message")


def test_connections_are_bounded() -> None:
    with running(Endpoint(), connections=2) as port, contextlib.ExitStack() as stack:
        answers = []
        for _ in range(3):
            line = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S))
            with contextlib.suppress(ConnectionError):
                line.sendall(GREETING)
                answers.append(line.recv(9))
        assert [bool(answer) for answer in answers[:2]] == [True, True]
        assert not any(answers[2:])
