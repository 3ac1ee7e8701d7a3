"""The frame in which requests and responses of an encrypted model travel: authenticated, and bound to one exchange.

CKKS ciphertexts are malleable, so neither side reads one that is not inside a frame. A frame is, in this order:

| bytes | content |
|---|---|
| 8 | ``tacitenv`` |
| 1 | version, 1 |
| 1 | direction: 1 request, 2 response |
| 2 | length of the model's name, 1 to 255 |
| 8 | ``sent_at``: milliseconds since 1970-01-01 UTC |
| 32 | plan: SHA-256 that names the plan |
| 32 | key: SHA-256 of the message of evaluation keys |
| 16 | id: drawn at random for each request; its response repeats it |
| 8 | length of the body |
| … | the model's name, UTF-8 |
| … | the body |
| 32 | tag: HMAC-SHA-256 of all of the above |

Integers are unsigned and big-endian; a frame has one form only. The key of the tag is HKDF-SHA-256 (RFC 5869, no
salt) of the *client secret*, with ``info`` = ``tacit envelope v1 request `` or ``tacit envelope v1 response `` and the
model's name. Before the tag is checked, only what says where the tag is is read.

What this gives: a frame is of somebody who knows the client secret, and was made for this direction, model, plan, key
and request. That a request came only once is the business of the receiver, which remembers ids.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import hmac
import re
import secrets
import struct

from tacit.errors import (
    InvalidParameterError,
    MalformedMessageError,
    PeerIncompatibleError,
    PeerMisbehavedError,
)

__all__ = [
    "SECRET_BYTES",
    "Request",
    "client_header",
    "new_client_secret",
    "open_request",
    "open_response",
    "overhead",
    "read_client_header",
    "seal_request",
    "seal_response",
]

SECRET_BYTES = 32
"""Length of a client secret."""

Bytes = bytes | bytearray | memoryview

_HEAD = struct.Struct(">8sBBHQ32s32s16sQ")
_MAGIC = b"tacitenv"
_VERSION = 1
_REQUEST, _RESPONSE = 1, 2
_INFO = {_REQUEST: b"tacit envelope v1 request ", _RESPONSE: b"tacit envelope v1 response "}
_TAG_BYTES = 32
_MAX_MODEL_BYTES = 255
_HEADER_FORM = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclasses.dataclass(frozen=True, repr=False)
class Request:
    """A request whose tag was right. ``plan``, ``key``: 32 bytes; ``id``: 16; ``body``: a view of the frame."""

    model: str
    plan: bytes
    key: bytes
    id: bytes
    sent_at_ms: int
    body: memoryview

    def __repr__(self) -> str:
        return f"<Request of {len(self.body)} bytes>"


def new_client_secret() -> bytes:
    """32 random bytes of the operating system: made with an owner's keys and kept with them."""
    return secrets.token_bytes(SECRET_BYTES)


def client_header(client: bytes) -> str:
    """The client secret as the header ``Tacit-Client`` carries it: base64url without padding, 43 characters."""
    _checked_secret(client)
    return base64.urlsafe_b64encode(client).rstrip(b"=").decode()


def read_client_header(text: str) -> bytes:
    """Reads ``client_header``; one form only. Raises ``MalformedMessageError``."""
    if isinstance(text, str) and _HEADER_FORM.fullmatch(text):
        try:
            client = base64.b64decode(text + "=", altchars=b"-_", validate=True)
        except binascii.Error:
            client = b""
        if len(client) == SECRET_BYTES and hmac.compare_digest(client_header(client), text):
            return client
    raise MalformedMessageError(
        "the header `Tacit-Client` is not 32 bytes in base64url without padding",
        hint="send the client secret that was made together with the keys",
    )


def overhead(model: str) -> int:
    """Bytes that a frame adds to a body."""
    return _HEAD.size + len(_name(model)) + _TAG_BYTES


def seal_request(
    body: Bytes, *, client: bytes, model: str, plan: bytes, key: bytes, now_ms: int
) -> tuple[bytes, bytes]:
    """A frame around a request, and its id, which is new at every call."""
    request_id = secrets.token_bytes(16)
    return _seal(_REQUEST, body, client, model, plan, key, request_id, now_ms), request_id


