"""Where models are compiled: by `tacit compile` in a process of its own, and kept by content.

Planning takes seconds, memory and the interpreter's lock, and a bad model may take more; none of that is the server's.
What was compiled before is used again, so that plans, and the keys that owners made for them, outlive a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tacit.backends.ckks.envelope import VERSION
from tacit.backends.ckks.public import PLAN_VERSION
from tacit.errors import ModelError

__all__ = ["MAX_KEPT", "Workshop"]

MAX_KEPT = 64
"""Compiled models that are kept; the least recently used go first."""

MAX_REPORT = 1 << 16


@dataclass(frozen=True)
class Workshop:
    """``folder``: where compiled models are kept, for the owner's eyes only: they hold weights. ``options``: of
    `tacit compile`."""

    folder: Path
    options: Sequence[str] = field(default=())

    async def has(self, model: Path, calibration: Path) -> bool:
        """Whether these files were compiled before. Raises ``OSError`` where one cannot be read."""
        return (self.folder / f"{await asyncio.to_thread(self._key, model, calibration)}.tacit").is_file()

    async def package(self, model: Path, calibration: Path) -> bytes:
        """The compiled model of two files, made now or before. Raises ``ModelError`` with the compiler's words."""
        key = await asyncio.to_thread(self._key, model, calibration)
        kept = self.folder / f"{key}.tacit"
        with contextlib.suppress(FileNotFoundError):
            content = await asyncio.to_thread(kept.read_bytes)
            os.utime(kept)
            return content
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".making-") as scratch:
            made = Path(scratch) / "made.tacit"
            await self._compile(model, calibration, made)
            if await asyncio.to_thread(self._key, model, calibration) != key:
                raise ModelError(
                    "the files of the model changed while it was compiled",
                    hint="it is compiled again by itself",
                )
            os.replace(made, kept)
        self._prune()
        return await asyncio.to_thread(kept.read_bytes)

    def _key(self, model: Path, calibration: Path) -> str:
        facts = [str(VERSION), str(PLAN_VERSION), calibration.suffix]
        digest = hashlib.sha256("\0".join([*facts, *self.options]).encode())
        for path in (model, calibration):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    async def _compile(self, model: Path, calibration: Path, out: Path) -> None:
        command = [sys.executable, "-m", "tacit", "compile", str(model.absolute())]
        command += ["--calibration", str(calibration.absolute()), "-o", str(out), *self.options]
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, report = await process.communicate()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        if process.returncode:
            raise _told(report[-MAX_REPORT:].decode(errors="replace"), process.returncode)

    def _prune(self) -> None:
        kept = sorted(self.folder.glob("*.tacit"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in kept[MAX_KEPT:]:
            path.unlink(missing_ok=True)


def _told(report: str, status: int) -> ModelError:
    """What the compiler said on its last lines, `error: …` and `hint: …`, as an error."""
    error, _, hint = report.rpartition("error: ")[2].partition("hint: ")
    if status < 0 or "error: " not in report:
        return ModelError(
            "compiling the model ended without a word", hint="run `tacit compile` on it by hand: memory?"
        )
    return ModelError(" ".join(error.split())[:1000], hint=" ".join(hint.split())[:500])
