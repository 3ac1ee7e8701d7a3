"""Frames around requests and responses of an encrypted model, written by hand from the table in `net/envelope.py`.

Keys and tags come from the package `cryptography`, integers from `int.to_bytes`: nothing of
the code under test is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

CLIENT, OTHER = bytes(range(32)), bytes(range(1, 33))
PLAN, KEY, ID = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 16
SENT_AT = 1_760_000_000_123
MODEL, BODY = "diagnosis", b"what Owner.encrypt made"
WORDS = {1: b"request", 2: b"response"}


def frame(
    *,
    magic: bytes = b"tacitenv",
    version: int = 1,
    direction: int = 1,
    model: bytes = MODEL.encode(),
    sent_at: int = SENT_AT,
    plan: bytes = PLAN,
    key: bytes = KEY,
    id: bytes = ID,
    body: bytes = BODY,
    length: int | None = None,
    client: bytes = CLIENT,
    info: bytes | None = None,
) -> bytes:
    """A frame with what is said, and a tag that is right for it."""
    head = magic + bytes([version, direction]) + len(model).to_bytes(2, "big") + sent_at.to_bytes(8, "big")
    head += plan + key + id + (len(body) if length is None else length).to_bytes(8, "big")
    info = b"tacit envelope v1 " + WORDS[direction] + b" " + model if info is None else info
    mac = HMAC(HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(client), SHA256())
    mac.update(head + model + body)
    return head + model + body + mac.finalize()


def flipped(data: bytes, at: int) -> bytes:
    """The same bytes with one bit changed."""
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def vectors() -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, vector): `frame` is opened by a holder of `client` as `direction` of `model`."""

    def vector(data: bytes, expect: str = "ok", direction: str = "request", **more: Any) -> dict[str, Any]:
        asked = {"client": CLIENT.hex(), "model": MODEL, "plan": PLAN.hex(), "key": KEY.hex(), "id": ID.hex()}
        return {"expect": expect, "direction": direction, **asked, **more, "frame": data.hex()}

    yield "request", vector(frame(), body=BODY.hex(), sent_at_ms=SENT_AT)
    yield "request-empty", vector(frame(body=b""), body="", sent_at_ms=SENT_AT)
    yield "request-long", vector(frame(body=BODY * 40), body=(BODY * 40).hex(), sent_at_ms=SENT_AT)
    name = "größe-" + "x" * 245
    yield (
        "request-longest-name",
        vector(frame(model=name.encode()), body=BODY.hex(), sent_at_ms=SENT_AT, model=name),
    )
    yield "request-late", vector(frame(sent_at=(1 << 64) - 1), body=BODY.hex(), sent_at_ms=(1 << 64) - 1)
    yield "response", vector(frame(direction=2), direction="response", body=BODY.hex(), sent_at_ms=SENT_AT)

    bad = "malformed-message"
    for field, at in {
        "magic": 0, "direction": 9, "name-length": 11, "time": 19, "plan": 20, "key": 52, "id": 84, "length": 107,
        "name": 108, "body": 120, "tag": -1,
    }.items():  # fmt: skip
        yield f"bad-flipped-{field}", vector(flipped(frame(), at), bad)
    yield "bad-version", vector(frame(version=2), "peer-incompatible")
    yield "bad-client", vector(frame(client=OTHER), bad)
    yield "bad-model", vector(frame(model=b"diagnosit"), bad)
    yield "bad-model-of-the-tag", vector(frame(info=b"tacit envelope v1 request diagnosit"), bad)
    yield "bad-direction-reflected", vector(frame(), bad, direction="response")
    yield "bad-direction-response", vector(frame(direction=2), bad)
    yield "bad-direction-of-the-tag", vector(frame(info=b"tacit envelope v1 response diagnosis"), bad)
    yield "bad-direction-unknown", vector(flipped(frame(direction=2), 9), bad)
    yield "bad-empty", vector(b"", bad)
    yield "bad-truncated-head", vector(frame()[:107], bad)
    yield "bad-truncated-body", vector(frame()[:-33], bad)
    yield "bad-truncated-tag", vector(frame()[:-1], bad)
    yield "bad-trailing-byte", vector(frame() + b"\0", bad)
    yield "bad-length-huge", vector(frame(length=(1 << 64) - 1), bad)
    yield "bad-length-short", vector(frame(length=len(BODY) - 1), bad)
    yield "bad-length-moved-into-name", vector(frame(model=(MODEL + "w").encode(), body=BODY[1:]), bad)
    misled = "peer-misbehaved"
    yield "bad-response-other-id", vector(frame(direction=2, id=flipped(ID, 0)), misled, "response")
    yield "bad-response-other-plan", vector(frame(direction=2, plan=flipped(PLAN, 5)), misled, "response")
    yield "bad-response-other-key", vector(frame(direction=2, key=flipped(KEY, 31)), misled, "response")
