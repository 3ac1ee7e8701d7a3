"""A mesh of parties over TCP with mutual TLS 1.3: who is who is pinned, who is gone is named.

The thread that receives reads the connections itself, those of all peers: a message reaches it without another thread
between. While it computes, the channel's own thread reads in its stead; that thread also sends the heartbeats, so a
party that computes long is not taken for dead, as long as what it computes releases the interpreter's lock.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import ssl
import threading
import time
from collections.abc import Sequence

from tacit.errors import MalformedMessageError, PeerError
from tacit.net.channel import Bytes, Endpoint, Limits
from tacit.net.channel_faults import again, cut, ended, late, party_error, reason_of, silent, stuck, told_by
from tacit.net.channel_frames import CLOSE, Frame, abort_frame, frames_of
from tacit.net.channel_link import Link, nonblocking

__all__ = ["TcpChannel"]

_JUDGED_AT_MOST = 2
"""Heartbeats' time that one look at a silent peer counts at most: if this process stood still, its peers did not."""
_LAST_WORDS_S = 0.3
"""How long a reason is looked for, and one's own is tried to be told."""
_READS_AT_A_TIME = 256


class TcpChannel(Endpoint):
    """A ``Channel`` over TCP. ``channel_connect.connect`` makes it and adds each link once it is agreed."""

    def __init__(self, name: str, parties: Sequence[str], session: bytes, limits: Limits) -> None:
        super().__init__(name, parties, limits)
        self._session = session
        self._links: dict[str, Link] = {}
        self._by_descriptor: dict[int, Link] = {}
        self._poll = select.poll()
        # Wakes who waits for connections when something else happened: all is written, or the session is over.
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._ear.setblocking(False)
        self._poll.register(self._ear.fileno(), select.POLLIN)
        self._reading, self._is_wanted = threading.Lock(), False
        self._ending = threading.Lock()
        self._failure: PeerError | None = None
        self._judged_at, self._tick_s = time.monotonic(), limits.heartbeat_s / 3
        self._over = threading.Event()
        self._pulse = threading.Thread(target=self._beat, name="channel heartbeats", daemon=True)
        self._pulse.start()

    def add(self, peer: str, *, outward: ssl.SSLSocket, inward: ssl.SSLSocket) -> None:
        """The link to ``peer``, from now on in use and watched."""
        link = Link(
            peer,
            self._session,
            outward=nonblocking(outward),
            inward=nonblocking(inward),
            message_bytes=self.limits.message_bytes,
            emptied=self._ring,
        )
        with self._reading:
            self._links[peer] = link
            self._by_descriptor[inward.fileno()] = link
            self._poll.register(inward.fileno(), select.POLLIN)

    def check(self) -> None:
        """Raises what ended the session, if it is over."""
        if self._failure is not None:
            raise again(self._failure)

    def flush(self, *, timeout_s: float | None = None) -> None:
        self.check()
        allowed = self.limits.operation_s if timeout_s is None else timeout_s
        end = time.monotonic() + allowed
        self._is_wanted = True
        with self._reading:
            self._is_wanted = False
            for link in self._links.values():
                while link.is_busy:
                    if (left := end - time.monotonic()) <= 0:
                        raise self._fail(stuck(link.peer, allowed))
                    self._look(left)
                    self.check()

    def abort(self, error: BaseException) -> None:
        if not self._closed:
            self._end(reason_of(error))
        self._closed = True
        self._release()

    def close(self) -> None:
        if self._closed:
            return
        try:
            self.flush(timeout_s=self.limits.close_s)
            for link in self._links.values():
                link.finish(Frame(CLOSE))
            self.flush(timeout_s=self.limits.close_s)
        finally:
            self._closed = True
            self._release()

    def _send(self, peer: str, tag: bytes, views: list[memoryview]) -> None:
        if self._failure is not None:
            raise again(self._failure)
        if not self._links[peer].send(frames_of(tag, views), sum(map(len, views))):
            raise self._gone(self._links[peer])

    def _receive(
        self, peer: str, tag: str, targets: list[Bytes] | None, timeout_s: float
    ) -> tuple[bytes, list[Bytes]]:
        link = self._links[peer]
        reader = link.reader
        self._is_wanted = True
        with self._reading:
            self._is_wanted = False
            if not reader.inbox:
                reader.expected = targets
                end = time.monotonic() + timeout_s
                while not reader.inbox:
                    if self._failure is not None:
                        raise again(self._failure)
                    if reader.closed:
                        raise self._fail(ended(peer, f"did not send `{tag}`"))
                    if (left := end - time.monotonic()) <= 0:
                        raise self._fail(late(peer, tag, timeout_s))
                    self._look(left)
                reader.expected = None
            message = reader.pop()
            if not (link.is_polled or link.is_cut or reader.inbox_bytes > self.limits.inbox_bytes):
                self._poll.register(link.inward.fileno(), select.POLLIN)
                link.is_polled = True
            return message

    def _look(self, wait_s: float) -> None:
        """Waits for anything, at most until the next judgement, and reads what came. Of who holds ``_reading``."""
        for descriptor, _ in self._poll.poll(1000 * min(wait_s, self._tick_s)):
            link = self._by_descriptor.get(descriptor)
            if link is None:
                with contextlib.suppress(BlockingIOError):
                    self._ear.recv(4096)
            else:
                self._read(link)
        now = time.monotonic()
        if now - self._judged_at >= self._tick_s / 2:
            self._judge(now - self._judged_at)
            self._judged_at = now

    def _judge(self, passed_s: float) -> None:
        """Counts the silence of each peer, in time during which this process was awake, and names who is dead."""
        passed_s = min(passed_s, _JUDGED_AT_MOST * self.limits.heartbeat_s)
        for link in self._links.values():
            if link.heard or not link.is_polled:
                link.silent_s, link.heard = 0.0, False
                continue
            link.silent_s += passed_s
            if link.silent_s >= self.limits.silence_s:
                self._fail(silent(link.peer, self.limits.silence_s))

    def _read(self, link: Link) -> None:
        """Reads what there is; a failure is noted and not raised, since it may be found in any thread."""
        reader, connection = link.reader, link.inward
        try:
            for count in itertools.count():
                size = connection.recv_into(reader.space())
                if not size:
                    self._hung_up(link)
                    return
                link.heard = True
                reader.advance(size)
                if reader.reason is not None:
                    self._fail(told_by(link.peer, reader.reason, self._parties))
                    return
                # What TLS holds of a record is not seen by `poll`: it is read before anything else.
                if not connection.pending() and (not reader.in_bulk or count > _READS_AT_A_TIME):
                    break
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except PeerError as error:
            self._fail(error)
        except ssl.SSLError as error:
            if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
                self._hung_up(link)
            else:
                self._fail(_tampered(link.peer))
        except OSError:
            self._hung_up(link)
        if reader.inbox_bytes > self.limits.inbox_bytes and link.is_polled:
            self._poll.unregister(connection.fileno())
            link.is_polled = False

    def _hung_up(self, link: Link) -> None:
        """The end of a connection: in order after a close, or not."""
        if link.is_cut:
            return
        link.is_cut = True
        with contextlib.suppress(KeyError, ValueError):
            self._poll.unregister(link.inward.fileno())
        link.is_polled = False
        if not link.reader.closed:
            self._fail(cut(link.peer, within=link.reader.within))

    def _gone(self, link: Link) -> PeerError:
        """Why nothing can be written to a peer: what it said before it went, if that arrives soon."""
        end = time.monotonic() + _LAST_WORDS_S
        self._is_wanted = True
        with self._reading:
            self._is_wanted = False
            while self._failure is None and not link.reader.closed and time.monotonic() < end:
                self._look(_LAST_WORDS_S / 10)
        if link.reader.closed:
            return self._fail(ended(link.peer, "takes no messages"))
        return self._fail(cut(link.peer))

    def _fail(self, error: PeerError) -> PeerError:
        self._end(reason_of(error), error)
        return again(self._failure or error)

    def _end(self, reason: tuple[str, str, str], error: PeerError | None = None) -> None:
        """The end of the session, the first time that it is called: everybody is told why."""
        with self._ending:
            if self._failure is not None:
                return
            self._failure = error or party_error(
                PeerError, self._name, "this party ended the session", hint="start a new one"
            )
            links = list(self._links.values())
            for link in links:
                link.finish(abort_frame(reason))
        self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(OSError):
            self._bell.send(b"!")

    def _release(self) -> None:
        """Lets everything go, after the last words are written if a peer takes them."""
        end = time.monotonic() + _LAST_WORDS_S
        for link in self._links.values():
            if link.silent_s < self.limits.silence_s / 2:
                link.wait_idle(max(0.0, end - time.monotonic()))
        self._over.set()
        self._ring()
        if threading.current_thread() is not self._pulse:
            self._pulse.join()
        with self._reading:
            for link in self._links.values():
                link.shut()
            self._bell.close()
            self._ear.close()

    def _beat(self) -> None:
        """The channel's own thread: shows that this party lives, and reads while nobody else does."""
        while not self._over.wait(self.limits.heartbeat_s):
            if self._failure is not None:
                continue
            for link in list(self._links.values()):
                link.beat()
            while not self._is_wanted and self._reading.acquire(blocking=False):
                try:
                    self._look(0.0)
                    if not self._has_more():
                        break
                finally:
                    self._reading.release()

    def _has_more(self) -> bool:
        return any(descriptor in self._by_descriptor for descriptor, _ in self._poll.poll(0))


def _tampered(peer: str) -> MalformedMessageError:
    return party_error(
        MalformedMessageError,
        peer,
        f"what came from `{peer}` is not what it sent: the protection of TLS is broken",
        hint="something between both machines changes what passes; look for proxies and broken hardware",
    )
