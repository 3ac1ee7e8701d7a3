"""Graphs of ONNX models answer as ONNX Runtime does, to the rounding of its float32."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from tacit.errors import ModelError, UnsupportedOpError
from tacit.importers import load
from tacit.ir import interpret
from tests.importers.fitted import FITTED, fit
from tests.importers.onnx_models import cnn, mlp, model, residual, tensor, transformer_block

RELATIVE = 1e-5
"""Of the largest number of the answer: ONNX Runtime computes in float32 (24 bits), sums of up to 784 products."""

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"


def _session(proto: onnx.ModelProto | Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    source = str(proto) if isinstance(proto, Path) else proto.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _compare(proto: onnx.ModelProto | Path, data: dict[str, Any], relative: float = RELATIVE) -> float:
    """The largest difference over the outputs, each held against ``relative``; labels must be equal."""
    graph = load(proto)
    wanted = _session(proto).run(None, data)
    answers = list(interpret(graph, data).values())
    assert len(answers) == len(wanted)
    worst = 0.0
    for got, want in zip(answers, wanted, strict=True):
        if isinstance(want, list):
            want = np.array([list(row.values()) for row in want])
        expected = np.asarray(want)
        assert got.shape == expected.shape
        if got.dtype.kind == "f":
            scale = max(1.0, float(np.max(np.abs(expected))))
            worst = max(worst, float(np.max(np.abs(got - expected))) / scale)
        else:
            np.testing.assert_array_equal(got.astype(np.str_), expected.astype(np.str_))
    assert worst <= relative
    return worst


HAND_MADE: dict[str, tuple[Callable[[], onnx.ModelProto], tuple[int, ...]]] = {
    **{
        f"mlp {op}": ((lambda op=op, more=more: mlp(op, opset=22, **more)), (5, 1, 28, 28))
        for op, more in {
            "Relu": {},
            "Sigmoid": {},
            "Tanh": {},
            "LeakyRelu": {"alpha": 0.2},
            "Elu": {"alpha": 0.7},
            "Selu": {},
            "Softplus": {},
            "Softsign": {},
            "HardSwish": {},
            "HardSigmoid": {},
            "Gelu": {},
            "Mish": {},
            "Erf": {},
            "Abs": {},
            "Neg": {},
            "Exp": {},
        }.items()
    },
    "cnn": (cnn, (4, 3, 16, 16)),
    "cnn of opset 11": (lambda: cnn(opset=11), (4, 3, 16, 16)),
    "residual": (residual, (3, 4, 8, 8)),
    "transformer block": (transformer_block, (3, 6, 8)),
}


@pytest.mark.parametrize("name", HAND_MADE)
def test_hand_made_models(name: str) -> None:
    make, shape = HAND_MADE[name]
    data = np.random.default_rng(5).normal(size=shape).astype(np.float32)
    _compare(make(), {"x": data})


def _exported(estimator: Any, x: Any) -> onnx.ModelProto:
    options = {LinearSVC: {"nocl": False}} if "LinearSVC" in repr(estimator) else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return to_onnx(estimator, x[:1].astype(np.float32), options=options)


EXPORTED_AND_REFUSED = {
    "mlp regressor, two targets": "mixes the batch",  # skl2onnx reshapes two targets to one column
    "power transformer": "infinity is replaced",
    "box-cox": "infinity is replaced",
    "qda": "mix samples",  # skl2onnx joins along the batch
    "qda, two classes": "mix samples",
}


@pytest.mark.parametrize(
    "name", ["logistic, two classes", "logistic, softmax", "mlp, relu", "mlp, tanh", "lda, two classes"]
)
def test_the_last_part_of_exported_classifiers_is_public(name: str) -> None:
    """After the last weights come only operators whose constants are nobody's secret, so the owner can run them."""
    estimator, x = fit(name)
    for graph in (load(estimator), load(_exported(estimator, x))):
        secret = graph.constants.keys() - graph.public_constants
        last = max(i for i, node in enumerate(graph.nodes) if secret & set(node.inputs))
        tail = {node.op for node in graph.nodes[last + 1 :]}
        assert {"ArgMax", "Gather"} <= tail and tail & {"Sigmoid", "Softmax"}


@pytest.mark.parametrize("name", FITTED)
def test_exported_models(name: str) -> None:
    """What skl2onnx writes in float32 is read like any ONNX file."""
    estimator, x = fit(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            proto = _exported(estimator, x)
        except Exception as error:
            pytest.skip(f"skl2onnx has no converter: {type(error).__name__}")
    x = x.astype(np.float32)[::5]
    if name in EXPORTED_AND_REFUSED:
        with pytest.raises(ModelError, match=EXPORTED_AND_REFUSED[name]):
            load(proto)
        return
    _compare(proto, {proto.graph.input[0].name: x})


def test_opened_batch() -> None:
    """A first dimension that the file fixes to 1 is opened where nothing depends on it."""
    graph = load(cnn(batch=1))
    assert graph.inputs[0].shape == (None, 3, 16, 16)
    data = np.random.default_rng(6).normal(size=(3, 3, 16, 16)).astype(np.float32)
    session = _session(cnn(batch=1))
    wanted = np.concatenate([session.run(None, {"x": data[i : i + 1]})[0] for i in range(3)])
    np.testing.assert_allclose(interpret(graph, data)[graph.primary], wanted, atol=1e-5)


def test_a_batch_that_is_depended_on_stays_closed() -> None:
    nodes = [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)]
    proto = model(nodes, [("x", [1, 4])], ["y"], [tensor(np.array([0]), "axes")])
    assert load(proto).inputs[0].shape == (1, 4)
    _compare(proto, {"x": np.ones((1, 4), dtype=np.float32)})


