"""Between this organisation and its peers, step by step: how far it gets, what is in the way, what to do about it."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tacit.errors import ConnectError, PeerError, TacitError, TlsError
from tacit.net.channel_connect import listen
from tacit.net.channel_faults import party_error
from tacit.net.tls import expires_in_s, explain
from tacit.runtime.calls import call
from tacit.runtime.party import Organisation, Peer, load_party

__all__ = ["Step", "examine_party"]

T = TypeVar("T")
SOON_S = 14 * 86_400.0
"""A certificate that ends within two weeks is named."""


@dataclass(frozen=True)
class Step:
    """``state``: ok, failed or skipped. ``cause`` and ``fix`` of what failed."""

    name: str
    state: str
    seconds: float
    detail: str = ""
    cause: str = ""
    fix: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": self.state,
            "seconds": self.seconds,
            "detail": self.detail,
            "cause": self.cause,
            "fix": self.fix,
        }


def examine_party(path: Path, *, timeout_s: float) -> Iterator[Step]:
    """Steps in order: the file, the certificate, this party's own process, and each peer with its session port."""
    found: list[Organisation] = []
    yield _try("file", lambda: _read(path, found))
    if not found:
        return
    own = found[0]
    yield _try("certificate", lambda: _lasting(own))
    yield _try("up", lambda: _own(own, timeout_s))
    for peer in own.peers.values():
        yield _try(peer.name, lambda peer=peer: _peer(own, peer, timeout_s))  # type: ignore[misc]
    if not own.peers:
        yield Step("peers", "failed", 0.0, cause=f"`{path}` names no peer", fix="add `[peers.NAME]` for each")
    if not own.rules:
        yield Step(
            "accepts", "failed", 0.0, cause="no job is ever accepted here", fix="add an `[[accepts]]` table"
        )


def _try(name: str, work: Callable[[], str]) -> Step:
    start = time.perf_counter()
    try:
        detail = work()
    except TacitError as error:
        return Step(name, "failed", time.perf_counter() - start, cause=str(error), fix=error.hint)
    return Step(name, "ok", time.perf_counter() - start, detail=detail)


def _read(path: Path, found: list[Organisation]) -> str:
    own = load_party(path)
    found.append(own)
    return f"`{own.name}`, {own.pin}"


def _lasting(own: Organisation) -> str:
    left = expires_in_s(own.identity.certificate)
    if left < SOON_S:
        raise TlsError(
            f"the certificate of `{own.name}` ends in {left / 86_400:.0f} days",
            hint="make a new identity, and tell every peer its pin",
        )
    return f"good for {left / 86_400:.0f} days"


def _own(own: Organisation, timeout_s: float) -> str:
    """The process of this party, or, where it is not up, whether its ports are free."""
    try:
        call(own, own.me(), "who", {}, timeout_s=timeout_s)
    except ConnectError as error:
        if isinstance(error, TlsError):
            raise
        for port in (own.port, own.session_port):
            listen(own.host, port).close()
        return f"not up; `tacit party up` would listen at {own.host}:{own.port}"
    except PeerError as error:
        error.hint = f"another process listens at port {own.port}: stop it, or take another port"
        raise
    return f"up at {own.host}:{own.port}"


def _peer(own: Organisation, peer: Peer, timeout_s: float) -> str:
    start = time.perf_counter()
    found = call(own, peer, "who", {}, timeout_s=timeout_s).facts
    took = time.perf_counter() - start
    if found.get("name") != peer.name or found.get("caller") != own.name:
        raise party_error(
            PeerError,
            peer.name,
            f"`{peer.name}` calls itself `{found.get('name')}`, and this party `{found.get('caller')}`",
            hint="use the same names at both",
        )
    if found.get("session_port") != peer.session_port:
        raise party_error(
            ConnectError,
            peer.name,
            f"`{peer.name}` runs sessions at port {found.get('session_port')}, here it is {peer.session_port}",
            hint=f"write `session_port = {found.get('session_port')}` under `[peers.{peer.name}]`",
        )
    _session_port(peer, timeout_s)
    return f"{peer.host}:{peer.port}, {1000 * took:.0f} ms with TLS"


def _session_port(peer: Peer, timeout_s: float) -> None:
    """Between jobs nobody listens there: a refusal shows that the way is free, silence that something is between."""
    try:
        with socket.create_connection((peer.host, peer.session_port), timeout=timeout_s):
            pass
    except ConnectionRefusedError:
        return
    except OSError as error:
        found = explain(error, f"{peer.host}:{peer.session_port}")
        with contextlib.suppress(AttributeError):
            found.party = peer.name
        found.hint = f"sessions use port {peer.session_port}: let it through the firewall"
        raise found from None
