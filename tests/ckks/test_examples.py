"""The examples run and say what is true."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / name))


def test_arithmetic(capsys: pytest.CaptureFixture[str]) -> None:
    names = run("ckks_arithmetic.py")
    x, y = np.array(names["grades"]), np.array([0.5, 0.2, 0.1, 0.1, 0.1])
    expected = {
        "x + y": x + y,
        "x - y": x - y,
        "x * y": x * y,
        "2 x + 1": 2 * x + 1,
        "x . y": [x @ y],
        "x @ W": x @ np.array(names["weights"]),
        "x^2 - x": x**2 - x,
    }
    assert names["results"].keys() == expected.keys()
    for name, result in names["results"].items():
        bound = 8 * 2.0**result.noise_bits
        assert 0 < bound < 1e-3
        assert np.abs(names["keys"].decrypt(result) - expected[name]).max() < bound, name
    assert len(capsys.readouterr().out.splitlines()) == len(expected)


def test_logistic_regression(capsys: pytest.CaptureFixture[str]) -> None:
    names = run("ckks_logistic_regression.py")
    assert names["error"] < 1e-5
    assert names["accuracy"] == names["model"].score(names["X_test"], names["y_test"])
    # The same gradient steps in the clear.
    X, y = names["X_train"], names["y_train"]
    weights, bias = np.zeros(X.shape[1]), 0.0
    for _ in range(2):
        t = X @ weights + bias
        residual = 0.5 + 0.197 * t - 0.004 * t**3 - y
        weights, bias = weights - residual @ X / len(X), bias - residual.mean()
    assert np.allclose(names["weights"], weights, rtol=0, atol=1e-3)
    assert np.allclose(names["bias"], bias, rtol=0, atol=1e-3)
    assert "epoch 2" in capsys.readouterr().out
