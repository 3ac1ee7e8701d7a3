"""A party as a process that stays up until it is told to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

from tacit.runtime.party import Organisation
from tacit.runtime.resumption import Resumption
from tacit.runtime.running import Running, World

__all__ = ["stay_up"]


def stay_up(organisation: Organisation, world: World, *, ready: Callable[[], None]) -> None:
    """Takes jobs until SIGTERM or SIGINT; ``ready`` is called once calls are taken. Of the main thread.

    What runs then is cut off, the other parties are told, and it is resumed when this party is up again.
    Raises ``ConnectError`` where it cannot listen.
    """
    over = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        over.set()

    old = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        running = Running(organisation, world)
        resumption = Resumption(running)
        try:
            ready()
            over.wait()
        finally:
            running.close()
            resumption.close()
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
