"""What every channel does, whichever network it is: one suite for the mesh in memory and the one over TCP."""

from __future__ import annotations

import dataclasses
import pathlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tacit.errors import (
    ConnectError,
    DataRangeError,
    InvalidParameterError,
    PeerError,
    PeerMisbehavedError,
    PeerTimeoutError,
    ShapeError,
    TooLargeError,
)
from tacit.net.channel import MAX_BUFFERS, Limits, Traffic, empty_bytes, tag_hash
from tacit.net.channel_memory import memory_mesh
from tests.net.channel_parties import NAMES, PATIENCE_S, in_threads, mesh

Make = Callable[..., dict[str, Any]]


@pytest.fixture(params=["memory", "tcp"])
def make(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[Make]:
    made: list[Any] = []

    def build(limits: Limits | None = None, names: tuple[str, ...] = NAMES) -> dict[str, Any]:
        found = mesh(request.param, tmp_path, limits, names)
        made.extend(found.values())
        return found  # type: ignore[no-any-return]

    yield build
    for channel in made:
        channel.abort(KeyboardInterrupt())


def test_buffers_of_every_form_arrive(make: Make) -> None:
    channels = make()
    sent = [
        np.arange(7, dtype=np.uint64).reshape(7, 1),
        b"",
        bytearray(b"abc"),
        memoryview(b"0123"),
        np.float32(2.5).reshape(()),
        np.empty((0, 3), dtype=np.int16),
    ]
    channels["alice"].send("bob", "step", sent)
    channels["alice"].send("bob", "nothing", [])
    found = channels["bob"].receive("alice", "step")
    assert [bytes(buffer) for buffer in found] == [memoryview(buffer).tobytes() for buffer in sent]
    assert all(buffer.ctypes.data % 64 == 0 and buffer.flags.writeable for buffer in found if buffer.size)
    assert channels["bob"].receive("alice", "nothing") == []


@pytest.mark.parametrize("size", [1, 65_479, 1 << 16, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5_000_011])
def test_sizes_about_the_boundaries_of_frames_and_records(make: Make, size: int) -> None:
    channels = make(names=("alice", "bob"))
    rng = np.random.default_rng(size)
    sent = [
        rng.integers(0, 256, size, dtype=np.uint8),
        np.arange(3),
        rng.integers(0, 256, size // 3, dtype=np.uint8),
    ]
    for target in (None, [np.empty_like(array) for array in sent]):
        channels["alice"].send("bob", "big", sent)
        channels["alice"].send("bob", "small", [b"x"])
        found = channels["bob"].receive("alice", "big", into=target)
        for index, (buffer, array) in enumerate(zip(found, sent, strict=True)):
            assert buffer.tobytes() == array.tobytes()
            assert target is None or np.array_equal(target[index], array)
        assert channels["bob"].receive("alice", "small")[0].tobytes() == b"x"


def test_both_sides_of_an_exchange_send_first(make: Make) -> None:
    """32 MB each way: far more than the system's buffers take, so that it ends only if sending does not wait."""
    channels = make(names=("alice", "bob"))
    sent = {name: np.full(4 << 20, index, dtype=np.uint64) for index, name in enumerate(channels)}

    def party(name: str, peer: str) -> Any:
        return channels[name].exchange("swap", {peer: [sent[name]]})[peer][0]

    found = in_threads({"alice": lambda: party("alice", "bob"), "bob": lambda: party("bob", "alice")})
    assert found["alice"].tobytes() == sent["bob"].tobytes()
    assert found["bob"].tobytes() == sent["alice"].tobytes()


def test_buffers_may_change_after_a_flush(make: Make) -> None:
    channels = make(names=("alice", "bob"))
    array = np.full(2 << 20, 7, dtype=np.uint64)

    def alice() -> None:
        channels["alice"].send("bob", "lent", [array])
        channels["alice"].flush()
        array[:] = 0

    found = in_threads({"alice": alice, "bob": lambda: channels["bob"].receive("alice", "lent")})
    assert found["alice"] is None
    assert (found["bob"][0].view(np.uint64) == 7).all()


def test_a_ring_of_rounds_and_its_traffic(make: Make) -> None:
    channels = make()

    def party(name: str) -> list[int]:
        following, previous = NAMES[(NAMES.index(name) + 1) % 3], NAMES[(NAMES.index(name) - 1) % 3]
        value, seen = np.array([NAMES.index(name)], dtype=np.uint64), []
        for step in range(9):
            found = channels[name].exchange(f"round {step}", {following: [value]}, sources=[previous])
            value = found[previous][0].view(np.uint64)
            seen.append(int(value[0]))
        return seen

    found = in_threads({name: lambda name=name: party(name) for name in NAMES})  # type: ignore[misc]
    assert found == {name: [(NAMES.index(name) - 1 - step) % 3 for step in range(9)] for name in NAMES}
    one_way, other_way = (
        Traffic(sent_bytes=72, sent_messages=9),
        Traffic(received_bytes=72, received_messages=9, rounds=9),
    )
    assert channels["alice"].traffic == {"bob": one_way, "carol": other_way}
    assert channels["carol"].traffic == {"alice": one_way, "bob": other_way}
    assert {channel.rounds for channel in channels.values()} == {9}


def test_rounds_are_waits_after_sends(make: Make) -> None:
    channels = make()
    alice, bob, carol = (channels[name] for name in NAMES)
    for tag in ("a", "b"):
        bob.send("alice", tag, [b"12"])
        carol.send("alice", tag, [b"345"])
    for peer in ("bob", "carol"):
        for tag in ("a", "b"):
            alice.receive(peer, tag)
    assert alice.rounds == 1
    assert alice.traffic["bob"] == Traffic(received_bytes=4, received_messages=2, rounds=1)
    assert alice.traffic["carol"] == Traffic(received_bytes=6, received_messages=2, rounds=1)
    alice.send("bob", "c", [b"1"])
    carol.send("alice", "c", [])
    alice.receive("carol", "c")
    assert (alice.rounds, alice.traffic["bob"].rounds, alice.traffic["carol"].rounds) == (2, 1, 2)
    assert bob.rounds == carol.rounds == 0


def test_the_last_message_survives_a_close(make: Make) -> None:
    channels = make(names=("alice", "bob"))
    last = np.arange(3 << 20, dtype=np.uint64)

    def alice() -> None:
        channels["alice"].send("bob", "last", [last])
        channels["alice"].close()

    def bob() -> Any:
        found = channels["bob"].receive("alice", "last")[0]
        channels["bob"].close()
        return found

    found = in_threads({"alice": alice, "bob": bob})
    assert found["alice"] is None
    assert found["bob"].tobytes() == last.tobytes()


def test_a_peer_that_closed_too_early_is_named(make: Make) -> None:
    channels = make()
    channels["carol"].close()
    channels["carol"].close()
    with pytest.raises(ConnectError, match="`carol` closed the session and did not send `more`") as caught:
        channels["alice"].receive("carol", "more")
    assert caught.value.party == "carol"
    with pytest.raises(ConnectError, match="told by `alice`") as caught:
        channels["bob"].receive("alice", "anything")
    assert caught.value.party == "carol"


def test_who_sends_to_a_peer_that_closed_learns_it(make: Make) -> None:
    """At once in memory; over TCP when the system says so, after some messages."""
    channels = make()
    channels["carol"].close()
    end = time.monotonic() + PATIENCE_S
    with pytest.raises(ConnectError, match="`carol` closed the session and takes no messages") as caught:
        while time.monotonic() < end:
            channels["alice"].send("carol", "more", [bytes(1 << 16)])
    assert caught.value.party == "carol"


def test_another_step_is_no_message_of_an_honest_party(make: Make) -> None:
    channels = make()
    channels["alice"].send("bob", "step 2", [b"x"])
    with pytest.raises(PeerMisbehavedError, match="`alice` sent the message of another step than `step 1`"):
        channels["bob"].receive("alice", "step 1")
    for name in ("alice", "carol"):
        with pytest.raises(
            PeerMisbehavedError, match=r"`alice` sent the message of .+ \(told by `bob`\)$"
        ) as caught:
            channels[name].receive("bob", "x")
        assert caught.value.party == "alice"


@pytest.mark.parametrize("sizes", [[3], [4, 4], []])
def test_other_sizes_than_expected(make: Make, sizes: list[int]) -> None:
    channels = make(names=("alice", "bob"))
    channels["alice"].send("bob", "step", [bytes(size) for size in sizes])
    with pytest.raises(PeerMisbehavedError, match="other sizes") as caught:
        channels["bob"].receive("alice", "step", into=[np.zeros(4, np.uint8)])
    assert caught.value.party == "alice"


def test_a_slow_party_is_late_and_not_dead(make: Make) -> None:
    channels = make()
    with pytest.raises(
        PeerTimeoutError, match=r"`bob` lives, but did not send `step` within 0\.2 s"
    ) as caught:
        channels["alice"].receive("bob", "step", timeout_s=0.2)
    assert caught.value.party == "bob"
    with pytest.raises(PeerTimeoutError, match="told by `alice`"):
        channels["carol"].receive("alice", "step")


def test_an_error_ends_the_session_for_good(make: Make) -> None:
    channels = make(names=("alice", "bob"))
    with pytest.raises(PeerTimeoutError):
        channels["alice"].receive("bob", "step", timeout_s=0.01)
    for call in (
        lambda: channels["alice"].receive("bob", "step"),
        lambda: channels["alice"].send("bob", "step", []),
        lambda: channels["alice"].flush(),
        lambda: channels["alice"].close(),
    ):
        with pytest.raises(PeerTimeoutError, match=r"within 0\.01 s"):
            call()


def test_whoever_waits_is_told_why_a_party_ended(make: Make) -> None:
    """Of an error that is not about a party the others get the code and no text, which might say something of data."""
    channels = make()

    def alice() -> None:
        with channels["alice"]:
            time.sleep(0.1)
            raise DataRangeError("a value of the patient is 93")

    waiting = {name: lambda name=name: channels[name].receive("alice", "step") for name in ("bob", "carol")}  # type: ignore[misc]
    found = in_threads({"alice": alice, **waiting})
    assert isinstance(found["alice"], DataRangeError)
    for name in ("bob", "carol"):
        assert type(found[name]) is PeerError
        assert found[name].party == "alice"
        # Bob may be the first to tell carol, or carol bob.
        told = str(found[name]).removesuffix(" (told by `bob`)").removesuffix(" (told by `carol`)")
        assert told == "`alice` ended the session: data-range"


def test_what_was_sent_before_an_abort_of_another_is_still_read(make: Make) -> None:
    channels = make()
    channels["alice"].send("bob", "step", [b"x"])
    assert channels["bob"].receive("alice", "step")[0].tobytes() == b"x"
    channels["carol"].abort(PeerTimeoutError("m"))
    with pytest.raises(PeerError, match="`carol` ended the session: peer-timeout"):
        channels["bob"].receive("alice", "next")


def test_a_closed_channel_is_closed(make: Make) -> None:
    channels = make(names=("alice", "bob"))
    with channels["alice"]:
        pass
    with pytest.raises(InvalidParameterError, match="closed"):
        channels["alice"].send("bob", "step", [])
    with pytest.raises(InvalidParameterError, match="closed"):
        channels["alice"].receive("bob", "step")


def test_what_cannot_be_sent_is_refused_and_harms_nothing(make: Make) -> None:
    channels = make(Limits(message_bytes=1000), names=("alice", "bob"))
    alice = channels["alice"]
    with pytest.raises(ShapeError, match="C-contiguous"):
        alice.send("bob", "step", [np.zeros((4, 4))[:, 1]])
    with pytest.raises(ShapeError, match="C-contiguous"):
        alice.send("bob", "step", [np.array([object()])])
    with pytest.raises(TooLargeError, match="1000 bytes"):
        alice.send("bob", "step", [bytes(600), bytes(401)])
    with pytest.raises(TooLargeError, match="buffers"):
        alice.send("bob", "step", [b""] * (MAX_BUFFERS + 1))
    for stranger in ("alice", "dave"):
        with pytest.raises(InvalidParameterError, match="no peer"):
            alice.send(stranger, "step", [])
    fixed = np.zeros(4)
    fixed.flags.writeable = False
    with pytest.raises(ShapeError, match="can be written"):
        alice.receive("bob", "step", into=[fixed])
    assert alice.traffic["bob"] == Traffic()
    alice.send("bob", "step", [bytes(600), bytes(400)])
    alice.send("bob", "many", [b"y"] * MAX_BUFFERS)
    assert [buffer.size for buffer in channels["bob"].receive("alice", "step")] == [600, 400]
    assert len(channels["bob"].receive("alice", "many")) == MAX_BUFFERS


def test_messages_wait_in_order(make: Make) -> None:
    channels = make(names=("alice", "bob"))
    for step in range(300):
        channels["alice"].send("bob", f"step {step}", [step.to_bytes(2, "big") * (step % 7)])
    for step in range(300):
        found = channels["bob"].receive("alice", f"step {step}")[0]
        assert found.tobytes() == step.to_bytes(2, "big") * (step % 7)


def test_no_thread_stays(make: Make) -> None:
    before = set(threading.enumerate())
    channels = make()
    for channel in channels.values():
        channel.close()
    end = time.monotonic() + 30
    while set(threading.enumerate()) - before and time.monotonic() < end:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


@pytest.mark.parametrize(
    "parties", [("a",), ("a", "a"), ("a", ""), ("a", "b b"), ("a", "-b"), ("a", "b" * 65)]
)
def test_names_of_parties(parties: tuple[str, ...]) -> None:
    with pytest.raises(InvalidParameterError):
        memory_mesh(parties)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Limits)])
def test_limits_are_above_zero(field: str) -> None:
    with pytest.raises(InvalidParameterError, match=field):
        Limits(**{field: 0})


def test_a_party_is_given_time_for_its_heartbeats() -> None:
    with pytest.raises(InvalidParameterError, match="fourth"):
        Limits(heartbeat_s=0.5, silence_s=1.5)


def test_tags_and_arrays() -> None:
    assert tag_hash("a").hex() == "ca978112ca1bbdcafac231b39a23dc4d"  # SHA-256("a"), first half
    for size in (0, 1, 63, 1 << 20):
        array = empty_bytes(size)
        assert array.size == size
        assert size == 0 or array.ctypes.data % 64 == 0
