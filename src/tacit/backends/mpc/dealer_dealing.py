"""The dealer of `dealer2`: party 2. It runs the program on masks, and only sends.

Where a computing party opens something, the dealer draws the same masks from both parties' streams; where
they need shares of what only the dealer knows, it draws party 0's share and sends party 1 the rest. It awaits
nothing: no step of it can depend on anybody's data, and it runs ahead of the parties as far as the channel
lets it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from tacit._native import points
from tacit.backends.mpc import dealer_local as local
from tacit.backends.mpc.dealer_base import DEALER, Party, cut_of, distinct, owner_of, width_of
from tacit.backends.mpc.dealer_secret import WORD, Dealt, DealtBits
from tacit.backends.mpc.dealer_streams import Stream, prg_key
from tacit.backends.mpc.steps import Round, Steps, Words
from tacit.errors import InternalError, MalformedMessageError

__all__ = ["Dealing"]


class _Streams:
    """Of one call: those of party 0 and of party 1."""

    def __init__(self, keys: tuple[bytes, bytes], number: int) -> None:
        self.number = number
        self.of = (Stream(keys[0], number), Stream(keys[1], number))

    def masks(self, secrets: Sequence[Dealt], bits: Sequence[DealtBits] = ()) -> dict[int, Words]:
        """By object: the masks under which they are opened."""
        first, second = self.of
        drawn: dict[int, Words] = {}
        for x in secrets:
            drawn[id(x)] = (first.words(x.size) + second.words(x.size)).reshape(x.shape)
        for a in bits:
            size = local.bit_words(a.size)
            drawn[id(a)] = first.words(size) ^ second.words(size)
        return drawn


def _keep(drawn: dict[int, Words], *items: Dealt | DealtBits) -> None:
    """Once the round is over, as the computing parties do."""
    for item in items:
        if id(item) in drawn:
            item.keep(drawn[id(item)])


class Dealing(Party[Dealt, DealtBits]):
    """``keys``: of the streams of party 0 and of party 1."""

    def __init__(self, tag: bytes, reveals: Collection[str], keys: tuple[bytes, bytes]) -> None:
        super().__init__(DEALER, tag, reveals)
        self._keys = keys

    # Local.

    def public(self, words: Words) -> Dealt:
        return Dealt(np.zeros_like(words, dtype=np.uint64))

    def add_public(self, x: Dealt, words: Words) -> Dealt:
        return Dealt(x.mask, x.known)

    def xor(self, a: DealtBits, b: DealtBits) -> DealtBits:
        if a.mask is None or b.mask is None:
            return DealtBits(a.shape)
        return DealtBits(a.shape, a.mask ^ b.mask)

    def flip(self, a: DealtBits) -> DealtBits:
        return DealtBits(a.shape, a.mask)

    def reshape_bits(self, a: DealtBits, shape: tuple[int, ...]) -> DealtBits:
        if int(np.prod(shape, dtype=np.int64)) != a.size:
            raise InternalError(f"{a.size} bits do not have the shape {shape}")
        return DealtBits(shape, a.mask)

    def arrays(self, x: Dealt) -> list[Words]:
        """Nothing: the dealer has no share of any value."""
        return []

    def adopt(self, arrays: Sequence[Words], shape: tuple[int, ...]) -> Dealt:
        if arrays:
            raise MalformedMessageError("the dealer was given a share of a value; it may hold none")
        return Dealt(np.zeros(shape, dtype=np.uint64), 0)

    # Between parties.

    def share(self, owner: int, words: Words | None, shape: tuple[int, ...]) -> Steps[Dealt]:
        owner_of(owner)
        if words is not None:
            raise InternalError("the dealer was given an input; it may hold none")
        number = self._number()
        yield Round()
        size = int(np.prod(shape, dtype=np.int64))
        return Dealt(Stream(self._keys[owner], number).words(size).reshape(shape))

    def reveal(self, x: Dealt, to: Sequence[int], name: str) -> Steps[Words | None]:
        self._reveal_once(to, name)
        self._number()
        yield Round()
        return None

    def reveal_outside(self, x: Dealt, name: str) -> Steps[list[Words]]:
        self._reveal_once((), name)
        self._number()
        yield Round()
        return []

    def settle(self, *secrets: Dealt) -> Steps[None]:
        missing = distinct(secrets, _narrow)
        if missing:
            drawn = self._streams().masks(missing)
            yield Round()
            _keep(drawn, *missing)

    def truncate(self, x: Dealt, cut: int) -> Steps[Dealt]:
        streams = self._streams()
        drawn = streams.masks(distinct([x], _narrow))
        mask = drawn.get(id(x), x.mask)
        yield self._correction(streams, local.mask_parts(mask.reshape(-1), cut_of(cut)))
        _keep(drawn, x)
        return Dealt(mask >> np.uint64(cut), WORD - cut)

    def negative(self, x: Dealt, width: int) -> Steps[DealtBits]:
        streams = self._streams()
        bits = width_of(width) - 1
        drawn = streams.masks(distinct([x], lambda each: each.known < width))
        mask = drawn.get(id(x), x.mask).reshape(-1)
        roots = [stream.words(2 * x.size) for stream in streams.of]
        keys = points.generate(
            prg_key(self._tag, streams.number), bits, roots, mask, local.top_bits(mask, width)
        )
        yield Round({0: [keys], 1: [keys]})
        _keep(drawn, x)
        return DealtBits(x.shape)

    def both(self, a: DealtBits, b: DealtBits) -> Steps[DealtBits]:
        streams = self._streams()
        drawn = streams.masks((), distinct([a, b], _unopened))
        a_mask, b_mask = (_mask(each, drawn) for each in (a, b))
        share = streams.of[0].words(a_mask.size)
        yield Round({1: [(a_mask & b_mask) ^ share]})
        _keep(drawn, a, b)
        return DealtBits(a.shape)

    def select(self, a: DealtBits, x: Dealt) -> Steps[Dealt]:
        streams = self._streams()
        drawn = streams.masks(distinct([x], _narrow), distinct([a], _unopened))
        choice = local.expand(_mask(a, drawn), x.size)
        mask = drawn.get(id(x), x.mask).reshape(-1)
        yield self._correction(streams, np.concatenate([choice, choice * mask]))
        _keep(drawn, x, a)
        return self.adopt([], x.shape)

    def to_ring(self, a: DealtBits) -> Steps[Dealt]:
        streams = self._streams()
        drawn = streams.masks((), distinct([a], _unopened))
        yield self._correction(streams, local.expand(_mask(a, drawn), a.size))
        _keep(drawn, a)
        return self.adopt([], a.shape)

    def _product(self, product: local.Bilinear, x: Dealt, y: Dealt, cut: int) -> Steps[Dealt]:
        yield from self.settle(x, y)
        streams = self._streams()
        both = np.asarray(product(x.mask, y.mask))
        mask = (streams.of[0].words(both.size) + streams.of[1].words(both.size)).reshape(both.shape) - both
        if not cut:
            yield self._correction(streams, both.reshape(-1))
            return Dealt(mask)
        yield self._correction(streams, local.mask_parts(mask.reshape(-1), cut_of(cut)))
        return Dealt(mask >> np.uint64(cut), WORD - cut)

    def _correction(self, streams: _Streams, words: Words) -> Round:
        """Shares words: party 0's share are the next of its stream."""
        return Round({1: [words - streams.of[0].words(words.size)]})

    def _streams(self) -> _Streams:
        return _Streams(self._keys, self._number())


def _narrow(x: Dealt) -> bool:
    return x.known < WORD


def _unopened(a: DealtBits) -> bool:
    return a.mask is None


def _mask(a: DealtBits, drawn: dict[int, Words]) -> Words:
    found = drawn.get(id(a), a.mask)
    if found is None:
        raise InternalError("bits were used before they were opened")
    return found
