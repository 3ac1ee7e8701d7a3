"""`tacit predict URL`, `tacit keys` and `tacit doctor` against a provider in this process."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator

import numpy as np
import pytest

import tacit
from tacit.cli import output
from tacit.cli.answers import table
from tacit.cli.main import complain
from tests.cli.conftest import Tacit
from tests.remote.provider import MODEL, Scripted, scripted


@pytest.fixture(scope="module")
def provider(files: pathlib.Path) -> tacit.Provider:
    known = np.loadtxt(files / "known.csv", delimiter=",", skiprows=1)
    return tacit.Provider.from_model(files / "model.onnx", calibration=known, batch=100, check=0)


@pytest.fixture
def server(provider: tacit.Provider) -> Iterator[Scripted]:
    with scripted(provider) as server:
        yield server


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> pathlib.Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("TACIT_TOKEN", raising=False)
    monkeypatch.delenv("TACIT_PASSPHRASE", raising=False)
    return tmp_path / "tacit" / "keys"


def url(server: Scripted) -> str:
    return f"{server.url}/{MODEL}"


def test_predict_by_a_provider(run: Tacit, server: Scripted) -> None:
    ended = run("predict", url(server), "new.csv", "--json")
    assert (ended.status, ended.err) == (0, "")
    found = json.loads(ended.out)
    local = json.loads(run("predict", "model.onnx", "new.csv", "--protection", "clear", "--json").out)
    assert found["columns"] == local["columns"]
    assert found["labels"] == local["labels"]
    error = np.abs(np.array(found["answers"]) - np.array(local["answers"])).max()
    assert error <= found["report"]["error_bound"] < 1e-2
    assert found["first_use"] is True
    again = json.loads(run("predict", url(server), "new.csv", "--json").out)
    assert again["first_use"] is False
    assert again["plan_id"] == found["plan_id"] == found["report"]["plan_id"]


def test_predict_reads_well_and_writes_files(run: Tacit, server: Scripted, tmp_path: pathlib.Path) -> None:
    ended = run("predict", url(server), "new.csv", "-o", str(tmp_path / "out.csv"))
    assert ended.status == 0
    assert "trusted on first use" in ended.out
    assert "wrote 12 answers" in ended.out
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 13
    assert "trusted since the first use" in run("predict", url(server), "new.csv").out


@pytest.mark.parametrize(
    "words",
    [
        ["--calibration", "known.csv"],
        ["--batch", "2"],
        ["--check", "0"],
        ["--memory-bytes", "9"],
        ["--simulate"],
    ],
)
def test_what_the_provider_chose_is_no_option(run: Tacit, server: Scripted, words: list[str]) -> None:
    ended = run("predict", url(server), "new.csv", *words)
    assert ended.status == 2
    assert words[0] in ended.err
    assert not server.calls


@pytest.mark.parametrize(
    "words", [["--plan", "a" * 12], ["--ca", "x"], ["--keyring", "x"], ["--token-file", "x"]]
)
def test_options_of_a_provider_are_refused_for_a_file(run: Tacit, words: list[str]) -> None:
    ended = run("predict", "model.onnx", "new.csv", *words)
    assert ended.status == 2
    assert words[0] in ended.err


def test_tokens_come_from_a_file_or_the_environment(
    run: Tacit, server: Scripted, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token = "sesame"  # noqa: S105 made up
    refused = run("predict", url(server), "new.csv")
    assert refused.status == 4
    assert "not known" in refused.err
    (tmp_path / "token").write_text("sesame\n")
    assert run("predict", url(server), "new.csv", "--token-file", str(tmp_path / "token")).status == 0
    monkeypatch.setenv("TACIT_TOKEN", "sesame")
    assert run("predict", url(server), "new.csv").status == 0
    (tmp_path / "token").write_text("")
    assert run("predict", url(server), "new.csv", "--token-file", str(tmp_path / "token")).status == 2
    assert run("predict", url(server), "new.csv", "--cert", "only.pem").status == 2


def test_keys_are_listed_and_removed(run: Tacit, server: Scripted, home: pathlib.Path) -> None:
    assert "no keys" in run("keys", "list").out
    run("predict", url(server), "new.csv")
    found = json.loads(run("keys", "list", "--json").out)
    (key,) = found["keys"]
    assert (key["url"], key["model"], key["sealed"]) == (server.url, MODEL, False)
    assert not {"owner", "client"} & set(key)
    shown = run("keys", "list").out
    assert MODEL in shown and "127.0.0.1" in shown
    assert run("keys", "remove", "nothing").status == 2
    assert run("keys", "remove", key["name"]).status == 0
    assert not list(home.glob("*.key")) and not list(home.glob("*.evaluation"))


def test_words_of_a_provider_do_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Labels, names and errors come from another party: no escapes, and no markup of the library that prints."""
    bad = "\x1b[2J\x9b2J[/red]\u202eabc"
    output.show(table(np.ones((1, 1)), np.array([bad]), [bad]))
    complain(bad, bad)
    printed = capsys.readouterr()
    for text in (printed.out, printed.err):
        assert "[/red]" in text and "abc" in text
        assert not {"\x1b", "\x9b", "\u202e"} & set(text)


