"""A party that is killed or stopped, at any point of a run: all others end with an error that names it."""

from __future__ import annotations

import pathlib
import signal

import pytest

from tacit.errors import PeerError
from tacit.runtime.local import Parties
from tests.patience import SOON_S
from tests.runtime.doomed import ROUNDS

POINTS = range(0, ROUNDS, ROUNDS // 10)
PROMISED_S = 2.0
"""What `SECURITY.md` says of a machine that is not busy otherwise; here it is printed, and bound by patience."""


@pytest.mark.parametrize("index", range(3), ids=["first", "second", "third"])
@pytest.mark.parametrize("at", POINTS)
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_all_others_name_who_is_gone(
    tmp_path: pathlib.Path, kind: signal.Signals, at: int, index: int
) -> None:
    note = tmp_path / "time"
    with Parties.start("tests.runtime.doomed:Doomed") as parties:
        victim = parties.names[index]
        with pytest.raises(PeerError) as caught:
            parties.call("doomed", index=index, at=at, kind=int(kind), note=str(note))
        assert caught.value.party == victim
        others = set(parties.names) - {victim}
        ended = {name: found for name, found in parties.failures.items() if name != victim}
        assert set(ended) == others, "somebody did not end"
        gone = float(note.read_text())
        for name, (error, when) in ended.items():
            assert isinstance(error, PeerError) and error.party == victim, (name, error)
            print(f"{name} named {victim} after {when - gone:.3f} s; promised {PROMISED_S} s")
            assert when - gone < SOON_S
