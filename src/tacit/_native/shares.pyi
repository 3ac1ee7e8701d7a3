"""What a party of a protocol on shares modulo 2^64 computes by itself. Nothing is sent and nothing is
opened.

*Words* are arrays of uint64: C-contiguous, of any shape unless one is named. Results are new arrays, or
``out``. An array that is written to shares no memory with another operand, and nobody writes to an operand
during a call: the work is done without the interpreter lock. Results do not depend on the instruction set
(TACIT_CPU) or on ``threads``, 1 to 256.

A *term* is words, or a stream, which stands for its next words, as many as the result has: random words are
made where they are added. A `ZeroSharing` as a term is a fresh share of zero. All parties must make the
same calls with the same sizes.

*Bits* are packed: bit ``i % 64`` of word ``i // 64`` is bit ``i``. Parts of replicated shares come in
pairs: a party's own and the next party's.

All raise ShapeError for shapes that do not fit, DataError for arrays that do not hold uint64,
InvalidParameterError for arrays that overlap, numbers out of range and a stream that is in use,
InternalError where a stream ends (after 2^41 words).
"""

from collections.abc import Sequence
from typing import Never, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CarryTree",
    "Stream",
    "ZeroSharing",
    "add_up",
    "carry_deal",
    "carry_next",
    "carry_products",
    "carry_values",
    "choice_bit",
    "choice_deal",
    "choice_part",
    "chosen",
    "convolve",
    "field_words",
    "from_planes",
    "mask_parts",
    "matmul",
    "pack",
    "plane_words",
    "product",
    "quotient",
    "quotient_finish",
    "quotient_first",
    "quotient_helper",
    "quotient_second",
    "to_planes",
    "turned",
    "unpack",
    "xor_up",
]

_Words: TypeAlias = NDArray[np.uint64]
_Parts: TypeAlias = tuple[_Words, _Words]
_Term: TypeAlias = _Words | Stream | ZeroSharing

@final
class Stream:
    """Random words of a seed that parties share. It moves forward only: no copy, no position. A call that
    needs an odd number of words throws one away."""

    def __new__(cls, seed: bytes, number: int) -> Stream:
        """Stream `number`, 0 to 2^64 - 1, of 32 secret bytes that never made a stream of this number
        before."""

    def fill(self, out: _Words) -> None:
        """out = the next words."""

    def add_to(self, into: _Words) -> None:
        """into += the next words."""

    def subtract_from(self, into: _Words) -> None:
        """into -= the next words."""

    def xor_to(self, into: _Words) -> None:
        """into ^= the next words."""

    def words(self, n: int) -> _Words:
        """The next n words, (n,)."""

    def __reduce__(self) -> Never: ...

@final
class ZeroSharing:
    """Shares of zero among three parties without communication: F(own) - F(next). Products of replicated
    shares come from here, with a fresh one added."""

    def __new__(cls, own: bytes, next: bytes, number: int) -> ZeroSharing:
        """Stream `number` of the seeds that this party shares with the one before and with the one after,
        as in `Stream`."""

    def add_to(self, into: _Words) -> None:
        """into += a share of zero modulo 2^64."""

    def xor_to(self, into: _Words) -> None:
        """into ^= a share of zero modulo 2."""

    def random(self, n: int) -> _Parts:
        """This party's parts of n random words that nobody knows."""

    def product(
        self,
        x: _Parts,
        y: _Parts,
        *,
        add: Sequence[_Term] = (),
        subtract: Sequence[_Term] = (),
        constant: int = 0,
        out: _Words | None = None,
    ) -> _Words:
        """x1·(y1 + y2) + x2·y1 + a share of zero + Σ add - Σ subtract + constant, word by word."""

    def matmul(self, x: _Parts, y: _Parts, *, threads: int = 1) -> _Words:
        """The same for products of the last two axes, (…, m, k) and (…, k, n); the axes before them
        broadcast."""

    def convolve(
        self,
        x: _Parts,
        kernel: _Parts,
        *,
        strides: tuple[int, int] = (1, 1),
        pads: tuple[int, int, int, int] = (0, 0, 0, 0),
        dilations: tuple[int, int] = (1, 1),
        group: int = 1,
        threads: int = 1,
    ) -> _Words:
        """The same for `convolve`."""

    def both(self, x: _Parts, y: _Parts) -> _Words:
        """x1 & (y1 ^ y2) ^ x2 & y1 ^ a share of zero, bit by bit."""

    def __reduce__(self) -> Never: ...

