"""Processes that take turns: what goes wrong on the other side is told, and every system has its turns."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHES = Path(__file__).resolve().parents[2] / "benches"
CHILD = """
import sys, time
sys.path.insert(0, {path!r})
from partner import serve
def fail(): raise ValueError("no such thing")
sys.stderr.write("a library's chatter")
serve({{"add": lambda *, a, b: {{"sum": a + b}}, "fail": fail, "sleep": lambda: time.sleep(60)}})
"""


@pytest.fixture
def partner(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHES))
    import partner

    yield partner
    sys.modules.pop("partner", None)


def test_answers_and_failures(partner: ModuleType) -> None:
    command = [sys.executable, "-c", CHILD.format(path=str(BENCHES))]
    with partner.Partner(command) as other:
        assert other.ask("add", a=2, b=3) == {"sum": 5}
        with pytest.raises(partner.PartnerError, match="ValueError: no such thing"):
            other.ask("fail")
        assert other.ask("add", a=1, b=1) == {"sum": 2}
        with pytest.raises(partner.PartnerError, match="no answer to `sleep` within 1 s"):
            other.ask("sleep", timeout_s=1)


def test_a_process_that_ends_leaves_its_last_words(partner: ModuleType) -> None:
    script = "import sys; sys.stderr.write('out of memory'); sys.exit(9)"
    with (
        partner.Partner([sys.executable, "-c", script]) as other,
        pytest.raises(partner.PartnerError, match="out of memory"),
    ):
        other.ask("add", a=1, b=2)


def test_turns(partner: ModuleType) -> None:
    order: list[str] = []

    def quick(repeats: int) -> list[float]:
        order.append("quick")
        return [0.001] * repeats

    def slow(repeats: int) -> list[float]:
        order.append("slow")
        return [9.0] * repeats

    times = partner.take_turns({"quick": quick, "slow": slow}, budget_s=0.005, turn_s=0.01, least=25)
    # Ten calls of a millisecond make a turn of ten; the warm-up is not counted. One call of nine seconds is enough.
    assert times == {"quick": [0.001] * 30, "slow": [9.0]}
    assert order == ["quick", "slow", "quick", "quick", "quick"]
