"""Organisations on the command line: files, processes that stay up, jobs, and what is in the way."""

from __future__ import annotations

import contextlib
import json
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import skl2onnx
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.neural_network import MLPRegressor

import tacit
from tests.cli.conftest import FEATURES, Tacit
from tests.net.channel_parties import free_ports
from tests.patience import PATIENCE_S

NAMES = ("clinic", "maker", "third")
ANYTHING = "".join(
    f'{key} = ["ANY"]\n' for key in ("starters", "models", "data", "outputs", "protections", "plans")
)


@pytest.fixture
def folder(files: pathlib.Path, tmp_path: pathlib.Path, run: Tacit) -> pathlib.Path:
    """Files of three parties, as their operators would fill them in; `maker` has the model, `clinic` the data."""
    random = np.random.default_rng(5)
    rows = random.normal(size=(64, FEATURES))
    model = MLPRegressor(hidden_layer_sizes=(6,), max_iter=200, solver="lbfgs", random_state=1).fit(
        rows, np.abs(rows).sum(axis=1)
    )
    inputs = [("X", DoubleTensorType([None, FEATURES]))]
    (tmp_path / "net.onnx").write_bytes(skl2onnx.to_onnx(model, initial_types=inputs).SerializeToString())
    ports = free_ports(2 * len(NAMES))
    pins = {}
    for place, name in enumerate(NAMES):
        ended = run(
            "party", "new", name, "--folder", str(tmp_path), "--port", str(ports[2 * place]), "--json"
        )
        assert ended.status == 0, ended.err
        pins[name] = json.loads(ended.out)["pin"]
    offers = {
        "clinic": f'[offers.data]\npatients = "{files / "new.csv"}"\n',
        "maker": f'[offers.models.diagnosis]\nfile = "net.onnx"\ncalibration = "{files / "known.csv"}"\n',
        "third": "",
    }
    for place, name in enumerate(NAMES):
        path = tmp_path / f"{name}.toml"
        text = path.read_text().replace(
            f"port = {ports[2 * place]}", f"port = {ports[2 * place]}\nsession_port = {ports[2 * place + 1]}"
        )
        for other, peer in enumerate(NAMES):
            if peer != name:
                text += f'[peers.{peer}]\naddress = "127.0.0.1:{ports[2 * other]}"\n'
                text += f'session_port = {ports[2 * other + 1]}\npin = "{pins[peer]}"\n'
        path.write_text(text.replace("[peers]\n", "") + offers[name] + "[[accepts]]\n" + ANYTHING)
    (tmp_path / "job.toml").write_text(
        'party = "clinic.toml"\nmodel = "maker/diagnosis"\ndata = "clinic/patients"\noutputs = ["clinic"]\n'
        'parties = ["clinic", "maker", "third"]\nprotection = "replicated3"\n'
    )
    return tmp_path


@contextlib.contextmanager
def up(folder: pathlib.Path, *names: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Parties in processes, until the block ends; each must end cleanly when it is told to."""
    processes: list[subprocess.Popen[str]] = []
    try:
        for name in names:
            command = [sys.executable, "-m", "tacit", "party", "up", str(folder / f"{name}.toml"), "--json"]
            processes.append(
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            )
        for process in processes:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["what"] == "up"
        yield processes
        for process in processes:
            process.send_signal(signal.SIGTERM)
            _, complaints = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 0 and not complaints, complaints
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_job_among_three_processes_gives_the_clear_answer(
    folder: pathlib.Path, files: pathlib.Path, run: Tacit
) -> None:
    with up(folder, *NAMES):
        ended = run("run", str(folder / "job.toml"), "--json")
        assert ended.status == 0, ended.err
        told = run("run", str(folder / "job.toml"))
        assert told.status == 0 and "the receipts agree" in told.out
    assert not ended.err, "progress is for terminals"
    found: dict[str, Any] = json.loads(ended.out)
    graph = tacit.load(folder / "net.onnx")
    samples = np.loadtxt(files / "new.csv", delimiter=",", skiprows=1)
    clear = tacit.protect(graph, "clear").predict(samples)
    np.testing.assert_allclose(found["result"][graph.primary], np.asarray(clear), atol=1e-2)
    assert set(found["receipts"]) == set(NAMES)
    assert (folder / "clinic.state" / "jobs" / found["job"]["id"] / "result.npz").exists()
    for name in ("maker", "third"):
        assert not list((folder / f"{name}.state").glob("jobs/*/result.npz"))


def test_the_doctor_says_what_is_in_the_way(folder: pathlib.Path, run: Tacit) -> None:
    clinic = str(folder / "clinic.toml")
    with up(folder, "clinic", "maker", "third"):
        ended = run("doctor", clinic)
        assert ended.status == 0, ended.out
        text = (folder / "third.toml").read_text()
    with up(folder, "maker"):
        ended = run("doctor", clinic, "--json")
        steps = {step["name"]: step for step in json.loads(ended.out)["steps"]}
        assert ended.status == 1
        assert steps["up"]["state"] == "ok" and "not up" in steps["up"]["detail"]
        assert steps["maker"]["state"] == "ok"
        assert steps["third"]["state"] == "failed" and "nothing listens" in steps["third"]["cause"]
    pin = json.loads(run("party", "show", clinic, "--json").out)["pin"]
    (folder / "third.toml").write_text(text.replace(pin, "sha256:" + "0" * 64))
    with up(folder, "third"):
        ended = run("doctor", clinic)
        assert "does not know the certificate of `clinic`" in ended.out and pin in " ".join(ended.out.split())
    (folder / "clinic.toml").write_text((folder / "clinic.toml").read_text() + 'colour = "red"\n')
    ended = run("doctor", clinic)
    assert ended.status == 1 and "`accepts[0].colour` is no key" in " ".join(ended.out.split())


def test_a_job_without_parties_names_who_is_missing(folder: pathlib.Path, run: Tacit) -> None:
    with up(folder, "clinic", "third"):
        ended = run("run", str(folder / "job.toml"))
    assert ended.status == 4 and "`maker`" in ended.err


def test_a_party_file_that_is_wrong(folder: pathlib.Path, run: Tacit) -> None:
    (folder / "clinic.key").chmod(0o644)
    for words in (["party", "up"], ["party", "show"]):
        ended = run(*words, str(folder / "clinic.toml"))
        assert ended.status == 2 and "can be read by other users" in ended.err and "chmod 600" in ended.err
    shown = run("party", "show", str(folder / "maker.toml"))
    assert shown.status == 0 and "[peers.maker]" in shown.out and "session_port" in shown.out
