"""A party that was killed or stopped comes back, and the job ends with the answer that it would have had."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tacit.backends.mpc.replicated import open_engine
from tacit.backends.mpc.steps import lockstep
from tacit.errors import DataError, RevealError
from tacit.net.channel import Limits
from tacit.net.channel_identity import Identity
from tacit.runtime import checkpoint
from tacit.runtime.attempt import Attempt
from tacit.runtime.checkpoint import Vault
from tacit.runtime.job import load_job
from tacit.runtime.protocols import named
from tacit.runtime.record import Record
from tacit.runtime.starting import run_job
from tests.net.channel_parties import write_identity
from tests.patience import PATIENCE_S, until
from tests.runtime import layers, organisations
from tests.runtime.test_jobs import WITHIN, result_of
from tests.runtime.up import SILENCE_S

STOPPED_S = SILENCE_S + 2.0


class Supervised:
    """A party's process, which is started again when it ends, and continued when it stands still."""

    def __init__(self, folder: pathlib.Path, name: str, doom: tuple[str, int] | None) -> None:
        self.folder, self.name = folder, name
        self.over = False
        self.log = (folder / f"{name}.log").open("a")
        self.process = self._start(doom)
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _start(self, doom: tuple[str, int] | None) -> subprocess.Popen[bytes]:
        words = [] if doom is None else [doom[0], str(doom[1])]
        command = [sys.executable, "-m", "tests.runtime.up", str(self.folder / f"{self.name}.toml"), *words]
        return subprocess.Popen(command, stdout=self.log, stderr=self.log)

    def _watch(self) -> None:
        while not self.over:
            _, status = os.waitpid(self.process.pid, os.WUNTRACED)
            if os.WIFSTOPPED(status):
                threading.Event().wait(STOPPED_S)
                self.process.send_signal(signal.SIGCONT)
                continue
            self.process.returncode = status
            if not self.over:
                self.process = self._start(None)

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / f"{self.name}.log").read_text().splitlines()]

    def end(self) -> None:
        self.over = True
        self.process.terminate()
        self.thread.join(PATIENCE_S)
        self.log.close()


@contextlib.contextmanager
def parties(folder: pathlib.Path, victim: str = "", where: str = "", kind: int = 0) -> Iterator[Any]:
    started = {
        name: Supervised(folder, name, (where, kind) if name == victim else None)
        for name in organisations.NAMES
    }
    try:
        for each in started.values():
            until(lambda each=each: any(line["what"] == "up" for line in each.told()))  # type: ignore[misc]
        yield started
    finally:
        for each in started.values():
            each.end()


@pytest.mark.parametrize(
    ("victim", "where", "kind", "protection"),
    [
        ("clinic", "prepare", signal.SIGKILL, "replicated3"),
        ("maker", "1", signal.SIGKILL, "replicated3"),
        ("third", "2", signal.SIGSTOP, "replicated3"),
        ("clinic", "3", signal.SIGKILL, "dealer2"),
        ("third", "4", signal.SIGKILL, "dealer2"),
        ("maker", "5", signal.SIGSTOP, "replicated3"),
    ],
)
def test_a_job_resumes(
    tmp_path: pathlib.Path, victim: str, where: str, kind: signal.Signals, protection: str
) -> None:
    made = organisations.make(tmp_path)
    job, _ = load_job(organisations.write_job(tmp_path, protection=protection))
    with parties(tmp_path, victim, where, int(kind)) as started:
        outcome = run_job(made["clinic"], job, progress=lambda phase, done: None)
        told = {name: each.told() for name, each in started.items()}
    assert (tmp_path / f"{victim}.struck").exists()
    expected = layers.clear(organisations.matrices(), organisations.samples())
    np.testing.assert_allclose(
        result_of(made["clinic"], job.id), expected, rtol=0, atol=WITHIN * expected.max()
    )
    sessions = {receipt["session"] for receipt in outcome.receipts.values()}
    assert len(sessions) == 1 and outcome.resumed >= 1
    resumed_at = {receipt["resumed_at"] for receipt in outcome.receipts.values()}
    assert len(resumed_at) == 1
    if where != "prepare":
        assert resumed_at.pop() in (int(where) - 1, int(where))
    for name in set(made) - {victim}:
        errors = [line["error"] for line in told[name] if line["what"] == "interrupted"]
        assert errors[0]["party"] == victim, errors
    for own in made.values():
        assert (own.state / "jobs" / job.id / "openings").read_text() == "output:y\n"


@pytest.mark.parametrize("victim", ["clinic", "maker", "third"])
def test_an_opening_that_was_begun_is_not_made_again(tmp_path: pathlib.Path, victim: str) -> None:
    """The job fails, unless what was missing for the result came from a party that lived."""
    made = organisations.make(tmp_path)
    job, _ = load_job(tmp_path / "job.toml")
    expected = layers.clear(organisations.matrices(), organisations.samples())
    with parties(tmp_path, victim, "reveal", signal.SIGKILL) as started:
        try:
            run_job(made["clinic"], job, progress=lambda phase, done: None)
        except RevealError as error:
            assert "nothing is opened twice" in str(error)
            assert not (made["clinic"].state / "jobs" / job.id / "result.npz").exists()
        else:
            assert victim == "maker"
            np.testing.assert_allclose(
                result_of(made["clinic"], job.id), expected, rtol=0, atol=WITHIN * expected.max()
            )
        for each in started.values():
            assert sum(line["what"] == "running" for line in each.told()) == 1, "no second session"
    assert (made[victim].state / "jobs" / job.id / "openings").read_text() == "output:y\n"