ML: dict[str, tuple[list[onnx.NodeProto], list[str], list[int]]] = {}


def _ml(name: str, op: str, outputs: int = 1, **attributes: Any) -> None:
    names = ["label", "scores"][:outputs] if outputs == 2 else ["y"]
    kind = TensorProto.STRING if "classlabels_strings" in attributes else TensorProto.INT64
    kinds = [kind, TensorProto.FLOAT] if outputs == 2 else [TensorProto.FLOAT]
    ML[name] = ([helper.make_node(op, ["x"], names, domain="ai.onnx.ml", **attributes)], names, kinds)


_ml("scaler", "Scaler", offset=[1.0, 2.0, 3.0], scale=[0.5, 2.0, 1.0])
_ml("scaler, one number", "Scaler", offset=[1.0], scale=[0.5])
for _norm in ("L1", "L2", "MAX"):
    _ml(f"normalizer {_norm}", "Normalizer", norm=_norm)
_ml("binarizer", "Binarizer", threshold=0.25)
_ml("regressor", "LinearRegressor", coefficients=[1.0, -2.0, 0.5], intercepts=[0.25])
_ml(
    "two targets",
    "LinearRegressor",
    coefficients=[1.0, -2.0, 0.5, 3.0, 0.0, 1.0],
    intercepts=[0.1, 0.2],
    targets=2,
)
_THREE = {"coefficients": [1.0, -2.0, 0.5, 3.0, 0.0, 1.0, -1.0, 1.0, 0.0], "intercepts": [0.1, 0.2, 0.3]}
_TWO = {"coefficients": [-1.0, 2.0, -0.5, 1.0, -2.0, 0.5], "intercepts": [-0.3, 0.3]}
for _transform in ("NONE", "LOGISTIC", "SOFTMAX"):
    _ml(
        f"three classes {_transform}",
        "LinearClassifier",
        2,
        classlabels_ints=[2, 5, 7],
        post_transform=_transform,
        **_THREE,
    )
    _ml(
        f"two classes {_transform}",
        "LinearClassifier",
        2,
        classlabels_strings=["no", "yes"],
        post_transform=_transform,
        **_TWO,
    )
for _transform in ("NONE", "LOGISTIC"):
    _ml(
        f"one row {_transform}",
        "LinearClassifier",
        2,
        classlabels_ints=[0, 1],
        post_transform=_transform,
        coefficients=[1.0, -2.0, 0.5],
        intercepts=[0.3],
    )
_ml(
    "svm regressor",
    "SVMRegressor",
    kernel_type="LINEAR",
    coefficients=[1.0, -0.5],
    support_vectors=[1.0, 0.0, 1.0, 0.5, 1.0, -1.0],
    rho=[0.2],
    kernel_params=[0.0, 0.0, 3.0],
    n_supports=2,
)
for _kernel in ("LINEAR", "POLY", "RBF", "SIGMOID"):
    _ml(
        f"svm regressor {_kernel}",
        "SVMRegressor",
        kernel_type=_kernel,
        coefficients=[1.0, -0.5],
        support_vectors=[1.0, 0.0, 1.0, 0.5, 1.0, -1.0],
        rho=[0.2],
        kernel_params=[0.3, 0.1, 2.0],
        n_supports=2,
    )
    _ml(
        f"svm classifier {_kernel}",
        "SVMClassifier",
        2,
        kernel_type=_kernel,
        coefficients=[0.5, 1.0, -1.0, -0.5, 0.2, 1.0, -0.7, 0.4],
        support_vectors=[1.0, 0.0, 1.0, 0.5, 1.0, -1.0, 0.1, 0.2, 0.3, -1.0, 0.5, 0.0],
        vectors_per_class=[1, 2, 1],
        classlabels_ints=[3, 5, 8],
        rho=[0.2, -0.1, 0.05],
        kernel_params=[0.3, 0.1, 2.0],
    )
_ml(
    "svm classifier without vectors",
    "SVMClassifier",
    2,
    kernel_type="LINEAR",
    coefficients=[1.0, -2.0, 0.5, 3.0, 0.0, 1.0, -1.0, 1.0, 0.0],
    classlabels_ints=[3, 5, 8],
    rho=[0.2],
    kernel_params=[0.0, 0.0, 0.0],
)
_ml("one-hot", "OneHotEncoder", cats_int64s=[0, 1, 2])
_ml("imputer", "Imputer", imputed_value_floats=[9.0, 8.0, 7.0], replaced_value_float=0.0)


