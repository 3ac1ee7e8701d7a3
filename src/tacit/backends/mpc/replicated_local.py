"""What one party of `replicated3` computes by itself: products, quotients, carries. Nothing is sent here.

Positions: in a call with roles, position p of three holds the components p and p+1 (``own``, ``next``) and the streams
of the same numbers, so that stream 0 is known to positions 0 and 2, stream 1 to 1 and 0, stream 2 to 2 and 1. Bits are
packed: bit i % 64 of word i // 64 belongs to element i.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tacit.backends.mpc.engine import Convolution
from tacit.backends.mpc.rehearsal import convolve_words
from tacit.backends.mpc.replicated_streams import Stream
from tacit.backends.mpc.steps import Words

__all__ = [
    "add_fields",
    "and_part",
    "bit_part",
    "deal_monomials",
    "expand",
    "field_words",
    "group_values",
    "helper_quotient",
    "masked",
    "opened_quotient",
    "pack_bits",
    "plane_words",
    "select_dealt",
    "select_part",
    "share_convolve",
    "share_matmul",
    "share_multiply",
    "subtract_fields",
    "top_plane",
]

OFFSET: Final = np.uint64(1 << 62)
LOW: Final = np.uint64((1 << 63) - 1)
ONE: Final = np.uint64(1)
TOP: Final = np.uint64(63)


def _with_zero(part: Words, own: Stream, following: Stream) -> Words:
    """Adds a fresh share of zero (Araki et al., CCS 2016, section 2.2). The result is C-contiguous."""
    part = np.ascontiguousarray(part)
    part += own.fill(part.size).reshape(part.shape)
    part -= following.fill(part.size).reshape(part.shape)
    return part


def share_multiply(x0: Words, x1: Words, y0: Words, y1: Words, own: Stream, following: Stream) -> Words:
    """This party's part x0·(y0 + y1) + x1·y0 of the product and a share of zero (Araki et al., section 2.1)."""
    return _with_zero(x0 * (y0 + y1) + x1 * y0, own, following)


def masked(part: Words, own: Stream, following: Stream) -> Words:
    """A copy of a part with a share of zero."""
    return _with_zero(part.copy(), own, following)


def share_matmul(x0: Words, x1: Words, y0: Words, y1: Words, own: Stream, following: Stream) -> Words:
    return _with_zero(np.matmul(x0, y0 + y1) + np.matmul(x1, y0), own, following)


def share_convolve(
    x0: Words, x1: Words, y0: Words, y1: Words, placement: Convolution, own: Stream, following: Stream
) -> Words:
    part = convolve_words(x0, y0 + y1, placement) + convolve_words(x1, y0, placement)
    return _with_zero(part, own, following)


# Truncation.


def _field(cut: int) -> tuple[type[np.unsignedinteger[Any]], int]:
    """Type and bits of the numbers modulo 2^cut that are sent."""
    for kind, bits in ((np.uint8, 8), (np.uint16, 16), (np.uint32, 32)):
        if cut <= bits:
            return kind, bits
    return np.uint64, 64


