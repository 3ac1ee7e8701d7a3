"""Functions that follow the Gaussian integral or the logistic function: erf, GELU in its exact form, SiLU."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tacit.backends.mpc.engine import B, Engine, S
from tacit.backends.mpc.fixedpoint import words_of_range
from tacit.backends.mpc.functions.piecewise import Affine, Pieces, evaluate, search
from tacit.backends.mpc.functions.polynomial import Real
from tacit.backends.mpc.functions.sigmoid import logistic
from tacit.backends.mpc.steps import Steps

__all__ = [
    "erf",
    "erf_error",
    "erf_output",
    "erf_slope",
    "gelu",
    "gelu_error",
    "gelu_output",
    "gelu_slope",
    "silu",
    "silu_error",
    "silu_output",
    "silu_slope",
]


def erf(engine: Engine[S, B], x: S, *, f: int, low: float, high: float) -> Steps[S]:
    """2/√π · ∫ e^(-t²) dt from 0 to x."""
    return evaluate(engine, x, _erf(f, low, high))


def erf_error(f: int, low: float, high: float) -> float:
    return _erf(f, low, high).error


def erf_output(f: int, low: float, high: float) -> tuple[float, float]:
    error = erf_error(f, low, high)
    return math.erf(low) - error, math.erf(high) + error


def erf_slope(f: int, low: float, high: float) -> float:
    return 2 / math.sqrt(math.pi)


def gelu(engine: Engine[S, B], x: S, *, f: int, low: float, high: float) -> Steps[S]:
    """x·(1 + erf(x/√2))/2 (Hendrycks and Gimpel, arXiv 1606.08415): not its approximation by tanh."""
    return evaluate(engine, x, _gelu(f, low, high))


def gelu_error(f: int, low: float, high: float) -> float:
    return _gelu(f, low, high).error


def gelu_output(f: int, low: float, high: float) -> tuple[float, float]:
    return _dipped(_gelu_real, -0.75180, -0.16998, low, high, gelu_error(f, low, high))


def gelu_slope(f: int, low: float, high: float) -> float:
    """At x = √2 the derivative is largest: 1.1290."""
    return 1.1291


def silu(engine: Engine[S, B], x: S, *, f: int, low: float, high: float) -> Steps[S]:
    """x / (1 + e^-x)."""
    return evaluate(engine, x, _silu(f, low, high))


def silu_error(f: int, low: float, high: float) -> float:
    return _silu(f, low, high).error


def silu_output(f: int, low: float, high: float) -> tuple[float, float]:
    return _dipped(_silu_real, -1.27847, -0.27847, low, high, silu_error(f, low, high))


def silu_slope(f: int, low: float, high: float) -> float:
    """At x = 2.3994 the derivative is largest: 1.0998."""
    return 1.0999


def _dipped(
    function: Real, at: float, dip: float, low: float, high: float, error: float
) -> tuple[float, float]:
    """The range of a function that falls until ``at``, where it is ``dip``, and rises from there."""
    ends = function(np.array([low, high]))
    least = dip if low < at < high else float(ends.min())
    return least - error, float(ends.max()) + error


def _gelu_real(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    from scipy.special import ndtr

    return np.asarray(x * ndtr(x))


def _silu_real(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return x * logistic(x)


def _erf_real(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    from scipy.special import erf

    return np.asarray(erf(x))


def _least(short: Callable[[float], float], wanted: float) -> float:
    """Where ``short``, which falls, comes below ``wanted``; at most 64."""
    good, bad = 64.0, 1.0
    for _ in range(40):
        middle = (good + bad) / 2
        good, bad = (middle, bad) if short(middle) <= wanted else (good, middle)
    return good


@lru_cache(maxsize=256)
def _erf(f: int, low: float, high: float) -> Pieces:
    reach = math.ceil(math.ldexp(_least(math.erfc, math.ldexp(0.5, -f)), f))
    error = math.erfc(math.ldexp(reach, -f))
    tails = Affine(0, -1 << f, error), Affine(0, 1 << f, error)
    return search(_erf_real, f, words_of_range(f, low, high), (-reach, reach), tails)


@lru_cache(maxsize=256)
def _gelu(f: int, low: float, high: float) -> Pieces:
    def short(x: float) -> float:
        """|gelu(x) - max(x, 0)|, which falls from 1 on."""
        return x * math.erfc(x / math.sqrt(2.0)) / 2

    return _ramp(_gelu_real, short, f, low, high)


@lru_cache(maxsize=256)
def _silu(f: int, low: float, high: float) -> Pieces:
    def short(x: float) -> float:
        """|silu(x) - max(x, 0)|, which falls from 1.3 on."""
        return x / (1.0 + math.exp(x))

    return _ramp(_silu_real, short, f, low, high)


def _ramp(function: Real, short: Callable[[float], float], f: int, low: float, high: float) -> Pieces:
    """Pieces of a function that ends as 0 and as x."""
    reach = math.ceil(math.ldexp(_least(short, math.ldexp(0.5, -f)), f))
    error = short(math.ldexp(reach, -f))
    tails = Affine(0, 0, error), Affine(1, 0, error)
    return search(function, f, words_of_range(f, low, high), (-reach, reach), tails)
