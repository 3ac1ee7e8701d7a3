"""Encrypted vector times clear matrix."""

from __future__ import annotations

import numpy as np
import pytest

from tacit import ckks
from tacit.ckks.matrix import matrix_rotations
from tacit.errors import DataError, LevelError, MissingKeyError, ShapeError


@pytest.mark.parametrize("shape", [(8, 3), (3, 8), (16, 16), (1, 5), (7, 1), (5, 3), (8, 8)])
def test_product(keys: ckks.Keys, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(sum(shape))
    weights, x = rng.uniform(-1, 1, shape), rng.uniform(-1, 1, shape[0])
    y = keys.encrypt(x) @ weights
    assert y.size == shape[1] and y.level == keys.params.depth - 1
    assert np.allclose(keys.decrypt(y), x @ weights, rtol=0, atol=1e-6)
    # The result is as clean as a fresh vector: another layer follows.
    assert np.allclose(keys.decrypt(y.sum()), (x @ weights).sum(), rtol=0, atol=1e-5)
    assert np.allclose(keys.decrypt(weights.T @ keys.encrypt(x)), x @ weights, rtol=0, atol=1e-6)


def test_two_layers_with_prepared_matrices(keys: ckks.Keys) -> None:
    rng = np.random.default_rng(1)
    first, second = rng.uniform(-1, 1, (8, 3)), rng.uniform(-1, 1, (3, 8))
    layers = keys.evaluator.matrix(first), keys.evaluator.matrix(second, level=1)
    for _ in range(2):
        x = rng.uniform(-1, 1, 8)
        y = (keys.encrypt(x) @ layers[0]).square() @ layers[1]
        assert y.level == 0
        assert np.allclose(keys.decrypt(y), (x @ first) ** 2 @ second, rtol=0, atol=1e-5)


def test_sparse_matrix(keys: ckks.Keys) -> None:
    x = np.arange(8.0)
    shift = np.eye(8, k=1)
    assert np.allclose(keys.decrypt(keys.encrypt(x) @ shift), x @ shift, rtol=0, atol=1e-6)


def test_rotations_are_about_two_roots() -> None:
    assert len(matrix_rotations(1024, 1024)) <= 62
    assert len(matrix_rotations(784, 128)) <= 26
    assert ckks.rotations_for(sums=[8]) == [1, 2, 4]
    assert ckks.rotations_for(powers=16) == [1, 2, 4, 8]
    assert ckks.rotations_for() == []


def test_refusals(keys: ckks.Keys) -> None:
    evaluator = keys.evaluator
    with pytest.raises(MissingKeyError):
        keys.encrypt(np.ones(64)) @ np.ones((64, 64))
    with pytest.raises(LevelError, match="encoded for level 3") as refusal:
        keys.encrypt(np.ones(8), level=1) @ evaluator.matrix(np.ones((8, 3)))
    assert "level=1" in refusal.value.hint
    for error, weights in (
        (ShapeError, np.ones(8)),
        (ShapeError, np.ones((8, 0))),
        (ShapeError, np.ones((8, 5000))),
        (DataError, np.full((8, 3), np.nan)),
        (DataError, np.zeros((8, 3))),
    ):
        with pytest.raises(error):
            evaluator.matrix(weights)
    with pytest.raises(LevelError):
        evaluator.matrix(np.ones((8, 3)), level=0)
