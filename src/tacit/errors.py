"""Everything that Tacit raises on purpose.

TacitError                       base; ``code`` (stable), ``hint`` (what to do); never a user's value
├── UsageError                   the caller's mistake
│   ├── DataError                the data: NaN, wrong type, unreadable file
│   │   └── DataRangeError       a value outside the region that the plan was promised for
│   ├── ShapeError               an array of another shape than the model or the operation takes
│   ├── ModelError               the model file or object cannot be read or is not supported as a whole
│   │   └── UnsupportedOpError   ``node``, ``op``, ``opset``
│   ├── InvalidParameterError    a parameter outside its range
│   │   ├── LevelError           operands of levels that do not fit, or no level left
│   │   ├── ScaleError           operands of scales that do not fit
│   │   └── MissingKeyError      an evaluation key that the operation needs is not there
│   ├── KeyFileError             a file of keys: permissions, passphrase, damage
│   ├── TooLargeError            a request is larger than what a service reads
│   ├── MediaTypeError           a body of a kind that a path of a service does not take
│   └── InsecureParameterError   parameters understood and refused
├── PlanError
│   ├── NoAdmissiblePlanError    ``reasons``: one line per protection tried
│   ├── PrecisionError           the promised bound cannot be met, or was not met
│   │   ├── PlanCheckError       a plan broke its promise on calibration samples: ``node``, ``excess``
│   │   └── HiddenRangeError     hidden values of a sample left the ranges that the bound relies on
│   ├── DepthError               the graph is deeper than any secure parameter set allows
│   ├── RevealError              an opening of a secret that the plan does not list, or that was made before
│   └── MemoryLimitError         no plan fits into the provider's memory: ``wanted_bytes``
├── PeerError                    another party; ``party``: its name in a session of several
│   ├── ConnectError             no way to the other party: name, network, connection lost
│   │   └── TlsError             the secured connection: certificate expired, for another host, of an unknown CA
│   ├── PeerTimeoutError         no answer in time
│   ├── AccessDeniedError        who asks is not known there, or may not do this
│   ├── BusyError                full or draining: ``retry_after_s``
│   │   ├── RateLimitError       too many requests of one client: ``retry_after_s``
│   │   └── WorkerLostError      the process that computed the request ended
│   ├── QuotaError               more than the other party stores for one client, or at all
│   │   └── StoreFullError       the other party's store has no room now
│   ├── StoreFailedError         the other party's store cannot read or write its disk
│   ├── OffsetError              a piece of an upload that does not continue it: ``offset``
│   ├── NotServedError           a model or plan that the other party does not have, or no longer
│   ├── ClockSkewError           the clocks of both sides differ too much: ``skew_s``
│   ├── PlanChangedError         the provider offers other plans than those that the owner's keys are for
│   ├── PlanRefusedError         a plan that would not protect the owner as asked: ``findings``
│   ├── PeerIncompatibleError    version, parameters or plan differ
│   └── PeerMisbehavedError      a message that no honest peer sends
│       ├── MalformedMessageError  truncated, tampered, non-canonical or oversized bytes
│       └── ReplayError          a message that came before
└── InternalError                a bug of ours; says so and asks for a report
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AccessDeniedError",
    "BusyError",
    "ClockSkewError",
    "ConnectError",
    "DataError",
    "DataRangeError",
    "DepthError",
    "HiddenRangeError",
    "InsecureParameterError",
    "InternalError",
    "InvalidParameterError",
    "KeyFileError",
    "LevelError",
    "MalformedMessageError",
    "MediaTypeError",
    "MemoryLimitError",
    "MissingKeyError",
    "ModelError",
    "NoAdmissiblePlanError",
    "NotServedError",
    "OffsetError",
    "PeerError",
    "PeerIncompatibleError",
    "PeerMisbehavedError",
    "PeerTimeoutError",
    "PlanChangedError",
    "PlanCheckError",
    "PlanError",
    "PlanRefusedError",
    "PrecisionError",
    "QuotaError",
    "RateLimitError",
    "ReplayError",
    "RevealError",
    "ScaleError",
    "ShapeError",
    "StoreFailedError",
    "StoreFullError",
    "TacitError",
    "TlsError",
    "TooLargeError",
    "UnsupportedOpError",
    "UsageError",
    "WorkerLostError",
]


class TacitError(Exception):
    """Base of every error that Tacit raises on purpose.

    ``code`` is stable across versions; ``hint`` says what to do, or is empty.
    """

    code: ClassVar[str] = "tacit"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(TacitError):
    """The caller's mistake."""

    code = "usage"


class DataError(UsageError):
    """The data cannot be used: NaN, infinity, wrong type, or an unreadable file."""

    code = "data"


class DataRangeError(DataError):
    """A value lies outside the region for which the plan promised its error bound."""

    code = "data-range"


class ShapeError(UsageError):
    """An array has another shape than the model or the operation takes."""

    code = "shape"


class ModelError(UsageError):
    """A model file or object cannot be read, or is not supported as a whole."""

    code = "model"


