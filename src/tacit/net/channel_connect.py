"""How the parties of a session find each other: each dials those before it in the contract and listens for the others.

A connection becomes part of the session in three steps: both show a certificate that the contract pins, TLS proves that
they hold the keys, and their hellos agree. Until TLS has proven who is there, a failure of a connection that came in is
nobody's fault and is only counted: who can reach the port cannot end a session with it.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from tacit.errors import (
    ConnectError,
    InvalidParameterError,
    PeerMisbehavedError,
    PeerTimeoutError,
    TacitError,
    TlsError,
)
from tacit.net import tls
from tacit.net.channel import Limits, checked_names
from tacit.net.channel_faults import party_error
from tacit.net.channel_hello import (
    FROM_DIALER,
    PREFIX_BYTES,
    TO_DIALER,
    Hello,
    body_length,
    disagreement,
    read_hello,
    write_hello,
)
from tacit.net.channel_identity import (
    Identity,
    Party,
    pin_of,
    prove,
    read_exactly,
    secured,
    show,
    shown,
    wrong_pin,
)
from tacit.net.channel_tcp import TcpChannel

__all__ = ["connect", "listen"]

_Socket = TypeVar("_Socket", bound=socket.socket)

_READY = b"\x01"
_STRANGER_S = 10.0
"""What a connection gets to prove who it is."""
_MAX_STRANGERS = 64
_RETRY_S = 0.1
_TICK_S = 0.1
_LINGER_S = 0.5
_LEAVE_S = 1.0
_BY_DATE = (9, 10)
"""X509_V_ERR_CERT_NOT_YET_VALID and …_HAS_EXPIRED of OpenSSL."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises ``ConnectError``."""
    try:
        return socket.create_server((host, port), backlog=_MAX_STRANGERS)
    except OSError as error:
        raise ConnectError(
            f"cannot listen at `{host}:{port}`: {(error.strerror or 'no such address').lower()}",
            hint="another process may use the port; check host and port of this party",
        ) from None


def connect(
    name: str,
    parties: Sequence[Party],
    identity: Identity,
    *,
    session: bytes,
    plan: bytes,
    limits: Limits | None = None,
    listener: socket.socket | None = None,
) -> TcpChannel:
    """The channel of party ``name``, joined with all others.

    ``session``: 16 bytes, new for every session and the same at all parties; ``plan``: the hash (32 bytes) of what
    is to be run. ``listener``: of ``listen``, where the caller wants one of its own; it is closed in any case.
    Raises ``TlsError`` for a certificate that is not pinned or has ended, ``PeerIncompatibleError`` for what the
    parties do not agree on, ``ConnectError`` and ``PeerTimeoutError`` where one does not come; all name the party.
    """
    try:
        meeting = _Meeting(name, parties, identity, session, plan, limits or Limits(), listener)
    except BaseException:
        if listener is not None:
            listener.close()
        raise
    return meeting.hold()


