"""The provider's process: it has the model, is sent public keys and ciphertexts, and answers with ciphertexts.

Started as `python -m tacit.stories.provider_process`; frames arrive on stdin and leave on stdout.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import sys

import tacit
from tacit.errors import InternalError, MalformedMessageError, PeerError, TacitError
from tacit.stories.pipe import Frame, Kind, Pipe
from tacit.stories.ward import Ward, admit, fit

__all__ = ["Desk", "main"]


class Desk:
    """Answers frames; one plan per service. It holds models and evaluation keys, and nothing that decrypts."""

    def __init__(self, ward: Ward) -> None:
        self.ward = ward
        self.providers: dict[int, tacit.Provider] = {}
        self.models: dict[str, object] = {}
        self.received: collections.Counter[str] = collections.Counter()
        self.received_bytes: collections.Counter[str] = collections.Counter()

    def answer(self, frame: Frame) -> bytes:
        """The body of the answer; raises a TacitError for what no honest owner sends."""
        self.received[frame.kind.name.lower()] += 1
        self.received_bytes[frame.kind.name.lower()] += len(frame.body)
        match frame.kind:
            case Kind.OFFER:
                return self.offer(frame)
            case Kind.KEYS:
                self.provider(frame).load_keys(frame.body)
                return b""
            case Kind.REQUEST:
                return self.provider(frame).run(frame.body)
            case Kind.LEDGER:
                return json.dumps(self.ledger()).encode()
        raise MalformedMessageError(f"a frame of kind {frame.kind.name.lower()} is no question")

    def offer(self, frame: Frame) -> bytes:
        """Compile the model that is asked for; the answer is the public half of the plan."""
        try:
            wish = json.loads(frame.body)
            model, batch = str(wish["model"]), int(wish["batch"])
        except (ValueError, KeyError, TypeError):
            raise MalformedMessageError("the wish for a plan is not understood") from None
        if model not in self.models:
            self.models[model] = fit(model, self.ward)
        provider = tacit.Provider.from_model(self.models[model], calibration=self.ward.known, batch=batch)
        self.providers[frame.service] = provider
        return provider.public_plan()

    def provider(self, frame: Frame) -> tacit.Provider:
        if frame.service not in self.providers:
            raise MalformedMessageError(f"no plan was made for service {frame.service}")
        return self.providers[frame.service]

    def ledger(self) -> dict[str, object]:
        """What arrived here, by kind: how many messages and how many bytes; and the process that it arrived in."""
        return {
            "process": os.getpid(),
            "messages": {kind: self.received[kind] for kind in sorted(self.received)},
            "bytes": {kind: self.received_bytes[kind] for kind in sorted(self.received)},
        }


def main() -> None:
    """Serve the owner on stdin and stdout until it closes them; status 4 when it broke off or broke the framing."""
    writing = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a stray print must not end up between two frames
    pipe = Pipe(sys.stdin.fileno(), writing, peer="the owner", silence_s=None)
    with contextlib.suppress(PeerError):
        serve(pipe)
        return
    sys.exit(4)


def serve(pipe: Pipe) -> None:
    """Answer frames until the stream ends between two of them."""
    with pipe.working():
        desk = Desk(admit())
    while (frame := pipe.receive()) is not None:
        try:
            with pipe.working():
                reply = Frame(Kind.ANSWER, frame.service, desk.answer(frame))
        except TacitError as error:
            reply = failure(frame, error)
        except (
            Exception
        ) as error:  # the message may hold data of the owner or the model: only its class is told
            reply = failure(frame, InternalError(f"{type(error).__name__} in the provider's process"))
        pipe.send(reply)


def failure(frame: Frame, error: TacitError) -> Frame:
    body = {"code": error.code, "message": str(error), "hint": error.hint}
    return Frame(Kind.FAILURE, frame.service, json.dumps(body).encode())


if __name__ == "__main__":
    main()
