"""The benchmark's rows carry the agreed fields, and answers are checked in the same run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parents[2] / "benches" / "ckks_predict.py"


def test_rows_of_a_quick_run() -> None:
    command = [
        sys.executable,
        str(BENCH),
        "--quick",
        "--json",
        "--no-peers",
        "--task",
        "lr-30",
        "--task",
        "lr-30-batch",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["task"] for row in rows] == ["lr-30", "lr-30-batch"]
    for row in rows:
        assert row["system"] == "tacit"
        assert row["correct"] is True
        assert row["seconds"] > 0
        assert row["max_error"] > 0
        assert row["key_bytes"] <= 3_000_000
    assert rows[0]["bytes_up"] <= 150_000
