"""A server's life: starting, refusing to start, models that come and go, slow callers, draining, restarting."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tacit.net import wire
from tacit.net.tensors import InferRequest, Tensor
from tests.patience import PATIENCE_S, soon, until
from tests.service.models import data, slow_bytes, tacit_command, write_model, write_package
from tests.service.owning import ByHand
from tests.service.running import Running, running

SECONDS_LONG, MINUTES_LONG = 1000, 10_000
"""Rows of a slow prediction."""

SAMPLE = {"name": "X", "datatype": "FP32", "shape": [1, 4], "data": [0.0] * 4}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("life")
    write_package(folder)
    with running(folder, str(folder / "risk.tacit")) as found:
        yield found


def descendants(process: int) -> list[int]:
    """Processes that a process started, and theirs."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
            if parent == process:
                found += [int(entry.name), *descendants(int(entry.name))]
    return found


def alive(processes: list[int]) -> list[int]:
    """Those that still run; what has ended and waits to be buried does not."""
    found = []
    for process in processes:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(process)
    return found


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--listen", "0.0.0.0:0"], "no certificate"),
        (["--listen", "0.0.0.0:0", "--insecure-http"], "loopback"),
        (["--listen", "127.0.0.1"], "not an address"),
        (["--listen", "127.0.0.1:99999"], "not an address"),
        (["--listen", "::1:80"], "not an address"),
        (["--listen", "192.0.2.1:0", "--cert", "x", "--key", "y", "--open"], "x"),
        (["--cert", "x"], "belong together"),
        (["--protection", "mpc"], "protection"),
        (["--workers", "0"], "at least 1"),
        (["--tokens", "none.txt"], "none.txt"),
    ],
)
def test_a_server_that_cannot_be_says_why(tmp_path: Path, words: list[str], told: str) -> None:
    done = tacit_command("serve", str(write_package(tmp_path)), "--store", str(tmp_path / "s"), *words)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ") and told in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


def test_models_that_cannot_be_served_end_the_command(tmp_path: Path) -> None:
    (tmp_path / "bad.tacit").write_bytes(b"bad")
    for path in (tmp_path / "bad.tacit", tmp_path / "none.tacit"):
        done = tacit_command("serve", str(path), "--listen", "127.0.0.1:0", "--insecure-http")
        assert done.returncode == 2 and done.stderr.startswith("error: "), done.stderr


def test_an_address_and_a_store_belong_to_one_server(server: Running, tmp_path: Path) -> None:
    model, store = str(write_package(tmp_path)), str(tmp_path / "store")
    taken = tacit_command(
        "serve", model, "--listen", f"127.0.0.1:{server.port}", "--insecure-http", "--store", store
    )
    assert taken.returncode == 2 and "cannot listen" in taken.stderr
    with running(tmp_path, model, "--store", store):
        second = tacit_command("serve", model, "--listen", "127.0.0.1:0", "--insecure-http", "--store", store)
        assert second.returncode == 2 and "store" in second.stderr


