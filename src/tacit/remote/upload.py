"""Evaluation keys on their way to a provider: in pieces, resumed where a cut left them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tacit.errors import (
    KeyFileError,
    MissingKeyError,
    NotServedError,
    OffsetError,
    PeerMisbehavedError,
    PeerTimeoutError,
)
from tacit.net import wire
from tacit.net.envelope import client_header
from tacit.remote.session import Reply, Session

__all__ = ["delete_keys", "upload_keys", "uploaded"]

PIECE_BYTES = 4 << 20
"""Of one call: small enough that a slow line makes progress, large enough that round trips do not count."""
MAX_CORRECTIONS = 8
"""Times in a row that a provider may name another place to go on without taking a byte."""

Progress = Callable[[float], None]


def upload_keys(
    session: Session,
    path: Path,
    *,
    digest: str,
    client: bytes,
    model: str,
    plan: str,
    timeout_s: float,
    progress: Progress = lambda done: None,
) -> int:
    """Brings the keys in the file ``path`` to the provider, from where it has them; the bytes that were sent.

    ``digest``: SHA-256 of the file, in hexadecimal. ``timeout_s``: for every piece, so that a slow line is no
    failure as long as it moves. Raises ``QuotaError``, ``BusyError``, and whatever a session raises.
    """
    length = _size(path)
    # A slow line or a cut costs pieces twice; a provider that asks for more than that only wants to be sent to.
    most = 2 * length + 8 * PIECE_BYTES
    calls_left = 16 * (length // PIECE_BYTES + 4)
    place, base = wire.PATHS["keys"].format(digest=digest), {wire.CLIENT: client_header(client)}
    offset, sent, corrections = (
        uploaded(session, digest, length=length, client=client, timeout_s=timeout_s),
        0,
        0,
    )
    while offset is not None:
        progress(offset / length)
        try:
            with path.open("rb") as file:
                file.seek(offset)
                piece = file.read(min(PIECE_BYTES, length - offset))
        except OSError as error:
            raise KeyFileError(f"cannot read `{path}`: {(error.strerror or 'failed').lower()}") from None
        here, done = offset, 0

        def moved(count: int, here: int = here) -> None:
            nonlocal done
            done += count
            progress(min(1.0, (here + done) / length))

        headers = {
            **base,
            wire.MODEL: model,
            wire.PLAN: plan,
            wire.UPLOAD_OFFSET: str(offset),
            wire.UPLOAD_LENGTH: str(length),
            "Content-Type": "application/octet-stream",
        }
        deadline = session.clock() + timeout_s
        late: PeerTimeoutError | None = None
        try:
            reply = _send(session, place, headers, piece, deadline, moved)
        except OffsetError:
            reply = None
        except PeerTimeoutError as error:
            reply, late = None, error
        sent += done
        offset = _next(session, reply, digest, length=length, client=client, timeout_s=timeout_s)
        if late is not None and offset is not None and offset <= here:
            raise late
        corrections = corrections + 1 if offset is not None and offset <= here else 0
        calls_left -= 1
        if offset is not None and (corrections > MAX_CORRECTIONS or sent > most or not calls_left):
            raise PeerMisbehavedError(
                "the provider does not take the evaluation keys: it asks for the same bytes again and again",
                hint="ask its operator",
            )
    progress(1.0)
    return sent


def uploaded(session: Session, digest: str, *, length: int, client: bytes, timeout_s: float) -> int | None:
    """Bytes of the keys that the provider has, ``None`` if it has all of them and checked them."""
    deadline = session.clock() + timeout_s
    try:
        reply = session.patiently(
            lambda: session.ask(
                "HEAD",
                wire.PATHS["keys"].format(digest=digest),
                deadline=deadline,
                headers={wire.CLIENT: client_header(client)},
            ),
            deadline=deadline,
        )
    except (MissingKeyError, NotServedError):
        return 0
    return _offset(reply, length)


def delete_keys(session: Session, digest: str, *, client: bytes, timeout_s: float) -> bool:
    """Whether the provider had these keys; it has them no longer."""
    deadline = session.clock() + timeout_s
    try:
        session.patiently(
            lambda: session.ask(
                "DELETE",
                wire.PATHS["keys"].format(digest=digest),
                deadline=deadline,
                headers={wire.CLIENT: client_header(client)},
            ),
            deadline=deadline,
        )
    except (MissingKeyError, NotServedError):
        return False
    return True


def _send(
    session: Session,
    place: str,
    headers: dict[str, str],
    piece: bytes,
    deadline: float,
    moved: Callable[[int], None],
) -> Reply:
    # A repeated piece that had arrived before is answered with the place to go on: nothing is written twice.
    return session.patiently(
        lambda: session.ask("PATCH", place, deadline=deadline, headers=headers, parts=[piece], sent=moved),
        deadline=deadline,
    )


def _next(
    session: Session, reply: Reply | None, digest: str, *, length: int, client: bytes, timeout_s: float
) -> int | None:
    if reply is not None and reply.status == 201:
        return None
    if reply is not None and reply.headers.get(wire.UPLOAD_OFFSET) is not None:
        return _offset(reply, length)
    return uploaded(session, digest, length=length, client=client, timeout_s=timeout_s)


def _offset(reply: Reply, length: int) -> int | None:
    if reply.headers.get(wire.UPLOAD_COMPLETE) == "?1":
        return None
    text = reply.headers.get(wire.UPLOAD_OFFSET, "")
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text) <= length):
        raise PeerMisbehavedError(
            "the provider does not say how much of the keys it has", hint="ask its operator"
        )
    return int(text)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise KeyFileError(f"cannot read `{path}`: {(error.strerror or 'failed').lower()}") from None
