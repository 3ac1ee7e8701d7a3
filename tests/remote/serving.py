"""`tacit serve` as a real process that can be killed and started again, and a line between that can be cut."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from tests.patience import PATIENCE_S


class Served:
    """`tacit serve` on a loopback port that it keeps over restarts. ``folder``: for its store, configuration
    and log."""

    def __init__(self, folder: pathlib.Path, *words: str) -> None:
        self.folder, self.words, self.port = folder, words, 0
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def authority(self) -> pathlib.Path:
        return self.folder / "config" / "tacit" / "dev" / "authority.pem"

    def start(self, *words: str, store: str = "store") -> None:
        environment = os.environ | {
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
        }
        command = [sys.executable, "-m", "tacit", "serve", *(words or self.words), "--json", "--workers=1"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, f"--listen=127.0.0.1:{self.port}", f"--store={self.folder / store}"],
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )
        try:
            line = self.line()
            assert line.endswith(b"\n"), (self.folder / "log").read_text()
            self.port = int(json.loads(line)["address"].rpartition(":")[2])
        except BaseException:
            self.kill()
            raise

    def line(self) -> bytes:
        assert self.process is not None and self.process.stdout is not None
        found, end = b"", time.monotonic() + PATIENCE_S
        while b"\n" not in found and time.monotonic() < end:
            if select.select([self.process.stdout], [], [], 0.2)[0]:
                piece = os.read(self.process.stdout.fileno(), 65536)
                if not piece:
                    break
                found += piece
        return found

    def kill(self) -> None:
        """As the kernel does when memory is short: no word of farewell."""
        assert self.process is not None and self.process.stdout is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()


@contextlib.contextmanager
def served(folder: pathlib.Path, *words: str) -> Iterator[Served]:
    server = Served(folder, *words)
    try:
        yield server
    finally:
        server.close()


class Line:
    """A TCP relay. ``cut_after``: bytes towards the server after which the next connection is cut, once;
    ``up``: bytes so far."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.cut_after = -1
        self.up = 0
        self.cuts = 0
        self.is_silent = False  # nothing passes any more, and nobody is told
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self.target), timeout=PATIENCE_S)
                    far.settimeout(None)
                except OSError:
                    near.close()
                    continue
                self._open |= {near, far}
                threading.Thread(target=self._carry, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._carry, args=(far, near, False), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, is_up: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(16384):
                if self.is_silent:
                    continue
                if is_up:
                    self.up += len(piece)
                    if 0 <= self.cut_after < self.up:
                        self.cut_after, self.cuts = -1, self.cuts + 1
                        break
                target.sendall(piece)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextlib.contextmanager
def line_to(port: int) -> Iterator[Line]:
    line = Line(port)
    try:
        yield line
    finally:
        line.close()