def seal_response(body: Bytes, *, client: bytes, request: Request, now_ms: int) -> bytes:
    """A frame around the response to ``request``."""
    return _seal(_RESPONSE, body, client, request.model, request.plan, request.key, request.id, now_ms)


def open_request(message: Bytes, *, client: bytes, model: str) -> Request:
    """Checks and reads a request to ``model``.

    Raises ``MalformedMessageError`` for what no holder of the client secret made for this model, and
    ``PeerIncompatibleError`` for a frame of another version.
    """
    return _open(_REQUEST, message, client, model)


def open_response(
    message: Bytes, *, client: bytes, model: str, plan: bytes, key: bytes, id: bytes
) -> memoryview:
    """The body of the response to the request ``id``: a view of ``message``.

    Raises as ``open_request`` does, and ``PeerMisbehavedError`` for the response to another request, or of another
    plan or key.
    """
    response = _open(_RESPONSE, message, client, model)
    if (response.id, response.plan, response.key) != (id, plan, key):
        raise PeerMisbehavedError(
            "the response belongs to another request, plan or key",
            hint="ask again; if it happens again, answers are mixed up at the provider's side",
        )
    return response.body


def _seal(
    direction: int,
    body: Bytes,
    client: bytes,
    model: str,
    plan: bytes,
    key: bytes,
    request_id: bytes,
    now_ms: int,
) -> bytes:
    name, view = _name(model), memoryview(body).cast("B")
    if (len(plan), len(key), len(request_id)) != (32, 32, 16) or not 0 <= now_ms < 1 << 64:
        raise InvalidParameterError("a frame takes 32 bytes of plan and key, 16 of id, and a time since 1970")
    head = _HEAD.pack(_MAGIC, _VERSION, direction, len(name), now_ms, plan, key, request_id, len(view))
    mac = hmac.new(_mac_key(client, direction, name), head + name, hashlib.sha256)
    mac.update(view)
    return b"".join((head, name, view, mac.digest()))


def _open(direction: int, message: Bytes, client: bytes, model: str) -> Request:
    view = memoryview(message).cast("B").toreadonly()
    if len(view) < _HEAD.size + _TAG_BYTES:
        raise MalformedMessageError("the frame is truncated")
    magic, version, found, name_length, sent_at, plan, key, request_id, length = _HEAD.unpack_from(view)
    if magic != _MAGIC:
        raise MalformedMessageError("the message is not in a frame of Tacit")
    if version != _VERSION:
        raise PeerIncompatibleError(
            f"the frame has version {version}. This side speaks version {_VERSION}.",
            hint="install the same version of Tacit on both sides",
        )
    if len(view) != _HEAD.size + name_length + length + _TAG_BYTES:
        raise MalformedMessageError("the frame is truncated, or bytes follow its end")
    name = _name(model)
    mac = hmac.new(_mac_key(client, direction, name), view[:-_TAG_BYTES], hashlib.sha256)
    start = _HEAD.size + name_length
    genuine = hmac.compare_digest(mac.digest(), view[-_TAG_BYTES:])
    # Direction and name are also in the key of the tag; the check here keeps that from being the only reason.
    if not genuine or found != direction or view[_HEAD.size : start] != name:
        raise MalformedMessageError(
            "the frame is not authentic: it was changed, or is of another client, model or direction",
            hint="ask again; if it happens again, something between both sides changes messages",
        )
    return Request(model, plan, key, request_id, sent_at, view[start:-_TAG_BYTES])


def _mac_key(client: bytes, direction: int, name: bytes) -> bytes:
    """RFC 5869 with SHA-256: extract without salt, and the first block of expand, which is all that 32 bytes take."""
    _checked_secret(client)
    extracted = hmac.digest(bytes(32), client, "sha256")
    return hmac.digest(extracted, _INFO[direction] + name + b"\x01", "sha256")


def _checked_secret(client: bytes) -> None:
    if not isinstance(client, bytes) or len(client) != SECRET_BYTES:
        raise InvalidParameterError(f"a client secret is {SECRET_BYTES} bytes")


def _name(model: str) -> bytes:
    name = model.encode(errors="replace")
    if not 1 <= len(name) <= _MAX_MODEL_BYTES:
        raise InvalidParameterError(f"the name of a model has 1 to {_MAX_MODEL_BYTES} bytes")
    return name
