"""`tacit run`: start a job among organisations, and wait for its end."""

from __future__ import annotations

import pathlib
from typing import Annotated, Any

import typer

from tacit.cli import output

__all__ = ["command"]

SHOWN_ROWS = 10


def command(
    job: Annotated[pathlib.Path, typer.Argument(help="The file of the job.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run a model of one organisation on data of another; only those that the job names see the result."""
    from tacit.runtime.job import load_job
    from tacit.runtime.party import load_party
    from tacit.runtime.record import Record
    from tacit.runtime.starting import run_job

    described, party = load_job(job)
    own = load_party(party)
    with output.progress("running") as bar:
        outcome = run_job(own, described, progress=bar)
    folder = own.state / "jobs" / described.id
    # The result is on this machine if this organisation is to see it, and its party is up here.
    result = Record(folder, described, b"", 0, b"").result() if own.name in described.outputs else None
    if json:
        output.document(
            {
                "job": described.facts(),
                "resumed": outcome.resumed,
                "receipts": outcome.receipts,
                "result": result,
                "folder": folder if own.name in described.parties else None,
            }
        )
        return
    output.show(text(described.outputs, described.parties, result, folder, outcome.receipts))


def text(
    outputs: tuple[str, ...], parties: tuple[str, ...], result: Any, folder: pathlib.Path, receipts: Any
) -> str:
    lines = []
    if result is not None:
        name, values = next(iter(result.items()))
        lines.append(f"{name}, {len(values)} rows:")
        lines += [f"  {row.tolist()}" for row in values[:SHOWN_ROWS]]
        lines += [f"  … all in {folder / 'result.npz'}"]
    else:
        lines.append(f"done; the result is at {', '.join(outputs)}")
    for name, receipt in receipts.items():
        report = receipt["report"]
        lines.append(
            f"{name}: {output.time_text(report['seconds'])}, sent {output.size_text(report['sent_bytes'])}, "
            f"{report['rounds']} rounds"
        )
    if receipts:
        first = next(iter(receipts.values()))
        lines.append(f"plan {first['plan'][:16]}…, session {first['session']}; the receipts agree")
    if missing := [name for name in parties if name not in receipts]:
        lines.append(f"no receipt of {', '.join(missing)}: cut off after the result was opened")
    return "\n".join(lines).replace("[", r"\[")
