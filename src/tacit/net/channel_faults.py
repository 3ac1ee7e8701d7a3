"""What a channel says when a session ends early: which party, and why, in its own words and in those of the others."""

from __future__ import annotations

from typing import TypeVar

from tacit.errors import (
    ConnectError,
    MalformedMessageError,
    PeerError,
    PeerIncompatibleError,
    PeerMisbehavedError,
    PeerTimeoutError,
    ReplayError,
    TacitError,
    TlsError,
)

__all__ = ["again", "cut", "ended", "late", "party_error", "reason_of", "silent", "stuck", "told_by"]

Kind = TypeVar("Kind", bound=PeerError)

_TOLD = {
    kind.code: kind
    for kind in (
        ConnectError,
        MalformedMessageError,
        PeerError,
        PeerIncompatibleError,
        PeerMisbehavedError,
        PeerTimeoutError,
        ReplayError,
        TlsError,
    )
}
"""What one party may say of another."""
_MAX_TEXT = 300


def party_error(kind: type[Kind], party: str, text: str, *, hint: str) -> Kind:
    """An error about ``party``."""
    error = kind(text, hint=hint)
    error.party = party
    return error


def again(error: PeerError) -> PeerError:
    """The same error, to be raised once more."""
    return party_error(type(error), error.party, str(error), hint=error.hint)


def late(peer: str, tag: str, timeout_s: float) -> PeerTimeoutError:
    """A party that lives and is slow."""
    return party_error(
        PeerTimeoutError,
        peer,
        f"`{peer}` lives, but did not send `{tag}` within {timeout_s:g} s",
        hint="its step takes longer than the time that was given: raise `operation_s`, or look at its load",
    )


def stuck(peer: str, timeout_s: float) -> PeerTimeoutError:
    """A party that lives and takes no messages."""
    return party_error(
        PeerTimeoutError,
        peer,
        f"`{peer}` lives, but did not take what was sent to it within {timeout_s:g} s",
        hint="it computes, or waits for another party; raise `operation_s`, or look at its load",
    )


def silent(peer: str, silence_s: float) -> PeerTimeoutError:
    """A party that is dead, stopped, or behind a network that lost it."""
    return party_error(
        PeerTimeoutError,
        peer,
        f"`{peer}` has been silent for {silence_s:g} s: no message and no heartbeat",
        hint="its process is stopped, its machine is down, or the network between is cut",
    )


def cut(peer: str, *, within: bool = False) -> ConnectError:
    """A connection that ended without a farewell; ``within``: in the middle of a message."""
    where = " in the middle of a message" if within else ""
    return party_error(
        ConnectError,
        peer,
        f"`{peer}` ended the connection{where} without saying why",
        hint="its process died, or the network between cut the connection",
    )


def ended(peer: str, what: str) -> ConnectError:
    """A party that closed the session in order, too early for this one."""
    return party_error(
        ConnectError,
        peer,
        f"`{peer}` closed the session and {what}",
        hint="the parties are out of step: compare versions and plans",
    )


def reason_of(error: BaseException) -> tuple[str, str, str]:
    """Code, party and text that the others are told. The text of an error that is not about a party stays here."""
    if isinstance(error, PeerError) and error.party:
        return error.code, error.party, str(error)[: 2 * _MAX_TEXT]
    return (error.code if isinstance(error, TacitError) else "internal"), "", ""


def told_by(teller: str, reason: tuple[str, str, str], parties: tuple[str, ...]) -> PeerError:
    """The error for the reason that ``teller`` gave; no other words of it are taken over than printable ones."""
    code, party, text = ("".join(sign if sign.isprintable() else " " for sign in part) for part in reason)
    if party in parties and code in _TOLD and text:
        # Who relays what a third party found leaves its words as they are.
        words = text[: 2 * _MAX_TEXT] if "(told by `" in text else f"{text[:_MAX_TEXT]} (told by `{teller}`)"
        return party_error(_TOLD[code], party, words, hint=f"look at the log of `{party}`")
    return party_error(
        PeerError,
        teller,
        f"`{teller}` ended the session" + (f": {code[:40]}" if code else ""),
        hint=f"look at the log of `{teller}`",
    )
