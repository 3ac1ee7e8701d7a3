"""Names of hosts become addresses within a time limit, and connections go to the addresses.

The system's resolver cannot be told when to end: it may wait half a minute for a name server that is gone. It runs in a
thread that is left alone when the time is up; callers who ask for the same name meanwhile wait for the same thread.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import httpx

from tacit.errors import ConnectError

__all__ = ["REMAINING", "RESOLVE_S", "ByAddress", "Place", "resolved"]

REMAINING = "tacit.remaining_s"
"""Extension of a request: seconds until its deadline."""

RESOLVE_S = 10.0
"""Two name servers that are asked for five seconds each, which is what systems usually do."""
REMEMBERED_S = 30.0
"""How long an address that answered is used again without a question: as long as an idle connection is kept."""

Place = tuple[Any, Any, int, str, Any]
"""Family, kind, protocol, canonical name and address, as `socket.getaddrinfo` gives them."""

_lock = threading.Lock()
_running: dict[tuple[str, int], Future[list[Place]]] = {}


def resolved(host: str, port: int, *, within_s: float = RESOLVE_S) -> list[Place]:
    """Where a host is, at least one place. Raises ``ConnectError`` for a name that is unknown, or not known in time:
    then its cause is a ``TimeoutError``.
    """
    try:
        found = _lookup(host, port).result(max(0.0, within_s))
        if not found:
            raise ConnectError(f"the name `{host}` has no address", hint="check its spelling")
        return found
    except TimeoutError as error:
        raise ConnectError(
            f"the name `{host}` has no address after {within_s:.3g} s: the name server of this machine does not answer",
            hint="check the network and the name server of this machine, or use the provider's address",
        ) from error
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise ConnectError(
                f"the name `{host}` cannot be looked up now: no name server answers",
                hint="check the network and the name server of this machine",
            ) from error
        raise ConnectError(
            f"the name `{host}` is not known",
            hint="check its spelling, and that this machine's name server knows it",
        ) from error
    except RuntimeError as error:
        raise ConnectError(
            f"the name `{host}` cannot be looked up: this machine starts no more threads",
            hint="end what you can spare, or raise the limit of processes",
        ) from error
    except (OSError, UnicodeError) as error:
        raise ConnectError(f"the name `{host}` cannot be looked up", hint="check its spelling") from error


def _lookup(host: str, port: int) -> Future[list[Place]]:
    with _lock:
        found = _running.get((host, port))
        if found is not None:
            return found
        found = _running[host, port] = Future()

    def look() -> None:
        places, failure = list[Place](), None
        try:
            places = list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except BaseException as error:
            failure = error
        with _lock:
            del _running[host, port]
        if failure is None:
            found.set_result(places)
        else:
            found.set_exception(failure)

    try:
        # A daemon: a program that ends does not wait for a name server.
        threading.Thread(target=look, name="tacit-resolver", daemon=True).start()
    except RuntimeError as error:
        with _lock:
            del _running[host, port]
        found.set_exception(error)  # for those too who came meanwhile
    return found


def _begin_anew() -> None:
    """After a fork: the threads that look are not in the new process, and one that is not there may have the lock."""
    global _lock
    _lock = threading.Lock()
    _running.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_begin_anew)


class ByAddress(httpx.BaseTransport):
    """Sends requests to the addresses of their host, one after the other until one takes the connection.

    The host of a request stays in `Host` and is what the certificate must be for. Raises ``ConnectError`` for names;
    looking up and connecting end by the deadline.
    """

    def __init__(self, inner: httpx.BaseTransport, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._inner = inner
        self._clock = clock
        self._last: tuple[str, float] | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        host, remembered, now = request.url.host, self._last, self._clock()
        if _is_address(host):
            return self._inner.handle_request(request)
        due = now + request.extensions.get(REMAINING, float("inf"))
        if remembered is not None and now - remembered[1] < REMEMBERED_S:
            self._last = None
            return self._sent(request, remembered[0], due)
        return self._tried(request, self._addresses(request, due), due)

    def close(self) -> None:
        self._inner.close()

    def _addresses(self, request: httpx.Request, due: float) -> list[str]:
        limit = min(RESOLVE_S, due - self._clock())
        port = request.url.port or {"https": 443, "http": 80}[request.url.scheme]
        found = [str(place[4][0]) for place in resolved(request.url.host, port, within_s=limit)]
        # An address with a zone is one of this link only, and no part of a URL.
        usable = list(dict.fromkeys(address for address in found if _is_address(address)))
        if not usable:
            raise ConnectError(f"the name `{request.url.host}` has no address that can be used")
        return usable

    def _tried(self, request: httpx.Request, addresses: list[str], due: float) -> httpx.Response:
        for address in addresses[:-1]:
            try:
                return self._sent(request, address, due)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if _is_tls(error) or self._clock() >= due:  # who answers there was reached
                    raise
        return self._sent(request, addresses[-1], due)

    def _sent(self, request: httpx.Request, address: str, due: float) -> httpx.Response:
        times = dict(request.extensions.get("timeout", {}))
        if times.get("connect") is not None:
            times["connect"] = max(0.001, min(times["connect"], due - self._clock()))
        sent = httpx.Request(
            request.method,
            request.url.copy_with(host=address),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "timeout": times, "sni_hostname": request.url.host},
        )
        response = self._inner.handle_request(sent)
        self._last = (address, self._clock())
        return response


def _is_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")) is not None and "%" not in host
    except ValueError:
        return False


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
