"""Client certificates through a real uvicorn: who is seen as whom, and what both sides see when it fails, and soon."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from tacit.errors import AccessDeniedError, TlsError
from tacit.net import tls
from tacit.service import peer
from tacit.service.access import Access
from tests.net.authority import DAY, Authority
from tests.patience import PATIENCE_S, soon, until


class Seen:
    """An application that says who asks, by an `Access`."""

    def __init__(self, access: Access) -> None:
        self.access = access

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        certificate = scope["state"][peer.KEY]
        try:
            text, status = self.access.identify(headers, certificate=certificate).identity, 200
        except AccessDeniedError as error:
            text, status = error.code, 401
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": text.encode()})


@contextlib.contextmanager
def running(app: Any, context: ssl.SSLContext | None) -> Iterator[str]:
    """The address of a server while the block runs."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, http=peer.protocol(), lifespan="off", log_config=None, access_log=False
    )
    config.load()
    config.ssl = context
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    try:
        until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"{'https' if context else 'http'}://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return Authority(tmp_path)


def ask(url: str, context: ssl.SSLContext | None, **headers: str) -> httpx.Response:
    with httpx.Client(
        verify=context or False, timeout=PATIENCE_S, trust_env=False, headers=headers
    ) as client:
        return client.get(url)


def refusal(url: str, context: ssl.SSLContext, host: str = "127.0.0.1") -> TlsError:
    """The typed error of a connection that must not come about, within the limit."""
    with soon(), pytest.raises(httpx.TransportError) as caught:
        ask(url.replace("127.0.0.1", host), context)
    told = tls.explain(caught.value, host)
    assert isinstance(told, TlsError), told
    return told


def test_certificates_name_their_principals(authority: Authority) -> None:
    context = tls.server_context(*authority.issue("server"), client_ca=authority.path)
    with running(Seen(Access(certificates=True)), context) as url:
        for name in ("alice", "bob"):
            pair = authority.issue(name, client=True)
            asking = tls.client_context(host="127.0.0.1", ca=authority.path, cert=pair)
            with httpx.Client(verify=asking, timeout=PATIENCE_S, trust_env=False) as client:
                answers = {client.get(url).text for _ in range(3)}
            assert answers == {f"certificate:{name}"}


def test_certificates_that_are_refused(authority: Authority) -> None:
    told: list[str] = []
    context = tls.server_context(*authority.issue("server"), client_ca=authority.path, refused=told.append)
    with running(Seen(Access(certificates=True)), context) as url:
        bare = tls.client_context(host="127.0.0.1", ca=authority.path)
        assert "wants a client certificate" in str(refusal(url, bare))
        stranger = Authority(authority.folder, "another authority").issue("alice", client=True)
        foreign = tls.client_context(host="127.0.0.1", ca=authority.path, cert=stranger)
        assert "does not know the authority" in str(refusal(url, foreign))
        expired = tls.client_context(host="127.0.0.1", ca=authority.path)
        expired.load_cert_chain(*authority.issue("old", client=True, ends=-DAY / 2))
        assert "has expired" in str(refusal(url, expired))
        pair = authority.issue("two words", client=True)
        named = tls.client_context(host="127.0.0.1", ca=authority.path, cert=pair)
        assert ask(url, named).status_code == 401
        with (
            soon(),
            pytest.raises(httpx.TransportError),
        ):  # and not when handshakes end that nobody goes on with
            ask(url.replace("https:", "http:"), None)
        until(lambda: len(told) == 4)
    assert told == [
        "peer did not return a certificate",
        "certificate verify failed",
        "certificate verify failed",
        "http request",
    ]


def test_servers_that_are_refused(authority: Authority) -> None:
    access = Access(open_=True)
    ours = tls.client_context(host="127.0.0.1", ca=authority.path)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.load_cert_chain(*authority.issue("old", ends=-DAY / 2))
    with running(Seen(access), old) as url:
        assert "has expired" in str(refusal(url, ours))
    with running(
        Seen(access), tls.server_context(*authority.issue("elsewhere", hosts=("example.org",)))
    ) as url:
        assert "for another address" in str(refusal(url, ours))
        assert "for another host" in str(refusal(url, ours, "localhost"))
    stranger = Authority(authority.folder, "another authority")
    with running(Seen(access), tls.server_context(*stranger.issue("server"))) as url:
        assert "authority that is unknown" in str(refusal(url, ours))
        assert ask(url, tls.client_context(host="127.0.0.1", ca=stranger.path)).text == "open"
    with running(Seen(access), None) as url:
        told = refusal(url.replace("http:", "https:"), ours)
        assert "does not speak TLS" in str(told)


def test_a_certificate_that_nobody_verified_is_not_passed_on(authority: Authority) -> None:
    """Where the server asks for none, one that a client sends counts for nothing."""
    pair = authority.issue("alice", client=True)
    with running(Seen(Access(certificates=True)), tls.server_context(*authority.issue("server"))) as url:
        context = tls.client_context(host="127.0.0.1", ca=authority.path, cert=pair)
        assert ask(url, context).status_code == 401
    with running(Seen(Access(certificates=True)), None) as url:
        digest = hashlib.sha256(pair[0].read_bytes()).hexdigest()
        assert ask(url, None, **{"x-client-cert": digest}).status_code == 401
