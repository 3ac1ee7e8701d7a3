"""Admission: how much work waits, for whom, and whose turn it is. No clock, no I/O: the pool asks and tells.

Principals take turns, whoever they say their owners are: client secrets are free to make. The work of one principal
waits in lanes, one for each owner and program, which take turns among themselves. So who sends much delays itself and
not the others. Everything is bounded: requests and bytes, over all and of one principal.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tacit.errors import BusyError, InvalidParameterError, RateLimitError
from tacit.service.frames import Stored

__all__ = ["Limits", "Queue", "Ticket"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the pool may take. Counts and bytes are of requests that wait or run.

    ``workers``: requests that run at the same time; ``threads``: of each worker, and a request that runs alone gets
    those of all. ``principal_bytes``: of one principal, or one request. ``key_memory_bytes``: evaluation keys in the
    memory of all workers together. ``worker_bytes``: most memory that a worker takes beside the shared program (0: what
    the machine has); one that wants more is refused it, and replaced if that ends it. ``request_s``: what a request
    without a deadline may take. ``grace_s``: what a worker may take to stop once nobody waits; then it is replaced.
    """

    workers: int = 1
    threads: int = 1
    key_memory_bytes: int = 1 << 30
    worker_bytes: int = 0
    queue_count: int = 256
    queue_bytes: int = 1 << 30
    principal_count: int = 64
    principal_bytes: int = 1 << 28
    request_s: float = 600.0
    grace_s: float = 5.0

    def __post_init__(self) -> None:
        for name in (
            "workers",
            "threads",
            "key_memory_bytes",
            "queue_count",
            "queue_bytes",
            "principal_count",
            "principal_bytes",
        ):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise InvalidParameterError(
                    f"the '{name}' parameter must be an integer >= 1. Got {value!r} instead."
                )
        for name in ("worker_bytes", "request_s", "grace_s"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise InvalidParameterError(
                    f"the '{name}' parameter must be a number >= 0. Got {value!r} instead."
                )


@dataclass(eq=False, kw_only=True)
class Ticket:
    """One admitted request, until its answer. ``owner``: whose turn it takes; ``keys``: the name of its keys."""

    number: int
    kind: str
    program: str
    owner: bytes
    principal: str
    fields: dict[str, Any]
    body: bytes | Stored
    keys: bytes | None
    admitted_s: float
    deadline_s: float
    future: Any
    given_up_s: float | None = None
    """When nobody waited any more."""
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.size_bytes = len(self.body)

    def __repr__(self) -> str:
        return f"<Ticket {self.number} {self.kind}>"


_Lanes = collections.OrderedDict[tuple[bytes, str], collections.deque[Ticket]]
"""What waits for one principal, by owner and program."""


class Queue:
    """Tickets that wait, in fair order, and a count of those that are under way."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.bytes = 0
        self.admitted = 0
        self.waiting = 0
        self._turns: collections.OrderedDict[str, _Lanes] = collections.OrderedDict()
        self._principals: collections.Counter[str] = collections.Counter()
        self._principal_bytes: collections.Counter[str] = collections.Counter()

    def admit(self, principal: str, size_bytes: int, retry_after_s: float) -> None:
        """Whether there is room for one more. Raises ``RateLimitError`` for this principal, ``BusyError`` for all."""
        if self._principals[principal] >= self.limits.principal_count:
            raise RateLimitError(
                f"this client has {self.limits.principal_count} requests under way, as many as it may",
                retry_after_s=retry_after_s,
                hint="wait for answers before you send more",
            )
        held = self._principal_bytes[principal]
        if held and held + size_bytes > self.limits.principal_bytes:
            raise RateLimitError(
                "this client has as many bytes under way as it may",
                retry_after_s=retry_after_s,
                hint="wait for answers before you send more",
            )
        if self.admitted >= self.limits.queue_count or self.bytes + size_bytes > self.limits.queue_bytes:
            raise BusyError(
                "the provider has as much work as it takes on",
                retry_after_s=retry_after_s,
            )

    def add(self, ticket: Ticket) -> None:
        """Puts an admitted ticket at the end of its lane."""
        self._principals[ticket.principal] += 1
        self._principal_bytes[ticket.principal] += ticket.size_bytes
        self.admitted += 1
        self.bytes += ticket.size_bytes
        self._lane(ticket).append(ticket)
        self.waiting += 1

    def put_back(self, ticket: Ticket) -> None:
        """A ticket that was taken and not begun waits again, before all others of its lane."""
        self._lane(ticket).appendleft(ticket)
        self.waiting += 1

    def take(self, fits: Callable[[Ticket], bool]) -> Ticket | None:
        """The first ticket that fits, in the order of turns; its principal and its lane go to the end of theirs."""
        for principal, lanes in self._turns.items():
            for lane, tickets in lanes.items():
                if fits(tickets[0]):
                    ticket = tickets.popleft()
                    self.waiting -= 1
                    lanes.move_to_end(lane)
                    self._turns.move_to_end(principal)
                    self._tidy(ticket)
                    return ticket
        return None

    def drop(self, ticket: Ticket) -> bool:
        """Takes a waiting ticket out of its lane; false when it is not waiting."""
        tickets = self._turns.get(ticket.principal, _Lanes()).get((ticket.owner, ticket.program))
        if tickets is None or ticket not in tickets:
            return False
        tickets.remove(ticket)
        self.waiting -= 1
        self._tidy(ticket)
        return True

    def leave(self, ticket: Ticket) -> None:
        """A ticket has its answer: its room is free again."""
        if isinstance(ticket.body, Stored):
            ticket.body.close()
        self.admitted -= 1
        self.bytes -= ticket.size_bytes
        self._principals[ticket.principal] -= 1
        self._principal_bytes[ticket.principal] -= ticket.size_bytes
        if not self._principals[ticket.principal]:
            del self._principals[ticket.principal], self._principal_bytes[ticket.principal]

    def __iter__(self) -> Iterator[Ticket]:
        return (ticket for lanes in self._turns.values() for tickets in lanes.values() for ticket in tickets)

    def _lane(self, ticket: Ticket) -> collections.deque[Ticket]:
        lanes = self._turns.setdefault(ticket.principal, _Lanes())
        return lanes.setdefault((ticket.owner, ticket.program), collections.deque())

    def _tidy(self, ticket: Ticket) -> None:
        """Nothing is kept of a lane, or of a principal, for whom nothing waits."""
        lanes = self._turns[ticket.principal]
        if not lanes[ticket.owner, ticket.program]:
            del lanes[ticket.owner, ticket.program]
        if not lanes:
            del self._turns[ticket.principal]
