"""What a server writes down: a JSON object per line, of calls and its own life. No payload, no size, no address."""

from __future__ import annotations

import contextlib
import datetime
import json
import sys
import threading
from typing import TextIO

from tacit.errors import TacitError

__all__ = ["Log", "code_of"]

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

    def failure(self, error: BaseException, request_id: str) -> None:
        """An error that nobody foresaw: its kind, file and line. Its text may hold what a caller sent."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = ""
        if trace is not None:
            place = f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
        self.event("failure", request_id=request_id, kind=type(error).__name__, place=place)


def code_of(error: BaseException | None) -> str:
    """The code under which a call that ended so is written down; empty where it ended well."""
    return error.code if isinstance(error, TacitError) else "internal" if error else ""
