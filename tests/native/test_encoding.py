"""Encoding from numpy and back."""

import numpy as np
import pytest

from tacit import _native


@pytest.mark.parametrize(
    ("log_n", "log_q", "log_scale"),
    [(12, [50, 40], 40), (13, [50, 50], 50), (14, [50, 50], 60), (15, [50, 50], 50), (16, [50, 50, 50], 60)],
)
def test_round_trip_precision(log_n: int, log_q: list[int], log_scale: int) -> None:
    params = _native.Parameters.from_literal(log_n, log_q, [], log_scale=log_scale)
    rng = np.random.default_rng(log_n)
    values = rng.uniform(-1, 1, params.slots) + 1j * rng.uniform(-1, 1, params.slots)
    plaintext = params.encode(values)
    assert plaintext.level == params.max_level
    assert plaintext.scale == 2.0**log_scale
    error = np.abs(params.decode(plaintext) - values).max()
    rounding = 6 * np.sqrt(params.n / 12) / params.scale
    assert error < 2**-45 + rounding, np.log2(error)
    if log_scale >= 60:
        assert error < 2**-45
    real = params.decode_real(params.encode(values.real))
    assert real.dtype == np.float64
    assert np.abs(real - values.real).max() < 2**-45 + rounding


def test_shapes_and_types(params: _native.Parameters) -> None:
    expected = np.zeros(params.slots)
    expected[:3] = [1, -2, 3]
    for values in (
        [1, -2, 3],
        (1.0, -2.0, 3.0),
        np.array([1, -2, 3], dtype=np.int8),
        np.array([1, -2, 3], dtype=np.float32),
        np.array([1, -2, 3], dtype=np.complex64),
        np.array([1.0, 0.0, -2.0, 0.0, 3.0])[::2],
        np.array([1, -2, 3], dtype=">f8"),
        np.array([3.0, -2.0, 1.0])[::-1],
    ):
        decoded = params.decode(params.encode(values))
        assert decoded.shape == (params.slots,)
        assert np.abs(decoded - expected).max() < 1e-9
    assert np.abs(params.decode(params.encode([]))).max() == 0
    flags = params.decode_real(params.encode(np.array([True, False])))
    assert abs(flags[0] - 1) < 1e-9


def test_complex_slots_keep_both_parts(params: _native.Parameters) -> None:
    values = np.exp(2j * np.pi * np.arange(params.slots) / 7)
    assert np.abs(params.decode(params.encode(values)) - values).max() < 1e-9


def test_level_and_scale(params: _native.Parameters) -> None:
    plaintext = params.encode([0.5], level=1, scale=2.0**30)
    assert (plaintext.level, plaintext.scale) == (1, 2.0**30)
    assert plaintext.params_hash == params.hash
    assert plaintext.residues().shape == (2, params.n)
    assert (plaintext.residues() < np.array(params.q[:2], dtype=np.uint64)[:, None]).all()


def test_encoding_does_not_keep_the_array(params: _native.Parameters) -> None:
    values = np.ones(params.slots)
    plaintext = params.encode(values)
    values[:] = 7
    assert abs(params.decode_real(plaintext)[0] - 1) < 1e-9
