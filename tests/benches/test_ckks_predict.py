"""The benchmark's rows carry the agreed fields, answers are checked in the same run, no peer is left out."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.benches.test_ckks_ops import FIELDS

BENCH = Path(__file__).resolve().parents[2] / "benches" / "ckks_predict.py"
PREDICTED = {
    "fastest", "promised_error", "checked", "apart", "accuracy", "accuracy_clear", "accuracy_simulated",
    "predicted_seconds", "predicted_bytes_up", "predicted_bytes_down", "predicted_key_bytes", "predicted_rss_bytes",
}  # fmt: skip


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


def test_rows_of_a_quick_run() -> None:
    rows = _run("--no-peers", "--task", "lr-30", "--task", "lr-30-batch")
    assert [(row["task"], row["system"]) for row in rows] == [("lr-30", "tacit"), ("lr-30-batch", "tacit")]
    for row in rows:
        assert set(row) <= FIELDS | PREDICTED
        assert row["correct"] is True and 0 < row["max_error"] <= row["promised_error"]
        assert row["checked"] >= 569
        assert 0 < row["fastest"] <= row["seconds"]
        assert row["key_bytes"] <= 3_000_000
        # Of a process that imports NumPy and SciPy and serves this one model, not of the whole benchmark.
        assert 10_000_000 < row["rss_bytes"] < 250_000_000
    assert rows[0]["bytes_up"] <= 150_000


def test_a_peer_that_does_not_run_is_reported(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'no such library' >&2\nexit 3\n", encoding="utf-8")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    nowhere = str(tmp_path / "nowhere")
    rows = _run(
        "--task",
        "lr-30",
        "--rows",
        "7",
        TACIT_PEER_TENSEAL=str(broken),
        TACIT_PEER_ORION=nowhere,
        TACIT_PEER_CONCRETE_ML=nowhere,
    )
    notes = {str(row["system"]): str(row.get("note")) for row in rows if "seconds" not in row}
    assert notes["tenseal"] == "absent: it does not run this model: no such library"
    assert notes["orion"].startswith("absent: ") and "nowhere" in notes["orion"]
    assert "licence" in notes["helayers"] and "nowhere" in notes["concrete-ml"]
    assert rows[0]["system"] == "tacit" and rows[0]["correct"] is True and rows[0]["checked"] == 7
