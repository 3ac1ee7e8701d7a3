"""A computing party of `dealer2`: party 0 or 1.

Every opening sends this party's share plus its share of a fresh mask, words of a stream that only it and the
dealer know. What the dealer shares, party 0 takes from its stream, and party 1 is sent what is missing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from tacit._native import points
from tacit.backends.mpc import dealer_local as local
from tacit.backends.mpc.dealer_base import DEALER, Party, cut_of, distinct, owner_of, width_of
from tacit.backends.mpc.dealer_secret import WORD, Masked, MaskedBits
from tacit.backends.mpc.dealer_streams import SEED_BYTES, Stream, expanded, prg_key
from tacit.backends.mpc.steps import Inbox, Round, Steps, Words
from tacit.errors import InternalError, MalformedMessageError, ShapeError

__all__ = ["Computing"]

Known = tuple[Words, Words]
"""Masked words and this party's share of the mask."""


class _Opening:
    """What a call needs to know in masked form: as it is known already, or as it is opened in this round,
    under fresh masks.

    Calls that run side by side may open the same secret under several masks. The dealer reckons with those of
    each call, and so does the call; the secret keeps the first.
    """

    def __init__(
        self,
        own: Stream,
        secrets: Sequence[Masked] = (),
        bits: Sequence[MaskedBits] = (),
        *,
        need: int = WORD,
    ) -> None:
        self._known: dict[int, Known] = {}
        self._opened: list[tuple[Masked | MaskedBits, Words]] = []
        self.sent: list[Words] = []
        for x in distinct(secrets, lambda each: each.known < need):
            mask = own.words(x.size).reshape(x.shape)
            self._opened.append((x, mask))
            self.sent.append(np.asarray(x.part + mask, order="C"))
        for a in distinct(bits, lambda each: each.hat is None):
            mask = own.words(a.part.size)
            self._opened.append((a, mask))
            self.sent.append(a.part ^ mask)
        for x in secrets:
            self._known[id(x)] = (x.hat, x.mask)
        for a in bits:
            if a.hat is not None and a.mask is not None:
                self._known[id(a)] = (a.hat, a.mask)

    @property
    def sizes(self) -> list[int]:
        return [words.size for words in self.sent]

    def close(self, other: Sequence[Words]) -> None:
        """With what the other party sent."""
        for (item, mask), mine, theirs in zip(self._opened, self.sent, other, strict=True):
            hat = mine + theirs.reshape(item.shape) if isinstance(item, Masked) else mine ^ theirs
            self._known[id(item)] = (hat, mask)
            item.keep(hat, mask)

    def of(self, item: Masked | MaskedBits) -> Known:
        """After the round."""
        return self._known[id(item)]