def test_a_file_that_is_no_key_any_more_is_shown_and_can_be_removed(
    run: Tacit, server: Scripted, home: pathlib.Path
) -> None:
    run("predict", url(server), "new.csv")
    (path,) = home.glob("*.key")
    broken, exposed = path.with_name("broken.key"), path.with_name("exposed.key")
    broken.write_bytes(b"damage")
    broken.chmod(0o600)
    exposed.write_bytes(path.read_bytes())
    exposed.chmod(0o644)
    found = json.loads(run("keys", "list", "--json").out)
    assert [key["name"] for key in found["keys"]] == [path.stem]
    assert [key["name"] for key in found["damaged"]] == ["broken", "exposed"]
    shown = run("keys", "list").out
    assert "broken cannot be used" in shown and "open to others" in shown and path.stem[:20] in shown
    assert run("keys", "new", url(server)).status == 0
    assert run("keys", "remove", "exposed", "--json").status == 0
    assert run("keys", "remove", "broken").status == 0
    assert len(list(home.glob("*.key"))) == 1
    assert run("predict", url(server), "new.csv").status == 0


def test_a_passphrase_seals_and_is_asked_for(
    run: Tacit, server: Scripted, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tacit.remote.keyring.SCRYPT_LOG_N", 14)
    (tmp_path / "words").write_text("correct horse\n")
    sealed = ["--passphrase-file", str(tmp_path / "words")]
    assert run("predict", url(server), "new.csv", *sealed).status == 0
    assert json.loads(run("keys", "list", "--json").out)["keys"][0]["sealed"] is True
    refused = run("predict", url(server), "new.csv")
    assert refused.status == 2
    assert "TACIT_PASSPHRASE" in refused.err
    assert run("predict", url(server), "new.csv", *sealed).status == 0


def test_a_changed_plan_ends_the_command_until_new_keys_are_made(
    run: Tacit, server: Scripted, files: pathlib.Path
) -> None:
    run("predict", url(server), "new.csv")
    known = np.loadtxt(files / "known.csv", delimiter=",", skiprows=1)
    other = tacit.Provider.from_model(files / "model.onnx", calibration=known * 1.1, batch=100, check=0)
    server.plans = {tacit.PublicPlan.from_bytes(other.public_plan()).plan_id: other}
    refused = run("predict", url(server), "new.csv")
    assert refused.status == 4
    assert "tacit keys new" in refused.err
    made = run("keys", "new", url(server), "--rows", "12", "--json")
    assert made.status == 0, made.err
    assert run("predict", url(server), "new.csv").status == 0
    assert len(json.loads(run("keys", "list", "--json").out)["keys"]) == 1
    assert run("keys", "new", url(server), "--rows", "0").status == 2


def test_the_doctor(run: Tacit, server: Scripted) -> None:
    ended = run("doctor", url(server), "--json")
    assert ended.status == 0, ended.out
    found = json.loads(ended.out)
    assert found["healthy"]
    assert [step["state"] for step in found["steps"]] == ["ok"] * 11
    shown = run("doctor", url(server)).out
    assert shown.count(" ok ") == 11
    server.clock_s = 999.0
    ended = run("doctor", url(server))
    assert ended.status == 1
    assert "FAILED" in ended.out and "to mend: " in ended.out and "skipped" in ended.out
    for words in (["party.toml"], ["party.toml", "--json"]):
        ended = run("doctor", *words)
        assert ended.status == 1 and not ended.err
        assert "cannot read `party.toml`" in ended.out
    assert run("doctor", "provider.example").status == 2
