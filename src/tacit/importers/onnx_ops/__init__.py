"""The operators of ONNX that are read, by family: each rule lowers one operator to ops of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tacit.importers.lowering import Rule
from tacit.importers.onnx_ops.activation import ACTIVATION
from tacit.importers.onnx_ops.arithmetic import ARITHMETIC
from tacit.importers.onnx_ops.linear import LINEAR
from tacit.importers.onnx_ops.ml import ML
from tacit.importers.onnx_ops.reduction import REDUCTION
from tacit.importers.onnx_ops.shape import SHAPE
from tacit.importers.onnx_ops.svm import SVM
from tacit.importers.onnx_ops.tensor import TENSOR
from tacit.importers.onnx_ops.trees import TREES
from tacit.importers.onnx_ops.window import WINDOW

__all__ = ["MAX_OPSET", "MIN_OPSET", "RULES"]

MIN_OPSET = 7
"""Oldest opset of ai.onnx that is read: broadcasting as in NumPy began here."""

MAX_OPSET = 28
"""Newest opset of ai.onnx whose operators were checked against these rules."""

_ALL = (*ARITHMETIC, *ACTIVATION, *LINEAR, *WINDOW, *REDUCTION, *SHAPE, *TENSOR, *ML, *SVM, *TREES)

RULES: Mapping[tuple[str, str], Rule] = MappingProxyType({(rule.domain, rule.op): rule for rule in _ALL})
