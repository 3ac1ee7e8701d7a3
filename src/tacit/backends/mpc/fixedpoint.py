"""Real numbers as words: fixed point in two's complement, ``bits`` fractional bits.

x is the word round(x·2^bits) modulo 2^64. What is encoded stays below 2^62 in magnitude, so that differences of two
numbers and truncations have room.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.backends.mpc.engine import SLACK_BITS
from tacit.backends.mpc.steps import Words
from tacit.errors import DataError, DataRangeError, InvalidParameterError, PrecisionError

__all__ = ["MOST_BITS", "check_range", "decode", "encode", "width_of", "word", "words_of_range"]

MOST_BITS = 48
"""Most fractional bits of a number."""


def encode(array: npt.ArrayLike, bits: int) -> Words:
    """The nearest words, ties to even. ``array``: real numbers, any shape.

    Raises ``DataError`` for what is no real number, NaN or infinite, ``DataRangeError`` for 2^(62 - bits) or more
    in magnitude, ``InvalidParameterError`` for bits outside 0 … `MOST_BITS`.
    """
    _check_bits(bits)
    given = np.asarray(array)
    if given.dtype.kind not in "fiub":
        raise DataError(
            f"numbers are needed. Got an array of type {given.dtype} instead.",
            hint="convert the data to float64 first",
        )
    if given.dtype.kind == "u" and given.size and int(given.max()) >= 1 << (SLACK_BITS - bits):
        raise _too_large(bits)
    if given.dtype.kind in "iub":
        whole = given.astype(np.int64)
        limit = 1 << (SLACK_BITS - bits)
        if whole.size and (int(whole.max()) >= limit or int(whole.min()) <= -limit):
            raise _too_large(bits)
        return np.asarray(whole << bits).view(np.uint64)
    real = given.astype(np.float64)
    if not np.isfinite(real).all():
        raise DataError("the data has NaN or infinite values", hint="replace or drop them first")
    if np.max(np.abs(real), initial=0.0) >= math.ldexp(1.0, SLACK_BITS - bits):
        raise _too_large(bits)
    return np.asarray(np.rint(np.ldexp(real, bits))).astype(np.int64).view(np.uint64)


def decode(words: Words, bits: int) -> npt.NDArray[np.float64]:
    """The numbers that words stand for."""
    _check_bits(bits)
    return np.asarray(np.ldexp(words.view(np.int64).astype(np.float64), -bits))


def word(value: float, bits: int) -> int:
    """One constant, as a signed integer."""
    return round(math.ldexp(value, bits))


def words_of_range(f: int, low: float, high: float) -> tuple[int, int]:
    """The least and the largest word that a number of [low, high] has: rounded outwards."""
    check_range(f, low, high)
    return math.floor(math.ldexp(low, f)), math.ceil(math.ldexp(high, f))


def width_of(low: int, high: int) -> int:
    """Bits in which every integer of low … high fits in two's complement."""
    return max(low.bit_length() if low >= 0 else (-low - 1).bit_length(), high.bit_length()) + 1


def check_range(f: int, low: float, high: float) -> None:
    """Raises where [low, high] is no range, or does not fit into the ring at f fractional bits."""
    _check_bits(f)
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise InvalidParameterError("a range must have a finite lower end that is not above its upper end")
    if max(abs(low), abs(high)) > math.ldexp(1.0, SLACK_BITS - 1 - f):
        raise PrecisionError(
            f"the range {low:.6g} … {high:.6g} is too large for words with {f} fractional bits",
            hint="plan with fewer fractional bits, or scale the model",
        )


def _check_bits(bits: Any) -> None:
    if not isinstance(bits, int) or not 0 <= bits <= MOST_BITS:
        raise InvalidParameterError(f"fractional bits must be 0 … {MOST_BITS}. Got {bits} instead.")


def _too_large(bits: int) -> DataRangeError:
    return DataRangeError(
        f"a value is 2^{SLACK_BITS - bits} or more in magnitude, too large for {bits} fractional bits",
        hint="scale the data, or plan with fewer fractional bits",
    )
