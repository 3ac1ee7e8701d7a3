"""HTTP to one provider: sends, turns every failure into a typed error, and tries again where that is safe.

Every call of the protocol may be repeated: asking for a plan changes nothing, pieces of keys say where they
belong, and a prediction has no effect at the provider but its answer. What is repeated is sealed anew by the
caller, with a new id and time. After an answer arrived nothing is ever sent again by itself: a repeated
question that depends on what an answer decrypted to would tell the provider about it (SECURITY.md,
reactions).
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

from tacit.errors import (
    BusyError,
    ConnectError,
    DataError,
    InvalidParameterError,
    MalformedMessageError,
    MissingKeyError,
    PeerError,
    PeerMisbehavedError,
    PeerTimeoutError,
    PlanChangedError,
    PlanRefusedError,
    ShapeError,
    TacitError,
    TlsError,
    UsageError,
)
from tacit.net import tls, wire
from tacit.remote.address import Address
from tacit.remote.lane import Lane
from tacit.remote.resolver import REMAINING, ByAddress

__all__ = ["Reply", "Session", "json_of"]

CONNECT_S = 2.0
RECONNECT_S = 1.5
"""How long a connection that was refused or lost is tried again."""
LOSSES = 3
"""Times that one call may lose its connection: a request that ends a server must not end it again and again."""
STALL_S = 20.0
"""How long a peer may take nothing of what is sent."""
PIECE_BYTES = 1 << 16
MAX_JSON_BYTES = 4 << 20
MAX_PAUSE_S = 2.0
MAX_IDLE = 4
"""Connections that are kept open for the next calls."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Reply:
    """An answer of status 2xx."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Session:
    """Connections to one provider, kept and reused; safe to use from several threads.

    ``token``: bearer token. ``ca``: file of the authority that the provider's certificate must be of.
    ``cert``: (certificate, key) files of this client. Raises ``TlsError`` or ``InvalidParameterError`` for
    files that cannot be used.
    """

    def __init__(
        self,
        address: Address,
        *,
        token: str | None = None,
        ca: str | Path | None = None,
        cert: tuple[str | Path, str | Path] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.address = address
        self.clock = clock
        self.wall_clock = wall_clock
        self._sleep = sleep
        headers = {"Accept-Encoding": "identity", "User-Agent": f"tacit/{wire.PROTOCOL}"}
        if token is not None:
            if (
                not isinstance(token, str)
                or not token.isascii()
                or not token.isprintable()
                or " " in token
                or not token
            ):
                raise InvalidParameterError("the token must be a line of printable ASCII without spaces")
            headers["Authorization"] = f"Bearer {token}"
        context = None
        if address.scheme == "https":
            context = tls.client_context(
                ca=None if ca is None else Path(ca),
                cert=None if cert is None else (Path(cert[0]), Path(cert[1])),
                host=address.host,
            )
        elif ca is not None or cert is not None:
            raise InvalidParameterError("certificates are for `https://` only")
        self._context, self._headers = context, headers
        self._idle: list[Lane] = []
        self._busy: set[Lane] = set()
        self._is_closed = False
        self._lock = threading.Lock()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            lanes, self._idle = [*self._idle, *self._busy], []
        for lane in lanes:
            lane.close()

    def ask(
        self,
        method: str,
        path: str,
        *,
        deadline: float,
        headers: Mapping[str, str] | None = None,
        parts: Sequence[bytes | memoryview] = (),
        limit: int = MAX_JSON_BYTES,
        sent: Callable[[int], None] | None = None,
    ) -> Reply:
        """One attempt, which ends by the deadline whatever the provider does. ``deadline``: by ``clock``;
        ``limit``: most bytes of the answer; ``sent``: told bytes as they go out.

        Raises a ``PeerError`` by cause, or ``MissingKeyError``.
        """
        remaining = deadline - self.clock()
        if remaining <= 0:
            raise self._late()
        request_headers = {
            wire.REQUEST_ID: secrets.token_hex(16),
            wire.TIMEOUT_MS: str(max(1, int(remaining * 1000))),
            **(headers or {}),
        }
        content = None
        if parts:
            request_headers["Content-Length"] = str(sum(map(len, parts)))
            content = self._until(deadline, pieces(parts, sent))
        timeout = httpx.Timeout(
            connect=min(CONNECT_S, remaining), read=remaining, write=min(STALL_S, remaining), pool=remaining
        )
        with self._lane() as lane:
            try:
                with (
                    lane.within(remaining) as extensions,
                    lane.client.stream(
                        method,
                        f"{self.address.origin}{path}",
                        headers=request_headers,
                        content=content,
                        timeout=timeout,
                        extensions={**extensions, REMAINING: remaining},
                    ) as response,
                ):
                    body = self._body(response, limit, deadline)
            except httpx.TransportError as error:
                raise (self._late() if lane.is_late else self._failure(error)) from error
            except httpx.InvalidURL:
                raise MalformedMessageError("a name of the provider is not fit for an address") from None
        if response.status_code >= 300:
            raise self._refusal(response, body)
        return Reply(response.status_code, response.headers, body)

    def patiently(self, attempt: Callable[[], Result], *, deadline: float) -> Result:
        """What ``attempt`` gives, tried again while connections are lost, or the provider asks to come later.

        Lost connections for `RECONNECT_S` at most; a provider that is busy until the deadline. Everything
        else is raised as it comes, a name that was not found in time too.
        """
        lost_at: float | None = None
        losses = waits = 0
        while True:
            try:
                return attempt()
            except TlsError:
                raise
            except ConnectError as error:
                if isinstance(error.__cause__, TimeoutError):
                    raise  # a name that no name server knew in all its time (`resolver.resolved`)
                now = self.clock()
                began = lost_at if lost_at is not None and now - lost_at < 2 * RECONNECT_S else now
                lost_at, losses = began, losses + 1
                pause = min(0.05 * 2**losses, 0.5)
                if losses > LOSSES or now - began + pause > RECONNECT_S or now + pause > deadline:
                    raise
            except BusyError as error:
                waits += 1
                pause = min(0.05 * 2**waits, MAX_PAUSE_S) * (0.75 + secrets.randbelow(512) / 1024)
                pause = pause if error.retry_after_s is None else max(pause, error.retry_after_s)
                if self.clock() + pause > deadline:
                    raise
            self._sleep(pause)

    def _body(self, response: httpx.Response, limit: int, deadline: float) -> bytes:
        """Never more than ``limit`` bytes, whatever the headers say; an encoded body is refused, it could
        grow."""
        if response.headers.get("content-encoding", "identity") != "identity":
            raise PeerMisbehavedError("the provider sent a compressed answer, which was not asked for")
        found: list[bytes] = []
        size = 0
        for piece in response.iter_raw():
            size += len(piece)
            if size > (limit if response.status_code < 300 else min(limit, wire.MAX_ERROR_BYTES)):
                raise PeerMisbehavedError(f"the provider's answer is over the limit of {limit} bytes")
            if self.clock() > deadline:
                raise self._late()
            found.append(piece)
        return b"".join(found)

    @contextlib.contextmanager
    def _lane(self) -> Iterator[Lane]:
        """A connection for one call; those that are well stay open for the next."""
        with self._lock:
            if self._is_closed:
                raise UsageError("the session was closed")
            lane = self._idle.pop() if self._idle else self._new_lane()
            self._busy.add(lane)
        try:
            yield lane
        finally:
            with self._lock:
                self._busy.discard(lane)
                is_kept = not (lane.is_late or self._is_closed) and len(self._idle) < MAX_IDLE
                if is_kept:
                    self._idle.append(lane)
            if not is_kept:
                lane.close()

    def _new_lane(self) -> Lane:
        proxy = proxy_for(self.address)
        transport: httpx.BaseTransport = httpx.HTTPTransport(
            verify=self._context if self._context is not None else False,
            proxy=proxy,
            socket_options=socket_options(),
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=30.0),
        )
        # A proxy looks the name up itself.
        return Lane(transport if proxy is not None else ByAddress(transport), self._headers)

    def _until(self, deadline: float, content: Iterator[bytes]) -> Iterator[bytes]:
        for piece in content:
            if self.clock() > deadline:
                raise self._late()
            yield piece

    def _late(self) -> PeerTimeoutError:
        return PeerTimeoutError(f"{self.address.origin} did not answer in time", hint=LONGER)

    def _refusal(self, response: httpx.Response, body: bytes) -> TacitError:
        """The error that the provider answered with; what only this side may find is never taken from the
        other."""
        if response.status_code < 400:
            return PeerError(
                f"{self.address.origin} answers with a redirection, which is not followed",
                hint="use the address that the provider gave you, with its scheme and port",
            )
        error = wire.error_from(response.status_code, body, response.headers)
        own = isinstance(error, (ConnectError, PlanChangedError, PlanRefusedError))
        if isinstance(error, (PeerError, MissingKeyError, ShapeError, DataError)) and not own:
            return error
        return PeerError(str(error), hint=error.hint)

    def _failure(self, error: httpx.TransportError) -> PeerError:
        place = f"{self.address.host}:{self.address.port}"
        cause = root(error)
        if isinstance(cause, (ssl.SSLError, ssl.CertificateError)):
            return tls.explain(cause, self.address.host)
        match error:
            case httpx.ConnectTimeout():
                return ConnectError(f"{place} does not answer within {CONNECT_S:g} s", hint=UNREACHABLE)
            case httpx.ProxyError():
                return ConnectError(
                    f"the proxy on the way to {place} refuses", hint="ask who runs your network"
                )
            case httpx.ConnectError():
                if isinstance(
                    cause, socket.gaierror
                ):  # of a proxy: the provider's name is looked up by itself
                    return ConnectError(
                        f"the name of the proxy on the way to {place} is not known",
                        hint="ask who runs your network",
                    )
                if isinstance(cause, ConnectionRefusedError):
                    return ConnectError(f"nothing listens at {place}", hint="is `tacit serve` running there?")
                return ConnectError(f"no connection to {place}: {reason(cause)}", hint=UNREACHABLE)
            case httpx.ReadTimeout() | httpx.PoolTimeout():
                return PeerTimeoutError(f"{place} did not answer in time", hint=LONGER)
            case httpx.WriteTimeout():
                return PeerTimeoutError(f"{place} took nothing for {STALL_S:g} s", hint="is it overloaded?")
            case httpx.RemoteProtocolError() | httpx.LocalProtocolError() if not_http(error):
                return PeerMisbehavedError(f"what answers at {place} does not speak HTTP", hint=UNREACHABLE)
        return ConnectError(
            f"the connection to {place} was lost", hint="try again; nothing was lost at the owner"
        )


LONGER = "raise `timeout_s` (`--timeout`), or ask the provider for a plan that takes less"
UNREACHABLE = "check host and port, and the firewalls on the way; `tacit doctor URL` shows how far it gets"


def json_of(reply: Reply) -> dict[str, Any]:
    """The JSON object of an answer. Raises ``MalformedMessageError``."""
    import json

    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise MalformedMessageError(
            "the provider's answer is no JSON object", hint="is this a provider of Tacit?"
        )
    return found


def pieces(parts: Sequence[bytes | memoryview], sent: Callable[[int], None] | None) -> Iterator[bytes]:
    """The parts in pieces that go out one after the other; ``sent`` hears of the ones before."""
    for part in parts:
        view = memoryview(part).cast("B")
        for start in range(0, len(view), PIECE_BYTES):
            piece = view[start : start + PIECE_BYTES]
            yield bytes(piece)
            if sent is not None:
                sent(len(piece))


def socket_options() -> list[tuple[int, int, int]]:
    """A host that vanishes while an answer is awaited is noticed after three seconds; small frames go at once.

    TCP_USER_TIMEOUT is left alone: it would also end connections to a provider that is only slow to read.
    """
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (("TCP_KEEPIDLE", 1), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 2)):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options


def proxy_for(address: Address) -> str | None:
    """The proxy that the environment names for a host that is not this machine."""
    if address.is_loopback or urllib.request.proxy_bypass(address.host):
        return None
    return urllib.request.getproxies().get(address.scheme)


def root(error: BaseException) -> BaseException:
    """The failure of the system or of TLS below an exception, else the exception."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError):
            return found
        found = found.__cause__ or found.__context__
    return error


def not_http(error: Exception) -> bool:
    return (
        isinstance(error, httpx.RemoteProtocolError)
        and "disconnected" not in str(error)
        and ("illegal" in str(error).lower() or "version" in str(error).lower())
    )


def reason(cause: BaseException) -> str:
    return (getattr(cause, "strerror", None) or "failed").lower()
