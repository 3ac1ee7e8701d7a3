"""The form of frames, byte by byte, and what its reader refuses; mutants are refused or read."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.errors import (
    MalformedMessageError,
    PeerError,
    PeerIncompatibleError,
    PeerMisbehavedError,
    ReplayError,
)
from tacit.net.channel import tag_hash
from tacit.net.channel_frames import (
    CLOSE,
    HEAD,
    HEARTBEAT,
    PART_BYTES,
    Frame,
    FrameReader,
    abort_frame,
    frames_of,
)

SESSION = bytes(range(16))
TAG = tag_hash("step")


def reader(message_bytes: int = 1 << 24) -> FrameReader:
    return FrameReader("bob", SESSION, message_bytes=message_bytes)


def wire(frames: list[Frame], session: bytes = SESSION, first: int = 0) -> bytes:
    return b"".join(
        frame.head(session, first + index) + b"".join(frame.body) for index, frame in enumerate(frames)
    )


def message(*buffers: bytes) -> list[Frame]:
    return frames_of(TAG, [memoryview(buffer) for buffer in buffers])


def feed(into: FrameReader, data: bytes, step: Callable[[int], int] = lambda room: room) -> None:
    at = 0
    while at < len(data):
        space = into.space()
        size = max(1, min(step(len(space)), len(space), len(data) - at))
        space[:size] = data[at : at + size]
        into.advance(size)
        at += size


def test_the_form_of_a_message_is_fixed() -> None:
    assert wire(message(b"ab", b"", b"c")).hex() == (
        "7466726d" "01" "01" "0003" "000102030405060708090a0b0c0d0e0f" "0000000000000000"
        + TAG.hex() + "000000000000001b"
        "0000000000000002" "0000000000000000" "0000000000000001" "616263"
    )  # fmt: skip
    assert wire([Frame(HEARTBEAT)], first=258).hex() == (
        "7466726d" "01" "03" "0000" "000102030405060708090a0b0c0d0e0f" "0000000000000102" + "00" * 16 + "00" * 8
    )  # fmt: skip
    assert wire([abort_frame(("peer", "bob", "x"))])[HEAD.size :].hex() == "0004706565720003626f62000178"


@pytest.mark.parametrize("step", [1, 7, 57, 4096, 1 << 20])
def test_what_is_written_is_read_in_any_pieces(step: int) -> None:
    rng = random.Random(step)
    sent = [(), (b"",), (b"", b"a", b""), tuple(rng.randbytes(rng.randrange(300)) for _ in range(256))]
    if step > 100:
        sent += [
            (rng.randbytes(PART_BYTES),),
            (rng.randbytes(PART_BYTES + 1), b"z"),
            (rng.randbytes(3 << 20),),
        ]
    frames = [frame for buffers in sent for frame in [*message(*buffers), Frame(HEARTBEAT)]]
    into = reader()
    feed(into, wire([*frames, Frame(CLOSE)]), lambda room: step)
    found = [into.pop() for _ in range(len(into.inbox))]
    assert [(tag, tuple(map(bytes, buffers))) for tag, buffers in found] == [
        (TAG, buffers) for buffers in sent
    ]
    assert into.closed and not into.within and into.inbox_bytes == 0


def test_parts_are_of_one_size_but_the_last() -> None:
    frames = message(bytes(PART_BYTES - 1), bytes(PART_BYTES + 2))
    assert [sum(map(len, frame.body)) for frame in frames] == [PART_BYTES + 16, PART_BYTES, 1]


def test_a_message_is_read_into_what_is_expected() -> None:
    target = np.zeros(3 << 20, dtype=np.uint8)
    into = reader()
    into.expected = [target]
    feed(into, wire(message(b"\x05" * target.size)))
    assert into.pop()[1][0] is target
    assert (target == 5).all()


def test_an_abort_between_parts_is_heard() -> None:
    frames = message(bytes(3 << 20))
    into = reader()
    feed(into, wire([frames[0], frames[1], abort_frame(("peer-timeout", "carol", "`carol` is gone"))]))
    assert into.reason == ("peer-timeout", "carol", "`carol` is gone")


def test_memory_is_not_taken_by_a_claim() -> None:
    """A head that announces as much as is allowed costs nothing until bytes come."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    into = reader(1 << 32)
    feed(into, wire([Frame(1, TAG, 1, (struct.pack(">Q", 1 << 32), bytes(PART_BYTES)))]))
    assert into.within
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 << 10  # KiB


def changed(at: int, value: bytes) -> bytes:
    whole = wire(message(b"abcdef"))
    return whole[:at] + value + whole[at + len(value) :]


