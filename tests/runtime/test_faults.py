"""A party that is killed or stopped, at any point of a run: all others end with an error that names it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal

import pytest

from tacit.errors import PeerError, PeerTimeoutError
from tacit.net.channel import Limits
from tacit.runtime.local import Parties
from tests.patience import SOON_S
from tests.runtime.doomed import ROUNDS

POINTS = range(0, ROUNDS, ROUNDS // 10)
DOOMED = "tests.runtime.doomed:Doomed"
TRIES = 5
PROMISED_S = 2.0
"""What `SECURITY.md` says of a machine that is not busy otherwise; here it is printed, and bound by patience."""


EVERY = os.environ.get("TACIT_EVERY_FAULT") == "1"
"""Each party at each point, and not one party at each in turn: minutes more."""
CASES = [
    (variant, at, index)
    for variant, points in (("replicated3", POINTS), ("dealer2", POINTS[1::5]))
    for turn, at in enumerate(points)
    for index in range(3)
    if EVERY or index == turn % 3
]


@pytest.mark.parametrize(("variant", "at", "index"), CASES)
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_all_others_name_who_is_gone(
    tmp_path: pathlib.Path, kind: signal.Signals, variant: str, at: int, index: int
) -> None:
    note = tmp_path / "time"
    for _ in range(TRIES):
        with (
            contextlib.suppress(PeerTimeoutError),
            Parties.start(DOOMED, variant=variant, limits=Limits()) as parties,
        ):
            victim = parties.names[index]
            with pytest.raises(PeerError) as caught:
                parties.call("doomed", index=index, at=at, kind=int(kind), note=str(note))
        if note.exists():
            break
    # Without it, one that nobody harmed was not let run for 1.5 s: the machine is too busy to tell anything.
    gone = float(note.read_text())
    assert caught.value.party == victim
    ended = {name: found for name, found in parties.failures.items() if name != victim}
    assert set(ended) == set(parties.names) - {victim}, "somebody did not end"
    for name, (error, when) in ended.items():
        assert isinstance(error, PeerError) and error.party == victim, (name, error)
        print(f"{name} named {victim} after {when - gone:.3f} s; promised {PROMISED_S} s")
        assert when - gone < SOON_S