def test_a_large_checkpoint_is_sealed_in_pieces(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_PIECE_BYTES", 1 << 10)
    write_identity(tmp_path, "a")
    vault = Vault(tmp_path, Identity(tmp_path / "a.pem", tmp_path / "a.key"), job="one", plan=b"p")
    words = np.arange(1000, dtype=np.uint64)
    vault.save(7, {"x": [words]})
    np.testing.assert_array_equal(vault.load(7)["x"][0], words)
    path = tmp_path / "7.checkpoint"
    sealed, head, step = path.read_bytes(), 40, (1 << 10) + 16
    assert len(sealed) > 7 * step
    for wrong in (
        sealed[: head + 3 * step],
        sealed[:head]
        + sealed[head + step : head + 2 * step]
        + sealed[head : head + step]
        + sealed[head + 2 * step :],
        sealed + sealed[head : head + step],
        sealed[:head],
    ):
        path.write_bytes(wrong)
        with pytest.raises(DataError, match="damaged"):
            vault.load(7)


def test_shares_of_a_checkpoint_are_made_anew(tmp_path: pathlib.Path) -> None:
    """No party begins a session with a share that it held before, and the secret is the same."""
    made = organisations.make(tmp_path)
    job, _ = load_job(tmp_path / "job.toml")
    secret = np.random.default_rng(1).integers(0, 1 << 63, (4, 5), dtype=np.uint64)

    def opened() -> list[Any]:
        session, plan = os.urandom(16), bytes(32)
        return lockstep([open_engine(i, session=session, plan=plan, reveals=("y",)) for i in range(3)])

    old = opened()
    shared = lockstep(
        [engine.share(0, secret if engine.index == 0 else None, secret.shape) for engine in old]
    )
    attempts = []
    for name, engine, x in zip(organisations.NAMES, old, shared, strict=True):
        record = Record(tmp_path / f"{name}.job", job, b"", 4, b"plan")
        shape = np.array(x.shape, dtype=np.uint64)
        record.vault(made[name]).save(3, {"x": [shape, *engine.arrays(x)]})
        attempts.append(
            Attempt(
                organisation=made[name],
                record=record,
                protocol=named("replicated3"),
                play=layers.Layers(((5, 5),)),
                session=b"",
                position=3,
                weights=None,
                inputs=None,
                limits=Limits(),
                progress=lambda position, end: None,
            )
        )
    new = opened()
    loaded = lockstep([attempt.loaded(engine) for attempt, engine in zip(attempts, new, strict=True)])
    for engine, before, after in zip(new, shared, loaded, strict=True):
        for one, other in zip(engine.arrays(before), engine.arrays(after["x"]), strict=True):
            assert one.shape == other.shape and not np.any(one == other)
    found = lockstep([engine.reveal(x["x"], (1,), "y") for engine, x in zip(new, loaded, strict=True)])
    np.testing.assert_array_equal(found[1], secret)


def test_checkpoints_are_sealed_and_bound(tmp_path: pathlib.Path) -> None:
    write_identity(tmp_path, "a")
    write_identity(tmp_path, "b")
    own, other = (Identity(tmp_path / f"{name}.pem", tmp_path / f"{name}.key") for name in "ab")
    vault = Vault(tmp_path, own, job="one", plan=b"p")
    secret = np.full((3, 4), 0x1122334455667788, dtype=np.uint64)
    for position in (1, 2, 3):
        vault.save(position, {"x": [secret, secret[:0]], "y": []})
    assert vault.positions() == [2, 3]
    found = vault.load(3)
    assert list(found) == ["x", "y"] and found["y"] == []
    np.testing.assert_array_equal(found["x"][0], secret)
    assert found["x"][1].shape == (0, 4)
    sealed = (tmp_path / "3.checkpoint").read_bytes()
    assert secret.tobytes()[:8] not in sealed
    assert sealed != (tmp_path / "2.checkpoint").read_bytes()
    assert (tmp_path / "3.checkpoint").stat().st_mode & 0o777 == 0o600
    for wrong in (
        Vault(tmp_path, other, job="one", plan=b"p"),
        Vault(tmp_path, own, job="two", plan=b"p"),
        Vault(tmp_path, own, job="one", plan=b"q"),
    ):
        with pytest.raises(DataError, match="damaged, or of another"):
            wrong.load(3)
    (tmp_path / "4.checkpoint").write_bytes(sealed)
    with pytest.raises(DataError, match="damaged, or of another"):
        vault.load(4)
    for place in (0, 20, len(sealed) - 1):
        (tmp_path / "3.checkpoint").write_bytes(
            sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        )
        with pytest.raises(DataError, match="damaged"):
            vault.load(3)
    vault.erase()
    assert vault.positions() == []
