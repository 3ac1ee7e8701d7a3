"""The benchmark of operations prints the rows that it should, checks its results, and its page is generated."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIELDS = {
    "task", "shape", "system", "seconds", "n", "threads", "correct", "max_error", "bytes_up", "bytes_down",
    "key_bytes", "rss_bytes", "ratio_to_peer", "peer", "note",
}  # fmt: skip


def _run(*arguments: str, status: int = 0) -> list[dict[str, object]]:
    done = subprocess.run(
        [sys.executable, ROOT / "benches" / "ckks_ops.py", "--quick", "--json", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == status, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_rows_of_one_task() -> None:
    rows = _run("--task", "add")
    ours = [row for row in rows if row["system"] == "tacit"]
    assert {row["shape"] for row in ours} == {"2^13 L3 dnum3", "2^14 L8 dnum3", "2^15 L18 dnum3"}
    assert {row["threads"] for row in ours} == {1, 2}
    for row in rows:
        assert set(row) <= FIELDS
        if "seconds" in row:
            assert row["correct"] is True and 0 < row["max_error"] < 1e-3 and row["seconds"] > 0
        else:
            assert str(row["note"]).startswith("absent")
    # SEAL is measured or said to be absent, never left out.
    assert len([row for row in rows if str(row["system"]).startswith("seal")]) == 3


def test_transforms_are_the_same_on_all_paths() -> None:
    rows = _run("--task", "ntt")
    ours = [row for row in rows if row["system"] == "tacit"]
    assert len(ours) == 15 and {row["shape"] for row in ours} >= {"2^12 45 bits", "2^16 50 bits"}
    assert all(row["correct"] for row in ours)
    assert all(str(row["note"]).startswith("absent") for row in rows if row["system"] == "hexl")


@pytest.mark.parametrize("agrees", [True, False])
def test_another_transform_beside_ours(tmp_path: Path, *, agrees: bool) -> None:
    """A stand-in that counts as HEXL when it gives the same residues, and only then."""
    peer = tmp_path / "peer"
    peer.write_text(
        f"#!{sys.executable}\nimport sys\nfrom tacit import _native\n"
        "log_n, prime, root, repeats = map(int, sys.argv[1:])\n"
        "seconds, *same, checksum = _native._bench_ntt(log_n, 1, 'portable', bits=prime.bit_length())\n"
        f"print(seconds, checksum + {int(not agrees)})\n",
        encoding="utf-8",
    )
    peer.chmod(0o755)
    rows = _run("--task", "ntt", "--hexl", str(peer), status=int(not agrees))
    assert len(rows) == 30 and all(row["correct"] is agrees and row["seconds"] for row in rows)
    assert all((row.get("peer") == "hexl") is (row["system"] == "tacit") for row in rows)


def test_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = runpy.run_path(str(ROOT / "scripts" / "performance_page.py"))
    results = tmp_path / "results"
    results.mkdir()
    row = {
        "task": "rotate", "shape": "2^13 L3 dnum3", "system": "tacit", "seconds": 1.0, "threads": 1, "correct": True,
        "max_error": 1e-9, "key_bytes": 1_500_000, "ratio_to_peer": 6.5, "peer": "seal", "date": "2026-01-02",
        "cpu_model": "a processor", "cores": 2, "cpu_path": "ifma", "commit": "abc", "parameters": {"log_q": [50]},
    }  # fmt: skip
    newer = row | {"seconds": 2.5e-4}
    absent = {
        "task": "rotate",
        "shape": "2^13 L3 dnum3",
        "system": "seal in tenseal",
        "note": "absent: not installed",
        "date": "2026-01-02",
    }
    lines = "\n".join(json.dumps(line) for line in (row, newer, absent))
    (results / "ckks_ops.jsonl").write_text(lines, encoding="utf-8")
    stages = [("Map", "level 2", 0.09), ("Square", "level 1", 0.009), ("write", "at level 0", 0.001)]
    profile = {
        "task": "lenet", "shape": "2^14", "system": "tacit", "threads": 2,
        "stages": [{"name": name, "facts": facts, "seconds": spent} for name, facts, spent in stages],
    }  # fmt: skip
    (results / "profiles.jsonl").write_text(json.dumps(profile), encoding="utf-8")
    load = {
        "task": "mlp", "shape": "32 clients, 120 s", "system": "tacit serve", "n": 99, "failures": 0, "correct": True,
        "throughput": 170.0, "server_side": 180.0, "peer_best": 240.0, "ratio_to_peer": 0.75, "pss_bytes": 7_000_000,
        "seconds": 0.2, "p95_s": 0.3, "p99_s": 0.4, "growth_bytes": 5_000, "is_flat": False,
    }  # fmt: skip
    (results / "serving.jsonl").write_text(json.dumps(load), encoding="utf-8")
    page = names["page"]
    monkeypatch.setitem(page.__globals__, "RESULTS", results)
    text = page()
    assert "| rotate | 2^13 L3 dnum3 | tacit | 1 | 250 µs | 6.50 x seal | 1.0e-09 | 1.5 MB |" in text
    assert "| lenet | all | 2^14, 2 threads | 100 ms | 100 % |" in text
    assert "| | Map | level 2 | 90 ms | 90% |" in text and "| write |" not in text
    told = "170.0 | 180.0 | best form 240 (75%) | 200 ms | 300 ms | 400 ms | 7 MB | 5 kB (grows) |"
    assert f"| mlp | 32 clients, 120 s | 99 | 0 | {told}" in text
    assert "| absent | absent: not installed |" in text and "1 s" not in text
    assert "a processor, 2 cores, `ifma` path, commit `abc`" in text and "log_q = [50]" in text


def test_page_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts" / "performance_page.py", "--check"])
    assert done.returncode == 0, "run scripts/performance_page.py"
