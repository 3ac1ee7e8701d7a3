"""What cannot be promised is refused with what to change, before a number is returned."""

from __future__ import annotations

import numpy as np
import pytest

import tacit
from tacit.errors import DataRangeError, DepthError, PlanError, TacitError
from tacit.ir.builder import GraphBuilder
from tacit.ir.graph import Graph
from tests.backends.dense import dense, samples

X = samples(100, 4)


def deep() -> Graph:
    """Twenty layers of tanh: more levels than the largest secure chain has."""
    return dense((4, *(3,) * 20, 2), "Tanh")


def steep() -> Graph:
    """exp of a hidden value that reaches hundreds over the region: no polynomial follows it."""
    builder = GraphBuilder("steep")
    value = builder.node("MatMul", builder.input("x", (None, 4)), builder.constant(np.full((4, 3), 200.0)))
    value = builder.node("Exp", value, name="growth")
    return builder.finish([builder.node("MatMul", value, builder.constant(np.ones((3, 1))))])


def test_a_graph_too_deep_says_so() -> None:
    with pytest.raises(DepthError, match=r"needs [0-9]+ levels") as caught:
        tacit.protect(deep(), calibration=X, max_error=0.1)
    assert "fewer layers" in caught.value.hint


def test_an_interval_too_wide_says_so() -> None:
    with pytest.raises(PlanError) as caught:
        tacit.protect(steep(), calibration=X)
    assert "narrower range" in caught.value.hint


def test_an_error_too_small_says_so() -> None:
    with pytest.raises(PlanError) as caught:
        tacit.protect(dense((4, 3, 2), "Relu"), calibration=X, max_error=1e-9)
    assert "larger" in caught.value.hint


@pytest.mark.parametrize("simulate", [False, True])
def test_a_value_outside_the_interval_is_refused_before_encryption(simulate: bool) -> None:
    x = X[:2].copy()
    x[1, 2] = 7.5
    private = tacit.protect(dense((4, 3, 2), "Sigmoid"), calibration=X, check=0)
    with pytest.raises(DataRangeError, match="feature 2 of sample 1") as caught:
        private.predict(x, simulate=simulate)
    assert "recalibrate" in caught.value.hint
    assert "7.5" not in str(caught.value)


def test_explain_says_why_and_what_to_do() -> None:
    explanation = tacit.explain(steep(), calibration=X)
    refusals = {refusal.protection: refusal for refusal in explanation.refusals}
    assert all(each.reason and each.hint for each in explanation.refusals)
    refusal = refusals["ckks"]
    assert isinstance(refusal.error, TacitError)
    assert "narrower range" in refusal.hint
    assert all(word in str(explanation) for word in refusal.hint.split()[:2])
