"""Two computing parties and a dealer, in one process and step by step."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from tacit.backends.mpc.dealer import Dealer2, open_engine
from tacit.backends.mpc.steps import Steps, Tally, Transcript, Words, lockstep

T = TypeVar("T")

AHEAD = frozenset({2})


def seeded(name: object) -> Callable[[int], bytes]:
    """Bytes that follow from a name: for tests only."""
    count = itertools.count()
    return lambda size: hashlib.shake_256(f"{name} {next(count)}".encode()).digest(size)


def opened_session(
    seed: object = "pair",
    *,
    session: bytes = b"session",
    plan: bytes = b"plan",
    reveals: Collection[str] = ("y",),
) -> list[Dealer2]:
    return lockstep(
        [
            open_engine(i, session=session, plan=plan, reveals=reveals, entropy=seeded((seed, i)))
            for i in range(3)
        ]
    )


def all_run(
    engines: list[Dealer2],
    program: Callable[[Any], Steps[T]],
    *,
    tally: Tally | None = None,
    transcript: Transcript | None = None,
) -> list[T]:
    return lockstep([program(engine) for engine in engines], tally=tally, transcript=transcript)


def given(engine: Any, owner: int, words: Words) -> Steps[Any]:
    """Shares what party ``owner`` knows."""
    mine = words if engine.index == owner else None
    return engine.share(owner, mine, words.shape)
