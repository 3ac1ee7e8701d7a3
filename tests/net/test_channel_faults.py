"""Parties that die, stop, starve or lie: who is still there ends with an error that names who is not.

How long it took is printed and not asserted, so that a busy machine fails nothing; that 2 s are enough follows from the
limits and from the test of the counting.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tacit.errors import (
    ConnectError,
    MalformedMessageError,
    PeerError,
    PeerIncompatibleError,
    PeerMisbehavedError,
    PeerTimeoutError,
    ReplayError,
    TooLargeError,
)
from tacit.net.channel import Channel, Limits, tag_hash
from tacit.net.channel_frames import Frame, frames_of
from tests.net.channel_parties import (
    NAMES,
    Failed,
    Reporter,
    Script,
    in_threads,
    join,
    make_world,
    mesh,
    processes,
)

PATIENT = Limits(silence_s=6.0, heartbeat_s=0.25)


def ring(channel: Channel, report: Reporter) -> None:
    """Rounds without end."""
    index, count = channel.parties.index(channel.name), len(channel.parties)
    following, previous = (channel.parties[(index + step) % count] for step in (1, -1))
    value = np.arange(1000, dtype=np.uint64)
    for step in range(1 << 30):
        channel.exchange(f"round {step}", {following: [value]}, sources=[previous])
        if step == 50:
            report("running")


def long_ring(channel: Channel, report: Reporter) -> None:
    """Rounds of 16 MB to each other party, without end: whoever goes, goes within a message."""
    value, others = np.arange(2 << 20, dtype=np.uint64), tuple(channel.traffic)
    for step in range(1 << 30):
        channel.exchange(f"round {step}", {peer: [value] for peer in others})
        if step == 2:
            report("running")


def wait_for_alice(channel: Channel, report: Reporter) -> None:
    report("running")
    channel.receive("alice", "never")


def compute(channel: Channel, report: Reporter) -> None:
    """Nothing of the network for a while; then it finds what happened meanwhile."""
    report("running")
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        np.ones((200, 200), dtype=np.int64) @ np.ones((200, 200), dtype=np.int64)
    channel.receive("bob", "never")


def idle(channel: Channel, report: Reporter) -> None:
    report("running")
    time.sleep(600)


@pytest.mark.parametrize(
    ("victim", "name_of_signal", "script"),
    [
        *((name, kind, ring) for name in NAMES for kind in ("SIGKILL", "SIGSTOP")),
        ("bob", "SIGKILL", long_ring),
        ("carol", "SIGSTOP", long_ring),
    ],
)
def test_a_party_that_is_gone_is_named_by_all_others(
    tmp_path: pathlib.Path, victim: str, name_of_signal: str, script: Script
) -> None:
    stops = name_of_signal == "SIGSTOP"
    with processes(make_world(tmp_path), dict.fromkeys(NAMES, script)) as running:
        for name in NAMES:
            running.wait_for(name)
        process = running.processes[victim]
        assert process.pid is not None
        os.kill(process.pid, getattr(signal, name_of_signal))
        begun = time.monotonic()
        for name in set(NAMES) - {victim}:
            found, at = running.wait_for(name)
            print(f"{name} named {victim} {at - begun:.2f} s after {name_of_signal}")
            assert isinstance(found, Failed) and found.party == victim, found
            assert found.kind == ("PeerTimeoutError" if stops else "ConnectError"), found
            assert ("silent for 1.5 s" if stops else "ended the connection") in found.text
        if stops:
            # Awake again, it finds that it is alone.
            os.kill(process.pid, signal.SIGCONT)
            found, _ = running.wait_for(victim)
            assert isinstance(found, Failed), found


def test_who_waits_for_another_or_computes_learns_it_too(tmp_path: pathlib.Path) -> None:
    """Alice computes, bob waits for alice: nobody waits for carol, and both name her."""
    scripts = {"alice": compute, "bob": wait_for_alice, "carol": idle}
    with processes(make_world(tmp_path), scripts) as running:
        for name in NAMES:
            running.wait_for(name)
        running.processes["carol"].kill()
        for name in ("alice", "bob"):
            found, _ = running.wait_for(name)
            assert isinstance(found, Failed)
            assert (found.kind, found.party) == ("ConnectError", "carol"), found


def doze(channel: Channel, report: Reporter) -> Any:
    report("running")
    return channel.receive("bob", "late")[0].tobytes()


def late(channel: Channel, report: Reporter) -> None:
    report("running")
    time.sleep(1.0)
    for peer in ("alice", "carol"):
        channel.send(peer, "late", [b"here"])


def test_a_party_that_stands_still_for_a_moment_is_not_dead(tmp_path: pathlib.Path) -> None:
    scripts = {"alice": doze, "bob": late, "carol": doze}
    with processes(make_world(tmp_path), scripts, PATIENT) as running:
        for name in NAMES:
            running.wait_for(name)
        pid = running.processes["bob"].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        time.sleep(2.0)
        os.kill(pid, signal.SIGCONT)
        for name in ("alice", "carol"):
            assert running.wait_for(name)[0] == ("done", b"here")


def starved(channel: Channel, report: Reporter) -> None:
    """Alive: the lowest priority, threads that fight for the interpreter, products that take long; nothing is sent."""
    os.nice(19)
    report("running")
    end = time.monotonic() + 8.0

    def spin() -> None:
        while time.monotonic() < end:
            pass

    threads = [threading.Thread(target=spin) for _ in range(3)]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        np.ones((300, 300), dtype=np.int64) @ np.ones((300, 300), dtype=np.int64)
    for thread in threads:
        thread.join()
    for peer in ("alice", "carol"):
        channel.send(peer, "late", [b"here"])


def test_a_party_that_starves_is_not_dead(tmp_path: pathlib.Path) -> None:
    """It computes longer than the silence that is allowed, and its heartbeats come all the same."""
    scripts = {"alice": doze, "bob": starved, "carol": doze}
    with processes(make_world(tmp_path), scripts, PATIENT) as running:
        for name in ("alice", "carol"):
            running.wait_for(name)
            assert running.wait_for(name)[0] == ("done", b"here")


def quit_suddenly(channel: Channel, report: Reporter) -> None:
    channel.send("bob", "last", [np.arange(1 << 21, dtype=np.uint64)])
    channel.close()
    os._exit(0)


def take_slowly(channel: Channel, report: Reporter) -> int:
    time.sleep(1.5)
    return int(channel.receive("alice", "last")[0].view(np.uint64).sum())


def test_the_last_message_outlives_its_sender(tmp_path: pathlib.Path) -> None:
    world = make_world(tmp_path, ("alice", "bob"))
    with processes(world, {"alice": quit_suddenly, "bob": take_slowly}) as running:
        assert running.wait_for("bob")[0] == ("done", sum(range(1 << 21)))


class Between:
    """What lies between two parties: it passes bytes on until it is told not to."""

    def __init__(self, port: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.mode = self.listener.getsockname()[1], "pass"
        self._to, self._open = port, list[socket.socket]()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._open += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if self.mode == "swallow":
                    continue
                if self.mode == "change":
                    data = data[:-1] + bytes([data[-1] ^ 1])
                target.sendall(data)

    def cut(self) -> None:
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.listener.close()
        self.cut()
        for connection in self._open:
            connection.close()


@pytest.fixture
def apart(tmp_path: pathlib.Path) -> Iterator[tuple[Channel, Channel, Between]]:
    """Alice and bob, and what lies between them."""
    world = make_world(tmp_path, ("alice", "bob"))
    between = Between(world.parties[0].port)
    found = in_threads(
        {
            "alice": lambda: join(world, "alice"),
            "bob": lambda: join(world.with_party("alice", port=between.port), "bob"),
        }
    )
    yield found["alice"], found["bob"], between
    for name in ("alice", "bob"):
        found[name].abort(KeyboardInterrupt())
    between.close()


@pytest.mark.parametrize(
    ("happens", "kind", "words"),
    [
        ("cut", ConnectError, "ended the connection without saying why"),
        ("swallow", PeerTimeoutError, "has been silent for 1.5 s"),
    ],
)
def test_the_network_between_fails(
    apart: tuple[Channel, Channel, Between], happens: str, kind: type[PeerError], words: str
) -> None:
    alice, bob, between = apart
    alice.send("bob", "first", [b"x"])
    bob.receive("alice", "first")
    if happens == "cut":
        between.cut()
    between.mode = happens
    found = in_threads({"alice": lambda: alice.receive("bob", "x"), "bob": lambda: bob.receive("alice", "x")})
    for name, other in (("alice", "bob"), ("bob", "alice")):
        assert type(found[name]) is kind and found[name].party == other, found
        assert words in str(found[name])


def test_what_was_changed_on_the_way_is_not_read(apart: tuple[Channel, Channel, Between]) -> None:
    alice, bob, between = apart
    between.mode = "change"
    alice.send("bob", "first", [b"all of it or nothing"])
    with pytest.raises(MalformedMessageError, match="what came from `alice` is not what it sent") as caught:
        bob.receive("alice", "first")
    assert caught.value.party == "alice"


Liar = Callable[[Any], object]


def _again(link: Any) -> None:
    link._sequence -= 1
    link.send(frames_of(tag_hash("two"), []), 0)


def _early(link: Any) -> None:
    link._sequence += 1
    link.send(frames_of(tag_hash("two"), []), 0)


def _foreign(link: Any) -> None:
    link._session = bytes(16)
    link.send(frames_of(tag_hash("two"), []), 0)


def _huge(link: Any) -> None:
    link.send([Frame(1, tag_hash("two"), 1, ((1 << 50).to_bytes(8, "big"), bytes(8)))], 0)


def _noise(link: Any) -> None:
    link._outward.send(bytes(range(256)))


def _version(link: Any) -> None:
    link._outward.send(b"tfrm\x07" + bytes(51))


def _half(link: Any) -> None:
    link._outward.send(frames_of(tag_hash("two"), [])[0].head(link._session, link._sequence)[:30])
    link._outward.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("lie", "kind", "words"),
    [
        (_again, ReplayError, "again; number"),
        (_early, PeerMisbehavedError, "too early; number"),
        (_foreign, PeerMisbehavedError, "another session"),
        (_huge, MalformedMessageError, "At most"),
        (_noise, MalformedMessageError, "no frame"),
        (_version, PeerIncompatibleError, "version 7"),
        (_half, ConnectError, "in the middle of a message"),
    ],
)
def test_a_party_that_lies_is_named_by_all_others(
    tmp_path: pathlib.Path, lie: Liar, kind: type[PeerError], words: str
) -> None:
    """Under TLS that is genuine: bob himself sends what no honest party sends."""
    channels = mesh("tcp", tmp_path)
    try:
        channels["bob"].send("alice", "one", [b"x"])
        assert channels["alice"].receive("bob", "one")[0].tobytes() == b"x"
        lie(channels["bob"]._links["alice"])
        for name, teller in (("alice", ""), ("carol", " (told by `alice`)")):
            with pytest.raises(PeerError) as caught:
                channels[name].receive("bob", "two", timeout_s=60.0)
            assert type(caught.value) is kind
            assert caught.value.party == "bob"
            assert words in str(caught.value) and str(caught.value).endswith(teller)
    finally:
        for channel in channels.values():
            channel.abort(KeyboardInterrupt())


def test_messages_that_nobody_takes_stay_on_the_wire(tmp_path: pathlib.Path) -> None:
    """Bob sends 64 MB while alice waits for carol: alice keeps little of it, bob is not taken for dead, all arrives."""
    limits = Limits(inbox_bytes=1 << 20)
    channels = mesh("tcp", tmp_path, limits)
    alice, bob, carol = (channels[name] for name in NAMES)
    kept: list[int] = []

    def of_alice() -> int:
        alice.receive("carol", "now")
        kept.append(alice._links["bob"].reader.inbox_bytes)
        return sum(int(alice.receive("bob", f"part {step}")[0][0]) for step in range(64))

    def of_bob() -> None:
        for step in range(64):
            bob.send("alice", f"part {step}", [np.full(1 << 20, step, dtype=np.uint8)])
        bob.flush()

    def of_carol() -> None:
        time.sleep(2.5)
        carol.send("alice", "now", [])

    found = in_threads({"alice": of_alice, "bob": of_bob, "carol": of_carol})
    for channel in channels.values():
        channel.close()
    assert found == {"alice": sum(range(64)), "bob": None, "carol": None}
    # At most what one look at the connection reads beyond the limit.
    assert kept[0] <= (1 << 20) + (8 << 20)


def test_silence_counts_only_while_this_party_is_awake(tmp_path: pathlib.Path) -> None:
    """Whatever the clock says after this process stood still: one look counts for two heartbeats at most."""
    channels = mesh("tcp", tmp_path)
    alice = channels["alice"]
    try:
        with alice._reading:
            for link in alice._links.values():
                link.silent_s, link.heard = 0.0, False
            for looks in range(1, 3):
                alice._judge(3600.0)
                assert alice._links["bob"].silent_s == pytest.approx(0.5 * looks)
            alice._links["carol"].heard = True
            alice._judge(0.125)
            assert alice._links["bob"].silent_s == pytest.approx(1.125)
            assert alice._links["carol"].silent_s == 0.0
            alice.check()
            alice._judge(0.375)
        with pytest.raises(PeerTimeoutError, match=r"`bob` has been silent for 1\.5 s"):
            alice.check()
    finally:
        for channel in channels.values():
            channel.abort(KeyboardInterrupt())


def test_two_seconds_are_enough() -> None:
    """A peer shows itself within a heartbeat, and who listens looks once a heartbeat."""
    limits = Limits()
    assert limits.silence_s + 2 * limits.heartbeat_s <= 2.0


def test_one_key_protects_no_more_records_than_it_may(tmp_path: pathlib.Path) -> None:
    channels = mesh("tcp", tmp_path, names=("alice", "bob"))
    channels["alice"]._links["bob"]._records = 1 << 24
    with pytest.raises(TooLargeError, match="one key of TLS"):
        channels["alice"].send("bob", "step", [bytes(1 << 14)])
    for channel in channels.values():
        channel.abort(KeyboardInterrupt())
