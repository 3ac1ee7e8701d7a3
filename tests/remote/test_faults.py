"""Everything that goes wrong between two machines, with `tacit serve` in a process of its own: a typed error
or a clean retry.

Times are of what the owner waits for after the fault; two seconds at most, and a busy machine's share (`soon`).
"""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
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
    PeerTimeoutError,
    PlanChangedError,
    QuotaError,
    TlsError,
)
from tacit.remote.connect import Remote
from tacit.remote.doctor import examine
from tacit.remote.upload import delete_keys, upload_keys
from tests.patience import PATIENCE_S, SOON_S, soon
from tests.remote.certificates import DAY, NOW, issue, shown
from tests.remote.conftest import X
from tests.remote.serving import Served, line_to, served


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


@pytest.fixture(scope="module")
def server(packages: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One that no test ends."""
    with served(tmp_path_factory.mktemp("server"), str(packages / "diagnosis.tacit")) as server:
        yield server


@pytest.fixture
def mortal(packages: pathlib.Path, tmp_path: pathlib.Path) -> Iterator[Served]:
    """One that a test may kill and start again."""
    with served(tmp_path / "server", str(packages / "diagnosis.tacit")) as server:
        yield server


def connect(server: Served, ring: pathlib.Path, *, port: int = 0, **options: Any) -> Remote:
    url = f"https://127.0.0.1:{port or server.port}/diagnosis"
    return tacit.connect(url, ca=server.authority, keyring=ring, threads=1, **options)


def test_a_server_killed_between_and_during_requests(mortal: Served, ring: pathlib.Path) -> None:
    with connect(mortal, ring) as remote:
        first = remote.predict(X[:1])
        killed_at: list[float] = []

        def kill() -> None:
            killed_at.append(time.monotonic())
            mortal.kill()

        killer = threading.Timer(0.3, kill)
        killer.start()
        with pytest.raises(ConnectError):
            while True:
                remote.predict(X[:10])
        assert time.monotonic() - killed_at[0] < SOON_S
        with pytest.raises(ConnectError, match="nothing listens"):
            remote.predict(X[:1])
        killer.join()
        mortal.start()
        again = remote.predict(X[:1])
    assert np.abs(np.asarray(again) - np.asarray(first)).max() <= 2 * again.report.error_bound
    assert again.report.plan_id == first.report.plan_id


def test_a_restart_needs_no_second_upload_and_an_empty_store_gets_one(
    mortal: Served, ring: pathlib.Path
) -> None:
    with connect(mortal, ring) as remote:
        remote.predict(X[:1])
        held = remote._held[remote.public_plan().plan_id]
        mortal.close()
        mortal.start()
        remote.predict(X[:1])
        assert held.uploads == 1
        mortal.close()
        mortal.start(store="empty")
        remote.predict(X[:1])
        assert held.uploads == 2


def test_keys_that_somebody_damaged_in_the_store_come_again(mortal: Served, ring: pathlib.Path) -> None:
    def stored() -> pathlib.Path:
        (found,) = (mortal.folder / "store" / "keys" / "keys").glob("*.keys")
        return found

    with connect(mortal, ring) as remote:
        first = np.asarray(remote.predict(X[:1]))
        held = remote._held[remote.public_plan().plan_id]
        stored().unlink()
        again = np.asarray(remote.predict(X[:1]))
        assert held.uploads == 2
        mortal.close()
        stored().write_bytes(bytes(stored().stat().st_size))
        mortal.start()
        third = np.asarray(remote.predict(X[:1]))
        assert held.uploads == 3
        bound = remote.public_plan().error_bound
        assert max(np.abs(again - first).max(), np.abs(third - first).max()) <= 2 * bound


def test_an_upload_that_is_cut_goes_on(
    server: Served, ring: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tacit.remote.upload.PIECE_BYTES", 16_000)
    with line_to(server.port) as line, connect(server, ring, port=line.port) as remote:
        remote.public_plan()
        line.cut_after = line.up + 40_000
        with soon():
            remote.prepare()
        assert line.cuts == 1
        size = remote.keyring.entries()[0].keys_bytes
        assert line.up < size + 60_000, "what had arrived was not sent again"
        assert remote.predict(X[:1]).shape == (1, 2)


def test_an_upload_outlives_the_server_and_the_process_of_the_owner(
    mortal: Served, ring: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is killed in the middle; another `connect` with the same key file goes on where the disk has it."""
    monkeypatch.setattr("tacit.remote.upload.PIECE_BYTES", 8_000)
    killed: list[float] = []

    def watch(phase: str, done: float) -> None:
        if phase == "upload keys" and done > 0.5 and not killed:
            killed.append(time.monotonic())
            mortal.kill()

    with connect(mortal, ring, progress=watch) as remote:
        with pytest.raises(ConnectError):
            remote.prepare()
        assert time.monotonic() - killed[0] < SOON_S
        size = remote.keyring.entries()[0].keys_bytes
    mortal.start()
    with connect(mortal, ring) as remote:
        held = remote._keys(remote.public_plan())
        sent = upload_keys(
            remote._open(),
            held.evaluation,
            digest=held.digest,
            client=held.client,
            model=remote.model,
            plan=held.entry.plan,
            timeout_s=PATIENCE_S,
        )
        assert 0 < sent < 0.6 * size, "what the server had written was not sent again"
        assert remote.predict(X[:1]).shape == (1, 2)


def test_a_line_that_says_nothing_any_more_is_an_error_in_time(server: Served, ring: pathlib.Path) -> None:
    """No end of the connection is seen, as when a cable is pulled: the deadline counts."""
    with line_to(server.port) as line, connect(server, ring, port=line.port) as remote:
        remote.predict(X[:1])
        remote._timeout_s = 1.0
        line.is_silent = True
        with soon(), pytest.raises(PeerTimeoutError):
            remote.predict(X[:1])


def test_a_full_store_is_told_and_nothing_is_lost(
    packages: pathlib.Path, tmp_path: pathlib.Path, ring: pathlib.Path
) -> None:
    words = (str(packages / "diagnosis.tacit"), "--store-bytes=10000")
    with served(tmp_path / "server", *words) as server, connect(server, ring) as remote:
        remote.public_plan()
        with soon(), pytest.raises(QuotaError):
            remote.prepare()
        assert len(remote.keyring.entries()) == 1
        steps = {s.name: s for s in examine(f"{server.url}/diagnosis", ca=server.authority, keyring=ring)}
        assert (steps["keys"].state, steps["plan"].state) == ("failed", "ok")


def test_certificates_of_clients(packages: pathlib.Path, tmp_path: pathlib.Path, ring: pathlib.Path) -> None:
    """Mutual TLS: who shows no certificate, or one of another authority, is told so."""
    (tmp_path / "ours").mkdir()
    (tmp_path / "others").mkdir()
    ca, pair = issue(tmp_path / "ours", host="ward.example")
    _, foreign = issue(tmp_path / "others", host="ward.example")
    words = (str(packages / "diagnosis.tacit"), f"--client-ca={ca}")
    with served(tmp_path / "server", *words) as server:
        with connect(server, ring, cert=(pair, pair)) as remote:
            assert remote.predict(X[:1]).shape == (1, 2)
        for wrong in (None, (foreign, foreign)):
            with soon(), pytest.raises((TlsError, AccessDeniedError)) as caught:
                connect(server, ring, cert=wrong)
            assert caught.value.hint


def test_keys_that_were_removed_there_are_sent_again(server: Served, ring: pathlib.Path) -> None:
    with connect(server, ring) as remote:
        remote.predict(X[:1])
        held = remote._held[remote.public_plan().plan_id]
        assert delete_keys(remote._open(), held.digest, client=held.client, timeout_s=PATIENCE_S)
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
            with soon(), pytest.raises(AccessDeniedError):
                connect(server, ring, token=wrong)
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
        with soon(), pytest.raises((ClockSkewError, PeerError)) as caught:
            remote.predict(X[:1])
    assert isinstance(caught.value, ClockSkewError), caught.value
    assert abs(caught.value.skew_s - skew_s) < 30


def test_a_changed_plan_is_told_and_an_unchanged_one_survives(
    mortal: Served, packages: pathlib.Path, ring: pathlib.Path
) -> None:
    with connect(mortal, ring) as remote:
        remote.predict(X[:1])
    mortal.close()
    mortal.start(str(packages / "other" / "diagnosis.tacit"))
    with connect(mortal, ring) as remote:
        with pytest.raises(PlanChangedError):
            remote.predict(X[:1])
        remote.new_keys()
        assert remote.predict(X[:1]).shape == (1, 2)
    mortal.close()
    mortal.start(str(packages / "other" / "diagnosis.tacit"))
    with connect(mortal, ring) as remote:
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
        with soon(), pytest.raises(TlsError, match=word) as caught:
            tacit.connect(f"https://127.0.0.1:{port}/diagnosis", ca=ca, keyring=ring)
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
        thread.join(timeout=PATIENCE_S)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)
    shutil.rmtree(tmp_path / "a")
