"""The pool of worker processes: what is computed when and by whom, and what happens when a worker dies.

Everything here runs on one event loop and blocks it nowhere. The front decides (turns, room for keys, deadlines),
workers obey; so a worker can be killed at any time and nothing but its request is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from tacit.errors import (
    BusyError,
    InvalidParameterError,
    MalformedMessageError,
    MemoryLimitError,
    NotServedError,
    PeerTimeoutError,
    TacitError,
    WorkerLostError,
)
from tacit.service.crew import Crew, Offered
from tacit.service.failure import error_of
from tacit.service.frames import Frame, Stored
from tacit.service.processes import LARGE_BYTES, Family, Member
from tacit.service.program import pack_arrays, unpack_arrays
from tacit.service.queue import Limits, Queue, Ticket
from tacit.service.room import KeyFile, Room

__all__ = ["KeyFile", "Limits", "Offered", "Pool", "PoolState", "WorkerState"]

WATCH_S = 0.25
"""How often processes are looked at."""
SHORT_S = 0.05
"""Requests that take less are handed to a worker before it has finished the one before."""
PATIENCE_S = 0.01
"""Least time that a worker idles beside work for another one before it reads the keys of that work too."""
DAY_S = 86400.0
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EFBIG)


@dataclass(frozen=True)
class WorkerState:
    """``process``: its number, -1 while it is started. ``waiting``: requests given to it, with the one that runs."""

    process: int
    program_id: str
    waiting: int
    keys: int


@dataclass(frozen=True, kw_only=True)
class PoolState:
    """A look at the pool. ``seconds``: of one request, a moving average for each program."""

    is_ready: bool
    is_draining: bool
    workers: tuple[WorkerState, ...]
    workers_wanted: int
    running: int
    queued: int
    queue_bytes: int
    key_bytes: int
    key_count: int
    restarts: int
    seconds: Mapping[str, float]


class Pool:
    """Computes in processes. Make it, ``start`` it and use it on one event loop."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._queue = Queue(self.limits)
        self._room = Room(self.limits.key_memory_bytes)
        self._crew = Crew(self.limits, answered=self._answered, lost=self._lost, changed=self._pump)
        self._numbers = itertools.count(1)
        self._watch: asyncio.Task[None] | None = None
        self._quiet = asyncio.Event()
        self._is_draining = False
        self._idle_s = 0.0
        self._idle_since_s: float | None = None

    async def __aenter__(self) -> Pool:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Raises ``InternalError`` when the process that starts workers does not come up."""
        await self._crew.start()
        if self._watch is None:
            self._watch = asyncio.create_task(self._look_after())

    @property
    def ready(self) -> bool:
        """Whether work is taken: for a balancer that asks."""
        return self._watch is not None and not self._is_draining and self._crew.is_up

    async def offer(self, kind: str, body: bytes) -> Offered:
        """Reads and encodes a program in a process of its own, and serves it from then on.

        ``kind``: ``ckks`` for what ``Provider.to_bytes`` gave, ``clear`` for the bytes of an ONNX file. The same bytes
        are offered once; of a program that is being retired they wait until it has ended. Raises the ``TacitError``
        that reading raised; nothing else is touched by it.
        """
        while True:
            offered = await self._crew.offer(kind, body)
            family = self._crew.families.get(offered.program_id)
            if family is not None and not family.is_retired:
                return offered
            await asyncio.sleep(0.02)

    async def retire(self, program: str) -> None:
        """Takes no new work for a program, finishes what it has, then ends its processes; unknown ones are ignored."""
        family = self._crew.families.get(program)
        if family is None or family.is_retired:
            return
        family.is_retired = True
        while any(ticket.program == program for ticket in self._queue) or any(
            member.flying for member in family.members.values()
        ):
            await asyncio.sleep(0.02)
        for number in family.members:
            self._room.drop_worker(number)
        self._crew.dismiss(family)

    async def run(
        self,
        program: str,
        request: bytes | memoryview,
        keys: KeyFile,
        *,
        principal: str = "",
        deadline: float | None = None,
    ) -> bytes:
        """The response to an encrypted request, under the keys of one owner.

        ``deadline``: on the clock of the event loop. Raises what ``Provider.run`` raises, and
        ``LostKeysError`` when the file is gone or damaged, ``StoreFailedError`` when the disk fails otherwise,
        ``NotServedError``, ``MemoryLimitError`` when one owner's keys are more than all workers may keep,
        ``BusyError``, ``RateLimitError``, ``PeerTimeoutError``, ``WorkerLostError``.
        """
        frame = await self._ask("run", program, keys.owner, request, {}, keys, principal, deadline)
        return await _content(frame)

    async def check_keys(
        self, program: str, keys: KeyFile, *, principal: str = "", deadline: float | None = None
    ) -> None:
        """Reads keys against the plan, and keeps them in the memory of a worker. Raises as ``run``, and what
        ``Provider.read_keys`` raises."""
        await self._ask("check", program, keys.owner, b"", {}, keys, principal, deadline)

    async def predict(
        self,
        program: str,
        arrays: Mapping[str, npt.NDArray[Any]],
        *,
        owner: bytes = b"",
        principal: str = "",
        deadline: float | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Outputs by name of a model in the clear. Raises ``ShapeError`` and ``DataError``, and else as ``run``."""
        heads, body = pack_arrays(arrays)
        frame = await self._ask("predict", program, owner, body, {"arrays": heads}, None, principal, deadline)
        return unpack_arrays(frame.fields.get("arrays"), await _content(frame))

    def forget_keys(self, keys: KeyFile) -> None:
        """Drops keys from the memory of workers, for keys that the store does not have any more."""
        for program in self._crew.families:
            name = keys.name(program)
            for number in self._room.holders(name):
                self._room.drop((number, name))
                self._tell_to_forget(number, name)

    def state(self) -> PoolState:
        members = list(self._crew.members)
        return PoolState(
            is_ready=self.ready,
            is_draining=self._is_draining,
            workers=tuple(
                WorkerState(
                    -1 if member.process is None else member.process.number,
                    member.family.program_id,
                    len(member.flying),
                    self._room.count(member.number),
                )
                for member in members
            ),
            workers_wanted=self.limits.workers,
            running=sum(1 for member in members if member.flying),
            queued=self._queue.waiting,
            queue_bytes=self._queue.bytes,
            key_bytes=self._room.bytes,
            key_count=len(self._room),
            restarts=self._crew.restarts,
            seconds={name: family.seconds for name, family in self._crew.families.items()},
        )

    async def drain(self, seconds: float) -> bool:
        """Refuses new work and waits for what was admitted. False when some of it is left after ``seconds``."""
        self._is_draining = True
        if not self._queue.admitted:
            return True
        try:
            await asyncio.wait_for(self._quiet.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Ends all processes; what waits or runs fails with ``BusyError``. A second call does nothing."""
        self._is_draining = True
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        end = BusyError("the provider ended before it answered", retry_after_s=5.0)
        flying = [ticket for member in self._crew.members for ticket in member.flying]
        for ticket in [*self._queue, *flying]:
            self._queue.drop(ticket)
            self._finish(ticket, end)
        await self._crew.close()

    async def _ask(
        self,
        kind: str,
        program: str,
        owner: bytes,
        body: bytes | memoryview,
        fields: dict[str, Any],
        keys: KeyFile | None,
        principal: str,
        deadline: float | None,
    ) -> Frame:
        loop = asyncio.get_running_loop()
        family = self._family(program, keys is not None)
        self._queue.admit(principal, len(body), self._retry_after_s())
        stored = None
        if len(body) > LARGE_BYTES:
            try:
                stored = await asyncio.to_thread(Stored.of, body)
            except OSError:
                raise BusyError("the provider is short of memory or files", retry_after_s=5.0) from None
            try:
                self._family(program, keys is not None)
                self._queue.admit(principal, len(body), self._retry_after_s())
            except TacitError:
                stored.close()
                raise
        now = loop.time()
        if deadline is not None and deadline <= now:
            # An answer could be quicker than the timer below: what comes too late is not begun.
            if stored is not None:
                stored.close()
            raise PeerTimeoutError("the request waited until its deadline and was not begun")
        ticket = Ticket(
            number=next(self._numbers),
            kind=kind,
            program=family.program_id,
            owner=owner,
            principal=principal,
            fields=fields if keys is None else {**fields, "path": str(keys.path)},
            body=bytes(body) if stored is None else stored,
            keys=None if keys is None else keys.name(program),
            admitted_s=now,
            deadline_s=now + self.limits.request_s if deadline is None else min(deadline, now + DAY_S),
            future=loop.create_future(),
        )
        self._queue.add(ticket)
        self._quiet.clear()
        timer = loop.call_at(ticket.deadline_s, self._expire, ticket)
        self._pump()
        try:
            result: Frame = await ticket.future
            return result
        except asyncio.CancelledError:
            self._abandon(ticket)
            raise
        finally:
            timer.cancel()

    def _family(self, program: str, is_encrypted: bool) -> Family:
        """Whose program it is, if it takes such work now."""
        family = self._crew.families.get(program)
        if family is None or family.is_retired:
            raise NotServedError(
                "this plan is not served, or not any more", hint="ask for the plans of the model again"
            )
        if self._is_draining or self._watch is None:
            raise BusyError("the provider is about to end", retry_after_s=5.0)
        if is_encrypted != (family.kind == "ckks"):
            raise InvalidParameterError("the request is of another kind than the program")
        if family.key_memory_bytes > self._room.limit_bytes:
            raise MemoryLimitError(
                f"the evaluation keys of one owner take {family.key_memory_bytes} bytes in memory, and all workers "
                f"together may keep {self._room.limit_bytes}",
                wanted_bytes=family.key_memory_bytes,
                hint="the provider has to serve with a larger `--key-memory`",
            )
        return family

    def _pump(self) -> None:
        """Hands out what can be handed out, each lane in its turn."""
        self._count_idle()
        place: list[Member] = []

        def fits(ticket: Ticket) -> bool:
            member = self._place(ticket, has_slot)
            if member is not None:
                place.append(member)
            return member is not None

        while True:
            busy = [len(member.flying) for member in self._crew.members if member.flying]
            has_slot = len(busy) < self.limits.workers
            if not has_slot and min(busy) > 1:
                break  # under load the usual case: nobody takes anything, whoever waits
            ticket = self._queue.take(fits)
            if ticket is None:
                break
            self._give(ticket, place.pop())
        self._count_idle()

    def _count_idle(self) -> None:
        """Adds up how long work waited for one worker while another had nothing to do."""
        now = asyncio.get_running_loop().time()
        if self._idle_since_s is not None:
            self._idle_s += now - self._idle_since_s
        running = sum(1 for member in self._crew.members if member.flying)
        is_idle = self._queue.waiting > 0 and running < self.limits.workers
        self._idle_since_s = now if is_idle else None

    def _place(self, ticket: Ticket, has_slot: bool) -> Member | None:
        """The worker that takes the ticket now, if one does: the one that has its keys, or else an idle one.

        ``has_slot``: whether fewer workers run than may. Keys go where there are fewest, and to a worker that is not
        there yet before one that has some: so owners spread over workers from the start, each read once.
        """
        family = self._crew.families[ticket.program]
        members, keys = family.members, ticket.keys
        numbers = [] if keys is None else self._room.holders(keys)
        holders = [members[number] for number in numbers if number in members]
        if not has_slot:
            if 0 < family.seconds < SHORT_S:
                for member in holders:
                    if len(member.flying) == 1:
                        return member
            return None
        for member in holders:
            if not member.flying:
                return member
        if asyncio.get_running_loop().time() < family.not_before_s:
            return None
        if holders and not self._is_worth_reading(family):
            return None
        if keys is not None and not self._room.fits(family.key_memory_bytes, self._in_use()):
            return None
        idle = [member for member in members.values() if not member.flying and member not in holders]
        best = min(idle, key=lambda member: self._room.count(member.number), default=None)
        is_new_better = best is None or self._room.count(best.number) > 0
        made = self._crew.fork(family) if is_new_better and len(members) < self.limits.workers else None
        return made or best

    def _is_worth_reading(self, family: Family) -> bool:
        """Whether a second worker should read keys that a busy one has: after it idled for as long as that takes."""
        return self._idle_s >= max(PATIENCE_S, family.loading_s)

    def _in_use(self) -> set[tuple[int, bytes]]:
        return {
            (member.number, ticket.keys)
            for member in self._crew.members
            for ticket in member.flying
            if ticket.keys is not None
        }

    def _give(self, ticket: Ticket, member: Member) -> None:
        drop: list[bytes] = []
        if ticket.keys is not None:
            entry, size = (member.number, ticket.keys), member.family.key_memory_bytes
            if entry in self._room:
                self._room.touch(entry)
            else:
                self._idle_s = 0.0
                self._move(ticket.keys, size)
                awaited = {other.keys for other in self._queue if other.keys is not None}
                for number, name in self._room.hold(entry, size, self._in_use(), awaited):
                    if number == member.number:
                        drop.append(name)  # in the frame of the request: dropped before others are read
                    else:
                        self._tell_to_forget(number, name)
        if not member.flying:
            member.since_s = asyncio.get_running_loop().time()
        member.flying.append(ticket)
        is_alone = not self._queue.waiting and all(
            other is member or not other.flying for other in self._crew.members
        )
        threads = self.limits.threads * (self.limits.workers if is_alone else 1)
        own = {"ticket": ticket.number, "keys": ticket.keys, "drop": drop, "threads": threads}
        fields = {**ticket.fields, **own}
        try:
            member.link.send(Frame(ticket.kind, fields, ticket.body))
        except OSError as error:
            if error.errno not in SHORTAGES or drop:
                self._lost(member)
                return
            # The front has no descriptor or no memory left: no fault of the worker, which has missed nothing.
            member.flying.pop()
            self._finish(ticket, BusyError("the provider is short of memory or files", retry_after_s=5.0))

    def _move(self, name: bytes, size: int) -> None:
        """Where room is short, keys are not held twice: the worker that had them drops them."""
        in_use = self._in_use()
        for number in self._room.holders(name):
            if not self._room.has_free(size) and (number, name) not in in_use:
                self._room.drop((number, name))
                self._tell_to_forget(number, name)

    def _tell_to_forget(self, number: int, name: bytes) -> None:
        """A request that uses the keys right now still finishes."""
        for member in self._crew.members:
            if member.number == number:
                with contextlib.suppress(OSError):
                    member.link.send(Frame("forget", {"drop": [name]}))

    def _retry_after_s(self) -> float:
        """When there should be room: the work under way over the workers."""
        seconds = [family.seconds for family in self._crew.families.values() if family.seconds]
        mean = sum(seconds) / len(seconds) if seconds else 1.0
        return min(60.0, max(0.1, mean * (1 + self._queue.admitted) / self.limits.workers))

    def _answered(self, member: Member, frame: Frame) -> None:
        """A worker has done its first ticket."""
        if not member.flying or member.flying[0].number != frame.fields.get("ticket"):
            self._lost(member)
            return
        work, loading = (_seconds(frame, key) for key in ("seconds", "loading"))
        ticket = member.flying.popleft()
        member.since_s = asyncio.get_running_loop().time()
        if ticket.keys is not None and frame.fields.get("kept") is not True:
            self._room.drop((member.number, ticket.keys))
        result: Frame | TacitError = frame
        if frame.kind == "done":
            member.family.learn(0.0 if ticket.kind == "check" else work, loading)
        elif frame.kind == "failed":
            result = error_of(frame)
        else:
            result = PeerTimeoutError("the request was given up")
        self._finish(ticket, result)
        self._pump()

    def _finish(self, ticket: Ticket, result: Frame | TacitError) -> None:
        self._queue.leave(ticket)
        if not self._queue.admitted:
            self._quiet.set()
        if ticket.future.done():
            if isinstance(result, Frame) and isinstance(result.body, Stored):
                result.body.close()
            return
        if isinstance(result, Frame):
            ticket.future.set_result(result)
        else:
            ticket.future.set_exception(result)

    def _expire(self, ticket: Ticket) -> None:
        """The deadline of a ticket has come."""
        if ticket.future.done():
            return
        if self._queue.drop(ticket):
            self._finish(ticket, PeerTimeoutError("the request waited until its deadline and was not begun"))
        else:
            ticket.future.set_exception(PeerTimeoutError("the request was not done at its deadline"))
            self._stop(ticket)

    def _abandon(self, ticket: Ticket) -> None:
        """Nobody waits for the answer any more."""
        if self._queue.drop(ticket):
            self._finish(ticket, PeerTimeoutError("nobody waits for the answer"))
        else:
            self._stop(ticket)

    def _stop(self, ticket: Ticket) -> None:
        """Asks the worker of a ticket to stop at its next stage; one that does not is ended (`_is_stuck`)."""
        ticket.given_up_s = asyncio.get_running_loop().time()
        for member in self._crew.members:
            if ticket in member.flying:
                with contextlib.suppress(OSError):
                    member.link.send(Frame("cancel", {"ticket": ticket.number}))

    def _lost(self, member: Member) -> None:
        """A worker is gone: what it ran fails, what it had not begun goes to another, and one takes its place."""
        if member.family.members.get(member.number) is not member:
            return
        self._room.drop_worker(member.number)
        pause = self._crew.replace(member)
        if member.flying:
            self._finish(
                member.flying.popleft(),
                WorkerLostError(
                    "the process that computed the request ended; another takes its place",
                    retry_after_s=max(1.0, pause),
                ),
            )
        while member.flying:
            ticket = member.flying.pop()
            if ticket.future.done():
                self._finish(ticket, PeerTimeoutError("nobody waits for the answer"))
            else:
                self._queue.put_back(ticket)

    def _is_stuck(self, member: Member) -> bool:
        """Whether a worker computes, long after, what nobody waits for."""
        if not member.flying or member.flying[0].given_up_s is None:
            return False
        since = max(member.since_s, member.flying[0].given_up_s)
        return asyncio.get_running_loop().time() - since > self.limits.grace_s

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            self._crew.look_after(self._is_stuck)
            self._pump()


async def _content(frame: Frame) -> bytes:
    """The body of an answer; a large one is read by a thread."""
    if isinstance(frame.body, bytes):
        return frame.body
    return await asyncio.to_thread(frame.content)


def _seconds(frame: Frame, key: str) -> float:
    value = frame.fields.get(key, 0.0)
    if type(value) is not float or not 0 <= value < DAY_S:
        raise MalformedMessageError(f"a frame lacks `{key}`")
    return value
