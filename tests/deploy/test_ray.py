"""A deployment on a Ray cluster of this machine: predictions, one upload for each owner, a replica that dies, replays.

Ray is started and ended by `on_ray`, a process of its own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import tacit
from tacit.net import envelope
from tacit.service.shards import shard_of
from tacit.service.tokens import add_token
from tests.rules.tree import ROOT
from tests.service.models import data, estimator, package, write_package
from tests.service.owning import ByHand

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason='Ray is not installed: `pip install "tacit[ray]"`'
)

BEARER = "secret-of-alice"
START_S, END_S, BACK_S = 300.0, 120.0, 120.0


@dataclass
class Cluster:
    """What runs. ``folder``: of all its files, short enough for the names of Ray's sockets."""

    process: subprocess.Popen[str]
    folder: Path
    address: str

    def told(self, line: str) -> dict[str, Any]:
        if self.process.stdin is None or self.process.stdout is None:
            raise ChildProcessError
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def client(self) -> httpx.Client:
        """Without a check of the certificate, which `tacit.connect` makes."""
        headers = {"Authorization": f"Bearer {BEARER}"}
        return httpx.Client(base_url=self.address, timeout=60, verify=False, headers=headers)  # noqa: S501

    def left(self) -> list[str]:
        """Processes whose command or folder is of this cluster."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                environment = (path / "environ").read_bytes()
            except OSError:
                continue
            if str(self.folder).encode() in environment and path.name != str(os.getpid()):
                found.append(path.name)
        return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    patch = pytest.MonkeyPatch()
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    # The development certificate, which the client trusts, is in the folder of the configuration.
    patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    environment = {
        "HOME": str(folder),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        "RAY_USAGE_STATS_ENABLED": "0",
        "XDG_STATE_HOME": str(folder / "state"),
    }
    write_package(folder)
    add_token(folder / "tokens", "alice", BEARER)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "tests.deploy.on_ray",
        str(folder / "risk.tacit"),
        str(folder),
        str(port),
    ]
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=os.environ | environment,
            start_new_session=True,
        )
        found = Cluster(process, folder, "")
        try:
            killer = _killer(found)
            line = process.stdout.readline() if process.stdout is not None else ""
            killer.cancel()
            if not line:
                log.seek(0)
                raise ChildProcessError(log.read()[-5000:])
            found.address = json.loads(line)["address"]
            yield found
        finally:
            patch.undo()
            try:
                process.communicate(timeout=END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
            for number in found.left():
                os.kill(int(number), signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)


def _killer(cluster: Cluster) -> threading.Timer:
    """Ends a start that takes for ever."""
    timer = threading.Timer(START_S, cluster.process.kill)
    timer.daemon = True
    timer.start()
    return timer


def load(http: httpx.Client, shard: int) -> dict[str, Any]:
    found: dict[str, Any] = http.get(f"/v2/load?shard={shard}").raise_for_status().json()
    return found


def owner_in(http: httpx.Client, shard: int) -> ByHand:
    while shard_of(envelope.client_header(secret := envelope.new_client_secret()), 2) != shard:
        pass
    return ByHand(http, "risk", package().offers[0].plan_id, secret)


def test_one_upload_and_answers_equal_to_clear_before_and_after_a_crash(
    cluster: Cluster, tmp_path: Path
) -> None:
    X = data()[:3]
    clear = estimator().predict_proba(X)
    with (
        cluster.client() as http,
        tacit.connect(f"{cluster.address}/risk", token=BEARER, keyring=tmp_path) as remote,
    ):
        answer = remote.predict(X)
        bound = answer.report.error_bound
        assert bound < 0.1
        assert np.abs(np.asarray(answer) - clear).max() <= bound
        counts = [load(http, shard)["keys"]["count"] for shard in range(2)]
        assert sorted(counts) == [0, 1]
        home = counts.index(1)
        remote.predict(X)
        assert [load(http, shard)["keys"]["count"] for shard in range(2)] == counts
        before = load(http, home)["started_at"]

        assert cluster.told(f"kill {home}") == {"killed": 1}
        again = remote.predict(X)
        assert np.abs(np.asarray(again) - clear).max() <= bound
        after = load(http, home)
        assert after["started_at"] > before
        # The new replica found the folder of the old one: nothing was uploaded to it.
        assert after["keys"]["count"] == 1
        assert 'tacit_key_events_total{event="uploaded"} 0.0' in http.get(f"/metrics?shard={home}").text


def test_a_replay_is_refused_by_the_replica_and_by_the_one_that_takes_its_place(cluster: Cluster) -> None:
    with cluster.client() as http:
        owner = owner_in(http, 0)
        assert owner.upload().status_code == 201
        message = owner.message(data()[:1])
        assert owner.send(message).status_code == 200
        for _ in range(4):
            again = owner.send(message)
            assert (again.status_code, again.json()["code"]) == (409, "replay")
        assert cluster.told("kill 0") == {"killed": 1}
        since = time.monotonic()
        while "began to remember" not in (late := owner.send(message)).text:
            assert late.status_code in (409, 503), late.text  # never computed again
            assert time.monotonic() - since < BACK_S
            time.sleep(0.2)
        assert late.status_code == 503
        assert np.abs(owner.predict(data()[:1]) - estimator().predict_proba(data()[:1])).max() < 0.1


def test_strangers_are_refused_and_answers_name_their_request_once(cluster: Cluster) -> None:
    with cluster.client() as http:
        refused = http.post("/v2/models/risk/infer", headers={"Authorization": "Bearer wrong"}, content=b"x")
        assert (refused.status_code, refused.json()["code"]) == (401, "access-denied")
        ready = http.get("/v2/health/ready", headers={"X-Request-Id": "mine"})
        assert ready.status_code == 200
        assert ready.headers.get_list("x-request-id") == ["mine"]


def test_a_second_serve_is_refused_and_a_second_application_fits(cluster: Cluster) -> None:
    assert "runs on this cluster already" in cluster.told("run")["error"]
    assert cluster.told("add") == {"added": "/other"}
    with cluster.client() as http:
        other = f"{cluster.address}/other"
        assert http.get(f"{other}/v2/health/ready").json() == {"ready": True}
        assert http.get(f"{other}/v2/models/risk").json()["name"] == "risk"
        assert http.get("/v2/health/ready").json() == {"ready": True}


def test_ray_itself_understands_the_configuration_file() -> None:
    yaml = pytest.importorskip("yaml", reason="needs pyyaml")
    text = (ROOT / "deploy" / "ray.yaml").read_text(encoding="utf-8")
    script = (
        "import json, sys; from ray.serve.schema import ServeDeploySchema; "
        "ServeDeploySchema(**json.load(sys.stdin))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(yaml.safe_load(text)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_everything_ends(cluster: Cluster) -> None:
    """The last one: it ends the cluster."""
    cluster.process.communicate(timeout=END_S)
    assert cluster.process.returncode == 0
    since = time.monotonic()
    while cluster.left():
        assert time.monotonic() - since < END_S
        time.sleep(0.2)
