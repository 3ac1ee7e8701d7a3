"""Thousands of requests, answered and refused: no process of a server grows with their number."""

from __future__ import annotations

import contextlib
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tests.service.models import data, package, write_package
from tests.service.owning import ByHand
from tests.service.running import Running, running

MIB = 1 << 20
WARM = 600
REQUESTS = 3000
BYTES_OF_ONE = 400
"""What a process may grow by for each request. The front remembers its id, in 100 bytes for two minutes."""
SLACK = 4 * MIB
"""What it may grow by altogether: allocators take memory in pieces, and kernels in huge pages of 2 MiB."""


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


def test_no_process_grows_with_the_number_of_requests(tmp_path: Path) -> None:
    write_package(tmp_path)
    words = [str(tmp_path / "risk.tacit"), "--workers", "1", "--rate", "1000000"]
    with contextlib.ExitStack() as stack:
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

        seen = [round_of(count) for count in (WARM, *[REQUESTS // 3] * 3)]
    assert all(set(each) == set(seen[0]) for each in seen)  # nobody was replaced meanwhile
    # From the second look, too: what the first work left behind may be given back after the first.
    for first, count in ((seen[0], REQUESTS), (seen[1], REQUESTS * 2 // 3)):
        growth = {name: seen[-1][name] - size for name, size in first.items()}
        print(growth)
        assert max(growth.values()) < SLACK + BYTES_OF_ONE * count, growth
