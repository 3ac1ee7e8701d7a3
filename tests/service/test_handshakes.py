"""Before a request: handshakes that hang, peers that are refused, and names that are not this machine's."""

from __future__ import annotations

import asyncio
import io
import json
import resource
import socket
import time
from pathlib import Path

import pytest

from tacit.net import tls
from tacit.service import connections, server
from tacit.service.log import Log
from tests.net.authority import Authority
from tests.patience import PATIENCE_S, soon
from tests.service.client import Client, Refusal, serving
from tests.service.models import write_package


def test_a_handshake_that_hangs_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HANDSHAKE_S", 0.3)
    context = tls.server_context(*Authority(tmp_path).issue("server"))

    async def app(scope: object, receive: object, send: object) -> None:
        raise AssertionError

    async def run() -> float:
        async with server._uvicorn(app, server.Address("127.0.0.1", 0), context, 1.0) as (_, address):
            start = time.monotonic()
            reader, writer = await asyncio.open_connection(address.host, address.port)
            async with asyncio.timeout(45):  # asyncio itself cuts after 60 s
                assert await reader.read() == b""
            writer.close()
            assert "create_server" not in vars(asyncio.get_running_loop())
            return time.monotonic() - start

    assert asyncio.run(run()) > 0.2


def test_refusals_are_logged_once_a_second() -> None:
    stream, now = io.StringIO(), [100.0]
    refused = connections.refusals(Log(stream), clock=lambda: now[0])
    for _ in range(50):
        refused("certificate verify failed")
        now[0] += 0.01
    now[0] += 0.51
    refused("http request")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["what"] for line in lines] == ["refused: certificate verify failed", "refused: http request"]
    assert [line["skipped"] for line in lines] == [0, 49]


def test_the_limit_of_open_files_is_raised_only() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        lower = min(256, soft)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lower, hard))
        connections.allow_connections(20)
        raised = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert raised >= min(320, hard) or hard == resource.RLIM_INFINITY
        connections.allow_connections(1)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == raised
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_open_server_answers_only_to_names_of_this_machine(tmp_path: Path) -> None:
    """DNS rebinding: a page whose name leads to 127.0.0.1 gets nothing from a server that is open on loopback."""
    words = (str(write_package(tmp_path)), "--insecure-http", "--store", str(tmp_path / "store"))
    with serving(tmp_path, *words, config=tmp_path) as running:
        client = Client(running, None)
        for method, path in (
            ("GET", "/v2"),
            ("GET", "/v2/models/risk/plans"),
            ("POST", "/v2/models/risk/infer"),
        ):
            refused = client.call(method, path, Host="evil.example:8443")
            assert isinstance(refused, Refusal)
            assert (refused.status, refused.code) == (401, "access-denied")
        for name in ("localhost", "127.0.0.1:1", "[::1]:8443"):
            assert not isinstance(client.call("GET", "/v2", Host=name), Refusal)


def test_many_idle_connections_shut_nobody_out(tmp_path: Path) -> None:
    """More connections without a handshake than the soft limit of open files was."""
    words = (str(write_package(tmp_path)), "--store", str(tmp_path / "store"))
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 4096:
        pytest.skip("the limit of open files of this machine is too low to try")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    idle: list[socket.socket] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))  # what a server usually starts with
    try:
        with serving(tmp_path, *words, config=tmp_path) as running:
            host, port = running.url.removeprefix("https://").rsplit(":", 1)
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
            for _ in range(1200):
                idle.append(socket.create_connection((host, int(port)), timeout=PATIENCE_S))
            with soon():
                assert Client(running, None).plans("risk")
    finally:
        for connection in idle:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
