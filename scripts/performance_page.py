"""Writes docs/reference/performance.md from the rows in benches/results/*.jsonl; ``--check`` only compares.

The newest row of each task, shape, system and number of threads counts. Every table says on which machine, at which
commit and with which parameters it was measured.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benches" / "results"
PAGE = ROOT / "docs" / "reference" / "performance.md"

TITLES = {
    "ckks_ops": "Operations of CKKS",
    "ckks_predict": "Encrypted prediction",
    "forest_datasets": "Forests and boosting: every row of five tables",
    "mpc": "Secure multi-party computation",
    "profiles": "Where the time of a prediction goes",
    "serving": "Serving under load",
}
_LEAST_SHARE = 0.02
"""Stages that take less of a prediction are not listed."""
_HEAD = """# Performance

Made by `scripts/performance_page.py` from `benches/results/`; do not edit. Systems take turns in one run on one
machine, times are medians, and every result was decrypted and compared with the clear answer in the same run. "Faster"
is the peer's time over Tacit's, the fastest peer's where several ran. "Memory" is the peak of the process that
computes; a peer's holds its owner's role, too. A peer's answer is called wrong where a label differs. Absolute times
move with the machine and its neighbours; ratios are what to look at. `make bench` measures your machine.
"""

_PREDICTED = """What `explain` says before a request runs and what one then takes; times are promised to be within 30 %
on the machine that was measured, when it is quiet. Where a row is beyond that, its profile stands under *Where the time
of a prediction goes*.
"""

_SERVING = """`tacit serve`, its clients and the load are on one machine and share its processors: what a second would
hold without the clients is the wall's rate over the part of the processors that they left. "In process" is the same
provider without a server, before or after in the same run: *one process* in the form of the table of predictions above
(all threads), *with all keys* the same for requests of all clients in turn, *best form* one process a core and one
owner's keys.
"""

_PARTIES = """Three processes on one machine, each with one thread: those of `dealer2` are two parties that compute and
their dealer, the others three that are alike. The time is one run from shared inputs to shared outputs, by the party
that takes longest; weights are shared before, and the output is opened and compared with the clear one after. "Sent" is
what the party sends that sends most, "rounds" are as the system counts them. Tacit's parties speak TLS 1.3, SPU's
plain TCP. LAN: 1 Gbit/s and 1 ms there and back; WAN: 100 Mbit/s and 40 ms, both simulated; `online`: the dealer has
sent its part before. `spu` is tuned (`OMP_THREAD_LIMIT=1`), `spu-as-installed` is not.
"""

Row = dict[str, Any]


def newest(rows: Iterable[Row], *, by_shape: bool) -> list[Row]:
    """The last row of each task and system, in the order of their first appearance.

    ``by_shape``: rows of another shape or number of threads are rows of their own, those of the task's last day; else
    the shape is what a plan chose.
    """
    rows = list(rows)
    day = {row["task"]: row.get("date", "") for row in sorted(rows, key=lambda row: str(row.get("date", "")))}
    last: dict[tuple[object, ...], Row] = {}
    for row in rows:
        if by_shape and row.get("date", "") != day[row["task"]]:
            continue
        shape = (row.get("shape"), row.get("threads", 1)) if by_shape else ()
        last[row["task"], row["system"].split(" ")[0], *shape] = row
    return list(last.values())


def duration(seconds: float | None) -> str:
    """Three digits and a unit."""
    if seconds is None:
        return "absent"
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def size(count: int | None) -> str:
    """Bytes in decimal units."""
    if count is None:
        return ""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count} B"


def table(rows: list[Row]) -> Iterator[str]:
    """A row of the table for each row of results."""
    columns = (
        "task",
        "shape",
        "system",
        "threads",
        "time",
        "faster than",
        "largest error",
        "keys",
        "up",
        "down",
    )
    yield "| " + " | ".join((*columns, "memory", "accuracy")) + " |"
    yield "|---|---|---|---:|---:|---|---:|---:|---:|---:|---:|---|"
    for row in rows:
        ratio = row.get("ratio_to_peer")
        faster = f"{ratio:.2f} x {row.get('peer')}" if ratio is not None else row.get("note", "")
        error = row.get("max_error")
        cells = [
            row["task"],
            row.get("shape", ""),
            row["system"],
            str(row.get("threads", 1)),
            duration(row.get("seconds")) + ("" if row.get("correct", True) else " (wrong answer)"),
            faster,
            ("" if error is None else f"{error:.1e}") + _promise(row),
            *(size(row.get(name)) for name in ("key_bytes", "bytes_up", "bytes_down")),
            # Rows without checked answers were measured in one process with others.
            size(row.get("rss_bytes")) if "checked" in row else "",
            _accuracy(row),
        ]
        yield "| " + " | ".join(cells) + " |"


def parties(rows: list[Row]) -> Iterator[str]:
    """What parties computed together: times, what they sent, and how it compares."""
    columns = ("task", "protocol and network", "system", "time", "faster than", "largest error")
    yield "| " + " | ".join((*columns, "sent", "rounds", "memory", "accuracy and notes")) + " |"
    yield "|---|---|---|---:|---|---:|---:|---:|---:|---|"
    for row in rows:
        ratio, error = row.get("ratio_to_peer"), row.get("max_error")
        cells = [
            row["task"],
            row.get("shape", ""),
            row["system"],
            duration(row.get("seconds")) + ("" if row.get("correct", True) else " (wrong answer)"),
            "" if ratio is None else f"{ratio:.2f} x {row.get('peer')}",
            ("" if error is None else f"{error:.1e}") + _promise(row),
            size(row.get("sent_bytes")),
            str(row.get("rounds", "")),
            size(row.get("rss_bytes")),
            "; ".join(part for part in (_accuracy(row), row.get("note", "")) if part),
        ]
        yield "| " + " | ".join(cells) + " |"


def predictions(rows: list[Row]) -> Iterator[str]:
    """What plans predicted over what was then measured, for rows that carry both; bytes are equal or said to differ."""
    columns = ("task", "predicted time", "measured, median", "fastest", "predicted / measured")
    yield "| " + " | ".join((*columns, "memory, predicted", "measured", "ratio", "keys and messages")) + " |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---|"
    for row in rows:
        if row["system"] != "tacit" or "predicted_seconds" not in row or "seconds" not in row:
            continue
        # A prediction is of one request, as is the time.
        time, memory = (row["predicted_" + name] / row[name] for name in ("seconds", "rss_bytes"))
        exact = all(row["predicted_" + name] == row[name] for name in ("key_bytes", "bytes_up", "bytes_down"))
        cells = [
            row["task"],
            *(duration(row[name]) for name in ("predicted_seconds", "seconds", "fastest")),
            f"{time:.2f}",
            *(size(row[name]) for name in ("predicted_rss_bytes", "rss_bytes")),
            f"{memory:.2f}",
            "exact" if exact else "DIFFER",
        ]
        yield "| " + " | ".join(cells) + " |"


def stages(rows: list[Row]) -> Iterator[str]:
    """The stages of each profile, with their part of the whole."""
    yield "| task | stage | what | time | share |"
    yield "|---|---|---|---:|---:|"
    for row in rows:
        total = sum(stage["seconds"] for stage in row["stages"])
        yield f"| {row['task']} | all | {row['shape']}, {row['threads']} threads | {duration(total)} | 100 % |"
        for stage in row["stages"]:
            share = stage["seconds"] / total
            if share >= _LEAST_SHARE:
                cells = (stage["name"], stage["facts"], duration(stage["seconds"]), f"{share:.0%}")
                yield "| | " + " | ".join(cells) + " |"


def answers(rows: list[Row]) -> Iterator[str]:
    """Whether answers are right, without times: these runs share the machine with whatever else it does."""
    yield "| table and model | ring and rows | largest error | right | labels, rows apart, plan |"
    yield "|---|---|---:|---|---|"
    for row in rows:
        error, right = row.get("max_error"), {True: "yes", False: "NO"}.get(row.get("correct"), "absent")
        told = "" if error is None else f"{error:.1e}"
        yield f"| {row['task']} | {row['shape']} | {told} | {right} | {row.get('note', '')} |"


def serving(rows: list[Row]) -> Iterator[str]:
    """Servers under load: answers of a second by the wall and with the clients' part of the processors, and memory."""
    columns = (
        "task",
        "load",
        "answers",
        "failures",
        "per second",
        "without the clients' share",
        "in process",
    )
    yield "| " + " | ".join((*columns, "p50", "p95", "p99", "memory", "grew by", "notes")) + " |"
    yield "|---|---|---:|---:|---:|---:|---|---:|---:|---:|---:|---:|---|"
    for row in rows:
        forms = (
            ("one process", "peer_one_process", "ratio_to_one_process"),
            ("with all keys", "peer_many_keys", "ratio_to_many_keys"),
            ("best form", "peer_best", "ratio_to_peer"),
        )
        beside = [f"{name} {row[rate]:.0f} ({row[ratio]:.0%})" for name, rate, ratio in forms if rate in row]
        cells = [
            row["task"] + ("" if row["correct"] else " (FAILED)"),
            row["shape"],
            str(row["n"]),
            str(row["failures"]),
            *(f"{row[name]:.1f}" if name in row else "" for name in ("throughput", "server_side")),
            ", ".join(beside),
            *(duration(row[name]) for name in ("seconds", "p95_s", "p99_s")),
            # Pages that processes share count once.
            size(row["pss_bytes"]),
            size(row.get("growth_bytes")) + ("" if row.get("is_flat", True) else " (grows)"),
            row.get("note", ""),
        ]
        yield "| " + " | ".join(cells) + " |"


