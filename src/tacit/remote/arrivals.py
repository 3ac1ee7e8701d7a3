"""Responses that wait until the last one is here, and are decrypted only then.

Whether a response decrypts is the owner's secret: a provider that saw the next request come or not come after
each answer would learn it, and from that something of the key (SECURITY.md, reactions). What waits is
encrypted, so much of it may lie on the disk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from types import TracebackType

from tacit.errors import UsageError

__all__ = ["Arrivals"]

IN_MEMORY_BYTES = 256 << 20
"""Held in memory; more goes to a file without a name in the folder for temporary files."""


class Arrivals:
    """Messages in the order in which they came. A context manager, whose end frees them."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115
        self._lengths: list[int] = []

    def __enter__(self) -> Arrivals:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, message: bytes) -> None:
        """Raises ``UsageError`` where there is no room."""
        try:
            self._file.write(message)
        except OSError as error:
            reason = (error.strerror or "failed").lower()
            raise UsageError(
                f"there is no room for the encrypted answers of so many rows: {reason}",
                hint="predict fewer rows at a time, or name a folder with more room by TMPDIR",
            ) from None
        self._lengths.append(len(message))

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(0)
        for length in self._lengths:
            yield self._file.read(length)
