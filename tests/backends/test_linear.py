"""Linear maps between layouts against the matrix product, for shapes on both sides of every power of two."""

from __future__ import annotations

import numpy as np
import pytest

from tacit.backends.ckks.layout import ColumnLayout, ReplicatedLayout, power_of_two
from tacit.backends.ckks.linear import SlotMap, baby_steps, between, input_layout
from tacit.backends.ckks.matrix import Matrix, applied
from tacit.errors import InvalidParameterError

SHAPES = [
    (30, 1),
    (30, 3),
    (5, 7),
    (1, 1),
    (1, 9),
    (64, 64),
    (50, 20),
    (13, 64),
    (2, 33),
    (33, 2),
    (64, 63),
    (2, 64),
]


def apply(slot_map: SlotMap, x: np.ndarray) -> np.ndarray:
    y = sum(d * np.roll(x, -k) for k, d in slot_map.diagonals.items())
    for fold in slot_map.folds:
        y = y + np.roll(y, -fold)
    if slot_map.real_part:
        y = y + np.conj(y)
    return y + slot_map.bias


@pytest.mark.parametrize("slots", [64, 256, 2048])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_two_maps_in_a_row(shape: tuple[int, int], slots: int) -> None:
    rng = np.random.default_rng(1)
    size, hidden = shape
    x = rng.normal(size=size)
    first = between(
        input_layout(size, hidden, slots),
        w1 := rng.normal(size=(hidden, size)),
        b1 := rng.normal(size=hidden),
    )
    y = apply(first, input_layout(size, hidden, slots).pack(x))
    wanted = w1 @ x + b1
    assert np.allclose(first.output.unpack(y), wanted)
    assert np.allclose(y, first.output.pack(wanted)), "slots hold replicas of the result and nothing else"
    second = between(first.output, w2 := rng.normal(size=(4, hidden)), b2 := rng.normal(size=4))
    z = apply(second, y)
    assert np.allclose(z, second.output.pack(w2 @ wanted + b2))


def test_copies_divide_the_diagonals() -> None:
    layout = input_layout(784, 128, 4096)
    assert (layout.period, layout.copies, layout.step, layout.is_complex) == (512, 8, 16, True)
    slot_map = between(layout, np.ones((128, 784)), np.zeros(128))
    assert len(slot_map.diagonals) == 16
    assert slot_map.folds == (2048, 1024, 512, 256, 128)
    assert len(slot_map.rotations) == 8
    assert slot_map.real_part


@pytest.mark.parametrize("count", [1, 2, 4, 16, 32, 64, 128])
def test_baby_steps_cost_less_than_none(count: int) -> None:
    baby = baby_steps(count)
    assert 0.5 * (baby - 1) + count // baby - 1 <= 0.5 * (count - 1)


def test_columns_pack_two_samples_a_slot() -> None:
    layout = ColumnLayout(3, 8, is_complex=True)
    batch = np.arange(48.0).reshape(16, 3)
    packed = layout.pack(batch)
    assert packed.shape == (3, 8)
    assert np.array_equal(layout.unpack(packed), batch)
    assert power_of_two(5) == 8


@pytest.mark.parametrize("fields", [(3, 8, 2, 8), (3, 8, 4, 16), (3, 12, 4, 4), (0, 8, 4, 4)])
def test_layouts_that_make_no_sense_are_refused(fields: tuple[int, int, int, int]) -> None:
    with pytest.raises(InvalidParameterError):
        ReplicatedLayout(*fields)


@pytest.mark.parametrize("share", [0.01, 0.5])
def test_sparse_and_dense_products_agree(share: float) -> None:
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(40, 30)) * (rng.random((40, 30)) < share)
    vectors = rng.normal(size=(30, 7))
    assert np.allclose(applied(Matrix(dense), vectors), dense @ vectors)
