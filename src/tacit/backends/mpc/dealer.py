"""`dealer2`: two computing parties and a dealer, semi-honest; whoever colludes with the dealer learns the
other's data.

The dealer makes correlated randomness ahead of the data and never sees any of it; the two compute in few
rounds: products and their truncation in one, comparisons by keys of a distributed comparison function and one
more. `docs/design/dealer.md`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

import numpy as np

from tacit.backends.mpc.dealer_base import DEALER
from tacit.backends.mpc.dealer_computing import Computing
from tacit.backends.mpc.dealer_dealing import Dealing
from tacit.backends.mpc.dealer_streams import SEED_BYTES, expanded, fresh_seed, session_key, session_tag
from tacit.backends.mpc.steps import Inbox, Round, Steps, Words
from tacit.errors import InvalidParameterError, MalformedMessageError, PeerIncompatibleError

__all__ = ["Dealer2", "combine", "deal", "open_engine"]

Dealer2: TypeAlias = Computing | Dealing

Entropy = Callable[[int], bytes]

SEED_WORDS = SEED_BYTES // 8


def open_engine(
    index: int, *, session: bytes, plan: bytes, reveals: Collection[str], entropy: Entropy = os.urandom
) -> Steps[Dealer2]:
    """Agrees on seeds, in one round. ``session``: never used before; ``plan``: its hash; ``reveals``: the
    openings that it lists.

    Raises ``PeerIncompatibleError`` where another party has another session or plan, ``InternalError``
    without randomness.
    """
    tag = session_tag(session, plan)
    if index == DEALER:
        seeds = (fresh_seed(entropy), fresh_seed(entropy))
        yield Round({party: [_words(seeds[party] + tag)] for party in (0, 1)})
        first, second = (session_key(seed, tag) for seed in seeds)
        return Dealing(tag, reveals, (first, second))
    if index not in (0, 1):
        raise InvalidParameterError(f"dealer2 has the parties 0, 1 and 2; got {index}")
    size = 2 * SEED_WORDS
    if index == 0:
        common = fresh_seed(entropy)
        inbox = yield Round({1: [_words(common + tag)]}, {DEALER: [size]})
    else:
        inbox = yield Round({}, {DEALER: [size], 0: [size]})
        common = _seed(inbox, 0, index, tag)
    seed = _seed(inbox, DEALER, index, tag)
    return Computing(index, tag, reveals, session_key(seed, tag), session_key(common, tag))


def deal(words: Words, *, entropy: Entropy = os.urandom) -> list[list[Words]]:
    """For a client outside: what it gives to each party, by party. Nothing to the dealer; a seed to party 0.

    ``entropy``: other than the operating system's in tests only. Raises ``InternalError`` where it gives none.
    """
    words = np.asarray(words, dtype=np.uint64).reshape(-1)
    seed = fresh_seed(entropy)
    first = expanded(_words(seed), words.size)
    return [[_words(seed) if words.size > SEED_WORDS else first], [words - first], []]


def combine(parts: Sequence[Sequence[Words]]) -> Words:
    """For a client outside: the words of which the parties gave what `reveal_outside` handed to them."""
    if [len(part) for part in parts] != [1, 1, 0] or parts[0][0].shape != parts[1][0].shape:
        raise MalformedMessageError(
            "a result takes one part each of parties 0 and 1, of equal shapes, and none of the dealer"
        )
    return np.asarray(parts[0][0] + parts[1][0])


def _words(data: bytes) -> Words:
    return np.frombuffer(data, dtype=np.uint64)


def _seed(inbox: Inbox, sender: int, index: int, tag: bytes) -> bytes:
    message = inbox[sender][0].tobytes()
    if message[SEED_BYTES:] != tag:
        raise PeerIncompatibleError(
            f"party {sender} has another session or plan than party {index}",
            hint="start all parties with the same plan and session",
        )
    return message[:SEED_BYTES]