BIG = message(bytes(3 << 20))
SMALL = message(b"x")
REFUSED = {
    "other bytes": (b"GET / HTTP/1.1\r\n" + bytes(HEAD.size), MalformedMessageError, "no frame"),
    "another version": (changed(4, b"\x02"), PeerIncompatibleError, "version 2. This side speaks version 1"),
    "an unknown kind": (changed(5, b"\x09"), MalformedMessageError, "`bob` sent"),
    "kind 0": (changed(5, b"\x00") , MalformedMessageError, "`bob` sent"),
    "another session": (wire(SMALL, session=bytes(16)), PeerMisbehavedError, "another session"),
    "replayed": (wire(SMALL) * 2, ReplayError, "frame 0 again; number 1 is next"),
    "reordered": (wire(SMALL, first=1) + wire(SMALL), PeerMisbehavedError, "frame 1 too early; number 0 is next"),
    "one is missing": (wire(SMALL) + wire(SMALL, first=2), PeerMisbehavedError, "frame 2 too early"),
    "a count beyond the limit": (changed(6, b"\xff\xff"), MalformedMessageError, "cannot be"),
    "a length below the table": (changed(48, struct.pack(">Q", 7)), MalformedMessageError, "cannot be"),
    "a length that is not the buffers'": (changed(48, struct.pack(">Q", 15)), MalformedMessageError, "not that"),
    "a table that is not the length's": (changed(56, struct.pack(">Q", 5)), MalformedMessageError, "not that"),
    "oversized": (changed(56, struct.pack(">Q", (1 << 24) + 1)), MalformedMessageError, "At most 16777216"),
    "sizes that overflow": (
        wire([Frame(1, TAG, 2, (struct.pack(">QQ", (1 << 64) - 1, 1), b""))]),
        MalformedMessageError,
        "At most",
    ),
    "a part of nothing": (wire([Frame(2, TAG, 0, (b"x",))]), MalformedMessageError, "no message"),
    "a part of another tag": (
        wire([BIG[0], Frame(2, tag_hash("other"), 0, BIG[1].body)]),
        MalformedMessageError,
        "no message",
    ),
    "a part that is shorter": (wire([BIG[0], Frame(2, TAG, 0, (b"x",))]), MalformedMessageError, "no message"),
    "a part with a count": (wire([BIG[0], Frame(2, TAG, 1, BIG[1].body)]), MalformedMessageError, "fields"),
    "a message within another": (wire([BIG[0], *SMALL]), MalformedMessageError, "cannot be"),
    "a leave within a message": (wire([BIG[0], Frame(CLOSE)]), MalformedMessageError, "its leave"),
    "a heartbeat with a body": (wire([Frame(3, body=(b"x",))]), MalformedMessageError, "kind or length"),
    "a heartbeat with a tag": (wire([Frame(3, TAG)]), MalformedMessageError, "fields"),
    "a frame after the leave": (wire([Frame(CLOSE), Frame(HEARTBEAT)]), MalformedMessageError, "after its last"),
    "a frame after an abort": (
        wire([abort_frame(("a", "", "")), Frame(HEARTBEAT)]),
        MalformedMessageError,
        "after its last",
    ),
    "an abort of two texts": (wire([Frame(4, body=(b"\x00\x01a\x00\x01b",))]), MalformedMessageError, "three"),
    "an abort that is truncated": (wire([Frame(4, body=(b"\x00\x09a",))]), MalformedMessageError, "truncated"),
    "an abort of one byte": (wire([Frame(4, body=(b"\x00",))]), MalformedMessageError, "truncated"),
    "an abort that is too long": (wire([Frame(4, body=(bytes(2049),))]), MalformedMessageError, "too long"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_honest_party_sends_is_refused_and_its_sender_named(case: str) -> None:
    data, kind, words = REFUSED[case]
    for step in (1 << 20, 5 if len(data) < 10_000 else 4099):
        into = reader()
        with pytest.raises(kind, match=words) as caught:
            feed(into, data, lambda room, step=step: step)  # type: ignore[misc]
        assert type(caught.value) is kind
        assert caught.value.party == "bob"
        assert caught.value.hint


def test_a_truncated_frame_waits_and_is_seen_at_the_end() -> None:
    whole = wire(message(b"abcdef", bytes(100)))
    for size in range(1, len(whole)):
        into = reader()
        feed(into, whole[:size])
        assert into.within and not into.inbox
    feed(into, whole[-1:])
    assert not into.within and len(into.inbox) == 1


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutants_are_refused_or_read(data: st.DataObject) -> None:
    """Any bytes: a ``PeerError`` that names the peer, or messages within the limit; nothing else."""
    whole = bytearray(
        wire([*message(b"abc", bytes(40)), Frame(HEARTBEAT), *message(), abort_frame(("c", "p", "t"))])
    )
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        match data.draw(st.sampled_from(("flip", "cut", "repeat", "number"))):
            case "flip":
                whole[at] ^= data.draw(st.integers(1, 255))
            case "cut":
                del whole[at : at + data.draw(st.integers(1, 60))]
            case "repeat":
                whole[at:at] = whole[at : at + 60]
            case _:
                whole[at : at + 8] = struct.pack(">Q", data.draw(st.integers(0, (1 << 64) - 1)))
        if not whole:
            return
    into, step = reader(1 << 20), data.draw(st.integers(1, 200))
    try:
        feed(into, bytes(whole), lambda room: step)
    except PeerError as error:
        assert error.party == "bob"
    assert all(sum(buffer.size for buffer in buffers) <= 1 << 20 for _, buffers in into.inbox)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(1, 300))
def test_any_bytes_after_a_true_head(data: bytes, step: int) -> None:
    into = reader(1 << 20)
    try:
        feed(
            into,
            HEAD.pack(b"tfrm", 1, data[0] % 7 if data else 0, 1, SESSION, 0, TAG, len(data)) + data,
            lambda room: step,
        )
    except PeerError as error:
        assert error.party == "bob"
