"""Three parties of `replicated3` in one process, with seeds that are the same in every run."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np

from tacit.backends.mpc.replicated import Replicated, Shares
from tacit.backends.mpc.steps import Steps, Tally, Transcript, Words, lockstep

T = TypeVar("T")
SESSION = b"a session of the tests"


def entropy(seed: int) -> Callable[[int], bytes]:
    counter = itertools.count()
    return lambda size: hashlib.shake_128(f"{seed} {next(counter)}".encode()).digest(size)


def trio(seed: int = 0, *, openings: Iterable[str] = (), session: bytes = SESSION) -> list[Replicated]:
    openings = set(openings)
    source = entropy(seed)
    return lockstep(
        [Replicated.open(index, session=session, openings=openings, entropy=source) for index in range(3)]
    )


def together_run(
    engines: list[Replicated],
    program: Callable[[Replicated], Steps[T]],
    *,
    tally: Tally | None = None,
    transcript: Transcript | None = None,
) -> list[T]:
    return lockstep([program(engine) for engine in engines], tally=tally, transcript=transcript)


def shared(words: Words, seed: int = 0) -> list[Shares]:
    """Shares of words, of all parties, made by a dealer."""
    random = np.random.default_rng(seed)
    parts = [random.integers(0, 1 << 64, words.shape, dtype=np.uint64) for _ in range(2)]
    parts.append(words - parts[0] - parts[1])
    return [Shares(parts[index], parts[(index + 1) % 3]) for index in range(3)]


def opened(shares: list[Shares]) -> Words:
    """The secret; checks that the parties agree on every component."""
    for index in range(3):
        np.testing.assert_array_equal(shares[index].following, shares[(index + 1) % 3].own)
    return shares[0].own + shares[1].own + shares[2].own
