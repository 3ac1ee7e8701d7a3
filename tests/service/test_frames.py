"""Frames between processes: what is sent arrives, and what is not a frame is refused."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.errors import InternalError, MalformedMessageError, MissingKeyError, UnsupportedOpError
from tacit.service.failure import error_of, failure
from tacit.service.frames import MAX_DESCRIPTORS, Frame, Stored, pair, receive, send

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = pair()
    yield ends
    for end in ends:
        end.close()


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("size", [0, 1, 1 << 15, (1 << 15) + 1, 5_000_000])
def test_bodies_arrive_whole(ends: Ends, size: int) -> None:
    body, before = os.urandom(size), descriptors()
    send(ends[0], Frame("run", {"ticket": 7, "name": b"k"}, body))
    found = receive(ends[1])
    assert found == Frame("run", {"ticket": 7, "name": b"k"}, body)
    assert descriptors() == before, "no memory file stays open"


def test_large_bodies_can_wait_in_their_file(ends: Ends) -> None:
    body, before = os.urandom(200_000), descriptors()
    stored = Stored.of(body)
    for _ in range(2):  # a request that was not begun is sent again
        send(ends[0], Frame("run", {}, stored))
        found = receive(ends[1], reads_bytes=100_000)
        assert found is not None and isinstance(found.body, Stored) and len(found.body) == len(body)
        assert found.content() == body
    stored.close()
    stored.close()
    send(ends[0], Frame("run", {}, body))
    dropped = receive(ends[1], reads_bytes=100_000)
    del found, dropped
    assert descriptors() == before


def test_descriptors_travel(ends: Ends) -> None:
    reading, writing = os.pipe()
    send(ends[0], Frame("fork", {}, b"x" * 100_000, (writing,)))
    os.close(writing)
    found = receive(ends[1])
    assert found is not None and len(found.descriptors) == 1 and len(found.body) == 100_000
    assert not os.get_inheritable(found.descriptors[0])
    os.write(found.descriptors[0], b"through")
    assert os.read(reading, 7) == b"through"
    os.close(found.descriptors[0])
    os.close(reading)


def test_nothing_there_and_nobody_there(ends: Ends) -> None:
    with pytest.raises(BlockingIOError):
        receive(ends[1], waits=False)
    ends[0].close()
    assert receive(ends[1]) is None
    with pytest.raises(OSError):
        send(ends[1], Frame("run"))


def test_a_body_over_the_limit_is_not_read(ends: Ends) -> None:
    before = descriptors()
    send(ends[0], Frame("run", {}, bytes(100_000)))
    with pytest.raises(MalformedMessageError):
        receive(ends[1], max_body_bytes=99_999)
    assert descriptors() == before


def test_fields_have_a_limit(ends: Ends) -> None:
    with pytest.raises(MalformedMessageError):
        send(ends[0], Frame("run", {"path": "x" * 200_000}))


def test_a_file_of_another_size_is_refused(ends: Ends) -> None:
    """Shorter, longer, or no file at all: the announced size is never allocated on trust."""
    before = descriptors()
    for held, announced in ((10, 1 << 31), (10, 9), (0, 10)):
        file = os.memfd_create("t")
        os.write(file, bytes(held))
        head = {"kind": "run", "fields": {}, "size": announced, "body": None}
        socket.send_fds(ends[0], [cbor2.dumps(head, canonical=True)], [file])
        os.close(file)
        with pytest.raises(MalformedMessageError):
            receive(ends[1])
    head = {"kind": "run", "fields": {}, "size": 10, "body": None}
    ends[0].send(cbor2.dumps(head, canonical=True))
    with pytest.raises(MalformedMessageError):
        receive(ends[1])
    assert descriptors() == before


def test_too_many_descriptors(ends: Ends) -> None:
    before = descriptors()
    files = [os.memfd_create("t") for _ in range(3 * MAX_DESCRIPTORS)]
    head = {"kind": "run", "fields": {}, "size": 0, "body": b""}
    socket.send_fds(ends[0], [cbor2.dumps(head, canonical=True)], files)
    for file in files:
        os.close(file)
    with pytest.raises(MalformedMessageError):
        receive(ends[1])
    assert descriptors() == before


@settings(max_examples=200)
@given(st.binary(min_size=1, max_size=200), st.integers(0, 400))
def test_no_packet_breaks_the_reader(noise: bytes, position: int) -> None:
    good = cbor2.dumps({"kind": "run", "fields": {"ticket": 1}, "size": 3, "body": b"abc"}, canonical=True)
    mutant = bytearray(good)
    mutant[position % len(good)] ^= noise[0] or 1
    ends = pair()
    try:
        for packet in (noise, bytes(mutant), good[: position % len(good)] or b"\0"):
            ends[0].send(packet)
            try:
                frame = receive(ends[1])
            except MalformedMessageError:
                continue
            assert frame is not None and len(frame.body) <= len(packet)
    finally:
        for end in ends:
            end.close()


def test_errors_keep_their_class_and_text() -> None:
    error = error_of(failure(MissingKeyError("no keys", hint="upload them"), ticket=3))
    assert type(error) is MissingKeyError and str(error) == "no keys" and error.hint == "upload them"


def test_errors_with_facts_keep_their_text() -> None:
    told = error_of(failure(UnsupportedOpError("node `x` (Loop)", node="x", op="Loop", hint="leave it out")))
    assert str(told) == "node `x` (Loop)" and told.hint == "leave it out"


def test_other_errors_are_not_believed() -> None:
    assert type(error_of(Frame("failed", {"code": "SystemExit", "message": "", "hint": ""}))) is InternalError
    assert type(error_of(Frame("failed", {"code": 3}))) is InternalError