class _Meeting:
    """The time in which a session comes together."""

    def __init__(
        self,
        name: str,
        parties: Sequence[Party],
        identity: Identity,
        session: bytes,
        plan: bytes,
        limits: Limits,
        listener: socket.socket | None,
    ) -> None:
        self.parties, self.identity, self.limits = tuple(parties), identity, limits
        names = checked_names([party.name for party in parties])
        if len({party.pin for party in parties}) < len(parties):
            raise InvalidParameterError("two parties have the same pin, so nobody could tell who is who")
        self.der = identity.der()
        self.me = names.index(name) if name in names else -1
        if self.me < 0 or pin_of(self.der) != parties[self.me].pin:
            raise InvalidParameterError(
                f"the contract does not pin the certificate of this party under the name `{name}`",
                hint="compare the name and the fingerprint in the contract with those of this party",
            )
        self.hello = Hello(
            session,
            plan,
            heartbeat_ms=round(1000 * limits.heartbeat_s),
            silence_ms=round(1000 * limits.silence_s),
            parties=names,
            speaker=self.me,
            listener=0,
            direction=FROM_DIALER,
        )
        self.before, self.after = self.parties[: self.me], self.parties[self.me + 1 :]
        self.listener = listener
        if self.listener is None and self.after:
            self.listener = listen(parties[self.me].host, parties[self.me].port)
        self.deadline = time.monotonic() + limits.connect_s
        self.found: queue.SimpleQueue[tuple[str, ssl.SSLSocket, ssl.SSLSocket] | BaseException] = (
            queue.SimpleQueue()
        )
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.open: set[socket.socket] = set()
        self.halves: dict[str, dict[int, ssl.SSLSocket]] = {party.name: {} for party in self.after}
        self.threads: list[threading.Thread] = []
        self.refused = 0
        self.channel = TcpChannel(name, names, session, limits)

    def hold(self) -> TcpChannel:
        for party in self.before:
            self._begin(self._dial, party)
        if self.after:
            self._begin(self._accept)
        missing = [party.name for party in (*self.before, *self.after)]
        try:
            while missing:
                self.channel.check()
                try:
                    found = self.found.get(timeout=_TICK_S)
                except queue.Empty:
                    if time.monotonic() > self.deadline + _TICK_S:
                        raise self._absent(missing[0]) from None
                    continue
                if isinstance(found, BaseException):
                    raise found
                peer, outward, inward = found
                with self.lock:
                    self.open -= {outward, inward}
                self.channel.add(peer, outward=outward, inward=inward)
                missing.remove(peer)
        except BaseException as error:
            self._leave()
            self.channel.abort(error)
            raise
        self._leave()
        return self.channel

    def _begin(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name="channel greeting", daemon=True)
        with self.lock:
            self.threads.append(thread)
        thread.start()

    def _leave(self) -> None:
        """Ends what still goes on in the threads: strangers, and parties that do not come into this session."""
        self.over.set()
        with self.lock:
            left, self.open, threads = self.open, set(), list(self.threads)
        for connection in left:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in threads:
            thread.join(_LEAVE_S)
        for connection in left:
            connection.close()
        if self.listener is not None:
            self.listener.close()

    def _dial(self, party: Party) -> None:
        """Both connections to a party that listens."""
        try:
            outward, inward = (self._call(party, direction) for direction in (FROM_DIALER, TO_DIALER))
            self.found.put((party.name, outward, inward))
        except TacitError as error:
            self.found.put(error)
        except OSError as error:
            self.found.put(_explained(error, party.name))
        except BaseException as error:
            self.found.put(error)

    def _call(self, party: Party, direction: int) -> ssl.SSLSocket:
        raw = self._reach(party)
        show(raw, self.der)
        der = shown(raw, party.name)
        if not der:
            raise party_error(
                TlsError,
                party.name,
                f"`{party.name}` does not know the certificate of this party",
                hint="its contract pins another fingerprint for this party, or it is already connected",
            )
        if pin_of(der) != party.pin:
            raise wrong_pin(party.name)
        connection = self._kept(secured(raw, self.identity, der, is_server=False), raw)
        prove(connection, party.pin, party.name)
        # Who listens speaks first: what it has against this side's certificate comes before anything is sent.
        message = self._hear(connection, party.name)
        mine = replace(self.hello, listener=self.parties.index(party), direction=direction)
        connection.sendall(write_hello(mine))
        if (differs := disagreement(mine, read_hello(message, party.name), party.name)) is not None:
            raise differs
        if read_exactly(connection, len(_READY), party.name) != _READY:
            raise party_error(
                PeerMisbehavedError,
                party.name,
                f"`{party.name}` did not end its greeting as agreed",
                hint="ask for its version",
            )
        return connection

    def _reach(self, party: Party) -> socket.socket:
        """A connection to a party that may still be about to start."""
        while True:
            left = self.deadline - time.monotonic()
            try:
                raw = socket.create_connection((party.host, party.port), timeout=max(left, _TICK_S))
            except OSError as error:
                if self.over.is_set() or left <= _RETRY_S:
                    raise _explained(error, party.name) from None
                self.over.wait(_RETRY_S)
                continue
            raw.settimeout(max(left, _TICK_S))
            return self._kept(raw)

    def _accept(self) -> None:
        """Takes connections, each in a thread of its own, so that nobody waits for a stranger."""
        strangers = threading.BoundedSemaphore(_MAX_STRANGERS)
        listener = self.listener
        if listener is None:
            return
        with contextlib.suppress(OSError):
            listener.settimeout(_TICK_S)
            while not self.over.is_set():
                try:
                    raw, _ = listener.accept()
                except TimeoutError:
                    continue
                if not strangers.acquire(blocking=False):
                    raw.close()
                    continue
                self._begin(self._welcome, raw, strangers)

    def _welcome(self, raw: socket.socket, strangers: threading.BoundedSemaphore) -> None:
        try:
            self._kept(raw)
            left = self.deadline - time.monotonic()
            raw.settimeout(max(min(left, _STRANGER_S), _TICK_S))
            secure = self._admit(raw)
            if secure is not None:
                connection, party = secure
                connection.settimeout(max(left, _TICK_S))
                try:
                    self._greet(connection, party)
                except OSError as error:
                    raise _explained(error, party.name) from None
        except BaseException as error:
            self.found.put(error)
        finally:
            strangers.release()

    def _admit(self, raw: socket.socket) -> tuple[ssl.SSLSocket, Party] | None:
        """TLS with one of the parties that are awaited; None for anybody else."""
        connection: socket.socket = raw
        party = None
        try:
            der = shown(raw, "a stranger")
            pin = pin_of(der)
            party = next((party for party in self.after if party.pin == pin), None)
            if party is not None:
                show(raw, self.der)
                secure = secured(raw, self.identity, der, is_server=True)
                connection = self._kept(secure, raw)
                prove(secure, party.pin, party.name)
                return secure, party
            show(raw, b"")
        except ssl.SSLCertVerificationError as error:
            if party is not None and error.verify_code in _BY_DATE:
                # True whoever shows it: the certificate is the pinned one, and its time is over.
                self._forget(connection)
                raise _explained(error, party.name) from None
        except (OSError, TacitError, ValueError):
            pass
        with self.lock:
            self.refused += 1
        self._forget(connection)
        return None

    def _greet(self, connection: ssl.SSLSocket, party: Party) -> None:
        """The hellos with a party that has proven who it is."""
        mine = replace(self.hello, listener=self.parties.index(party))
        connection.sendall(write_hello(mine))
        theirs = read_hello(self._hear(connection, party.name), party.name)
        if (differs := disagreement(mine, theirs, party.name)) is not None:
            raise differs
        with self.lock:
            halves = self.halves[party.name]
            is_double = theirs.direction in halves
            if not is_double:
                halves[theirs.direction] = connection
        if is_double:
            raise party_error(
                PeerMisbehavedError,
                party.name,
                f"`{party.name}` connected twice",
                hint="two processes run as this party, or one was started again: use a new session",
            )
        connection.sendall(_READY)
        if len(halves) == 2 and theirs.direction == TO_DIALER:
            self.found.put((party.name, halves[TO_DIALER], halves[FROM_DIALER]))

    @staticmethod
    def _hear(connection: ssl.SSLSocket, who: str) -> bytes:
        prefix = read_exactly(connection, PREFIX_BYTES, who)
        return prefix + read_exactly(connection, body_length(prefix, who), who)

    def _kept(self, connection: _Socket, instead: socket.socket | None = None) -> _Socket:
        """The connection, which is cut when the meeting ends without it."""
        with self.lock:
            self.open = (self.open - {instead}) | {connection}
            if not self.over.is_set():
                return connection
        connection.close()
        raise ConnectionAbortedError

    def _forget(self, connection: socket.socket) -> None:
        """Closes a connection so that what was said last arrives: after the other side has closed, or a moment."""
        with contextlib.suppress(OSError, ValueError):
            connection.settimeout(_LINGER_S)
            raw = socket.socket(fileno=connection.detach())
            with raw:
                raw.settimeout(_LINGER_S)
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(4096):
                    pass

    def _absent(self, peer: str) -> PeerTimeoutError:
        strangers = f"; {self.refused} connections of others were refused" if self.refused else ""
        return party_error(
            PeerTimeoutError,
            peer,
            f"`{peer}` did not join within {self.limits.connect_s:g} s{strangers}",
            hint=f"start `{peer}`; it needs this contract, the address of this party, and the key that is pinned",
        )


def _explained(error: BaseException, who: str) -> TacitError:
    found = tls.explain(error, who)
    found.party = who
    return found
