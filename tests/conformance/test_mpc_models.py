"""Random models run on shares and keep their promises, or are refused by a typed error with a hint."""

from __future__ import annotations

import pytest

from tests.conformance.mpc_promise import FAMILIES, Run, on_dealer, on_replicated, on_words, sweep

TRIED = {"affine": 100, "one function": 110, "two functions": 70, "trees": 40}
LEAST = {"affine": 100, "one function": 100, "two functions": 62, "trees": 40}
"""How many of a family must run: 302 in all."""
ON_PARTIES = 12
"""Of each family, among parties as well: three, and two with a dealer."""


@pytest.mark.parametrize("family", FAMILIES)
def test_random_models_keep_their_promise_on_words(family: str) -> None:
    counts = sweep(family, TRIED[family], on_words)
    assert counts["run"] >= LEAST[family], counts


@pytest.mark.parametrize("engine", [on_replicated, on_dealer])
@pytest.mark.parametrize("family", FAMILIES)
def test_random_models_keep_their_promise_among_parties(family: str, engine: Run) -> None:
    counts = sweep(family, ON_PARTIES, engine, first=1000)
    assert counts["run"] >= ON_PARTIES - 3, counts


def test_at_least_300_models_run() -> None:
    assert sum(LEAST.values()) >= 300
