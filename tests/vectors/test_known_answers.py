"""Every file of vectors/ is run through the native module: right answers bit for bit, refusals by their
stable code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tacit import _native
from tacit.errors import TacitError

DIRECTORY = Path(__file__).resolve().parents[2] / "vectors"
FILES = sorted(DIRECTORY.glob("*.json"))


class Run:
    """One vector: its parameters, its inputs as objects, and the operations by name."""

    def __init__(self, vector: dict[str, Any], cpu: str | None) -> None:
        literal = vector["parameters"]
        build = (
            _native.Parameters.insecure_from_literal
            if literal["insecure"]
            else _native.Parameters.from_literal
        )
        self.params = build(
            literal["log_n"], literal["log_q"], literal["log_p"], log_scale=literal["log_scale"], cpu=cpu
        )
        self.inputs = {name: bytes.fromhex(data) for name, data in vector["inputs"].items()}
        self.arguments = vector["arguments"]

    def ciphertext(self, name: str) -> _native.Ciphertext:
        return _native.Ciphertext.from_bytes(self.params, self.inputs[name])

    @property
    def evaluator(self) -> _native.Evaluator:
        keys = self.inputs.get("keys")
        return _native.Evaluator(
            self.params, None if keys is None else _native.EvaluationKeys.from_bytes(self.params, keys)
        )

    def decrypted(self) -> list[list[float]]:
        secret = _native.SecretKey.from_bytes(self.params, self.inputs["secret_key"])
        return [[z.real, z.imag] for z in self.params.decode(secret.decrypt(self.ciphertext("x")))]

    def bound(self) -> dict[str, object]:
        params = self.params
        return {"q": list(params.q), "p": list(params.p), "hash": params.hash.hex()}


OPERATIONS: dict[str, Callable[[Run], Any]] = {
    "parameters": Run.bound,
    "add": lambda run: run.evaluator.add(run.ciphertext("x"), run.ciphertext("y")),
    "subtract": lambda run: run.evaluator.sub(run.ciphertext("x"), run.ciphertext("y")),
    "negate": lambda run: run.evaluator.neg(run.ciphertext("x")),
    "multiply": lambda run: run.evaluator.mul(run.ciphertext("x"), run.ciphertext("y")),
    "square": lambda run: run.evaluator.square(run.ciphertext("x")),
    "rescale": lambda run: run.evaluator.rescale(run.ciphertext("x")),
    "drop-level": lambda run: run.evaluator.drop_level(run.ciphertext("x"), run.arguments["level"]),
    "multiply-constant": lambda run: run.evaluator.mul_const(
        run.ciphertext("x"), run.arguments["factor"], scale=run.arguments["scale"]
    ),
    "relinearize": lambda run: run.evaluator.relinearize(run.ciphertext("x")),
    "multiply-relinearize-rescale": lambda run: run.evaluator.mul_relin_rescale(
        run.ciphertext("x"), run.ciphertext("y")
    ),
    "square-relinearize-rescale": lambda run: run.evaluator.square_relin_rescale(run.ciphertext("x")),
    "rotate": lambda run: run.evaluator.rotate(run.ciphertext("x"), run.arguments["steps"]),
    "conjugate": lambda run: run.evaluator.conjugate(run.ciphertext("x")),
    "decrypt": Run.decrypted,
    "read-ciphertext": lambda run: _native.Ciphertext.from_bytes(run.params, run.inputs["bytes"]),
    "read-public-key": lambda run: _native.PublicKey.from_bytes(run.params, run.inputs["bytes"]),
    "read-evaluation-keys": lambda run: _native.EvaluationKeys.from_bytes(run.params, run.inputs["bytes"]),
    "read-secret-key": lambda run: _native.SecretKey.from_bytes(
        run.params, run.inputs["bytes"]
    ).reveal_bytes(),
}


def _plain(result: Any) -> Any:
    if isinstance(result, _native.Ciphertext | _native.PublicKey | _native.EvaluationKeys):
        return result.to_bytes().hex()
    return result.hex() if isinstance(result, bytes) else result


@pytest.mark.parametrize("cpu", _native.cpu_paths())
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_known_answer(path: Path, cpu: str) -> None:
    vector = json.loads(path.read_text())
    assert {"source", "generated_by", "expect"} <= vector.keys()

    def run() -> Any:
        return OPERATIONS[vector["operation"]](Run(vector, cpu))

    if vector["expect"] != "ok":
        with pytest.raises(TacitError) as refusal:
            run()
        assert refusal.value.code == vector["expect"], str(refusal.value)
    elif vector["operation"] == "decrypt":
        assert np.allclose(run(), vector["output"], rtol=0, atol=1e-12)
    else:
        assert _plain(run()) == vector["output"]


def test_about_half_are_refusals() -> None:
    refused = sum(json.loads(path.read_text())["expect"] != "ok" for path in FILES)
    assert 0.4 < refused / len(FILES) < 0.7


def test_files_are_what_the_model_generates() -> None:
    done = subprocess.run(
        [sys.executable, DIRECTORY / "regenerate.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
