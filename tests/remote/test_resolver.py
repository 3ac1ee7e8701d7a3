"""Names of hosts: a resolver that never answers, one that does not know, and hosts with several addresses."""

from __future__ import annotations

import pathlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

import tacit
from tacit.errors import ConnectError, TlsError
from tacit.remote import resolver
from tacit.remote.address import read_address
from tacit.remote.doctor import examine
from tacit.remote.resolver import ByAddress, resolved
from tacit.remote.session import Session
from tests.remote.certificates import issue
from tests.remote.provider import MODEL, Scripted
from tests.remote.test_session import listen, peer

NAME = "provider.example"
HANGS_S = 30.0


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """Makes the resolver of the system answer as it is told; every name that it was asked for is in the list."""
    real, asked, over = socket.getaddrinfo, list[str](), threading.Event()

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
        left.exception(timeout=HANGS_S)


def test_a_resolver_that_hangs_ends_at_the_deadline(
    answers: Callable[..., list[str]], ring: pathlib.Path
) -> None:
    answers(hangs=True)
    start = time.monotonic()
    with pytest.raises(ConnectError, match="name server") as error:
        tacit.connect(f"https://{NAME}/{MODEL}", keyring=ring, timeout_s=0.5)
    assert time.monotonic() - start < HANGS_S / 3
    assert f"`{NAME}`" in str(error.value) and error.value.hint


def test_the_doctor_says_it_too(answers: Callable[..., list[str]], ring: pathlib.Path) -> None:
    answers(hangs=True)
    steps = {step.name: step for step in examine(f"https://{NAME}/{MODEL}", keyring=ring, timeout_s=0.3)}
    assert steps["name"].state == "failed" and steps["name"].code == "connect"
    assert f"`{NAME}`" in steps["name"].cause and "name server" in steps["name"].fix
    assert steps["connection"].state == "skipped"


def test_who_asks_again_waits_for_the_same_look(answers: Callable[..., list[str]]) -> None:
    asked = answers(hangs=True)
    for _ in range(5):
        with pytest.raises(ConnectError):
            resolved(NAME, 443, within_s=0.01)
    assert asked == [NAME]


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
        tacit.connect(f"https://{NAME}/{MODEL}", keyring=ring, timeout_s=5)
    assert f"`{NAME}`" in str(caught.value) and caught.value.hint
    assert not resolver._running


def test_every_address_is_tried_and_the_one_that_answers_is_kept(
    answers: Callable[..., list[str]], server: Scripted
) -> None:
    port = int(server.url.rpartition(":")[2])
    asked = answers("127.0.0.9", "127.0.0.1")  # nothing listens at the first
    with httpx.Client(transport=ByAddress(httpx.HTTPTransport())) as client:
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
    with httpx.Client(transport=transport, timeout=httpx.Timeout(2.0)) as client:
        limit = {resolver.REMAINING: 5.0, "timeout": {"connect": 2.0}}
        with pytest.raises(httpx.ConnectTimeout):
            client.get(f"https://{NAME}/", extensions=limit)
    assert limits == [2.0, 2.0, 1.0]


def test_the_certificate_is_for_the_name_and_not_for_the_address(
    answers: Callable[..., list[str]], tmp_path: pathlib.Path
) -> None:
    answers("127.0.0.1")
    for host, is_good in ((NAME, True), ("other.example", False)):
        (tmp_path / host).mkdir()
        ca, pair = issue(tmp_path / host, host=host)
        with (
            peer(listen, pair) as port,
            Session(read_address(f"https://{NAME}:{port}/m"), ca=ca) as session,
        ):
            deadline = session.clock() + 10
            if is_good:
                assert session.ask("GET", "/v2", deadline=deadline).body == b"{}"
                continue
            with pytest.raises(TlsError, match=NAME):
                session.ask("GET", "/v2", deadline=deadline)
