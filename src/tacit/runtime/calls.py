"""Short calls between organisations: one question, one answer, over mutual TLS 1.3 between pinned certificates.

This is how jobs are offered and watched; what a computation sends goes over the channel of its session. A connection
that does not prove to be one of the peers is closed without an answer.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Any

from tacit.backends.mpc.steps import Words
from tacit.errors import ConnectError, PeerError, TacitError, TlsError
from tacit.net import tls
from tacit.net.channel_connect import listen
from tacit.net.channel_faults import party_error
from tacit.net.channel_identity import pin_of, prove, secured, show, shown, wrong_pin
from tacit.runtime.messages import Message, error_of, facts_of, receive, send
from tacit.runtime.party import Organisation, Peer

__all__ = ["CALL_S", "Answer", "Desk", "call"]

CALL_S = 30.0
_GREETING_S = 10.0
_MAX_CALLS = 32
_TICK_S = 0.2
_WORDS_BYTES = 1 << 33
"""Most bytes of arrays in an answer: results, which only the own organisation asks for."""

Answer = tuple[dict[str, Any], Sequence[Words]]
Handler = Callable[[str, Message], Answer]
"""Who asks, and what; gives facts and arrays. A ``TacitError`` is the answer as well."""


def call(
    own: Organisation, peer: Peer, kind: str, facts: dict[str, Any], *, timeout_s: float = CALL_S
) -> Message:
    """The answer of a peer. Raises its error, or ``PeerError`` with the name of the peer where there is no answer."""
    try:
        with socket.create_connection((peer.host, peer.port), timeout=min(timeout_s, _GREETING_S)) as raw:
            mine = own.identity.der()
            show(raw, mine)
            der = shown(raw, peer.name)
            if not der:
                raise party_error(
                    TlsError,
                    peer.name,
                    f"`{peer.name}` does not know the certificate of `{own.name}`",
                    hint=f"ask `{peer.name}` to pin {pin_of(mine)} for `{own.name}`",
                )
            if pin_of(der) != peer.pin:
                raise wrong_pin(peer.name)
            with secured(raw, own.identity, der, is_server=False) as connection:
                prove(connection, peer.pin, peer.name)
                connection.settimeout(timeout_s)
                send(connection, kind, facts)
                answer = receive(connection, arrays_bytes=_WORDS_BYTES if peer.pin == own.pin else 0)
    except OSError as error:
        found = tls.explain(error, peer.name)
        found.party = peer.name
        raise found from None
    except PeerError as error:
        error.party = error.party or peer.name
        raise
    if answer is None:
        raise party_error(
            ConnectError, peer.name, f"`{peer.name}` ended without an answer", hint="look at its log"
        )
    if answer.kind == "error":
        told = error_of(answer.facts)
        if isinstance(told, PeerError) and not told.party:
            told.party = peer.name
        raise told
    return answer


class Desk:
    """Takes the calls of peers, and of this organisation itself, each in a thread, until it is closed."""

    def __init__(self, own: Organisation, handler: Handler) -> None:
        self._own, self._handler = own, handler
        self._listener = listen(own.host, own.port)
        self._over = threading.Event()
        self._places = threading.BoundedSemaphore(_MAX_CALLS)
        self._thread = threading.Thread(target=self._accept, name="calls", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Takes no more calls. Those that are being answered go on."""
        self._over.set()
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        self._listener.settimeout(_TICK_S)
        while not self._over.is_set():
            try:
                raw, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                self._over.wait(_TICK_S)
                continue
            if not self._places.acquire(blocking=False):
                raw.close()
                continue
            threading.Thread(target=self._take, args=(raw,), name="call", daemon=True).start()

    def _take(self, raw: socket.socket) -> None:
        try:
            with raw:
                raw.settimeout(_GREETING_S)
                self._admit(raw)
        except (OSError, TacitError, ValueError):
            pass  # a stranger, or a peer that went away: it asks again
        finally:
            self._places.release()

    def _admit(self, raw: socket.socket) -> None:
        der = shown(raw, "a stranger")
        pin = pin_of(der)
        name = next((peer.name for peer in self._known() if peer.pin == pin), None)
        if name is None:
            show(raw, b"")
            with contextlib.suppress(OSError):
                raw.shutdown(socket.SHUT_WR)
                raw.recv(1)
            return
        show(raw, self._own.identity.der())
        with secured(raw, self._own.identity, der, is_server=True) as connection:
            prove(connection, pin, name)
            connection.settimeout(CALL_S)
            question = receive(connection, arrays_bytes=0)
            if question is not None:
                self._answer(connection, name, question)

    def _known(self) -> list[Peer]:
        return [self._own.me(), *self._own.peers.values()]

    def _answer(self, connection: ssl.SSLSocket, name: str, question: Message) -> None:
        try:
            facts, arrays = self._handler(name, question)
        except Exception as error:
            # An error that nobody foresaw is told by its kind only, and the desk stays open.
            send(connection, "error", facts_of(error))
            return
        send(connection, "answer", facts, arrays)
