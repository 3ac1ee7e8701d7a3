"""The processes behind the pool: a family for each program, its workers, and how they are replaced when they end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass

from tacit.errors import InternalError, InvalidParameterError, MalformedMessageError, ModelError, TacitError
from tacit.service.failure import error_of
from tacit.service.frames import Frame, pair
from tacit.service.processes import Family, Link, Member, Process, Zygote
from tacit.service.program import KINDS, TensorSpec, plan_id_of, program_id
from tacit.service.queue import Limits

__all__ = ["Crew", "Offered"]

LOAD_S = 600.0
"""What reading and encoding one program may take."""
FORK_S = 30.0
"""What forking a worker may take on a machine without time or memory to spare. A process that forks and is dead or
stopped is found without this: its sockets close, or the next look at it says so."""
BACKOFF_S = (0.05, 5.0)
"""Pause before a worker of a program is forked again after deaths in a row: the first, and the longest."""


@dataclass(frozen=True, kw_only=True)
class Offered:
    """What is known of a program that is served now. ``key_memory_bytes``: one owner's keys in memory."""

    program_id: str
    kind: str
    public_plan: bytes
    key_memory_bytes: int
    load_s: float
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Crew:
    """Starts, watches and ends processes. What they are given to do is the pool's business.

    ``answered``: called with a worker and its frame; ``lost``: with a worker that is gone; ``changed``: when work may
    be handed out that could not be before.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        answered: Callable[[Member, Frame], None],
        lost: Callable[[Member], None],
        changed: Callable[[], None],
    ) -> None:
        self.limits = limits
        self.families: dict[str, Family] = {}
        self.restarts = 0
        self._answered, self._lost, self._changed = answered, lost, changed
        self._offers: dict[str, asyncio.Task[Offered]] = {}
        self._by_number: dict[int, Family] = {}
        self._numbers = itertools.count(1)
        self._zygote = Zygote(self._heard)
        self._starting = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @property
    def is_up(self) -> bool:
        return self._zygote.is_up

    @property
    def members(self) -> Iterator[Member]:
        return (member for family in self.families.values() for member in family.members.values())

    async def start(self) -> None:
        """Raises ``InternalError`` when the process that starts workers does not come up."""
        async with self._starting:
            await self._zygote.start()

    async def offer(self, kind: str, body: bytes) -> Offered:
        """As ``Pool.offer``."""
        if kind not in KINDS:
            raise InvalidParameterError(f"a program is one of {', '.join(KINDS)}. Got {kind!r} instead.")
        content = program_id(kind, body)
        known = self._offers.get(content)
        if known is not None and known.done() and known.result().program_id not in self.families:
            del self._offers[content]  # other bytes of a plan that was retired meanwhile
        if content not in self._offers:
            self._offers[content] = asyncio.create_task(self._offer(kind, body, content))
        return await asyncio.shield(self._offers[content])

    async def _offer(self, kind: str, body: bytes, content: str) -> Offered:
        loop = asyncio.get_running_loop()
        family, start = Family(next(self._numbers), kind, body), loop.time()
        self._by_number[family.number] = family
        try:
            frame = await self._load(family)
            public_plan = frame.content()
            offered = Offered(
                program_id=plan_id_of(public_plan) if kind == "ckks" else content,
                kind=kind,
                public_plan=public_plan,
                key_memory_bytes=integer(frame, "key_memory_bytes"),
                load_s=loop.time() - start,
                inputs=_specs(frame, "inputs"),
                outputs=_specs(frame, "outputs"),
            )
        except BaseException:
            family.end()
            self._by_number.pop(family.number, None)
            self._offers.pop(content, None)
            raise
        if offered.program_id in self.families:  # other bytes of the same plan
            family.end()
            del self._by_number[family.number]
            return offered
        family.program_id = offered.program_id
        family.key_memory_bytes = offered.key_memory_bytes
        self.families[offered.program_id] = family
        self.fork(family)
        return offered

    async def _load(self, family: Family) -> Frame:
        """A process for the family; its first frame, ``loaded``."""
        await self.start()
        loaded: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()

        def received(frame: Frame) -> None:
            if loaded.done():
                self._heard_of(family, frame)
            elif frame.kind == "loaded":
                family.is_loaded = True
                loaded.set_result(frame)
            elif frame.kind == "failed":
                loaded.set_exception(error_of(frame))

        def closed() -> None:
            if loaded.done():
                self._orphaned(family)
            else:
                loaded.set_exception(
                    ModelError(
                        "the process that read the program ended before it was done",
                        hint="is there enough memory for the encoded weights?",
                    )
                )

        ours, theirs = pair()
        family.link = Link(ours, received=received, closed=closed)
        with theirs:
            try:
                self._zygote.load(
                    family, theirs, threads=self.limits.threads, worker_bytes=self.limits.worker_bytes
                )
            except OSError:
                raise InternalError("the process that starts workers is gone") from None
        try:
            return await asyncio.wait_for(loaded, LOAD_S)
        except TimeoutError:
            raise ModelError(f"reading the program took more than {LOAD_S:g} s") from None

    def dismiss(self, family: Family) -> None:
        """Ends all processes of a program."""
        for member in list(family.members.values()):
            self.let_go(member)
        family.end()
        self.families.pop(family.program_id, None)
        self._by_number.pop(family.number, None)
        self._offers.pop(program_id(family.kind, family.body), None)

    def fork(self, family: Family) -> Member | None:
        """One more worker of a family that is loaded. It takes work at once: its socket holds it until the process is
        there."""
        if family.link is None or not family.link.is_open or not family.is_loaded:
            return None
        ours, theirs = pair()
        number = next(self._numbers)
        with theirs:
            try:
                family.link.send(Frame("fork", {"number": number}, descriptors=(theirs.fileno(),)))
            except OSError:
                ours.close()
                return None
        link = Link(
            ours,
            received=lambda frame: self._answered(member, frame),
            closed=lambda: self._lost(member),
        )
        member = Member(number, family, link, asyncio.get_running_loop().time())
        family.members[number] = member
        return member

    def let_go(self, member: Member) -> bool:
        """Ends a worker. False when that was done before."""
        if member.family.members.pop(member.number, None) is None:
            return False
        member.end()
        return True

    def replace(self, member: Member) -> float:
        """Ends a worker that is gone or useless. Returns the seconds until another one may take its place."""
        self.let_go(member)
        family, loop = member.family, asyncio.get_running_loop()
        self.restarts += 1
        family.failures += 1
        pause = min(BACKOFF_S[1], BACKOFF_S[0] * 2.0 ** min(16, family.failures - 1))
        family.not_before_s = loop.time() + pause
        loop.call_later(pause, self._changed)
        return pause

    def look_after(self, is_stuck: Callable[[Member], bool]) -> None:
        """One look at all processes: ends workers that are stopped or stuck, starts what is gone."""
        now = asyncio.get_running_loop().time()
        for member in list(self.members):
            process = member.process
            if process is None:
                late = now - max(member.since_s, member.born_s) > FORK_S
                if late and member.flying and member.family.process is not None:
                    member.family.process.kill()
                    self._lost(member)
            elif process.is_stopped() or is_stuck(member):
                self._lost(member)
        for family in self.families.values():
            if family.process is not None and family.process.is_stopped():
                family.process.kill()
        if not self._zygote.is_up and not self._starting.locked():
            self._in_background(self._restart())

    async def _restart(self) -> None:
        with contextlib.suppress(InternalError):  # the next look tries again
            await self.start()

    async def close(self) -> None:
        """Ends all processes and waits for the first of them."""
        self._is_closed = True
        for task in [*self._background, *self._offers.values()]:
            task.cancel()
        for family in list(self._by_number.values()):
            self.dismiss(family)
        await self._zygote.close()

    def _heard(self, frame: Frame) -> None:
        """The zygote tells of a family."""
        process = _process(frame)
        if process is None:
            return
        family = self._by_number.get(integer(frame, "number"))
        if family is None or family.link is None:
            process.kill()
            process.close()
            return
        if family.process is not None:
            family.process.close()
        family.process = process

    def _heard_of(self, family: Family, frame: Frame) -> None:
        """A family tells of a worker."""
        process = _process(frame)
        if process is None:
            return
        member = family.members.get(integer(frame, "number"))
        if member is None:
            process.kill()
            process.close()
        else:
            member.process = process

    def _orphaned(self, family: Family) -> None:
        """The process that forks workers of a program is gone. Its workers work on; a new one is made for the next."""
        family.end()
        if self._is_closed or family.is_retired or family.program_id not in self.families:
            return

        async def again() -> None:
            while not (self._is_closed or family.is_retired):
                try:
                    await self._load(family)
                except TacitError:
                    family.end()
                    await asyncio.sleep(1.0)
                else:
                    self._changed()
                    return

        self._in_background(again())

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def integer(frame: Frame, key: str) -> int:
    """A field of a frame. Raises ``MalformedMessageError``."""
    value = frame.fields.get(key)
    if type(value) is not int:
        raise MalformedMessageError(f"a frame lacks `{key}`")
    return value


def _process(frame: Frame) -> Process | None:
    if frame.kind != "forked" or len(frame.descriptors) != 1:
        return None
    return Process(integer(frame, "process"), frame.descriptors[0])


def _specs(frame: Frame, key: str) -> tuple[TensorSpec, ...]:
    try:
        return tuple(TensorSpec(str(n), str(d), tuple(shape)) for n, d, shape in frame.fields[key])
    except (KeyError, TypeError, ValueError):
        raise MalformedMessageError(f"a frame lacks `{key}`") from None