def _promise(row: Row) -> str:
    """The bound that held, where one was promised."""
    promised = row.get("promised_error")
    return "" if promised is None else f" of {promised:.1e}"


def _accuracy(row: Row) -> str:
    """Encrypted, clear and simulated over the rows that were checked."""
    if row.get("accuracy") is None:
        return ""
    simulated = row.get("accuracy_simulated")
    told = f"{row['accuracy']:.2%} on {row['checked']} rows, clear {row['accuracy_clear']:.2%}"
    return told + (f", simulated {simulated:.2%}" if simulated is not None else "")


def provenance(rows: list[Row]) -> Iterator[str]:
    """Date, machine and commit of the rows; more than one line when they come from more than one run."""
    facts = {
        (
            row.get("date", "undated"),
            row.get("cpu_model", "unknown processor"),
            row.get("cores", "?"),
            row.get("cpu_path", ""),
            row.get("commit", "unknown"),
        )
        for row in rows
    }
    for date, model, cores, path, commit in sorted(facts, key=str):
        yield f"Measured {date} on {model}, {cores} cores, `{path}` path, commit `{commit}`."


def parameters(rows: list[Row]) -> Iterator[str]:
    """What the shapes stand for."""
    shapes = {row.get("shape", ""): row["parameters"] for row in rows if row.get("parameters")}
    for shape, literal in shapes.items():
        text = ", ".join(f"{name} = {value}" for name, value in literal.items())
        yield f"- {shape}: {text}"


def page() -> str:
    """The whole page."""
    lines, renderers = (
        [_HEAD],
        {"profiles": stages, "forest_datasets": answers, "mpc": parties, "serving": serving},
    )
    for path in sorted(RESULTS.glob("*.jsonl")):
        read = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
        rows = newest(read, by_shape=path.stem in ("ckks_ops", "mpc"))
        rendered = renderers.get(path.stem, table)(rows)
        lines += [f"## {TITLES.get(path.stem, path.stem)}", "", *provenance(rows), "", *rendered, ""]
        literals = list(parameters(rows))
        if literals:
            lines += ["Bits of the primes:", "", *literals, ""]
        if path.stem == "mpc":
            lines += [_PARTIES]
        if path.stem == "serving":
            lines += [_SERVING]
        if path.stem == "ckks_predict":
            lines += ["### Predicted and measured", "", _PREDICTED, *predictions(rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    """Write or compare; the exit status is 1 when the page is out of date."""
    text = page()
    if "--check" in sys.argv[1:]:
        current = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
        return int(current != text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
