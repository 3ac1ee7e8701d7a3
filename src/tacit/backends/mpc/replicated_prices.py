"""What the primitives of `replicated3` cost: exactly the traffic, for every size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tacit._native.shares import field_words, plane_words
from tacit.backends.mpc.rehearsal import Price, Prices
from tacit.backends.mpc.replicated_roles import carry_groups, thirds

__all__ = ["ReplicatedPrices"]

WORD = 64


class ReplicatedPrices(Prices):
    """Bits that each party sends, by round."""

    parties = 3

    def share(self, owner: int, n: int) -> Price:
        return (_by_party(owner, (WORD * n, 0, 0)),)

    def reveal(self, to: Sequence[int], n: int) -> Price:
        return (tuple(WORD * n if (party + 1) % 3 in to else 0 for party in range(3)),)

    def multiply(self, n: int, cut: int) -> Price:
        return self.truncate(n, cut) if cut else ((WORD * n,) * 3,)

    def truncate(self, n: int, cut: int) -> Price:
        return _in_thirds(n, lambda size: _quotient(size, cut)) if cut else ()

    def negative(self, n: int, width: int) -> Price:
        return _in_thirds(n, lambda size: [*_sign(size, width), (WORD * plane_words(size),) * 3])

    def both(self, n: int) -> Price:
        return ((WORD * plane_words(n),) * 3,)

    def select(self, n: int) -> Price:
        return _in_thirds(n, lambda size: [(2 * WORD * size, 0, 0), (0, WORD * size, WORD * size)])

    def to_ring(self, n: int) -> Price:
        return _in_thirds(n, lambda size: [(WORD * size, 0, 0), (0, WORD * size, WORD * size)])

    def rectify(self, n: int, width: int) -> Price:
        return _in_thirds(n, lambda size: _rectify(size, width))


Rounds = Sequence[tuple[int, int, int]]
"""By round: the bits that each position sends."""


def _quotient(n: int, cut: int) -> Rounds:
    word, fields = WORD * n, WORD * field_words(n, cut)
    return [(word, word, word + fields), (fields, fields, 0)]


def _sign(n: int, width: int) -> Rounds:
    """All but the exchange of the last parts."""
    sizes = carry_groups(width - 1)
    if not sizes:
        return []
    plane = WORD * plane_words(n)
    left = len(sizes)
    rounds = [(sum((1 << size) - 1 for size in sizes) * plane, 0, 0)]
    if left > 1:
        values = (2 * left - 1) * plane
        rounds.append((0, values, values))
    while left > 2:
        rounds.append(((2 * (left // 2) - 1) * plane,) * 3)
        left -= left // 2
    return rounds


def _rectify(n: int, width: int) -> Rounds:
    plane, word = WORD * plane_words(n), WORD * n
    return [*_sign(n, width), (2 * word, plane, plane), (0, word, word)]


def _in_thirds(n: int, price: Callable[[int], Rounds]) -> Price:
    parts = [[_by_party(first, bits) for bits in price(of.stop - of.start)] for of, first in thirds(n)]
    return [tuple(map(sum, zip(*together, strict=True))) for together in zip(*parts, strict=True)]


def _by_party(first: int, bits: tuple[int, int, int]) -> tuple[int, ...]:
    """Turns positions into parties."""
    return tuple(bits[(party - first) % 3] for party in range(3))
