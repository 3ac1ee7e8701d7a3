"""Plans are tried before they are handed out: what passes, what is refused, and what the refusal says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import tacit
from tacit import client
from tacit.backends.ckks.compiled import Compiled
from tacit.backends.ckks.normal import Model, ScaledAffine
from tacit.backends.ckks.owner import Owner
from tacit.backends.ckks.provider import Provider
from tacit.backends.ckks.trial import Trial, hold_trial
from tacit.errors import InvalidParameterError, PlanCheckError
from tacit.ir.graph import Graph
from tacit.roles import provider as provider_role
from tests.backends.dense import dense, samples
from tests.backends.reference import candidate_of

X = samples(120, 8)


def tried(graph: Graph, compiled: Compiled, *, count: int = 3) -> Trial:
    provider = Provider(compiled)
    owner = Owner(provider.public_plan())
    provider.load_keys(owner.evaluation_keys())
    return hold_trial(graph, compiled, owner, provider, X, count=count)


def with_step(compiled: Compiled, factor: float) -> Compiled:
    """The same plan with a polynomial that is ``factor`` times as large: a compiler that made a mistake."""
    model = compiled.model
    assert isinstance(model, Model)
    (step,) = model.steps
    wrong = replace(step.approximation, series=step.approximation.series * factor)
    nodes = tuple(replace(step, approximation=wrong) if node is step else node for node in model.nodes)
    return replace(compiled, model=replace(model, nodes=nodes))


def with_reach(compiled: Compiled, factor: float) -> Compiled:
    """The same plan whose first layer makes values ``factor`` times too large for their interval."""
    model = compiled.model
    assert isinstance(model, Model)
    first, *others = model.nodes
    assert isinstance(first, ScaledAffine)
    wide = replace(first, matrices=(first.matrices[0] * factor,), bias=first.bias * factor)
    return replace(compiled, model=replace(model, nodes=(wide, *others)))


@pytest.mark.parametrize("layout", ["latency", "throughput"])
@pytest.mark.parametrize("activation", ["square", "Sigmoid"])
def test_an_honest_plan_passes(activation: str, layout: str) -> None:
    graph = dense((8, 6, 3), activation)
    compiled = candidate_of(graph, X, layout=layout).compile()
    trial = tried(graph, compiled, count=4)
    assert trial.samples == 4
    assert 0 < trial.max_error <= compiled.public.error_bound


@pytest.mark.parametrize("layout", ["latency", "throughput"])
def test_values_that_leave_their_interval_are_named(layout: str) -> None:
    graph = dense((8, 6, 3), "Sigmoid")
    compiled = candidate_of(graph, X, layout=layout).compile()
    with pytest.raises(PlanCheckError, match=r"`act0` reach [0-9.]+ times the interval") as caught:
        tried(graph, with_reach(compiled, 4.0))
    assert caught.value.node == "act0"
    assert caught.value.excess > 1.5
    assert "calibrate" in caught.value.hint


def test_a_bad_polynomial_is_refused() -> None:
    graph = dense((8, 6, 3), "Sigmoid")
    compiled = candidate_of(graph, X).compile()
    with pytest.raises(PlanCheckError, match=r"is .* and not at most"):
        tried(graph, with_step(compiled, 1.1))


def test_a_plan_for_another_model_is_refused() -> None:
    compiled = candidate_of(dense((8, 3)), X).compile()
    with pytest.raises(PlanCheckError, match="every hidden value stays"):
        tried(dense((8, 3), seed=1), compiled)


def test_a_core_that_computes_wrong_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation is right and the encrypted run is not: the check does not rest on simulation alone."""
    graph = dense((8, 3))
    compiled = candidate_of(graph, X).compile()
    other = candidate_of(dense((8, 3), seed=1), X).compile()
    provider = Provider(replace(compiled, model=other.model))
    owner = Owner(provider.public_plan())
    provider.load_keys(owner.evaluation_keys())
    with pytest.raises(PlanCheckError, match="encrypted"):
        hold_trial(graph, compiled, owner, provider, X, count=2)


def test_protect_hands_out_no_plan_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_model = client.compile_model

    def broken(*arguments: object) -> object:
        plan, compiled = compile_model(*arguments)  # type: ignore[arg-type]
        return plan, with_step(compiled, 1.1)

    graph = dense((8, 6, 3), "Sigmoid")
    monkeypatch.setattr(client, "compile_model", broken)
    monkeypatch.setattr(provider_role, "compile_model", broken)
    with pytest.raises(PlanCheckError):
        tacit.protect(graph, calibration=X)
    with pytest.raises(PlanCheckError):
        tacit.Provider.from_model(graph, calibration=X)
    assert tacit.protect(graph, calibration=X, check=0).plan.checked_error is None


def test_the_plan_tells_what_was_checked() -> None:
    seen: list[str] = []
    private = tacit.protect(
        dense((8, 3)), calibration=X, check=2, progress=lambda phase, done: seen.append(phase)
    )
    assert private.plan.checked_samples == 2
    assert 0 < private.plan.checked_error <= private.plan.error_bound
    assert "checked" in str(private.plan) and private.plan.to_dict()["checked_samples"] == 2
    assert "check the plan" in seen
    provider = tacit.Provider.from_model(dense((8, 3)), calibration=X)
    assert provider.plan.checked_samples == 3
    assert not provider._keys, "the key of the check is forgotten"


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "many"])
def test_a_bad_count_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidParameterError):
        tacit.protect(dense((8, 3)), calibration=X, check=wrong)


def test_samples_are_the_ends_and_the_rim() -> None:
    from tacit.backends.ckks.trial import _telling

    compiled = candidate_of(dense((8, 3)), X).compile()
    scores = np.linspace(0, 1, len(X))[:, None]
    order = _telling(compiled, X, scores)
    assert sorted(order.tolist()) == list(range(len(X)))
    region = compiled.public.region
    rim = int(np.argmax(np.linalg.norm((X - region.mean) / region.radius, axis=1)))
    assert order[:3].tolist() == [len(X) - 1, rim, 0]
