"""`tacit keys dev-cert` and `tacit keys token`: what they print, and what they leave on the disk."""

from __future__ import annotations

import json
import pathlib

import pytest
import typer
from typer.testing import CliRunner

from tacit.cli import dev_cert, token
from tacit.errors import InvalidParameterError
from tacit.service.access import Access

app = typer.Typer()
app.command("dev-cert")(dev_cert.command)
app.command("token")(token.command)


@pytest.fixture(autouse=True)
def config(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


def told(*words: str) -> str:
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_dev_cert(config: pathlib.Path) -> None:
    text = told("dev-cert")
    assert "made a certificate for localhost" in text
    facts = json.loads(told("dev-cert", "--json"))
    assert facts["made"] is False
    assert facts["days_left"] in (29, 30)
    assert facts["fingerprint"] in text
    assert pathlib.Path(facts["certificate"]) == config / "tacit" / "dev" / "server.pem"
    assert "PRIVATE" not in text


def test_token(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "tokens"
    made = told("token", "alice", "--tokens", str(path)).strip()
    assert Access(tokens=path).identify({"authorization": f"Bearer {made}"}).identity == "token:alice"
    assert made not in path.read_text()
    facts = json.loads(told("token", "bob", "--json"))
    assert facts["line"].startswith("bob sha256:")
    assert "bob" not in path.read_text()
    for words in (("token", "alice", "--tokens", str(path)), ("token", "no name")):
        with pytest.raises(InvalidParameterError):
            told(*words)
