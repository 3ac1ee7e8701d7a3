"""A limit on the provider's memory: plans within it, or an error that says what the smallest takes."""

from __future__ import annotations

import numpy as np
import pytest

import tacit
from tacit.backends.ckks.owner import Owner
from tacit.backends.ckks.provider import Provider
from tacit.errors import InvalidParameterError, MemoryLimitError
from tests.backends.dense import dense, samples

X = samples(60, 8)


def test_a_limit_that_is_too_small_is_refused_with_what_it_takes() -> None:
    graph = dense((8, 6, 3))
    with pytest.raises(MemoryLimitError, match="10000 bytes") as caught:
        tacit.protect(graph, calibration=X, memory_bytes=10_000, check=0)
    assert caught.value.hint
    wanted = caught.value.wanted_bytes
    private = tacit.protect(graph, calibration=X, memory_bytes=wanted, check=0)
    assert private.plan.declaration.cost.memory_bytes <= wanted
    with pytest.raises(MemoryLimitError):
        tacit.protect(graph, calibration=X, memory_bytes=wanted - 1, check=0)


def test_a_limit_takes_a_smaller_plan_where_there_is_one() -> None:
    """Of two packings the cheaper one may be the larger one."""
    graph = dense((30, 3))
    x = samples(60, 30)
    plans = tacit.explain(graph, calibration=x, batch=64, protections=("ckks",)).plans
    sizes = sorted(plan.cost.memory_bytes for plan in plans)
    kept = tacit.explain(graph, calibration=x, batch=64, protections=("ckks",), memory_bytes=sizes[0]).plans
    assert [plan.cost.memory_bytes for plan in kept] == [sizes[0]]


def test_little_memory_encodes_the_weights_for_every_request() -> None:
    """Same plan, same answers; less memory and more time, and the provider's bundle remembers it."""
    graph = dense((40, 24, 3), "square")
    x = samples(60, 40)
    full = tacit.protect(graph, calibration=x, check=0)
    wanted = full.plan.declaration.cost.memory_bytes
    lean = tacit.protect(graph, calibration=x, check=0, memory_bytes=wanted - 1)
    cost = lean.plan.declaration.cost
    assert cost.memory_bytes < wanted
    assert cost.seconds > full.plan.declaration.cost.seconds
    assert "encoded for every request" in lean.plan.declaration.variant
    assert lean.provider is not None and not lean.provider._executor.maps
    clear = np.asarray(tacit.protect(graph, "clear").predict(x[:1]))
    for provider in (lean.provider, Provider.from_bytes(lean.provider.to_bytes())):
        assert not provider._executor.maps
        owner = Owner(provider.public_plan())
        provider.load_keys(owner.evaluation_keys())
        answer = owner.decrypt(provider.run(owner.encrypt(x[:1])))
        assert np.abs(np.asarray(answer) - clear).max() <= lean.plan.error_bound


@pytest.mark.parametrize("wrong", [0, -5, 1.5, "much", True])
def test_a_bad_limit_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidParameterError, match="memory_bytes"):
        tacit.protect(dense((8, 3)), calibration=X, memory_bytes=wrong)
