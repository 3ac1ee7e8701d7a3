"""A worker: one process, one program, one request at a time, and the evaluation keys that it was told to keep.

It shares the encoded program with its family (`zygote`) and ends when the front closes its socket. What it keeps, and
what it drops to make room, is decided by the front (`pool`), which sees all workers.
"""

from __future__ import annotations

import collections
import os
import select
import socket
import time
from typing import NoReturn

from tacit.backends.ckks.memory import return_free_pages
from tacit.backends.ckks.provider import OwnerKeys
from tacit.errors import (
    BusyError,
    InternalError,
    MalformedMessageError,
    PeerIncompatibleError,
    PeerMisbehavedError,
    PlanError,
    TacitError,
)
from tacit.service.failure import LostKeysError, failure
from tacit.service.frames import Frame, receive, send
from tacit.service.key_files import GONE, faults_are_named
from tacit.service.program import CkksProgram, Program, pack_arrays, unpack_arrays

__all__ = ["Worker"]

QUIET_S = 0.2
"""A worker that has dropped keys gives their memory back once it had nothing to do for so long."""


class _Stopped(Exception):  # noqa: N818 - not an error: the front asked for it
    """Nobody waits for the running request any more."""


class Worker:
    """Answers the frames of the front: ``run``, ``check``, ``predict``, ``forget`` and ``cancel``."""

    def __init__(self, end: socket.socket, program: Program) -> None:
        self.end = end
        self.program = program
        self.keys: dict[bytes, OwnerKeys] = {}
        self._waiting: collections.deque[Frame] = collections.deque()
        self._stopped: set[int] = set()
        self._ticket = -1
        self._has_forgotten = False
        """Whether keys were dropped for the good of others, and their pages are still this process's."""

    def serve(self) -> NoReturn:
        """Until the front closes the socket."""
        while True:
            if self._has_forgotten and not self._waiting and self._is_quiet():
                self._has_forgotten = False
                return_free_pages()  # other workers, and other programs, may need the memory
            self._take(waits=not self._waiting)
            if not self._waiting:
                continue
            frame = self._waiting.popleft()
            self._ticket = _integer(frame, "ticket")
            reply = self._reply(frame)
            reply.fields["kept"] = frame.fields.get("keys") in self.keys
            self._stopped.discard(self._ticket)
            try:
                send(self.end, reply)
            except OSError:
                os._exit(0)

    def _is_quiet(self) -> bool:
        """Whether nothing comes for a while: at work, memory is soon used again."""
        poll = select.poll()
        poll.register(self.end, select.POLLIN)
        return not poll.poll(1000 * QUIET_S)

    def _take(self, *, waits: bool) -> None:
        """Moves frames from the socket: work into the line, the rest is done at once."""
        while True:
            try:
                frame = receive(self.end, waits=waits)
            except BlockingIOError:
                return
            if frame is None:
                os._exit(0)
            waits = False
            match frame.kind:
                case "cancel":
                    ticket = _integer(frame, "ticket")
                    if ticket == self._ticket or any(
                        _integer(waiting, "ticket") == ticket for waiting in self._waiting
                    ):
                        self._stopped.add(ticket)
                case "forget":
                    self._drop(frame)
                case _:
                    self._waiting.append(frame)

    def _checkpoint(self) -> None:
        self._take(waits=False)
        if self._ticket in self._stopped:
            raise _Stopped

    def _reply(self, frame: Frame) -> Frame:
        ticket = self._ticket
        try:
            self._checkpoint()
            start = time.perf_counter()
            loading = self._keep(frame)
            body, arrays = self._compute(frame)
            seconds = time.perf_counter() - start - loading
            fields = {"ticket": ticket, "seconds": seconds, "loading": loading, "arrays": arrays}
            return Frame("done", fields, body)
        except _Stopped:
            return Frame("stopped", {"ticket": ticket})
        except TacitError as error:
            return failure(error, ticket=ticket)
        except MemoryError:
            return failure(
                BusyError("the worker has too little memory for this request", retry_after_s=5.0),
                ticket=ticket,
            )
        except Exception as error:
            # The text may hold data of the owner or of the model: only the class is told.
            return failure(InternalError(f"{type(error).__name__} in a worker"), ticket=ticket)

    def _compute(self, frame: Frame) -> tuple[bytes, list[list[object]]]:
        program = self.program
        if frame.kind == "check":
            return b"", []
        if isinstance(program, CkksProgram):
            if frame.kind != "run":
                raise MalformedMessageError("this program computes on ciphertexts")
            keys, threads = self.keys[_name(frame)], _integer(frame, "threads")
            return program.run(frame.content(), keys, self._checkpoint, threads=threads), []
        if frame.kind != "predict":
            raise MalformedMessageError("this program computes in the clear")
        outputs = program.predict(unpack_arrays(frame.fields.get("arrays"), frame.content()))
        heads, body = pack_arrays(outputs)
        return body, heads

    def _keep(self, frame: Frame) -> float:
        """Reads the keys of the request, unless they are here. Returns the seconds that it took."""
        self._drop(frame)
        if not isinstance(self.program, CkksProgram) or _name(frame) in self.keys:
            return 0.0
        start = time.perf_counter()
        path = frame.fields.get("path")
        if type(path) is not str:
            raise MalformedMessageError("a request names no file of keys")
        content = _content(path)
        try:
            self.keys[_name(frame)] = self.program.read_keys(content)
        except (PeerMisbehavedError, PeerIncompatibleError, PlanError):
            if frame.kind == "check":
                raise
            # They could be read when they were accepted: the disk has changed them since.
            raise LostKeysError(
                "the evaluation keys in the store are damaged", hint="upload the evaluation keys again"
            ) from None
        return time.perf_counter() - start

    def _drop(self, frame: Frame) -> None:
        for name in frame.fields.get("drop", []):
            self._has_forgotten |= self.keys.pop(name, None) is not None


def _content(path: str) -> bytes:
    """Raises ``LostKeysError``, ``BusyError``, or ``StoreFailedError`` for keys that may be there another time."""
    with faults_are_named():
        try:
            with open(path, "rb") as file:
                return file.read()
        except OSError as error:
            if error.errno not in GONE:
                raise
            raise LostKeysError(
                "the evaluation keys are not in the store", hint="upload the evaluation keys again"
            ) from None


def _integer(frame: Frame, key: str) -> int:
    value = frame.fields.get(key)
    if type(value) is not int:
        raise MalformedMessageError(f"a frame lacks `{key}`")
    return value


def _name(frame: Frame) -> bytes:
    value = frame.fields.get("keys")
    if type(value) is not bytes:
        raise MalformedMessageError("a request names no keys")
    return value
