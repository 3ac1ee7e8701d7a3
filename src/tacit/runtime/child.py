"""`python -m tacit.runtime.child CONTROL LIFE`: one party of a session whose parties all run on this machine.

It makes its own identity, tells the one who started it its pin and port, joins the session over mutual TLS, and then
does one piece of work after the other until it is told to end. It ends when the one who started it does.
"""

from __future__ import annotations

import datetime
import importlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tacit.backends.mpc.steps import Steps, Words
from tacit.errors import ConnectError, InternalError, TacitError
from tacit.net import tls
from tacit.net.channel import Limits
from tacit.net.channel_connect import connect, listen
from tacit.net.channel_identity import Identity, Party, new_identity
from tacit.runtime.memory import keep_freed_memory
from tacit.runtime.messages import Message, facts_of, receive, send
from tacit.runtime.protocols import Protocol
from tacit.runtime.report import Meter
from tacit.runtime.session import Session

__all__ = ["main"]

STATUS_LOST = 4


def main(arguments: Sequence[str]) -> int:
    """The life of the process; the status is 0 when it was told to end."""
    control, life = (int(argument) for argument in arguments)
    keep_freed_memory()
    threading.Thread(target=_end_with, args=(life,), name="life", daemon=True).start()
    # Who presses Ctrl-C ends the one who started this process, and that ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with socket.socket(fileno=control) as end:
        try:
            _live(end)
        except BaseException as error:
            if isinstance(error, SystemExit | OSError):
                raise
            send(end, "failed", facts_of(error))
            return STATUS_LOST
    return 0


def _end_with(life: int) -> NoReturn:
    """Blocks until the one who started this process is gone: nobody ever writes."""
    os.read(life, 1)
    os._exit(STATUS_LOST)


def _live(end: socket.socket) -> None:
    setup = _expect(end, "setup").facts
    sys.path[:] = [str(place) for place in setup["path"]]
    name, folder = str(setup["name"]), Path(str(setup["folder"]))
    certificate, key = new_identity(name, now=datetime.datetime.now(datetime.UTC))
    identity = Identity(folder / f"{name}.pem", folder / f"{name}.key")
    for path, content in ((identity.certificate, certificate), (identity.key, key)):
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    host = str(setup["host"])
    listener = listen(host, 0)
    pin = tls.fingerprint(identity.certificate)
    send(end, "here", {"pin": pin, "host": host, "port": int(listener.getsockname()[1])})
    terms = _expect(end, "terms").facts
    parties = [Party(name=row[0], pin=row[1], host=row[2], port=row[3]) for row in terms["parties"]]
    session, plan = bytes(terms["session"]), bytes(terms["plan"])
    limits = Limits(**terms["limits"])
    protocol = Protocol(**{**terms["protocol"], "roles": tuple(terms["protocol"]["roles"])})
    # What takes long and holds the interpreter's lock comes before the session: no heartbeat waits for it.
    protocol.function("open_engine")
    module, _, function = str(terms["script"]).partition(":")
    make: Callable[..., Any] = getattr(importlib.import_module(module), function)
    with connect(
        name, parties, identity, session=session, plan=plan, limits=limits, listener=listener
    ) as channel:
        identity.key.unlink()
        own = Session(channel, protocol, session=session, plan=plan)
        meter = Meter(channel)
        engine = own.open(terms["reveals"])
        actor = make(engine, bytes(terms["program"]))
        send(end, "ready", {"report": meter.report().to_dict()})
        _work(end, own, actor)


def _work(end: socket.socket, own: Session, actor: object) -> None:
    while True:
        message = receive(end)
        if message is None or message.kind == "end":
            return
        if message.kind != "call":
            raise InternalError(f"a party was told `{message.kind}`")
        meter = Meter(own.channel)
        method: Callable[..., Steps[Any]] = getattr(actor, str(message.facts["method"]))
        options = message.facts["options"]
        if "parts" in message.facts:
            parts, shapes = _parts(message)
            result = own.run(method(parts, shapes, **options))
        else:
            result = own.run(method(message.arrays, **options))
        by_name: Mapping[str, list[Words]] = result if isinstance(result, Mapping) else {"": result or []}
        facts = {
            "report": meter.report().to_dict(),
            "names": [[name, len(arrays)] for name, arrays in by_name.items()],
        }
        send(end, "done", facts, [array for arrays in by_name.values() for array in arrays])


def _parts(message: Message) -> tuple[dict[str, list[Words]], dict[str, tuple[int, ...]]]:
    """This party's arrays of each value, and the shape of the value."""
    parts, shapes, start = {}, {}, 0
    for name, shape, count in message.facts["parts"]:
        parts[name] = message.arrays[start : start + count]
        shapes[name] = tuple(shape)
        start += count
    return parts, shapes


def _expect(end: socket.socket, kind: str) -> Message:
    message = receive(end)
    if message is None or message.kind != kind:
        raise ConnectError("the process that started this party is gone", hint="look at its log")
    return message


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (OSError, TacitError):
        # Whoever would be told is gone.
        sys.exit(STATUS_LOST)
