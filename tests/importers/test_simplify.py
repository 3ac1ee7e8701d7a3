"""Rewrites of exported classifiers keep the answer, and are made only where they hold."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from tacit.importers import load
from tacit.importers.simplify import simplify
from tacit.ir import Graph, GraphBuilder, interpret
from tests.importers.fitted import DATA, fit

W = np.array([[-1.0, 1.0], [2.0, -2.0], [0.5, -0.5]])
B = np.array([0.25, -0.25])
X = np.random.default_rng(3).normal(size=(50, 3)) * 3.0


def _pair(weights: Any = W, bias: Any = B, *, norm: bool = True) -> Graph:
    """Sigmoid of two scores over the sum of their absolute values, as `skl2onnx` writes it in double."""
    builder = GraphBuilder("pair")
    product = builder.node("MatMul", builder.input("x", (None, 3)), builder.constant(weights))
    raw = builder.node("Add", product, builder.constant(bias))
    chances = builder.node("Sigmoid", raw)
    total = builder.node("ReduceSum", builder.node("Abs", chances), axes=(1,), keepdims=1)
    result = builder.node("Div", chances, total, output="p") if norm else chances
    label = builder.node("ArgMax", raw, axis=1, keepdims=0, output="label")
    return builder.finish([result, label], roles={"scores": result, "label": label})


def _ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def _same(before: Graph, after: Graph) -> None:
    want, got = interpret(before, X), interpret(after, X)
    assert want.keys() == got.keys()
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=0, atol=1e-15)


def test_opposite_scores_become_one() -> None:
    graph = simplify(_pair())
    assert _ops(graph) == ["MatMul", "Add", "Mul", "Concat", "Sigmoid", "Sub", "Concat", "ArgMax"]
    assert dict(graph.roles) == {"probabilities": "p", "label": "label"}
    assert {graph.constants[n].item() for n in graph.public_constants} == {-1.0, 1.0}
    _same(_pair(), graph)


@pytest.mark.parametrize(
    ("weights", "bias"),
    [(W + 1e-9, B), (W, B + 1e-9), (np.abs(W), np.abs(B))],
    ids=["weights", "bias", "positive"],
)
def test_scores_that_are_not_opposite_stay(weights: Any, bias: Any) -> None:
    before = _pair(weights, bias)
    after = simplify(before)
    assert [node.op for node in after.nodes][:3] == ["MatMul", "Add", "Sigmoid"]
    assert "Div" in _ops(after) and "Abs" not in _ops(after)
    assert dict(after.roles) == {"probabilities": "p", "label": "label"}
    _same(before, after)


def test_scores_of_three_dimensions_stay() -> None:
    builder = GraphBuilder("g")
    product = builder.node("MatMul", builder.input("x", (None, 4, 3)), builder.constant(W))
    y = builder.node("Sigmoid", builder.node("Add", product, builder.constant(B)))
    graph = builder.finish([y])
    assert simplify(graph).digest() == graph.digest()


def test_a_part_of_what_was_joined() -> None:
    builder = GraphBuilder("g")
    x = builder.input("x", (None, 3))
    a, b = builder.node("Exp", x), builder.node("Tanh", x)
    joined = builder.node("Concat", a, b, axis=1)
    part = builder.node("Slice", joined, axes=(1,), starts=(3,), ends=(6,), steps=(1,), output="part")
    half = builder.node("Slice", joined, axes=(1,), starts=(2,), ends=(4,), steps=(1,), output="half")
    graph = builder.finish([part, half])
    after = simplify(graph)
    assert graph.outputs == after.outputs
    assert {node.op for node in after.nodes if node.output == "part"} == {"Tanh"}
    _same(graph, after)


def test_an_input_that_is_an_output_keeps_its_name() -> None:
    builder = GraphBuilder("g")
    x = builder.input("x", (None, 3))
    joined = builder.node("Concat", x, builder.node("Exp", x), axis=1)
    part = builder.node("Slice", joined, axes=(1,), starts=(0,), ends=(3,), steps=(1,), output="part")
    graph = builder.finish([part, joined])
    after = simplify(graph)
    assert after.outputs == graph.outputs
    _same(graph, after)


def test_a_constant_of_the_model_is_not_taken_for_a_public_one() -> None:
    """1 - p written with a weight that happens to be 1 is not recognised by the rewrites, only by the importer."""
    builder = GraphBuilder("g")
    p = builder.node("Sigmoid", builder.node("Slice", builder.input("x", (None, 3)), **_first()))
    other = builder.node("Sub", builder.constant([1.0]), p)
    y = builder.node("Concat", other, p, axis=1)
    graph = builder.finish([y], roles={"scores": y})
    assert dict(simplify(graph).roles) == {"scores": y}


def _first() -> Any:
    return {"axes": (1,), "starts": (0,), "ends": (1,), "steps": (1,)}


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("zipmap", [False, True])
def test_exports_of_logistic_regression_have_one_secret_score(kind: Any, zipmap: bool) -> None:
    x, y = DATA["cancer"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = LogisticRegression(max_iter=50).fit(x, y)
        proto = to_onnx(estimator, x[:1].astype(kind), options={id(estimator): {"zipmap": zipmap}})
    graph = load(proto)
    assert graph.values[next(n.output for n in graph.nodes if n.op == "MatMul")].shape == (None, 1)
    secret = graph.constants.keys() - graph.public_constants
    assert [n.op for n in graph.nodes if secret & set(n.inputs)] == ["MatMul", "Add"]
    assert "Div" not in _ops(graph) and "probabilities" in graph.roles
    got = interpret(graph, x)[graph.primary]
    np.testing.assert_allclose(got, estimator.predict_proba(x), atol=1e-3 if kind is np.float32 else 1e-12)


def test_estimators_need_no_rewriting() -> None:
    for name in ("logistic, two classes", "logistic, softmax", "mlp, relu", "linear svm, two classes", "pca"):
        graph = load(fit(name)[0])
        assert simplify(graph).digest() == graph.digest()
