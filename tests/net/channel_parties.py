"""Parties for tests of channels: identities, meshes in threads, and parties in processes of their own."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import multiprocessing
import pathlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.process import BaseProcess
from typing import Any

from tacit.errors import TacitError
from tacit.net import tls
from tacit.net.channel import Channel, Limits
from tacit.net.channel_connect import connect, listen
from tacit.net.channel_identity import Identity, Party, new_identity
from tacit.net.channel_memory import memory_mesh

NAMES = ("alice", "bob", "carol")
SESSION, PLAN = b"session of tests", b"p" * 32
PATIENCE_S = 60.0
"""After which a test gives up: far more than anything takes."""


@dataclasses.dataclass(frozen=True)
class World:
    """A contract, and the files of all its parties."""

    folder: pathlib.Path
    parties: tuple[Party, ...]

    def identity(self, name: str) -> Identity:
        return Identity(self.folder / f"{name}.pem", self.folder / f"{name}.key")

    def with_party(self, name: str, **changes: Any) -> World:
        changed = tuple(
            dataclasses.replace(party, **changes) if party.name == name else party for party in self.parties
        )
        return World(self.folder, changed)


def write_identity(folder: pathlib.Path, name: str, *, life: datetime.timedelta | None = None) -> str:
    """The pin of a new identity, whose files are in the folder."""
    now = datetime.datetime.now(datetime.UTC)
    certificate, key = new_identity(name, now=now, **({} if life is None else {"life": life}))
    (folder / f"{name}.pem").write_bytes(certificate)
    (folder / f"{name}.key").write_bytes(key)
    return tls.fingerprint(folder / f"{name}.pem")


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(found.getsockname()[1]) for found in sockets]


def make_world(folder: pathlib.Path, names: tuple[str, ...] = NAMES) -> World:
    parties = [
        Party(name, write_identity(folder, name), "127.0.0.1", port)
        for name, port in zip(names, free_ports(len(names)), strict=True)
    ]
    return World(folder, tuple(parties))


def in_threads(tasks: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """What each task returns, or the error that it raises."""
    found: dict[str, Any] = {}

    def work(name: str, task: Callable[[], Any]) -> None:
        try:
            found[name] = task()
        except BaseException as error:
            found[name] = error

    threads = [threading.Thread(target=work, args=item, daemon=True) for item in tasks.items()]
    for thread in threads:
        thread.start()
    end = time.monotonic() + PATIENCE_S
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    assert set(found) == set(tasks), f"did not end: {set(tasks) - set(found)}"
    return found


def join(world: World, name: str, limits: Limits | None = None, **changes: Any) -> Channel:
    options = {"session": SESSION, "plan": PLAN, **changes}
    return connect(name, world.parties, world.identity(name), limits=limits, **options)


def tcp_mesh(world: World, limits: Limits | None = None) -> dict[str, Any]:
    """Channels over TCP, all in this process."""
    listeners = {name: listen("127.0.0.1", 0) for name in (party.name for party in world.parties)}
    for name, listener in listeners.items():
        world = world.with_party(name, port=listener.getsockname()[1])
    found = in_threads(
        {
            name: lambda name=name, own=listener: join(world, name, limits, listener=own)  # type: ignore[misc]
            for name, listener in listeners.items()
        }
    )
    for result in found.values():
        if isinstance(result, BaseException):
            raise result
    return found


def mesh(
    kind: str, folder: pathlib.Path, limits: Limits | None = None, names: tuple[str, ...] = NAMES
) -> Any:
    if kind == "memory":
        return memory_mesh(names, limits=limits)
    return tcp_mesh(make_world(folder, names), limits)


Script = Callable[[Channel, "Reporter"], Any]
Reporter = Callable[[str], None]


class Processes:
    """Parties in processes of their own; what they report comes with its time. A pipe each."""

    def __init__(self, world: World, scripts: Mapping[str, Script], limits: Limits | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self.processes: dict[str, BaseProcess] = {}
        self.ears: dict[str, Any] = {}
        for name, script in scripts.items():
            ear, mouth = context.Pipe(duplex=False)
            process = context.Process(target=_party, args=(world, name, script, limits, mouth), daemon=True)
            process.start()
            mouth.close()
            self.processes[name], self.ears[name] = process, ear

    def wait_for(self, name: str) -> tuple[Any, float]:
        """The next report of a party, and its monotonic time."""
        assert self.ears[name].poll(PATIENCE_S), f"`{name}` reports nothing"
        what, at = self.ears[name].recv()
        return what, at


@contextlib.contextmanager
def processes(
    world: World, scripts: Mapping[str, Script], limits: Limits | None = None
) -> Iterator[Processes]:
    running = Processes(world, scripts, limits)
    try:
        yield running
    finally:
        for process in running.processes.values():
            process.kill()
            process.join(PATIENCE_S)
        for ear in running.ears.values():
            ear.close()


@dataclasses.dataclass(frozen=True)
class Failed:
    """An error as a process reports it."""

    kind: str
    party: str
    text: str


def _party(world: World, name: str, script: Script, limits: Limits | None, mouth: Any) -> None:
    def report(what: Any) -> None:
        mouth.send((what, time.monotonic()))

    try:
        with join(world, name, limits) as channel:
            report(("done", script(channel, report)))
    except TacitError as error:
        report(Failed(type(error).__name__, getattr(error, "party", ""), str(error)))
