"""The load benchmark in its quick form: a real server, real clients, answers that are checked, memory within limits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "benches" / "serving.py"


def _run(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, BENCH, "--quick", "--json", "--task", "lr-30", "--workers", "2", *arguments],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_clients_get_right_answers_and_no_failure() -> None:
    row = _run("--clients", "2", "--seconds", "2")
    assert row["failures"] == 0
    assert row["correct"] is True
    assert row["checked"] >= 4
    assert 0 < row["max_error"] <= row["promised_error"]
    assert 0 < row["seconds"] <= row["p95_s"] <= row["p99_s"]
    assert row["n"] >= 10
    # Clients were not the server: both took processor time, and the in-process provider was measured beside.
    assert row["client_cores"] > 0
    assert row["server_cores"] > 0
    assert row["peer"] == "in process"
    for ratio, peer in (
        ("ratio_to_one_process", "peer_one_process"),
        ("ratio_to_peer", "peer_best"),
        ("ratio_to_many_keys", "peer_many_keys"),
    ):
        assert row[ratio] == pytest.approx(row["server_side"] / row[peer])
    # Each of two workers had one of two owners' keys before memory was looked at. That each has both takes time.
    assert 0 < row["full_bytes"] // 2 <= row["held_bytes"] <= row["full_bytes"]
    names = {"front", "zygote", "family 1", *(f"worker {number + 1}" for number in range(row["workers"]))}
    assert set(row["rss_start"]) == set(row["rss_end"]) == names
    assert row["growth_bytes"] == sum(row["rss_end"].values()) - sum(row["rss_start"].values())


def test_keys_of_many_owners_stay_within_the_memory_that_is_configured() -> None:
    row = _run("--keys", "30", "--key-memory", str(4 << 20))
    assert row["correct"] is True
    assert row["checked"] >= 30
    assert row["pss_bytes"] <= row["limit_bytes"]
    # More keys than fit into the memory for keys: the limit was at work.
    assert 30 * row["key_bytes"] > 4 << 20
