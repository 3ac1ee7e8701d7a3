"""What a server writes down: a JSON object per line, of calls and its own life. No payload, no size, no address."""

from __future__ import annotations

import contextlib
import datetime
import json
import sys
import threading
from typing import TextIO

__all__ = ["Log"]

MAX_VALUE = 1000


class Log:
    """Lines on a stream, by default stderr. A reader that went away ends nothing.

    ``is_plain``: for people at a terminal: no calls, and lines of words in place of JSON.
    """

    def __init__(self, stream: TextIO | None = None, *, is_plain: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._is_plain = is_plain
        self._lock = threading.Lock()

    def event(self, event: str, **facts: str | int | float | bool | None) -> None:
        """Writes one line. ``facts``: nothing of what a caller sent, but for what `call` names."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        kept = {name: fact[:MAX_VALUE] if isinstance(fact, str) else fact for name, fact in facts.items()}
        line = json.dumps({"at": now, "event": event, **kept}, ensure_ascii=False)
        if self._is_plain:
            line = f"{now[11:19]} {event}: {', '.join(str(fact) for fact in kept.values())}".rstrip(": ")
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    def call(
        self,
        *,
        method: str,
        route: str,
        status: int,
        seconds: float,
        request_id: str,
        model: str = "",
        code: str = "",
        principal: str = "",
    ) -> None:
        """One call.

        ``route``: the template of its path, never the path; ``model``: only the name of one that is served; ``code``:
        of the error that it ended in; ``principal``: the name of a token or certificate.
        """
        if self._is_plain:
            return
        facts = {"model": model, "code": code, "principal": principal}
        self.event(
            "call",
            method=method,
            route=route,
            status=status,
            seconds=round(seconds, 6),
            request_id=request_id,
            **{name: fact for name, fact in facts.items() if fact},
        )