def field_words(n: int, cut: int) -> int:
    """Words that hold n numbers modulo 2^cut."""
    return -(-n * _field(cut)[1] // 64)


def helper_quotient(part: Words, cut: int, base: Words, top: Words) -> tuple[Words, Words]:
    """Of the mask r = -``part``: 2^(63-cut)·t - ((r mod 2^63) >> cut) - ``base``, and t - ``top``, t its top bit.

    ``top`` and the second: numbers modulo 2^cut, packed.
    """
    mask = np.negative(part)
    bit = mask >> TOP
    rest = (bit << np.uint64(63 - cut)) - ((mask & LOW) >> np.uint64(cut)) - base
    kind, _ = _field(cut)
    fields = np.negative(top.view(kind))
    fields[: bit.size] += bit.astype(kind)
    return rest, fields.view(np.uint64)


def opened_quotient(opened: Words, cut: int, top: Words, mask: Words) -> tuple[Words, Words]:
    """Of c = ``opened`` + 2^62: what is public, and m·``top`` - ``mask``, m the top bit of c.

    ``top``, ``mask`` and the second: numbers modulo 2^cut, packed.
    """
    c = opened + OFFSET
    sign = c >> TOP
    public = ((c & LOW) >> np.uint64(cut)) - (OFFSET >> np.uint64(cut)) + (sign << np.uint64(63 - cut))
    kind, _ = _field(cut)
    fields = np.negative(mask.view(kind))
    fields[: sign.size] += top.view(kind)[: sign.size] * sign.astype(kind)
    return public, fields.view(np.uint64)


def subtract_fields(words: Words, fields: Words, cut: int) -> None:
    """Subtracts 2^(64-cut) times the numbers modulo 2^cut that are packed in ``fields``, in place."""
    kind, _ = _field(cut)
    words -= fields.view(kind)[: words.size].astype(np.uint64) << np.uint64(64 - cut)


def add_fields(a: Words, b: Words, cut: int) -> Words:
    """Sums of numbers modulo 2^cut, packed."""
    kind, _ = _field(cut)
    return (a.view(kind) + b.view(kind)).view(np.uint64)


# Bits.


def plane_words(n: int) -> int:
    return -(-n // 64)


def pack_bits(bits: npt.NDArray[Any]) -> Words:
    """One word for 64 truth values; the last word is filled up with 0."""
    packed = np.packbits(bits, bitorder="little")
    out = np.zeros(8 * plane_words(bits.size), dtype=np.uint8)
    out[: packed.size] = packed
    return out.view(np.uint64)


def expand(plane: Words, n: int) -> Words:
    """Each of the first n bits as a word, 0 or 1."""
    return np.asarray(np.unpackbits(plane.view(np.uint8), count=n, bitorder="little").astype(np.uint64))


def top_plane(words: Words, width: int) -> Words:
    """Bit ``width`` - 1 of each number."""
    return pack_bits((words >> np.uint64(width - 1)).astype(np.uint8) & 1)


def _planes(words: Words, count: int) -> list[Words]:
    return [pack_bits((words >> np.uint64(bit)).astype(np.uint8) & 1) for bit in range(count)]


def and_part(x: tuple[Words, Words], y: tuple[Words, Words], own: Stream, following: Stream) -> Words:
    """This party's part of the product of bits and a share of zero modulo 2 (Araki et al., section 2.1)."""
    part: Words = (x[0] & (y[0] ^ y[1])) ^ (x[1] & y[0])
    part ^= own.fill(part.size).reshape(part.shape)
    part ^= following.fill(part.size).reshape(part.shape)
    return part


def deal_monomials(a: Words, sizes: Sequence[int]) -> Words:
    """Products of the bits of each group: (sum of 2^size - 1, words) planes. Groups begin with bit 0.

    Monomial s of a group, 1 <= s < 2^size, is the product of the bits whose places are set in s.
    """
    bits = iter(_planes(a, sum(sizes)))
    out: list[Words] = []
    for size in sizes:
        first = len(out)
        for _ in range(size):
            bit = next(bits)
            out += [bit, *(bit & before for before in out[first:])]
    return np.stack(out)


def group_values(b: Words, sizes: Sequence[int], dealt: Words, constant: bool) -> Words:
    """This party's part of whether each group of bits of a + b makes a carry, and whether it passes one on.

    ``dealt``: a part of the planes of `deal_monomials`; ``constant``: this party adds what does not depend on a.
    First the planes of carries made, of all groups; then those of carries passed on, of all but the first.

    With g = a_j·b_j and p = a_j + b_j modulo 2, a carry out of bits 0..j is g_j + p_j·(that of 0..j-1): a polynomial in
    the bits of a, whose coefficients are polynomials in those of b; both are expanded here.
    """
    bits = iter(_planes(b, sum(sizes)))
    zero = np.zeros(plane_words(b.size), dtype=np.uint64)
    made: list[Words] = []
    passed: list[Words] = []
    row = 0
    for size in sizes:
        carry: list[Words] = [zero]
        through: list[Words] = [~zero]
        for _ in range(size):
            bit = next(bits)
            # Times (a_j + b_j): the coefficient of s stays with b_j as a factor, and goes to s with j.
            upper = list(carry)
            carry = [*(each & bit for each in carry), *upper]
            carry[len(upper)] = carry[len(upper)] ^ bit
            through = [*(each & bit for each in through), *through]
        monomials = dealt[row : row + len(carry) - 1]
        row += len(carry) - 1
        for into, coefficients in ((made, carry), (passed, through)):
            part = coefficients[0].copy() if constant else zero.copy()
            for coefficient, monomial in zip(coefficients[1:], monomials, strict=True):
                part ^= coefficient & monomial
            into.append(part)
    return np.stack(made + passed[1:])


# A word chosen by a bit.


def select_dealt(choice: Words, x0: Words, x1: Words) -> Words:
    """For the bits of ``choice``: the bits as words, then their products with x0 + x1."""
    bits = expand(choice, x0.size)
    return np.concatenate([bits, bits * (x0 + x1)])


def select_part(turn: Words, dealt: Words, common: Words, extra: Words) -> Words:
    """``turn``·``extra`` + (1 - 2·``turn``)·(dealt product + dealt bit·``common``), for the bits of ``turn``.

    ``common``: the component that both holders of ``turn`` know.
    """
    n = common.size
    bits = expand(turn, n)
    product = dealt[n:] + dealt[:n] * common
    return bits * extra + product - ((bits * product) << ONE)


def bit_part(turn: Words, dealt: Words, constant: bool) -> Words:
    """(1 - 2·``turn``)·dealt bit for the bits of ``turn``, and ``turn`` itself from the one that adds the constant."""
    bits = expand(turn, dealt.size)
    part = dealt - ((bits * dealt) << ONE)
    return part + bits if constant else part
