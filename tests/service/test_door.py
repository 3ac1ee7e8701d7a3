"""Connections of one address on which nobody is known: a few, and none of those who are known."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tacit.errors import InvalidParameterError
from tacit.service import server
from tacit.service.door import Door, Strangers
from tacit.service.tokens import add_token, new_token
from tests.net.authority import Authority
from tests.patience import PATIENCE_S, until
from tests.service.models import write_package
from tests.service.running import Running, running

HERE = "127.0.0.1"


class Answering:
    """What answers on a connection."""

    def __init__(self, *, is_busy: bool) -> None:
        self.is_busy = is_busy

    def is_idle(self) -> bool:
        return not self.is_busy


def test_a_network_has_its_part() -> None:
    told: list[str] = []
    cut: list[int] = []
    found = Strangers(2, refused=told.append)

    def enter(host: str, port: int) -> bool:
        return found.enter((host, port), lambda: cut.append(port)) is not None

    assert enter("192.0.2.1", 1) and enter("192.0.2.1", 2) and not told
    assert enter("192.0.2.1", 3) and (cut, len(told), len(found)) == ([1], 1, 2)
    assert enter("192.0.2.2", 4)
    for port in (2, 2, 1, 9):
        found.leave(("192.0.2.1", port))
    assert enter("192.0.2.1", 5) and cut == [1] and enter("192.0.2.1", 6) and cut == [1, 3]
    # What a network hands out to one customer is one network.
    assert enter("2001:db8::1", 7) and enter("2001:db8::2", 8) and enter("2001:db8:0:1::3", 9)
    assert cut == [1, 3] and enter("2001:db8::3", 10) and cut == [1, 3, 7]
    assert len(found) == 6
    with pytest.raises(InvalidParameterError):
        Strangers(0)


def test_a_newcomer_takes_the_place_of_nothing_that_is_under_way() -> None:
    cut: list[int] = []
    found = Strangers(2)
    answering = [Answering(is_busy=True) for _ in range(2)]
    for port, each in enumerate(answering):
        assert found.enter((HERE, port), lambda port=port: cut.append(port))  # type: ignore[misc]
        found.attend((HERE, port), each)
    found.attend((HERE, 7), Answering(is_busy=False))
    assert found.enter((HERE, 2)) is None and (cut, len(found)) == ([], 2)
    answering[1].is_busy = False
    assert found.enter((HERE, 2)) and (cut, len(found)) == ([1], 2)
    # What answered is gone, and so is what was under way.
    del answering[:], each
    gc.collect()
    assert found.enter((HERE, 3)) and cut == [1, 0]


def test_an_end_that_comes_late_is_not_that_of_who_came_since() -> None:
    found = Strangers(2)
    first = found.enter((HERE, 1))
    found.leave((HERE, 1))
    second = found.enter((HERE, 1))
    found.leave((HERE, 1), first)
    assert len(found) == 1
    found.leave((HERE, 1), second)
    assert len(found) == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_what_is_forgotten_counts_no_more() -> None:
    found = Strangers(1)
    bound = socket.create_server((HERE, 0))
    with Door.of(bound, found) as door:
        with socket.create_connection(door.getsockname()):
            line, address = door.accept()
            assert len(found) == 1
            busy = Answering(is_busy=True)
            found.attend(address, busy)
            with socket.create_connection(door.getsockname()), pytest.raises(ConnectionAbortedError):
                door.accept()
            busy.is_busy = False
            with socket.create_connection(door.getsockname()):
                late, _ = door.accept()
                assert len(found) == 1 and line.recv(1) == b""
                line.close()
                assert len(found) == 1
                late.close()
                assert len(found) == 0
        with socket.create_connection(door.getsockname()):
            line, _ = door.accept()
            assert len(found) == 1
            del line
            gc.collect()
            assert len(found) == 0


def test_handshakes_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that never begins TLS is one of its address's, makes room for the next, and is gone when it ends."""
    monkeypatch.setattr(server, "HANDSHAKE_S", PATIENCE_S)
    context = server.server_context(*Authority(tmp_path).issue("server"))
    found = Strangers(2)

    async def app(scope: object, receive: object, send: object) -> None:
        raise AssertionError

    async def story() -> None:
        place = server.Address(HERE, 0)
        async with server._uvicorn(app, place, context, 1.0, found) as (_, address):
            lines = [await asyncio.open_connection(address.host, address.port) for _ in range(2)]
            async with asyncio.timeout(PATIENCE_S):
                while len(found) < 2:
                    await asyncio.sleep(0.01)
                lines.append(await asyncio.open_connection(address.host, address.port))
                with contextlib.suppress(ConnectionError):
                    assert await lines[0][0].read() == b""
            assert len(found) == 2
            for _, writer in lines:
                writer.close()
            async with asyncio.timeout(PATIENCE_S):
                while len(found):
                    await asyncio.sleep(0.01)

    asyncio.run(story())


