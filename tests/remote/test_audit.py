"""Plans that a provider could send, and what an owner says to them before it makes a key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tacit.backends.base import Sight
from tacit.backends.ckks.compiled import Compiled
from tacit.backends.ckks.owner import Owner
from tacit.backends.ckks.provider import Provider
from tacit.backends.ckks.public import Flag, PublicPlan
from tacit.errors import (
    MalformedMessageError,
    PeerIncompatibleError,
    PeerMisbehavedError,
    PlanChangedError,
    PlanRefusedError,
)
from tacit.remote.audit import MAX_FRAME_BYTES, audit, trusted
from tacit.remote.exchange import SPARE_BYTES, largest_response

FLAG = Flag(2.0**20, 0.9, 0.1)


@pytest.fixture(scope="module")
def plan(bundles: tuple[bytes, bytes]) -> PublicPlan:
    return Compiled.from_bytes(bundles[1]).public


def checked(plan: PublicPlan, **options: object) -> PublicPlan:
    return audit(plan.to_bytes(), plan_id=plan.plan_id, **options)  # type: ignore[arg-type]


def test_an_honest_plan_passes(plan: PublicPlan) -> None:
    assert checked(plan, max_error=1e-3).plan_id == plan.plan_id


def test_another_plan_than_asked_for_is_refused(plan: PublicPlan) -> None:
    with pytest.raises(PeerMisbehavedError, match="another plan"):
        audit(plan.to_bytes(), plan_id="00" * 32)


def seen_by(plan: PublicPlan, what: str, *who: str) -> PublicPlan:
    kept = [sight for sight in plan.sights if sight.what != what]
    return replace(plan, sights=(*kept, Sight(what, who)))


DISHONEST: dict[str, tuple[Callable[[PublicPlan], PublicPlan], str]] = {
    "inputs shown": (lambda p: seen_by(p, "inputs", "owner", "provider"), "provider would see inputs"),
    "outputs shown": (lambda p: seen_by(p, "outputs", "provider"), "provider would see outputs"),
    "scores shown": (lambda p: seen_by(p, "scores", "owner", "provider"), "provider would see scores"),
    "a third party": (
        lambda p: seen_by(p, "inputs", "owner", "dealer"),
        "neither owner nor provider sees inputs",
    ),
    "something new": (lambda p: seen_by(p, "gradients", "provider"), "provider would see gradients"),
    "left open": (
        lambda p: replace(p, sights=tuple(s for s in p.sights if s.what != "inputs")),
        "does not say who sees inputs",
    ),
    "says nothing": (lambda p: replace(p, sights=()), "does not say who sees inputs, model weights"),
    "said twice": (lambda p: replace(p, sights=(Sight("inputs", ("provider",)), *p.sights)), "twice"),
    "weak parameters": (lambda p: replace(p, log_p=(50,) * 6), "128"),
    "too inexact": (lambda p: replace(p, error_bound=0.5), "error bound is 0.5"),
    "measured only": (lambda p: replace(p, is_measured=True, flag=FLAG), "not proven"),
}


@pytest.mark.parametrize("name", DISHONEST)
def test_plans_that_do_not_protect_are_refused(plan: PublicPlan, name: str) -> None:
    change, word = DISHONEST[name]
    with pytest.raises(PlanRefusedError, match=word) as caught:
        checked(change(plan), max_error=1e-3)
    assert len(caught.value.findings) == 1


def test_every_reason_is_told_at_once(plan: PublicPlan) -> None:
    with pytest.raises(PlanRefusedError) as caught:
        checked(seen_by(replace(plan, error_bound=0.5), "inputs", "provider"), max_error=1e-3)
    assert len(caught.value.findings) == 2


def test_a_measured_bound_is_for_those_who_accept_it(plan: PublicPlan) -> None:
    measured = replace(plan, is_measured=True, flag=FLAG)
    assert checked(measured, measured=True).is_measured


def test_a_measured_bound_without_a_range_flag_is_no_plan(plan: PublicPlan) -> None:
    with pytest.raises(MalformedMessageError, match="no range flag"):
        checked(replace(plan, is_measured=True), measured=True)


def test_keys_over_the_limit_are_refused_before_they_are_made(plan: PublicPlan) -> None:
    size = plan.evaluation_key_bytes
    checked(plan, max_key_bytes=size)
    with pytest.raises(PlanRefusedError, match="of keys"):
        checked(plan, max_key_bytes=size - 1)


@pytest.mark.parametrize("layout", ["latency", "throughput"])
def test_requests_and_answers_over_the_limit_are_refused(
    bundles: tuple[bytes, bytes], layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Compiled.from_bytes(bundles[layout == "throughput"]).public
    assert plan.layout == layout
    sizes = plan.request_bytes, largest_response(plan)
    assert max(sizes) < MAX_FRAME_BYTES
    monkeypatch.setattr("tacit.remote.audit.MAX_FRAME_BYTES", max(sizes))
    checked(plan)
    for limit, count in ((max(sizes) - 1, 1), (min(sizes) - 1, 2)):
        monkeypatch.setattr("tacit.remote.audit.MAX_FRAME_BYTES", limit)
        with pytest.raises(PlanRefusedError, match="over the limit") as caught:
            checked(plan)
        assert len(caught.value.findings) == count


def test_the_size_of_an_answer_is_told(bundles: tuple[bytes, bytes]) -> None:
    """A limit that is twice as large as an answer would let a provider send twice as much."""
    for bundle in bundles:
        compiled = Compiled.from_bytes(bundle)
        owner, provider = Owner(compiled.public), Provider(compiled)
        provider.load_keys(owner.evaluation_keys())
        x = np.tile(compiled.public.region.mean, (compiled.public.batch, 1))
        made = len(provider.run(owner.encrypt(x)))
        assert made < largest_response(compiled.public) < 1.1 * made + 2 * SPARE_BYTES


def test_the_size_of_a_request_is_told(bundles: tuple[bytes, bytes]) -> None:
    for bundle in bundles:
        plan = Compiled.from_bytes(bundle).public
        made = len(Owner(plan).encrypt(np.tile(plan.region.mean, (plan.batch, 1))))
        assert 0.9 * made < plan.request_bytes < 2.1 * made


def test_the_size_of_keys_is_told_exactly(bundles: tuple[bytes, bytes]) -> None:
    for bundle in bundles:
        plan = Compiled.from_bytes(bundle).public
        made = len(Owner(plan).evaluation_keys())
        assert abs(made - plan.evaluation_key_bytes) < 400 + 48 * (len(plan.rotations) + 2)


def test_names_from_the_provider_are_cut(plan: PublicPlan) -> None:
    with pytest.raises(PlanRefusedError) as caught:
        checked(seen_by(plan, "\x1b[2J" + "x" * 1000, "provider"))
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_damaged_plans_are_typed_errors(plan: PublicPlan) -> None:
    data = plan.to_bytes()
    for bad in (b"", data[:-1], data + b"\0", b"\x00" * 50):
        with pytest.raises((MalformedMessageError, PeerIncompatibleError)):
            audit(bad, plan_id=plan.plan_id)


def test_once_plans_are_trusted_others_are_not() -> None:
    offered, old = ["a" * 64, "b" * 64], ["c" * 64]
    assert trusted(offered, (), place="x") == tuple(offered)
    assert trusted(offered, ["b" * 64, *old], place="x") == ("b" * 64,)
    with pytest.raises(PlanChangedError, match="cccccccccccc") as caught:
        trusted(offered, old, place="x")
    assert "tacit keys new" in caught.value.hint
