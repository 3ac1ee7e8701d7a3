"""Polynomials: error bounds that hold, minimal depth, and evaluation that matches the series."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.polynomial import chebyshev

from tacit.backends.ckks.approximate import INNER, approximate, at_degree, sup_norm
from tacit.backends.ckks.executor import Executor
from tacit.backends.ckks.layout import ReplicatedLayout
from tacit.backends.ckks.levels import moduli
from tacit.backends.ckks.polynomial import depth_of, recipe
from tacit.backends.ckks.program import PolynomialStage, Program
from tacit.backends.ckks.simulator import Simulator
from tacit.errors import PrecisionError

GRID = np.linspace(-1, 1, 20001)


@pytest.mark.parametrize("width", [1.0, 4.0, 20.0])
@pytest.mark.parametrize("error", [1e-2, 1e-5])
def test_smooth_functions_stay_within_their_bound(width: float, error: float) -> None:
    for function in (
        lambda t: 1 / (1 + np.exp(-width * t)),
        lambda t: np.tanh(width * t),
        lambda t: np.exp(t),
    ):
        found = approximate(function, "smooth", error)
        difference = np.abs(function(GRID) - chebyshev.chebval(GRID, found.series)).max()
        assert difference <= found.error <= error
        slopes = np.abs(chebyshev.chebval(INNER * GRID, chebyshev.chebder(found.series)))
        assert slopes.max() <= found.slope
        shorter = at_degree(function, "smooth", found.degree - 1)
        assert shorter.error > error or found.degree <= 3, "the degree is the least that does it"


@pytest.mark.parametrize("degree", [2, 6, 14, 30, 62, 126])
def test_relu_is_near_the_best_polynomial(degree: int) -> None:
    found = at_degree(lambda t: np.maximum(t, 0), "relu", degree)
    difference = np.abs(np.maximum(GRID, 0) - chebyshev.chebval(GRID, found.series)).max()
    assert difference <= found.error
    # |t| by degree n: n·E_n → 0.28017 (Varga and Carpenter 1985); half of it for max(t, 0)
    assert found.error <= 1.05 * 0.2802 / 2 / degree
    assert found.degree == degree


def test_odd_functions_have_odd_series() -> None:
    assert not approximate(np.tanh, "smooth", 1e-8).series[::2].any()


@pytest.mark.parametrize("function", [lambda t: 1 / t, lambda t: np.log(t - 2), np.sign, np.abs])
def test_functions_that_are_not_smooth_are_refused(function: object) -> None:
    with np.errstate(all="ignore"), pytest.raises(PrecisionError):
        approximate(function, "smooth", 1e-3)


def test_sup_norm_is_an_upper_bound() -> None:
    series = np.random.default_rng(0).normal(size=40)
    top = np.abs(chebyshev.chebval(GRID, series)).max()
    assert top <= sup_norm(series) <= 1.05 * top


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("degree", [1, 2, 3, 4, 5, 7, 8, 11, 15, 16, 27, 31, 63])
def test_evaluation_takes_the_least_levels(degree: int, odd: bool) -> None:
    series = np.random.default_rng(degree).normal(size=degree + 1)
    if odd:
        series[::2] = 0
    coefficients = tuple(float(c) for c in np.trim_zeros(series, "b"))
    if len(coefficients) < 2:
        return
    depth = depth_of(len(coefficients) - 1)
    assert depth == int(np.ceil(np.log2(len(coefficients))))
    q, p = moduli(12, (40,) + (30,) * depth, (40,))
    simulator = Simulator(12, q, p)
    layout = ReplicatedLayout.plain(64, simulator.slots)
    stage = PolynomialStage(coefficients, depth, 2.0**30, 100.0, 100.0)
    program = Program((stage,), layout, layout, depth, 2.0**30, 2.0**30)
    x = np.random.default_rng(1).uniform(-1, 1, 64)
    fresh = simulator.encrypt(simulator.encode(layout.pack(x), level=depth, scale=2.0**30))
    (result,) = Executor(program, simulator).run([fresh])
    assert result.level == 0
    assert result.scale == 2.0**30
    assert np.allclose(layout.unpack(result.values), chebyshev.chebval(x, coefficients))


def test_odd_series_need_fewer_products() -> None:
    rng = np.random.default_rng(5)
    full = rng.normal(size=16)
    odd = np.where(np.arange(16) % 2, full, 0.0)
    assert recipe(tuple(odd.tolist())).multiplications <= recipe(tuple(full.tolist())).multiplications
    assert recipe(tuple(full.tolist())).multiplications <= 9


def test_noise_of_an_argument_reaches_the_result_by_the_slope() -> None:
    """In the worst case noise counts once, by the derivative, and not once for every power of the argument."""
    found = approximate(lambda t: np.tanh(3 * t), "smooth", 1e-4)
    depth = depth_of(found.degree)
    q, p = moduli(14, (50, *(40,) * depth), (50,))
    simulator = Simulator(14, q, p, worst_case=True, columns=True)
    argument = simulator.encrypt(simulator.encode(np.ones(1), level=depth, scale=2.0**40))
    noisy = simulator.note_slope(simulator.quiet(argument), argument, found.slope)
    assert noisy.noise[0] == found.slope * argument.noise[0] > 0
    loud = simulator.encrypt(simulator.encode(np.ones(1), level=depth, scale=2.0**14))
    with pytest.raises(PrecisionError):
        simulator.note_slope(simulator.quiet(loud), loud, found.slope)
