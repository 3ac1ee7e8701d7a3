"""Parties on this machine: processes over mutual TLS that run steps, and what is left when one ends."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tacit.errors import InvalidParameterError, PeerError
from tacit.net.channel import Limits
from tacit.runtime.local import Parties
from tests.patience import PATIENCE_S, until
from tests.runtime.swapping import SWAPPING

ACTOR = "tests.runtime.swapping:Actor"


def words(*values: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.array(values, dtype=np.uint64)


def is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return pathlib.Path(f"/proc/{process}/stat").read_text().split()[2] == "Z"


def test_three_processes_run_steps_over_tls() -> None:
    with Parties.start(ACTOR, program=b"steps", variant=SWAPPING) as parties:
        processes = list(parties.processes.values())
        assert len({os.getpid(), *processes}) == 4
        found = parties.call("turns", [[words(1, 2)], [words(3, 4)], [words(5, 6)]], times=4)
        assert [each[0].tolist() for each in found] == [[3, 4], [5, 6], [1, 2]]
        assert [report.rounds for report in parties.reports] == [4] * 3
        assert [report.sent_bytes for report in parties.reports] == [64] * 3
        assert [report.received_bytes for report in parties.reports] == [64] * 3
        assert parties.reports[0].sent_to == {"berta": 0, "clara": 64}
        assert all(report.rss_bytes > 1 << 20 and report.seconds > 0 for report in parties.reports)
    assert all(map(is_gone, processes))


def test_the_client_outside_shares_and_combines() -> None:
    random = np.random.default_rng(1)
    x = random.integers(0, 1 << 63, (5, 3), dtype=np.uint64)
    with Parties.start(ACTOR, variant=SWAPPING, names=("owner", "provider", "third")) as parties:
        parties.prepare({"w": np.full((5, 3), 7, dtype=np.uint64)})
        for factor in (1, 3):
            found = parties.predict({"x": x * np.uint64(factor)})
            np.testing.assert_array_equal(found["y"], x * np.uint64(factor) + np.uint64(7))
            np.testing.assert_array_equal(found["x"], x * np.uint64(factor))


def test_large_arrays_and_empty_ones() -> None:
    large = np.arange(1 << 21, dtype=np.uint64).reshape(1 << 10, -1)
    empty = np.zeros((3, 0), dtype=np.uint64)
    with Parties.start(ACTOR, variant=SWAPPING) as parties:
        found = parties.call("turns", [[large], [large + np.uint64(1)], [large]], times=1)
        np.testing.assert_array_equal(found[0][0], large + np.uint64(1))
        assert parties.call("turns", [[empty]] * 3, times=1)[0][0].shape == (3, 0)


def test_an_error_of_a_party_is_raised_here() -> None:
    with Parties.start(ACTOR, variant=SWAPPING) as parties:
        with pytest.raises(InvalidParameterError, match="cannot go on"):
            parties.call("fail", at=1)
        with pytest.raises(PeerError, match="ended after an error"):
            parties.call("turns", [[words(1)]] * 3, times=1)


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_party_that_is_gone_is_named(kind: signal.Signals) -> None:
    with Parties.start(ACTOR, variant=SWAPPING) as parties:
        processes = parties.processes
        os.kill(processes["berta"], kind)
        with pytest.raises(PeerError) as caught:
            parties.call("turns", [[words(1)]] * 3, times=5)
        assert caught.value.party == "berta"
    assert all(map(is_gone, processes.values()))


def test_a_call_that_takes_too_long_ends() -> None:
    with (
        Parties.start(ACTOR, variant=SWAPPING) as parties,
        pytest.raises(PeerError, match="did not answer within"),
    ):
        parties.call("turns", [[words(1)]] * 3, times=1 << 40, timeout_s=0.5)


def test_bad_starts_are_refused() -> None:
    with pytest.raises(InvalidParameterError, match="3 parties"):
        Parties.start(ACTOR, variant=SWAPPING, names=("a", "b"))
    with pytest.raises(InvalidParameterError, match="no protocol"):
        Parties.start(ACTOR, variant="replicated4")
    with (
        Parties.start(ACTOR, variant=SWAPPING, limits=Limits(operation_s=30.0)) as parties,
        pytest.raises(InvalidParameterError, match="3 parties"),
    ):
        parties.call("turns", [[words(1)]], times=1)


def test_the_parties_die_with_who_started_them() -> None:
    source = """
import sys
from tacit.runtime.local import Parties
from tests.runtime.swapping import SWAPPING
parties = Parties.start("tests.runtime.swapping:Actor", variant=SWAPPING)
print(*parties.processes.values(), flush=True)
parties.call("turns", [[__import__("numpy").zeros(3, dtype="uint64")]] * 3, times=1 << 40)
"""
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        children = [int(word) for word in process.stdout.readline().split()]
        assert len(children) == 3 and not any(map(is_gone, children))
        process.kill()
        process.wait(PATIENCE_S)
    until(lambda: all(map(is_gone, children)))


def test_an_answer_of_a_call_that_was_left_is_never_that_of_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with Parties.start(ACTOR, variant=SWAPPING) as parties:
        processes = list(parties.processes.values())
        parties.prepare({"w": words(0)})

        def pressed(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(parties, "_gather", pressed)
            with pytest.raises(KeyboardInterrupt):
                parties.predict({"x": words(1)})
        with pytest.raises(PeerError, match="left before its end"):
            parties.predict({"x": words(2)})
        assert all(map(is_gone, processes))


def test_calls_of_several_threads_get_their_own_answers() -> None:
    with Parties.start(ACTOR, variant=SWAPPING) as parties:
        parties.prepare({"w": words(0)})
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(lambda x: parties.predict({"x": words(x)})["x"].tolist(), range(12)))
    assert found == [[x] for x in range(12)]


def test_parties_are_out_of_reach_of_the_terminal() -> None:
    with Parties.start(ACTOR, variant=SWAPPING) as parties:
        assert all(os.getpgid(each) != os.getpgid(0) for each in parties.processes.values())
