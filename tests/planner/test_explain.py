"""The price list: what it must say, for protections that run and for those that are refused."""

from __future__ import annotations

import json

import cbor2
import numpy as np
import pytest
from sklearn.tree import DecisionTreeRegressor

import tacit
from tacit.backends.base import Cost, Declaration, Sight
from tacit.backends.ckks.backend import CkksBackend
from tacit.backends.clear import ClearBackend
from tacit.errors import DataError, InternalError, NoAdmissiblePlanError, PrecisionError, UnsupportedOpError
from tacit.ir.builder import GraphBuilder
from tacit.planner.choose import choose, survey
from tacit.planner.cost import format_bytes, format_seconds, rank
from tacit.planner.visibility import SUBJECTS, check_visibility
from tests.backends.dense import dense, samples

X = samples(60, 8)


def declared(seconds: float, samples: int, sights: tuple[Sight, ...] | None = None) -> Declaration:
    every = tuple(Sight(what, ("owner",)) for what in SUBJECTS)
    return Declaration(
        protection="test",
        variant="",
        cost=Cost(samples=samples, seconds=seconds),
        error_bound=0.0,
        sights=every if sights is None else sights,
        assumptions=(),
    )


class Fixed:
    """A candidate with a declaration only."""

    def __init__(self, declaration: Declaration) -> None:
        self.declaration = declaration

    def compile(self) -> None:
        return None


def test_explain_says_everything() -> None:
    text = str(tacit.explain(dense((8, 3), last="Softmax"), calibration=X))
    for needed in (
        "sees inputs",
        "sees model weights",
        "owner and provider",
        "bytes up",
        "keys, once",
        "error promised",
    ):
        assert needed in text
    for assumption in ("circular security", "semi-honest", "IND-CPA", "no circuit privacy", "ia.cr/2024/463"):
        assert assumption in text
    assert "Softmax" in text, "what the owner computes itself, and so sees the input of"
    assert max(map(len, text.splitlines())) <= 110
    assert text.isprintable() or "\n" in text


def test_explain_is_plain_data() -> None:
    found = json.loads(json.dumps(tacit.explain(dense((8, 3)), calibration=X).to_dict()))
    assert [plan["protection"] for plan in found["plans"]] == ["clear", "ckks", "mpc"]
    ckks = found["plans"][1]
    assert ckks["sees"]["inputs"]["who"] == ["owner"]
    assert ckks["sees"]["model weights"]["who"] == ["provider"]
    assert (
        min(
            ckks[k] for k in ("seconds", "bytes_up", "bytes_down", "key_bytes", "memory_bytes", "error_bound")
        )
        > 0
    )
    assert found["refusals"] == []


def test_predicted_bytes_are_those_of_the_messages() -> None:
    for batch in (1, 1000):
        private = tacit.protect(dense((8, 5, 3)), calibration=X, batch=batch)
        cost, owner = private.plan.declaration.cost, private.owner
        request = owner.encrypt(np.resize(X, (cost.samples, 8)))
        assert cost.bytes_up == len(request)
        assert cost.bytes_down == len(private.provider.run(request))
        assert cost.key_bytes == owner.key_bytes


def test_refusals_say_why() -> None:
    without = tacit.explain(dense((8, 3)))
    assert [plan.protection for plan in without.plans] == ["clear"]
    assert "calibration" in without.refusals[0].reason
    assert without.refusals[0].hint in str(without).replace("\n", " ") or "calibration=" in str(without)
    builder = GraphBuilder("max")
    x = builder.input("x", (None, 8))
    y = builder.node(
        "ReduceMax", builder.node("MatMul", x, builder.constant(np.eye(8))), axes=(1,), keepdims=1, name="top"
    )
    z = builder.node("MatMul", y, builder.constant(np.ones((1, 1)) * 2))
    refused = tacit.explain(builder.finish([z]), calibration=X).refusals[0]
    assert "top" in refused.reason
    assert refused.hint


def test_one_protection_raises_its_own_error() -> None:
    with pytest.raises(DataError):
        survey([CkksBackend()], dense((8, 3)), None).of("ckks")
    with pytest.raises(PrecisionError) as caught:
        tacit.protect(dense((8, 6, 3), "Relu"), calibration=X, max_error=1e-9)
    assert caught.value.hint
    found = survey([ClearBackend()], dense((8, 3)), None)
    with pytest.raises(NoAdmissiblePlanError):
        found.of("ckks")
    assert not issubclass(UnsupportedOpError, NoAdmissiblePlanError)


def test_a_model_that_hardly_depends_on_its_input_is_refused() -> None:
    """All its weights would round to nothing, and the provider would send what it holds in the clear."""
    builder = GraphBuilder("flat")
    product = builder.node("MatMul", builder.input("x", (None, 8)), builder.constant(np.ones((8, 1))))
    graph = builder.finish([builder.node("Add", product, builder.constant(np.ones(1)))])
    with pytest.raises(NoAdmissiblePlanError, match="differ by less") as caught:
        tacit.protect(graph, calibration=X * 1e-200)
    assert caught.value.hint


def test_scores_far_from_zero_are_refused_with_a_way_out() -> None:
    regressor = DecisionTreeRegressor(max_depth=2).fit(X, 1e9 + X[:, 0] * 100)
    with pytest.raises(PrecisionError, match="may move a score") as caught:
        tacit.protect(regressor, calibration=X)
    assert "targets" in caught.value.hint


def test_the_cheapest_for_the_batch_is_chosen() -> None:
    single, many = Fixed(declared(1.0, 1)), Fixed(declared(10.0, 100))
    assert choose([single, many], 1) is single
    assert choose([single, many], 50) is many
    assert rank(many.declaration.cost, 101) == 20.0


def test_packing_follows_the_batch() -> None:
    graph = dense((8, 3))
    assert "sample a ciphertext" in tacit.protect(graph, calibration=X, batch=1).plan.declaration.variant
    assert "sample a slot" in tacit.protect(graph, calibration=X, batch=3000).plan.declaration.variant


def test_declarations_must_place_every_subject() -> None:
    check_visibility(declared(1.0, 1))
    with pytest.raises(InternalError):
        check_visibility(declared(1.0, 1, sights=()))
    with pytest.raises(InternalError):
        check_visibility(declared(1.0, 1, sights=tuple(Sight(what, ("stranger",)) for what in SUBJECTS)))


def test_amounts_are_readable() -> None:
    assert [format_seconds(s) for s in (0.0, 0.0042, 12.0, 3e-6, 2e-9)] == [
        "0",
        "4.2 ms",
        "12 s",
        "3 us",
        "2 ns",
    ]
    assert [format_bytes(b) for b in (0, 999, 157_000, 12_500_000)] == ["0 B", "999 B", "157 kB", "12.5 MB"]


def test_plans_are_records() -> None:
    private = tacit.protect(dense((8, 3)), calibration=X)
    record = cbor2.loads(private.plan.to_bytes())
    assert record["plan_id"] == private.owner.plan.plan_id == private.plan.plan_id
    assert record["error_bound"] == private.plan.error_bound
    assert private.plan.plan_id[:12] in str(private.plan)
