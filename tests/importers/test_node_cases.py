"""The `onnx` package's own node tests, all of them: each passes, or is refused by a typed error for a listed reason."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tacit.errors import DataError, ModelError, TacitError, UnsupportedOpError
from tacit.importers import import_onnx
from tacit.importers.onnx_ops import RULES
from tacit.ir import interpret

# (case, error, part of the message, why): cases of supported operators that are refused
REFUSED: list[tuple[str, type[TacitError], str, str]] = [
    ("castlike", DataError, "NaN or infinity|must be numeric", "data are finite float, double or integers"),
    ("cast", ModelError, "is not numeric|of the type", "types of 8 bits and less are for quantised models"),
    ("cast", UnsupportedOpError, "casts to type", "types of 8 bits and less are for quantised models"),
    ("cast_", DataError, "NaN or infinity|must be numeric", "data are finite float, double or integers"),
    ("celu_bfloat16|bfloat16", DataError, "must be numeric", "data are finite float, double or integers"),
    (
        "label_encoder|equal_string",
        ModelError,
        "is not numeric",
        "strings are no data for protected computation",
    ),
    ("identity_(sequence|opt)", ModelError, "is no tensor", "only tensors are data"),
    (
        "reduce.*empty_set|reshape|constantofshape",
        ModelError,
        "leaves dimension",
        "a size of 0 means an open size",
    ),
    ("reduce", ModelError, "leaves dimension", "a size of 0 means an open size"),
    ("reshape", UnsupportedOpError, "mixes the batch", "a size of 0 means an open size"),
    ("split|trilu", ModelError, "is the batch", "a size of 0 means an open size"),
    (
        "tree_ensemble_set_membership",
        UnsupportedOpError,
        "BRANCH_MEMBER",
        "membership is no comparison by order",
    ),
    ("constant$", ModelError, "has no input", "a constant is no model"),
    ("constantofshape", UnsupportedOpError, "must be constant", "shapes are known before data arrive"),
    ("range", UnsupportedOpError, "must be constant", "shapes are known before data arrive"),
    ("div_u?int", UnsupportedOpError, "integers are divided", "the graph divides floats"),
    ("cumsum.*int", UnsupportedOpError, "integers", "the graph multiplies float matrices"),
    ("maxpool_2d_uint8", UnsupportedOpError, "integers", "the graph pools floats"),
    ("maxpool.*argmax", UnsupportedOpError, "output Indices", "indices are not computed"),
    ("dropout.*", UnsupportedOpError, "training mode|output mask", "inference only"),
    ("batchnorm.*training", UnsupportedOpError, "training mode", "inference only"),
    ("averagepool", UnsupportedOpError, "count_include_pad with ceil_mode", "windows beyond the padding"),
    ("flexattention", ModelError, "NaN or infinity", "masks by infinity"),
    ("", UnsupportedOpError, "of opset [1-6];", "broadcasting before opset 7 was another"),
    ("trilu_zero|zero", ModelError, "is the batch|leaves dimension", "a size of 0 means an open size"),
]

FLOOR_PASSED = 700


def _arrays(given: list[Any]) -> list[Any]:
    return [numpy_helper.to_array(item) if isinstance(item, onnx.TensorProto) else item for item in given]


def _frozen(model: onnx.ModelProto, arrays: list[Any]) -> onnx.ModelProto:
    """The model with all inputs but the first as initializers: shapes, axes and weights are constant in Tacit."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for value, array in list(zip(model.graph.input, arrays, strict=True))[1:]:
        result.graph.initializer.append(numpy_helper.from_array(np.asarray(array), value.name))
    return result


def _compare(graph_outputs: dict[str, Any], wanted: list[Any], rtol: float) -> None:
    for got, want in zip(graph_outputs.values(), wanted, strict=True):
        expected = np.asarray(want)
        assert got.shape == expected.shape
        if got.dtype.kind == "U":
            np.testing.assert_array_equal(got, expected.astype(np.str_))
        else:
            half = expected.dtype.itemsize == 2 and expected.dtype.kind in "fV"
            np.testing.assert_allclose(
                got.astype(np.float64),
                expected.astype(np.float64),
                rtol=1e-2 if half else rtol,
                atol=1e-2 if half else 1e-5,
            )


def _outcome(case: Any) -> TacitError | None:
    """``None`` when the case passes, with its inputs as data or all but the first as constants; else the error."""
    error: TacitError | None = None
    for inputs, outputs in case.data_sets:
        arrays, wanted = _arrays(inputs), _arrays(outputs)
        names = [value.name for value in case.model.graph.input]
        trials = [(case.model, dict(zip(names, arrays, strict=False)))]
        if len(arrays) == len(names) > 1 and not any(
            isinstance(item, list) or item is None for item in arrays
        ):
            trials.append((_frozen(case.model, arrays), {names[0]: arrays[0]}))
        for model, data in trials:
            try:
                graph = import_onnx(model)
                result = interpret(graph, data)
            except TacitError as refusal:
                error = refusal
                continue
            _compare(result, wanted, case.rtol)
            error = None
            break
        if error is not None:
            return error
    return None


@pytest.fixture(scope="module")
def cases() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        return list(load_model_tests(kind="node"))


def test_every_node_case_passes_or_is_refused_for_a_listed_reason(cases: list[Any]) -> None:
    counts: Counter[str] = Counter()
    faults: list[str] = []
    for case in cases:
        operators = {("" if n.domain == "ai.onnx" else n.domain, n.op_type) for n in case.model.graph.node}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                error = _outcome(case)
            except (AssertionError, Exception) as fault:
                faults.append(f"{case.name}: {type(fault).__name__} {str(fault)[:200]}")
                continue
        if error is None:
            counts["passed"] += 1
        elif not operators <= RULES.keys():
            counts["no rule"] += 1
            if not isinstance(error, ModelError | DataError):
                faults.append(f"{case.name}: {type(error).__name__}")
        elif any(
            re.search(name, case.name) and isinstance(error, kind) and re.search(part, str(error))
            for name, kind, part, _ in REFUSED
        ):
            counts["refused"] += 1
        else:
            faults.append(f"{case.name}: not listed: {type(error).__name__} {error}")
    print(dict(counts))
    assert not faults, "\n".join(faults)
    assert counts["passed"] >= FLOOR_PASSED


def test_each_rule_is_exercised_by_a_node_case(cases: list[Any]) -> None:
    seen = {("" if n.domain == "ai.onnx" else n.domain, n.op_type) for c in cases for n in c.model.graph.node}
    # operators without node tests in the package; tests/importers/test_exported.py compares them with ONNX Runtime
    untested = {
        "FeatureVectorizer",
        "Imputer",
        "LinearClassifier",
        "LinearRegressor",
        "Normalizer",
        "OneHotEncoder",
        "SVMClassifier",
        "SVMRegressor",
        "Scaler",
        "TreeEnsembleClassifier",
        "TreeEnsembleRegressor",
        "ZipMap",
    }
    assert {op for domain, op in RULES.keys() - seen} <= untested