def test_requests_under_way_keep_their_connection() -> None:
    found, told = Strangers(1), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await told.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def line(address: server.Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        return reader, writer

    async def story() -> None:
        async with (
            server._uvicorn(app, server.Address(HERE, 0), None, 1.0, found) as (running, address),
            asyncio.timeout(PATIENCE_S),
        ):
            reader, writer = await line(address)
            while not running.server_state.tasks:
                await asyncio.sleep(0.01)
            with contextlib.suppress(ConnectionError):
                refused = await line(address)
                assert await refused[0].read() == b""
            told.set()
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
            # Now nothing is under way there, and whoever comes takes the place.
            while running.server_state.tasks:
                await asyncio.sleep(0.01)
            late, closing = await line(address)
            assert (await late.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            for each in (writer, closing):
                each.close()

    asyncio.run(story())


@contextlib.contextmanager
def silent(served: Running, count: int) -> Iterator[list[socket.socket]]:
    """Connections on which nothing is said. One that is refused is closed: it may be reset before it is there."""
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(socket.socket()) for _ in range(count)]
        for line in lines:
            with contextlib.suppress(ConnectionError):
                line.connect((HERE, served.port))
        yield lines


@contextlib.contextmanager
def staying(served: Running, count: int) -> Iterator[list[socket.socket]]:
    """Connections that asked once, who they are not, and stay: for longer than those that never asked."""
    with contextlib.ExitStack() as stack:
        lines = []
        for _ in range(count):
            lines.append(stack.enter_context(socket.create_connection((HERE, served.port))))
            lines[-1].sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b" 200 " in answer(lines[-1])
        yield lines


def is_cut(line: socket.socket) -> bool:
    """Whether the other side ended a connection, as far as can be seen now."""
    line.setblocking(False)
    try:
        return line.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_who_only_stays_keeps_nobody_out(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    token = new_token()
    add_token(tokens, "alice", token)
    words = (str(write_package(tmp_path)), "--tokens", str(tokens), "--address-connections", "3")
    with running(tmp_path, *words) as served, contextlib.ExitStack() as stack:
        access = {"Authorization": f"Bearer {token}"}
        kept = httpx.Limits(keepalive_expiry=None)
        alice = stack.enter_context(served.client(limits=kept))
        assert alice.get("/v2", headers=access).status_code == 200
        lines = stack.enter_context(staying(served, 5))
        until(lambda: is_cut(lines[1]))
        assert [is_cut(line) for line in lines] == [True, True, False, False, False]
        assert any("too many connections" in str(line.get("what")) for line in served.lines())
        # Whoever comes takes the oldest place, and gives it to the next by saying who it is.
        known = [stack.enter_context(served.client(limits=kept)) for _ in range(6)]
        for one in known:
            assert one.get("/v2", headers=access).status_code == 200
        until(lambda: is_cut(lines[2]))
        assert [is_cut(line) for line in lines[3:]] == [False, False]
        more = stack.enter_context(staying(served, 6))
        until(lambda: all(is_cut(line) for line in (*lines, *more[:3])))
        assert not any(is_cut(line) for line in more[3:])
        # Nothing takes the place of who is known: each still has the connection of before.
        for one in (alice, *known):
            assert one.get("/v2", headers=access).status_code == 200
        assert not any(is_cut(line) for line in more[3:])


def ask(line: socket.socket, token: str) -> bytes:
    """The first line of the answer to a call."""
    line.sendall(f"GET /v2 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    return answer(line)


def answer(line: socket.socket) -> bytes:
    """The first line of an answer, all of which is read."""
    line.settimeout(PATIENCE_S)
    found = b""
    while b"\r\n\r\n" not in found:
        found += (piece := line.recv(1 << 16))
        assert piece
    length = int(found.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    body = found.partition(b"\r\n\r\n")[2]
    while len(body) < length:
        body += (piece := line.recv(1 << 16))
        assert piece
    return found.partition(b"\r\n")[0]


def test_a_wrong_token_makes_nobody_known(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    token = new_token()
    add_token(tokens, "alice", token)
    words = (str(write_package(tmp_path)), "--tokens", str(tokens), "--address-connections", "2")
    with running(tmp_path, *words) as served, silent(served, 1) as (good,):
        assert b" 200 " in ask(good, token)
        with silent(served, 2) as wrong:
            assert all(b" 401 " in ask(line, "wrong") for line in wrong)
            with silent(served, 1):
                until(lambda: is_cut(wrong[0]))
                assert not is_cut(wrong[1]) and not is_cut(good)
        assert b" 200 " in ask(good, token)


def test_on_loopback_there_is_no_part_unless_it_is_said(tmp_path: Path) -> None:
    with (
        running(tmp_path, str(write_package(tmp_path))) as served,
        silent(served, 100),
        served.client() as http,
    ):
        assert http.get("/v2/health/live").status_code == 200
