"""`tacit serve` as a process of its own, on a port of its own, for tests."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

__all__ = ["Running", "running"]

READY_S = 120.0


@dataclass
class Running:
    """A server that answers. ``started``: what it printed; ``log``: the file of its lines."""

    process: subprocess.Popen[bytes]
    started: dict[str, Any]
    log: Path

    @property
    def address(self) -> str:
        return str(self.started["address"])

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def client(self, **more: Any) -> httpx.Client:
        """Without a check of the certificate: what TLS does is tested elsewhere."""
        return httpx.Client(base_url=self.address, timeout=90, verify=False, **more)  # noqa: S501

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]

    def end(self, *, number: int = signal.SIGTERM, within_s: float = 90.0) -> int:
        """Sends a signal and gives the status."""
        self.process.send_signal(number)
        return self.process.wait(within_s)


@contextlib.contextmanager
def running(folder: Path, *words: str, listen: str = "127.0.0.1:0", tls: bool = False) -> Iterator[Running]:
    """A server on the models and options of ``words``; its files are in ``folder``."""
    command = [sys.executable, "-m", "tacit", "serve", *words, "--listen", listen, "--json"]
    command += [] if tls else ["--insecure-http"]
    log = folder / f"log-{time.monotonic_ns()}.jsonl"
    settings = {"XDG_STATE_HOME": str(folder / "state"), "XDG_CONFIG_HOME": str(folder / "config")}
    with log.open("wb") as lines:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=lines, stdin=subprocess.DEVNULL, env=os.environ | settings
        )
    try:
        yield Running(process, _first_line(process, log), log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _first_line(process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    out = process.stdout
    if out is None or not select.select([out], [], [], READY_S)[0]:
        raise TimeoutError(log.read_text(encoding="utf-8"))
    line = out.readline()
    if not line:
        raise ChildProcessError(log.read_text(encoding="utf-8"))
    found: dict[str, Any] = json.loads(line)
    return found
