"""The deployment on Ray, without Ray: what is refused before a cluster is touched."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from tacit.cli.commands import app
from tacit.errors import InternalError, InvalidParameterError, TlsError
from tacit.net.development import dev_certificate
from tacit.net.tls import server_context
from tacit.service import ray_deployment
from tacit.service.server import Address, Options
from tacit.service.shards import Answer, Question
from tests.patience import PATIENCE_S
from tests.rules.tree import ROOT

TOKENS, FILE = Path("tokens"), Path("file")


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)


def options(**more: Any) -> Options:
    return Options(**{"models": (Path("models"),), "version": "0", "tokens": TOKENS} | more)


def test_the_module_is_read_without_ray() -> None:
    script = "import sys, tacit.service.ray_deployment as _; print('ray' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    assert done.stdout.strip() == "False"


def test_without_the_extra_it_says_how_to_get_it() -> None:
    for call in (
        lambda: ray_deployment.run(options(), shards=1),
        lambda: ray_deployment.application(options(), shards=1, behind_tls=True),
    ):
        with pytest.raises(InvalidParameterError) as caught:
            call()
        assert caught.value.hint == 'pip install "tacit[ray]"'


def test_plain_http_takes_a_statement() -> None:
    with pytest.raises(InvalidParameterError, match="TLS ends before"):
        ray_deployment.application(options(), shards=1)


@pytest.mark.parametrize(
    ("told", "more", "says"),
    [
        ({"client_ca": FILE}, {}, "client_ca"),
        ({"grpc_listen": Address("127.0.0.1", 1)}, {}, "grpc_listen"),
        ({"metrics_listen": Address("127.0.0.1", 1)}, {}, "metrics_listen"),
        ({"calibration": FILE}, {}, "calibration"),
        ({"address_connections": 64}, {}, "address_connections"),
        ({"cert": FILE, "key": FILE}, {}, "leave out"),
        ({"plain_http": True}, {}, "leave out"),
        ({"tokens": None}, {}, "who may ask"),
        ({"open_": True}, {}, "who may ask"),
        ({}, {"shards": 0}, "at least 1"),
        ({}, {"fronts": 0}, "at least 1"),
        ({"workers": 0}, {}, "at least 1"),
    ],
)
def test_an_application_refuses_what_does_not_fit(
    told: dict[str, Any], more: dict[str, int], says: str
) -> None:
    with pytest.raises(InvalidParameterError, match=says):
        ray_deployment.application(options(**told), behind_tls=True, **{"shards": 1} | more)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"listen": Address("192.0.2.1", 8443)}, "no certificate"),
        ({"listen": Address("192.0.2.1", 8443), "plain_http": True}, "loopback"),
        ({"listen": Address("192.0.2.1", 8443), "cert": FILE, "key": FILE, "tokens": None}, "who may ask"),
        ({"listen": Address("127.0.0.1", 0)}, "port"),
        ({"cert": FILE}, "belong together"),
    ],
)
def test_a_run_needs_what_tacit_serve_needs(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, Any], says: str
) -> None:
    monkeypatch.setattr(ray_deployment, "_ray", lambda: (None, None))
    with pytest.raises(InvalidParameterError, match=says):
        ray_deployment.run(options(**told), shards=1)


@pytest.mark.parametrize(
    ("tokens", "host", "behind_tls", "local_names", "one_account"),
    [
        (TOKENS, "127.0.0.1", False, False, False),
        (TOKENS, "127.0.0.1", True, False, False),
        (None, "127.0.0.1", False, True, True),
        (None, "127.0.0.1", True, False, True),
        (None, "192.0.2.1", False, False, False),
        (None, "192.0.2.1", True, False, True),
    ],
)
def test_who_shares_a_quota_and_which_names_are_answered(
    tokens: Path | None, host: str, behind_tls: bool, local_names: bool, one_account: bool
) -> None:
    """A token has its own part of the store; one address for everybody has all of it."""
    told = options(tokens=tokens, listen=Address(host, 8443))
    assert ray_deployment._who_is_open(told, behind_tls) == (local_names, one_account)


def made(monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]) -> tuple[Options, dict[str, Any]]:
    seen: list[Any] = []
    monkeypatch.setattr(ray_deployment, "application", lambda options, **scale: seen.append((options, scale)))
    monkeypatch.setattr(ray_deployment.importlib.metadata, "version", lambda name: "9")
    ray_deployment.build(arguments)
    (found,) = seen
    return found


def test_plain_values_become_options(monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"models": "a.tacit", "tokens": "t", "shards": "3", "behind_tls": "true", "rate": "5"}
    found, scale = made(monkeypatch, words)
    assert found == Options(models=(Path("a.tacit"),), version="9", tokens=Path("t"), rate=5.0)
    assert scale == {"shards": 3, "fronts": 1, "behind_tls": True}
    found, scale = made(monkeypatch, {"models": ["a", "b"], "shards": 1, "open": True, "workers": 2})
    assert (found.models, found.open_, found.workers) == ((Path("a"), Path("b")), True, 2)
    assert scale["behind_tls"] is False


def test_plain_values_have_the_names_of_tacit_serve() -> None:
    command = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    options = {
        name[2:].replace("-", "_")
        for parameter in command.params
        for name in parameter.opts
        if name.startswith("--")
    }
    of_an_address = {"listen", "cert", "key", "client_ca", "insecure_http", "grpc_listen", "metrics_listen"}
    of_an_address |= {"address_connections"}
    of_compiling = {"calibration", "batch", "max_error", "measured"}
    assert set(ray_deployment.READERS) - {"models"} == (options - of_an_address - of_compiling - {"json"})


def test_the_configuration_file_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    yaml = pytest.importorskip("yaml", reason="needs pyyaml")
    found = yaml.safe_load((ROOT / "deploy" / "ray.yaml").read_text(encoding="utf-8"))
    assert found["http_options"]["host"] == "127.0.0.1" and found["logging_config"] == ray_deployment.QUIET
    (application,) = found["applications"]
    assert application["import_path"] == f"{ray_deployment.__name__}:build"
    options, scale = made(monkeypatch, application["args"])
    assert options.tokens is not None and scale["behind_tls"] is True


@pytest.mark.parametrize(
    "arguments",
    [
        {"models": "a"},
        {"shards": 1},
        {"models": "a", "shards": 1, "listen": "0.0.0.0:1"},
        {"models": "a", "shards": "many"},
        {"models": "a", "shards": 1, "behind_tls": "perhaps"},
    ],
)
def test_plain_values_that_are_wrong_are_refused(
    monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]
) -> None:
    with pytest.raises(InvalidParameterError):
        made(monkeypatch, arguments)


@pytest.mark.parametrize("speaks_tls", [True, False])
def test_an_address_without_the_certificate_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speaks_tls: bool
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "one"))
    ours = dev_certificate()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "other"))
    other = dev_certificate()
    monkeypatch.setattr(ray_deployment, "FINGERPRINT_S", PATIENCE_S)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            for _ in range(2 if speaks_tls else 1):
                line, _ = listener.accept()
                with line, contextlib.suppress(OSError):
                    if speaks_tls:
                        server_context(other.cert, other.key).wrap_socket(line, server_side=True).close()

        thread = threading.Thread(target=answer)
        thread.start()
        port = listener.getsockname()[1]
        try:
            with pytest.raises(TlsError, match="does not answer with the certificate"):
                ray_deployment._check_certificate("127.0.0.1", port, ours.cert)
            if speaks_tls:
                ray_deployment._check_certificate("127.0.0.1", port, other.cert)
        finally:
            thread.join(PATIENCE_S)


@pytest.mark.parametrize("told", [None, "1"])
def test_a_shard_does_not_start_where_ray_may_report_its_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, told: str | None
) -> None:
    monkeypatch.delenv(ray_deployment.USAGE, raising=False)
    if told is not None:
        monkeypatch.setenv(ray_deployment.USAGE, told)
    replica = object.__new__(ray_deployment._RayShard)
    with pytest.raises(InvalidParameterError, match="report its use"):
        asyncio.run(replica.__init__(options(store=tmp_path), 0, 1, False, False))  # type: ignore[misc]


def test_what_ray_carries_is_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray reads what it carries by pickle: a call and its answer are bytes inside of that, which are read strictly."""
    exceptions, of_serve = types.ModuleType("ray.exceptions"), types.ModuleType("ray.serve.exceptions")
    exceptions.RayError = type("RayError", (Exception,), {})  # type: ignore[attr-defined]
    exceptions.RayTaskError = type("RayTaskError", (exceptions.RayError,), {})  # type: ignore[attr-defined]
    of_serve.RayServeException = type("RayServeException", (Exception,), {})  # type: ignore[attr-defined]
    for module in (exceptions, of_serve, types.ModuleType("ray"), types.ModuleType("ray.serve")):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    question = Question("POST", "/v2", b"", ((b"host", b"here"),), ("192.0.2.1", 1), "https", "", b"body")
    carried: list[Any] = []

    class Inner:
        async def answer(self, asked: Question) -> Answer:
            assert asked == question
            return Answer(200, (), b"said")

    class Response:
        def __init__(self, *given: Any) -> None:
            self.given = given

        def __await__(self) -> Generator[Any, None, Any]:
            said = yield from replica.answer(*self.given).__await__()
            carried.extend([*self.given, said])
            return said[:-1] if self.given[1] == b"broken" else said

        def cancel(self) -> None:
            carried.append("cancelled")

    replica = object.__new__(ray_deployment._RayShard)
    replica._shard = Inner()  # type: ignore[assignment]
    handle = types.SimpleNamespace(answer=types.SimpleNamespace(remote=Response))
    ask = ray_deployment._asking(handle)
    assert asyncio.run(ask(question)) == Answer(200, (), b"said")  # type: ignore[arg-type]
    assert [type(each) for each in carried] == [bytes, bytes, bytes, str]
    assert b"body" not in carried[0]
    question = dataclasses.replace(question, body=b"broken")
    with pytest.raises(InternalError, match="a shard failed"):
        asyncio.run(ask(question))  # type: ignore[arg-type]
