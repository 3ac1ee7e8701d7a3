"""Who sees what in the clear: the rows that every declaration must answer."""

from __future__ import annotations

from tacit.backends.base import Declaration
from tacit.errors import InternalError

__all__ = ["ROLES", "SUBJECTS", "check_visibility", "who_sees"]

ROLES = ("owner", "provider", "parties")
"""``owner`` brought the inputs, ``provider`` brought the model; ``parties`` are all those that compute together."""

SUBJECTS = ("inputs", "model weights", "model structure", "outputs")
"""Things that a declaration must place; it may name more."""


def check_visibility(declaration: Declaration) -> None:
    """Raises ``InternalError`` for a declaration that leaves a subject open or names an unknown role."""
    named = {sight.what for sight in declaration.sights}
    missing = [subject for subject in SUBJECTS if subject not in named]
    unknown = sorted({role for sight in declaration.sights for role in sight.who} - set(ROLES))
    if missing or unknown:
        raise InternalError(
            f"the declaration of `{declaration.protection}` leaves out {missing} and names the roles {unknown}"
        )


def who_sees(declaration: Declaration, what: str) -> str:
    """One cell of the table: roles, and the declaration's note."""
    for sight in declaration.sights:
        if sight.what == what:
            who = " and ".join(sight.who) if sight.who else "nobody"
            return f"{who} ({sight.note})" if sight.note else who
    return "nobody"
