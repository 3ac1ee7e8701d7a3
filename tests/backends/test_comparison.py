"""The sign as a composition of polynomials: every bound that it states."""

from __future__ import annotations

import itertools
from math import log2

import numpy as np
import pytest
from numpy.polynomial import chebyshev

from tacit.backends.ckks.comparison import BEST, compose, minimax, search, sharpest
from tacit.backends.ckks.polynomial import depth_of
from tacit.errors import InvalidParameterError, PrecisionError


@pytest.mark.parametrize(
    ("degree", "low", "error"),
    [(3, 0.5, 0.08594), (7, 0.5, 0.0070410), (15, 0.1, 0.12064), (31, 0.1, 0.018223)],
)
def test_minimax_has_the_known_error_and_alternates(degree: int, low: float, error: float) -> None:
    """Best approximation by (degree + 1)/2 odd terms alternates in (degree + 1)/2 + 1 points (Chebyshev)."""
    series, bound, high = minimax(degree, low)
    grid = np.linspace(low, 1.0, 200_001)
    difference = 1 - chebyshev.chebval(grid, series)
    assert error * 0.9999 <= np.abs(difference).max() <= bound <= error * 1.0002
    extremes = np.flatnonzero(np.abs(difference) > 0.999 * np.abs(difference).max())
    alternations = 1 + int((np.diff(np.sign(difference[extremes])) != 0).sum())
    assert alternations == (degree + 1) // 2 + 1
    assert np.abs(chebyshev.chebval(np.linspace(-1, 1, 100_001), series)).max() <= high
    assert not any(series[0::2])


@pytest.mark.parametrize("levels", sorted(BEST))
def test_composition_keeps_its_promises_under_noise(levels: int) -> None:
    rng = np.random.default_rng(levels)
    made = sharpest(levels, 2.0**-6, entry=2.0**-16, noise=2.0**-12)
    assert made.depth == levels == sum(depth_of(degree) for degree in BEST[levels])
    outside = np.concatenate([[made.margin, 1.0], np.geomspace(made.margin, 1.0, 5000)])
    inside = np.linspace(0, made.margin, 5000)
    for t, is_outside in ((outside, True), (-outside, True), (inside, False), (-inside, False)):
        values = np.clip(t + made.entry * rng.choice([-1.0, 1.0], t.shape), -1, 1)
        for position, series in enumerate(made.series):
            values = chebyshev.chebval(values, series)
            if position + 1 < len(made.series):
                assert np.abs(values).max() <= 1 - made.noise
                values = values + made.noise * rng.choice([-1.0, 1.0], t.shape)
        assert np.abs(values).max() <= 1 + made.error
        if is_outside:
            assert np.abs(values - np.sign(t)).max() <= made.error
        else:
            assert (values * np.sign(t)).min() >= -made.flip


def test_sharper_with_every_level() -> None:
    margins = [sharpest(levels, 2.0**-10).margin for levels in range(6, 17)]
    assert all(later < earlier for earlier, later in itertools.pairwise(margins))
    assert margins[-1] < 2.0**-12


@pytest.mark.parametrize("levels", [6, 8, 9])
def test_table_is_within_a_bit_of_the_best(levels: int) -> None:
    best, chosen = search(levels, 2.0**-10), sharpest(levels, 2.0**-10)
    assert best.degrees == BEST[levels] or chosen.multiplications < best.multiplications
    assert log2(chosen.margin) - log2(best.margin) <= 1


def test_composition_is_odd_and_reproducible() -> None:
    made = compose((7, 7), 0.1)
    assert made.series == compose((7, 7), 0.1).series
    t = np.linspace(0, 1, 101)
    assert np.abs(made(t) + made(-t)).max() < 1e-12


def test_refuses_what_no_comparison_can_do() -> None:
    with pytest.raises(PrecisionError, match="swallows"):
        compose((7, 7), 2.0**-12, entry=2.0**-10)
    with pytest.raises(PrecisionError):
        sharpest(4, 2.0**-30)
    with pytest.raises(InvalidParameterError):
        minimax(4, 0.5)
