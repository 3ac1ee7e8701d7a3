"""Processes that take turns: one line of JSON asks, one line answers. Both sides; needs the standard library only.

Each system of a benchmark runs in a process of its own, so that its memory is its own and so that peers bring their own
interpreter. Times are taken inside the process that computes; turns let neighbours on the machine slow all alike.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "Answer",
    "Partner",
    "PartnerError",
    "peak_rss_bytes",
    "repeat",
    "reset_peak",
    "serve",
    "take_turns",
]

Answer = dict[str, Any]


class PartnerError(Exception):
    """The other process did not answer, or answered that it could not; its last words are the message."""


class Partner:
    """The asking side. Ends the process when the block ends."""

    def __init__(
        self, command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None
    ) -> None:
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
            env={**os.environ, **(environment or {})},
        )

    def __enter__(self) -> Partner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, do: str, *, timeout_s: float = 600.0, **arguments: Any) -> Answer:
        """What the other side's command ``do`` returned."""
        self.begin(do, **arguments)
        return self.end(do, timeout_s=timeout_s)

    def begin(self, do: str, **arguments: Any) -> None:
        """Asks and does not wait; ``end`` must follow. So several can be asked at once."""
        process = self._process
        if process.stdin is None:
            raise PartnerError("the process has no pipes")
        try:
            process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            process.stdin.flush()
        except OSError as error:
            raise PartnerError(self._last_words()) from error

    def end(self, do: str, *, timeout_s: float = 600.0) -> Answer:
        """The answer to what was begun."""
        process = self._process
        if process.stdout is None:
            raise PartnerError("the process has no pipes")
        ready, _, _ = select.select([process.stdout], [], [], timeout_s)
        if not ready:
            self._process.kill()
            raise PartnerError(f"no answer to `{do}` within {timeout_s:.0f} s")
        line = process.stdout.readline()
        if not line:
            raise PartnerError(self._last_words())
        answer: Answer = json.loads(line)
        if "error" in answer:
            raise PartnerError(answer["error"])
        return answer

    def close(self) -> None:
        """Ends the process; a second call does nothing."""
        process = self._process
        if process.stdin is not None and not process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._log.close()

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().splitlines() if line.strip()]
        return lines[-1] if lines else f"the process ended with status {self._process.returncode}"


def serve(commands: Mapping[str, Callable[..., Answer]]) -> int:
    """The answering side: runs commands until its input ends. What libraries print goes to the error stream."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            request = json.loads(line)
            try:
                answer = commands[request.pop("do")](**request)
            except Exception as error:
                # The asking side reports it; a benchmark of several systems goes on with the others.
                answer = {"error": f"{type(error).__name__}: {error}".replace("\n", " ")[:300]}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    return 0


def repeat(call: Callable[[], object], repeats: int) -> Answer:
    """Seconds of each of ``repeats`` calls."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds}


def peak_rss_bytes() -> int:
    """Largest resident memory of this process since it began, or since ``reset_peak``.

    Not ``ru_maxrss``, which a process inherits from the one that started it.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("the kernel does not tell the peak of resident memory")


def reset_peak() -> None:
    """Peak memory counts from here (proc(5), ``clear_refs``)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def take_turns(
    calls: Mapping[str, Callable[[int], Sequence[float]]],
    *,
    budget_s: float,
    turn_s: float = 0.05,
    least: int = 3,
    pause_s: float = 0.0,
) -> dict[str, list[float]]:
    """Seconds of the calls of each system: turns of at least ``turn_s`` or one call, until ``budget_s`` are over.

    The first system has ``least`` counted calls or more. Each has one call to warm up, which decides how many calls
    make a turn, and which counts where it alone takes all of the time: then the others have their turns beside it.
    ``pause_s``: between turns of different systems. Threads of some wait for more work, and wait by computing.
    """
    samples: dict[str, list[float]] = {}
    repeats: dict[str, int] = {}
    for name, call in calls.items():
        first = list(call(1))
        samples[name] = first if first[0] > budget_s else []
        repeats[name] = max(1, min(1000, int(turn_s / max(1e-6, first[0]))))
    leading = next(iter(calls))
    end = time.perf_counter() + budget_s
    while True:
        for name, call in calls.items():
            if sum(samples[name]) < budget_s or (name == leading and len(samples[name]) < least):
                if len(calls) > 1:
                    time.sleep(pause_s)
                samples[name].extend(call(repeats[name]))
        if time.perf_counter() > end and len(samples[leading]) >= least:
            return samples
