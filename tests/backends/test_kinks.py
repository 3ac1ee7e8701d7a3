"""Functions that are straight between kinks: found as they are, and approximated within a bound that holds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.polynomial import chebyshev

from tacit.backends.ckks.approximate import approximate, at_degree
from tacit.backends.ckks.kinks import find_kinks
from tacit.errors import PrecisionError
from tacit.ir.builder import GraphBuilder
from tests.backends.reference import assert_matches_reference, candidate_of

Function = Callable[[np.ndarray], np.ndarray]
GRID = np.linspace(-1, 1, 50001)
FUNCTIONS: dict[str, tuple[Function, int]] = {
    "abs": (np.abs, 1),
    "leaky": (lambda t: np.where(t > 0.1, t - 0.1, 0.01 * (t - 0.1)), 1),
    "clip": (lambda t: np.clip(3 * t, -0.5, 1.25), 2),
    "hard sigmoid": (lambda t: np.clip(0.2 * 5 * t + 0.5, 0, 1), 2),
    "hard swish": (lambda t: 6 * t * np.clip(t + 0.5, 0, 1), 2),
    "shrink": (lambda t: np.sign(t) * np.maximum(np.abs(t) - 0.3, 0), 2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_kinks_are_found_and_bounds_hold(name: str) -> None:
    function, kinks = FUNCTIONS[name]
    found = find_kinks(function)
    assert found is not None and len(found.places) == kinks
    assert np.abs(found(GRID) - function(GRID)).max() < 1e-9
    for degree in (3, 15, 63):
        made = at_degree(function, "smooth", degree)
        worst = np.abs(chebyshev.chebval(GRID, made.series) - function(GRID)).max()
        assert worst <= made.error <= 1.05 * worst
        assert made.degree <= degree


@pytest.mark.parametrize(
    "function",
    [lambda t: np.sign(t - 0.2), lambda t: np.abs(np.sin(40 * t)), lambda t: np.maximum(t, 0) ** 1.5],
)
def test_other_functions_with_kinks_are_refused(function: Function) -> None:
    assert find_kinks(function) is None
    with pytest.raises(PrecisionError, match="not smooth enough"):
        approximate(function, "smooth", 0.1)


@pytest.mark.parametrize("name", ["abs", "clip", "hard swish"])
def test_models_with_kinks_keep_their_promise(name: str) -> None:
    rng = np.random.default_rng(5)
    builder = GraphBuilder(name)
    value = builder.node("MatMul", builder.input("x", (None, 4)), builder.constant(rng.normal(size=(4, 6))))
    if name == "abs":
        value = builder.node("Abs", value)
    else:
        inner = builder.node("Add", value, builder.constant(0.5)) if name == "hard swish" else value
        inner = builder.node("Max", inner, builder.constant(-0.5 * (name == "clip")))
        inner = builder.node("Min", inner, builder.constant(1.0))
        value = builder.node("Mul", value, inner) if name == "hard swish" else inner
    graph = builder.finish([builder.node("MatMul", value, builder.constant(rng.normal(size=(6, 2))))])
    x = rng.uniform(-1, 1, size=(100, 4))
    candidate = candidate_of(graph, x)
    assert_matches_reference(graph, x[:3], candidate, encrypted=name == "clip")
