"""Trees as matrices: exact at thresholds, in the documented shape, and refused when they are no trees."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeClassifier

from tacit.errors import ModelError, UnsupportedOpError
from tacit.importers import load, trees
from tacit.importers.trees import Tree, float32_thresholds
from tacit.ir import Graph, interpret
from tests.importers.fitted import fit
from tests.importers.onnx_models import model
from tests.importers.test_onnx_runtime import _compare, _session


def test_thresholds_decide_as_rounding_to_float32_does() -> None:
    random = np.random.default_rng(0)
    thresholds = np.concatenate(
        [random.normal(size=400) * 10.0 ** random.integers(-6, 6, size=400), [0.0, -1.0, 1.0]]
    )
    thresholds = np.concatenate([thresholds, thresholds.astype(np.float32).astype(np.float64)])
    singles = thresholds.astype(np.float32)
    steps = [np.nextafter(singles, np.float32(side)).astype(np.float64) for side in (-np.inf, np.inf)]
    near = [singles.astype(np.float64), *steps, *((singles + step) / 2.0 for step in steps), thresholds]
    near += [np.nextafter(array, side) for array in near for side in (-np.inf, np.inf)]
    moved = float32_thresholds(thresholds)
    for data in near:
        np.testing.assert_array_equal(data.astype(np.float32) <= thresholds, data <= moved)


@pytest.mark.parametrize("name", ["tree", "forest", "boosting", "forest, digits"])
def test_data_at_the_thresholds(name: str) -> None:
    """Each feature set to a threshold of the model, to its neighbours, and to the middle between two float32."""
    estimator, x = fit(name)
    graph = load(estimator)
    features = next(a for n, a in graph.constants.items() if n.startswith("features")).reshape(-1)
    limits = next(a for n, a in graph.constants.items() if n.startswith("thresholds")).reshape(-1)
    chosen = np.random.default_rng(1).choice(len(features), size=60)
    data = np.repeat(x[:3], len(chosen), axis=0)
    for row, index in zip(range(len(data)), np.tile(chosen, 3), strict=True):
        if abs(limits[index]) < 1e30:
            single = np.float64(np.float32(limits[index]))
            data[row, features[index]] = (limits[index], np.nextafter(limits[index], np.inf), single)[row % 3]
    np.testing.assert_array_equal(interpret(graph, data)[graph.label or ""], estimator.predict(data))


def test_the_documented_shape() -> None:
    graph = load(fit("forest")[0])
    nodes = [node for node in graph.nodes if node.name.endswith("/trees")]
    assert [node.op for node in nodes] == [
        *("Gather", "Less", "Cast", "Reshape", "MatMul", "Equal", "Cast", "MatMul", "ReduceSum")
    ]
    arrays = {name.split(".")[0]: array for name, array in graph.constants.items()}
    count, inner = arrays["features"].shape
    leaves = arrays["rights"].shape[2]
    assert count == 20 and arrays["thresholds"].shape == (count, inner)
    assert arrays["paths"].shape == (count, inner, leaves) and set(np.unique(arrays["paths"])) == {
        -1.0,
        0.0,
        1.0,
    }
    assert arrays["leaves"].shape == (count, leaves, 2)
    trace = interpret(graph, load_breast_cancer().data[:50], trace=True)
    np.testing.assert_array_equal(trace[nodes[6].output].sum(axis=(2, 3)), 1.0)
    assert not graph.public_constants & {name for node in nodes for name in node.inputs}


def test_forests_with_all_their_leaves() -> None:
    x, y = load_digits(return_X_y=True)
    estimator = RandomForestClassifier(30, random_state=0).fit(x[:900], y[:900])
    graph = load(estimator)
    answers = interpret(graph, x[900:])
    np.testing.assert_allclose(answers[graph.primary], estimator.predict_proba(x[900:]), atol=1e-12)
    np.testing.assert_array_equal(answers[graph.label or ""], estimator.predict(x[900:]))


def test_what_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "MAX_PATHS", 1000)
    with pytest.raises(ModelError, match="too large") as caught:
        load(fit("forest")[0])
    assert "max_depth" in caught.value.hint


def test_boosting_from_another_model_is_refused() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    estimator = GradientBoostingRegressor(init=LinearRegression(), n_estimators=2).fit(x, y)
    with pytest.raises(UnsupportedOpError, match="LinearRegression"):
        load(estimator)


def test_trees_of_several_labels_are_refused() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    with pytest.raises(UnsupportedOpError, match="several labels"):
        load(DecisionTreeClassifier(max_depth=2).fit(x, np.c_[y, 1 - y]))


# one tree: x0 ? (x1 ? leaf 3 : leaf 4) : leaf 2
_TREE: dict[str, Any] = {
    "nodes_treeids": [0, 0, 0, 0, 0],
    "nodes_nodeids": [0, 1, 2, 3, 4],
    "nodes_featureids": [0, 1, 0, 0, 0],
    "nodes_values": [0.5, -0.25, 0.0, 0.0, 0.0],
    "nodes_modes": ["BRANCH_LEQ", "BRANCH_LEQ", "LEAF", "LEAF", "LEAF"],
    "nodes_truenodeids": [1, 3, 0, 0, 0],
    "nodes_falsenodeids": [2, 4, 0, 0, 0],
}
_TARGETS: dict[str, Any] = {
    "target_treeids": [0, 0, 0],
    "target_nodeids": [2, 3, 4],
    "target_ids": [0, 0, 0],
    "target_weights": [1.0, -2.0, 4.5],
}


def _ensemble(
    op: str = "TreeEnsembleRegressor", kind: int = TensorProto.FLOAT, **changes: Any
) -> onnx.ModelProto:
    attributes = {**_TREE, **_TARGETS, "n_targets": 1, **changes}
    attributes = {key: value for key, value in attributes.items() if value is not None}
    nodes = [helper.make_node(op, ["x"], ["y"], name="the-trees", domain="ai.onnx.ml", **attributes)]
    return model(nodes, [("x", ["n", 2])], ["y"], kind=kind, ml=3)


def _data() -> Any:
    edges = np.array([-1.0, -0.25, 0.0, 0.5, 1.0], dtype=np.float32)
    edges = np.concatenate([edges, np.nextafter(edges, np.float32(9)), np.nextafter(edges, np.float32(-9))])
    return np.stack(np.meshgrid(edges, edges), axis=-1).reshape(-1, 2)


@pytest.mark.parametrize("mode", ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT"])
@pytest.mark.parametrize(
    "more", [{}, {"base_values": [0.5]}, {"aggregate_function": "AVERAGE"}], ids=["sum", "base", "average"]
)
def test_each_comparison_as_onnx_runtime(mode: str, more: dict[str, Any]) -> None:
    proto = _ensemble(nodes_modes=[mode, mode, "LEAF", "LEAF", "LEAF"], **more)
    assert _compare(proto, {"x": _data()}) < 1e-12


def test_double_data_are_not_rounded() -> None:
    """Thresholds and data of float64 are compared as they are."""
    values = helper.make_tensor("v", TensorProto.DOUBLE, [5], [0.1, -0.25, 0.0, 0.0, 0.0])
    weights = helper.make_tensor("w", TensorProto.DOUBLE, [3], [1.0, -2.0, 4.5])
    proto = _ensemble(
        kind=TensorProto.DOUBLE,
        nodes_values=None,
        target_weights=None,
        nodes_values_as_tensor=values,
        target_weights_as_tensor=weights,
    )
    data = np.array([[0.1, 0.0], [np.nextafter(0.1, 1.0), 0.0], [np.nextafter(0.1, 0.0), 0.0]])
    got = interpret(load(proto), data)["y"]
    np.testing.assert_array_equal(got, [[4.5], [1.0], [4.5]])


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC"])
@pytest.mark.parametrize("weights", [[0.9, 0.2, 0.6], [0.9, -0.2, -0.6]], ids=["shares", "scores"])
@pytest.mark.parametrize("base", [[], [0.05]], ids=["no base", "base"])
def test_two_classes_with_one_score_as_onnx_runtime(
    transform: str, weights: list[float], base: list[float]
) -> None:
    attributes = {**_TREE, **{key.replace("target", "class"): value for key, value in _TARGETS.items()}}
    attributes |= {"class_weights": weights, "classlabels_int64s": [3, 8], "post_transform": transform}
    if base:
        attributes["base_values"] = base
    nodes = [helper.make_node("TreeEnsembleClassifier", ["x"], ["l", "y"], domain="ai.onnx.ml", **attributes)]
    kinds = [TensorProto.INT64, TensorProto.FLOAT]
    _compare(model(nodes, [("x", ["n", 2])], ["l", "y"], kinds=kinds, ml=3), {"x": _data()})


_NEW: dict[str, Any] = {
    "nodes_featureids": [0, 1],
    "nodes_splits": helper.make_tensor("s", TensorProto.FLOAT, [2], [0.5, -0.25]),
    "nodes_modes": helper.make_tensor("m", TensorProto.UINT8, [2], [0, 0]),
    "nodes_truenodeids": [1, 1],
    "nodes_trueleafs": [0, 1],
    "nodes_falsenodeids": [0, 2],
    "nodes_falseleafs": [1, 1],
    "leaf_targetids": [0, 0, 0],
    "leaf_weights": helper.make_tensor("w", TensorProto.FLOAT, [3], [1.0, -2.0, 4.5]),
    "tree_roots": [0],
    "n_targets": 1,
}


def _new(**changes: Any) -> onnx.ModelProto:
    nodes = [helper.make_node("TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", **{**_NEW, **changes})]
    return model(nodes, [("x", ["n", 2])], ["y"], ml=5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tree_roots": [0, 1], "nodes_modes": helper.make_tensor("m", TensorProto.UINT8, [2], [1, 3])},
        {"aggregate_function": 0, "tree_roots": [0, 0]},
        {"leaf_targetids": [0, 1, 1], "n_targets": 2},
    ],
    ids=["sum", "two trees", "average", "two targets"],
)
def test_the_newest_operator_as_onnx_runtime(changes: dict[str, Any]) -> None:
    _compare(_new(**changes), {"x": _data()})


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"tree_roots": [7]}, "root"),
        ({"nodes_truenodeids": [0, 1]}, "two parents"),
        ({"nodes_falsenodeids": [9, 2]}, "no node"),
        ({"nodes_featureids": [0, 5]}, "not among"),
        ({"leaf_targetids": [0, 0, 3]}, "targets"),
        ({"leaf_targetids": [0]}, "3 entries"),
        ({"nodes_modes": helper.make_tensor("m", TensorProto.UINT8, [2], [0, 4])}, "BRANCH_EQ"),
        ({"nodes_modes": helper.make_tensor("m", TensorProto.UINT8, [2], [0, 9])}, "modes"),
        ({"post_transform": 4}, "post_transform"),
        ({"aggregate_function": 3}, "aggregate"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_the_newest_operator_when_it_is_broken(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(ModelError, match=part):
        load(_new(**changes))


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "a cycle": ({"nodes_truenodeids": [1, 0, 0, 0, 0]}, "does not reach"),
    "a cycle below the root": ({"nodes_truenodeids": [1, 1, 0, 0, 0]}, "one root|two parents|does not reach"),
    "two roots": ({"nodes_truenodeids": [1, 4, 0, 0, 0]}, "one root"),
    "two parents": ({"nodes_falsenodeids": [2, 3, 0, 0, 0]}, "one root|two parents"),
    "a child that does not exist": ({"nodes_falsenodeids": [2, 77, 0, 0, 0]}, "one root|no node"),
    "a feature that does not exist": ({"nodes_featureids": [0, 2, 0, 0, 0]}, "not among the 2"),
    "a negative feature": ({"nodes_featureids": [-1, 1, 0, 0, 0]}, "not among the 2"),
    "a node twice": ({"nodes_nodeids": [0, 1, 2, 3, 3]}, "twice"),
    "lists of other lengths": ({"nodes_featureids": [0, 1, 0]}, "5 entries"),
    "values of another length": ({"nodes_values": [0.5]}, "5 entries"),
    "no nodes": (dict.fromkeys(_TREE), "missing"),
    "a threshold that is NaN": ({"nodes_values": [float("nan"), 0.0, 0.0, 0.0, 0.0]}, "NaN"),
    "a leaf that is NaN": ({"target_weights": [1.0, float("nan"), 0.0]}, "NaN"),
    "weights of an inner node": ({"target_nodeids": [2, 1, 4]}, "no leaf"),
    "weights of nobody": ({"target_nodeids": [2, 3, 9]}, "no leaf"),
    "a target out of range": ({"target_ids": [0, 1, 0]}, "must be in"),
    "too many targets": ({"n_targets": 1 << 40}, "out of range"),
    "a base of a wrong length": ({"base_values": [1.0, 2.0, 3.0]}, "base_values"),
    "equality": ({"nodes_modes": ["BRANCH_EQ", "BRANCH_LEQ", "LEAF", "LEAF", "LEAF"]}, "BRANCH_EQ"),
    "an unknown mode": ({"nodes_modes": ["JUMP", "BRANCH_LEQ", "LEAF", "LEAF", "LEAF"]}, "JUMP"),
    "another aggregate": ({"aggregate_function": "MAX"}, "MAX"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_tree_is_refused(name: str) -> None:
    changes, part = BROKEN[name]
    with pytest.raises(ModelError, match=part):
        load(_ensemble(**changes))


def _chain(depth: int) -> Graph:
    count = 2 * depth + 1
    inner = [2 * i for i in range(depth)]
    return load(
        _ensemble(
            nodes_treeids=[0] * count,
            nodes_nodeids=list(range(count)),
            nodes_featureids=[0] * count,
            nodes_values=[float(i) for i in range(count)],
            nodes_modes=["BRANCH_LEQ" if i in set(inner) else "LEAF" for i in range(count)],
            nodes_truenodeids=[i + 1 if i in set(inner) else 0 for i in range(count)],
            nodes_falsenodeids=[i + 2 if i in set(inner) else 0 for i in range(count)],
            target_treeids=[0],
            target_nodeids=[1],
            target_ids=[0],
            target_weights=[1.0],
        )
    )


def test_deep_trees_do_not_exhaust_the_stack() -> None:
    graph = _chain(1500)
    np.testing.assert_array_equal(interpret(graph, np.array([[-1.0, 0.0], [7.0, 0.0]]))["y"], [[1.0], [0.0]])


def test_a_tree_that_is_one_leaf() -> None:
    tree = Tree(*(np.array([value]) for value in (0, 0.0, -1, -1)), np.array([[2.5]]))  # type: ignore[arg-type]
    from tacit.importers.lowering import Lowering
    from tacit.ir import GraphBuilder

    ctx = Lowering(GraphBuilder("leaf"))
    result = trees.ensemble(ctx, ctx.input("x", (None, 3)), [tree])
    graph = ctx.builder.finish([result.name])
    np.testing.assert_array_equal(interpret(graph, np.ones((4, 3)))[result.name], np.full((4, 1), 2.5))


def test_onnx_runtime_is_the_judge_of_float64_data_too() -> None:
    """ONNX Runtime rounds what it is given to float32 first; the moved thresholds decide as it does."""
    proto, random = _ensemble(), np.random.default_rng(2)
    data = np.array([0.5, -0.25])[random.integers(0, 2, size=(500, 2))] * (
        1.0 + random.normal(size=(500, 2)) * 3e-8
    )
    (want,) = _session(proto).run(None, {"x": data.astype(np.float32)})
    np.testing.assert_array_equal(interpret(load(proto), data)["y"], want)
