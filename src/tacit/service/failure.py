"""Errors on their way between processes: a code that both ends know, a text and a hint; never an object."""

from __future__ import annotations

from tacit import errors
from tacit.errors import InternalError, ModelError, TacitError
from tacit.service.frames import Frame

__all__ = ["error_of", "failure"]

MAX_TEXT = 2000
CODES = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, TacitError)
}


def failure(error: TacitError, **fields: int) -> Frame:
    """The frame that tells of an error."""
    told = {"code": error.code, "message": str(error)[:MAX_TEXT], "hint": error.hint[:MAX_TEXT]}
    return Frame("failed", {**fields, **told})


def error_of(frame: Frame) -> TacitError:
    """The error that a frame tells of."""
    code, message, hint = (frame.fields.get(key) for key in ("code", "message", "hint"))
    if type(code) is not str or type(message) is not str or type(hint) is not str or code not in CODES:
        return InternalError("a process of the pool told of an error that is not understood")
    kind = CODES[code]
    try:
        return kind(message, hint=hint)
    except TypeError:  # a class with facts of its own, as of models that are read: its base tells enough
        return (
            ModelError(message, hint=hint) if issubclass(kind, ModelError) else TacitError(message, hint=hint)
        )
