"""The hospital story over HTTPS between two real processes, and what happens when one of them fails."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

import tacit
from tacit.cli.main import guarded
from tacit.errors import ConnectError, PeerError
from tacit.stories.company import Company
from tacit.stories.hospital import Story, tell
from tacit.stories.ward import MODELS, Ward, admit, fit
from tests.patience import PATIENCE_S, SOON_S, until


@pytest.fixture(scope="module")
def ward() -> Ward:
    return admit()


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with Company(tmp_path_factory.mktemp("company"), models=("logistic",)) as company:
        yield company


def test_the_demo_keeps_its_promises(tmp_path: pathlib.Path) -> None:
    """What `make demo` runs; it leaves nothing behind in the folders of the user."""
    command = [sys.executable, "-m", "tacit", "demo", "hospital", "--json"]
    places = {"XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache", "XDG_STATE_HOME": "state"}
    environment = os.environ | {name: str(tmp_path / place) for name, place in places.items()}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert not list(tmp_path.iterdir())
    story = json.loads(done.stdout)
    assert story["kept"]
    assert story["new_patients"] == 171
    assert {part["model"] for part in story["parts"]} == set(MODELS)
    for part in story["parts"]:
        assert part["labels_differ"] == 0
        assert 0 < part["largest_error"] <= part["error_bound"] < 0.05, part
    everyone = [part for part in story["parts"] if part["what"] == "all patients"]
    assert [part["patients"] for part in everyone] == [171, 171]
    assert story["url"].startswith("https://127.0.0.1:")
    assert story["provider"]["requests"]["done"] == sum(part["requests"] for part in story["parts"])
    assert story["provider"]["keys"]["count"] == 4
    assert any("circular" in line for line in story["assumptions"])
    with pytest.raises(ProcessLookupError):
        os.kill(story["process"], 0)


@pytest.fixture(scope="module")
def story() -> Story:
    return tell(models=("logistic",))


def test_the_demo_reads_well_without_colour(
    story: Story, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tacit.cli.demo.tell", lambda progress: story)
    monkeypatch.setattr(sys, "argv", ["tacit", "demo"])
    assert guarded() == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "171 of 171" in out
    assert "circular security" in out
    assert max(map(len, out.splitlines())) <= 110


@pytest.mark.parametrize("broken", [{"labels_differ": 1}, {"largest_error": 1.0}])
def test_a_broken_promise_fails_the_demo(
    story: Story,
    broken: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    parts = (dataclasses.replace(story.parts[0], **broken), *story.parts[1:])
    monkeypatch.setattr("tacit.cli.demo.tell", lambda progress: dataclasses.replace(story, parts=parts))
    monkeypatch.setattr(sys, "argv", ["tacit", "demo"])
    assert guarded() == 1
    out = capsys.readouterr().out
    assert "BROKEN" in out
    assert "NO" in out


def test_a_prediction_crosses_two_processes(company: Company, ward: Ward, tmp_path: pathlib.Path) -> None:
    clear = fit("logistic", ward)
    with tacit.connect(company.url, ca=company.authority, keyring=tmp_path / "keys") as remote:
        answer = remote.predict(ward.new[:1])
    assert np.abs(np.asarray(answer) - clear.predict_proba(ward.new[:1])).max() <= answer.report.error_bound
    assert list(answer.labels) == list(clear.predict(ward.new[:1]))


def test_the_certificate_is_not_trusted_by_others(company: Company, tmp_path: pathlib.Path) -> None:
    with pytest.raises(tacit.errors.TlsError):
        tacit.connect(company.url, keyring=tmp_path / "keys")


def test_a_killed_company_is_reported_soon(ward: Ward, tmp_path: pathlib.Path) -> None:
    with (
        Company(tmp_path, models=("logistic",)) as company,
        tacit.connect(company.url, ca=company.authority, keyring=tmp_path / "keys") as remote,
    ):
        remote.predict(ward.new[:1])
        killed_at: list[float] = []

        def kill() -> None:
            killed_at.append(time.monotonic())
            company.process.send_signal(signal.SIGKILL)

        threading.Timer(0.2, kill).start()
        with pytest.raises(PeerError) as caught:
            while True:
                remote.predict(ward.new[:1])
        assert time.monotonic() - killed_at[0] < SOON_S
        company.process.wait(PATIENCE_S)
        assert "SIGKILL" in str(company.check(caught.value))


def test_a_company_that_cannot_start_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ConnectError, match="status 1"):
        Company(tmp_path)


def test_the_company_ends_with_its_block(tmp_path: pathlib.Path) -> None:
    company = Company(tmp_path, models=("logistic",))
    company.close()
    assert company.process.returncode == 0
    company.close()


def test_the_company_ends_with_the_hospital(tmp_path: pathlib.Path) -> None:
    """Also when the hospital's process is killed and cannot say so."""
    script = (
        "import pathlib, sys, time; from tacit.stories.company import Company\n"
        "company = Company(pathlib.Path(sys.argv[1]), models=('logistic',))\n"
        "print(company.process.pid, flush=True); time.sleep(3600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as hospital:
        assert hospital.stdout is not None
        server = int(hospital.stdout.readline())
        hospital.kill()
    until(lambda: not alive(server))


def alive(process: int) -> bool:
    """Whether a process runs; one that ended and that nobody asked about does not."""
    try:
        return pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