@final
class CarryTree:
    """Bit width - 1 of a + b, for replicated shares of the bits of a and b: as many rounds as
    `products(width)` has entries.

    A round is `message`, which goes to the party before, then `receive` with that of the party after.
    UsageError: out of order.
    """

    def __new__(cls, n: int, width: int, a: _Parts, b: _Parts) -> CarryTree:
        """Of n numbers; each part holds planes, (width, plane_words(n)), as from `to_planes`. width: 1 to
        64."""

    @staticmethod
    def products(width: int) -> list[int]:
        """By round, the bits that each party sends for each number."""

    @property
    def is_done(self) -> bool:
        """Whether there is no further round."""

    def message(self, zero: ZeroSharing) -> _Words:
        """What this party sends in this round."""

    def receive(self, sent: _Words, received: _Words) -> None:
        """Goes on to the next round."""

    def finish(self) -> _Parts:
        """Shares of the bits, (plane_words(n),) each. The tree is of no further use."""

    def __reduce__(self) -> Never: ...

def add_up(
    add: Sequence[_Term],
    subtract: Sequence[_Term] = (),
    *,
    constant: int = 0,
    n: int | None = None,
    out: _Words | None = None,
) -> _Words:
    """Σ add - Σ subtract + constant, of the shape of the first array; `n`: words of the result where there
    is none."""

def xor_up(
    terms: Sequence[_Term], *, flip: bool = False, n: int | None = None, out: _Words | None = None
) -> _Words:
    """The exclusive or of all terms, every bit of it flipped when `flip`."""

def product(
    x: _Words,
    y: _Words,
    *,
    add: Sequence[_Term] = (),
    subtract: Sequence[_Term] = (),
    constant: int = 0,
    out: _Words | None = None,
) -> _Words:
    """x·y + Σ add - Σ subtract + constant, word by word."""

def matmul(x: _Words, y: _Words, *, threads: int = 1) -> _Words:
    """Products of the last two axes; the axes before them broadcast. Both have at least two axes."""

def convolve(
    x: _Words,
    kernel: _Words,
    *,
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilations: tuple[int, int] = (1, 1),
    group: int = 1,
    threads: int = 1,
) -> _Words:
    """(samples, channels, rows, columns) with (filters, channels / group, rows, columns), as `Conv` of
    ONNX without a bias.

    strides and dilations: of rows and columns, at least 1. pads: zeros above, left, below, right.
    """

def mask_parts(
    mask: Sequence[_Term],
    cut: int,
    *,
    n: int,
    subtract_high: Sequence[_Term] = (),
    subtract_top: Sequence[_Term] = (),
) -> _Parts:
    """What whoever knows the mask r = Σ mask of a truncation shares: (r mod 2^63) >> cut and r >> 63, less
    the terms; (n,) each.

    cut: 1 to 62.
    """

def quotient(
    opened: Sequence[_Term],
    high: _Term,
    top: _Term,
    cut: int,
    *,
    first: bool,
    add: Sequence[_Term] = (),
    subtract: Sequence[_Term] = (),
    out: _Words | None = None,
) -> _Words:
    """One part of x >> cut + Σ add - Σ subtract, where x + 2^62 + r was opened: Σ opened. -2^62 <= x <
    2^62.

    high, top: this part of `mask_parts`. first: whether this part adds what all parties know; one part
    does. The quotient is rounded down or up, up with the probability of the fraction
    (crates/share/src/trunc.rs). cut: 1 to 62.
    """

