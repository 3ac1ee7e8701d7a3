"""A protocol without secrets: the primitives on plain words, with the rounds and bits that another one declares.

What is written above the primitives runs on it unchanged: errors of functions are swept with it, ranges that a plan
proved are checked with it, and costs are counted with it. It protects nothing and sends nothing.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import numpy as np

from tacit._native import shares
from tacit.backends.mpc.engine import SLACK_BITS, Bits, Convolution, Engine, Secret
from tacit.backends.mpc.steps import Round, Steps, Tally, Words
from tacit.errors import InternalError

__all__ = ["Free", "Plain", "PlainBits", "Price", "Prices", "Rehearsal", "Work", "convolve_words", "rehearse"]

T = TypeVar("T")


@dataclass(eq=False)
class Plain(Secret):
    """``known``: the bits of which the protocol that is rehearsed has the masked form (`Prices.masked`)."""

    words: Words
    known: int = 64

    @property
    def shape(self) -> tuple[int, ...]:
        return self.words.shape

    def local(self, linear: Callable[..., Words], *others: Self) -> Self:
        words = np.asarray(linear(self.words, *(other.words for other in others)))
        return type(self)(words, min(self.known, *(other.known for other in others), 64))


@dataclass(eq=False)
class PlainBits(Bits):
    """``opened``: whether the protocol that is rehearsed has the masked form."""

    bits: np.ndarray[Any, np.dtype[np.bool_]]
    opened: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.bits.shape)


Price = Sequence[tuple[int, ...]]
"""By round: the bits that each party sends."""


class Prices(abc.ABC):
    """What the primitives of a protocol cost. ``n``: elements of the result.

    ``masked``: the protocol works on masked words. A result that has no masked form, or not of all its bits, is opened
    under a mask the first time that a primitive needs more of it: with that primitive's first round, but for products
    in a round before. The prices are then those for operands that are masked; `opening` is what comes on top.
    ``ahead``: the parties of `Tally.ahead`.
    """

    parties: int
    masked: bool = False
    ahead: frozenset[int] = frozenset()

    def opening(self, words: int) -> tuple[int, ...]:
        """The bits that each party sends where so many words are opened under masks."""
        return (0,) * self.parties

    @abc.abstractmethod
    def share(self, owner: int, n: int) -> Price: ...

    @abc.abstractmethod
    def reveal(self, to: Sequence[int], n: int) -> Price: ...

    @abc.abstractmethod
    def multiply(self, n: int, cut: int) -> Price: ...

    def matmul(self, n: int, cut: int) -> Price:
        return self.multiply(n, cut)

    def convolve(self, n: int, cut: int) -> Price:
        return self.multiply(n, cut)

    @abc.abstractmethod
    def truncate(self, n: int, cut: int) -> Price: ...

    @abc.abstractmethod
    def negative(self, n: int, width: int) -> Price: ...

    @abc.abstractmethod
    def both(self, n: int) -> Price: ...

    @abc.abstractmethod
    def select(self, n: int) -> Price: ...

    @abc.abstractmethod
    def to_ring(self, n: int) -> Price: ...

    @abc.abstractmethod
    def rectify(self, n: int, width: int) -> Price: ...


class Free(Prices):
    """Nothing costs anything: for sweeps of errors."""

    parties = 1

    def share(self, owner: int, n: int) -> Price:
        return ()

    def reveal(self, to: Sequence[int], n: int) -> Price:
        return ()

    def multiply(self, n: int, cut: int) -> Price:
        return ()

    def truncate(self, n: int, cut: int) -> Price:
        return ()

    def negative(self, n: int, width: int) -> Price:
        return ()

    def both(self, n: int) -> Price:
        return ()

    def select(self, n: int) -> Price:
        return ()

    def to_ring(self, n: int) -> Price:
        return ()

    def rectify(self, n: int, width: int) -> Price:
        return ()


@dataclass
class Work:
    """Local work that all parties do alike: ring multiplications of products, elements truncated and compared."""

    products: int = 0
    elements: int = 0
    compared_bits: int = 0


@dataclass
class Rehearsal(Engine[Plain, PlainBits]):
    """``random``: rounds truncations as the real protocols do, up with the probability of the fraction."""

    prices: Prices = field(default_factory=Free)
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))
    work: Work = field(default_factory=Work)
    name = "rehearsal"
    index = 0

    def __post_init__(self) -> None:
        self.parties = self.prices.parties

    def public(self, words: Words) -> Plain:
        return Plain(np.asarray(words, dtype=np.uint64))

    def add_public(self, x: Plain, words: Words) -> Plain:
        return Plain(x.words + words, x.known)

    def xor(self, a: PlainBits, b: PlainBits) -> PlainBits:
        return PlainBits(a.bits ^ b.bits, a.opened and b.opened)

    def flip(self, a: PlainBits) -> PlainBits:
        return PlainBits(~a.bits, a.opened)

    def reshape_bits(self, a: PlainBits, shape: tuple[int, ...]) -> PlainBits:
        return PlainBits(a.bits.reshape(shape), a.opened)

    def share(self, owner: int, words: Words | None, shape: tuple[int, ...]) -> Steps[Plain]:
        if words is None:
            raise InternalError("a rehearsal knows every input")
        result = Plain(np.asarray(words, dtype=np.uint64).reshape(shape))
        yield from _pay(self.prices.share(owner, result.size))
        return result

    def reveal(self, x: Plain, to: Sequence[int], name: str) -> Steps[Words | None]:
        yield from _pay(self.prices.reveal(to, x.size))
        return x.words

    def multiply(self, x: Plain, y: Plain, *, cut: int = 0) -> Steps[Plain]:
        words = x.words * y.words
        self._check(lambda: x.words.view(np.int64).astype(float) * y.words.view(np.int64), cut)
        self.work.elements += words.size
        yield from self.settle(x, y)
        yield from _pay(self.prices.multiply(words.size, cut))
        return self._cut(words, cut)

    def matmul(self, x: Plain, y: Plain, *, cut: int = 0) -> Steps[Plain]:
        words = _matmul_words(x.words, y.words)
        self._check(lambda: _real(x) @ _real(y), cut)
        self.work.products += words.size * x.shape[-1]
        yield from self.settle(x, y)
        yield from _pay(self.prices.matmul(words.size, cut))
        return self._cut(words, cut)

    def convolve(self, x: Plain, kernel: Plain, placement: Convolution, *, cut: int = 0) -> Steps[Plain]:
        words = convolve_words(x.words, kernel.words, placement)
        self.work.products += words.size * kernel.size // kernel.shape[0]
        yield from self.settle(x, kernel)
        yield from _pay(self.prices.convolve(words.size, cut))
        return self._cut(words, cut)

    def truncate(self, x: Plain, cut: int) -> Steps[Plain]:
        yield from self._open([x], (), self.prices.truncate(x.size, cut))
        self.work.elements += x.size
        return self._cut(x.words, cut)

    def multiply_freely(self, x: Plain, y: Plain, *, cut: int = 0) -> Steps[Plain]:
        """Beyond 2^62, a random word: whoever does not drop it is found out."""
        words = x.words * y.words
        self.work.elements += words.size
        yield from self.settle(x, y)
        yield from _pay(self.prices.multiply(words.size, cut))
        beyond = np.abs(_real(x) * _real(y)) > 2.0**SLACK_BITS if cut else np.zeros(words.shape, bool)
        kept = self._cut(np.where(beyond, np.uint64(0), words), cut)
        found = np.where(beyond, self.random.integers(0, 1 << 64, words.shape, np.uint64), kept.words)
        return Plain(found, kept.known)

    def negative(self, x: Plain, width: int) -> Steps[PlainBits]:
        self._check_width(x, width)
        self.work.compared_bits += x.size * width
        yield from self._open([x], (), self.prices.negative(x.size, width), need=width)
        return PlainBits(x.words.view(np.int64) < 0, not self.prices.masked)

    def both(self, a: PlainBits, b: PlainBits) -> Steps[PlainBits]:
        yield from self._open((), [a, b], self.prices.both(a.size))
        return PlainBits(a.bits & b.bits, not self.prices.masked)

    def select(self, a: PlainBits, x: Plain) -> Steps[Plain]:
        yield from self._open([x], [a], self.prices.select(x.size))
        self.work.elements += x.size
        return Plain(x.words * a.bits, self._shared)

    def to_ring(self, a: PlainBits) -> Steps[Plain]:
        yield from self._open((), [a], self.prices.to_ring(a.size))
        return Plain(a.bits.astype(np.uint64), self._shared)

    def rectify(self, x: Plain, width: int) -> Steps[Plain]:
        if self.prices.masked:
            return (yield from super().rectify(x, width))
        self._check_width(x, width)
        self.work.compared_bits += x.size * width
        yield from _pay(self.prices.rectify(x.size, width))
        return Plain(np.maximum(x.words.view(np.int64), 0).view(np.uint64))

    def _cut(self, words: Words, cut: int) -> Plain:
        if not cut:
            return Plain(words)
        signed = words.view(np.int64)
        if signed.size and max(-int(signed.min()), int(signed.max())) > 1 << SLACK_BITS:
            raise InternalError(
                "a rehearsal truncates a number beyond 2^62: the plan proved too small a range"
            )
        rest = words & np.uint64((1 << cut) - 1)
        up = self.random.integers(0, 1 << cut, words.shape, dtype=np.uint64) < rest
        return Plain(((signed >> cut) + up).view(np.uint64), 64 - cut if self.prices.masked else 64)

    @property
    def _shared(self) -> int:
        """Bits known in masked form of a result that comes as shares."""
        return 0 if self.prices.masked else 64

    def settle(self, *secrets: Plain) -> Steps[None]:
        if any(x.known < 64 for x in secrets):
            yield from self._open(secrets, (), [(0,) * self.parties])

    def _open(
        self, secrets: Sequence[Plain], bits: Sequence[PlainBits], price: Price, *, need: int = 64
    ) -> Steps[None]:
        """Pays, and opens with the first round the masked forms that are missing."""
        lacking = {id(x): x for x in secrets if x.known < need}
        closed = {id(a): a for a in bits if not a.opened}
        if lacking or closed:
            words = sum(x.size for x in lacking.values()) + sum(-(-a.size // 64) for a in closed.values())
            added = self.prices.opening(words)
            price = [tuple(a + b for a, b in zip(added, price[0], strict=True)), *price[1:]]
        yield from _pay(price)
        for x in lacking.values():
            x.known = 64
        for a in closed.values():
            a.opened = True

    @staticmethod
    def _check(real: Callable[[], Any], cut: int) -> None:
        """The product in float64, so that one that wraps around is seen."""
        if cut and np.max(np.abs(real()), initial=0.0) > 2.0**SLACK_BITS * 1.001:
            raise InternalError("a product in a rehearsal is beyond 2^62: the plan proved too small a range")

    @staticmethod
    def _check_width(x: Plain, width: int) -> None:
        signed = x.words.view(np.int64)
        if width < 64 and signed.size:
            low, high = int(signed.min()), int(signed.max())
            if low < -(1 << (width - 1)) or high >= 1 << (width - 1):
                raise InternalError(f"a comparison of {width} bits in a rehearsal meets {low} to {high}")


def rehearse(steps: Steps[T], tally: Tally | None = None) -> T:
    """Runs the steps of a rehearsal, counting what they declare."""
    inbox: Any = None
    while True:
        try:
            each = steps.send(inbox)
        except StopIteration as end:
            result: T = end.value
            return result
        inbox = {}
        if tally is not None:
            tally.add(each.declared)


def convolve_words(x: Words, kernel: Words, placement: Convolution) -> Words:
    """The convolution modulo 2^64."""
    return shares.convolve(
        np.ascontiguousarray(x),
        np.ascontiguousarray(kernel),
        strides=placement.strides,
        pads=placement.pads,
        dilations=placement.dilations,
        group=placement.group,
    )


def _matmul_words(x: Words, y: Words) -> Words:
    return shares.matmul(np.ascontiguousarray(x), np.ascontiguousarray(y))


def _real(x: Plain) -> Any:
    return x.words.view(np.int64).astype(np.float64)


def _pay(price: Price) -> Steps[None]:
    for bits in price:
        yield Round(declared=tuple(bits))
