"""A profile accounts for every stage of a program, and for nearly all of its time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_stages_of_a_program() -> None:
    command = [sys.executable, ROOT / "benches" / "profile_predict.py", "--task", "lr-30", "--json"]
    done = subprocess.run([*command, "--repeats", "3"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["name"] for row in rows] == ["read", "Map", "write"]
    stage = rows[1]
    assert len(stage["seconds"]) == 3 and stage["facts"].startswith("level 1, 1 diagonals")
    assert stage["metered"] > 0
    # One product with diagonals, then sums by rotation: together no more than the stage, and most of it.
    assert {name.split("@")[0] for name in stage["operations"]} == {"linear", "rotate_sum", "add_plain"}
    operations = [times for _, times in stage["operations"].values()]
    assert sum(map(min, operations)) <= min(stage["seconds"])
    assert sum(map(max, operations)) > 0.3 * min(stage["seconds"])
