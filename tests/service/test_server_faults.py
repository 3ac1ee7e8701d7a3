"""A real server that is killed, restarted, out of disk, or wrongly set up: typed errors in time, and nothing lost."""

from __future__ import annotations

import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

from tacit.net.tls import client_context, explain
from tests.net.authority import DAY, Authority
from tests.patience import PATIENCE_S, soon, until
from tests.service.client import Client, Refusal, Server, serving
from tests.service.models import data, estimator, write_package

SAMPLE = data()[:1]
CLEAR = estimator().predict_proba(SAMPLE)


@pytest.fixture
def words(tmp_path: Path) -> tuple[str, ...]:
    return (str(write_package(tmp_path)), "--store", str(tmp_path / "store"))


def is_right(client: Client) -> None:
    assert np.allclose(client.predict(SAMPLE), CLEAR, atol=0.01)


def begun_upload(server: Server, client: Client, count: int) -> ssl.SSLSocket:
    """A connection that has sent so many bytes of a piece and hangs."""
    host, port = server.url.removeprefix("https://").rsplit(":", 1)
    plain = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
    context = client_context(host=host)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the test's own raw connection
    secured = context.wrap_socket(plain)
    header = (
        f"PATCH /v2/keys/{client.digest} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(client.keys)}\r\n"
        f"Tacit-Client: {client.header}\r\nTacit-Model: {client.model}\r\nTacit-Plan: {client.plan}\r\n"
        f"Upload-Offset: 0\r\nUpload-Length: {len(client.keys)}\r\nContent-Type: application/octet-stream\r\n\r\n"
    )
    secured.sendall(header.encode() + client.keys[:count])
    return secured


def offset_of(client: Client) -> int:
    state = client.head(client.digest)
    return int(state.headers["upload-offset"]) if isinstance(state, httpx.Response) else -1


def test_kill_9_and_restarts_lose_nothing(tmp_path: Path, words: tuple[str, ...]) -> None:
    with serving(tmp_path, *words, config=tmp_path) as server:
        steady, cut = Client(server, None), Client(server, None)
        assert isinstance(steady.send(), httpx.Response)
        is_right(steady)
        captured, _ = steady.frame(SAMPLE)
        assert isinstance(steady.infer(captured), bytes)
        assert isinstance(cut.send(until=20_000), httpx.Response)
        server.process.send_signal(signal.SIGKILL)
        with soon(), pytest.raises(httpx.TransportError) as gone:
            steady.predict(SAMPLE)
        assert explain(gone.value, "127.0.0.1").code == "connect"
    with serving(tmp_path, *words, config=tmp_path) as server:
        for client in (steady, cut):
            client.server = server
        refused = steady.infer(captured)
        assert isinstance(refused, Refusal)
        assert refused.code == "busy", "a restart let a request in again"
        assert "retry-after" in refused.rest[0]
        is_right(steady)
        assert offset_of(cut) == 20_000
        assert isinstance(cut.send(offset=20_000), httpx.Response)
        is_right(cut)


def test_an_upload_goes_on_after_a_cut(tmp_path: Path, words: tuple[str, ...]) -> None:
    with serving(tmp_path, *words, config=tmp_path) as server:
        client = Client(server, None)
        half = len(client.keys) // 2
        connection = begun_upload(server, client, half)
        until(lambda: offset_of(client) >= 0)
        connection.close()
        # What was on its way is written first: the place to go on from is known when the cut call is over.
        until(lambda: '"method": "PATCH"' in (tmp_path / "log").read_text())
        offset = offset_of(client)
        assert 0 <= offset <= half
        assert isinstance(client.send(offset=offset), httpx.Response)
        is_right(client)


def test_a_full_disk(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Files of the running server may not grow any more; what is there stays, and goes on when there is room."""
    with serving(tmp_path, *words, config=tmp_path) as server:
        steady, late = Client(server, None), Client(server, None)
        assert isinstance(steady.send(), httpx.Response)
        count = len(late.keys) // 2
        soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (count, hard))
        refused = late.send()
        assert isinstance(refused, Refusal)
        assert (refused.status, refused.code) == (507, "store-full")
        is_right(steady)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (soft, hard))
        offset = offset_of(late)
        assert 0 <= offset <= count
        assert isinstance(late.send(offset=offset), httpx.Response)
        is_right(late)
        is_right(steady)


def ended(tmp_path: Path, *words: str) -> tuple[int, str]:
    """Status and stderr of a `tacit serve` that does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "tacit", "serve", *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path)},
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_servers_that_do_not_start(tmp_path: Path, words: tuple[str, ...]) -> None:
    authority = Authority(tmp_path)
    old = authority.issue("old", ends=-DAY)
    local = ("--listen", "127.0.0.1:0")
    cases = [
        ((*local, "--cert", str(old[0]), "--key", str(old[1])), "expired on"),
        ((*local, "--tokens", str(old[0])), "is not `NAME sha256:HEX`"),
    ]
    for more, text in cases:
        status, said = ended(tmp_path, *words, *more)
        assert status == 2, said
        assert text in said
        assert "hint:" in said


def test_two_servers_do_not_share_a_store(tmp_path: Path, words: tuple[str, ...]) -> None:
    with serving(tmp_path, *words, config=tmp_path):
        status, said = ended(tmp_path, *words, "--listen", "127.0.0.1:0")
    assert status == 2
    assert "another server uses" in said


def test_mutual_tls_of_a_real_server(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Two certificates are two principals: the same client secret under the other finds nothing."""
    authority = Authority(tmp_path)
    cert, key = authority.issue("server")
    more = ("--cert", str(cert), "--key", str(key), "--client-ca", str(authority.path))
    with serving(tmp_path, *words, *more, config=tmp_path) as server:
        owners = []
        for name in ("alice", "bob"):
            pair = authority.issue(name, client=True)
            context = client_context(host="127.0.0.1", ca=authority.path, cert=pair)
            with httpx.Client(verify=context, timeout=PATIENCE_S, trust_env=False) as http:
                client = Client(Server(server.url, server.process, http), None)
                assert isinstance(client.send(), httpx.Response)
                is_right(client)
                for other in owners:
                    client.secret = other.secret
                    assert isinstance(client.head(other.digest), Refusal)
                owners.append(client)
        bare = client_context(host="127.0.0.1", ca=authority.path)
        with httpx.Client(verify=bare, timeout=PATIENCE_S, trust_env=False) as http:
            with soon(), pytest.raises(httpx.TransportError) as refused:
                http.get(server.url + "/v2")
            assert "wants a client certificate" in str(explain(refused.value, "127.0.0.1"))
        until(lambda: "peer did not return a certificate" in (tmp_path / "log").read_text())
