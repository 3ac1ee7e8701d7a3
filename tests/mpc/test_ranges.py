"""Intervals hold whatever is in them, and are no wider than they must be where that is known."""

from __future__ import annotations

import numpy as np
import pytest

from tacit.backends.mpc.ranges import Ball, Box, ConstantProduct, Range, bits_of, secret_product
from tacit.errors import DataError


def interval(rng: np.random.Generator, shape: tuple[int, ...]) -> Range:
    centre, radius = rng.normal(size=shape), rng.uniform(0, 1, size=shape)
    return Range(centre - radius, centre + radius, np.zeros(()))


def corner(rng: np.random.Generator, r: Range) -> np.ndarray:
    return np.where(rng.random(r.low.shape) < 0.5, r.low, r.high)


def test_products_stay_within_their_interval() -> None:
    rng = np.random.default_rng(0)
    x, y, weights = interval(rng, (1, 3, 5)), interval(rng, (1, 5, 4)), rng.normal(size=(5, 4))
    rounding = 2.0**-5
    by_weights = ConstantProduct(x, weights, np.matmul).rounded(rounding)
    by_value = secret_product(x, y, np.matmul)
    for _ in range(200):
        off = weights + rng.choice([-rounding, rounding], size=weights.shape)
        got = corner(rng, x) @ off
        assert (got >= by_weights.low).all() and (got <= by_weights.high).all()
        got = corner(rng, x) @ corner(rng, y)
        assert (got >= by_value.low).all() and (got <= by_value.high).all()


def test_a_ball_is_tighter_than_its_box_and_holds() -> None:
    rng = np.random.default_rng(1)
    n = 64
    scale, centre = rng.uniform(0.5, 2, size=n), rng.normal(size=n)
    reach = np.sqrt(n) * scale
    box = Range((centre - reach)[None], (centre + reach)[None], np.zeros(()))
    ball = Range(box.low, box.high, box.error, Ball(np.sqrt(n), scale, centre))
    weights = rng.normal(size=(n, 8)) / np.sqrt(n)
    wide = ConstantProduct(box, weights, np.matmul, True).rounded(0.0)
    tight = ConstantProduct(ball, weights, np.matmul, True).rounded(0.0)
    assert ((tight.high - tight.low) < 0.5 * (wide.high - wide.low)).all()
    for column in range(8):
        direction = scale * weights[:, column]
        furthest = centre + scale * np.sqrt(n) * direction / np.linalg.norm(direction)
        got = furthest @ weights[:, column]
        assert got <= tight.high[0, column] and got > tight.high[0, column] - 1e-6


@pytest.mark.parametrize("frac_bits", [0, 12, 16])
@pytest.mark.parametrize("most", [0.0, 0.4, 1.0, 3.99, 4.0, 1000.0])
def test_widths_hold_both_ends(most: float, frac_bits: int) -> None:
    width = bits_of(most, frac_bits)
    word = int(np.ceil(most * 2.0**frac_bits))
    assert -(1 << (width - 1)) <= -word and word < 1 << (width - 1)
    assert width <= max(3, int(np.ceil(np.log2(max(word, 1)))) + 3)


def test_regions_come_from_data() -> None:
    rows = np.array([[0.0, 5.0], [1.0, 5.0]])
    box = Box.of(rows)
    assert box.contains(rows) and not box.contains(rows + 2.0)
    images = np.random.default_rng(0).uniform(size=(4, 3, 5, 5))
    assert Box.of(images).low.shape == (1, 3, 1, 1)
    for bad in (np.zeros((0, 3)), np.array([[np.nan]]), np.zeros(3)):
        with pytest.raises(DataError):
            Box.of(bad)
