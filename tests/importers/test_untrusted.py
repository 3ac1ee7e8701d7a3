"""ONNX files from strangers: damaged, hostile or unsupported ones are refused by typed errors that say what to do."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tacit.errors import ModelError, ShapeError, TacitError, UnsupportedOpError
from tacit.importers import load
from tacit.importers.protobuf import MAX_BYTES
from tests.importers.onnx_models import cnn, mlp, model, tensor


def _single(op: str, constants: list[Any], **attributes: Any) -> onnx.ModelProto:
    """One operator on x (n, 4) and constants."""
    domain = attributes.pop("domain", "")
    shape = attributes.pop("shape", ["n", 4])
    names = [f"c{i}" for i in range(len(constants))]
    weights = [tensor(np.asarray(item), name) for item, name in zip(constants, names, strict=True)]
    nodes = [helper.make_node(op, ["x", *names], ["y"], name="the-node", domain=domain, **attributes)]
    return model(nodes, [("x", shape)], ["y"], weights)


def _changed(change: Callable[[onnx.ModelProto], None]) -> onnx.ModelProto:
    proto = mlp()
    change(proto)
    return proto


def _external(proto: onnx.ModelProto) -> None:
    held = proto.graph.initializer[0]
    held.ClearField("raw_data")
    held.data_location = TensorProto.EXTERNAL
    held.external_data.add(key="location", value="../../../etc/passwd")


def _branch() -> onnx.ModelProto:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])],
        "inner",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    nodes = [helper.make_node("If", ["c"], ["y"], name="the-node", then_branch=inner, else_branch=inner)]
    return model(nodes, [("x", ["n", 4])], ["y"], [tensor(np.array(True), "c")])


def _function() -> onnx.ModelProto:
    proto = _single("Mine", [], domain="mine")
    proto.functions.append(
        helper.make_function("mine", "Mine", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [])
    )
    return proto


def _weights(value: float) -> onnx.ModelProto:
    proto = mlp()
    array = onnx.numpy_helper.to_array(proto.graph.initializer[0]).copy()
    array[3, 5] = value
    proto.graph.initializer[0].CopyFrom(tensor(array, "w1"))
    return proto


def _set_opset(version: int) -> Callable[[onnx.ModelProto], None]:
    def change(proto: onnx.ModelProto) -> None:
        proto.opset_import[0].version = version

    return change


BROKEN: dict[str, tuple[Callable[[], Any], type[TacitError], str]] = {
    "empty bytes": (lambda: b"", ModelError, "no ONNX model"),
    "random bytes": (lambda: np.random.default_rng(0).bytes(4096), ModelError, "no ONNX model"),
    "truncated": (lambda: mlp().SerializeToString()[:5000], ModelError, "no ONNX model"),
    "text": (lambda: b"<html>not found</html>", ModelError, "no ONNX model"),
    "external data": (lambda: _changed(_external), ModelError, "another file"),
    "sparse weights": (
        lambda: _changed(lambda p: p.graph.sparse_initializer.add().dims.extend([2])),
        ModelError,
        "sparse",
    ),
    "training": (lambda: _changed(lambda p: p.training_info.add()), ModelError, "training"),
    "function": (_function, UnsupportedOpError, "function"),
    "custom domain": (lambda: _single("Mine", [], domain="com.mine"), UnsupportedOpError, "com.mine.Mine"),
    "unknown operator": (lambda: _single("Sinh", []), UnsupportedOpError, "Sinh"),
    "support vectors of no kind": (
        lambda: _single("SVMRegressor", [], domain="ai.onnx.ml", kernel_type="RBF"),
        ModelError,
        "missing",
    ),
    "tree without lists": (
        lambda: _single("TreeEnsembleClassifier", [], domain="ai.onnx.ml"),
        ModelError,
        "missing",
    ),
    "branch": (_branch, UnsupportedOpError, "If"),
    "old opset": (lambda: _changed(_set_opset(6)), UnsupportedOpError, "opset 6"),
    "future opset": (lambda: _changed(_set_opset(999)), UnsupportedOpError, "opset 999"),
    "too many dimensions": (lambda: _single("Unsqueeze", [np.arange(1, 80)]), ModelError, "32 dimensions"),
    "NaN weights": (lambda: _weights(float("nan")), ModelError, "`w1` holds NaN"),
    "infinite weights": (lambda: _weights(float("inf")), ModelError, "`w1` holds NaN or inf"),
    "no output": (
        lambda: _changed(lambda p: p.graph.ClearField("output")),
        ModelError,
        "no graph with an output",
    ),
    "output by nobody": (
        lambda: _changed(lambda p: p.graph.output.add().CopyFrom(helper.make_empty_tensor_value_info("q"))),
        ModelError,
        "`q`",
    ),
    "input by nobody": (
        lambda: _changed(lambda p: p.graph.node[1].input.__setitem__(0, "nobody")),
        ModelError,
        "`fc1`.*nobody",
    ),
    "cycle": (
        lambda: _changed(lambda p: p.graph.node[0].input.__setitem__(0, "a")),
        ModelError,
        "`flatten`.*`a`",
    ),
    "made twice": (
        lambda: _changed(lambda p: p.graph.node.add().CopyFrom(p.graph.node[1])),
        ModelError,
        "twice",
    ),
    "shapes do not fit": (
        lambda: _changed(lambda p: p.graph.initializer[2].CopyFrom(tensor(np.ones((10, 31)), "w2"))),
        ModelError,
        "`fc2`",
    ),
    "tensor too short": (
        lambda: _changed(lambda p: p.graph.initializer[0].dims.__setitem__(0, 33)),
        ModelError,
        "`w1`",
    ),
    "negative dimension": (
        lambda: _changed(lambda p: p.graph.initializer[0].dims.__setitem__(0, -32)),
        ModelError,
        "`w1`",
    ),
    "tensor without type": (
        lambda: _changed(lambda p: setattr(p.graph.initializer[0], "data_type", 77)),
        ModelError,
        "`w1`",
    ),
    "open dimension": (lambda: _single("Relu", [], shape=["n", "m"]), ModelError, "dimension 1 open"),
    "string input": (
        lambda: model(
            [helper.make_node("Identity", ["x"], ["y"])], [("x", ["n", 2])], ["y"], kind=TensorProto.STRING
        ),
        ModelError,
        "not numeric",
    ),
    "axis out of range": (lambda: _single("Softmax", [], axis=7), ModelError, "axis 7"),
    "pads of a wrong length": (
        lambda: _single("Conv", [np.ones((1, 1, 2, 2))], shape=["n", 1, 8, 8], pads=[1, 1, 1]),
        ModelError,
        "pads",
    ),
    "a stride of zero": (
        lambda: _single("Conv", [np.ones((1, 1, 2, 2))], shape=["n", 1, 8, 8], strides=[0, 1]),
        ModelError,
        "strides",
    ),
    "channels do not fit": (
        lambda: _single("Conv", [np.ones((1, 3, 2, 2))], shape=["n", 1, 8, 8]),
        ModelError,
        "the-node",
    ),
    "an attribute of a wrong kind": (lambda: _single("Softmax", [], axis=1.5), ModelError, "wrong kind"),
    "an attribute that nobody knows": (
        lambda: _single("Relu", [], surprise=3),
        UnsupportedOpError,
        "surprise",
    ),
    "mixing the batch": (lambda: _single("ReduceSum", [np.array([0])]), ModelError, "batch"),
    "flattening the batch": (lambda: _single("Flatten", [], axis=0), UnsupportedOpError, "batch"),
    "division by zero": (lambda: _single("Div", [np.array([1.0, 0.0, 1.0, 1.0])]), ModelError, "zero"),
    "index out of range": (lambda: _single("Gather", [np.array([4])], axis=1), ModelError, "out of range"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_models_are_refused_with_a_hint(name: str) -> None:
    make, kind, part = BROKEN[name]
    with pytest.raises(kind, match=part) as caught:
        load(make())
    assert caught.value.hint or name in ("mixing the batch", "division by zero")


def _zeros(count: int) -> list[onnx.NodeProto]:
    return [
        helper.make_node("ConstantOfShape", ["shape"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["s"], keepdims=0),
        helper.make_node("Mul", ["x", "s"], ["y"]),
    ][:count]


BOMBS: dict[str, Callable[[], onnx.ModelProto]] = {
    "constant of a huge shape": lambda: model(
        _zeros(3), [("x", ["n", 4])], ["y"], [tensor(np.array([1 << 20, 1 << 20]), "shape")]
    ),
    "many constants": lambda: model(
        [helper.make_node("ConstantOfShape", ["shape"], [f"b{i}"]) for i in range(40)]
        + [helper.make_node("Add", ["x", "b0"], ["y"])],
        [("x", ["n", 4])],
        ["y"],
        [tensor(np.array([1 << 11, 1 << 11]), "shape")],
    ),
    "huge pads": lambda: _single("Pad", [np.array([0, 0, 0, 1 << 40])]),
    "huge reflection": lambda: _single("Pad", [np.array([0, 0, 0, 1 << 40])], mode="reflect"),
    "huge expansion": lambda: _single("Expand", [np.array([1 << 35, 1, 4])]),
    "huge repetition": lambda: _single("Tile", [np.array([1, 1 << 40])]),
    "huge range": lambda: model(
        [helper.make_node("Range", ["a", "b", "c"], ["r"]), helper.make_node("Add", ["x", "r"], ["y"])],
        [("x", ["n", 4])],
        ["y"],
        [tensor(np.array(0), "a"), tensor(np.array(1 << 50), "b"), tensor(np.array(1), "c")],
    ),
    "huge one-hot": lambda: _single("OneHot", [np.array(1 << 40), np.array([0.0, 1.0])]),
    "huge product": lambda: model(
        [helper.make_node("MatMul", ["u", "v"], ["w"]), helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", ["n", 1 << 14])],
        ["y"],
        [tensor(np.ones((1 << 14, 1)), "u"), tensor(np.ones((1, 1 << 14)), "v")],
    ),
    "a tensor that says it is huge": lambda: _changed(
        lambda p: p.graph.initializer[0].dims.extend([1 << 30, 1 << 30])
    ),
    "an input that says it is huge": lambda: _single("Relu", [], shape=["n", 1 << 30, 1 << 30]),
    "many dimensions": lambda: _single("Relu", [], shape=["n", *[1] * 200]),
}


@pytest.mark.parametrize("name", BOMBS)
def test_memory_bombs_are_refused_before_they_grow(name: str) -> None:
    proto = BOMBS[name]()
    tracemalloc.start()
    try:
        with pytest.raises((ModelError, ShapeError)):
            load(proto)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 30


def test_a_deep_model_does_not_exhaust_the_stack() -> None:
    depth = 5000
    nodes = [helper.make_node("Relu", [f"v{i}"], [f"v{i + 1}"]) for i in range(depth)]
    graph = load(model(nodes, [("v0", ["n", 2])], [f"v{depth}"]))
    assert len(graph.nodes) == depth


def test_nested_messages_do_not_exhaust_the_stack() -> None:
    payload = b""
    for _ in range(400):  # graph in node in attribute: ModelProto.graph = 7, node = 1, attribute = 5, g = 6
        for tag in (6, 5, 1):
            payload = bytes([tag << 3 | 2]) + _varint(len(payload)) + payload
    with pytest.raises(ModelError):
        load(bytes([7 << 3 | 2]) + _varint(len(payload)) + payload)


def _varint(value: int) -> bytes:
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)


def test_files_that_are_too_long_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "long.onnx"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ModelError, match="at most"):
        load(path)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        load(tmp_path / "missing.onnx")
    with pytest.raises(ModelError, match="cannot be read"):
        load(str(tmp_path))


@pytest.mark.parametrize("make", [mlp, cnn])
def test_each_kind_of_source_gives_one_graph(make: Callable[[], onnx.ModelProto], tmp_path: Path) -> None:
    proto = make()
    path = tmp_path / "hand-made.onnx"
    path.write_bytes(proto.SerializeToString())
    graphs = [load(source) for source in (proto, proto.SerializeToString(), path, str(path))]
    assert len({graph.digest() for graph in graphs}) == 1
    assert load(graphs[0]) is graphs[0]


@pytest.mark.parametrize("thing", [None, 3, object(), {"a": 1}, print], ids=repr)
def test_what_is_no_model(thing: object) -> None:
    with pytest.raises(ModelError) as caught:
        load(thing)
    assert caught.value.hint


def test_modules_with_an_example_are_sent_to_export() -> None:
    with pytest.raises(ModelError) as caught:
        load((object(), np.ones(3)))
    assert "onnx" in caught.value.hint


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match="runs code"):
        load(path)
