"""Connections of one address on which nobody is known: a few, and none of those who are known."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import time
from collections.abc import Iterator
from pathlib import Path

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


def test_a_network_has_its_part() -> None:
    told: list[str] = []
    found = Strangers(2, refused=told.append)
    assert found.enter(("192.0.2.1", 1)) and found.enter(("192.0.2.1", 2))
    assert not found.enter(("192.0.2.1", 3)) and len(told) == 1
    assert found.enter(("192.0.2.2", 3))
    found.leave(("192.0.2.1", 1))
    found.leave(("192.0.2.1", 1))
    found.leave(("198.51.100.1", 9))
    assert found.enter(("192.0.2.1", 3)) and not found.enter(("192.0.2.1", 4))
    # What a network hands out to one customer is one network.
    assert found.enter(("2001:db8::1", 1)) and found.enter(("2001:db8::2", 1))
    assert not found.enter(("2001:db8::3", 1)) and found.enter(("2001:db8:0:1::3", 1))
    assert len(found) == 6
    with pytest.raises(InvalidParameterError):
        Strangers(0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_what_is_forgotten_counts_no_more() -> None:
    found = Strangers(1)
    bound = socket.create_server((HERE, 0))
    with Door.of(bound, found) as door:
        with socket.create_connection(door.getsockname()):
            line, _ = door.accept()
            assert len(found) == 1
            with socket.create_connection(door.getsockname()), pytest.raises(ConnectionAbortedError):
                door.accept()
            line.close()
            assert len(found) == 0
        with socket.create_connection(door.getsockname()):
            line, _ = door.accept()
            assert len(found) == 1
            del line
            gc.collect()
            assert len(found) == 0


def test_handshakes_count(tmp_path: Path) -> None:
    """A connection that never begins TLS is one of its address's, and gone when it ends."""
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
                with contextlib.suppress(ConnectionError):
                    lines.append(await asyncio.open_connection(address.host, address.port))
                    assert await lines[2][0].read() == b""
            assert len(found) == 2
            for _, writer in lines:
                writer.close()
            async with asyncio.timeout(PATIENCE_S):
                while len(found):
                    await asyncio.sleep(0.01)

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


def is_cut(line: socket.socket) -> bool:
    """Whether the other side ended a connection, as far as can be seen now."""
    line.setblocking(False)
    try:
        return line.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_who_is_known_has_room(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    token = new_token()
    add_token(tokens, "alice", token)
    words = (str(write_package(tmp_path)), "--tokens", str(tokens), "--address-connections", "3")
    with running(tmp_path, *words) as served, served.client() as alice:
        access = {"Authorization": f"Bearer {token}"}
        assert alice.get("/v2", headers=access).status_code == 200
        with silent(served, 4) as lines:
            until(lambda: is_cut(lines[3]))
            assert not any(is_cut(line) for line in lines[:3])
            with served.client() as late, pytest.raises(httpx.TransportError):
                late.get("/v2", headers=access)
            assert alice.get("/v2", headers=access).status_code == 200
            assert any("too many connections" in str(line.get("what")) for line in served.lines())
        # Whoever brings a good token makes room for the next.
        end = time.monotonic() + PATIENCE_S
        with contextlib.ExitStack() as stack:
            for _ in range(6):
                one = stack.enter_context(served.client())
                while True:
                    with contextlib.suppress(httpx.TransportError):  # the silent ones are about to be gone
                        assert one.get("/v2", headers=access).status_code == 200
                        break
                    assert time.monotonic() < end
            with silent(served, 3) as lines, served.client() as wrong:
                with pytest.raises(httpx.TransportError):
                    wrong.get("/v2", headers=access)
                assert not any(is_cut(line) for line in lines)


def test_a_wrong_token_makes_nobody_known(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    add_token(tokens, "alice", new_token())
    words = (str(write_package(tmp_path)), "--tokens", str(tokens), "--address-connections", "2")
    with running(tmp_path, *words) as served, contextlib.ExitStack() as stack:
        for _ in range(2):
            one = stack.enter_context(served.client())
            assert one.get("/v2", headers={"Authorization": "Bearer wrong"}).status_code == 401
            assert one.get("/v2/health/live").status_code == 200
        with served.client() as third, pytest.raises(httpx.TransportError):
            third.get("/v2/health/live")


def test_on_loopback_there_is_no_part_unless_it_is_said(tmp_path: Path) -> None:
    with (
        running(tmp_path, str(write_package(tmp_path))) as served,
        silent(served, 100),
        served.client() as http,
    ):
        assert http.get("/v2/health/live").status_code == 200
