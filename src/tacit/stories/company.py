"""The company of the story: fits its models, and is from then on `tacit serve` in a process of its own.

Started as `python -m tacit.stories.company FOLDER`: the folder is the company's, with models, calibration
data and the store.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from tacit.errors import ConnectError, InternalError, PeerError
from tacit.stories.ward import MODELS, admit, fit

__all__ = ["Company", "main"]

START_S = 300.0
END_S = 30.0


class Company:
    """A running endpoint that serves the story's models; it ends with the block, or with this process.

    ``folder``: of the company; nothing else of this machine is written to. ``url``: where it listens.
    ``authority``: file of the authority of its development certificate.
    """

    def __init__(self, folder: Path, *, models: tuple[str, ...] = tuple(MODELS)) -> None:
        self.folder = folder
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("TACIT_TOKEN")
        }
        environment |= {"XDG_CONFIG_HOME": str(folder / "config"), "XDG_CACHE_HOME": str(folder / "cache")}
        self._log = (folder / "log").open("wb")
        self.process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 our own module
            [sys.executable, "-m", "tacit.stories.company", str(folder), *models],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            process_group=0,  # Ctrl-C is for the hospital; the company ends when the story does
        )
        try:
            started = self._started()
            self.url = str(started["address"])
            self.authority = folder / "config" / "tacit" / "dev" / "authority.pem"
        except BaseException:
            self.close()
            raise

    def _started(self) -> dict[str, Any]:
        """The one line that a server writes when it is ready. Raises ``ConnectError``."""
        if self.process.stdout is None:
            raise InternalError("the company's process has no output")
        line = first_line(self.process.stdout, START_S)
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict) and "address" in found:
                return found
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=1.0)
        raise ConnectError(
            f"the company's server did not start: {self.ended()}", hint=f"its log is in {self._log.name}"
        )

    def ended(self) -> str:
        """How the process ended, in words."""
        status = self.process.poll()
        if status is None:
            return "it is silent"
        return f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"

    def check(self, error: PeerError) -> PeerError:
        """An error of a connection, with what became of the process."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=0.5)
            return ConnectError(f"the company's server is gone: {self.ended()}", hint="run the story again")
        return error

    def close(self) -> None:
        """Ends the server and waits for it; a second call does nothing."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=END_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._log.close()

    def __enter__(self) -> Company:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def first_line(stream: IO[bytes], patience_s: float) -> bytes:
    """The first line of a pipe, or what came of it until it ended or patience did."""
    found, end = b"", time.monotonic() + patience_s
    while b"\n" not in found and (left := end - time.monotonic()) > 0:
        if select.select([stream], [], [], left)[0]:
            piece = os.read(stream.fileno(), 1 << 16)
            if not piece:
                break
            found += piece
    return found


def main() -> None:
    """Fit, write model and calibration data, and become the server."""
    folder, *models = sys.argv[1:]
    if sys.platform == "linux":
        # The server ends when the process that told it to start does, whatever ends that.
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    shelf = Path(folder) / "models"
    shelf.mkdir(exist_ok=True)
    ward = admit()
    for model in models:
        np.save(shelf / f"{model}.calibration.npy", ward.known)
        (shelf / f"{model}.onnx").write_bytes(as_onnx(fit(model, ward), ward.known.shape[1]))
    serve = ["serve", str(shelf), "--listen=127.0.0.1:0", f"--store={Path(folder) / 'store'}", "--json"]
    os.execv(sys.executable, [sys.executable, "-m", "tacit", *serve])  # noqa: S606 our own module


def as_onnx(estimator: Any, features: int) -> bytes:
    """A fitted pipeline as the file that a company would hand to whoever runs its servers."""
    import skl2onnx
    from skl2onnx.common.data_types import DoubleTensorType

    types = [("patients", DoubleTensorType([None, features]))]
    options = {"zipmap": False}
    return bytes(skl2onnx.to_onnx(estimator, initial_types=types, options=options).SerializeToString())


if __name__ == "__main__":
    main()