def test_the_first_words_on_a_terminal(tmp_path: Path) -> None:
    """Without `--json`: what is served, where, for whom, and the certificate that it shows."""
    environment = os.environ | {"XDG_STATE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    process = subprocess.Popen(
        [sys.executable, "-m", "tacit", "serve", str(write_package(tmp_path)), "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(7)]
    finally:
        process.send_signal(signal.SIGINT)
        rest, complaint = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, complaint
    assert lines[0].startswith("serving at https://127.0.0.1:")
    assert re.fullmatch(r"  risk: ckks, version [0-9a-f]{12}, samples of one request: 1, 4096\n", lines[1])
    assert lines[2] == "for everybody on this machine\n"
    assert lines[3].startswith("certificate sha256:")
    assert rest == ""


def test_tls_and_the_development_certificate(tmp_path: Path) -> None:
    with running(tmp_path, str(write_package(tmp_path)), tls=True) as server:
        authority = tmp_path / "config" / "tacit" / "dev" / "authority.pem"
        context = ssl.create_default_context(cafile=str(authority))
        with httpx.Client(verify=context) as client:
            assert client.get(f"{server.address}/v2/health/ready").json() == {"ready": True}
        with pytest.raises(httpx.ConnectError), httpx.Client() as client:
            client.get(f"{server.address}/v2/health/ready")
        with socket.create_connection(("127.0.0.1", server.port)) as plain:
            plain.sendall(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
            plain.settimeout(PATIENCE_S)
            assert b"200" not in plain.recv(1000)
        with socket.create_connection(("127.0.0.1", server.port)) as kept:
            context.check_hostname = False
            with context.wrap_socket(kept, server_hostname="127.0.0.1") as secured:
                secured.sendall(b"GET /v2 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                assert b"200" in secured.recv(1000)
                with soon():  # and not after the 30 s that callers have to finish
                    assert server.end() == 0


def test_models_come_and_go_while_it_runs(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    with running(tmp_path, str(models), "--protection", "clear") as server, server.client() as http:
        assert http.get("/v2/health/ready").status_code == 503
        write_model(models)
        until(lambda: http.get("/v2/health/ready").status_code == 200)
        first = http.post("/v2/models/risk/infer", json={"inputs": [SAMPLE]}).json()
        (version,) = http.get("/v2/models/risk").json()["versions"]
        write_model(models, seed=3)
        until(lambda: http.get("/v2/models/risk").json()["versions"] != [version])
        second = http.post("/v2/models/risk/infer", json={"inputs": [SAMPLE]}).json()
        assert first["outputs"] != second["outputs"]
        assert http.get(f"/v2/models/risk/versions/{version}").status_code == 404
        (models / "risk.onnx").unlink()
        until(lambda: http.get("/v2/models/risk").status_code == 404)
        assert http.get("/v2/health/ready").status_code == 503


def test_keys_and_plans_outlive_a_restart(tmp_path: Path) -> None:
    """Also one by kill -9: what was acknowledged is there."""
    model, store = write_model(tmp_path), str(tmp_path / "store")
    words = (str(model), "--store", store, "--batch", "1")
    with running(tmp_path, *words) as server, server.client() as http:
        plan_id = http.get("/v2/models/risk/plans").json()["plans"][0]["plan_id"]
        owner = ByHand(http, "risk", plan_id)
        assert owner.upload().status_code == 201
        before = owner.message(data()[:1])
        server.end(number=signal.SIGKILL)
    with running(tmp_path, *words) as server, server.client() as http:
        owner.http = http
        assert owner.predict(data()[:1]).shape == (1, 2)
        replayed = owner.send(before)
        assert (replayed.status_code, replayed.json()["code"]) == (503, "busy"), "sent before the start"


def slow_request(rows: int, **parameters: int) -> tuple[bytes, dict[str, str]]:
    """A prediction in the clear that takes some milliseconds for each row."""
    tensor = Tensor.of("x", np.zeros((rows, 512), dtype=np.float32))
    parts, length = InferRequest(inputs=(tensor,), binary=True, parameters=parameters).encode()
    head = {wire.CONTENT_LENGTH_OF_JSON: str(length), "Content-Type": "application/octet-stream"}
    return b"".join(parts), head


@contextlib.contextmanager
def slow_server(folder: Path, *words: str) -> Iterator[Running]:
    (folder / "slow.onnx").write_bytes(slow_bytes())
    with running(
        folder, str(folder / "slow.onnx"), "--protection", "clear", "--workers", "1", *words
    ) as found:
        yield found


def begun(
    http: httpx.Client, threads: concurrent.futures.Executor, client: httpx.Client, rows: int, **more: str
) -> Any:
    """A slow prediction that runs, as a future of its answer."""
    body, head = slow_request(rows)
    answer = threads.submit(client.post, "/v2/models/slow/infer", content=body, headers=head | more)
    until(lambda: http.get("/v2/load").json()["workers"]["busy"] == 1)
    return answer


def at_work(http: httpx.Client) -> tuple[int, int]:
    """Predictions that callers wait for, and workers that compute."""
    load = http.get("/v2/load").json()
    return load["requests"]["running"], load["workers"]["busy"]


def test_sigterm_finishes_what_runs_and_takes_nothing_new(tmp_path: Path) -> None:
    with slow_server(tmp_path, "--drain-s", "600") as server, server.client() as http:
        with server.client() as client, concurrent.futures.ThreadPoolExecutor() as threads:
            answer = begun(http, threads, client, SECONDS_LONG)
            processes = descendants(server.process.pid)
            server.process.send_signal(signal.SIGTERM)
            until(lambda: http.get("/v2/health/ready").status_code == 503)
            assert http.get("/v2/health/live").status_code == 200
            body, head = slow_request(1)
            refused = http.post("/v2/models/slow/infer", content=body, headers=head)
            assert (refused.status_code, refused.json()["code"]) == (503, "busy")
            assert int(refused.headers["retry-after"]) >= 1
            assert answer.result(PATIENCE_S).status_code == 200
        assert server.process.wait(PATIENCE_S) == 0
    until(lambda: not alive(processes))


def test_what_does_not_end_in_time_is_cut(tmp_path: Path) -> None:
    with (
        slow_server(tmp_path, "--drain-s", "1") as server,
        server.client() as http,
        concurrent.futures.ThreadPoolExecutor() as threads,
    ):
        answer = begun(http, threads, http, MINUTES_LONG)
        processes = descendants(server.process.pid)
        with soon(25.0):  # the prediction takes half a minute at the least
            assert server.end() == 0
        with contextlib.suppress(httpx.TransportError):
            assert answer.result(PATIENCE_S).status_code >= 500
    until(lambda: not alive(processes))


def test_a_deadline_holds_and_a_caller_that_leaves_is_not_worked_for(tmp_path: Path) -> None:
    with slow_server(tmp_path) as server, server.client() as http:
        for timeout_ms, parameters in (("500", {}), ("60000", {"timeout": 500_000})):
            body, head = slow_request(MINUTES_LONG, **parameters)
            with soon():
                late = http.post(
                    "/v2/models/slow/infer", content=body, headers=head | {wire.TIMEOUT_MS: timeout_ms}
                )
            assert (late.status_code, late.json()["code"]) == (504, "peer-timeout")

        until(lambda: at_work(http) == (0, 0))
        with socket.create_connection(("127.0.0.1", server.port)) as leaving:
            leaving.settimeout(PATIENCE_S)
            body, head = slow_request(MINUTES_LONG)
            lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
            start = (
                f"POST /v2/models/slow/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
            )
            leaving.sendall(f"{start}{lines}\r\n".encode() + body)
            until(lambda: at_work(http) == (1, 1))
        with soon():
            until(lambda: at_work(http)[0] == 0)
        until(lambda: 499 in [line.get("status") for line in server.lines()])
        body, head = slow_request(1)
        assert http.post("/v2/models/slow/infer", content=body, headers=head).status_code == 200


def test_a_body_without_a_length_is_cut_at_the_limit(server: Running) -> None:
    """Chunks without end: refused as soon as they are too many, and not read on."""
    with socket.create_connection(("127.0.0.1", server.port)) as sender:
        sender.settimeout(PATIENCE_S)
        sender.sendall(
            b"POST /v2/models/risk/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        sent = 0
        try:
            while sent < 1 << 30:
                sender.sendall(chunk)
                sent += len(chunk)
                if sent > 8 << 20:
                    time.sleep(0.01)
        except OSError:
            pass
        assert sent < 64 << 20
    with server.client() as http:
        assert http.get("/v2/health/live").status_code == 200
        until(lambda: 413 in [line.get("status") for line in server.lines()])


def first_line(port: int, headers: int) -> bytes:
    """What comes back of a request with so many KiB of headers: its first bytes, or none."""
    with socket.create_connection(("127.0.0.1", port)) as sender:
        sender.settimeout(PATIENCE_S)
        with contextlib.suppress(ConnectionError):
            sender.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            for number in range(headers):
                sender.sendall(b"X-%d: %s\r\n" % (number, b"y" * 1000))
            sender.sendall(b"\r\n")
            return sender.recv(12)
    return b""


def test_headers_that_are_too_long_are_cut(server: Running) -> None:
    """Also where the kernel keeps all of one: the server reads them in several pieces, and answers to none."""
    assert first_line(server.port, 32) == b"HTTP/1.1 200"
    for headers in (1000, 16_000):
        assert first_line(server.port, headers) in (b"", b"HTTP/1.1 400")


def test_connections_that_say_nothing_are_cut(server: Running) -> None:
    """A header that does not end within 10 s, and a connection on which nothing comes at all."""
    place, start = ("127.0.0.1", server.port), time.monotonic()
    with socket.create_connection(place) as silent, socket.create_connection(place) as slow:
        slow.sendall(b"GET /v2 HTTP/1.1\r\nHo")
        for each in (silent, slow):
            each.settimeout(PATIENCE_S)
            with contextlib.suppress(ConnectionResetError):
                assert each.recv(100) == b""
    assert time.monotonic() - start > 5
