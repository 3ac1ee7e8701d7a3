"""Jobs among three organisations: agreed, computed, opened to whom the job says, with receipts that fit together."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tacit.errors import (
    BusyError,
    NotServedError,
    PeerError,
    PeerMisbehavedError,
    PlanRefusedError,
    TacitError,
)
from tacit.runtime.calls import call
from tacit.runtime.job import load_job
from tacit.runtime.party import Organisation
from tacit.runtime.resumption import Resumption
from tacit.runtime.running import Running, World
from tacit.runtime.starting import check_receipts, run_job
from tests.runtime import layers, organisations

WITHIN = 2 * 20 * 2.0**-16
"""Of the clear result: each of at most 20 truncations and products is off by an ulp or two of 2^-16."""


def world() -> World:
    return World(layers.LayersOfFiles(), np.load, lambda what, facts: None)


@contextlib.contextmanager
def up(made: dict[str, Organisation]) -> Iterator[dict[str, Running]]:
    running = {name: Running(own, world()) for name, own in made.items()}
    resuming = [Resumption(each) for each in running.values()]
    try:
        yield running
    finally:
        for each in running.values():
            each.close()
        for each in resuming:
            each.close()


def result_of(own: Organisation, job: str) -> Any:
    with np.load(own.state / "jobs" / job / "result.npz") as file:
        return file["0:y"]


@pytest.mark.parametrize("protection", ["replicated3", "dealer2"])
def test_a_job_gives_the_clear_answer(tmp_path: pathlib.Path, protection: str) -> None:
    made = organisations.make(tmp_path)
    job, party = load_job(organisations.write_job(tmp_path, protection=protection))
    assert party == tmp_path / "clinic.toml"
    with up(made):
        outcome = run_job(made["clinic"], job, progress=lambda phase, done: None)
    expected = layers.clear(organisations.matrices(), organisations.samples())
    np.testing.assert_allclose(
        result_of(made["clinic"], job.id), expected, rtol=0, atol=WITHIN * expected.max()
    )
    assert outcome.resumed == 0
    for name in ("maker", "third"):
        assert not (made[name].state / "jobs" / job.id / "result.npz").exists()
    for name, own in made.items():
        folder = own.state / "jobs" / job.id
        assert not list(folder.glob("*.checkpoint")), "the job is over"
        assert (folder / "openings").read_text() == "output:y\n"
        receipt = outcome.receipts[name]
        assert receipt["party"] == name and receipt["pins"] == {each: made[each].pin for each in made}
        assert receipt["report"]["sent_bytes"] > 0


def test_receipts_that_disagree_are_found(tmp_path: pathlib.Path) -> None:
    made = organisations.make(tmp_path)
    job, _ = load_job(tmp_path / "job.toml")
    with up(made):
        outcome = run_job(made["clinic"], job, progress=lambda phase, done: None)
    receipts = {name: dict(receipt) for name, receipt in outcome.receipts.items()}
    receipts["third"]["transcript"] = {
        **receipts["third"]["transcript"],
        "maker": {**receipts["third"]["transcript"]["maker"], "received": "0" * 64},
    }
    with pytest.raises(PeerMisbehavedError, match="`maker` and `third` disagree"):
        check_receipts(job, receipts)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("starters", "third"),
        ("models", "maker/other"),
        ("data", "clinic/other"),
        ("outputs", "maker"),
        ("protections", "dealer2"),
        ("plans", "0" * 64),
    ],
)
def test_a_party_that_does_not_accept_is_named(tmp_path: pathlib.Path, key: str, value: str) -> None:
    keys = ("starters", "models", "data", "outputs", "protections", "plans")
    rule = "".join(f'{each} = ["{value if each == key else "ANY"}"]\n' for each in keys)
    made = organisations.make(tmp_path, rule=rule)
    job, _ = load_job(tmp_path / "job.toml")
    with up(made), pytest.raises(PlanRefusedError, match=f"is not in `{key}`") as caught:
        run_job(made["clinic"], job, progress=lambda phase, done: None)
    assert caught.value.party == "maker"


def test_what_is_not_offered_is_named(tmp_path: pathlib.Path) -> None:
    made = organisations.make(tmp_path)
    with up(made):
        for changes in ({"model": "maker/other"}, {"data": "clinic/other"}):
            job, _ = load_job(organisations.write_job(tmp_path, **changes))
            with pytest.raises(NotServedError, match="offers no"):
                run_job(made["clinic"], job, progress=lambda phase, done: None)


def test_calls_out_of_turn_are_refused(tmp_path: pathlib.Path) -> None:
    made = organisations.make(tmp_path)
    clinic, maker, third = made.values()
    job, _ = load_job(tmp_path / "job.toml")
    program, _ = layers.LayersOfFiles().compile(tmp_path / "model.npz", None)
    with up(made) as running:

        def ask(own: Organisation, kind: str, **facts: Any) -> Any:
            return call(own, maker, kind, facts).facts

        nonce = ask(clinic, "propose", job=job.facts(), program=program)["nonce"]
        wrong: list[tuple[Organisation, str, dict[str, Any], type[TacitError]]] = [
            (third, "propose", {"job": job.facts(), "program": program}, PeerError),
            (clinic, "propose", {"job": job.facts(), "program": program}, PeerMisbehavedError),
            (clinic, "propose", {"job": {}, "program": program}, PeerMisbehavedError),
            (clinic, "propose", {"job": job.facts(), "program": b"x"}, PeerMisbehavedError),
            (clinic, "begin", {"id": "other", "rows": 4, "nonces": []}, NotServedError),
            (third, "begin", {"id": job.id, "rows": 4, "nonces": [nonce] * 3}, PeerError),
            (
                clinic,
                "begin",
                {"id": job.id, "rows": 4, "nonces": [b"", b"old nonce", b""]},
                PeerMisbehavedError,
            ),
            (clinic, "begin", {"id": job.id}, PeerMisbehavedError),
            (clinic, "resume", {"id": job.id, "attempt": 1, "position": 1, "nonces": []}, BusyError),
            (clinic, "nothing", {}, PeerMisbehavedError),
        ]
        for own, kind, facts, error in wrong:
            with pytest.raises(error) as caught:
                ask(own, kind, **facts)
            assert getattr(caught.value, "party", "maker") in ("maker", "")
        assert running["maker"].jobs[job.id].state == "proposed"
