"""The provider as the owner's process sees it: another process that takes and gives bytes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from types import TracebackType
from typing import Any

from tacit import errors
from tacit.stories.pipe import Frame, Kind, Pipe

__all__ = ["Remote"]

SILENCE_S = 20.0
MAX_FAILURE_BYTES = 1 << 14


class Remote:
    """A provider in a process of its own. It ends when the block ends.

    Every method raises PeerError or a class below it when the process dies (at once), is silent for 20 s, refuses,
    or sends what no honest provider sends.
    """

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tacit.stories.provider_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            process_group=0,  # Ctrl-C is for the owner; the provider ends when its input does
        )
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise errors.InternalError("the provider's process has no pipes")
        self.pipe = Pipe(stdout.fileno(), stdin.fileno(), peer="the provider", silence_s=SILENCE_S)
        self.bytes_up = 0
        self.bytes_down = 0

    def offer(self, service: int, *, model: str, batch: int) -> bytes:
        """Ask for a plan; the public half of it."""
        return self.ask(Frame(Kind.OFFER, service, json.dumps({"model": model, "batch": batch}).encode()))

    def load_keys(self, service: int, keys: bytes) -> None:
        """Send evaluation keys. They let the provider compute and do not let it decrypt."""
        self.ask(Frame(Kind.KEYS, service, keys))

    def run(self, service: int, request: bytes) -> bytes:
        """Send ciphertexts; the ciphertexts of the answer."""
        return self.ask(Frame(Kind.REQUEST, service, request))

    def ledger(self) -> dict[str, Any]:
        """What the provider's process says that it received."""
        try:
            ledger = json.loads(self.ask(Frame(Kind.LEDGER, 0, b"")))
        except ValueError:
            raise errors.MalformedMessageError("the provider's ledger is not understood") from None
        if not isinstance(ledger, dict):
            raise errors.MalformedMessageError("the provider's ledger is not understood")
        return ledger

    def ask(self, question: Frame) -> bytes:
        """Send one frame and wait for the answer."""
        try:
            self.pipe.send(question)
            reply = self.pipe.receive()
        except errors.PeerError:
            if self.gone():
                raise self.death() from None
            raise
        if reply is None:
            raise self.death()
        self.bytes_up += len(question.body)
        self.bytes_down += len(reply.body)
        if reply.kind is Kind.FAILURE:
            raise refusal(reply.body)
        if reply.kind is not Kind.ANSWER or reply.service != question.service:
            raise errors.PeerMisbehavedError("the provider answered a question that was not asked")
        return reply.body

    def gone(self) -> bool:
        """Whether the process ended; a moment is given to one that just closed its pipes."""
        try:
            self.process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return False
        return True

    def death(self) -> errors.PeerError:
        self.gone()
        status = self.process.returncode
        if status is None:
            how = "closed its pipes"
        elif status < 0:
            how = f"was ended by {signal.Signals(-status).name}"
        else:
            how = f"ended with status {status}"
        return errors.PeerError(
            f"the provider's process {how}", hint="start it again; nothing was lost at the owner"
        )

    def close(self) -> None:
        """End the process; a second call does nothing."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        try:
            self.process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Remote:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.process.kill()
        self.close()


REFUSALS = {kind.code: kind for kind in (errors.PeerIncompatibleError, errors.MalformedMessageError)}


def refusal(body: bytes) -> errors.PeerError:
    """The error that a FAILURE frame speaks of."""
    try:
        if len(body) > MAX_FAILURE_BYTES:
            raise ValueError("too long")
        told = json.loads(body)
        code, message, hint = (str(told[key]) for key in ("code", "message", "hint"))
    except (ValueError, KeyError, TypeError):
        return errors.PeerMisbehavedError("the provider reported a failure that is not understood")
    return REFUSALS.get(code, errors.PeerError)(f"the provider refused: {message}", hint=hint)
