"""One party in one session: its engine is opened once, then steps run over its channel, whose rounds are numbered."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

from tacit.backends.mpc.steps import Steps, drive
from tacit.net.channel import Channel
from tacit.runtime.protocols import PartyEngine, Protocol

__all__ = ["Session"]

T = TypeVar("T")


class Session:
    """``session`` and ``plan``: what the parties agreed on in their hellos. ``on_round`` is called after each round."""

    def __init__(
        self,
        channel: Channel,
        protocol: Protocol,
        *,
        session: bytes,
        plan: bytes,
        on_round: Callable[[int], None] | None = None,
    ) -> None:
        self.channel, self.protocol = channel, protocol
        self.session, self.plan = session, plan
        self.round = 0
        self._on_round = on_round

    @property
    def index(self) -> int:
        """Which party this is."""
        return self.channel.parties.index(self.channel.name)

    def open(self, reveals: Collection[str]) -> PartyEngine:
        """The engine. ``reveals``: names of the openings that the plan lists."""
        return self.run(
            self.protocol.open(self.index, session=self.session, plan=self.plan, reveals=tuple(reveals))
        )

    def run(self, steps: Steps[T]) -> T:
        """Runs steps to their end; all parties run the same. Raises what the steps and the channel raise."""
        return drive(self.channel, steps, first=self.round, on_round=self._count)

    def _count(self, number: int) -> None:
        self.round = number
        if self._on_round is not None:
            self._on_round(number)
