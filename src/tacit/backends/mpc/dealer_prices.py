"""What the primitives of `dealer2` cost: rounds, and bits of party 0, party 1 and the dealer.

Rounds in which only the dealer sends are there because its words must have arrived; it waits for nobody
(`Tally.ahead`).
"""

from __future__ import annotations

from collections.abc import Sequence

from tacit._native import points
from tacit.backends.mpc.dealer_base import DEALER
from tacit.backends.mpc.dealer_local import bit_words
from tacit.backends.mpc.rehearsal import Price, Prices

__all__ = ["DealerPrices"]


class DealerPrices(Prices):
    """Of operands in masked form (`tacit.backends.mpc.dealer_secret`)."""

    parties = 3
    masked = True
    ahead = frozenset({DEALER})

    def opening(self, words: int) -> tuple[int, ...]:
        return (64 * words, 64 * words, 0)

    def share(self, owner: int, n: int) -> Price:
        return [(64 * n, 0, 0) if owner == 0 else (0, 64 * n, 0)]

    def reveal(self, to: Sequence[int], n: int) -> Price:
        return [(64 * n * (1 in to), 64 * n * (0 in to), 0)]

    def multiply(self, n: int, cut: int) -> Price:
        return [(64 * n, 64 * n, (128 if cut else 64) * n)]

    def truncate(self, n: int, cut: int) -> Price:
        return [(0, 0, 128 * n)]

    def negative(self, n: int, width: int) -> Price:
        # The keys go to both.
        return [(0, 0, 2 * 64 * points.key_words(width - 1, n))]

    def both(self, n: int) -> Price:
        return [(0, 0, 64 * bit_words(n))]

    def select(self, n: int) -> Price:
        return [(0, 0, 128 * n)]

    def to_ring(self, n: int) -> Price:
        return [(0, 0, 64 * n)]

    def rectify(self, n: int, width: int) -> Price:
        bits = 64 * bit_words(n)
        return [*self.negative(n, width), (bits, bits, 128 * n)]
