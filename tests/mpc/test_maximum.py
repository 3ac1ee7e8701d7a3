"""Comparisons, trees and windows are exact."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tacit.backends.mpc.fixedpoint import decode, encode
from tacit.backends.mpc.functions.comparison import equal, less
from tacit.backends.mpc.functions.maximum import argmax, clip, largest, max_pool, maximum, minimum
from tacit.backends.mpc.rehearsal import Rehearsal, rehearse
from tacit.errors import InvalidParameterError
from tacit.ir.ops import OPS

F = 16


def words(x: np.ndarray) -> np.ndarray:
    return encode(x, F)


def test_less_and_equal() -> None:
    engine = Rehearsal()
    a, b = np.meshgrid(np.arange(-5, 6), np.arange(-5, 6))
    one, two = (engine.public(each.astype(np.int64).view(np.uint64)) for each in (a, b))
    np.testing.assert_array_equal(rehearse(less(engine, one, two, low=-10, high=10)).bits, a < b)
    np.testing.assert_array_equal(rehearse(equal(engine, one, two, low=-10, high=10)).bits, a == b)


def test_the_larger_and_the_smaller() -> None:
    engine = Rehearsal()
    a, b = np.meshgrid(np.linspace(-4, 4, 33), np.linspace(-4, 4, 33))
    one, two = engine.public(words(a)), engine.public(words(b))
    reach = 8 << F
    larger = rehearse(maximum(engine, one, two, low=-reach, high=reach))
    smaller = rehearse(minimum(engine, one, two, low=-reach, high=reach))
    np.testing.assert_array_equal(decode(larger.words, F), np.maximum(a, b))
    np.testing.assert_array_equal(decode(smaller.words, F), np.minimum(a, b))


@pytest.mark.parametrize(("least", "most"), [(-1.0, 1.0), (-9.0, 0.5), (0.0, 9.0), (-9.0, 9.0), (0.25, 0.25)])
def test_clip(least: float, most: float) -> None:
    engine = Rehearsal()
    x = np.linspace(-4, 4, 257)
    steps = clip(engine, engine.public(words(x)), f=F, low=-4.0, high=4.0, least=least, most=most)
    np.testing.assert_array_equal(decode(rehearse(steps).words, F), np.clip(x, least, most))


def test_ends_out_of_order_are_refused() -> None:
    engine = Rehearsal()
    with pytest.raises(InvalidParameterError, match="order"):
        rehearse(clip(engine, engine.public(words(np.ones(1))), f=F, low=0.0, high=1.0, least=1.0, most=0.0))


@pytest.mark.parametrize(("n", "axis"), [*itertools.product([1, 2, 3, 5, 8, 13, 128], [0, 1, 2])])
def test_largest_along_an_axis(n: int, axis: int) -> None:
    shape = [3, 4, 2]
    shape[axis] = n
    x = decode(words(np.random.default_rng(n).uniform(-4, 4, shape)), F)
    engine = Rehearsal()
    found = rehearse(largest(engine, engine.public(words(x)), axis, f=F, low=-4.0, high=4.0))
    np.testing.assert_array_equal(decode(found.words, F), x.max(axis))


@pytest.mark.parametrize(("n", "axis"), [*itertools.product([1, 2, 3, 5, 7, 10], [0, 1])])
def test_the_first_of_equals_is_taken(n: int, axis: int) -> None:
    shape = [60, 60]
    shape[axis] = n
    x = np.random.default_rng(n).integers(-2, 2, shape).astype(np.float64)
    engine = Rehearsal()
    found = rehearse(argmax(engine, engine.public(words(x)), axis, f=F, low=-4.0, high=4.0))
    np.testing.assert_array_equal(found.words, np.argmax(x, axis))


@pytest.mark.parametrize(
    ("kernel", "strides", "pads", "dilations"),
    [
        ((2, 2), (2, 2), (0, 0, 0, 0), (1, 1)),
        ((3, 3), (2, 2), (1, 1, 1, 1), (1, 1)),
        ((3, 2), (1, 2), (0, 1, 2, 0), (1, 1)),
        ((2, 3), (1, 1), (0, 0, 0, 0), (2, 2)),
    ],
)
def test_windows_are_those_of_the_graph(
    kernel: tuple[int, ...], strides: tuple[int, ...], pads: tuple[int, ...], dilations: tuple[int, ...]
) -> None:
    x = decode(words(np.random.default_rng(1).uniform(-4, -1, (2, 3, 9, 8))), F)
    attributes = {"kernel": kernel, "strides": strides, "pads": pads, "dilations": dilations}
    engine = Rehearsal()
    pooled = max_pool(
        engine,
        engine.public(words(x)),
        kernel=kernel,
        strides=strides,
        pads=pads,
        dilations=dilations,
        f=F,
        low=-4.0,
        high=-1.0,
    )
    expected = OPS["MaxPool"].meaning([x], attributes)
    np.testing.assert_array_equal(decode(rehearse(pooled).words, F), expected)
