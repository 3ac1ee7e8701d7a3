"""The noise that is expected against the noise that is there, after each operation."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tacit import ckks

# Bits by which the expected standard deviation may differ from the measured one. Below: half a bit covers
# the sampling
# error of 4,096 slots. Above: the estimate takes every value to be as large as the bound, while these are
# uniform below
# it, which is up to 0.8 bits for each product, and lets standard deviations add where noises are
# independent, half a bit.
BELOW, ABOVE = 0.25, 3.5
SIZE = 4096


@pytest.fixture(scope="module", params=["N13_DEPTH3", "N14_DEPTH7"])
def wide(request: pytest.FixtureRequest) -> ckks.Keys:
    params = ckks.Parameters.from_literal(getattr(ckks, request.param))
    return ckks.keygen(params, rotations=[1, 2, 64], conjugate=True, matmul=[(32, 32)])


def test_each_operation(wide: ckks.Keys) -> None:
    rng = np.random.default_rng(5)
    a, b = rng.uniform(-1, 1, (2, SIZE))
    x, y = wide.encrypt(a, bound=1.0), wide.encrypt(b, bound=1.0)
    cases = {
        "encrypt": (x, a),
        "encrypt with the public key": (wide.encrypt(a, bound=1.0, public=True), a),
        "add": (x + y, a + b),
        "add cleartext": (x + b, a + b),
        "whole factor": (5 * x, 5 * a),
        "real factor": (0.3 * x, 0.3 * a),
        "cleartext factors": (x * b, a * b),
        "product": (x * y, a * b),
        "square": (x.square(), a * a),
        "product of products": ((x * y) * (x + y), a * b * (a + b)),
        "rotate": (x.rotate(1), np.roll(a, -1)),
        "conjugate": (x.conjugate(), a),
        "lower level": (x.at_level(1), a),
        "polynomial": (x.polyval([0.5, 0.25, 0.125, 0.5]), 0.5 + 0.25 * a + 0.125 * a**2 + 0.5 * a**3),
    }
    for name, (vector, expected) in cases.items():
        measured = wide.noise(vector, expected)
        difference = vector.noise_bits - measured
        said = f"{name}: expected 2^{vector.noise_bits:.2f}, measured 2^{measured:.2f}"
        assert -BELOW < difference < ABOVE, said
        assert np.abs(expected).max() <= vector.noise.bound + 1e-9, name


@pytest.mark.parametrize("kind", ["dense", "one entry a column"])
def test_matrices(wide: ckks.Keys, kind: str) -> None:
    """Few results each, so their errors are gathered over many runs."""
    rng = np.random.default_rng(6)
    weights = rng.uniform(-1, 1, (32, 32)) if kind == "dense" else 0.25 * np.eye(32)
    squares, expected = [], 0.0
    for _ in range(8):
        values = rng.uniform(-1, 1, 32)
        y = wide.encrypt(values, bound=1.0) @ weights
        squares.append(2.0 ** (2 * wide.noise(y, values @ weights)))
        expected = y.noise_bits
    measured = np.log2(np.mean(squares)) / 2
    said = f"expected 2^{expected:.2f}, measured 2^{measured:.2f}"
    # 256 samples, of which neighbours are not quite independent.
    assert -BELOW < expected - measured < ABOVE, said


def test_estimates_grow_with_each_product(wide: ckks.Keys) -> None:
    x = wide.encrypt([1.0], bound=1.0)
    bits = [x.noise_bits]
    while x.level:
        x = x.square()
        bits.append(x.noise_bits)
    assert all(a < b for a, b in pairwise(bits))
    assert bits[-1] < -15