class UnsupportedOpError(ModelError):
    """A node of the model uses an operator that Tacit does not run."""

    code = "unsupported-op"

    def __init__(self, message: str, *, node: str, op: str, opset: int | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.node = node
        self.op = op
        self.opset = opset


class InvalidParameterError(UsageError):
    """A parameter is outside its range."""

    code = "invalid-parameter"


class LevelError(InvalidParameterError):
    """Levels of the operands do not fit, or no level is left."""

    code = "level"


class ScaleError(InvalidParameterError):
    """Scales of the operands do not fit."""

    code = "scale"


class MissingKeyError(InvalidParameterError):
    """An evaluation key that the operation needs is not there."""

    code = "missing-key"


class KeyFileError(UsageError):
    """A file of keys cannot be used: readable by others, damaged, or sealed by another passphrase."""

    code = "key-file"


class TooLargeError(UsageError):
    """A request is larger than what a service reads."""

    code = "too-large"


class MediaTypeError(UsageError):
    """A body of a kind that a path of a service does not take."""

    code = "media-type"


class InsecureParameterError(UsageError):
    """Parameters that were understood and refused because they fall short of 128 bit security."""

    code = "insecure-parameter"


class PlanError(TacitError):
    """No way was found to run this model as asked."""

    code = "plan"


class NoAdmissiblePlanError(PlanError):
    """Every protection that was tried was refused; ``reasons`` has one line for each."""

    code = "no-admissible-plan"

    def __init__(self, message: str, *, reasons: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reasons = reasons


class PrecisionError(PlanError):
    """The promised error bound cannot be met, or a result failed its check."""

    code = "precision"


class PlanCheckError(PrecisionError):
    """A plan was tried on calibration samples before it was handed out, and broke its promise.

    ``node``: whose values left their interval, empty where none did; ``excess``: by how many times.
    """

    code = "plan-check"

    def __init__(self, message: str, *, node: str = "", excess: float = 0.0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.node = node
        self.excess = excess


class HiddenRangeError(PrecisionError):
    """Hidden values of a sample left the ranges of the calibration data, on which the promised bound relies."""

    code = "hidden-range"


class DepthError(PlanError):
    """The graph is deeper than any secure parameter set allows."""

    code = "depth"


class RevealError(PlanError):
    """A secret was to be revealed under a name that the plan does not list, or that was revealed before."""

    code = "reveal"


class MemoryLimitError(PlanError):
    """No plan fits into the memory that the provider may take; ``wanted_bytes`` is what the smallest takes."""

    code = "memory-limit"

    def __init__(self, message: str, *, wanted_bytes: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.wanted_bytes = wanted_bytes


class PeerError(TacitError):
    """Another party, or what it sent, is at fault; ``party``: its name in the session, where there is one."""

    code = "peer"
    party: str = ""


class ConnectError(PeerError):
    """There is no way to the other party: its name, the network, or a connection that was lost."""

    code = "connect"


class TlsError(ConnectError):
    """No secured connection: a certificate that expired, is for another host, or of an authority that is unknown."""

    code = "tls"


class PeerTimeoutError(PeerError):
    """The other party did not answer in time, or dropped work whose deadline had passed."""

    code = "peer-timeout"


class AccessDeniedError(PeerError):
    """The other party does not know who asks, or does not allow it."""

    code = "access-denied"


class BusyError(PeerError):
    """The other party is full or about to end; ``retry_after_s``: when it expects room, if it says so."""

    code = "busy"

    def __init__(self, message: str, *, retry_after_s: float | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint or "try again later")
        self.retry_after_s = retry_after_s


class RateLimitError(BusyError):
    """One client asks more often than it may; ``retry_after_s``: when it may ask again."""

    code = "rate-limit"


class WorkerLostError(BusyError):
    """The process that computed the request ended before it answered; another one takes its place."""

    code = "worker-lost"


class QuotaError(PeerError):
    """More than the other party stores for one client, or at all."""

    code = "quota"


class StoreFullError(QuotaError):
    """The other party's store has no room now: its disk is full, or what it holds is in use."""

    code = "store-full"


class StoreFailedError(PeerError):
    """The other party's store of keys cannot read or write its disk."""

    code = "store-failed"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(
            message, hint=hint or "ask the provider's operator to look at the disk and folder of `--store`"
        )


class OffsetError(PeerError):
    """A piece of an upload that does not continue what is there; ``offset``: where it goes on, in bytes."""

    code = "upload-offset"

    def __init__(self, message: str, *, offset: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint or "ask for the offset, and continue from there")
        self.offset = offset


class NotServedError(PeerError):
    """A model or plan that the other party does not have, or has no longer."""

    code = "not-served"


class ClockSkewError(PeerError):
    """The clocks of both sides differ too much; ``skew_s``: seconds by which the client's is ahead."""

    code = "clock-skew"

    def __init__(self, message: str, *, skew_s: float = 0.0, hint: str = "") -> None:
        super().__init__(
            message,
            hint=hint or "set both clocks by the network (NTP); a clock that lags hides replayed messages",
        )
        self.skew_s = skew_s


class PlanChangedError(PeerError):
    """The provider offers other plans than those that the owner's keys were made for."""

    code = "plan-changed"


class PlanRefusedError(PeerError):
    """A plan that was understood and refused: it would not protect the owner as asked; ``findings`` says why."""

    code = "plan-refused"

    def __init__(self, message: str, *, findings: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.findings = findings


class PeerIncompatibleError(PeerError):
    """Version, parameters or plan of the other party differ."""

    code = "peer-incompatible"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint or "both sides need the same version of Tacit, plan and keys")


class PeerMisbehavedError(PeerError):
    """The other party sent a message that no honest peer sends."""

    code = "peer-misbehaved"


class MalformedMessageError(PeerMisbehavedError):
    """Bytes that are truncated, tampered with, non-canonical, degenerate or too large."""

    code = "malformed-message"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(
            message, hint=hint or "ask the sender for the same bytes again, and check the channel"
        )


class ReplayError(PeerMisbehavedError):
    """A message that came before, or is older than the time for which messages are remembered."""

    code = "replay"


class InternalError(TacitError):
    """A bug of ours; please report it."""

    code = "internal"

    def __init__(
        self, message: str, *, hint: str = "please report this with the command that led here"
    ) -> None:
        super().__init__(message, hint=hint)
