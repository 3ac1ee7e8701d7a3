"""The closed table of ops: every graph is made of these and nothing else. Names and meanings as in ONNX.

At most 35 rows. What ONNX has beyond them is lowered by the importers: ``Gemm`` to ``MatMul`` and ``Add``,
``Clip`` to ``Max`` and ``Min``, ``BatchNormalization`` to ``Mul`` and ``Add``, and so on.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tacit.ir.elementwise import ELEMENTWISE
from tacit.ir.signature import Op
from tacit.ir.structure import STRUCTURE
from tacit.ir.window import WINDOW

__all__ = ["MAX_OPS", "OPS"]

MAX_OPS = 35

OPS: Mapping[str, Op] = MappingProxyType({op.name: op for op in (*ELEMENTWISE, *STRUCTURE, *WINDOW)})
