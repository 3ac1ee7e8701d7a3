"""Errors on their way through HTTP: one table for both sides, and nothing of another party is believed."""

from __future__ import annotations

import json

import pytest

from tacit import errors
from tacit.net import wire

MADE = {
    "OffsetError": errors.OffsetError("m", offset=7),
    "BusyError": errors.BusyError("m", retry_after_s=2.5),
    "ClockSkewError": errors.ClockSkewError("m", skew_s=-300.5),
    "UnsupportedOpError": errors.UnsupportedOpError("m", node="n", op="o"),
}
CLASSES = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_errors_survive_the_way(kind: type[errors.TacitError]) -> None:
    sent = MADE.get(kind.__name__) or kind("m", hint="h")
    status = wire.status_of(sent)
    headers = {name.lower(): value for name, value in wire.error_headers(sent).items()}
    found = wire.error_from(status, json.dumps(wire.error_body(sent, "r-1")).encode(), headers)
    assert 400 <= status < 600
    if kind is errors.InternalError:
        assert type(found) is errors.PeerError and "r-1" in str(found)
        return
    if kind is errors.UnsupportedOpError:
        assert type(found) is errors.PeerError
        return
    assert type(found) is kind
    assert str(found) == "m"
    assert found.hint == sent.hint
    for fact in ("offset", "skew_s"):
        assert getattr(found, fact, None) == getattr(sent, fact, None)
    if kind is errors.StoreFailedError:
        assert "retry-after" not in headers  # nobody knows when somebody will look at that disk
    elif status in (429, 503):
        assert headers["retry-after"] == ("3" if kind is errors.BusyError else "1")
        assert found.retry_after_s == float(headers["retry-after"])  # type: ignore[attr-defined]


def test_statuses_name_codes_that_exist() -> None:
    codes = {kind.code for kind in CLASSES}
    assert set(wire.STATUS) <= codes
    assert set(wire.FALLBACK.values()) <= codes


def test_what_was_not_foreseen_keeps_its_text() -> None:
    body = wire.error_body(ValueError("patient 7"), "r-2")
    assert "patient" not in json.dumps(body)
    assert (body["code"], body["request_id"]) == ("internal", "r-2")
    assert wire.status_of(ValueError()) == 500


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"", errors.AccessDeniedError),
        (404, b"<html>", errors.NotServedError),
        (404, b'{"code": "no-such-code", "error": "x"}', errors.NotServedError),
        (429, b"[]", errors.RateLimitError),
        (503, b"null", errors.BusyError),
        (504, b"{", errors.PeerTimeoutError),
        (500, b'{"error": 7, "code": 7, "hint": 7}', errors.PeerError),
        (418, b"x" * (1 << 20), errors.PeerError),
        (400, b"[" * 60_000, errors.PeerError),
        (409, b'{"code": "upload-offset", "details": {"offset": "7"}}', errors.OffsetError),
        (409, b'{"code": "upload-offset", "details": {"offset": true}}', errors.OffsetError),
        (409, b'{"code": "upload-offset", "details": 7}', errors.OffsetError),
        (409, b'{"code": "upload-offset", "details": {"offset": 1' + b"0" * 400 + b"}}", errors.OffsetError),
        (409, b'{"code": "upload-offset", "details": {"offset": 1e300}}', errors.OffsetError),
        (409, b'{"code": "upload-offset", "details": {"offset": NaN}}', errors.OffsetError),
    ],
)
def test_answers_of_others(status: int, body: bytes, kind: type[errors.TacitError]) -> None:
    found = wire.error_from(status, body, {})
    assert type(found) is kind
    assert str(found)
    assert getattr(found, "offset", 0) == 0


def test_texts_of_others_are_cut_and_cleaned() -> None:
    body = json.dumps({"code": "shape", "error": "\x1b[31m" + "a" * 5000, "hint": "b\r\nc"}).encode()
    found = wire.error_from(422, body, {})
    assert isinstance(found, errors.ShapeError)
    assert len(str(found)) == 500
    assert str(found).isprintable() and found.hint.isprintable()


@pytest.mark.parametrize(
    ("text", "fits"),
    [("a-B_1.", True), ("", False), ("a b", False), ("é", False), ("a" * 65, False)],
)
def test_request_ids(text: str, fits: bool) -> None:
    assert wire.is_request_id(text) is fits
