"""What a protocol offers: primitives on secrets of the ring Z_2^64. Everything else is written once above them.

One object per party and session. All parties call the same primitives with the same shapes in the same order. What
talks to other parties is a generator (`Steps`); the rest is local. Numbers are words in two's complement.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import numpy as np

from tacit.backends.mpc.steps import Steps, Words

__all__ = ["SLACK_BITS", "Bits", "Convolution", "Engine", "Secret"]

SLACK_BITS = 62
"""What is truncated must be of at most 2^62 in magnitude: then no quotient is ever off by more than 1."""


class Secret(abc.ABC):
    """Words that are shared. Immutable."""

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]: ...

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @abc.abstractmethod
    def local(self, linear: Callable[..., Words], *others: Self) -> Self:
        """``linear`` of the words: a function that is linear over the ring, applied to each component by itself.

        It takes as many arrays as there are operands and gives one: a sum, a difference, a product with public
        integers, a transposition, a part, a concatenation.
        """

    def __add__(self, other: Self) -> Self:
        return self.local(np.add, other)

    def __sub__(self, other: Self) -> Self:
        return self.local(np.subtract, other)

    def __neg__(self) -> Self:
        return self.local(np.negative)

    def times(self, factor: int | Words) -> Self:
        """The product with public integers (an array broadcasts); nothing is truncated."""
        words = np.uint64(factor % (1 << 64)) if isinstance(factor, int) else factor
        return self.local(lambda x: np.multiply(x, words))

    def reshape(self, *shape: int) -> Self:
        return self.local(lambda x: x.reshape(shape))

    def transpose(self, *axes: int) -> Self:
        return self.local(lambda x: x.transpose(axes))

    def sum(self, axis: int | tuple[int, ...], *, keepdims: bool = False) -> Self:
        return self.local(lambda x: np.sum(x, axis=axis, keepdims=keepdims, dtype=np.uint64))

    def __getitem__(self, key: object) -> Self:
        return self.local(lambda x: x[key])


class Bits(abc.ABC):
    """Bits that are shared modulo 2. Immutable. Their order is that of the flattened shape."""

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]: ...

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


S = TypeVar("S", bound=Secret)
B = TypeVar("B", bound=Bits)
T = TypeVar("T")


@dataclass(frozen=True)
class Convolution:
    """Placement of a two-dimensional convolution, as in ONNX: (rows, columns) each; ``pads``: begins, then ends."""

    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    group: int = 1


class Engine(abc.ABC, Generic[S, B]):
    """One party of a protocol. ``index``: which one; ``parties``: how many compute or deal.

    ``cut``: bits by which a result is truncated, 0 for none: the quotient by 2^cut, rounded down or up. What is
    truncated is at most 2^62 in magnitude.
    """

    name: str
    index: int
    parties: int

    # Local.

    @abc.abstractmethod
    def public(self, words: Words) -> S:
        """A public value in the form of a secret."""

    @abc.abstractmethod
    def add_public(self, x: S, words: Words) -> S:
        """The sum with public words; they broadcast to the shape of ``x``."""

    @abc.abstractmethod
    def xor(self, a: B, b: B) -> B: ...

    @abc.abstractmethod
    def flip(self, a: B) -> B:
        """Not ``a``."""

    @abc.abstractmethod
    def reshape_bits(self, a: B, shape: tuple[int, ...]) -> B: ...

    # Between parties.

    @abc.abstractmethod
    def share(self, owner: int, words: Words | None, shape: tuple[int, ...]) -> Steps[S]:
        """Shares what the party ``owner`` knows; the others give ``None``."""

    @abc.abstractmethod
    def reveal(self, x: S, to: Sequence[int], name: str) -> Steps[Words | None]:
        """Opens a secret to some parties; the others get ``None``. ``name``: of an opening that the plan lists.

        Raises ``RevealError`` where the plan has no such opening, or it was made before.
        """

    def settle(self, *secrets: S) -> Steps[None]:
        """Opens now, under masks, what products would open first: for secrets that are used in many runs."""
        yield from ()

    def stock(self, label: Hashable, run: Callable[[], Steps[Any]]) -> Steps[None]:
        """Makes ahead what can be made of a run before its inputs are there; ``label`` says what is public of it.

        ``run``: called by a dealer, who needs no inputs. What was stocked is used in order by `run`.
        """
        yield from ()

    def run(self, label: Hashable, run: Callable[[], Steps[T]]) -> Steps[T]:
        """A run, with what was made ahead for it, if there is something.

        Raises ``InvalidParameterError`` where that was made under another label.
        """
        return run()

    @abc.abstractmethod
    def multiply(self, x: S, y: S, *, cut: int = 0) -> Steps[S]:
        """Elementwise; shapes broadcast."""

    @abc.abstractmethod
    def matmul(self, x: S, y: S, *, cut: int = 0) -> Steps[S]:
        """Products of the last two axes; the axes before them broadcast. Both have at least two axes."""

    @abc.abstractmethod
    def convolve(self, x: S, kernel: S, placement: Convolution, *, cut: int = 0) -> Steps[S]:
        """(samples, channels, rows, columns) with (filters, channels/group, rows, columns)."""

    @abc.abstractmethod
    def truncate(self, x: S, cut: int) -> Steps[S]: ...

    def multiply_freely(self, x: S, y: S, *, cut: int = 0) -> Steps[S]:
        """As `multiply`; where the product is beyond 2^62, any word comes out, which the caller drops by `select`.

        What a party sends is masked by uniform words, so that nothing shows whether it was beyond.
        """
        return self.multiply(x, y, cut=cut)

    @abc.abstractmethod
    def negative(self, x: S, width: int) -> Steps[B]:
        """Whether x < 0, for -2^(width-1) <= x < 2^(width-1), 1 <= width <= 64."""

    @abc.abstractmethod
    def both(self, a: B, b: B) -> Steps[B]:
        """a and b; equal shapes."""

    @abc.abstractmethod
    def select(self, a: B, x: S) -> Steps[S]:
        """x where a, else 0; equal shapes."""

    @abc.abstractmethod
    def to_ring(self, a: B) -> Steps[S]:
        """1 where a, else 0."""

    def rectify(self, x: S, width: int) -> Steps[S]:
        """max(x, 0), for x as in `negative`."""
        below = yield from self.negative(x, width)
        result = yield from self.select(self.flip(below), x)
        return result
