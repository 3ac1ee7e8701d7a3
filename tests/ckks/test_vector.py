"""Arithmetic of encrypted vectors against NumPy, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tacit import ckks
from tacit.errors import (
    DataError,
    InvalidParameterError,
    LevelError,
    MissingKeyError,
    PeerIncompatibleError,
    PrecisionError,
    ShapeError,
)

X = np.array([0.5, -1.25, 2.0, 0.75, -0.5, 1.0, 0.125, -2.0])
Y = np.array([1.5, 0.25, -1.0, 0.5, 2.0, -0.75, 0.0, 1.0])
CLOSE = 1e-6

Binary = Callable[[Any, Any], Any]
BINARY: dict[str, Binary] = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
}


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize(
    "other",
    [
        "vector",
        "array",
        "list",
        "float",
        "int",
        "one-entry vector",
        "plaintext",
        "one-entry plaintext",
        "plaintext of a lower level",
    ],
)
@pytest.mark.parametrize("size", [8, 5])
def test_binary_operators(keys: ckks.Keys, name: str, other: str, size: int) -> None:
    operator = BINARY[name]
    x, y = X[:size], Y[:size]
    values: dict[str, tuple[Any, Any]] = {
        "vector": (keys.encrypt(y), y),
        "array": (y, y),
        "list": (y.tolist(), y),
        "float": (0.3, 0.3),
        "int": (-3, -3),
        "one-entry vector": (keys.encrypt([0.7]), 0.7),
        "plaintext": (keys.evaluator.encode(y), y),
        "one-entry plaintext": (keys.evaluator.encode(0.7), 0.7),
        "plaintext of a lower level": (keys.evaluator.encode(y, level=2), y),
    }
    given, clear = values[other]
    result = operator(keys.encrypt(x), given)
    assert np.allclose(keys.decrypt(result), operator(x, clear), rtol=0, atol=CLOSE)
    flipped = operator(given, keys.encrypt(x))
    assert np.allclose(keys.decrypt(flipped), operator(clear, x), rtol=0, atol=CLOSE)
    # Nothing may be left beyond the size: sums would count it.
    assert np.allclose(keys.decrypt(result.sum()), operator(x, clear).sum(), rtol=0, atol=8 * CLOSE)


def test_other_operators(keys: ckks.Keys) -> None:
    x = keys.encrypt(X)
    for result, expected in (
        (-x, -X),
        (x / 4, X / 4),
        (x**1, X),
        (x**2, X**2),
        (x**3, X**3),
        (x.square(), X**2),
        (x.sum(), [X.sum()]),
        (x.dot(Y), [X @ Y]),
        (x @ Y, [X @ Y]),
        (x @ keys.encrypt(Y), [X @ Y]),
        (Y @ x, [X @ Y]),
        (x.rotate(3), np.roll(X, -3)),
        (x.rotate(-1), np.roll(X, 1)),
        (x.rotate(5), np.roll(X, -5)),
        (x.rotate(8), X),
        (x.at_level(1), X),
        (x * 1j, X * 1j),
        ((x * (1 + 2j)).conjugate(), X * (1 - 2j)),
    ):
        assert np.allclose(keys.decrypt(result), expected, rtol=0, atol=20 * CLOSE)


def test_whole_factors_cost_no_level(keys: ckks.Keys) -> None:
    x = keys.encrypt(X)
    assert (3 * x).level == (x - 7).level == (-x).level == x.level
    assert (0.5 * x).level == (x * Y).level == (x * x).level == x.level - 1


def test_operands_of_different_levels_meet(keys: ckks.Keys, params: ckks.Parameters) -> None:
    x = keys.encrypt(X)
    square = x * x
    cube = square * x
    total = cube + square + x + 1
    assert total.level == 1
    assert total.native.scale == params.scales[1]
    assert np.allclose(keys.decrypt(total), X**3 + X**2 + X + 1, rtol=0, atol=20 * CLOSE)


def test_complex_values(keys: ckks.Keys) -> None:
    z = X + 1j * Y
    x = keys.encrypt(z)
    assert np.allclose(keys.decrypt(x * x - 1j), z * z - 1j, rtol=0, atol=CLOSE)
    assert keys.decrypt(keys.encrypt(X)).dtype == np.float64


def test_plaintexts(keys: ckks.Keys, params: ckks.Parameters) -> None:
    plaintext = keys.evaluator.encode(X, level=1)
    assert np.allclose(plaintext.decode(), X, rtol=0, atol=CLOSE)
    assert (plaintext.level, len(plaintext), plaintext.bound) == (1, 8, 2.0)
    assert plaintext.scale == params.scales[1]
    x = keys.encrypt(plaintext)
    assert x.level == 1 and np.allclose(keys.decrypt(x), X, rtol=0, atol=CLOSE)
    assert "0.5" not in repr(plaintext)
    foreign = ckks.keygen(ckks.Parameters.from_literal(ckks.N13_DEPTH2)).evaluator.encode(X)
    for error, operation in (
        (LevelError, lambda: x * keys.evaluator.encode(X)),
        (LevelError, lambda: keys.encrypt(X) * keys.evaluator.encode(X, level=0)),
        (ShapeError, lambda: x + keys.evaluator.encode(X[:3], level=1)),
        (PeerIncompatibleError, lambda: x + foreign),
        (DataError, lambda: x * keys.evaluator.encode(0 * X, level=1)),
        (DataError, lambda: x / 0),
        (PrecisionError, lambda: x * 1e-15),
    ):
        with pytest.raises(error):
            operation()


def test_public_encryption(keys: ckks.Keys) -> None:
    x = keys.encrypt(X, public=True)
    assert np.allclose(keys.decrypt(x), X, rtol=0, atol=CLOSE)
    assert x.noise_bits > keys.encrypt(X).noise_bits
    elsewhere = ckks.Evaluator(keys.params)
    y = elsewhere.encrypt(X, keys.public.to_bytes())
    assert y.noise_bits == x.noise_bits
    assert np.allclose(keys.decrypt(keys.load(y.serialize())), X, rtol=0, atol=CLOSE)


@pytest.mark.parametrize(
    "coefficients",
    [
        [1.0, 2.0],
        [0.0, 0.0, 1.0],
        [0.5, -0.25, 0.0, 0.125],
        [0.0, 0.197, 0.0, -0.004, 0.0, 0.01],
        [1, 2, 3, 4, 5, 6, 7, 8],
        [0, 0, 0, 0, 0, 0, 0.5],
        [3.0, 0, 0, 0, 1],
    ],
)
@pytest.mark.parametrize("size", [8, 5])
def test_polynomials(keys: ckks.Keys, coefficients: list[float], size: int) -> None:
    values = X[:size] / 2
    x = keys.encrypt(values)
    result = x.polyval(coefficients)
    expected = np.polynomial.polynomial.polyval(values, coefficients)
    degree = len(coefficients) - 1
    assert result.level == x.level - int(np.ceil(np.log2(degree + 1)))
    assert np.allclose(keys.decrypt(result), expected, rtol=0, atol=20 * CLOSE)
    assert np.allclose(keys.decrypt(result.sum()), expected.sum(), rtol=0, atol=100 * CLOSE)


def test_a_longer_polynomial() -> None:
    keys = ckks.keygen(ckks.parameters(depth=5, log_scale=36))
    values = np.linspace(-1, 1, 50)
    coefficients = np.random.default_rng(7).uniform(-1, 1, 28)
    result = keys.encrypt(values).polyval(coefficients)
    assert result.level == 0
    expected = np.polynomial.polynomial.polyval(values, coefficients)
    assert np.allclose(keys.decrypt(result), expected, rtol=0, atol=1e-5)


def test_level_is_named_when_none_is_left(keys: ckks.Keys) -> None:
    x = keys.encrypt(X, level=0)
    for operation in (
        lambda: x * x,
        lambda: x * 0.5,
        lambda: x * Y,
        lambda: x @ np.ones((8, 3)),
        lambda: x.polyval([0, 0, 1]),
        lambda: x.at_level(1),
    ):
        with pytest.raises(LevelError):
            operation()
    with pytest.raises(LevelError) as refusal:
        x.square()
    assert "parameters(depth=" in refusal.value.hint
    assert np.allclose(keys.decrypt(3 * x + 1), 3 * X + 1, rtol=0, atol=CLOSE)


def test_values_that_may_not_fit_are_refused(keys: ckks.Keys) -> None:
    x = keys.encrypt([30.0], level=1)
    with pytest.raises(PrecisionError, match=r"2\^10\.0.*level 0 holds 2\^9\.0") as refusal:
        x * x
    assert "bounded" in refusal.value.hint
    y = x.bounded(30.0)
    y = y - 20
    assert np.allclose(keys.decrypt(y.bounded(10.0).square()), [100.0], rtol=0, atol=1e-4)
    for bound in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(InvalidParameterError):
            x.bounded(bound)


def test_missing_keys_are_named(params: ckks.Parameters, keys: ckks.Keys) -> None:
    with pytest.raises(MissingKeyError, match=r"\[70\]") as refusal:
        keys.encrypt(np.arange(100.0)).rotate(64 + 6)
    assert "rotations=[70]" in refusal.value.hint
    bare = ckks.Evaluator(params)
    x = bare.load(keys.encrypt(X).serialize())
    assert np.allclose(keys.decrypt(x * 0.5 + 1), X * 0.5 + 1, rtol=0, atol=CLOSE)
    for operation in (lambda: x * x, lambda: x.square(), lambda: x.sum(), lambda: x.polyval([0, 0, 1])):
        with pytest.raises(MissingKeyError):
            operation()


def test_what_does_not_fit_is_refused(keys: ckks.Keys) -> None:
    x = keys.encrypt(X)
    for error, operation in (
        (ShapeError, lambda: x + keys.encrypt(X[:3])),
        (ShapeError, lambda: x * X[:3]),
        (ShapeError, lambda: x.dot(X[:3])),
        (ShapeError, lambda: x @ np.ones((3, 8))),
        (ShapeError, lambda: x @ np.ones((8, 3, 2))),
        (ShapeError, lambda: keys.encrypt(np.ones((2, 2)))),
        (ShapeError, lambda: keys.encrypt([])),
        (ShapeError, lambda: keys.encrypt(np.ones(4097))),
        (ShapeError, lambda: keys.noise(x, X[:3])),
        (DataError, lambda: keys.encrypt([1.0, float("nan")])),
        (DataError, lambda: x * float("inf")),
        (DataError, lambda: x + "word"),
        (DataError, lambda: x * 0),
        (DataError, lambda: x * np.zeros(8)),
        (InvalidParameterError, lambda: x**0),
        (InvalidParameterError, lambda: x.polyval([3.0])),
        (DataError, lambda: x.polyval([[1.0, 2.0]])),
        (InvalidParameterError, lambda: keys.encrypt(X, level=4)),
    ):
        with pytest.raises(error):
            operation()


def test_parameters_do_not_mix(keys: ckks.Keys) -> None:
    other = ckks.keygen(ckks.Parameters.from_literal(ckks.N13_DEPTH2))
    foreign = other.encrypt(X)
    for operation in (
        lambda: keys.encrypt(X) + foreign,
        lambda: keys.decrypt(foreign),
        lambda: keys.load(foreign.serialize()),
    ):
        with pytest.raises(PeerIncompatibleError):
            operation()


def test_nothing_secret_is_shown(keys: ckks.Keys) -> None:
    shown = repr(keys) + repr(keys.encrypt(X)) + repr(keys.secret) + repr(keys.evaluator) + repr(keys.params)
    assert "0.5" not in shown and "1.25" not in shown and len(shown) < 500
