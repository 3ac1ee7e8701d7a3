"""Names and forms of the HTTP interface, one table for both sides: paths, headers, and errors as JSON and status.

An error travels as ``{"error", "code", "hint", "request_id"}`` and, where the class has facts, ``"details"``; ``code``
is the code of its class in ``tacit.errors``. The status follows from the code alone.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from tacit import errors
from tacit.errors import PeerError, TacitError

__all__ = [
    "CHALLENGE",
    "CLIENT",
    "CONTENT_LENGTH_OF_JSON",
    "MAX_PIECE_BYTES",
    "MODEL",
    "PATHS",
    "PLAN",
    "PROTOCOL",
    "REQUEST_ID",
    "RETRY_AFTER",
    "STATUS",
    "TIMEOUT_MS",
    "UPLOAD_COMPLETE",
    "UPLOAD_LENGTH",
    "UPLOAD_OFFSET",
    "error_body",
    "error_from",
    "error_headers",
    "is_request_id",
    "status_of",
]

PROTOCOL = 1
"""Version of the extension `tacit` of the protocol; another number is another protocol."""

CLIENT = "Tacit-Client"
MODEL = "Tacit-Model"
PLAN = "Tacit-Plan"
TIMEOUT_MS = "Tacit-Timeout-Ms"
REQUEST_ID = "X-Request-Id"
RETRY_AFTER = "Retry-After"
CHALLENGE = "WWW-Authenticate"
UPLOAD_OFFSET = "Upload-Offset"
UPLOAD_LENGTH = "Upload-Length"
UPLOAD_COMPLETE = "Upload-Complete"
CONTENT_LENGTH_OF_JSON = "Inference-Header-Content-Length"
"""Header of the binary tensor extension: bytes of the JSON part, which comes first."""

MAX_PIECE_BYTES = 8 << 20
"""Largest body of one piece of an upload."""

PATHS = {
    "live": "/v2/health/live",
    "ready": "/v2/health/ready",
    "server": "/v2",
    "load": "/v2/load",
    "index": "/v2/repository/index",
    "model": "/v2/models/{model}",
    "model_ready": "/v2/models/{model}/ready",
    "infer": "/v2/models/{model}/infer",
    "version": "/v2/models/{model}/versions/{version}",
    "version_ready": "/v2/models/{model}/versions/{version}/ready",
    "version_infer": "/v2/models/{model}/versions/{version}/infer",
    "plans": "/v2/models/{model}/plans",
    "plan": "/v2/models/{model}/plans/{plan_id}",
    "explain": "/v2/models/{model}/explain",
    "keys": "/v2/keys/{digest}",
    "openapi": "/openapi.json",
}
"""Name of a path and its template."""

STATUS = {
    "access-denied": 401,
    "busy": 503,
    "clock-skew": 409,
    "data": 422,
    "data-range": 422,
    "malformed-message": 400,
    "media-type": 415,
    "missing-key": 404,
    "not-served": 404,
    "peer": 400,
    "peer-incompatible": 409,
    "peer-misbehaved": 400,
    "peer-timeout": 504,
    "quota": 413,
    "rate-limit": 429,
    "replay": 409,
    "shape": 422,
    "store-failed": 503,
    "store-full": 507,
    "too-large": 413,
    "upload-offset": 409,
    "usage": 400,
}
"""Code of an error and its status; a class without a row has that of its nearest base, and 500 without any."""

FACTS = ("offset", "retry_after_s", "skew_s")
"""Attributes of errors that travel, all numbers."""

MAX_FACT = (1 << 53) - 1
MAX_TEXT = 500
MAX_ERROR_BYTES = 1 << 16
FALLBACK = {
    401: "access-denied",
    403: "access-denied",
    404: "not-served",
    408: "peer-timeout",
    413: "too-large",
}
FALLBACK |= {410: "not-served", 429: "rate-limit", 503: "busy", 504: "peer-timeout", 507: "store-full"}
REQUEST_ID_FORM = re.compile(r"[A-Za-z0-9._-]{1,64}")

BY_CODE: dict[str, type[TacitError]] = {
    kind.code: kind for name in errors.__all__ if issubclass(kind := getattr(errors, name), TacitError)
}


def status_of(error: BaseException) -> int:
    """The HTTP status of an error that a service answers with."""
    for kind in type(error).__mro__:
        status = STATUS.get(vars(kind).get("code", ""))
        if status is not None:
            return status
    return 500


def error_body(error: BaseException, request_id: str) -> dict[str, Any]:
    """An error as JSON. What is not a ``TacitError`` was not foreseen: its text may hold a value and stays here."""
    if not isinstance(error, TacitError):
        error = errors.InternalError(
            "the service failed", hint="give its operator the request id, which its log has too"
        )
    body: dict[str, Any] = {
        "error": str(error),
        "code": error.code,
        "hint": error.hint,
        "request_id": request_id,
    }
    if facts := {name: value for name in FACTS if (value := getattr(error, name, None)) is not None}:
        body["details"] = facts
    return body


def error_headers(error: BaseException) -> dict[str, str]:
    """Headers that go with an error: when to come again, how to say who one is, where an upload goes on."""
    headers = {}
    if isinstance(error, errors.BusyError):
        headers[RETRY_AFTER] = str(max(1, math.ceil(error.retry_after_s or 1.0)))
    if status_of(error) == 401:
        headers[CHALLENGE] = "Bearer"
    if isinstance(error, errors.OffsetError):
        headers[UPLOAD_OFFSET] = str(error.offset)
    return headers


def error_from(status: int, body: bytes, headers: Mapping[str, str]) -> TacitError:
    """The error that a service answered with. ``headers``: case-insensitive, or with names in lower case.

    Texts are cut and freed from control characters: they come from another party. What cannot be read, and a failure
    of the service itself, is a ``PeerError``.
    """
    found = _read(body)
    code = found.get("code")
    if not isinstance(code, str) or code not in BY_CODE:
        code = FALLBACK.get(status, "peer")
    kind = BY_CODE.get(code, PeerError)
    text = _printable(found.get("error")) or f"the service answered with status {status}"
    hint = _printable(found.get("hint"))
    if issubclass(kind, errors.InternalError) or (code == "peer" and status >= 500):
        named = _printable(found.get("request_id")) or _printable(headers.get(REQUEST_ID.lower()))
        return PeerError(
            f"the service failed: {text}" + (f" (request {named})" if named else ""),
            hint=hint or "ask its operator",
        )
    facts = _facts(found.get("details"), headers)
    try:
        error = kind(text, hint=hint)
    except TypeError:
        # A class with facts that a service does not send: an error of the model, for example.
        error = PeerError(text, hint=hint)
    for name, value in facts.items():
        if hasattr(error, name):
            setattr(error, name, value)
    return error


def is_request_id(text: str) -> bool:
    """Whether a request id that a caller chose is taken over: 1 to 64 letters, digits, dots, dashes, underscores."""
    return REQUEST_ID_FORM.fullmatch(text) is not None


def _read(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_ERROR_BYTES:
        return {}
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _facts(details: object, headers: Mapping[str, str]) -> dict[str, float | int]:
    given = details if isinstance(details, dict) else {}
    facts: dict[str, float | int] = {}
    for name in FACTS:
        value = given.get(name)
        # Compared before anything else: an integer of JSON may be larger than every float.
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_FACT:
            facts[name] = value
    waiting = headers.get(RETRY_AFTER.lower(), "")
    if waiting.isascii() and waiting.isdigit() and len(waiting) < 7:
        facts["retry_after_s"] = max(float(waiting), float(facts.get("retry_after_s", 0.0)))
    if "offset" in facts:
        facts["offset"] = int(facts["offset"])
    return facts


def _printable(text: object) -> str:
    if not isinstance(text, str):
        return ""
    return "".join(letter if letter.isprintable() else " " for letter in text[:MAX_TEXT])
