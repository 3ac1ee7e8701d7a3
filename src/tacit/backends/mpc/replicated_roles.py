"""Who takes which role in one call of `replicated3`, and into which groups the bits of a comparison fall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from tacit._native.shares import Stream
from tacit.backends.mpc.steps import Round, Steps, Words

__all__ = ["THIRDS_FROM", "Role", "carry_groups", "thirds"]

THIRDS_FROM: Final = 3 << 13
"""From so many elements on, each party takes each role for a third of them, so that all send and compute alike."""

LARGEST_GROUP: Final = 4


@dataclass(slots=True, frozen=True)
class Role:
    """Position p of three: it holds the components p and p+1 (modulo 3) and the streams of these numbers.

    ``first``: the party in position 0. Party i in position p has x_i as component p: positions are parties, turned.
    """

    position: int
    first: int
    own: Stream
    following: Stream

    def party(self, position: int) -> int:
        return (self.first + position) % 3

    def swap(self, other: int, sends: list[Words], sizes: list[int]) -> Round:
        """A round in which two positions give each other something."""
        party = self.party(other)
        return Round({party: sends}, {party: sizes})

    def pass_on(self, words: Words) -> Steps[Words]:
        """Gives a part to the party before, and takes that of the party after: it becomes the second component."""
        after = self.party(self.position + 1)
        inbox = yield Round({self.party(self.position + 2): [words]}, {after: [words.size]})
        return inbox[after][0].reshape(words.shape)


def thirds(n: int) -> Sequence[tuple[slice, int]]:
    """Parts of n elements, and the party in position 0 of each. Parts begin at multiples of 64."""
    if n < THIRDS_FROM:
        return [(slice(0, n), 0)]
    size = n // 192 * 64
    return [(slice(0, size), 0), (slice(size, 2 * size), 1), (slice(2 * size, n), 2)]


@lru_cache
def carry_groups(bits: int) -> tuple[int, ...]:
    """Sizes of the groups, lowest bits first: of the fewest rounds with groups of at most 4, that of the fewest bits.

    A group of s bits takes 2^s - 1 bits to deal and 4 to share out; a product of bits takes 3 (all parties together).
    """
    if bits == 0:
        return ()
    levels = (-(-bits // LARGEST_GROUP) - 1).bit_length()
    return min(
        (_even(bits, count) for count in range(1, bits + 1) if (count - 1).bit_length() <= levels),
        key=lambda sizes: (max(sizes) > LARGEST_GROUP, _cost(sizes)),
    )


def _even(bits: int, count: int) -> tuple[int, ...]:
    size, more = divmod(bits, count)
    return (size + 1,) * more + (size,) * (count - more)


def _cost(sizes: tuple[int, ...]) -> int:
    cost = sum((1 << size) - 1 for size in sizes) + 2 * (2 * len(sizes) - 1)
    left = len(sizes)
    while left > 1:
        cost += 3 * (2 * (left // 2) - 1)
        left -= left // 2
    return cost
