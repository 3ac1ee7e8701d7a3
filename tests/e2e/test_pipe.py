"""Frames between processes: what arrives is what was sent, and everything else is a typed error, soon."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from tacit.errors import MalformedMessageError, PeerError
from tacit.stories.pipe import HEADER, MAX_BODY_BYTES, Frame, Kind, Pipe


class Ends:
    """Two ends that are connected, and the bare descriptors of the second."""

    def __init__(self) -> None:
        here_reads, self.writing = os.pipe()
        self.reading, here_writes = os.pipe()
        self.here = Pipe(here_reads, here_writes, peer="the other", silence_s=0.5)
        self.there = Pipe(self.reading, self.writing, peer="the first", silence_s=5.0)
        self.open = {here_reads, here_writes, self.reading, self.writing}

    def close(self, *descriptors: int) -> None:
        for descriptor in descriptors or tuple(self.open):
            os.close(descriptor)
            self.open.discard(descriptor)


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = Ends()
    yield ends
    ends.close()


def test_frames_arrive_whole(ends: Ends) -> None:
    big = os.urandom(3_000_001)
    frames = [Frame(Kind.REQUEST, 7, big), Frame(Kind.KEYS, 255, b""), Frame(Kind.ANSWER, 0, b"x")]
    sender = threading.Thread(target=lambda: [ends.there.send(frame) for frame in frames])
    sender.start()
    assert [ends.here.receive() for _ in frames] == frames
    sender.join()


def test_a_clean_end_is_no_error(ends: Ends) -> None:
    ends.close(ends.writing)
    assert ends.here.receive() is None


@pytest.mark.parametrize("sent", [b"\x10", HEADER.pack(16, 0, 10), HEADER.pack(16, 0, 10) + b"12345"])
def test_an_end_inside_a_frame_is_told_at_once(ends: Ends, sent: bytes) -> None:
    os.write(ends.writing, sent)
    ends.close(ends.writing)
    start = time.monotonic()
    with pytest.raises(PeerError, match="middle"):
        ends.here.receive()
    assert time.monotonic() - start < 0.4


@pytest.mark.parametrize(
    "header",
    [HEADER.pack(0, 0, 1), HEADER.pack(99, 0, 1), HEADER.pack(16, 0, MAX_BODY_BYTES + 1), b"\xff" * 10],
)
def test_nonsense_is_refused_before_it_is_read(ends: Ends, header: bytes) -> None:
    os.write(ends.writing, header)
    with pytest.raises(MalformedMessageError):
        ends.here.receive()


def test_too_much_is_not_sent(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacit.stories.pipe.MAX_BODY_BYTES", 10)
    with pytest.raises(MalformedMessageError):
        ends.here.send(Frame(Kind.REQUEST, 0, b"12345678901"))


def test_silence_is_told(ends: Ends) -> None:
    with pytest.raises(PeerError, match=r"silent for 0\.5 s"):
        ends.here.receive()


def test_one_that_does_not_read_is_told(ends: Ends) -> None:
    with pytest.raises(PeerError, match="silent"):
        ends.here.send(Frame(Kind.REQUEST, 0, bytes(1 << 20)))


def test_one_that_is_gone_is_told(ends: Ends) -> None:
    ends.close(ends.reading)
    with pytest.raises(PeerError, match="gone"):
        ends.here.send(Frame(Kind.REQUEST, 0, b"x"))


def test_work_is_not_silence(ends: Ends) -> None:
    def work() -> None:
        with ends.there.working():
            time.sleep(1.2)
        ends.there.send(Frame(Kind.ANSWER, 0, b"done"))

    worker = threading.Thread(target=work)
    worker.start()
    assert ends.here.receive() == Frame(Kind.ANSWER, 0, b"done")
    worker.join()
