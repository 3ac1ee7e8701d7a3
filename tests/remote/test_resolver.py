"""Names of hosts: a resolver that never answers, one that does not know, and hosts with several addresses."""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

import tacit
from tacit.errors import ConnectError, TlsError
from tacit.remote import resolver, session
from tacit.remote.address import read_address
from tacit.remote.doctor import examine
from tacit.remote.resolver import ByAddress, resolved
from tacit.remote.session import Session
from tests.patience import PATIENCE_S, SOON_S, soon, until
from tests.remote.certificates import issue
from tests.remote.provider import MODEL, Scripted
from tests.remote.test_session import listen, peer

NAME = "provider.example"
HANGS_S = 6 * SOON_S


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """Makes the resolver of the system answer as it is told; every name that it was asked for is in the list."""
    real, asked, over = socket.getaddrinfo, list[str](), threading.Event()
    monkeypatch.setattr(resolver, "RESOLVE_S", PATIENCE_S)

    def answering(*addresses: str, error: Exception | None = None, hangs: bool = False) -> list[str]:
        def found(host: str, port: Any, *rest: Any, **options: Any) -> list[Any]:
            if host != NAME:
                return real(host, port, *rest, **options)
            asked.append(host)
            if hangs:
                over.wait(HANGS_S)
            if error is not None:
                raise error
            return [place for address in addresses for place in real(address, port, type=socket.SOCK_STREAM)]

        monkeypatch.setattr(socket, "getaddrinfo", found)
        return asked

    yield answering
    over.set()
    for left in list(resolver._running.values()):
        left.exception(timeout=PATIENCE_S)


def test_a_resolver_that_hangs_ends_at_the_deadline(
    answers: Callable[..., list[str]], ring: pathlib.Path
) -> None:
    answers(hangs=True)
    with soon(), pytest.raises(ConnectError, match="name server") as error:
        tacit.connect(f"https://{NAME}/{MODEL}", keyring=ring, timeout_s=1.0)
    assert f"`{NAME}`" in str(error.value) and error.value.hint


def test_the_doctor_says_it_too(answers: Callable[..., list[str]], ring: pathlib.Path) -> None:
    answers(hangs=True)
    steps = {step.name: step for step in examine(f"https://{NAME}/{MODEL}", keyring=ring, timeout_s=0.3)}
    assert steps["name"].state == "failed" and steps["name"].code == "connect"
    assert f"`{NAME}`" in steps["name"].cause and "name server" in steps["name"].fix
    assert steps["connection"].state == "skipped"


def test_who_asks_again_waits_for_the_same_look(answers: Callable[..., list[str]]) -> None:
    asked = answers(hangs=True)
    before = set(threading.enumerate())
    for _ in range(5):
        with pytest.raises(ConnectError):
            resolved(NAME, 443, within_s=0.01)
    started = [thread.name for thread in threading.enumerate() if thread not in before]
    assert started.count("tacit-resolver") == 1
    until(lambda: asked)
    assert asked == [NAME]


