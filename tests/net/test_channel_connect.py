"""How a session comes together, or does not: who is let in, and what each side is told."""

from __future__ import annotations

import contextlib
import datetime
import pathlib
import socket
import ssl
import threading
import time
from typing import Any

import pytest

from tacit.errors import (
    ConnectError,
    InvalidParameterError,
    MalformedMessageError,
    PeerError,
    PeerIncompatibleError,
    PeerMisbehavedError,
    PeerTimeoutError,
    TlsError,
)
from tacit.net import channel_hello, tls
from tacit.net.channel import Limits
from tacit.net.channel_connect import connect, listen
from tacit.net.channel_hello import Hello, disagreement, read_hello, write_hello
from tacit.net.channel_identity import (
    Identity,
    Party,
    new_identity,
    prove,
    read_exactly,
    secured,
    show,
    shown,
)
from tests.net.channel_parties import PLAN, SESSION, World, in_threads, join, make_world, write_identity

TWO = ("alice", "bob")


@pytest.fixture
def world(tmp_path: pathlib.Path) -> World:
    return make_world(tmp_path, TWO)


def both(first: Any, second: Any) -> tuple[Any, Any]:
    found = in_threads({"alice": first, "bob": second})
    for result in found.values():
        if not isinstance(result, BaseException):
            result.abort(KeyboardInterrupt())
    return found["alice"], found["bob"]


def assert_both(found: tuple[Any, Any], kind: type[PeerError], words: str) -> None:
    """Both sides raise the same kind of error, each about the other."""
    for error, other in zip(found, ("bob", "alice"), strict=True):
        assert type(error) is kind, repr(error)
        assert f"`{other}` {words}" in str(error)
        assert error.party == other
        assert error.hint


def test_a_session_comes_together(world: World) -> None:
    with in_pair(world) as pair:
        pair[0].send("bob", "hello", [b"x"])
        assert pair[1].receive("alice", "hello")[0].tobytes() == b"x"


class in_pair:  # noqa: N801 a context like those of contextlib
    """Both channels of a world of two."""

    def __init__(self, world: World) -> None:
        self.world = world

    def __enter__(self) -> tuple[Any, Any]:
        found = in_threads({name: lambda name=name: join(self.world, name) for name in TWO})  # type: ignore[misc]
        self.pair = found["alice"], found["bob"]
        for channel in self.pair:
            if isinstance(channel, BaseException):
                raise channel
        return self.pair

    def __exit__(self, *error: object) -> None:
        for channel in self.pair:
            channel.close()


def test_it_is_tls_1_3_and_pinned(world: World) -> None:
    with in_pair(world) as pair:
        for channel, other in zip(pair, reversed(TWO), strict=True):
            link = channel._links[other]
            for connection in (link.inward, link._outward):
                assert connection.version() == "TLSv1.3"
                assert "GCM" in connection.cipher()[0] or "POLY1305" in connection.cipher()[0]
                assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_plans_differ(world: World) -> None:
    found = both(lambda: join(world, "alice"), lambda: join(world, "bob", plan=b"q" * 32))
    assert_both(found, PeerIncompatibleError, "has another plan: ")
    assert "717171717171…, here it is 707070707070…" in str(found[0])
    assert "compile once" in found[0].hint


def test_sessions_differ(world: World) -> None:
    found = both(lambda: join(world, "alice"), lambda: join(world, "bob", session=b"another session!"))
    assert_both(found, PeerIncompatibleError, "is in another session")


def test_limits_of_silence_differ(world: World) -> None:
    """Bob would be called dead between two of its heartbeats."""
    patient = Limits(heartbeat_s=2.0, silence_s=9.0)
    found = both(lambda: join(world, "alice"), lambda: join(world, "bob", patient))
    assert_both(found, PeerIncompatibleError, "beats every ")
    assert "`bob` beats every 2000 ms and allows 9000 ms of silence, here it is 250 ms and 1500 ms" in str(
        found[0]
    )


