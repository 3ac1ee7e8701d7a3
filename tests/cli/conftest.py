"""A small model and data in files, and the command line in a process of its own."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import skl2onnx
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.linear_model import LogisticRegression

from tacit.cli.main import guarded

FEATURES = 4


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


Tacit = Callable[..., Ended]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with model.onnx (logistic regression, classes ill and well), known.csv and new.csv."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    known = rng.normal(size=(200, FEATURES))
    model = LogisticRegression().fit(known, np.where(known @ [1, -1, 2, 0] > 0, "ill", "well"))
    onnx = skl2onnx.to_onnx(
        model, initial_types=[("X", DoubleTensorType([None, FEATURES]))], options={"zipmap": False}
    )
    (folder / "model.onnx").write_bytes(onnx.SerializeToString())
    header = "age,dose,weight,height"
    np.savetxt(folder / "known.csv", known, delimiter=",", header=header, comments="")
    np.savetxt(folder / "new.csv", known[:12] * 0.9, delimiter=",", header=header, comments="")
    return folder


@pytest.fixture
def run(files: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tacit:
    """Run `tacit …` in the folder of the files, in this process."""
    monkeypatch.chdir(files)
    monkeypatch.delenv("TACIT_DEBUG", raising=False)

    def run(*words: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["tacit", *words])
        status = guarded()
        captured = capsys.readouterr()
        return Ended(status, captured.out, captured.err)

    return run


@pytest.fixture
def spawn(files: pathlib.Path) -> Tacit:
    """Run `tacit …` in the folder of the files, in a process of its own."""

    def spawn(*words: str, stdout: int | None = subprocess.PIPE, **settings: str) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "tacit", *words],
            cwd=files,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=300,
            env={key: value for key, value in os.environ.items() if key != "TACIT_DEBUG"} | settings,
        )
        return Ended(done.returncode, done.stdout or "", done.stderr)

    return spawn
