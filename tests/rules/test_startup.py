"""`import tacit` is quick and leaves the heavy libraries alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "onnx",
    "onnxruntime",
    "sklearn",
    "skl2onnx",
    "scipy",
    "pandas",
    "pyarrow",
    "rich",
    "typer",
    "matplotlib",
    "cryptography",
    "grpc",
    "httpx",
    "opentelemetry",
    "polars",
    "prometheus_client",
    "starlette",
    "uvicorn",
)
LIMIT = 0.5
"""Times what NumPy takes of the processor in the same process: whether the machine is slow, or others are at work,
counts for nothing."""
RUNS = 5

PROBE = f"""
import json, sys, time
start = time.process_time()
import numpy
middle = time.process_time()
import tacit
end = time.process_time()
print(json.dumps([(end - middle) / (middle - start), [name for name in {HEAVY!r} if name in sys.modules]]))
"""


def probe(folder: Path) -> tuple[float, list[str]]:
    """What Tacit takes over what NumPy takes, and which heavy libraries are there. Bytecode is in ``folder``, which
    can be written, unlike perhaps the folders of the sources: what has to be compiled takes several times as long."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env={**own, "PYTHONPYCACHEPREFIX": str(folder)},
    )
    ratio, loaded = json.loads(done.stdout)
    return ratio, loaded


def test_the_command_line_begins_without_the_network() -> None:
    """`tacit --help` and `tacit explain` load nothing of servers, clients and certificates."""
    script = (
        "import sys, tacit.cli.commands\n"
        "print([name for name in ('httpx', 'cryptography', 'starlette', 'uvicorn') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.strip() == "[]"


def test_import_is_quick_and_light(tmp_path: Path) -> None:
    runs = [probe(tmp_path) for _ in range(RUNS)]
    assert runs[0][1] == []
    least = min(ratio for ratio, _ in runs)
    print(f"{least:.4f} < {LIMIT}")
    assert least < LIMIT, f"`import tacit` took {least:.2f} times as long as NumPy at best of {RUNS} runs"


@pytest.mark.parametrize("name", ["Owner", "Provider", "explain", "load", "protect"])
def test_public_names_resolve_late(name: str) -> None:
    import tacit

    assert name in tacit.__all__
    assert name in dir(tacit)
    assert getattr(tacit, name) is getattr(tacit, name)


def test_unknown_names_are_refused() -> None:
    import tacit

    with pytest.raises(AttributeError, match="no_such_name"):
        _ = tacit.no_such_name
