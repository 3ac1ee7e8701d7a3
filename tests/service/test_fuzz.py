"""The fuzzer of the server, in a short form with a fixed seed, and proof that it would notice."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import pytest

from scripts.fuzz_serving import Findings, mutated
from tests.rules.tree import ROOT

pytest.importorskip("grpc", reason="needs tacit[grpc]")


def _fuzz(*arguments: str) -> tuple[int, dict[str, int], str]:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "fuzz_serving.py"), "--seed", "11", *arguments],
        capture_output=True,
        text=True,
        timeout=900,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
    )
    answers = json.loads(done.stdout.splitlines()[-1])["answers"] if done.stdout.count("\n") > 1 else {}
    return done.returncode, answers, done.stderr


def test_mutants_of_every_kind_are_answered() -> None:
    status, answers, errors = _fuzz("--mutants", "400", "--only", "bytes")
    assert status == 0, errors
    kinds = {name.split()[0] for name in answers}
    assert kinds == {"frames", "grpc", "keys", "lines", "pieces", "requests", "tensors"}
    assert sum(answers.values()) > 100
    # Some go out as they were: what is mutated is what an honest client sends.
    assert {"tensors 200", "frames 200", "requests 200"} <= set(answers)


def test_calls_from_the_servers_own_document_are_answered() -> None:
    pytest.importorskip("schemathesis")
    status, answers, errors = _fuzz("--seconds", "2", "--only", "schema", "--examples", "5")
    assert status == 0, errors
    assert answers["schema round passed"] >= 1


@pytest.mark.parametrize(
    ("status", "is_wrong"), [(500, True), (502, True), (503, False), (400, False), (200, False)]
)
def test_a_failure_of_the_server_is_noticed(status: int, is_wrong: bool) -> None:
    findings = Findings()
    findings.answer("keys", status)
    assert bool(findings.wrong) is is_wrong


def test_mutants_differ_and_repeat_by_seed() -> None:
    message = bytes(range(200))
    first = [mutated(message, random.Random(seed)) for seed in range(50)]
    assert first == [mutated(message, random.Random(seed)) for seed in range(50)]
    assert len(set(first)) > 30
