"""Numbers as words: nearest, exact ends, and an error for what has no word."""

from __future__ import annotations

import numpy as np
import pytest

from tacit.backends.mpc.fixedpoint import check_range, decode, encode, width_of, words_of_range
from tacit.errors import DataError, DataRangeError, InvalidParameterError, PrecisionError


def test_words_are_the_nearest() -> None:
    x = np.random.default_rng(5).normal(0, 100, 1000)
    for bits in (0, 12, 16, 30):
        assert np.max(np.abs(decode(encode(x, bits), bits) - x)) <= 0.5 * 2.0**-bits
    assert encode(np.array([-1.0, 0.5, 2.5, -0.25]), 0).view(np.int64).tolist() == [-1, 0, 2, 0]


def test_integers_are_exact() -> None:
    whole = np.array([-(2**45) + 1, 2**45 - 1, 0], dtype=np.int64)
    assert encode(whole, 16).view(np.int64).tolist() == [int(v) << 16 for v in whole]
    assert encode(np.array([True, False]), 16).tolist() == [1 << 16, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(DataError, match="NaN or infinite"):
        encode(np.array([1.0, bad]), 16)


def test_what_is_too_large_is_refused() -> None:
    largest = np.nextafter(2.0**46, 0)
    assert decode(encode(np.array([-largest]), 16), 16) == -largest
    for bad in (np.array([2.0**46]), np.array([-(2.0**46)]), np.array([2**46]), np.array([2**63], np.uint64)):
        with pytest.raises(DataRangeError, match="2\\^46"):
            encode(bad, 16)
    with pytest.raises(DataError, match="numbers"):
        encode(np.array(["a"]), 16)
    for bits in (-1, 49):
        with pytest.raises(InvalidParameterError):
            encode(np.zeros(1), bits)


def test_ranges() -> None:
    assert words_of_range(4, -0.51, 0.51) == (-9, 9)
    for low, high, width in ((-1, 0, 1), (0, 1, 2), (-128, 127, 8), (-129, 0, 9), (3, 3, 3), (-5, -5, 4)):
        assert width_of(low, high) == width
    with pytest.raises(PrecisionError, match="too large"):
        check_range(16, 0.0, 2.0**46)
    for low, high in ((1.0, 0.0), (np.nan, 1.0), (0.0, np.inf)):
        with pytest.raises(InvalidParameterError):
            check_range(16, low, high)
