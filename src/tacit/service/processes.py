"""The front's side of its processes: sockets on the event loop, the zygote, families and workers, and how they end."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tacit.errors import InternalError, MalformedMessageError, UsageError
from tacit.service.frames import MAX_BODY_BYTES, Frame, pair, receive, send
from tacit.service.queue import Ticket

__all__ = ["LARGE_BYTES", "Family", "Link", "Member", "Zygote"]

LARGE_BYTES = 1 << 20
"""Bodies over this are written and read by a thread, so that the event loop does not wait for them."""
_START_S = 60.0
_AT_ONCE = 8
"""Frames that are read from one socket before others have their turn."""


class Link:
    """One end of a connection on the running event loop. ``closed`` is called once, when the other end is gone."""

    def __init__(
        self, end: socket.socket, *, received: Callable[[Frame], None], closed: Callable[[], None]
    ) -> None:
        end.setblocking(False)
        self._end = end
        self._received = received
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(end.fileno(), self._read)
        self.is_open = True

    def send(self, frame: Frame) -> None:
        """Raises ``OSError`` when the other end is gone or reads nothing."""
        if not self.is_open:
            raise BrokenPipeError("the other end is gone")
        send(self._end, frame)

    def close(self) -> None:
        """Ends the connection without a word to the owner of this object; a second call does nothing."""
        if self.is_open:
            self.is_open = False
            self._loop.remove_reader(self._end.fileno())
            self._end.close()

    def _read(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                frame = receive(self._end, max_body_bytes=MAX_BODY_BYTES, reads_bytes=LARGE_BYTES)
            except BlockingIOError:
                return
            except (MalformedMessageError, OSError):
                frame = None
            try:
                if frame is not None:
                    self._received(frame)
            except MalformedMessageError:
                frame = None
            if frame is None:
                self.close()
                self._closed()
                return
            if not self.is_open:
                return


class Process:
    """A process by its handle, which no other process can take over, unlike a number."""

    def __init__(self, number: int, handle: int) -> None:
        self.number = number
        self._handle = handle

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, OSError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def is_stopped(self) -> bool:
        """Whether somebody sent SIGSTOP: such a process neither works nor ends."""
        try:
            stat = Path(f"/proc/{self.number}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[:1] in (["T"], ["t"])

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


class Member:
    """A worker as the front sees it. ``flying``: what it was given, in order; the first one runs."""

    def __init__(self, number: int, family: Family, link: Link, now: float) -> None:
        self.number = number
        self.family = family
        self.link = link
        self.process: Process | None = None
        self.flying: collections.deque[Ticket] = collections.deque()
        self.born_s = now
        self.since_s = now
        """When it began with the first of ``flying``, or became idle."""

    def end(self) -> None:
        """Kills the process, whatever it does."""
        self.link.close()
        if self.process is not None:
            self.process.kill()
            self.process.close()
            self.process = None


class Family:
    """A program as the front sees it: the process that forks its workers, and what is known of their speed."""

    def __init__(self, number: int, kind: str, body: bytes) -> None:
        self.number = number
        self.kind = kind
        self.body = body
        self.program_id = ""
        self.link: Link | None = None
        self.process: Process | None = None
        self.members: dict[int, Member] = {}
        self.key_memory_bytes = 0
        self.seconds = 0.0
        """Of one request, as a moving average; 0 before the first."""
        self.loading_s = 0.0
        """Of reading one owner's keys, likewise."""
        self.failures = 0
        self.not_before_s = 0.0
        self.is_loaded = False
        """Whether the process that forks has read the program; until then nothing that is sent to it is answered."""
        self.is_retired = False

    def learn(self, seconds: float, loading_s: float) -> None:
        self.failures = 0
        if seconds > 0:
            self.seconds += (seconds - self.seconds) * (0.1 if self.seconds else 1.0)
        if loading_s > 0:
            self.loading_s += (loading_s - self.loading_s) * (0.1 if self.loading_s else 1.0)

    def end(self) -> None:
        """Kills the process that forks; workers live on."""
        self.is_loaded = False
        if self.link is not None:
            self.link.close()
            self.link = None
        if self.process is not None:
            self.process.kill()
            self.process.close()
            self.process = None


class Zygote:
    """The root of all processes of the pool, in a fresh interpreter: it inherits no thread of the front."""

    def __init__(self, received: Callable[[Frame], None]) -> None:
        self._received = received
        self._popen: subprocess.Popen[bytes] | None = None
        self._link: Link | None = None

    @property
    def is_up(self) -> bool:
        return self._link is not None and self._link.is_open

    @property
    def process(self) -> int:
        return -1 if self._popen is None else self._popen.pid

    async def start(self) -> None:
        """Raises ``InternalError`` when the process does not come up, ``UsageError`` on a system without its means."""
        if self.is_up:
            return
        if not hasattr(os, "pidfd_open") or not hasattr(os, "memfd_create"):
            raise UsageError(
                "worker processes need Linux 5.3 or newer", hint="serve on Linux, or in a Linux container"
            )
        await self.close()
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def received(frame: Frame) -> None:
            if frame.kind == "ready":
                if not ready.done():
                    ready.set_result(None)
            else:
                self._received(frame)

        def closed() -> None:
            if not ready.done():
                ready.set_exception(
                    InternalError("the process that starts workers ended before it was ready")
                )

        ours, theirs = pair()
        with theirs:
            # One thread in libraries of linear algebra: a process with threads must not fork.
            single = dict.fromkeys(
                ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"), "1"
            )
            self._popen = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", "-m", "tacit.service.zygote", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno() if _has_descriptor(sys.stderr) else subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, **single},
                process_group=0,  # Ctrl-C is for the front, which drains
            )
        self._link = Link(ours, received=received, closed=closed)
        try:
            await asyncio.wait_for(ready, _START_S)
        except TimeoutError:
            await self.close()
            raise InternalError("the process that starts workers did not come up") from None

    def load(self, family: Family, end: socket.socket, *, threads: int, worker_bytes: int) -> None:
        """Asks for a family. Raises ``OSError`` when the zygote is gone."""
        if self._link is None:
            raise BrokenPipeError("the zygote was not started")
        fields = {
            "kind": family.kind,
            "number": family.number,
            "threads": threads,
            "worker_bytes": worker_bytes,
        }
        self._link.send(Frame("load", fields, family.body, (end.fileno(),)))

    async def close(self) -> None:
        """Ends the process and waits for it."""
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._popen is not None:
            popen, self._popen = self._popen, None
            try:
                await asyncio.to_thread(popen.wait, 2.0)
            except subprocess.TimeoutExpired:
                popen.kill()
                await asyncio.to_thread(popen.wait)


def _has_descriptor(stream: object) -> bool:
    try:
        stream.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return False
    return True
