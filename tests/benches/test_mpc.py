"""The benchmark of `mpc`: three processes give checked answers, and who does not run is reported with the reason."""

from __future__ import annotations

import json
import os
import runpy
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.benches.test_ckks_ops import FIELDS

BENCH = Path(__file__).resolve().parents[2] / "benches" / "mpc.py"
OWN = {"fastest", "promised_error", "checked", "sent_bytes", "rounds", "rss_bytes"}


def _run(*arguments: str, **environment: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, BENCH, "--quick", "--json", *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_rows_of_primitives() -> None:
    rows = _run("--no-peers", "--protocol", "replicated3", "--task", "mul-1m", "--task", "relu-1m")
    assert [(row["task"], row["shape"], row["system"]) for row in rows] == [
        ("mul-1m", "replicated3 loopback", "tacit"),
        ("relu-1m", "replicated3 loopback", "tacit"),
    ]
    for row in rows:
        assert set(row) <= FIELDS | OWN
        assert row["correct"] is True and 0 < row["max_error"] <= row["promised_error"]
        assert 0 < row["fastest"] <= row["seconds"]
        # A million words do not travel for nothing, and not as often as in the peers.
        assert 8_000_000 <= row["sent_bytes"] <= 45_000_000
        assert 1 <= row["rounds"] <= 12
        assert row["rss_bytes"] > 10_000_000


def test_rows_of_networks() -> None:
    tasks = ["mlp-784-128-128-10-b1", "mlp-784-128-128-10-b128"]
    rows = _run(
        "--no-peers", "--protocol", "replicated3", *(part for task in tasks for part in ("--task", task))
    )
    assert [row["task"] for row in rows] == tasks
    for row in rows:
        assert row["correct"] is True and 0 < row["max_error"] <= row["promised_error"] < 0.1
        assert row["rounds"] <= 25
    # Outputs of 128 samples, and of the hidden layers, at least.
    assert rows[0]["sent_bytes"] < 40_000 and 300_000 < rows[1]["sent_bytes"] < 4_000_000


def test_a_peer_that_does_not_run_is_reported(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'no such library' >&2\nexit 3\n", encoding="utf-8")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    rows = _run("--task", "mul-1m", "--protocol", "replicated3", TACIT_PEER_SPU=str(broken))
    assert [row["system"] for row in rows] == ["tacit", "spu"]
    assert "no such library" in rows[1]["note"] and "seconds" not in rows[1]


def test_the_page_shows_what_parties_took() -> None:
    names = runpy.run_path(str(BENCH.parents[1] / "scripts" / "performance_page.py"))
    row = {
        "task": "mul-1m", "shape": "replicated3 wan", "system": "tacit", "seconds": 0.25, "correct": False,
        "max_error": 1e-5, "promised_error": 1e-4, "sent_bytes": 12_000_000, "rounds": 2, "ratio_to_peer": 3.25,
        "peer": "spu 0.9.5", "checked": 7, "accuracy": 1.0, "accuracy_clear": 1.0, "note": "labels of 0 rows differ",
    }  # fmt: skip
    *_, line = names["parties"]([row])
    for shown in (
        "replicated3 wan",
        "250 ms (wrong answer)",
        "3.25 x spu 0.9.5",
        "1.0e-05 of 1.0e-04",
        "12 MB",
    ):
        assert shown in line
    assert "100.00% on 7 rows" in line and "labels of 0 rows differ" in line


def test_a_network_without_its_simulator_is_reported() -> None:
    (row,) = _run("--no-peers", "--network", "wan", "--task", "mul-1m")
    assert "seconds" not in row and "--netsim" in row["note"]