def plane_words(n: int) -> int:
    """Words that hold n bits."""

def to_planes(x: _Words, width: int, *, plus: _Words | None = None) -> _Words:
    """(width, plane_words(x.size)): the `width` lowest bits of x, or of x + plus, lowest plane first."""

def from_planes(planes: _Words, n: int) -> _Words:
    """The n numbers of (width, plane_words(n)) planes; upper bits are 0."""

def pack(x: _Words) -> _Words:
    """The lowest bit of each word, (plane_words(x.size),)."""

def unpack(bits: _Words, n: int, *, add: Sequence[_Term] = (), subtract: Sequence[_Term] = ()) -> _Words:
    """n bits as words 0 and 1, + Σ add - Σ subtract."""

def chosen(bits: _Words, x: _Words, *, add: Sequence[_Term] = (), subtract: Sequence[_Term] = ()) -> _Words:
    """x where the bit is 1, else 0, + Σ add - Σ subtract."""

def turned(bits: _Words, x: _Words, *, add: Sequence[_Term] = (), subtract: Sequence[_Term] = ()) -> _Words:
    """-x where the bit is 1, else x, + Σ add - Σ subtract."""

# The local steps of `replicated3` (crates/share, module `replicated`).

def field_words(n: int, cut: int) -> int:
    """Words that hold n numbers modulo 2^cut, in fields of 8, 16, 32 or 64 bits."""

def quotient_helper(
    part: _Words, cut: int, own: Stream, following: Stream, out: _Parts
) -> tuple[_Words, _Words]:
    """Position 2: what it sends, the rest, and top bits in fields. out = both of its components."""

def quotient_first(part: _Words, other: _Words, cut: int, own: Stream, out: _Parts) -> _Words:
    """Position 0 with the part of position 1: fields that it sends. out = its own component, and the public part."""

def quotient_second(
    part: _Words, other: _Words, rest: _Words, tops: _Words, cut: int, following: Stream, out: _Parts
) -> _Words:
    """Position 1 with the part of position 0, and what position 2 sent: fields that it sends. out = the public
    part, and its following component."""

def quotient_finish(public: _Words, sent: _Words, received: _Words, cut: int) -> None:
    """Positions 0 and 1: the public part becomes component 1, in place."""

def carry_deal(x: _Parts, sizes: Sequence[int], mask: Stream) -> tuple[_Words, _Words]:
    """Position 0: the masked products of bits of each group of x[0] + x[1], and the plane of the bit above the
    groups."""

def carry_values(b: _Words, dealt: _Words, sizes: Sequence[int], constant: bool) -> tuple[_Words, _Words]:
    """Positions 1 and 2: a part of the values of the groups, not masked, and the plane of the bit above them.
    One of them has the constant."""

def carry_products(values: _Parts, groups: int, own: Stream, following: Stream) -> _Words:
    """This party's part of the products of one level of the tree, with a share of zero."""

def carry_next(values: _Words, products: _Words, groups: int) -> _Words:
    """One component of the values after a level of the tree."""

def choice_deal(choice: _Words, n: int, x: _Parts | None, mask: Stream) -> _Words:
    """Position 0: n bits as words and, where there is an x, x[0] + x[1] times each bit; masked."""

def choice_part(
    turn: _Words, dealt: _Words, common: _Words, extra: Sequence[_Words], mask: Stream, masks: _Words
) -> _Words:
    """Positions 1 and 2: a masked part of the chosen words. masks = its mask."""

def choice_bit(turn: _Words, dealt: _Words, constant: bool, mask: Stream, masks: _Words) -> _Words:
    """Positions 1 and 2: a masked part of the bits as words. masks = its mask."""
