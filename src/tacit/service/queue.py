"""Admission: how much work waits, for whom, and whose turn it is. No clock, no I/O: the pool asks and tells.

Work waits in lanes, one for each owner and program; lanes take turns, so that an owner who sends much delays itself and
not the others. Everything is bounded: requests and bytes over all, and requests of one principal.
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
    those of all. ``key_memory_bytes``: evaluation keys in the memory of all workers together. ``worker_bytes``: most
    memory that a worker takes beside the shared program (0: what the machine has); one that wants more is refused it,
    and replaced if that ends it. ``request_s``: what a request without a deadline may take. ``grace_s``: what a worker
    may take to stop once nobody waits; then it is replaced.
    """

    workers: int = 1
    threads: int = 1
    key_memory_bytes: int = 1 << 30
    worker_bytes: int = 0
    queue_count: int = 256
    queue_bytes: int = 1 << 30
    principal_count: int = 64
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


class Queue:
    """Tickets that wait, in fair order, and a count of those that are under way."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.bytes = 0
        self.admitted = 0
        self.waiting = 0
        self._lanes: collections.OrderedDict[tuple[bytes, str], collections.deque[Ticket]] = (
            collections.OrderedDict()
        )
        self._principals: collections.Counter[str] = collections.Counter()

    def admit(self, principal: str, size_bytes: int, retry_after_s: float) -> None:
        """Whether there is room for one more. Raises ``RateLimitError`` for this principal, ``BusyError`` for all."""
        if self._principals[principal] >= self.limits.principal_count:
            raise RateLimitError(
                f"this client has {self.limits.principal_count} requests under way, as many as it may",
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
        self.admitted += 1
        self.bytes += ticket.size_bytes
        self._lane(ticket).append(ticket)
        self.waiting += 1

    def put_back(self, ticket: Ticket) -> None:
        """A ticket that was taken and not begun waits again, before all others of its lane."""
        self._lane(ticket).appendleft(ticket)
        self.waiting += 1

    def take(self, fits: Callable[[Ticket], bool]) -> Ticket | None:
        """The first ticket that fits, in the order of turns; its lane goes to the end of the line."""
        for lane, tickets in self._lanes.items():
            if fits(tickets[0]):
                ticket = tickets.popleft()
                self.waiting -= 1
                if tickets:
                    self._lanes.move_to_end(lane)
                else:
                    del self._lanes[lane]
                return ticket
        return None

    def drop(self, ticket: Ticket) -> bool:
        """Takes a waiting ticket out of its lane; false when it is not waiting."""
        tickets = self._lanes.get((ticket.owner, ticket.program))
        if tickets is None or ticket not in tickets:
            return False
        tickets.remove(ticket)
        self.waiting -= 1
        if not tickets:
            del self._lanes[ticket.owner, ticket.program]
        return True

    def leave(self, ticket: Ticket) -> None:
        """A ticket has its answer: its room is free again."""
        if isinstance(ticket.body, Stored):
            ticket.body.close()
        self.admitted -= 1
        self.bytes -= ticket.size_bytes
        self._principals[ticket.principal] -= 1
        if not self._principals[ticket.principal]:
            del self._principals[ticket.principal]

    def __iter__(self) -> Iterator[Ticket]:
        return (ticket for tickets in self._lanes.values() for ticket in tickets)

    def _lane(self, ticket: Ticket) -> collections.deque[Ticket]:
        return self._lanes.setdefault((ticket.owner, ticket.program), collections.deque())
