"""The bound on the largest singular value that intervals are built on: never below it, and hardly above."""

from __future__ import annotations

import numpy as np
import pytest

from tacit.backends.ckks.ranges import _largest_stretch


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (40, 3), (120, 120)])
@pytest.mark.parametrize("size", [1e-200, 1e-3, 1.0, 1e200])
def test_the_bound_holds_and_is_tight(shape: tuple[int, int], size: float) -> None:
    matrix = np.random.default_rng(0).normal(size=shape)
    exact = float(np.linalg.norm(matrix, 2))
    bound = _largest_stretch(matrix * size) / size
    assert exact * (1 - 1e-15) <= bound <= exact * (1 + 1e-9)


def test_nothing_stretches_nothing() -> None:
    assert _largest_stretch(np.zeros((3, 2))) == 0.0
