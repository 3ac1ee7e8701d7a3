"""The functions of one secret by name: what a compiler needs to know of each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tacit.backends.mpc.functions.exponential import (
    exponential,
    exponential_error,
    exponential_output,
    exponential_slope,
)
from tacit.backends.mpc.functions.function import Function
from tacit.backends.mpc.functions.gelu import (
    erf,
    erf_error,
    erf_output,
    erf_slope,
    gelu,
    gelu_error,
    gelu_output,
    gelu_slope,
    silu,
    silu_error,
    silu_output,
    silu_slope,
)
from tacit.backends.mpc.functions.maximum import absolute, relu
from tacit.backends.mpc.functions.reciprocal import (
    reciprocal,
    reciprocal_error,
    reciprocal_output,
    reciprocal_slope,
)
from tacit.backends.mpc.functions.roots import (
    inverse_root,
    inverse_root_error,
    inverse_root_output,
    inverse_root_slope,
    logarithm,
    logarithm_error,
    logarithm_output,
    logarithm_slope,
    root,
    root_error,
    root_output,
    root_slope,
)
from tacit.backends.mpc.functions.sigmoid import (
    sigmoid,
    sigmoid_error,
    sigmoid_output,
    sigmoid_slope,
    tanh,
    tanh_error,
    tanh_output,
    tanh_slope,
)

__all__ = ["FUNCTIONS"]


def _exact(f: int, low: float, high: float) -> float:
    return 0.0


def _one(f: int, low: float, high: float) -> float:
    return 1.0


def _rectified(f: int, low: float, high: float) -> tuple[float, float]:
    return max(low, 0.0), max(high, 0.0)


def _folded(f: int, low: float, high: float) -> tuple[float, float]:
    return max(low, -high, 0.0), max(-low, high)


FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        each.name: each
        for each in (
            Function("Abs", absolute, _exact, _folded, _one),
            Function("Erf", erf, erf_error, erf_output, erf_slope),
            Function("Exp", exponential, exponential_error, exponential_output, exponential_slope),
            Function("Gelu", gelu, gelu_error, gelu_output, gelu_slope),
            Function("Log", logarithm, logarithm_error, logarithm_output, logarithm_slope),
            Function("Reciprocal", reciprocal, reciprocal_error, reciprocal_output, reciprocal_slope),
            Function("Relu", relu, _exact, _rectified, _one),
            Function("Rsqrt", inverse_root, inverse_root_error, inverse_root_output, inverse_root_slope),
            Function("Sigmoid", sigmoid, sigmoid_error, sigmoid_output, sigmoid_slope),
            Function("Silu", silu, silu_error, silu_output, silu_slope),
            Function("Sqrt", root, root_error, root_output, root_slope),
            Function("Tanh", tanh, tanh_error, tanh_output, tanh_slope),
        )
    }
)
