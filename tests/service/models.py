"""Small models in files, made once for all tests of the service."""

from __future__ import annotations

import functools
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from tacit.service.package import Package, compile_package

FEATURES = 4


@functools.cache
def data() -> np.ndarray:
    """(60, 4) float64: calibration data of the models."""
    return np.random.default_rng(5).normal(size=(60, FEATURES))


@functools.cache
def estimator(seed: int = 0) -> LogisticRegression:
    """A classifier of two classes; another one for another seed."""
    known = data()
    weights = np.random.default_rng(seed).normal(size=FEATURES)
    return LogisticRegression().fit(known, (known @ weights > 0).astype(np.int64))


@functools.cache
def onnx_bytes(seed: int = 0) -> bytes:
    from skl2onnx import to_onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = to_onnx(
            estimator(seed), data()[:1].astype(np.float32), options={"zipmap": False}, target_opset=17
        )
    return bytes(made.SerializeToString())


@functools.cache
def package() -> Package:
    """The model of seed 0, compiled for one sample and for many."""
    return compile_package(onnx_bytes(), calibration=data(), check=1, threads=1)


@functools.cache
def slow_bytes() -> bytes:
    """A model in the clear that takes some milliseconds per row of its input `x`, (rows, 512) float32."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    width, depth = 512, 300
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(width, width)))[0].astype(np.float32)
    nodes, last = [], "x"
    for step in range(depth):
        nodes.append(helper.make_node("MatMul", [last, "turn"], [f"m{step}"]))
        nodes.append(helper.make_node("Tanh", [f"m{step}"], [last := f"t{step}"]))
    nodes.append(helper.make_node("ReduceSum", [last, "axes"], ["y"], keepdims=1))
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(turn, "turn"), numpy_helper.from_array(np.array([1]), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write_model(folder: Path, name: str = "risk", *, seed: int = 0) -> Path:
    """An ONNX file with its calibration data beside it."""
    path = folder / f"{name}.onnx"
    path.write_bytes(onnx_bytes(seed))
    np.savetxt(folder / f"{name}.calibration.csv", data(), delimiter=",")
    return path


def write_package(folder: Path, name: str = "risk") -> Path:
    path = folder / f"{name}.tacit"
    path.write_bytes(package().to_bytes())
    return path


def tacit_command(*words: str) -> subprocess.CompletedProcess[str]:
    """`tacit` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "tacit", *words], capture_output=True, text=True, timeout=300
    )
