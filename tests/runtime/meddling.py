"""What stands between two parties and changes what passes."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

from tests.patience import PATIENCE_S

Meddle = Callable[[bytes], bytes]
"""What is passed on instead of some bytes of TLS."""


class Meddler:
    """Passes on connections to a port of this machine; the first bytes after ``after`` of one of them are changed."""

    def __init__(self, port: int, meddle: Meddle, *, after: int) -> None:
        self._target, self._meddle, self._after = port, meddle, after
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.has_meddled = threading.Event()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        with near, self._reach() as far:
            back = threading.Thread(target=self._pass_on, args=(far, near), daemon=True)
            back.start()
            self._pass_on(near, far)
            back.join()

    def _reach(self) -> socket.socket:
        """A connection to the party, which may be about to listen."""
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                assert time.monotonic() < end, "nobody listens"
                time.sleep(0.02)

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                passed += len(data)
                with self._lock:
                    if passed > self._after and not self.has_meddled.is_set():
                        self.has_meddled.set()
                        data = self._meddle(data)
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
