"""Frames: known answers by another library, every flipped bit, and what the two sides promise each other."""

from __future__ import annotations

import json
import pathlib
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.errors import InvalidParameterError, MalformedMessageError, PeerMisbehavedError, TacitError
from tacit.net import envelope

FILES = sorted((pathlib.Path(__file__).parents[2] / "vectors" / "frames").glob("*.json"))
PLAN, KEY, NOW = secrets.token_bytes(32), secrets.token_bytes(32), 1_760_000_000_000


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_known_answer(path: pathlib.Path) -> None:
    vector = json.loads(path.read_text())
    client, frame = bytes.fromhex(vector["client"]), bytes.fromhex(vector["frame"])
    plan, key, id = (bytes.fromhex(vector[name]) for name in ("plan", "key", "id"))

    def run() -> tuple[bytes, int | None]:
        if vector["direction"] == "request":
            request = envelope.open_request(frame, client=client, model=vector["model"])
            assert (request.plan, request.key, request.id) == (plan, key, id)
            return bytes(request.body), request.sent_at_ms
        body = envelope.open_response(frame, client=client, model=vector["model"], plan=plan, key=key, id=id)
        return bytes(body), None

    if vector["expect"] == "ok":
        body, sent_at = run()
        assert body.hex() == vector["body"]
        assert sent_at in (None, vector["sent_at_ms"])
    else:
        with pytest.raises(TacitError) as refusal:
            run()
        assert refusal.value.code == vector["expect"], str(refusal.value)


def test_there_are_vectors_of_both_kinds() -> None:
    refused = sum(json.loads(path.read_text())["expect"] != "ok" for path in FILES)
    assert refused > len(FILES) / 2 > 3
    assert len(FILES) - refused >= 6


def exchange() -> tuple[bytes, bytes, bytes]:
    """A client secret, a request of it, and the response to that."""
    client = envelope.new_client_secret()
    message, _ = envelope.seal_request(b"request", client=client, model="m", plan=PLAN, key=KEY, now_ms=NOW)
    request = envelope.open_request(message, client=client, model="m")
    return (
        client,
        message,
        envelope.seal_response(b"response", client=client, request=request, now_ms=NOW + 5),
    )


def test_every_flipped_bit_is_refused() -> None:
    client, message, response = exchange()
    id = envelope.open_request(message, client=client, model="m").id
    for bit in range(8 * len(message)):
        changed = bytearray(message)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TacitError):
            envelope.open_request(changed, client=client, model="m")
    for bit in range(8 * len(response)):
        changed = bytearray(response)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TacitError):
            envelope.open_response(changed, client=client, model="m", plan=PLAN, key=KEY, id=id)


def test_a_response_fits_one_request_only() -> None:
    """Two requests of one client in flight: swapped answers are refused, and so are answers of another key or plan."""
    client = envelope.new_client_secret()

    def ask(body: bytes) -> tuple[bytes, bytes]:
        return envelope.seal_request(body, client=client, model="m", plan=PLAN, key=KEY, now_ms=NOW)

    (first, first_id), (second, second_id) = ask(b"same"), ask(b"same")
    assert first_id != second_id
    answers = [
        envelope.seal_response(
            b"answer", client=client, request=envelope.open_request(m, client=client, model="m"), now_ms=NOW
        )
        for m in (first, second)
    ]
    wanted = {"client": client, "model": "m", "plan": PLAN, "key": KEY, "id": first_id}
    assert bytes(envelope.open_response(answers[0], **wanted)) == b"answer"
    with pytest.raises(PeerMisbehavedError, match="another request"):
        envelope.open_response(answers[1], **wanted)
    for change in ({"plan": KEY}, {"key": PLAN}, {"id": second_id}):
        with pytest.raises(PeerMisbehavedError, match="another request"):
            envelope.open_response(answers[0], **{**wanted, **change})
    for change in ({"client": envelope.new_client_secret()}, {"model": "m-2"}):
        with pytest.raises(MalformedMessageError, match="not authentic"):
            envelope.open_response(answers[0], **{**wanted, **change})


def test_a_request_is_no_response() -> None:
    """Sent back to its sender, a request does not pass for the answer."""
    client, message, response = exchange()
    id = envelope.open_request(message, client=client, model="m").id
    with pytest.raises(MalformedMessageError):
        envelope.open_response(message, client=client, model="m", plan=PLAN, key=KEY, id=id)
    with pytest.raises(MalformedMessageError):
        envelope.open_request(response, client=client, model="m")


@given(st.binary(max_size=400))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(TacitError) as refusal:
        envelope.open_request(data, client=bytes(32), model="m")
    assert refusal.value.code in {"malformed-message", "peer-incompatible"}


@given(st.binary(max_size=200), st.text(min_size=1, max_size=60), st.binary(min_size=32, max_size=32))
def test_what_was_sealed_opens(body: bytes, model: str, client: bytes) -> None:
    message, id = envelope.seal_request(body, client=client, model=model, plan=PLAN, key=KEY, now_ms=NOW)
    request = envelope.open_request(message, client=client, model=model)
    assert (bytes(request.body), request.id, request.sent_at_ms) == (body, id, NOW)
    assert len(message) == len(body) + envelope.overhead(model)
    with pytest.raises(TypeError):
        request.body[:0] = b""


@pytest.mark.parametrize(
    "text", ["", "A" * 42, "A" * 44, "A" * 42 + "B", "A" * 42 + "=", "+" * 43, "A" * 43 + "\n"]
)
def test_a_client_header_has_one_form(text: str) -> None:
    with pytest.raises(MalformedMessageError, match="Tacit-Client"):
        envelope.read_client_header(text)


@given(st.binary(min_size=32, max_size=32))
def test_client_headers_are_read_back(client: bytes) -> None:
    header = envelope.client_header(client)
    assert len(header) == 43
    assert envelope.read_client_header(header) == client


def test_wrong_arguments_are_named() -> None:
    good = {"client": bytes(32), "model": "m", "plan": PLAN, "key": KEY, "now_ms": NOW}
    for wrong in (
        {"client": b"short"},
        {"model": ""},
        {"model": "m" * 256},
        {"plan": b""},
        {"key": b"x"},
        {"now_ms": -1},
    ):
        with pytest.raises(InvalidParameterError):
            envelope.seal_request(b"", **{**good, **wrong})  # type: ignore[arg-type]


def test_no_secret_shows() -> None:
    client, message, _ = exchange()
    request = envelope.open_request(message, client=client, model="m")
    assert repr(request) == "<Request of 7 bytes>"
