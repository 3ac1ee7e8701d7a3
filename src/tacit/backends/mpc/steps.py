"""Steps of a protocol as generators: they yield what a round sends and awaits, and are sent what arrived.

A step knows nothing of the network. Whoever runs it, `lockstep` for all parties in one process or `drive` for
one party over a channel, moves the words. Steps that do not wait for each other run side by side and share
rounds: `together`. All parties run the same steps in the same order, and each yields equally many rounds,
also where it has nothing to say.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from tacit.errors import InternalError
from tacit.net.channel import Channel

__all__ = ["Inbox", "Round", "Steps", "Tally", "Transcript", "Words", "drive", "lockstep", "together"]

T = TypeVar("T")

Words: TypeAlias = npt.NDArray[np.uint64]
Inbox: TypeAlias = Mapping[int, Sequence[Words]]
"""By sender: the buffers that it sent, each one-dimensional, the receiver's own."""


@dataclass(slots=True)
class Round:
    """What one party sends and awaits in one round. Parties are known by their index.

    ``sends``: C-contiguous arrays of uint64, of any shape, that are not changed before the round is over.
    ``awaits``: words of each buffer that a party must send. ``declared``: bits that each party sends, where nothing
    is sent in earnest (rehearsal).
    """

    sends: dict[int, list[Words]] = field(default_factory=dict)
    awaits: dict[int, list[int]] = field(default_factory=dict)
    declared: tuple[int, ...] = ()


Steps: TypeAlias = Generator[Round, Inbox, T]


@dataclass(slots=True)
class Tally:
    """Rounds in which anybody sent anything, and bits that each party sent.

    ``ahead``: parties that never wait for a message, so that what they send is there before it is needed; a
    round in which nobody else sends takes no time and is not counted.
    """

    rounds: int = 0
    bits: list[int] = field(default_factory=list)
    ahead: frozenset[int] = frozenset()

    def add(self, bits: Sequence[int]) -> None:
        if not any(bits):
            return
        self.rounds += any(sent for party, sent in enumerate(bits) if party not in self.ahead)
        self.bits = [a + b for a, b in zip(self.bits or [0] * len(bits), bits, strict=True)]

    def join(self, other: Tally) -> None:
        """Adds what another one counted."""
        rounds = self.rounds + other.rounds
        self.add(other.bits)
        self.rounds = rounds


def together(*steps: Steps[Any]) -> Steps[list[Any]]:
    """Runs steps side by side: the n-th round of each is one round. Gives their results in order."""
    results: list[Any] = [None] * len(steps)
    live = list(range(len(steps)))
    inboxes: list[Any] = [None] * len(steps)
    while True:
        rounds: list[tuple[int, Round]] = []
        for place in live:
            try:
                rounds.append((place, steps[place].send(inboxes[place])))
            except StopIteration as end:
                results[place] = end.value
        if not rounds:
            return results
        live = [place for place, _ in rounds]
        if len(rounds) == 1:
            inboxes[live[0]] = yield rounds[0][1]
            continue
        arrived = yield _merged([each for _, each in rounds])
        taken = dict.fromkeys(arrived, 0)
        for place, each in rounds:
            inbox: dict[int, Sequence[Words]] = {}
            for sender, sizes in each.awaits.items():
                start = taken[sender]
                taken[sender] = start + len(sizes)
                inbox[sender] = arrived[sender][start : start + len(sizes)]
            inboxes[place] = inbox


def _merged(rounds: Sequence[Round]) -> Round:
    merged = Round()
    for each in rounds:
        for receiver, buffers in each.sends.items():
            merged.sends.setdefault(receiver, []).extend(buffers)
        for sender, sizes in each.awaits.items():
            merged.awaits.setdefault(sender, []).extend(sizes)
        if each.declared:
            old = merged.declared or (0,) * len(each.declared)
            merged.declared = tuple(a + b for a, b in zip(old, each.declared, strict=True))
    return merged


Transcript: TypeAlias = list[tuple[int, int, int, Words]]
"""Round, sender, receiver and the words of every buffer, in order."""


def lockstep(
    parties: Sequence[Steps[T]], *, tally: Tally | None = None, transcript: Transcript | None = None
) -> list[T]:
    """All parties in one process, round by round. ``transcript`` collects every message.

    Raises what a party raises, and ``InternalError`` where the parties are out of step.
    """
    inboxes: list[Any] = [None] * len(parties)
    number = 0
    while True:
        rounds: list[Round] = []
        results: list[T] = []
        for steps, inbox in zip(parties, inboxes, strict=True):
            try:
                rounds.append(steps.send(inbox))
            except StopIteration as end:
                results.append(end.value)
        if not rounds:
            return results
        if results:
            raise InternalError("the parties do not take equally many rounds")
        if tally is not None:
            tally.add(
                [8 * sum(b.nbytes for buffers in each.sends.values() for b in buffers) for each in rounds]
            )
        inboxes = []
        for receiver, each in enumerate(rounds):
            inbox = {}
            for sender, sizes in each.awaits.items():
                buffers = rounds[sender].sends.get(receiver, [])
                if [b.size for b in buffers] != sizes:
                    raise InternalError(f"party {sender} does not send what party {receiver} awaits")
                inbox[sender] = [b.reshape(-1).copy() for b in buffers]
                if transcript is not None:
                    transcript.extend((number, sender, receiver, b) for b in inbox[sender])
            inboxes.append(inbox)
        number += 1


def drive(
    channel: Channel, steps: Steps[T], *, first: int = 0, on_round: Callable[[int], None] | None = None
) -> T:
    """One party over its channel, whose order of parties gives their indices. Rounds are numbered from ``first``.

    Raises what the steps and the channel raise.
    """
    names = channel.parties
    number = first
    inbox: Any = None
    while True:
        try:
            each = steps.send(inbox)
        except StopIteration as end:
            result: T = end.value
            return result
        tag = f"round {number}"
        for receiver, buffers in each.sends.items():
            channel.send(names[receiver], tag, _few(buffers))
        found: dict[int, list[Words]] = {}
        for sender, sizes in each.awaits.items():
            into = [np.empty(size, dtype=np.uint64) for size in sizes]
            channel.receive(names[sender], tag, into=_targets(into, sizes, found, sender))
        inbox = found
        channel.flush()
        number += 1
        if on_round is not None:
            on_round(number)


MOST_BUFFERS = 64
"""Of one message; more are sent as one."""


def _few(buffers: list[Words]) -> Sequence[Words]:
    if len(buffers) <= MOST_BUFFERS:
        return buffers
    return [np.concatenate([buffer.reshape(-1) for buffer in buffers])]


def _targets(
    into: list[Words], sizes: list[int], found: dict[int, list[Words]], sender: int
) -> Sequence[Words]:
    if len(sizes) <= MOST_BUFFERS:
        found[sender] = into
        return into
    whole = np.empty(sum(sizes), dtype=np.uint64)
    ends = np.cumsum(sizes)
    found[sender] = [whole[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    return [whole]
