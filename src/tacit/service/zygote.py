"""Where workers come from: `python -m tacit.service.zygote` imports Tacit once, and everything else is forked.

The root forks one family for each program. A family reads the program, encodes its weights, and forks workers, which
share those pages for as long as nobody writes to them. Nobody who forks has threads: neither the front's nor those of
an operation (`team`), which each worker starts for itself. A bundle that cannot be read, or that takes the process
down, hurts its own family only.

A process ends when the other end of its socket is closed: none outlives the front.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import NoReturn

from tacit.errors import InternalError, MalformedMessageError, TacitError
from tacit.service.failure import failure
from tacit.service.frames import Frame, receive, send
from tacit.service.program import Program, load_program
from tacit.service.worker import Worker

__all__ = ["main"]

_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NAME = 15
_ORPHANS_MS = 5000


class Parent:
    """A process that forks: one socket to the front, children, no threads."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.children: dict[int, tuple[int, int]] = {}
        """File descriptor of the child's process → its process and number."""

    def serve(self, answer: Callable[[Frame], None]) -> NoReturn:
        """Until the front closes the socket; then the children end as well."""
        while True:
            poll = select.poll()
            for descriptor in (self.end.fileno(), *self.children):
                poll.register(descriptor, select.POLLIN)
            for descriptor, _ in poll.poll(_ORPHANS_MS):
                if descriptor in self.children:
                    self._bury(descriptor)
                    continue
                frame = receive(self.end)
                if frame is None:
                    self._end()
                answer(frame)
            self._bury_orphans()

    def fork(self, number: int, life: Callable[[socket.socket], NoReturn], end: socket.socket) -> None:
        """A child with its own socket, and news of it to the front: ``forked``, with a handle of the process."""
        threads = len(os.listdir("/proc/self/task"))
        if threads != 1:
            raise InternalError(f"a process with {threads} threads must not fork")
        process = os.fork()
        if process == 0:
            try:
                self.end.close()
                for descriptor in self.children:
                    os.close(descriptor)
                life(end)
            except BaseException as error:  # a child never returns into its parent's code
                print(f"tacit: a process of the service ended: {type(error).__name__}", file=sys.stderr)
            finally:
                os._exit(1)
        end.close()
        handle = os.pidfd_open(process)
        self.children[handle] = (process, number)
        self.tell(Frame("forked", {"number": number, "process": process}, descriptors=(handle,)))

    def tell(self, frame: Frame) -> None:
        """Sends a frame to the front; when that is gone, ends."""
        try:
            send(self.end, frame)
        except OSError:
            self._end()

    def _bury(self, handle: int) -> None:
        process, number = self.children.pop(handle)
        os.close(handle)
        _, status = os.waitpid(process, 0)
        code = os.waitstatus_to_exitcode(status)
        self.tell(Frame("ended", {"number": number, "status": code}))

    def _bury_orphans(self) -> None:
        """Workers of a family that was killed come to the root; nobody else waits for them."""
        own = {process for process, _ in self.children.values()}
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if found.si_pid in own:
                    return
                os.waitpid(found.si_pid, 0)

    def _end(self) -> NoReturn:
        for handle in self.children:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        os._exit(0)


class Family:
    """One program and its workers."""

    def __init__(self, end: socket.socket, *, threads: int, worker_bytes: int) -> None:
        self.parent = Parent(end)
        self.threads = threads
        self.worker_bytes = worker_bytes
        self.program: Program | None = None

    def live(self, kind: str, body: bytes) -> NoReturn:
        try:
            program = load_program(kind, body, threads=self.threads)
        except TacitError as error:
            self.parent.tell(failure(error))
            os._exit(0)
        except Exception as error:
            self.parent.tell(failure(InternalError(f"{type(error).__name__} while a program was read")))
            os._exit(0)
        del body
        self.program = program
        _settle()
        specs = [
            [[spec.name, spec.dtype, list(spec.shape)] for spec in side]
            for side in (program.inputs, program.outputs)
        ]
        fields = {"key_memory_bytes": program.key_memory_bytes, "inputs": specs[0], "outputs": specs[1]}
        self.parent.tell(Frame("loaded", fields, program.public_plan))
        self.parent.serve(self._answer)

    def _answer(self, frame: Frame) -> None:
        number = frame.fields.get("number")
        if frame.kind != "fork" or len(frame.descriptors) != 1 or type(number) is not int:
            raise MalformedMessageError("a family forks workers and does nothing else")
        self.parent.fork(number, self._work, socket.socket(fileno=frame.descriptors[0]))

    def _work(self, end: socket.socket) -> NoReturn:
        if self.program is None:
            raise InternalError("a worker without a program")
        if self.worker_bytes:
            limit = _data_bytes() + self.worker_bytes
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        _call_it("tacit-worker")
        Worker(end, self.program).serve()


def main() -> NoReturn:
    """The root. Its only argument is the descriptor of the socket to the front."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the front drains first, then closes the socket
    _process_control(_PR_SET_CHILD_SUBREAPER, 1)
    root = Parent(socket.socket(fileno=int(sys.argv[1])))
    _call_it("tacit-zygote")
    _settle()
    root.tell(Frame("ready"))

    def answer(frame: Frame) -> None:
        fields, body = frame.fields, frame.content()
        kind, number, threads, limit = (fields.get(k) for k in ("kind", "number", "threads", "worker_bytes"))
        if frame.kind != "load" or len(frame.descriptors) != 1 or type(kind) is not str:
            raise MalformedMessageError("the root forks families and does nothing else")
        if type(number) is not int or type(threads) is not int or type(limit) is not int:
            raise MalformedMessageError("a field of a frame is of a wrong type")

        def life(end: socket.socket) -> NoReturn:
            _call_it("tacit-family")
            Family(end, threads=threads, worker_bytes=limit).live(kind, body)

        root.fork(number, life, socket.socket(fileno=frame.descriptors[0]))

    root.serve(answer)


def _settle() -> None:
    """What is alive now stays: the collector does not touch it again, so that its pages stay shared after a fork."""
    gc.collect()
    gc.freeze()


def _data_bytes() -> int:
    """What this process has of memory that RLIMIT_DATA counts, shared pages of the parent included."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmData:"))


def _call_it(name: str) -> None:
    """The name that `ps` and `top` show."""
    _process_control(_PR_SET_NAME, name.encode())


def _process_control(option: int, argument: int | bytes) -> None:
    """prctl(2); it only makes life easier for the operator, so that its failure is no error."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, argument, 0, 0, 0)


if __name__ == "__main__":
    main()
