"""Handshakes of both contexts, in memory: what connects, what does not, and what is said about it on either side."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from pathlib import Path

import httpx
import pytest

from tacit.errors import ConnectError, DataError, InvalidParameterError, PeerTimeoutError, TlsError
from tacit.net import tls
from tests.net.authority import DAY, Authority
from tests.patience import PATIENCE_S


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return Authority(tmp_path)


def handshake(
    client: ssl.SSLContext, server: ssl.SSLContext, host: str
) -> tuple[Exception | None, Exception | None]:
    """What each side raises, if it does, in a handshake and one byte each way."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    failed: list[Exception | None] = [None, None]
    for steps in (("do_handshake",) * 4, ("write",), ("read",) * 2):
        for step in steps:
            for index, side in enumerate(sides):
                if failed[index] is None:
                    try:
                        getattr(side, step)(*([b"x"] if step == "write" else [1] if step == "read" else []))
                    except ssl.SSLWantReadError:
                        pass
                    except ssl.SSLError as error:
                        failed[index] = error
    return failed[0], failed[1]


def test_a_good_certificate_connects(authority: Authority) -> None:
    server = tls.server_context(*authority.issue("server"))
    for host in ("localhost", "127.0.0.1"):
        assert handshake(tls.client_context(host=host, ca=authority.path), server, host) == (None, None)


@pytest.mark.parametrize(
    ("host", "ends", "own", "words"),
    [
        ("localhost", -DAY / 2, True, "has expired"),
        ("example.org", DAY, True, "is for another host"),
        ("127.0.0.2", DAY, True, "is for another address"),
        ("localhost", DAY, False, "is of an authority that is unknown"),
    ],
)
def test_a_bad_server_certificate_is_named(
    authority: Authority, host: str, ends: datetime.timedelta, own: bool, words: str
) -> None:
    cert, key = authority.issue("server", ends=ends)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # ours would refuse to start with an expired one
    server.load_cert_chain(cert, key)
    trusted = authority if own else Authority(authority.folder, "another authority")
    error, alerted = handshake(tls.client_context(host=host, ca=trusted.path), server, host)
    assert error is not None
    assert alerted is not None, "the server was not told"
    told = tls.explain(error, host)
    assert isinstance(told, TlsError)
    assert words in str(told)
    assert host in str(told)
    assert told.hint


def test_an_authority_that_is_named_is_the_only_one(authority: Authority) -> None:
    """`ca=` replaces the system's authorities, so it pins."""
    assert len(tls.client_context(host="localhost", ca=authority.path).get_ca_certs()) == 1


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("none", "wants a client certificate"),
        ("expired", "has expired"),
        ("foreign", "does not know the authority"),
        ("good", ""),
    ],
)
def test_client_certificates(authority: Authority, kind: str, words: str) -> None:
    server = tls.server_context(*authority.issue("server"), client_ca=authority.path)
    signer = Authority(authority.folder, "another authority") if kind == "foreign" else authority
    client = tls.client_context(host="localhost", ca=authority.path)
    if kind != "none":
        pair = signer.issue("alice", client=True, ends=-DAY / 2 if kind == "expired" else DAY)
        client.load_cert_chain(*pair)
    told, refused = handshake(client, server, "localhost")
    assert (refused is None) is (kind == "good"), "the server lets in whom it should not, or the reverse"
    if kind != "good":
        assert told is not None
        assert words in str(tls.explain(told, "localhost"))


def test_an_expired_client_certificate_is_refused_before_it_is_sent(authority: Authority) -> None:
    pair = authority.issue("alice", client=True, ends=-DAY / 2)
    with pytest.raises(InvalidParameterError, match="expired on"):
        tls.client_context(host="localhost", ca=authority.path, cert=pair)


def test_a_server_does_not_start_with_a_bad_certificate(authority: Authority) -> None:
    cert, key = authority.issue("server")
    with pytest.raises(InvalidParameterError, match="expired on"):
        tls.server_context(*authority.issue("old", ends=-DAY / 2))
    with pytest.raises(InvalidParameterError, match="not valid before"):
        tls.server_context(*authority.issue("early", begins=DAY / 2))
    with pytest.raises(InvalidParameterError, match="does not belong"):
        tls.server_context(cert, authority.issue("other")[1])
    with pytest.raises(InvalidParameterError, match="no certificate in PEM"):
        tls.server_context(key, key)
    with pytest.raises(InvalidParameterError, match="nobody to ask"):
        tls.server_context(*authority.issue("locked", passphrase=b"secret"))
    with pytest.raises(InvalidParameterError, match="no certificate of an authority"):
        tls.server_context(cert, key, client_ca=key)
    for missing in ((cert.with_name("absent"), key), (cert, key.with_name("absent"))):
        with pytest.raises(DataError, match="cannot read"):
            tls.server_context(*missing)


def test_old_tls_is_refused(authority: Authority) -> None:
    server = tls.server_context(*authority.issue("server"))
    client = tls.client_context(host="localhost", ca=authority.path)
    for context in (server, client):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert all("GCM" in suite["name"] or "CHACHA20" in suite["name"] for suite in context.get_ciphers())
    assert client.check_hostname
    assert client.verify_mode == ssl.CERT_REQUIRED


def test_a_renewed_certificate_is_used_without_a_restart(authority: Authority) -> None:
    cert, key = authority.issue("server", hosts=("old.example",))
    server = tls.server_context(cert, key)
    client = tls.client_context(host="localhost", ca=authority.path)
    assert handshake(client, server, "localhost")[0] is not None
    before = tls.fingerprint(cert)
    authority.issue("server", hosts=("localhost",))
    assert tls.fingerprint(cert) != before
    tls.renew(server, cert, key)
    assert handshake(client, server, "localhost") == (None, None)
    assert 0 < tls.expires_in_s(cert) < 2 * 86_400


def answer_once(reply: bytes | None) -> tuple[int, threading.Thread]:
    """A port on which one connection gets ``reply``; ``None``: nobody listens on it."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def serve() -> None:
        listener.settimeout(PATIENCE_S)
        connection, _ = listener.accept()
        connection.recv(4096)
        connection.sendall(reply or b"")
        connection.close()
        listener.close()

    thread = threading.Thread(target=serve, daemon=True)
    if reply is None:
        listener.close()
    else:
        thread.start()
    return port, thread


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (None, ConnectError, "nothing listens"),
        (b"", TlsError, "ended the connection before"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", TlsError, "does not speak TLS"),
    ],
)
def test_errors_of_httpx_are_explained(
    authority: Authority, reply: bytes | None, kind: type[ConnectError], words: str
) -> None:
    port, thread = answer_once(reply)
    context = tls.client_context(host="127.0.0.1", ca=authority.path)
    with (
        httpx.Client(verify=context, timeout=PATIENCE_S, trust_env=False) as client,
        pytest.raises(httpx.HTTPError) as caught,
    ):
        client.get(f"https://127.0.0.1:{port}/")
    if reply is not None:
        thread.join(PATIENCE_S)
    told = tls.explain(caught.value, "127.0.0.1")
    assert type(told) is kind
    assert words in str(told)


def test_plain_causes_are_explained() -> None:
    assert "is not known" in str(
        tls.explain(socket.gaierror(-2, "Name or service not known"), "nowhere.invalid")
    )
    assert isinstance(tls.explain(TimeoutError(), "h"), PeerTimeoutError)
    assert "no route to host" in str(tls.explain(OSError(113, "No route to host"), "h"))
    assert type(tls.explain(ValueError("odd"), "h")) is ConnectError
