"""The hospital story between two real processes, and what happens when one of them fails or cheats."""

from __future__ import annotations

import dataclasses
import json
import os
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
from tacit.errors import MalformedMessageError, PeerError, PeerIncompatibleError, PeerMisbehavedError
from tacit.stories.hospital import Story, tell
from tacit.stories.pipe import Frame, Kind
from tacit.stories.remote import Remote, refusal
from tacit.stories.ward import MODELS, Ward, admit, fit

DEAD_WITHIN_S = 2.0


@pytest.fixture(scope="module")
def ward() -> Ward:
    return admit()


@pytest.fixture(scope="module")
def remote() -> Iterator[Remote]:
    with Remote() as remote:
        yield remote


@pytest.fixture(scope="module")
def owner(remote: Remote) -> tacit.Owner:
    """An owner whose keys are loaded for service 0."""
    owner = tacit.Owner(remote.offer(0, model="logistic", batch=1))
    remote.load_keys(0, owner.evaluation_keys())
    return owner


def test_the_demo_keeps_its_promises() -> None:
    """What `make demo` runs."""
    command = [sys.executable, "-m", "tacit", "demo", "hospital", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    story = json.loads(done.stdout)
    assert story["kept"]
    assert story["new_patients"] == 171
    assert {part["model"] for part in story["parts"]} == set(MODELS)
    for part in story["parts"]:
        assert part["labels_differ"] == 0
        assert 0 < part["largest_error"] <= part["error_bound"] < 0.05, part
    everyone = [part for part in story["parts"] if part["what"] == "all patients"]
    assert [part["patients"] for part in everyone] == [171, 171]
    assert story["process"] != os.getpid()
    assert set(story["provider"]["messages"]) <= {"keys", "ledger", "offer", "request"}
    assert any("circular" in line for line in story["assumptions"])


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


def test_a_prediction_crosses_two_processes(remote: Remote, owner: tacit.Owner, ward: Ward) -> None:
    patient = ward.new[:1]
    answer = owner.decrypt(remote.run(0, owner.encrypt(patient)))
    clear = fit("logistic", ward)
    assert np.abs(np.asarray(answer) - clear.predict_proba(patient)).max() <= owner.plan.error_bound
    assert list(answer.labels) == list(clear.predict(patient))


def test_nothing_that_decrypts_crosses(remote: Remote, owner: tacit.Owner, ward: Ward) -> None:
    """No byte string that is sent holds the secret key in the form in which it is stored, or a value of a patient."""
    patient = ward.new[:1]
    sent = owner.evaluation_keys() + owner.encrypt(patient)
    assert patient.tobytes() not in sent
    assert all(np.float64(value).tobytes() not in sent for value in patient[0] if value)
    assert not [name for name in dir(tacit.Provider) if "decrypt" in name or "secret" in name]


@pytest.mark.parametrize("damage", ["cut", "empty", "flip", "longer", "noise"])
def test_a_damaged_request_is_refused_and_the_provider_goes_on(
    remote: Remote, owner: tacit.Owner, ward: Ward, damage: str
) -> None:
    with pytest.raises(PeerError) as caught:
        remote.run(0, damaged(owner.encrypt(ward.new[:1]), damage))
    assert isinstance(caught.value, (MalformedMessageError, PeerIncompatibleError))
    assert owner.decrypt(remote.run(0, owner.encrypt(ward.new[:1]))).shape == (1, 2)


@pytest.mark.parametrize("damage", ["cut", "empty", "flip", "longer", "noise"])
def test_damaged_keys_are_refused(remote: Remote, damage: str) -> None:
    owner = tacit.Owner(remote.offer(1, model="logistic", batch=1))
    with pytest.raises(MalformedMessageError):
        remote.load_keys(1, damaged(owner.evaluation_keys(), damage))


@pytest.mark.parametrize("damage", ["cut", "empty", "flip", "longer", "noise"])
def test_a_damaged_response_is_refused(remote: Remote, owner: tacit.Owner, ward: Ward, damage: str) -> None:
    response = remote.run(0, owner.encrypt(ward.new[:1]))
    with pytest.raises(PeerError):
        owner.decrypt(damaged(response, damage))


@pytest.mark.parametrize("damage", ["cut", "empty", "flip", "longer", "noise"])
def test_a_damaged_plan_is_refused(remote: Remote, damage: str) -> None:
    """By the owner or, where the damage makes another valid plan, by the provider, whose plan it is not."""
    plan = remote.offer(2, model="logistic", batch=1)
    with pytest.raises(PeerError):
        remote.load_keys(2, tacit.Owner(damaged(plan, damage)).evaluation_keys())


def damaged(message: bytes, damage: str) -> bytes:
    middle = len(message) // 2
    flipped = bytes([message[middle] ^ 4])
    return {
        "cut": message[:-1],
        "empty": b"",
        "flip": message[:middle] + flipped + message[middle + 1 :],
        "longer": message + b"\0",
        "noise": np.random.default_rng(0).bytes(len(message)),
    }[damage]


def test_every_request_has_its_own_response(remote: Remote, owner: tacit.Owner, ward: Ward) -> None:
    """A response for the second time, or to a request of somebody else, is not taken."""
    response = remote.run(0, owner.encrypt(ward.new[:1]))
    owner.decrypt(response)
    with pytest.raises(PeerError):
        owner.decrypt(response)
    stranger = tacit.Owner(remote.offer(3, model="logistic", batch=1))
    remote.load_keys(3, stranger.evaluation_keys())
    with pytest.raises(PeerError):
        owner.decrypt(remote.run(3, stranger.encrypt(ward.new[:1])))


def test_a_request_needs_its_own_keys_and_plan(remote: Remote, owner: tacit.Owner, ward: Ward) -> None:
    other = tacit.Owner(remote.offer(4, model="mlp", batch=1))
    with pytest.raises(PeerIncompatibleError):
        remote.run(4, owner.encrypt(ward.new[:1]))
    with pytest.raises(PeerError):
        remote.load_keys(4, owner.evaluation_keys())
    with pytest.raises(PeerError):
        remote.run(4, other.encrypt(ward.new[:1]))
    with pytest.raises(MalformedMessageError, match="no plan"):
        remote.run(200, owner.encrypt(ward.new[:1]))


@pytest.mark.parametrize("wish", [b"", b"[]", b"{}", b'{"model": 1, "batch": "many"}', b"\xff"])
def test_a_wish_that_is_not_understood_is_refused(remote: Remote, wish: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        remote.ask(Frame(Kind.OFFER, 9, wish))


def test_a_wish_that_cannot_be_met_is_refused(remote: Remote) -> None:
    with pytest.raises(PeerError, match="no model `oracle`"):
        remote.offer(9, model="oracle", batch=1)
    with pytest.raises(PeerError):
        remote.offer(9, model="logistic", batch=0)


def test_an_answer_to_another_question_is_misbehaviour(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote.pipe, "send", lambda question: None)
    for reply in (Frame(Kind.ANSWER, 1, b""), Frame(Kind.KEYS, 0, b"")):
        monkeypatch.setattr(remote.pipe, "receive", lambda reply=reply: reply)
        with pytest.raises(PeerMisbehavedError):
            remote.run(0, b"")


def test_failures_that_are_not_understood_are_misbehaviour() -> None:
    for body in (b"", b"[]", b'{"code": "peer"}', b" " * 100_000 + b"{}"):
        assert isinstance(refusal(body), PeerMisbehavedError)
    told = refusal(b'{"code": "malformed-message", "message": "cut", "hint": ""}')
    assert isinstance(told, MalformedMessageError)


@pytest.mark.parametrize("delay_s", [0.0, 0.15])
def test_a_killed_provider_is_reported_soon(delay_s: float) -> None:
    with Remote() as remote:
        remote.ledger()
        killed_at: list[float] = []

        def kill() -> None:
            remote.process.send_signal(signal.SIGKILL)
            killed_at.append(time.monotonic())

        if delay_s:
            threading.Timer(delay_s, kill).start()
        else:
            kill()
        with pytest.raises(PeerError, match="SIGKILL"):
            while True:
                remote.offer(0, model="mlp", batch=1)
        assert time.monotonic() - killed_at[0] < DEAD_WITHIN_S


def test_a_stopped_provider_is_reported() -> None:
    with Remote() as remote:
        remote.ledger()
        remote.pipe.silence_s = 0.5
        remote.process.send_signal(signal.SIGSTOP)
        with pytest.raises(PeerError, match="silent"):
            remote.ledger()
        remote.process.kill()


def test_a_provider_that_cannot_start_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Remote() as remote, pytest.raises(PeerError, match="status 1"):
        remote.ledger()


def test_the_provider_ends_with_its_owner() -> None:
    remote = Remote()
    remote.ledger()
    remote.close()
    assert remote.process.returncode == 0
    remote.close()
