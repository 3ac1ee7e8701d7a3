"""Linear maps and linear combinations of the Rust core against the oracle, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from oracle import linear, polynomial
from oracle.scheme import Ciphertext
from oracle.test_native import SHAPES, World, same
from tacit import _native


def _polynomial(world: World, slots: np.ndarray, scale: float) -> list[int]:
    """The rounded coefficients of a diagonal."""
    plaintext = world.params.encode(slots, level=world.top, scale=scale)
    rows = plaintext.residues().tolist()
    return polynomial.centred(polynomial.from_rows(rows, world.model.q), world.model.modulus(world.top))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("indices", "baby"),
    [
        ([0, 1, 2, 3, 4, 5], 2),
        ([0, 1, 3], 4),
        ([-3, -1, 0, 2], 2),
        ([0, 4], 4),
        ([2, 6], 4),
        ([0], 1),
        ([3], 1),
    ],
)
def test_linear(shape: str, indices: list[int], baby: int) -> None:
    world = World(shape)
    slots, level, scale = world.params.slots, world.top, 2.0**30
    rng = np.random.default_rng(len(indices))
    diagonals = {k: rng.uniform(-1, 1, slots) + 1j * rng.uniform(-1, 1, slots) for k in indices}
    map_ = _native.LinearMap(world.params, diagonals, level=level, scale=scale, baby=baby)
    steps = linear.split(indices, baby)
    needed = {j for js in steps.values() for j in js} | set(steps)
    assert {k % slots for k in map_.rotations} == {k % slots for k in needed if k % slots}
    keys = world.secret.evaluation_keys(rotations=map_.rotations)
    x = world.fresh(level)
    result = _native.Evaluator(world.params, keys).linear(x, map_)

    encoded = {
        giant: {j: _polynomial(world, np.roll(diagonals[giant + j], giant), scale) for j in js}
        for giant, js in steps.items()
    }
    switching = world.wire.read_evaluation_keys(keys.to_bytes())
    if indices == [0]:
        # One product with a plaintext: nothing was raised, so only q_level is divided off.
        product = world.model.multiply_plain(world.read(x), encoded[0][0], scale)
        same(world.read(result), world.model.rescale(product))
    else:
        same(world.read(result), linear.apply(world.model, world.read(x), encoded, switching, scale=scale))

    clear = world.params.decode(world.secret.decrypt(x))
    expected = sum(diagonal * np.roll(clear, -k) for k, diagonal in diagonals.items())
    got = world.params.decode(world.secret.decrypt(result))
    assert np.allclose(got, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_linear_combinations(shape: str) -> None:
    world = World(shape)
    model, scale = world.model, 2.0**20
    ciphertexts = [world.fresh(world.top) for _ in range(3)]
    weights = np.array([[0.5, -1.25, 3.0], [0.0, 1.0, -0.3]])
    results = world.evaluator.linear_combinations(ciphertexts, weights, scale=scale)
    modulus = model.modulus(world.top)
    for row, result in zip(weights, results, strict=True):
        parts = [[0] * model.n, [0] * model.n]
        for weight, ciphertext in zip(row, ciphertexts, strict=True):
            for i, part in enumerate(world.read(ciphertext).parts):
                term = polynomial.scale(part, round(weight * scale), modulus)
                parts[i] = polynomial.add(parts[i], term, modulus)
        same(world.read(result), Ciphertext(tuple(parts), world.top, world.scale * scale))