class Computing(Party[Masked, MaskedBits]):
    """``key``: of the streams that the dealer knows, too; ``common``: of those that both computing parties know."""

    def __init__(self, index: int, tag: bytes, reveals: Collection[str], key: bytes, common: bytes) -> None:
        super().__init__(index, tag, reveals)
        self._key = key
        self._common = common
        self._other = 1 - index

    # Local.

    def public(self, words: Words) -> Masked:
        hat = np.asarray(words, dtype=np.uint64)
        return Masked(self.index, hat=hat, mask=np.zeros_like(hat), known=WORD)

    def add_public(self, x: Masked, words: Words) -> Masked:
        return x.plus(words)

    def xor(self, a: MaskedBits, b: MaskedBits) -> MaskedBits:
        if a.hat is None or b.hat is None or a.mask is None or b.mask is None:
            return MaskedBits(a.shape, a.part ^ b.part)
        return MaskedBits(a.shape, a.part ^ b.part, hat=a.hat ^ b.hat, mask=a.mask ^ b.mask)

    def flip(self, a: MaskedBits) -> MaskedBits:
        part = ~a.part if self.index == 0 else a.part
        return MaskedBits(a.shape, part, hat=None if a.hat is None else ~a.hat, mask=a.mask)

    def reshape_bits(self, a: MaskedBits, shape: tuple[int, ...]) -> MaskedBits:
        return MaskedBits(_fits(shape, a.size), a.part, hat=a.hat, mask=a.mask)

    def arrays(self, x: Masked) -> list[Words]:
        """This party's share, by which `adopt` has the secret again."""
        return [np.asarray(x.part, order="C")]

    def adopt(self, arrays: Sequence[Words], shape: tuple[int, ...]) -> Masked:
        """A secret of which this party was given an additive share."""
        size = int(np.prod(shape, dtype=np.int64))
        if len(arrays) != 1 or arrays[0].size not in (size, SEED_BYTES // 8 if self.index == 0 else size):
            raise MalformedMessageError(
                f"party {self.index} was given {[each.size for each in arrays]} words for a secret of shape {shape}"
            )
        part = arrays[0] if arrays[0].size == size else expanded(arrays[0], size)
        return Masked.of_part(self.index, part.reshape(shape))

    # Between parties.

    def share(self, owner: int, words: Words | None, shape: tuple[int, ...]) -> Steps[Masked]:
        own = self._stream()
        size = int(np.prod(shape, dtype=np.int64))
        if owner_of(owner) != self.index:
            inbox = yield Round(awaits={owner: [size]})
            hat = inbox[owner][0].reshape(shape)
            return Masked(self.index, hat=hat, mask=np.zeros_like(hat), known=WORD)
        if words is None or words.shape != shape:
            raise ShapeError(f"party {owner} shares an input of shape {shape} and must give its words")
        mask = own.words(size).reshape(shape)
        hat = np.asarray(words + mask, order="C")
        yield Round({self._other: [hat]})
        return Masked(self.index, hat=hat, mask=mask, known=WORD)

    def reveal(self, x: Masked, to: Sequence[int], name: str) -> Steps[Words | None]:
        self._reveal_once(to, name)
        part = self._rerandomised(x)
        sends = {self._other: [part]} if self._other in to else {}
        awaits = {self._other: [x.size]} if self.index in to else {}
        inbox = yield Round(sends, awaits)
        return part + inbox[self._other][0].reshape(x.shape) if awaits else None

    def reveal_outside(self, x: Masked, name: str) -> Steps[list[Words]]:
        """What this party hands to a client outside, who adds both parts up: `combine`."""
        self._reveal_once((), name)
        part = self._rerandomised(x)
        yield Round()
        return [part]

    def truncate(self, x: Masked, cut: int) -> Steps[Masked]:
        own = self._stream()
        opening = _Opening(own, [x])
        dealt = yield from self._exchange(opening, own, 2 * x.size)
        return self._quotient(opening.of(x)[0], dealt, cut_of(cut))

    def negative(self, x: Masked, width: int) -> Steps[MaskedBits]:
        number = self._number()
        own = Stream(self._key, number)
        bits = width_of(width) - 1
        opening = _Opening(own, [x], need=width)
        inbox = yield from self._round(opening, points.key_words(bits, x.size))
        hat = np.ascontiguousarray(opening.of(x)[0]).reshape(-1)
        roots = own.words(2 * x.size)
        part = points.evaluate(
            prg_key(self._tag, number), bits, self.index == 1, roots, inbox[DEALER][0], hat
        )
        # x < 0 is the top bit of x̂ - r: top(x̂) + top(r) + (the lower bits of x̂ are below those of r).
        if self.index == 0:
            part ^= local.top_bits(hat, width)
        return MaskedBits(x.shape, part)

    def both(self, a: MaskedBits, b: MaskedBits) -> Steps[MaskedBits]:
        own = self._stream()
        opening = _Opening(own, bits=[a, b])
        dealt = yield from self._exchange(opening, own, local.bit_words(a.size))
        (a_hat, a_mask), (b_hat, b_mask) = opening.of(a), opening.of(b)
        part = (a_hat & b_mask) ^ (b_hat & a_mask) ^ dealt
        if self.index == 0:
            part ^= a_hat & b_hat
        return MaskedBits(a.shape, part)

    def select(self, a: MaskedBits, x: Masked) -> Steps[Masked]:
        own = self._stream()
        opening = _Opening(own, [x], [a])
        dealt = yield from self._exchange(opening, own, 2 * x.size)
        hat, mask = (words.reshape(-1) for words in opening.of(x))
        choice = local.expand(opening.of(a)[0], x.size)
        # With a = â + (1 - 2â)·r_a: a·x = â·x + (1 - 2â)·(r_a·x̂ - r_a·r).
        turned = dealt[: x.size] * hat - dealt[x.size :]
        part = choice * (hat - mask if self.index == 0 else np.negative(mask))
        part += turned - ((choice * turned) << np.uint64(1))
        return self.adopt([part], x.shape)

    def to_ring(self, a: MaskedBits) -> Steps[Masked]:
        own = self._stream()
        opening = _Opening(own, bits=[a])
        dealt = yield from self._exchange(opening, own, a.size)
        choice = local.expand(opening.of(a)[0], a.size)
        part = dealt - ((choice * dealt) << np.uint64(1))
        if self.index == 0:
            part += choice
        return self.adopt([part], a.shape)

    def _product(self, product: local.Bilinear, x: Masked, y: Masked, cut: int) -> Steps[Masked]:
        yield from self.settle(x, y)
        own = self._stream()
        part = local.masked_product(product, self.index, (x.hat, x.mask), (y.hat, y.mask))
        mask = own.words(part.size).reshape(part.shape)
        part = np.asarray(part + mask, order="C")
        dealt = (2 if cut else 1) * part.size
        awaits = {self._other: [part.size]}
        if self.index == 1:
            awaits[DEALER] = [dealt]
        inbox = yield Round({self._other: [part]}, awaits)
        hat = part + inbox[self._other][0].reshape(part.shape)
        shared = self._dealt(own, inbox, dealt)
        if cut:
            return self._quotient(hat, shared, cut_of(cut))
        # What was opened is xy - r_x·r_y + mask.
        mask = mask - shared.reshape(part.shape)
        return Masked(self.index, hat=hat, mask=mask, known=WORD)

    def settle(self, *secrets: Masked) -> Steps[None]:
        """Opens the masked forms that are missing, in one round."""
        missing = distinct(secrets, lambda each: each.known < WORD)
        if missing:
            opening = _Opening(self._stream(), missing)
            yield from self._round(opening, 0)

    def _exchange(self, opening: _Opening, own: Stream, dealt: int) -> Steps[Words]:
        """One round: what is opened, and this party's share of ``dealt`` words of the dealer's."""
        inbox = yield from self._round(opening, dealt if self.index == 1 else 0)
        return self._dealt(own, inbox, dealt)

    def _round(self, opening: _Opening, dealt: int) -> Steps[Inbox]:
        """One round: what is opened, and ``dealt`` words that the dealer sends."""
        awaits = {self._other: opening.sizes} if opening.sent else {}
        if dealt:
            awaits[DEALER] = [dealt]
        inbox = yield Round({self._other: opening.sent} if opening.sent else {}, awaits)
        opening.close(inbox.get(self._other, ()))
        return inbox

    def _dealt(self, own: Stream, inbox: Inbox, size: int) -> Words:
        return own.words(size) if self.index == 0 else inbox[DEALER][0]

    def _quotient(self, hat: Words, parts: Words, cut: int) -> Masked:
        share, narrow, mask = local.quotient(hat.reshape(-1), parts, cut, self.index)
        share, narrow, mask = (each.reshape(hat.shape) for each in (share, narrow, mask))
        return Masked(self.index, hat=narrow, mask=mask, known=WORD - cut, part=share)

    def _rerandomised(self, x: Masked) -> Words:
        zero = Stream(self._common, self._number()).words(x.size).reshape(x.shape)
        return np.asarray(x.part + zero if self.index == 0 else x.part - zero, order="C")

    def _stream(self) -> Stream:
        return Stream(self._key, self._number())


def _fits(shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    if int(np.prod(shape, dtype=np.int64)) != size:
        raise InternalError(f"{size} bits do not have the shape {shape}")
    return shape