@pytest.mark.parametrize("name", ML)
def test_operators_of_ai_onnx_ml(name: str) -> None:
    nodes, outputs, kinds = ML[name]
    random = np.random.default_rng(7)
    data = random.normal(size=(40, 3)).astype(np.float32)
    if name in ("one-hot", "imputer"):
        data = random.integers(0, 3, size=(40, 3)).astype(np.float32)
    _compare(model(nodes, [("x", ["n", 3])], outputs, kinds=kinds, ml=1), {"x": data})


def test_a_table_of_named_columns_becomes_one_input() -> None:
    frame = pd.DataFrame(
        {"age": [31.0, 64.0, 47.0, 58.0], "count": [3, 1, 4, 1], "dose": [0.5, 1.5, -2.0, 1.0]}
    )
    scaler = make_column_transformer((StandardScaler(), ["age", "dose"]), remainder="passthrough")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = make_pipeline(scaler, LogisticRegression()).fit(frame, [0, 1, 0, 1])
        proto = to_onnx(estimator, frame)
    graph = load(proto)
    assert graph.feature_names == ("age", "count", "dose") and graph.inputs[0].shape == (None, 3)
    got = interpret(graph, frame.to_numpy())
    np.testing.assert_array_equal(got[graph.label], estimator.predict(frame))
    np.testing.assert_allclose(got[graph.primary], estimator.predict_proba(frame), atol=1e-5)


def test_svm_classifier_exported() -> None:
    estimator, x = fit("svc, linear kernel")
    proto = _exported(estimator, x)
    assert any(node.op_type == "SVMClassifier" for node in proto.graph.node)
    _compare(proto, {proto.graph.input[0].name: x[::3].astype(np.float32)})


def test_feature_vectorizer_and_zip_map() -> None:
    nodes = [
        helper.make_node("FeatureVectorizer", ["x"], ["v"], domain="ai.onnx.ml", inputdimensions=[3]),
        helper.make_node("ZipMap", ["v"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[4, 5, 6]),
    ]
    proto = model(nodes, [("x", ["n", 3])], ["y"], ml=1)
    graph = load(proto)
    data = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(interpret(graph, data)["y"], data)


@pytest.mark.parametrize(
    ("file", "shape"),
    [
        ("models_mnist/mnist_cntk_lenet.onnx", (3, 1, 28, 28)),
        ("models_cifar10/resnet8_cifar10.onnx", (2, 3, 32, 32)),
    ],
)
def test_published_models(file: str, shape: tuple[int, ...]) -> None:
    path = DATA / file
    if not path.exists():
        pytest.skip(f"the optional data folder has no {file}")
    graph = load(path)
    assert graph.inputs[0].shape == (None, *shape[1:])
    session = _session(path)
    (entry,) = session.get_inputs()
    data = np.random.default_rng(8).normal(size=shape).astype(np.float32)
    wanted = np.concatenate([session.run(None, {entry.name: data[i : i + 1]})[0] for i in range(len(data))])
    got = interpret(graph, data)[graph.primary]
    assert np.max(np.abs(got - wanted)) <= RELATIVE * max(1.0, float(np.max(np.abs(wanted))))


@pytest.mark.parametrize(
    "attributes",
    [{"strides": [2, 3], "output_shape": [11, 13]}, {"strides": [3, 3], "auto_pad": "SAME_UPPER"}],
    ids=["shape", "same"],
)
def test_a_transposed_convolution_beyond_its_kernel_is_refused(attributes: dict[str, Any]) -> None:
    """The reference evaluator of the onnx package and ONNX Runtime answer differently there."""
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], **attributes)
    proto = model([node], [("x", ("batch", 2, 5, 4))], ["y"], [tensor(np.ones((2, 3, 3, 2)), "w")])
    with pytest.raises(UnsupportedOpError, match="more than the kernel reaches") as caught:
        load(proto)
    assert caught.value.opset == 17 and caught.value.hint


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0]),
        helper.make_node("Gemm", ["x", "w"], ["y"], transA=1),
        helper.make_node("Unsqueeze", ["x", "first"], ["y"]),
        helper.make_node("ReduceL2", ["x"], ["y"]),
    ],
    ids=lambda node: node.op_type,
)
def test_valid_models_that_mix_samples_are_not_called_damaged(node: onnx.NodeProto) -> None:
    first = helper.make_tensor("first", TensorProto.INT64, [1], [0])
    proto = model([node], [("x", ("batch", 4))], ["y"], [tensor(np.ones((4, 3)), "w"), first])
    with pytest.raises(ModelError) as caught:
        load(proto)
    assert str(caught.value).startswith(f"node `y` ({node.op_type}, opset 17): ")
    assert "every sample by itself" in caught.value.hint


def test_an_output_that_is_an_input_is_named() -> None:
    proto = model([helper.make_node("Relu", ["x"], ["y"])], [("x", ("batch", 4))], ["x", "y"])
    with pytest.raises(ModelError, match="the output `x` is an input"):
        load(proto)
