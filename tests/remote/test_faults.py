"""Everything that goes wrong between two machines, with `tacit serve` in a process of its own: a typed error
or a clean retry.

Times are of what the owner waits for after the fault; two seconds at most.
"""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import tacit
from tacit.errors import (
    AccessDeniedError,
    ClockSkewError,
    ConnectError,
    PeerError,
    PlanChangedError,
    TlsError,
)
from tacit.remote.connect import Remote
from tacit.remote.doctor import examine
from tests.remote.certificates import DAY, NOW, issue, shown
from tests.remote.conftest import X
from tests.remote.serving import Line, Served, line_to, served

WITHIN_S = 2.0


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with ``diagnosis.tacit`` and, for another model of the same name, ``other/diagnosis.tacit``."""
    import skl2onnx
    from skl2onnx.common.data_types import DoubleTensorType

    folder = tmp_path_factory.mktemp("packages")
    (folder / "other").mkdir()
    np.save(folder / "known.npy", X)
    for place, weights in (("", [1, -1, 2, 0]), ("other", [2, 1, 0, 1])):
        model = LogisticRegression().fit(X, np.where(X @ weights > 0, "ill", "well"))
        onnx = skl2onnx.to_onnx(
            model, initial_types=[("X", DoubleTensorType([None, 4]))], options={"zipmap": False}
        )
        (folder / place / "diagnosis.onnx").write_bytes(onnx.SerializeToString())
        subprocess.run(
            [
                *(sys.executable, "-m", "tacit", "compile", folder / place / "diagnosis.onnx", "--check=0"),
                *(
                    "--calibration",
                    folder / "known.npy",
                    "-o",
                    folder / place / "diagnosis.tacit",
                    "--batch=1",
                ),
            ],
            check=True,
            capture_output=True,
        )
    return folder


@pytest.fixture
def server(packages: pathlib.Path, tmp_path: pathlib.Path) -> Iterator[Served]:
    with served(tmp_path / "server", str(packages / "diagnosis.tacit")) as server:
        yield server


def connect(server: Served, ring: pathlib.Path, *, port: int = 0, **options: Any) -> Remote:
    url = f"https://127.0.0.1:{port or server.port}/diagnosis"
    return tacit.connect(url, ca=server.authority, keyring=ring, threads=1, **options)


def seconds(action: Callable[[], object]) -> float:
    start = time.monotonic()
    action()
    return time.monotonic() - start


def test_a_server_killed_between_and_during_requests(server: Served, ring: pathlib.Path) -> None:
    with connect(server, ring) as remote:
        first = remote.predict(X[:1])
        killed_at: list[float] = []

        def kill() -> None:
            server.kill()
            killed_at.append(time.monotonic())

        threading.Timer(0.3, kill).start()
        with pytest.raises(ConnectError):
            while True:
                remote.predict(X[:10])
        assert time.monotonic() - killed_at[0] < WITHIN_S
        with pytest.raises(ConnectError, match="nothing listens"):
            remote.predict(X[:1])
        server.start()
        again = remote.predict(X[:1])
    assert np.abs(np.asarray(again) - np.asarray(first)).max() <= 2 * again.report.error_bound
    assert again.report.plan_id == first.report.plan_id


def test_a_restart_needs_no_second_upload_and_an_empty_store_gets_one(
    server: Served, ring: pathlib.Path
) -> None:
    with connect(server, ring) as remote:
        remote.predict(X[:1])
        held = remote._held[remote.public_plan().plan_id]
        server.close()
        server.start()
        remote.predict(X[:1])
        assert held.uploads == 1
        server.close()
        server.start(store="empty")
        remote.predict(X[:1])
        assert held.uploads == 2


def test_an_upload_that_is_cut_goes_on(
    server: Served, ring: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tacit.remote.upload.PIECE_BYTES", 16_000)
    with line_to(server.port) as line, connect(server, ring, port=line.port) as remote:
        remote.public_plan()
        line.cut_after = line.up + 40_000
        assert seconds(remote.prepare) < WITHIN_S
        assert line.cuts == 1
        size = remote.keyring.entries()[0].keys_bytes
        assert line.up < size + 60_000, "what had arrived was not sent again"
        assert remote.predict(X[:1]).shape == (1, 2)


def test_a_line_that_is_cut_for_good_is_an_error_and_the_upload_goes_on_later(
    server: Served, ring: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tacit.remote.upload.PIECE_BYTES", 16_000)
    with line_to(server.port) as line:
        with connect(server, ring, port=line.port) as remote:
            remote.public_plan()
            line.cut_after = line.up + 40_000
            threading.Thread(target=cut_for_good, args=(line,), daemon=True).start()
            with pytest.raises(ConnectError):
                remote.prepare()
        entry = remote.keyring.entries()[0]
    # Another process, another day, the same key file; the address is another, and so would be the key: it is moved.
    sent: list[float] = []
    with connect(server, ring) as remote:
        held = remote._keys(remote.public_plan())
        assert held.entry.keys_sha256 != entry.keys_sha256, "keys of another address are other keys"
        held.deliver(remote._open(), seen=0, timeout_s=10.0, progress=sent.append)
    assert sent[-1] == 1.0


def cut_for_good(line: Line) -> None:
    while not line.cuts:
        time.sleep(0.005)
    line.target = 1
    line.cut_after = 0


def test_keys_that_were_removed_there_are_sent_again(server: Served, ring: pathlib.Path) -> None:
    from tacit.remote.upload import delete_keys

    with connect(server, ring) as remote:
        remote.predict(X[:1])
        held = remote._held[remote.public_plan().plan_id]
        assert delete_keys(remote._open(), held.digest, client=held.client, timeout_s=5.0)
        assert remote.predict(X[:1]).shape == (1, 2)
        assert held.uploads == 2


def test_a_wrong_token_is_told_at_once(
    packages: pathlib.Path, tmp_path: pathlib.Path, ring: pathlib.Path
) -> None:
    tokens = tmp_path / "tokens"
    made = subprocess.run(
        [sys.executable, "-m", "tacit", "keys", "token", "ward", "--tokens", tokens],
        check=True,
        capture_output=True,
        text=True,
    )
    token = made.stdout.split()[-1]
    with served(tmp_path / "server", str(packages / "diagnosis.tacit"), f"--tokens={tokens}") as server:
        for wrong in (None, token[:-1] + ("A" if token[-1] != "A" else "B"), "nonsense"):
            with pytest.raises(AccessDeniedError):
                assert seconds(lambda wrong=wrong: connect(server, ring, token=wrong)) < WITHIN_S  # type: ignore[misc]
        with connect(server, ring, token=token) as remote:
            assert remote.predict(X[:1]).shape == (1, 2)
        # The same token on another machine: other keys, kept apart, both answered.
        with connect(server, tmp_path / "second", token=token) as remote:
            assert remote.predict(X[1:2]).shape == (1, 2)
        steps = {
            step.name: step
            for step in examine(f"{server.url}/diagnosis", ca=server.authority, keyring=ring, threads=1)
        }
        assert steps["access"].code == "access-denied"
        assert steps["protocol"].state == "ok"


@pytest.mark.parametrize("skew_s", [600.0, -600.0])
def test_a_clock_that_is_wrong_is_told_with_its_error(
    server: Served, ring: pathlib.Path, skew_s: float
) -> None:
    with connect(server, ring) as remote:
        remote.prepare()
        remote._open().wall_clock = lambda: time.time() + skew_s
        start = time.monotonic()
        with pytest.raises((ClockSkewError, PeerError)) as caught:
            remote.predict(X[:1])
        assert time.monotonic() - start < WITHIN_S
    assert isinstance(caught.value, ClockSkewError), caught.value
    assert abs(caught.value.skew_s - skew_s) < 30


def test_a_changed_plan_is_told_and_an_unchanged_one_survives(
    server: Served, packages: pathlib.Path, ring: pathlib.Path
) -> None:
    with connect(server, ring) as remote:
        remote.predict(X[:1])
    server.close()
    server.start(str(packages / "other" / "diagnosis.tacit"))
    with connect(server, ring) as remote:
        with pytest.raises(PlanChangedError):
            remote.predict(X[:1])
        remote.new_keys()
        assert remote.predict(X[:1]).shape == (1, 2)
    server.close()
    server.start(str(packages / "other" / "diagnosis.tacit"))
    with connect(server, ring) as remote:
        assert remote.predict(X[:1]).shape == (1, 2)


WRONG = {
    "expired": ({"begins": NOW - 9 * DAY, "ends": NOW - DAY}, "expired"),
    "too early": ({"begins": NOW + DAY, "ends": NOW + 9 * DAY}, "not"),
    "another host": ({"host": "provider.example"}, "certificate"),
}


@pytest.mark.parametrize("name", WRONG)
def test_certificates_that_are_wrong(tmp_path: pathlib.Path, ring: pathlib.Path, name: str) -> None:
    options, word = WRONG[name]
    ca, pair = issue(tmp_path, **options)  # type: ignore[arg-type]
    with shown(pair) as port:
        start = time.monotonic()
        with pytest.raises(TlsError, match=word) as caught:
            tacit.connect(f"https://127.0.0.1:{port}/diagnosis", ca=ca, keyring=ring)
        assert time.monotonic() - start < WITHIN_S
        assert caught.value.hint
        found = {s.name: s for s in examine(f"https://127.0.0.1:{port}/diagnosis", ca=ca, keyring=ring)}
    assert (found["certificate"].state, found["certificate"].code) == ("failed", "tls")
    assert found["certificate"].fix


def test_an_authority_that_nobody_knows(tmp_path: pathlib.Path, ring: pathlib.Path) -> None:
    _, pair = issue(tmp_path)
    with shown(pair) as port, pytest.raises(TlsError):
        tacit.connect(f"https://127.0.0.1:{port}/diagnosis", keyring=ring)


def test_what_is_no_tls_and_what_is_no_http(tmp_path: pathlib.Path, ring: pathlib.Path) -> None:
    ca, pair = issue(tmp_path)
    with shown(pair) as port:
        with pytest.raises(PeerError):  # TLS that speaks no HTTP: it hangs up
            tacit.connect(f"https://127.0.0.1:{port}/m", ca=ca, keyring=ring)
        with pytest.raises(PeerError):  # plain HTTP to a port of TLS
            tacit.connect(f"http://127.0.0.1:{port}/m", keyring=ring)


def test_two_owners_beside_each_other_get_their_own_answers(server: Served, tmp_path: pathlib.Path) -> None:
    """Two key files, one address, many requests at once: no answer of one is ever the other's."""
    wrong: list[str] = []

    def ask(name: str, rows: np.ndarray) -> None:
        with connect(server, tmp_path / name) as remote:
            alone = [np.asarray(remote.predict(rows[at : at + 1])) for at in range(4)]
            for _ in range(3):
                for at in range(4):
                    found = np.asarray(remote.predict(rows[at : at + 1]))
                    if np.abs(found - alone[at]).max() > 1e-3:
                        wrong.append(name)

    threads = [
        threading.Thread(target=ask, args=(name, rows)) for name, rows in (("a", X[:4]), ("b", X[20:24]))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)
    shutil.rmtree(tmp_path / "a")
