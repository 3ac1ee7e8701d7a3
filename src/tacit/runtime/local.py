"""All parties of a protocol on this machine, each a process of its own, joined by mutual TLS 1.3 on loopback.

Whoever starts them is the client outside: it makes the shares of what goes in, gives each party only its own, and puts
the shares of what comes out together. It protects nobody from the user of this machine, who can read all processes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict
from types import TracebackType
from typing import Any, NoReturn, Self

import numpy as np

from tacit.backends.mpc.steps import Words
from tacit.errors import ConnectError, InvalidParameterError, PeerError, PeerTimeoutError
from tacit.net.channel import Limits, checked_names
from tacit.net.channel_faults import again, party_error
from tacit.runtime.messages import Message, error_of, receive, send
from tacit.runtime.protocols import Protocol, named
from tacit.runtime.report import Report

__all__ = ["Parties", "plan_of"]

LOCAL = Limits(silence_s=6.0)
"""Parties of one machine share its load, which must not make one look dead. A process that ended is known at once."""
START_S = 120.0
"""For a process to start, make its identity and join."""
LAST_WORDS_S = 10.0
"""How long the reasons of the other parties are awaited once one has failed, but for those that are named as gone."""
_ENDING_S = 5.0
_TRANSFER_S = 60.0


class Parties:
    """Running parties. Make them with ``Parties.start``; after an error of a party they are gone."""

    def __init__(self, protocol: Protocol, names: tuple[str, ...]) -> None:
        self.protocol, self.names = protocol, names
        self.reports: tuple[Report, ...] = ()
        """Of the last call, by party."""
        self.opening: tuple[Report, ...] = ()
        """Of the opening of the engines."""
        self.failures: dict[str, tuple[BaseException, float]] = {}
        """What each party ended with, and when it was known here (``time.monotonic``)."""
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ends: list[socket.socket] = []
        self._lives: list[int] = []
        self._failure: PeerError | None = None
        self._folder = ""
        self._turn = threading.RLock()

    @classmethod
    def start(
        cls,
        script: str,
        *,
        program: bytes = b"",
        variant: str | Protocol = "replicated3",
        reveals: Sequence[str] = (),
        names: Sequence[str] | None = None,
        threads: int = 1,
        limits: Limits | None = None,
        hosts: Sequence[str] | None = None,
        prefixes: Sequence[Sequence[str]] | None = None,
    ) -> Self:
        """Starts all parties and waits until they have joined.

        ``script``: ``module:callable``; each party calls it with its engine and ``program``, and keeps what it gives.
        ``reveals``: names of the openings that the engine may make. ``threads``: of each party's kernels.
        ``limits``: by default `LOCAL`, whose silence is longer than that of parties on machines of their own.
        ``hosts`` and ``prefixes``: where each listens, and what its command begins with (a network namespace).
        Raises ``PeerError`` where the parties do not come together.
        """
        protocol = named(variant) if isinstance(variant, str) else variant
        chosen = checked_names(tuple(names or protocol.roles))
        count = len(protocol.roles)
        places = tuple(hosts or ("127.0.0.1",) * count)
        commands = tuple(prefixes or ((),) * count)
        if not len(chosen) == len(places) == len(commands) == count:
            raise InvalidParameterError(f"`{protocol.name}` has {count} parties")
        parties = cls(protocol, chosen)
        try:
            parties._folder = tempfile.mkdtemp(prefix="tacit-parties-")
            for place, name in enumerate(chosen):
                parties._start(name, commands[place], threads)
            parties._join(script, program, tuple(reveals), limits or LOCAL, places)
        except BaseException:
            parties.close()
            raise
        return parties

    def call(
        self,
        method: str,
        arrays: Sequence[Sequence[Words]] | None = None,
        *,
        timeout_s: float | None = None,
        **options: Any,
    ) -> list[list[Words]]:
        """Has every party run the steps ``method(arrays, **options)`` of what its script made; gives their results.

        ``arrays``: of each party its own. ``options``: plain values, the same at all. ``timeout_s``: until all are
        done; without it, parties that live are given their time. Raises what a party raises, ``PeerError`` first.
        """
        own = [list(each) for each in arrays] if arrays is not None else [[] for _ in self.names]
        done = self._call({"method": method, "options": options}, own, timeout_s)
        return [message.arrays for message in done]

    def prepare(self, constants: Mapping[str, Words]) -> None:
        """Shares what the client outside knows and all predictions use. Raises as ``call`` does."""
        self._share("prepare", constants)

    def predict(self, inputs: Mapping[str, Words]) -> dict[str, Words]:
        """Shares the inputs, has them computed on, and puts the outputs together. Raises as ``call`` does."""
        parts = [_by_name(message) for message in self._share("predict", inputs)]
        combine = self.protocol.function("combine")
        return {name: combine([part[name] for part in parts]) for name in parts[0]}

    def close(self) -> None:
        """Ends all parties; those that do not end by themselves are killed."""
        for end in self._ends:
            with contextlib.suppress(OSError):
                send(end, "end", {})
            end.close()
        for life in self._lives:
            os.close(life)
        deadline = time.monotonic() + _ENDING_S
        for process in self._processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes, self._ends, self._lives = [], [], []
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def processes(self) -> dict[str, int]:
        """The id of each party's process."""
        return {name: process.pid for name, process in zip(self.names, self._processes, strict=True)}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _share(self, method: str, values: Mapping[str, Words]) -> list[Message]:
        """Calls ``method(parts, shapes)``, with the shares of ``values``: by name, and of each party its own."""
        deal = self.protocol.function("deal")
        arrays: list[list[Words]] = [[] for _ in self.names]
        rows: list[list[list[Any]]] = [[] for _ in self.names]
        for name, value in values.items():
            words = np.ascontiguousarray(value, dtype=np.uint64)
            for own, row, part in zip(arrays, rows, deal(words), strict=True):
                own.extend(part)
                row.append([name, list(words.shape), len(part)])
        facts = [{"method": method, "options": {}, "parts": row} for row in rows]
        return self._call(facts, arrays, None)

    def _call(
        self,
        facts: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        arrays: Sequence[Sequence[Words]],
        timeout_s: float | None,
    ) -> list[Message]:
        # One call at a time: answers carry no number of the call that they belong to.
        with self._turn:
            if self._failure is not None:
                raise again(self._failure)
            if not self._ends:
                raise InvalidParameterError("the parties have ended", hint="start them again")
            if len(arrays) != len(self.names):
                raise InvalidParameterError(
                    f"there are {len(self.names)} parties. Got arrays for {len(arrays)}."
                )
            try:
                for place, own in enumerate(arrays):
                    end = self._ends[place]
                    # Why one is gone is found below, in the words of the others; who takes nothing is waited for
                    # no longer.
                    end.settimeout(_TRANSFER_S)
                    try:
                        send(end, "call", facts if isinstance(facts, Mapping) else facts[place], own)
                    except OSError:
                        with contextlib.suppress(OSError):
                            end.shutdown(socket.SHUT_WR)
                    finally:
                        end.settimeout(None)
                done = self._gather("done", timeout_s)
                self.reports = tuple(Report(**message.facts["report"]) for message in done)
            except BaseException:
                # What the parties still answer must never be taken for the answer of a later call.
                self._cut_off()
                raise
            return done

    def _cut_off(self) -> None:
        """Kills parties whose call was left before its end (Ctrl-C, too little memory)."""
        if self._failure is None:
            self._failure = party_error(
                PeerError, "", "the parties ended: a call was left before its end", hint="start them again"
            )
        for process in self._processes:
            process.kill()
        self.close()

    def _start(self, name: str, prefix: Sequence[str], threads: int) -> None:
        here, there = socket.socketpair()
        watched, life = os.pipe()
        self._ends.append(here)
        self._lives.append(life)
        command = [*prefix, sys.executable, "-m", "tacit.runtime.child"]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(place for place in sys.path if place),
            "OMP_NUM_THREADS": str(threads),
            "OPENBLAS_NUM_THREADS": str(threads),
            "TACIT_THREADS": str(threads),
        }
        try:
            self._processes.append(
                subprocess.Popen(  # noqa: S603 this interpreter, and a prefix of the caller
                    [*command, str(there.fileno()), str(watched)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env=environment,
                    pass_fds=(there.fileno(), watched),
                    # Ctrl-C in a terminal is for the one who started it, also before the child can ignore it.
                    process_group=0,
                )
            )
        except OSError as error:
            raise ConnectError(
                f"the process of `{name}` does not start: {(error.strerror or 'no reason').lower()}",
                hint="look at the limits of this user",
            ) from None
        finally:
            there.close()
            os.close(watched)

    def _join(
        self, script: str, program: bytes, reveals: tuple[str, ...], limits: Limits, hosts: tuple[str, ...]
    ) -> None:
        path = [place or os.getcwd() for place in sys.path]
        for end, name, host in zip(self._ends, self.names, hosts, strict=True):
            send(end, "setup", {"name": name, "folder": self._folder, "host": host, "path": path})
        here = self._gather("here", START_S)
        rows = [
            [name, message.facts["pin"], message.facts["host"], message.facts["port"]]
            for name, message in zip(self.names, here, strict=True)
        ]
        terms = {
            "parties": rows,
            "session": secrets.token_bytes(16),
            "plan": plan_of(self.protocol, script, program, reveals),
            "protocol": {**asdict(self.protocol), "roles": list(self.protocol.roles)},
            "reveals": list(reveals),
            "script": script,
            "program": program,
            "limits": asdict(limits),
        }
        for end in self._ends:
            send(end, "terms", terms)
        ready = self._gather("ready", START_S)
        self.opening = self.reports = tuple(Report(**message.facts["report"]) for message in ready)

    def _gather(self, kind: str, timeout_s: float | None) -> list[Message]:
        """One message of each party; or the error that ends them all, in the words of who knows most."""
        found: dict[int, Message] = {}
        failures: dict[int, BaseException] = {}
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            for place, end in enumerate(self._ends):
                selector.register(end, selectors.EVENT_READ, place)
            while selector.get_map():
                left = None if deadline is None else deadline - time.monotonic()
                events = selector.select(left)
                if not events:
                    break
                for key, _ in events:
                    selector.unregister(key.fileobj)
                    message = self._hear(key.data)
                    if isinstance(message, Message) and message.kind == kind:
                        found[key.data] = message
                        continue
                    error = error_of(message.facts) if isinstance(message, Message) else message
                    failures[key.data] = error
                    self.failures[self.names[key.data]] = error, time.monotonic()
                    limit = time.monotonic() + LAST_WORDS_S
                    deadline = limit if deadline is None else min(deadline, limit)
                if failures and self._silent({*found, *failures}) <= _named(failures.values()):
                    break
        if len(found) == len(self.names):
            return [found[place] for place in range(len(self.names))]
        missing = self._silent({*found, *failures})
        self._end(failures, [name for name in self.names if name in missing], timeout_s)

    def _silent(self, heard: Set[int]) -> set[str]:
        return {name for place, name in enumerate(self.names) if place not in heard}

    def _hear(self, place: int) -> Message | ConnectError:
        end, name = self._ends[place], self.names[place]
        end.settimeout(_TRANSFER_S)
        try:
            message = receive(end)
        except (OSError, PeerError):
            message = None
        finally:
            end.settimeout(None)
        if message is not None:
            return message
        return party_error(
            ConnectError,
            name,
            f"the process of `{name}` ended",
            hint="it was killed, or had too little memory",
        )

    def _end(
        self, failures: Mapping[int, BaseException], missing: Sequence[str], timeout_s: float | None
    ) -> NoReturn:
        """Kills all parties and raises: a failure that is no peer's first, then what says who is gone."""
        for process in self._processes:
            process.kill()
        ranked = sorted(failures.values(), key=_rank)
        if ranked:
            error = ranked[0]
        else:
            error = party_error(
                PeerTimeoutError,
                missing[0] if missing else "",
                f"{', '.join(f'`{name}`' for name in missing)} did not answer within {timeout_s:g} s",
                hint="it computes, or is stopped; give it more time",
            )
        self._failure = (
            error
            if isinstance(error, PeerError)
            else party_error(PeerError, "", "the parties ended after an error", hint="start them again")
        )
        self.close()
        raise error


def plan_of(protocol: Protocol, script: str, program: bytes, reveals: Sequence[str]) -> bytes:
    """What the parties compare in their hellos: 32 bytes of everything that they must do alike."""
    digest = hashlib.sha256(b"tacit parties 1")
    for part in (protocol.name, protocol.module, script, *reveals):
        digest.update(len(part.encode()).to_bytes(8, "big") + part.encode())
    digest.update(hashlib.sha256(program).digest())
    return digest.digest()


def _named(errors: Iterable[BaseException]) -> set[str]:
    """Who is gone, in the words of the others: nothing is to be heard of them.

    A party that told the others that it ends is named by a plain `PeerError`: it lives, and its own words say more.
    """
    return {error.party for error in errors if isinstance(error, PeerError) and type(error) is not PeerError}


def _rank(error: BaseException) -> int:
    """A party's own mistake says most; then who names another one; then what only was told."""
    if not isinstance(error, PeerError):
        return 0
    return 1 if "(told by" not in str(error) and type(error) is not PeerError else 2


def _by_name(message: Message) -> dict[str, list[Words]]:
    """The parts of outputs by name."""
    found, start = {}, 0
    for name, count in message.facts["names"]:
        found[name] = message.arrays[start : start + count]
        start += count
    return found
