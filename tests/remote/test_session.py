"""One call of HTTP ends by its deadline, whatever the other side does with the time."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest

from tacit.errors import MalformedMessageError, PeerTimeoutError, UsageError
from tacit.remote.address import read_address
from tacit.remote.session import Session
from tests.patience import PATIENCE_S, SOON_S, soon
from tests.remote.certificates import issue

DEADLINE_S = 0.6
TRICKLE_S = 4 * SOON_S
"""How long a peer goes on with a little at a time: who waits for it comes much too late."""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def until(end: threading.Event) -> Iterator[None]:
    """Ten times a second, for as long as a peer goes on."""
    for _ in range(round(10 * TRICKLE_S)):
        if end.wait(0.1):
            return
        yield


def listen(line: socket.socket, end: threading.Event) -> None:
    """Answers every request at once."""
    while not end.is_set() and line.recv(65536):
        line.sendall(HEAD)


def trickle_headers(line: socket.socket, end: threading.Event) -> None:
    line.recv(65536)
    line.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    for _ in until(end):
        line.sendall(b"a")


def trickle_body(line: socket.socket, end: threading.Event) -> None:
    line.recv(65536)
    line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in until(end):
        line.sendall(b" ")


def answer_once_then_trickle(line: socket.socket, end: threading.Event) -> None:
    line.recv(65536)
    line.sendall(HEAD)
    trickle_headers(line, end)


def read_slowly(line: socket.socket, end: threading.Event) -> None:
    for _ in until(end):
        if not line.recv(1 << 18):
            break


@contextlib.contextmanager
def peer(
    behaviour: Callable[[socket.socket, threading.Event], None], pair: pathlib.Path | None = None
) -> Iterator[int]:
    """The port of a server that does with each connection as it is told."""
    end = threading.Event()
    context = None
    if pair is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair)

    def serve(line: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(line)
            line.settimeout(PATIENCE_S)
            wrapped = line if context is None else context.wrap_socket(line, server_side=True)
            stack.enter_context(wrapped)
            behaviour(wrapped, end)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            end.set()
            listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("is_secured", [False, True])
@pytest.mark.parametrize(
    ("behaviour", "body"),
    [(trickle_headers, b""), (trickle_body, b""), (read_slowly, bytes(32 << 20))],
    ids=["headers", "answer", "request"],
)
def test_a_peer_that_moves_a_little_does_not_move_the_deadline(
    tmp_path: pathlib.Path,
    behaviour: Callable[[socket.socket, threading.Event], None],
    body: bytes,
    is_secured: bool,
) -> None:
    ca, pair = issue(tmp_path) if is_secured else (None, None)
    with peer(behaviour, pair) as port:
        address = read_address(f"{'https' if is_secured else 'http'}://127.0.0.1:{port}/m")
        with Session(address, ca=ca) as session, soon(), pytest.raises(PeerTimeoutError):
            session.ask("POST", "/v2", deadline=session.clock() + DEADLINE_S, parts=[body] if body else ())


def test_a_connection_that_was_used_before_is_broken_off_too() -> None:
    with (
        peer(answer_once_then_trickle) as port,
        Session(read_address(f"http://127.0.0.1:{port}/m")) as session,
    ):
        assert session.ask("GET", "/v2", deadline=session.clock() + PATIENCE_S).body == b"{}"
        with soon(), pytest.raises(PeerTimeoutError):
            session.ask("GET", "/v2", deadline=session.clock() + DEADLINE_S)


def test_connections_are_used_again_and_by_many_threads_at_once() -> None:
    opened: list[int] = []

    def counted(line: socket.socket, end: threading.Event) -> None:
        opened.append(1)
        listen(line, end)

    with peer(counted) as port, Session(read_address(f"http://127.0.0.1:{port}/m")) as session:
        bodies: list[bytes] = []

        def ask() -> None:
            bodies.extend(
                session.ask("GET", "/v2", deadline=session.clock() + PATIENCE_S).body for _ in range(5)
            )

        ask()
        assert len(opened) == 1
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert bodies == [b"{}"] * 25
        assert len(opened) <= 4
    with pytest.raises(UsageError, match="closed"):
        session.ask("GET", "/v2", deadline=session.clock() + PATIENCE_S)


@pytest.mark.parametrize("path", ["/v2/models/\x1b[2J", "/v2/models/a\nb", "/v2/" + "x" * 70_000])
def test_a_path_that_is_none_is_a_typed_error(path: str) -> None:
    with Session(read_address("http://127.0.0.1:1/m")) as session, pytest.raises(MalformedMessageError):
        session.ask("GET", path, deadline=session.clock() + PATIENCE_S)
