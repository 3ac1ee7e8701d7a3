"""What a dealer sends in a run, sent before the run: the parties keep it, use it once and erase it.

Everything that the dealer sends in a run depends on the program, shapes and the numbers of calls alone. So it can run
the program by itself, when the parties have nothing else to do, and the run itself takes only what they say to each
other. It is kept in memory by the parties of one session; with the session it is gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Final, Generic, TypeVar

import numpy as np

from tacit.backends.mpc.steps import Round, Steps, Words
from tacit.errors import InternalError

__all__ = ["DEALER", "Recording", "Supply", "received", "recorded", "supplied"]

T = TypeVar("T")

DEALER: Final = 2


class Recording(Generic[T]):
    """Of one run: what the dealer's steps gave, by receiver what it sends, and in how many rounds."""

    def __init__(self, result: T, sends: dict[int, list[Words]], rounds: int) -> None:
        self.result = result
        self.sends = sends
        self.rounds = rounds

    def __repr__(self) -> str:
        return f"<Recording of {self.rounds} rounds>"

    def deliver(self) -> Steps[None]:
        """Sends all of it: how many buffers, their sizes, and they themselves."""
        sizes = {
            to: np.array([b.size for b in buffers], dtype=np.uint64) for to, buffers in self.sends.items()
        }
        yield Round({to: [np.array([each.size], dtype=np.uint64)] for to, each in sizes.items()})
        yield Round({to: [each] for to, each in sizes.items()})
        yield Round(dict(self.sends))
        self.sends = {}

    def steps(self) -> Steps[T]:
        """The run itself: nothing is left to be sent."""
        for _ in range(self.rounds):
            yield Round()
        return self.result


def recorded(steps: Steps[T]) -> Recording[T]:
    """Runs the dealer's steps to their end. Raises ``InternalError`` where they await a message."""
    sends: dict[int, list[Words]] = {0: [], 1: []}
    rounds = 0
    while True:
        try:
            each = next(steps) if not rounds else steps.send({})
        except StopIteration as end:
            return Recording(end.value, sends, rounds)
        if each.awaits:
            raise InternalError("a dealer that runs ahead awaits a message")
        for receiver, buffers in each.sends.items():
            sends[receiver].extend(buffers)
        rounds += 1


def received() -> Steps[Supply]:
    """What `Recording.deliver` sends to a computing party."""
    inbox = yield Round(awaits={DEALER: [1]})
    inbox = yield Round(awaits={DEALER: [int(inbox[DEALER][0][0])]})
    inbox = yield Round(awaits={DEALER: [int(size) for size in inbox[DEALER][0]]})
    return Supply(inbox[DEALER])


class Supply:
    """A party's words from the dealer for one run. They are taken in order and let go of as they are taken."""

    def __init__(self, buffers: Iterable[Words]) -> None:
        self._buffers = deque(buffers)

    def __repr__(self) -> str:
        return f"<Supply of {len(self._buffers)} buffers>"

    def take(self, size: int) -> Words:
        if not self._buffers or self._buffers[0].size != size:
            raise InternalError("the dealer ran another program ahead than the one that is run")
        return self._buffers.popleft()

    def finish(self) -> None:
        """Raises ``InternalError`` where something was not used."""
        if self._buffers:
            raise InternalError("the dealer ran ahead a longer program than the one that was run")


def supplied(steps: Steps[T], supply: Supply) -> Steps[T]:
    """A computing party's steps, with what they await from the dealer taken from the supply."""
    inbox: Any = None
    while True:
        try:
            each = steps.send(inbox)
        except StopIteration as end:
            supply.finish()
            result: T = end.value
            return result
        sizes = each.awaits.pop(DEALER, [])
        arrived = yield each
        inbox = dict(arrived)
        if sizes:
            inbox[DEALER] = [supply.take(size) for size in sizes]
