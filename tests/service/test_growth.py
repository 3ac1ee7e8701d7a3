"""Thousands of requests, answered and refused: no process of a server grows with their number."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.service.models import data, package, write_package
from tests.service.owning import ByHand
from tests.service.running import Running, running

WARM = 600
ROUNDS = 5
REQUESTS = 1000
"""Of one round."""
BYTES_OF_ONE = 400
"""What a process may grow by for each request. The front remembers its id, in 100 bytes for two minutes."""
SLACK = 440 << 10
"""What a process may grow by in each round: allocators take memory in pieces. With `BYTES_OF_ONE` it is under what a
round takes where one KiB of each request stays."""
THP_DISABLE = 41
"""Of `linux/prctl.h`."""


@contextlib.contextmanager
def small_pages() -> Iterator[None]:
    """Processes that are started meanwhile get no huge pages, which would grow by 2 MiB in some rounds and hide a leak
    in others. A kernel that cannot promise that is left as it is."""

    def ask_for(small: int) -> None:
        ctypes.CDLL(None).prctl(*map(ctypes.c_ulong, (THP_DISABLE, small, 0, 0, 0)))

    ask_for(1)
    try:
        yield
    finally:
        ask_for(0)


def processes(root: int) -> list[int]:
    """A process and its living descendants."""
    found = [root]
    for process in found:
        tasks = Path(f"/proc/{process}/task").iterdir()
        found += [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return found


def memory(server: Running) -> dict[str, int]:
    """Bytes that each process has for itself, by its name and number."""
    found = {}
    for process in processes(server.process.pid):
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {line.split(":")[0]: int(line.split()[1]) << 10 for line in lines}
        name = Path(f"/proc/{process}/comm").read_text().strip()
        found[f"{name} {process}"] = sizes["Private_Dirty"] + sizes["Private_Clean"]
    return found


def ask(owner: ByHand, request: bytes, count: int) -> None:
    """So many calls: most are answered, some refused at each place where a server refuses."""
    sent = {"message": b""}

    def answered() -> None:
        message, made = owner.sealed(request)
        sent["message"] = message
        assert owner.send(message).status_code == 200, made

    def replayed() -> None:
        assert owner.send(sent["message"]).status_code == 409

    def not_authentic() -> None:
        message = sent["message"]
        assert owner.send(message[:-1] + bytes([message[-1] ^ 1])).status_code == 400

    def not_served() -> None:
        assert owner.http.get(f"/v2/models/{sent['message'][-8:].hex()}").status_code == 404

    def not_json() -> None:
        answer = owner.http.post(
            f"/v2/models/{owner.model}/infer", content=b"{", headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 400

    calls = itertools.cycle([*[answered] * 12, replayed, not_authentic, not_served, not_json])
    for call in itertools.islice(calls, count):
        call()


def test_no_process_grows_with_the_number_of_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leak shows in every round; what is taken once, or given back once, whenever that is, does not."""
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    write_package(tmp_path)
    words = [str(tmp_path / "risk.tacit"), "--workers", "1", "--rate", "1000000"]
    with contextlib.ExitStack() as stack:
        with small_pages():
            server = stack.enter_context(running(tmp_path, *words, tls=True))
        threads = stack.enter_context(ThreadPoolExecutor(2))
        clients = [stack.enter_context(server.client()) for _ in range(2)]
        owners = [ByHand(client, "risk", package().offers[0].plan_id) for client in clients]
        requests = [owner.owner.encrypt(data()[:1]) for owner in owners]
        for owner in owners:
            assert owner.upload().status_code == 201
            assert np.isfinite(owner.predict(data()[:1])).all()

        def round_of(count: int) -> dict[str, int]:
            each = [count // len(owners)] * len(owners)
            list(threads.map(ask, owners, requests, each))
            return memory(server)

        seen = [round_of(count) for count in (WARM, *[REQUESTS] * ROUNDS)]
    assert all(set(each) == set(seen[0]) for each in seen)  # nobody was replaced meanwhile
    growth = {
        name: [after[name] - before[name] for before, after in itertools.pairwise(seen)] for name in seen[0]
    }
    print(growth)
    assert max(map(statistics.median, growth.values())) < SLACK + BYTES_OF_ONE * REQUESTS, growth
