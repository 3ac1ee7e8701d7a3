"""Functions that go from one constant to another: the logistic function and the hyperbolic tangent."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tacit.backends.mpc.engine import B, Engine, S
from tacit.backends.mpc.fixedpoint import words_of_range
from tacit.backends.mpc.functions.piecewise import Affine, Pieces, evaluate, search
from tacit.backends.mpc.steps import Steps

__all__ = [
    "sigmoid",
    "sigmoid_error",
    "sigmoid_output",
    "sigmoid_slope",
    "tanh",
    "tanh_error",
    "tanh_output",
    "tanh_slope",
]


def sigmoid(engine: Engine[S, B], x: S, *, f: int, low: float, high: float) -> Steps[S]:
    """1 / (1 + e^-x)."""
    return evaluate(engine, x, _sigmoid(f, low, high))


def sigmoid_error(f: int, low: float, high: float) -> float:
    return _sigmoid(f, low, high).error


def sigmoid_output(f: int, low: float, high: float) -> tuple[float, float]:
    error = sigmoid_error(f, low, high)
    least, most = logistic(np.array([low, high])).tolist()
    return least - error, most + error


def sigmoid_slope(f: int, low: float, high: float) -> float:
    return 0.25


def tanh(engine: Engine[S, B], x: S, *, f: int, low: float, high: float) -> Steps[S]:
    return evaluate(engine, x, _tanh(f, low, high))


def tanh_error(f: int, low: float, high: float) -> float:
    return _tanh(f, low, high).error


def tanh_output(f: int, low: float, high: float) -> tuple[float, float]:
    error = tanh_error(f, low, high)
    return math.tanh(low) - error, math.tanh(high) + error


def tanh_slope(f: int, low: float, high: float) -> float:
    return 1.0


def logistic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * x))


@lru_cache(maxsize=256)
def _sigmoid(f: int, low: float, high: float) -> Pieces:
    # 1 - 1/(1 + e^-T) < e^-T: half a unit.
    reach = math.ceil(math.ldexp((f + 1) * math.log(2.0), f))
    error = math.exp(-math.ldexp(reach, -f))
    tails = Affine(0, 0, error), Affine(0, 1 << f, error)
    return search(logistic, f, words_of_range(f, low, high), (-reach, reach), tails)


@lru_cache(maxsize=256)
def _tanh(f: int, low: float, high: float) -> Pieces:
    # 1 - tanh T < 2·e^(-2T): half a unit.
    reach = math.ceil(math.ldexp((f + 2) * math.log(2.0) / 2, f))
    error = 2 * math.exp(-2 * math.ldexp(reach, -f))
    tails = Affine(0, -1 << f, error), Affine(0, 1 << f, error)
    return search(np.tanh, f, words_of_range(f, low, high), (-reach, reach), tails)
