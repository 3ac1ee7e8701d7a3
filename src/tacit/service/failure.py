"""Errors on their way between processes: a code that both ends know, a text and a hint; never an object."""

from __future__ import annotations

from tacit import errors
from tacit.errors import InternalError, MissingKeyError, ModelError, TacitError
from tacit.service.frames import Frame

__all__ = ["LostKeysError", "error_of", "failure"]

MAX_TEXT = 2000
CODES = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, TacitError)
}


class LostKeysError(MissingKeyError):
    """Keys whose file in the store is gone or cannot be read any more: nothing brings them back.

    For callers of a server a ``MissingKeyError`` like every other; only this one says that the entry is of no use.
    """


def failure(error: TacitError, **fields: int) -> Frame:
    """The frame that tells of an error."""
    told = {"code": error.code, "message": str(error)[:MAX_TEXT], "hint": error.hint[:MAX_TEXT]}
    lost = {"lost": True} if isinstance(error, LostKeysError) else {}
    return Frame("failed", {**fields, **told, **lost})


def error_of(frame: Frame) -> TacitError:
    """The error that a frame tells of."""
    code, message, hint = (frame.fields.get(key) for key in ("code", "message", "hint"))
    if type(code) is not str or type(message) is not str or type(hint) is not str or code not in CODES:
        return InternalError("a process of the pool told of an error that is not understood")
    kind = CODES[code]
    if kind is MissingKeyError and frame.fields.get("lost") is True:
        return LostKeysError(message, hint=hint)
    try:
        return kind(message, hint=hint)
    except TypeError:  # a class with facts of its own, as of models that are read: its base tells enough
        return (
            ModelError(message, hint=hint) if issubclass(kind, ModelError) else TacitError(message, hint=hint)
        )
