"""Workers of a real server that are stopped or killed, seen by a client over HTTPS."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.patience import soon
from tests.service.client import Client, Refusal, serving
from tests.service.models import data, estimator, write_package

SAMPLE = data()[:1]
CLEAR = estimator().predict_proba(SAMPLE)


def workers(process: int) -> list[int]:
    """Worker processes below a server, without those that ended and wait to be buried."""
    found: list[int] = []
    with contextlib.suppress(OSError):  # one that ended while it was looked at has nobody below it
        for child in map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()):
            found += workers(child)
            with contextlib.suppress(OSError):
                head, _, tail = Path(f"/proc/{child}/stat").read_text().rpartition(")")
                if head.endswith("(tacit-worker") and tail.split()[0] not in "ZX":
                    found.append(child)
    return found


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def data_bytes(process: int) -> int:
    """What the kernel counts against such a limit."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:"))


def test_memory_of_a_worker_is_limited_where_that_is_asked_for(tmp_path: Path) -> None:
    words = (str(write_package(tmp_path)), "--store", str(tmp_path / "store"), f"--worker-bytes={1 << 30}")
    with serving(tmp_path, *words, config=tmp_path) as server:
        client = Client(server, None)
        assert isinstance(client.send(), httpx.Response)
        assert np.allclose(client.predict(SAMPLE), CLEAR, atol=0.01)
        found = workers(server.process.pid)
        assert found
        for worker in found:
            lines = Path(f"/proc/{worker}/limits").read_text().splitlines()
            (line,) = [line for line in lines if line.startswith("Max data size")]
            assert line.split()[3] != "unlimited", "so it is without the option"
            # What it had when it was forked counts as well; its family has no more than that.
            assert 1 << 30 <= int(line.split()[3]) < (2 << 30) + data_bytes(parent_of(worker))


@pytest.mark.parametrize("fatal", [signal.SIGSTOP, signal.SIGKILL])
def test_a_lost_worker_is_a_refusal_in_time(tmp_path: Path, fatal: signal.Signals) -> None:
    """503 with `Retry-After` soon, or no loss at all; then right answers again, from another process."""
    words = (str(write_package(tmp_path)), "--store", str(tmp_path / "store"))
    with serving(tmp_path, *words, config=tmp_path) as server:
        client = Client(server, None)
        assert isinstance(client.send(), httpx.Response)
        assert np.allclose(client.predict(SAMPLE), CLEAR, atol=0.01)
        before = workers(server.process.pid)
        message, _ = client.frame(SAMPLE)
        for worker in before:
            os.kill(worker, fatal)
        with soon():
            found = client.infer(message)
        # On a slow machine the worker was replaced before the request came.
        if isinstance(found, Refusal):
            assert (found.status, found.code) == (503, "worker-lost")
            assert int(found.rest[0]["retry-after"]) >= 1
        assert np.allclose(client.predict(SAMPLE), CLEAR, atol=0.01)
        assert not set(before) & set(workers(server.process.pid))
