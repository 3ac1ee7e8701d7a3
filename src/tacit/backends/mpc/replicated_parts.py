"""Parts of secrets of `replicated3` for and from a client that is no party."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np

from tacit._native.shares import Stream
from tacit.backends.mpc.replicated_seeds import SEED_BYTES, fresh_seed
from tacit.backends.mpc.steps import Words
from tacit.errors import MalformedMessageError

__all__ = ["combine", "component", "deal"]

SEED_WORDS = SEED_BYTES // 8


def deal(words: Words, *, entropy: Callable[[int], bytes] = os.urandom) -> list[list[Words]]:
    """By party, the arrays of its two components. Components 0 and 1 are random; of more than 4 words a seed is given.

    ``entropy``: other than the operating system's in tests only. Raises ``InternalError`` where it gives none.
    """
    words = np.asarray(words, dtype=np.uint64).reshape(-1)
    seeds = [np.frombuffer(fresh_seed(entropy), dtype=np.uint64) for _ in range(2)]
    random = [_expanded(seed, words.size) for seed in seeds]
    parts = seeds if words.size > SEED_WORDS else random
    parts = [*parts, words - random[0] - random[1]]
    return [[parts[index], parts[(index + 1) % 3]] for index in range(3)]


def component(array: Words, n: int) -> Words:
    """n words of a component as `deal` or an engine gave it. Raises ``MalformedMessageError``."""
    if array.size == n:
        return array.reshape(-1)
    if array.size != SEED_WORDS or n < SEED_WORDS:
        raise MalformedMessageError(f"a part of a secret of {n} words has {array.size}")
    return _expanded(array, n)


def combine(parts: Sequence[Sequence[Words]]) -> Words:
    """The words of which each of three parties gave its part (`Replicated.reveal_outside`)."""
    if len(parts) != 3 or any(len(each) != 1 or each[0].shape != parts[0][0].shape for each in parts):
        raise MalformedMessageError("a result takes one part of each of three parties, of equal sizes")
    return np.asarray(parts[0][0] + parts[1][0] + parts[2][0])


def _expanded(seed: Words, n: int) -> Words:
    """A seed of a client is used for one secret only, so that its stream 0 has never been used."""
    return Stream(seed.tobytes(), 0).words(n)