def test_a_name_that_is_not_found_in_time_is_not_looked_up_again(
    answers: Callable[..., list[str]], ring: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(hangs=True)
    monkeypatch.setattr(resolver, "RESOLVE_S", 0.01)
    looks: list[str] = []

    def counted(host: str, port: int, *, within_s: float) -> list[resolver.Place]:
        looks.append(host)
        return resolved(host, port, within_s=within_s)

    monkeypatch.setattr(resolver, "resolved", counted)
    with pytest.raises(ConnectError, match="name server"):
        tacit.connect(f"https://{NAME}/{MODEL}", keyring=ring, timeout_s=PATIENCE_S)
    assert looks == [NAME]


def test_a_machine_without_threads_says_so_and_is_asked_again(
    answers: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answers("127.0.0.1")

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        with pytest.raises(ConnectError, match="no more threads") as error:
            resolved(NAME, 443, within_s=PATIENCE_S)
    assert f"`{NAME}`" in str(error.value) and error.value.hint
    assert not resolver._running and not asked
    assert resolved(NAME, 443, within_s=PATIENCE_S)[0][4] == ("127.0.0.1", 443)


FORKED = """
import os, signal, socket, threading
from tacit.errors import ConnectError
from tacit.remote import resolver

asked = threading.Event()

def hangs(*words, **more):
    asked.set()
    threading.Event().wait()

socket.getaddrinfo = hangs
try:
    resolver.resolved("provider.example", 443, within_s=0)
except ConnectError:
    assert asked.wait(PATIENCE_S)
with resolver._lock:  # as another thread may have it at this moment
    child = os.fork()
if not child:
    signal.alarm(round(PATIENCE_S))
    socket.getaddrinfo = lambda *words, **more: ["there"]
    assert resolver.resolved("provider.example", 443, within_s=PATIENCE_S) == ["there"]
    os._exit(0)
print(os.waitpid(child, 0)[1], len(resolver._running))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_looks_itself() -> None:
    script = FORKED.replace("PATIENCE_S", str(PATIENCE_S))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=3 * PATIENCE_S
    )
    assert (done.stdout, done.returncode) == ("0 1\n", 0), done.stderr


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "is not known"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), "no name server answers"),
        (OSError(24, "Too many open files"), "cannot be looked up"),
        (UnicodeError("label too long"), "cannot be looked up"),
    ],
)
def test_what_the_resolver_says_is_typed(
    answers: Callable[..., list[str]], ring: pathlib.Path, error: Exception, text: str
) -> None:
    answers(error=error)
    with pytest.raises(ConnectError, match=text) as caught:
        tacit.connect(f"https://{NAME}/{MODEL}", keyring=ring, timeout_s=PATIENCE_S)
    assert f"`{NAME}`" in str(caught.value) and caught.value.hint
    assert not resolver._running


def test_every_address_is_tried_and_the_one_that_answers_is_kept(
    answers: Callable[..., list[str]], server: Scripted
) -> None:
    port = int(server.url.rpartition(":")[2])
    asked = answers("127.0.0.9", "127.0.0.1")  # nothing listens at the first
    transport = ByAddress(httpx.HTTPTransport(), clock=lambda: 0.0)
    with httpx.Client(transport=transport, timeout=PATIENCE_S) as client:
        for _ in range(3):
            assert client.get(f"http://{NAME}:{port}/v2/health/live").status_code == 200
    assert asked == [NAME]


def test_an_address_that_answers_no_more_is_looked_up_again(answers: Callable[..., list[str]]) -> None:
    told: list[str] = []

    class Network(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            told.append(request.url.host)
            assert request.headers["host"] == NAME
            assert request.extensions["sni_hostname"] == NAME
            if len(told) == 2:
                raise httpx.ConnectError("gone")
            return httpx.Response(200)

    clock = [0.0]
    asked = answers("127.0.0.1")
    with httpx.Client(transport=ByAddress(Network(), clock=lambda: clock[0])) as client:
        client.get(f"https://{NAME}/")
        with pytest.raises(httpx.ConnectError):
            client.get(f"https://{NAME}/")
        answers("127.0.0.2")
        client.get(f"https://{NAME}/")
        clock[0] += resolver.REMEMBERED_S
        client.get(f"https://{NAME}/")
    assert told == ["127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.2"]
    assert len(asked) == 3


def test_addresses_are_not_tried_past_the_deadline(answers: Callable[..., list[str]]) -> None:
    clock, limits = [0.0], list[float]()

    class Silence(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            limits.append(request.extensions["timeout"]["connect"])
            clock[0] += limits[-1]
            raise httpx.ConnectTimeout("silence")

    answers(*(f"127.0.1.{number}" for number in range(1, 100)))
    transport = ByAddress(Silence(), clock=lambda: clock[0])
    with httpx.Client(transport=transport, timeout=httpx.Timeout(200.0)) as client:
        limit = {resolver.REMAINING: 500.0, "timeout": {"connect": 200.0}}
        with pytest.raises(httpx.ConnectTimeout):
            client.get(f"https://{NAME}/", extensions=limit)
    assert limits == [200.0, 200.0, 100.0]


def test_the_certificate_is_for_the_name_and_not_for_the_address(
    answers: Callable[..., list[str]], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers("127.0.0.1")
    monkeypatch.setattr(session, "CONNECT_S", PATIENCE_S)
    for host, is_good in ((NAME, True), ("other.example", False)):
        (tmp_path / host).mkdir()
        ca, pair = issue(tmp_path / host, host=host)
        with (
            peer(listen, pair) as port,
            Session(read_address(f"https://{NAME}:{port}/m"), ca=ca) as opened,
        ):
            deadline = opened.clock() + PATIENCE_S
            if is_good:
                assert opened.ask("GET", "/v2", deadline=deadline).body == b"{}"
                continue
            with pytest.raises(TlsError, match=NAME):
                opened.ask("GET", "/v2", deadline=deadline)
