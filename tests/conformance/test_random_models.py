"""Random models compile, run encrypted and keep their promises, or are refused by a typed error with a hint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.promise import REFUSALS, broken, plan_of, run_encrypted
from tests.conformance.random_models import Case, random_case
from tests.conformance.random_trees import random_trees

Make = Callable[[Random], Case]

FAMILIES: dict[str, tuple[Make, int, int]] = {
    "affine": (lambda rng: random_case(rng, max_functions=0), 130, 120),
    "one function": (lambda rng: random_case(rng, max_functions=1), 200, 140),
    "two functions": (lambda rng: random_case(rng, max_functions=2), 90, 45),
    "trees": (random_trees, 8, 8),
}
"""How a family is made, how many models are tried, and how many at least must run encrypted: 300 in all."""


@pytest.mark.parametrize("family", FAMILIES)
def test_random_models_keep_their_promise(family: str) -> None:
    make, tried, least = FAMILIES[family]
    counts: Counter[str] = Counter()

    @settings(
        max_examples=tried,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(seed=st.integers(0, 2**32 - 1))
    def check(seed: int) -> None:
        case = make(Random(seed))
        try:
            candidate = plan_of(case)
        except REFUSALS as refusal:
            assert refusal.hint
            counts[type(refusal).__name__] += 1
            return
        outcome = run_encrypted(case, candidate, seed)
        assert not broken(outcome), f"seed {seed}: {outcome}"
        counts["run"] += 1

    check()
    print(family, dict(counts))
    assert counts["run"] >= least


def test_at_least_300_models_run() -> None:
    assert sum(least for _, _, least in FAMILIES.values()) >= 300
