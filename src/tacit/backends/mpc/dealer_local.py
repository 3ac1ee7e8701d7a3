"""What the parties of `dealer2` compute by themselves. Nothing is sent here.

Truncation after Escudero and others (CRYPTO 2020, ia.cr/2020/338, section 5): for u = x + 2^62, 0 <= u < 2^63
+ 1, and a mask r,

    u + (r mod 2^63) = (c mod 2^63) + 2^63·b,   c = u + r modulo 2^64,   b = top(c) + top(r) modulo 2,

over the integers; divided by 2^cut and rounded down on both sides, it gives the quotient rounded down or up,
with no rare large error. Only c is opened; r mod 2^63 shifted, and top(r), are shared by the dealer. Modulo
2^(64-cut) the quotient is also masked by r >> cut, for which nothing needs to be opened at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from tacit._native import shares
from tacit.backends.mpc.engine import Convolution
from tacit.backends.mpc.rehearsal import convolve_words
from tacit.backends.mpc.steps import Words

__all__ = [
    "Bilinear",
    "bit_words",
    "convolve",
    "expand",
    "mask_parts",
    "masked_product",
    "matmul",
    "pack",
    "quotient",
    "top_bits",
]

Bilinear = Callable[[Words, Words], Words]

OFFSET: Final = np.uint64(1 << 62)
LOW: Final = np.uint64((1 << 63) - 1)
ONE: Final = np.uint64(1)
TOP: Final = np.uint64(63)


def matmul(x: Words, y: Words) -> Words:
    """The product modulo 2^64 of the last two axes; the axes before them broadcast."""
    return shares.matmul(np.ascontiguousarray(x), np.ascontiguousarray(y))


def convolve(x: Words, kernel: Words, placement: Convolution) -> Words:
    """The convolution modulo 2^64, as in ONNX."""
    return convolve_words(x, kernel, placement)


def masked_product(product: Bilinear, index: int, x: tuple[Words, Words], y: tuple[Words, Words]) -> Words:
    """This party's share of xy - r_x·r_y. ``x`` and ``y``: masked words, and this party's share of the mask."""
    if index == 0:
        return np.asarray(product(x[0], y[0] - y[1]) - product(x[1], y[0]))
    return np.asarray(np.negative(product(x[0], y[1]) + product(x[1], y[0])))


def mask_parts(mask: Words, cut: int) -> Words:
    """(r mod 2^63) >> cut, then top(r), one after the other."""
    return np.concatenate([(mask & LOW) >> np.uint64(cut), mask >> TOP])


def quotient(opened: Words, parts: Words, cut: int, index: int) -> tuple[Words, Words, Words]:
    """The quotient of what was ``opened`` as x + r: this party's share, the masked form modulo 2^(64-cut),
    the mask's share.

    ``parts``: this party's share of `mask_parts`.
    """
    high, top = parts[: opened.size], parts[opened.size :]
    c = opened + OFFSET
    sign = c >> TOP
    bit = np.uint64(63 - cut)
    share = ((top - ((top * sign) << ONE)) << bit) - high
    if index == 0:
        share += ((c & LOW) >> np.uint64(cut)) + (sign << bit) - (OFFSET >> np.uint64(cut))
    return share, (c >> np.uint64(cut)) - (OFFSET >> np.uint64(cut)), high + (top << bit)


def bit_words(n: int) -> int:
    """Words of n packed bits."""
    return -(-n // 64)


def pack(bits: Words) -> Words:
    """The lowest bit of each word, 64 to a word; the last word is filled up with 0."""
    packed = np.packbits((bits & ONE).astype(np.uint8), bitorder="little")
    out = np.zeros(8 * bit_words(bits.size), dtype=np.uint8)
    out[: packed.size] = packed
    return out.view(np.uint64)


def expand(packed: Words, n: int) -> Words:
    """Each of the first n bits as a word, 0 or 1."""
    return np.unpackbits(packed.view(np.uint8), count=n, bitorder="little").astype(np.uint64)


def top_bits(words: Words, width: int) -> Words:
    """Bit ``width`` - 1 of each word, packed."""
    return pack(words >> np.uint64(width - 1))