def test_orders_differ(tmp_path: pathlib.Path) -> None:
    world = make_world(tmp_path, ("alice", "bob", "carol"))
    alice, bob, carol = world.parties
    other = World(tmp_path, (bob, alice, carol))
    found = in_threads({"alice": lambda: join(world, "alice"), "carol": lambda: join(other, "carol")})
    assert type(found["alice"]) is type(found["carol"]) is PeerIncompatibleError
    assert "`carol` has the parties in another order" in str(found["alice"])


def test_parties_differ(tmp_path: pathlib.Path) -> None:
    world = make_world(tmp_path, ("alice", "bob", "carol"))
    other = World(tmp_path, (world.parties[0], world.parties[2]))
    found = in_threads({"alice": lambda: join(world, "alice"), "carol": lambda: join(other, "carol")})
    assert type(found["alice"]) is type(found["carol"]) is PeerIncompatibleError
    assert "`alice` has other parties in its contract" in str(found["carol"])


def test_versions_differ(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A party of version 2 whose hello goes on in another way."""

    def newer(hello: Hello) -> bytes:
        old = write_hello(hello)
        if threading.current_thread() not in of_bob:
            return old
        return old[:8] + b"\x00\x02\x00\x03xyz"

    of_bob: set[threading.Thread] = set()
    begin = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        # Whatever bob starts is bob.
        if threading.current_thread() in of_bob or thread.name == "bob":
            of_bob.add(thread)
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    monkeypatch.setattr("tacit.net.channel_connect.write_hello", newer)
    results: dict[str, Any] = {}

    def work(name: str) -> None:
        try:
            results[name] = join(world, name)
        except BaseException as error:
            results[name] = error

    threads = [threading.Thread(target=work, args=(name,), name=name) for name in TWO]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert type(results["alice"]) is PeerIncompatibleError
    assert "`bob` speaks version 2 of the channel. This side speaks version 1." in str(results["alice"])
    assert isinstance(results["bob"], PeerError) and results["bob"].party == "alice"


def test_another_certificate_than_the_pinned_one_is_not_let_in(world: World, tmp_path: pathlib.Path) -> None:
    """Mallory has a valid certificate of its own that says that it is bob; the contract decides, not what it says."""
    (tmp_path / "mallory").mkdir()
    pin = write_identity(tmp_path / "mallory", "bob")
    theirs = World(tmp_path / "mallory", (world.parties[0], Party("bob", pin)))
    limits = Limits(connect_s=1.5)
    alice, mallory = both(lambda: join(world, "alice", limits), lambda: join(theirs, "bob", limits))
    assert type(mallory) is TlsError and mallory.party == "alice"
    assert "`alice` does not know the certificate of this party" in str(mallory)
    assert type(alice) is PeerTimeoutError and alice.party == "bob"
    assert "1 connections of others were refused" in str(alice)


def test_a_certificate_may_say_anything_of_its_subject(tmp_path: pathlib.Path) -> None:
    world = make_world(tmp_path, ("alice", "bob"))
    pin = write_identity(tmp_path, "mallory")
    for suffix in ("pem", "key"):
        (tmp_path / f"mallory.{suffix}").replace(tmp_path / f"bob.{suffix}")
    with in_pair(world.with_party("bob", pin=pin)) as pair:
        assert pair[0].parties == TWO


def test_who_dials_checks_the_pin_too(world: World, tmp_path: pathlib.Path) -> None:
    """Somebody else listens where alice should be."""
    (tmp_path / "mallory").mkdir()
    pin = write_identity(tmp_path / "mallory", "alice")
    limits = Limits(connect_s=1.5)
    theirs = World(
        tmp_path / "mallory", (Party("alice", pin, "127.0.0.1", world.parties[0].port), world.parties[1])
    )
    mallory, bob = both(lambda: join(theirs, "alice", limits), lambda: join(world, "bob", limits))
    assert type(bob) is TlsError and bob.party == "alice"
    assert "shows another certificate than the one that the contract pins" in str(bob)
    assert isinstance(mallory, PeerTimeoutError)


def test_showing_the_certificate_of_another_does_not_help(world: World, tmp_path: pathlib.Path) -> None:
    """Certificates are public: who shows bob's without its key does not pass TLS, and does not disturb bob either."""
    (tmp_path / "mallory").mkdir()
    write_identity(tmp_path / "mallory", "bob")
    mallory = Identity(tmp_path / "mallory" / "bob.pem", tmp_path / "mallory" / "bob.key")
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]

    def attack() -> str:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
            show(raw, world.identity("bob").der())
            der = shown(raw, "alice")
            connection = secured(raw, mallory, der, is_server=False)
            with connection:
                try:
                    prove(connection, world.parties[0].pin, "alice")
                    return "end" if not connection.recv(1) else "in"
                except (ssl.SSLError, ConnectionError) as error:
                    return type(error).__name__

    later = world.with_party("alice", port=port)
    waiting: dict[str, Any] = {}
    thread = threading.Thread(target=lambda: waiting.update(join_(later, "alice", listener)))
    thread.start()
    assert attack() in ("end", "SSLError", "ConnectionResetError", "SSLEOFError")
    bob = join(later, "bob")
    thread.join(60)
    bob.send("alice", "it is me", [b"x"])
    assert waiting["alice"].receive("bob", "it is me")[0].tobytes() == b"x"
    for channel in (bob, waiting["alice"]):
        channel.close()


