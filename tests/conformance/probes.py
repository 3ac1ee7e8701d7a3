"""Small uses of every operator, as data: what `operators` puts between two dense layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper

__all__ = ["FOLDED", "NAMES_ONLY", "PROBES", "SHAPES", "Probe"]

SHAPES: dict[str, tuple[int, ...]] = {"row": (6,), "sequence": (3, 6), "image": (2, 4, 4), "thin": (1, 6)}
FOLDED = frozenset({"Constant", "ConstantOfShape", "EyeLike", "Range", "Shape", "Size"})
"""Operators that are gone once a model is read."""
NAMES_ONLY = frozenset({"LabelEncoder", "ZipMap"})
"""Operators that give names to classes and columns."""


@dataclass(frozen=True)
class Probe:
    """One use of an operator on h, a dense layer of the input.

    ``more``: further operands: an array is a constant, "h" the value itself, "k" another dense layer, "" left out.
    ``first``: whether they come before h. ``is_positive``: h is kept in [2, 4]. ``kind``: type of h.
    ``is_direct``: h is the input itself. ``note``: what the operands are, where an operator has several probes.
    """

    op: str
    attributes: dict[str, Any] = field(default_factory=dict)
    more: tuple[Any, ...] = ()
    shape: str = "row"
    note: str = ""
    opset: int = 17
    domain: str = ""
    first: bool = False
    is_positive: bool = False
    kind: str = "float"
    outputs: int = 1
    result: str = "float"
    is_direct: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return self.domain, self.op


def _each(names: str, **rest: Any) -> list[Probe]:
    return [Probe(name, **rest) for name in names.split()]


_I = np.array  # constants of integers keep their type
_ROW = np.array([0.5, -0.3, 0.8, 1.2, -0.6, 0.4])
_ML: dict[str, Any] = {"domain": "ai.onnx.ml"}
_AXIS = {"axes": [1], "keepdims": 1}
_MODES = numpy_helper.from_array(np.zeros(1, dtype=np.uint8), "modes")
_SPLITS = numpy_helper.from_array(np.array([0.1], dtype=np.float32), "splits")
_WEIGHTS = numpy_helper.from_array(np.array([1.0, 2.0], dtype=np.float32), "weights")
_TREE = {
    "nodes_treeids": [0, 0, 0],
    "nodes_nodeids": [0, 1, 2],
    "nodes_featureids": [2, 0, 0],
    "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
    "nodes_values": [0.1, 0.0, 0.0],
    "nodes_truenodeids": [1, 0, 0],
    "nodes_falsenodeids": [2, 0, 0],
    "nodes_missing_value_tracks_true": [0, 0, 0],
}

PROBES: tuple[Probe, ...] = (
    *_each(
        "Abs Celu Elu Erf Exp HardSigmoid HardSwish Identity LeakyRelu Neg Relu Selu Sigmoid Sign Softplus",
    ),
    *_each("Softsign Tanh ThresholdedRelu Dropout Flatten"),
    *_each("Log Reciprocal Sqrt", is_positive=True),
    *_each("Softmax LogSoftmax LpNormalization"),
    *_each("ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSumSquare", attributes=_AXIS),
    Probe("ReduceLogSumExp", _AXIS),
    Probe("ReduceLogSum", _AXIS, is_positive=True),
    Probe("ReduceSum", more=(_I([1]),)),
    Probe("Gelu", opset=20),
    Probe("Mish", opset=18),
    Probe("Swish", opset=24),
    Probe("Shrink", {"lambd": 0.2}),
    Probe("PRelu", more=(_ROW,)),
    Probe("Clip", more=(np.array(-0.2, dtype=np.float32), np.array(0.4, dtype=np.float32))),
    *_each("Add Sub Mul Div Max Min Sum Mean", more=(_ROW,), note="constant"),
    *_each("Add Sub Mul Max Min Sum Mean", more=("k",), note="values"),
    Probe("Div", more=("k",), note="values", is_positive=True),
    Probe("Pow", more=(np.array(2.0),), note="constant"),
    Probe("Pow", more=("k",), note="values", is_positive=True),
    *_each("Equal Greater GreaterOrEqual Less LessOrEqual", more=(_ROW,), note="constant", result="bool"),
    *_each("Equal Greater GreaterOrEqual Less LessOrEqual", more=("k",), note="values", result="bool"),
    *_each("And Or Xor", more=(_I([True, False, True, True, False, True]),), kind="bool", result="bool"),
    Probe("Not", kind="bool", result="bool"),
    Probe("Where", more=(_I([True, False, True, True, False, True]), "k"), first=True, note="constant"),
    Probe("Where", more=(_ROW, "k"), kind="bool", note="values"),
    Probe("Cast", {"to": TensorProto.FLOAT}),
    Probe("CastLike", more=(np.zeros(1),)),
    *_each("ArgMax ArgMin", attributes={"axis": 1}, result="integer"),
    Probe("BatchNormalization", more=tuple(np.abs(_ROW[:2]) + i for i in range(4)), shape="image"),
    Probe("InstanceNormalization", more=(_ROW[:2], _ROW[:2]), shape="image"),
    Probe("LayerNormalization", more=(_ROW, _ROW)),
    Probe("MeanVarianceNormalization", {"axes": [2, 3]}, shape="image"),
    Probe("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}, shape="image"),
    Probe("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}, shape="image"),
    *_each("GlobalAveragePool GlobalMaxPool", shape="image"),
    Probe("Conv", more=(np.random.default_rng(4).normal(size=(3, 2, 3, 3)) / 4,), shape="image"),
    Probe("ConvTranspose", {"strides": [2, 2]}, (np.ones((2, 3, 2, 2)) / 4,), shape="image"),
    Probe("MatMul", more=(np.random.default_rng(4).normal(size=(6, 4)) / 3,), note="constant"),
    Probe("MatMul", {}, ("k",), shape="image", note="values"),
    Probe("Gemm", more=(np.random.default_rng(4).normal(size=(6, 4)) / 3, _ROW[:4])),
    Probe("CumSum", more=(_I(1),)),
    Probe("Concat", {"axis": 1}, ("k",)),
    Probe("DepthToSpace", {"blocksize": 1}, shape="image"),
    Probe("SpaceToDepth", {"blocksize": 2}, shape="image"),
    Probe("Expand", more=(_I([1, 2, 1, 1]),), shape="image"),
    Probe("Gather", {"axis": 1}, (_I([3, 1, 1]),)),
    Probe("OneHot", {}, (_I(3), _I([0.0, 1.0])), kind="integer"),
    Probe("Pad", more=(_I([0, 1, 0, 2]),)),
    Probe("Reshape", more=(_I([0, 2, 3]),)),
    Probe("Slice", more=(_I([1]), _I([4]), _I([1]))),
    Probe("Split", {"axis": 1}, outputs=2),
    Probe("Squeeze", more=(_I([1]),), shape="thin"),
    Probe("Unsqueeze", more=(_I([1]),)),
    Probe("Tile", more=(_I([1, 2]),)),
    Probe("Transpose", {"perm": [0, 2, 1]}, shape="sequence"),
    Probe("Trilu", shape="image"),
    Probe("Binarizer", {"threshold": 0.1}, **_ML),
    Probe("Imputer", {"imputed_value_floats": [0.5], "replaced_value_float": 0.0}, **_ML),
    Probe(
        "LinearClassifier",
        _classifier := {
            "coefficients": [
                0.5,
                -0.3,
                0.8,
                1.2,
                -0.6,
                0.4,
                -0.5,
                0.9,
                0.1,
                0.0,
                0.2,
                0.3,
                0.2,
                0.1,
                0.4,
                -0.4,
                0.5,
                0.6,
            ],
            "intercepts": [0.1, 0.2, 0.3],
            "classlabels_ints": [0, 1, 2],
            "post_transform": "SOFTMAX",
        },
        outputs=2,
        **_ML,
    ),
    Probe("LinearRegressor", {"coefficients": _ROW.tolist(), "intercepts": [0.1]}, **_ML),
    Probe("Normalizer", {"norm": "L2"}, **_ML),
    Probe("OneHotEncoder", {"cats_int64s": [0, 1]}, **_ML),
    Probe("Scaler", {"offset": [0.5], "scale": [2.0]}, **_ML),
    Probe("ArrayFeatureExtractor", more=(_I([0, 2]),), **_ML),
    Probe("FeatureVectorizer", {"inputdimensions": [6, 6]}, ("k",), **_ML),
    *(
        Probe(
            "SVMRegressor",
            {
                "kernel_type": kernel,
                "coefficients": [1.0, -0.5],
                "rho": [0.2],
                "kernel_params": [0.1, 0.1, 2.0],
                "support_vectors": [0.5, 0.1, 0.2, -0.3, 0.4, -0.5, 0.1, -0.2, 0.3, 0.4, 0.5, -0.6],
                "n_supports": 2,
            },
            note=kernel,
            **_ML,
        )
        for kernel in ("LINEAR", "POLY", "RBF", "SIGMOID")
    ),
    Probe(
        "SVMClassifier",
        {
            "kernel_type": "LINEAR",
            "coefficients": [1.0, -0.5],
            "rho": [0.2],
            "kernel_params": [0.1, 0.1, 2.0],
            "support_vectors": [0.5, 0.1, 0.2, -0.3, 0.4, -0.5, 0.1, -0.2, 0.3, 0.4, 0.5, -0.6],
            "vectors_per_class": [1, 1],
            "classlabels_ints": [0, 1],
        },
        outputs=2,
        **_ML,
    ),
    Probe(
        "TreeEnsembleClassifier",
        {
            **_TREE,
            "class_treeids": [0] * 6,
            "class_nodeids": [1, 1, 1, 2, 2, 2],
            "class_ids": [0, 1, 2, 0, 1, 2],
            "class_weights": [0.25, 0.5, 0.25, 0.5, 0.25, 0.25],
            "classlabels_int64s": [0, 1, 2],
        },
        is_direct=True,
        outputs=2,
        **_ML,
    ),
    Probe(
        "TreeEnsemble",
        {
            "tree_roots": [0],
            "nodes_featureids": [2],
            "nodes_modes": _MODES,
            "nodes_splits": _SPLITS,
            "nodes_truenodeids": [0],
            "nodes_trueleafs": [1],
            "nodes_falsenodeids": [1],
            "nodes_falseleafs": [1],
            "leaf_targetids": [0, 0],
            "leaf_weights": _WEIGHTS,
            "n_targets": 1,
        },
        is_direct=True,
        **_ML,
    ),
    Probe(
        "TreeEnsembleRegressor",
        {
            **_TREE,
            "n_targets": 1,
            "target_treeids": [0, 0],
            "target_nodeids": [1, 2],
            "target_ids": [0, 0],
            "target_weights": [1.0, 2.0],
        },
        is_direct=True,
        **_ML,
    ),
)
