"""Workers of a real server that are stopped or killed, seen by a client over HTTPS."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.service.client import LIMIT_S, Client, Refusal, serving
from tests.service.models import data, estimator, write_package

SAMPLE = data()[:1]
CLEAR = estimator().predict_proba(SAMPLE)


def workers(process: int) -> list[int]:
    """Worker processes below a server."""
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    names = {int(child): Path(f"/proc/{child}/comm").read_text().strip() for child in found}
    below = [worker for child in names for worker in workers(child)]
    return [child for child, name in names.items() if name == "tacit-worker"] + below


@pytest.mark.parametrize("fatal", [signal.SIGSTOP, signal.SIGKILL])
def test_a_lost_worker_is_a_refusal_in_time(tmp_path: Path, fatal: signal.Signals) -> None:
    """503 with `Retry-After` within 2 s, or no loss at all; then right answers again, from another process."""
    words = (str(write_package(tmp_path)), "--store", str(tmp_path / "store"))
    with serving(tmp_path, *words, config=tmp_path) as server:
        client = Client(server, None)
        assert isinstance(client.send(), httpx.Response)
        assert np.allclose(client.predict(SAMPLE), CLEAR, atol=0.01)
        before = workers(server.process.pid)
        message, _ = client.frame(SAMPLE)
        for worker in before:
            os.kill(worker, fatal)
        start = time.monotonic()
        found = client.infer(message)
        assert time.monotonic() - start < LIMIT_S
        # On a slow machine the worker was replaced before the request came.
        if isinstance(found, Refusal):
            assert (found.status, found.code) == (503, "worker-lost")
            assert int(found.rest[0]["retry-after"]) >= 1
        assert np.allclose(client.predict(SAMPLE), CLEAR, atol=0.01)
        assert not set(before) & set(workers(server.process.pid))