def join_(world: World, name: str, listener: socket.socket) -> dict[str, Any]:
    try:
        return {name: join(world, name, listener=listener)}
    except BaseException as error:
        return {name: error}


def test_strangers_at_the_port_do_not_disturb(world: World) -> None:
    """A scanner, one that sends nothing, one that sends a false certificate: the session comes together meanwhile."""
    listener = listen("127.0.0.1", 0)
    later = world.with_party("alice", port=listener.getsockname()[1])
    strangers = []
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"", b"tacitcrt\x00\x05hello", b"tacitcrt\xff\xff", b"tacit"):
        raw = socket.create_connection(listener.getsockname())
        raw.sendall(data)
        strangers.append(raw)
    found = in_threads(
        {"alice": lambda: join(later, "alice", listener=listener), "bob": lambda: join(later, "bob")}
    )
    for raw in strangers:
        raw.close()
    for channel in found.values():
        channel.close()


def test_a_certificate_that_ended_is_refused_on_both_sides(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of this party before anything is sent; of a peer that does not look at its own, by TLS."""
    world = make_world(tmp_path, TWO)
    pin = write_identity(tmp_path, "bob", life=-datetime.timedelta(hours=1))
    world = world.with_party("bob", pin=pin)
    with pytest.raises(InvalidParameterError, match="expired"):
        join(world, "bob")
    monkeypatch.setattr(tls, "checked_leaf", tls._leaf)
    found = both(lambda: join(world, "alice"), lambda: join(world, "bob"))
    assert [type(error) for error in found] == [TlsError, TlsError], found
    assert found[0].party == "bob" and "the certificate of `bob` has expired" in str(found[0])
    assert "this side's certificate has expired" in str(found[1])


def test_a_party_whose_certificate_ended_is_not_dialled_either(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(tmp_path, TWO)
    world = world.with_party(
        "alice", pin=write_identity(tmp_path, "alice", life=-datetime.timedelta(hours=1))
    )
    monkeypatch.setattr(tls, "checked_leaf", tls._leaf)
    limits = Limits(connect_s=2.0)
    alice, bob = both(lambda: join(world, "alice", limits), lambda: join(world, "bob", limits))
    assert type(bob) is TlsError and "the certificate of `alice` has expired" in str(bob)
    assert isinstance(alice, PeerError)


def test_whoever_does_not_come_is_named(tmp_path: pathlib.Path) -> None:
    world = make_world(tmp_path)
    limits = Limits(connect_s=1.0)
    found = in_threads({name: lambda name=name: join(world, name, limits) for name in TWO})  # type: ignore[misc]
    assert all(isinstance(error, PeerTimeoutError) for error in found.values()), found
    assert "carol" in {error.party for error in found.values()}


def test_nobody_listens(world: World) -> None:
    with pytest.raises(ConnectError, match="nothing listens there") as caught:
        join(world, "bob", Limits(connect_s=0.5))
    assert caught.value.party == "alice"


def test_a_party_may_start_later(world: World) -> None:
    def late() -> Any:
        time.sleep(0.7)
        return join(world, "alice")

    found = in_threads({"alice": late, "bob": lambda: join(world, "bob")})
    for channel in found.values():
        channel.close()


def test_contracts_that_cannot_be(world: World, tmp_path: pathlib.Path) -> None:
    alice, bob = world.parties
    with pytest.raises(InvalidParameterError, match="same pin"):
        join(World(tmp_path, (alice, Party("bob", alice.pin))), "alice")
    for name, parties in (("carol", (alice, bob)), ("alice", (Party("alice", "sha256:" + "0" * 64), bob))):
        with pytest.raises(InvalidParameterError, match="does not pin"):
            connect(name, parties, world.identity("alice"), session=SESSION, plan=PLAN)
    for changes in ({"session": b"short"}, {"plan": b"short"}):
        with pytest.raises(InvalidParameterError, match="16 bytes"):
            join(world, "alice", **changes)
    for pin in ("", "sha256:", "SHA256:" + "a" * 64, "sha256:" + "g" * 64, "sha256:" + "a" * 65):
        with pytest.raises(InvalidParameterError, match="64 hexadecimal"):
            Party("x", pin)
    with pytest.raises(InvalidParameterError, match="port"):
        Party("x", alice.pin, "localhost", 65536)
    with pytest.raises(InvalidParameterError, match="letters"):
        new_identity("ä", now=datetime.datetime.now(datetime.UTC))


HELLO = Hello(SESSION, PLAN, 250, 1500, ("alice", "bob"), 1, 0, 1)
FORM = write_hello(HELLO)


def test_the_form_of_a_hello_is_fixed() -> None:
    assert FORM == (
        b"tacitchn"
        + b"\x00\x01"
        + b"\x00\x46"
        + SESSION
        + PLAN
        + b"\x00\x00\x00\xfa\x00\x00\x05\xdc"
        + b"\x01\x00\x01\x02"
        + b"\x05alice"
        + b"\x03bob"
    )
    assert read_hello(FORM, "bob") == HELLO


@pytest.mark.parametrize(
    "message",
    [
        *(FORM[:size] for size in range(len(FORM))),
        FORM + b"x",
        b"x" + FORM[1:],
        FORM[:10] + b"\x10\x01" + FORM[12:],
        FORM[:70] + b"\x02" + FORM[71:],
        FORM[:71] + b"\x03" + FORM[72:],
        FORM[:-3] + b"\xff\xff\xff",
    ],
)
def test_other_forms_are_refused(message: bytes) -> None:
    with pytest.raises(MalformedMessageError, match="`bob` did not begin with a hello") as caught:
        read_hello(message, "bob")
    assert caught.value.party == "bob"


def test_whom_a_hello_speaks_of_is_whom_the_pin_says() -> None:
    mine = Hello(SESSION, PLAN, 250, 1500, ("alice", "bob", "carol"), 0, 1, 0)
    fits = Hello(SESSION, PLAN, 250, 1500, mine.parties, 1, 0, 1)
    assert disagreement(mine, fits, "bob") is None
    for speaker, listener in ((2, 0), (1, 2), (0, 1)):
        other = Hello(SESSION, PLAN, 250, 1500, mine.parties, speaker, listener, 1)
        error = disagreement(mine, other, "bob")
        assert error is not None and "than its certificate says" in str(error)


def test_a_party_that_connects_twice_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes with one key."""
    monkeypatch.setattr("tacit.net.channel_connect.TO_DIALER", channel_hello.FROM_DIALER)
    alice, bob = both(lambda: join(world, "alice"), lambda: join(world, "bob"))
    assert type(alice) is PeerMisbehavedError and "`bob` connected twice" in str(alice)
    assert isinstance(bob, PeerError)


def test_who_sends_a_byte_now_and_then_is_not_waited_for() -> None:
    near, far = socket.socketpair()
    over = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            while not over.wait(0.05):
                far.send(b"x")

    thread = threading.Thread(target=drip)
    with near, far:
        thread.start()
        near.settimeout(0.3)
        with pytest.raises(TimeoutError):
            read_exactly(near, 1 << 10, "a stranger")
        over.set()
        thread.join()
