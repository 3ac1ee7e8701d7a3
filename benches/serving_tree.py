"""A server as a tree of processes: starting it, its processor seconds, its memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

__all__ = ["Memory", "Server", "cpu_seconds", "memory_of", "rss_of", "tree"]

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Memory:
    """Bytes of all processes of a tree. ``pss_bytes`` counts shared pages once altogether, ``rss_bytes`` once each."""

    pss_bytes: int
    rss_bytes: int


class Server:
    """`tacit serve` in a process of its own, with development certificates in a folder of its own."""

    def __init__(self, models: Sequence[Path], folder: Path, *options: str) -> None:
        self.folder = folder
        self.log = folder / "server.log"
        environment = {**os.environ, "XDG_CONFIG_HOME": str(folder), "XDG_STATE_HOME": str(folder)}
        environment["XDG_CACHE_HOME"] = str(folder)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tacit", "serve", *map(str, models)),
                    *("--listen", "127.0.0.1:0", "--store", str(folder / "store"), "--json", *options),
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )
        self.started = self._first_line()
        self.address = str(self.started["address"])

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *unused: object) -> None:
        self.stop()

    @property
    def authority(self) -> Path:
        """The certificate that a client trusts."""
        return self.folder / "tacit" / "dev" / "authority.pem"

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Ends it, and returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(10)

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.process.pid)

    def memory(self) -> Memory:
        return memory_of(self.process.pid)

    def rss(self) -> dict[str, int]:
        return rss_of(self.process.pid)

    def _first_line(self) -> dict[str, Any]:
        pipe = self.process.stdout
        line = _line_within(pipe, 300.0) if pipe is not None else b""
        if not line:
            self.process.kill()
            raise RuntimeError(f"the server did not start:\n{self.log.read_text(errors='replace')[-2000:]}")
        found: dict[str, Any] = json.loads(line)
        return found


def _line_within(pipe: IO[bytes], seconds: float) -> bytes:
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(pipe.readline()), daemon=True)
    reader.start()
    reader.join(seconds)
    return found[0] if found else b""


def tree(root: int) -> list[int]:
    """Process ids of a process and its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, ahead = [], [root]
    while ahead:
        process = ahead.pop()
        found.append(process)
        ahead += children.get(process, [])
    return found


def cpu_seconds(root: int) -> float:
    """User and system seconds of a tree, with those of children that have ended and were waited for."""
    total = 0
    for process in tree(root):
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15]))
    return total / _TICKS


def memory_of(root: int) -> Memory:
    """Memory of a tree now."""
    pss = rss = 0
    for process in tree(root):
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
        pss += sizes.get("Pss", 0) * 1024
        rss += sizes.get("Rss", 0) * 1024
    return Memory(pss, rss)


def rss_of(root: int) -> dict[str, int]:
    """Resident bytes of each process of a tree: `front`, `zygote`, `family 1`, `worker 1`, … as they were started.

    The kernel keeps these numbers; shares of pages (``memory_of``) it has to count, some 10 ms for each gigabyte.
    """
    found: dict[str, int] = {}
    seen: dict[str, int] = {}
    for process in sorted(tree(root)):
        try:
            name = Path(f"/proc/{process}/comm").read_text().strip()
            pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        except OSError:
            continue
        kind = "front" if process == root else name.removeprefix("tacit-")
        seen[kind] = seen.get(kind, 0) + 1
        found[kind if kind in ("front", "zygote") else f"{kind} {seen[kind]}"] = pages * _PAGE
    return found


def wait_until(moment: float) -> None:
    """Sleeps until ``time.monotonic()`` is ``moment``."""
    time.sleep(max(0.0, moment - time.monotonic()))
