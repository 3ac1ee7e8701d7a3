"""Bytes that somebody between two parties changes end a job, with one of these parties named; nothing is opened."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from tacit.errors import PeerMisbehavedError
from tacit.runtime.job import load_job
from tacit.runtime.party import load_party
from tacit.runtime.starting import run_job
from tests.runtime import organisations
from tests.runtime.meddling import Meddle, Meddler
from tests.runtime.test_jobs import up

AFTER = 12_000
"""Bytes: beyond the handshakes, within the session."""


def flipped(data: bytes) -> bytes:
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


def replayed(data: bytes) -> bytes:
    return data + data


def left_out(data: bytes) -> bytes:
    return b""


def reordered(data: bytes) -> bytes:
    return data[len(data) // 2 :] + data[: len(data) // 2]


def oversized(data: bytes) -> bytes:
    """A record of TLS that says that it is longer than any may be (RFC 8446, section 5.2)."""
    return b"\x17\x03\x03\xff\xff" + bytes(65535) + data


@pytest.mark.parametrize("meddle", [flipped, replayed, left_out, reordered, oversized])
def test_what_is_changed_between_two_parties_ends_the_job(tmp_path: pathlib.Path, meddle: Meddle) -> None:
    made = organisations.make(tmp_path, layers=60)
    meddler = Meddler(made["clinic"].session_port, meddle, after=AFTER)
    path = tmp_path / "third.toml"
    text = path.read_text()
    path.write_text(
        text.replace(f"session_port = {made['clinic'].session_port}", f"session_port = {meddler.port}")
    )
    made["third"] = load_party(path)
    job, _ = load_job(tmp_path / "job.toml")
    try:
        with up(made), pytest.raises(PeerMisbehavedError) as caught:
            run_job(made["clinic"], job, progress=lambda phase, done: None)
    finally:
        meddler.close()
    assert meddler.has_meddled.is_set()
    assert caught.value.party in ("clinic", "third")
    for own in made.values():
        folder = own.state / "jobs" / job.id
        assert not (folder / "openings").exists() and not (folder / "result.npz").exists()
        assert '"failed"' in (folder / "outcome.json").read_text()


def test_what_is_only_passed_on_changes_nothing(tmp_path: pathlib.Path) -> None:
    made = organisations.make(tmp_path, layers=60)
    meddler = Meddler(made["clinic"].session_port, lambda data: data, after=AFTER)
    path = tmp_path / "third.toml"
    text = path.read_text()
    path.write_text(
        text.replace(f"session_port = {made['clinic'].session_port}", f"session_port = {meddler.port}")
    )
    made["third"] = load_party(path)
    job, _ = load_job(tmp_path / "job.toml")
    with up(made):
        run_job(made["clinic"], job, progress=lambda phase, done: None)
    meddler.close()
    assert meddler.has_meddled.is_set(), "the tests above would meddle with nothing"
    with np.load(made["clinic"].state / "jobs" / job.id / "result.npz") as result:
        assert result["0:y"].shape == (organisations.ROWS, organisations.WIDTH)
