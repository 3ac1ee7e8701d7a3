"""Keys of comparisons from Python: both shares are the function, and wrong arguments are typed errors."""

from __future__ import annotations

import numpy as np
import pytest

from tacit._native import points
from tacit.errors import DataError, InvalidParameterError, ShapeError

KEY = bytes(range(16))


def words(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 64, n, dtype=np.uint64)


@pytest.mark.parametrize("bits", [0, 1, 7, 8, 33, 64])
@pytest.mark.parametrize("n", [0, 1, 40, 129])
def test_both_shares_are_the_function(bits: int, n: int) -> None:
    roots, alpha, flips, x = (
        [words(2 * n, 1), words(2 * n, 2)],
        words(n, 3),
        words(-(-n // 64), 4),
        words(n, 5),
    )
    keys = points.generate(KEY, bits, roots, alpha, flips)
    assert keys.size == points.key_words(bits, n)
    shares = [points.evaluate(KEY, bits, bool(i), roots[i], keys, x) for i in (0, 1)]
    found = np.unpackbits((shares[0] ^ shares[1]).view(np.uint8), count=n, bitorder="little")
    low = np.uint64((1 << bits) - 1)
    flip = np.unpackbits(flips.view(np.uint8), count=n, bitorder="little")
    np.testing.assert_array_equal(found, ((x & low) < (alpha & low)) ^ flip)


def test_a_damaged_key_is_evaluated_to_something_else() -> None:
    """Nothing notices: semi-honest parties do not damage keys, and channels are authenticated."""
    n = 4096
    roots, alpha, flips = [words(2 * n, 1), words(2 * n, 2)], words(n, 3), np.zeros(n // 64, dtype=np.uint64)
    keys = points.generate(KEY, 20, roots, alpha, flips)
    keys[: 2 * n : 2] ^= np.uint64(1 << 40)
    shares = [points.evaluate(KEY, 20, bool(i), roots[i], keys, alpha) for i in (0, 1)]
    ones = np.bitwise_count(shares[0] ^ shares[1]).sum()
    # At alpha itself the function is 0; damaged it is a coin.
    assert 0.4 * n < ones < 0.6 * n


def test_wrong_arguments() -> None:
    roots, one = [words(2, 1), words(2, 2)], words(1, 3)
    keys = points.generate(KEY, 9, roots, one, one)
    for bits in (-1, 65, 1 << 40):
        with pytest.raises(InvalidParameterError):
            points.key_words(bits, 1)
    for count in (-1, 1 << 62):
        with pytest.raises(InvalidParameterError):
            points.key_words(9, count)
    with pytest.raises(InvalidParameterError, match="16 bytes"):
        points.generate(KEY[1:], 9, roots, one, one)
    with pytest.raises(InvalidParameterError, match="64 bits"):
        points.generate(KEY, 65, roots, one, one)
    for wrong in ([words(2, 1), words(1, 2)], [words(4, 1), words(2, 2)]):
        with pytest.raises(ShapeError, match="roots"):
            points.generate(KEY, 9, wrong, one, one)
    with pytest.raises(ShapeError, match="flips"):
        points.generate(KEY, 9, roots, one, words(2, 4))
    with pytest.raises(ShapeError, match="keys"):
        points.evaluate(KEY, 9, False, roots[0], keys[:-1], one)
    with pytest.raises(ShapeError, match="roots"):
        points.evaluate(KEY, 9, False, words(3, 1), keys, one)
    with pytest.raises(ShapeError, match="contiguous"):
        points.evaluate(KEY, 9, False, words(4, 1)[::2], keys, one)
    with pytest.raises(DataError, match="uint64"):
        points.evaluate(KEY, 9, False, roots[0], keys, one.view(np.int64))  # type: ignore[arg-type]
