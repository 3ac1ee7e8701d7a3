"""How long tests wait: a machine that is busy, or whose disk is slow, must not look like a fault."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

PATIENCE_S = 90.0
"""For what must happen at some time. Nothing is proven by it; it only ends a test that hangs."""
SOON_S = 15.0
"""Bound of what is promised within two seconds, and takes some hundredths of one. What is broken waits for a limit of
the test or of the product instead, and those are 20 s and more."""


def until(is_so: Callable[[], object], *, within_s: float = PATIENCE_S) -> None:
    """Waits for ``is_so()``."""
    end = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@contextlib.contextmanager
def soon(within_s: float = SOON_S) -> Iterator[None]:
    """What is in the block ends within ``within_s``."""
    start = time.monotonic()
    yield
    took = time.monotonic() - start
    assert took < within_s, f"it took {took:.1f} s"
