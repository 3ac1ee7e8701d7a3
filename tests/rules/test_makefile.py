"""One command each: the targets that the pages promise exist, say what they do, and are what CI runs."""

from __future__ import annotations

import os
import re
import subprocess

from tests.rules.tree import ROOT

PROMISED = {"bench", "check", "demo", "docs", "help", "test", "vectors"}


def test_help_lists_every_promised_target() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = {line.split()[0] for line in done.stdout.splitlines()}
    assert listed >= PROMISED
    assert all(len(line.split()) > 2 for line in done.stdout.splitlines())


def test_every_target_is_declared_phony() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)[0].split())
    assert set(re.findall(r"^([a-z-]+):", text, re.MULTILINE)) == phony


def test_ci_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text(encoding="utf-8")
    assert re.search(r"^set -eu", text, re.MULTILINE)
    assert re.search(r"^exec make test$", text, re.MULTILINE)
