"""Both connections to one peer: one carries what is sent, the other what is received.

There are two because OpenSSL does not let one thread read a connection while another writes it. The writing one
belongs to whoever holds the lock while nothing waits, and else to the thread of the link: so a small message leaves in
the thread that sends it, and a large one never keeps that thread from receiving.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable

from tacit.errors import TooLargeError
from tacit.net.channel_frames import ABORT, CLOSE, HEARTBEAT, Frame, FrameReader

__all__ = ["Link", "nonblocking"]

_JOINED_BYTES = 1 << 16
"""A frame up to this size is copied into one piece: fewer records and fewer calls."""
_DIRECT_BYTES = 1 << 18
"""A message up to this size leaves in the thread that sends it."""
_MAX_RECORDS = 1 << 24
"""Records under one key of AES-GCM: below the 2^24.5 of RFC 8446, section 5.5."""
_RECORD_BYTES = 1 << 14
_LATEST_WAIT_MS = 250


class Link:
    """The link to ``peer``. ``outward`` and ``inward``: non-blocking TLS connections, for one direction each.

    ``emptied`` is called, in the thread of the link, when all that waited is written or cannot be.
    """

    def __init__(
        self,
        peer: str,
        session: bytes,
        *,
        outward: ssl.SSLSocket,
        inward: ssl.SSLSocket,
        message_bytes: int,
        emptied: Callable[[], None],
    ) -> None:
        self.peer, self.inward, self._outward = peer, inward, outward
        self.reader = FrameReader(peer, session, message_bytes=message_bytes)
        self.silent_s, self.heard, self.is_polled, self.is_cut = 0.0, False, True, False
        self._session, self._emptied = session, emptied
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._idle = threading.Condition(self._lock)
        self._queue, self._rest = deque[Frame](), deque[memoryview]()
        self._sequence = self._records = 0
        self._busy = self._stopped = self._broken = False
        self._thread = threading.Thread(target=self._run, name=f"channel to {peer}", daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether anything waits to be written."""
        return self._busy

    def send(self, frames: list[Frame], size: int) -> bool:
        """Writes or queues a message of ``size`` bytes; False when the connection is broken.

        Raises ``TooLargeError`` when the session has carried as much as one key may.
        """
        with self._lock:
            if self._records + size // _RECORD_BYTES > _MAX_RECORDS:
                raise TooLargeError(
                    f"the session sent as many records to `{self.peer}` as one key of TLS may protect",
                    hint="continue in a new session",
                )
            if self._broken or self._stopped:
                return False
            self._queue.extend(frames)
            if not self._busy:
                self._start(direct=size <= _DIRECT_BYTES)
            return not self._broken

    def beat(self) -> None:
        """A heartbeat, unless something is on its way anyhow."""
        with self._lock:
            if not (self._busy or self._broken or self._stopped):
                self._queue.append(Frame(HEARTBEAT))
                self._start(direct=True)

    def finish(self, frame: Frame) -> None:
        """The last frame: a close after all that waits, or an abort in its place. Does not wait."""
        if frame.kind not in (ABORT, CLOSE):
            return
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            if frame.kind == ABORT:
                self._queue.clear()
            self._queue.append(frame)
            if self._busy or self._broken:
                self._wake.notify()
            else:
                self._start(direct=True)

    def wait_idle(self, timeout_s: float) -> bool:
        """Whether all is written, after at most so long."""
        with self._lock:
            return self._idle.wait_for(lambda: not self._busy, timeout_s)

    def shut(self) -> None:
        """Ends both connections; what the system has taken over is still delivered."""
        with self._lock:
            self._stopped = self._broken = True
            self._queue.clear()
            self._wake.notify()
        # What the system has taken over still goes out; who waits to write more is woken.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._outward, socket.SHUT_WR)
        if threading.current_thread() is not self._thread:
            self._thread.join()
        for connection in (self._outward, self.inward):
            with contextlib.suppress(OSError):
                connection.close()

    def _start(self, *, direct: bool) -> None:
        """With the lock: writes what the system takes, and leaves the rest to the thread."""
        if not direct or not self._push():
            self._busy = True
            self._wake.notify()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._outward.fileno(), select.POLLOUT)
        while True:
            with self._lock:
                self._wake.wait_for(lambda: self._busy or self._broken or self._ended())
                if not self._busy:
                    return
            while not self._push():
                poll.poll(_LATEST_WAIT_MS)
            with self._lock:
                if self._queue and not self._broken:
                    continue
                self._busy = False
                self._idle.notify_all()
            self._emptied()

    def _ended(self) -> bool:
        return self._stopped and not self._queue and not self._rest

    def _push(self) -> bool:
        """Writes until nothing is left (True) or the system takes no more (False). Of one thread at a time."""
        while not self._broken:
            if not self._rest:
                try:
                    frame = self._queue.popleft()
                except IndexError:
                    return True
                self._rest.extend(self._pieces(frame))
            piece = self._rest[0]
            try:
                size = self._outward.send(piece)
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return False
            except (OSError, ValueError):
                # Not an error yet: what the peer said before it went may still be on its way to us.
                self._broken = True
                break
            self._records += 1
            if size == len(piece):
                self._rest.popleft()
            else:
                self._rest[0] = piece[size:]
        self._rest.clear()
        return True

    def _pieces(self, frame: Frame) -> list[memoryview]:
        head = frame.head(self._session, self._sequence)
        self._sequence += 1
        if sum(map(len, frame.body)) <= _JOINED_BYTES:
            return [memoryview(b"".join((head, *frame.body)))]
        return [memoryview(piece) for piece in (head, *frame.body) if len(piece)]


def nonblocking(connection: ssl.SSLSocket) -> ssl.SSLSocket:
    """The connection, ready for a link: small frames leave at once."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setblocking(False)
    return connection
