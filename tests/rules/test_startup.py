"""`import tacit` is quick and leaves the heavy libraries alone."""

from __future__ import annotations

import json
import subprocess
import sys

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
LIMIT_S = 0.1
"""Of the processor, on top of NumPy, which takes a sixth of a second: whether the disk is slow or others are at work
counts for nothing."""
RUNS = 5

PROBE = f"""
import json, sys, time
import numpy
start = time.process_time()
import tacit
seconds = time.process_time() - start
print(json.dumps([seconds, [name for name in {HEAVY!r} if name in sys.modules]]))
"""


def probe() -> tuple[float, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, timeout=300
    )
    seconds, loaded = json.loads(done.stdout)
    return seconds, loaded


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


def test_import_is_quick_and_light() -> None:
    runs = [probe() for _ in range(RUNS)]
    assert runs[0][1] == []
    fastest = min(seconds for seconds, _ in runs)
    assert fastest < LIMIT_S, f"`import tacit` took {fastest:.3f} s more than NumPy at best of {RUNS} runs"


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
