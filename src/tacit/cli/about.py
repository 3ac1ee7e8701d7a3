"""`tacit about`: versions, the machine as Tacit sees it, where the security table comes from, what is how
mature."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Annotated, Any

import typer
from rich.table import Table

import tacit
from tacit import _native
from tacit.cli import output
from tacit.errors import UsageError
from tacit.roles.machine import known_machine, known_party_machine, machine_path

__all__ = ["MATURITY", "command"]

MATURITY = {
    "protection clear": ("stable", "no protection: the definition of a correct answer"),
    "protection ckks": ("preview", "tested against a slow model and the clear answer; not audited"),
    "protection mpc": ("preview", "three semi-honest parties, tested against the clear answer; not audited"),
    "ir, importers": (
        "preview",
        "dense and convolutional networks, branches, trees, kernels; the rest is refused with a reason",
    ),
    "planner": (
        "preview",
        "costs are predictions from measured operations; `--calibrate` measures this machine",
    ),
    "tacit.ckks": ("preview", "the bare scheme; names may change until 1.0"),
    "wire format": ("unstable", "versioned and refused when it differs; both sides need the same version"),
}
"""What can be relied on: stable, preview or unstable, and why."""

LIBRARIES = ("numpy", "onnx", "onnxruntime", "scikit-learn", "skl2onnx")


def command(
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate", help="Measure this machine for some seconds, and predict its times from then on."
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show versions, CPU path, threads, the source of the security table, and the maturity of each part."""
    if calibrate:
        with output.progress("measuring") as bar:
            tacit.calibrate(progress=bar)
    facts = collect()
    if json:
        output.document(facts)
        return
    view = Table(box=None, show_header=False, pad_edge=False)
    view.add_column(style="bold")
    view.add_column()
    view.add_row("tacit", f"{facts['version']}, Python {facts['python']}, {facts['machine']}")
    view.add_row("CPU path", f"{facts['cpu_path']} (available: {', '.join(facts['cpu_paths'])})")
    view.add_row("threads", str(facts["threads"]))
    view.add_row("libraries", ", ".join(f"{name} {version}" for name, version in facts["libraries"].items()))
    view.add_row("predicted times", facts["predictions"]["machine"])
    if facts["predictions"]["note"]:
        view.add_row("", facts["predictions"]["note"])
    view.add_row("among parties", facts["predictions"]["parties"]["machine"])
    limits = ", ".join(f"2^{log_n}: {limit}" for log_n, limit in facts["security"]["max_log_qp"].items())
    view.add_row("security", facts["security"]["source"])
    view.add_row("", f"largest log2(QP) by ring degree: {limits}")
    for name, entry in facts["maturity"].items():
        view.add_row(name, f"{entry['level']}: {entry['why']}")
    output.show(view)


def _machine_file() -> str:
    """Where measurements are kept; empty for a user without a folder."""
    try:
        return str(machine_path())
    except UsageError:
        return ""


def collect() -> dict[str, Any]:
    """The facts, in the types that JSON knows."""
    machine, note = known_machine()
    parties, parties_note = known_party_machine()
    return {
        "version": tacit.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "cpu_path": _native.cpu_path(),
        "cpu_paths": _native.cpu_paths(),
        "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "predictions": {
            "machine": str(machine),
            "note": note,
            "file": _machine_file(),
            "measured": machine.to_dict(),
            "parties": {"machine": str(parties), "note": parties_note, "measured": parties.to_dict()},
        },
        "libraries": {name: version_of(name) for name in LIBRARIES},
        "security": {"source": _native.SECURITY_SOURCE, "max_log_qp": _native.security_table()},
        "maturity": {name: {"level": level, "why": why} for name, (level, why) in MATURITY.items()},
    }


def version_of(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
