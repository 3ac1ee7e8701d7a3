"""The HTTP interface of a running server: protocol, plans, keys, encrypted predictions, errors."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from tacit.net import wire
from tacit.net.tensors import InferRequest, Tensor
from tests.patience import until
from tests.service.models import data, estimator, package, write_model, write_package
from tests.service.owning import ByHand
from tests.service.running import Running, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One model under both protections, and one that is bad."""
    folder = tmp_path_factory.mktemp("serving")
    models = folder / "models"
    models.mkdir()
    write_model(models)
    write_package(models)
    (models / "bad.tacit").write_bytes(b"bad")
    with running(folder, str(models), "--protection", "ckks", "--protection", "clear") as found:
        yield found


@pytest.fixture
def http(server: Running) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def by_hand(http: httpx.Client, index: int = 0) -> ByHand:
    return ByHand(http, "risk", package().offers[index].plan_id)


def test_what_it_says_at_the_start(server: Running) -> None:
    rows = {row["name"]: row for row in server.started["models"]}
    assert rows["risk"]["batches"] == [offer.batch for offer in package().offers]
    assert rows["risk-clear"]["protection"] == "clear"
    assert rows["bad"]["state"] == "UNAVAILABLE" and rows["bad"]["reason"]
    assert server.started["access"] == "everybody on this machine"


def test_health_and_metadata(http: httpx.Client) -> None:
    assert http.get("/v2/health/live").json() == {"live": True}
    assert http.get("/v2/health/ready").json() == {"ready": True}
    assert http.get("/v2").json()["extensions"] == ["binary_tensor_data", "model_repository", "tacit"]
    assert http.get("/v2").json()["parameters"] == {"tacit_protocol": wire.PROTOCOL}
    (version,) = http.get("/v2/models/risk").json()["versions"]
    found = http.get(f"/v2/models/risk/versions/{version}").json()
    assert found["platform"] == "tacit_ckks"
    assert found["inputs"] == [{"name": "request", "datatype": "BYTES", "shape": [1]}]
    assert found["parameters"]["tacit_plans"] == [offer.plan_id for offer in package().offers]
    clear = http.get("/v2/models/risk-clear").json()
    assert clear["inputs"][0]["shape"] == [-1, 4]
    assert clear["parameters"] == {
        "tacit_protection": "clear",
        "tacit_primary": "probabilities",
        "tacit_label": "label",
    }
    assert http.get("/v2/models/risk/ready").json()["ready"] is True
    assert http.get("/v2/models/bad/ready").status_code == 503
    names = [row["name"] for row in http.post("/v2/repository/index", json={"ready": True}).json()]
    assert names == ["risk", "risk-clear"]
    assert len(http.post("/v2/repository/index").json()) == 4  # bad and bad-clear too
    load = http.get("/v2/load").json()
    assert load["ready"] and load["workers"]["alive"] >= 1
    assert http.get("/metrics").text.count("tacit_requests")
    assert "text/html" in http.get("/").headers["content-type"]
    assert http.get("/openapi.json").json()["openapi"] == "3.1.0"


def test_plans_are_cached_by_their_name(http: httpx.Client) -> None:
    rows = http.get("/v2/models/risk/plans").json()["plans"]
    assert [row["batch"] for row in rows] == [offer.batch for offer in package().offers]
    path = f"/v2/models/risk/plans/{rows[0]['plan_id']}"
    first = http.get(path)
    assert first.content == package().offers[0].public_plan
    assert first.headers["content-type"] == "application/cbor"
    assert http.get(path, headers={"If-None-Match": first.headers["etag"]}).status_code == 304
    assert http.get("/v2/models/risk/explain").json()["plans"][0]["sees"]


@pytest.mark.parametrize("index", [0, 1])
def test_an_encrypted_prediction(http: httpx.Client, index: int) -> None:
    owner = by_hand(http, index)
    assert http.head(f"/v2/keys/{owner.digest}", headers=owner.headers).status_code == 404
    assert owner.upload().status_code == 201
    state = http.head(f"/v2/keys/{owner.digest}", headers=owner.headers)
    assert state.headers[wire.UPLOAD_COMPLETE] == "?1"
    assert state.headers[wire.UPLOAD_OFFSET] == state.headers[wire.UPLOAD_LENGTH] == str(len(owner.keys))
    samples = data()[: 1 + 9 * index]
    found = owner.predict(samples)
    assert np.max(np.abs(found - estimator().predict_proba(samples))) <= owner.owner.plan.error_bound


def test_an_encrypted_prediction_in_json_alone(http: httpx.Client) -> None:
    owner = by_hand(http)
    owner.upload()
    body = {
        "inputs": [
            {
                "name": "request",
                "datatype": "BYTES",
                "shape": [1],
                "parameters": {"content_type": "base64"},
                "data": [base64.b64encode(owner.message(data()[:1])).decode()],
            }
        ]
    }
    answer = http.post("/v2/models/risk/infer", json=body, headers=owner.headers)
    assert answer.headers["content-type"] == "application/json"
    assert np.argmax(owner.opened(answer, owner.ids[-1])) == estimator().predict(data()[:1])[0]


def test_an_upload_goes_on_where_it_was_cut(http: httpx.Client) -> None:
    owner = by_hand(http)
    half = len(owner.keys) // 2
    first = owner.piece(0, owner.keys[:half])
    assert (first.status_code, first.headers[wire.UPLOAD_OFFSET]) == (204, str(half))
    again = owner.piece(0, owner.keys[:half])
    assert (again.status_code, again.json()["code"]) == (409, "upload-offset")
    assert again.headers[wire.UPLOAD_OFFSET] == str(half)
    assert again.json()["details"] == {"offset": half}
    assert owner.send(owner.message(data()[:1])).status_code == 404, "half of the keys are no keys"
    assert owner.piece(half, owner.keys[half:]).status_code == 201
    assert owner.piece(len(owner.keys), b"").status_code == 201, "an empty last piece asks again"
    assert owner.predict(data()[:1]).shape == (1, 2)
    assert http.delete(f"/v2/keys/{owner.digest}", headers=owner.headers).status_code == 204
    gone = owner.send(owner.message(data()[:1]))
    assert (gone.status_code, gone.json()["code"]) == (404, "missing-key")


def test_keys_that_are_damaged_or_of_another_plan(http: httpx.Client) -> None:
    owner, other = by_hand(http), by_hand(http, 1)
    damaged = bytearray(owner.keys)
    damaged[len(damaged) // 2] ^= 1
    answer = owner.piece(0, bytes(damaged))
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-message")
    assert http.head(f"/v2/keys/{owner.digest}", headers=owner.headers).status_code == 404
    wrong = owner.piece(0, owner.keys, **{wire.PLAN: other.plan_id})
    assert wrong.status_code in (400, 409)
    assert http.head(f"/v2/keys/{owner.digest}", headers=owner.headers).status_code == 404


def test_keys_of_others_look_absent(http: httpx.Client) -> None:
    owner, thief = by_hand(http), by_hand(http)
    owner.upload()
    answers = [
        http.head(f"/v2/keys/{owner.digest}", headers=thief.headers),
        http.delete(f"/v2/keys/{owner.digest}", headers=thief.headers),
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    thief.digest = owner.digest
    stolen = thief.send(thief.message(data()[:1]))
    assert (stolen.status_code, stolen.json()["code"]) == (404, "missing-key")
    assert owner.predict(data()[:1]).shape == (1, 2)


def test_requests_count_once(http: httpx.Client) -> None:
    owner = by_hand(http)
    owner.upload()
    message = owner.message(data()[:1])
    assert owner.send(message).status_code == 200
    again = owner.send(message)
    assert (again.status_code, again.json()["code"]) == (409, "replay")
    late = owner.send(owner.message(data()[:1], now_ms=1_700_000_000_000))
    assert (late.status_code, late.json()["code"]) == (409, "clock-skew")
    assert late.json()["details"]["skew_s"] < -1e6


def test_frames_that_are_not_whole(http: httpx.Client) -> None:
    owner = by_hand(http)
    owner.upload()
    message = bytearray(owner.message(data()[:1]))
    for place in (0, 9, 20, 100, len(message) // 2, len(message) - 1):
        changed = bytearray(message)
        changed[place] ^= 1
        answer = owner.send(bytes(changed))
        assert 400 <= answer.status_code < 500, place
        assert "error" in answer.json()
    nobody = owner.send(bytes(message), **{wire.CLIENT: "x"})
    assert (nobody.status_code, nobody.json()["code"]) == (400, "malformed-message")


REFUSED = [
    ("GET", "/v2/models/none", {}, b"", 404, "not-served"),
    ("GET", "/v2/models/risk/versions/9", {}, b"", 404, "not-served"),
    ("GET", "/v2/models/risk/plans/none", {}, b"", 404, "not-served"),
    ("GET", "/v2/models/risk-clear/plans", {}, b"", 404, "not-served"),
    ("GET", "/none", {}, b"", 404, "not-served"),
    ("GET", "/v2/", {}, b"", 404, "not-served"),
    ("DELETE", "/v2", {}, b"", 405, "usage"),
    ("GET", "/v2/models/risk/infer", {}, b"", 405, "usage"),
    ("POST", "/v2/repository/index", {}, b"[", 400, "malformed-message"),
    ("POST", "/v2/repository/index", {}, b"[1]", 400, "malformed-message"),
    ("POST", "/v2/repository/index", {}, b"x" * 70_000, 413, "too-large"),
    ("POST", "/v2/models/risk-clear/infer", {}, b"{}", 400, "malformed-message"),
    ("POST", "/v2/models/risk-clear/infer", {}, b'{"inputs": []}', 422, "shape"),
    ("POST", "/v2/models/risk/infer", {}, b'{"inputs": []}', 400, "malformed-message"),
    ("POST", "/v2/models/risk-clear/infer", {"Content-Type": "text/plain"}, b"{}", 415, "media-type"),
    ("POST", "/v2/models/risk-clear/infer", {"Content-Encoding": "gzip"}, b"{}", 415, "media-type"),
    ("POST", "/v2/models/risk-clear/infer", {"Tacit-Timeout-Ms": "soon"}, b"{}", 400, "malformed-message"),
    ("POST", "/v2/models/risk-clear/infer", {"Tacit-Timeout-Ms": "0"}, b"{}", 400, "malformed-message"),
    (
        "POST",
        "/v2/models/risk-clear/infer",
        {wire.CONTENT_LENGTH_OF_JSON: "-1"},
        b"{}",
        400,
        "malformed-message",
    ),
    (
        "POST",
        "/v2/models/risk-clear/infer",
        {wire.CONTENT_LENGTH_OF_JSON: "9"},
        b"{}",
        400,
        "malformed-message",
    ),
    ("POST", "/v2/models/risk/infer", {}, b"x" * (4 << 20), 413, "too-large"),
    ("DELETE", "/v2/keys/xyz", {}, b"", 400, "malformed-message"),
    ("DELETE", "/v2/keys/" + "0" * 64, {}, b"", 400, "malformed-message"),
    ("DELETE", "/v2/keys/" + "0" * 64, {wire.CLIENT: "A" * 43}, b"", 404, "missing-key"),
    ("PATCH", "/v2/keys/" + "0" * 64, {wire.CLIENT: "A" * 43}, b"", 415, "media-type"),
]


@pytest.mark.parametrize(("method", "path", "headers", "body", "status", "code"), REFUSED)
def test_refusals_are_uniform(
    http: httpx.Client,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    status: int,
    code: str,
) -> None:
    given = {
        "Content-Type": "text/x" if code == "media-type" else "application/json",
        "X-Request-Id": "mine-1",
    }
    answer = http.request(method, path, headers=given | headers, content=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert set(answer.json()) >= {"error", "code", "hint", "request_id"}
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "mine-1"
    assert "server" not in answer.headers
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("given", ["", "a b", "é", "x" * 65, "a\tb"])
def test_request_ids_that_are_none_are_replaced(http: httpx.Client, given: str) -> None:
    answer = http.get("/v2", headers={"X-Request-Id": given.encode()})
    assert len(answer.headers["x-request-id"]) == 32


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_a_web_page_elsewhere_makes_an_open_server_compute_nothing(
    http: httpx.Client, headers: dict[str, str]
) -> None:
    """A page may send a body without a content type to any address that the browser reaches."""
    body = b'{"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}'
    path = "/v2/models/risk-clear/infer"
    assert http.post(path, content=body).json().get("code") != "access-denied"
    refused = http.post(path, content=body, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (401, "access-denied")
    own = {"Origin": str(http.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert http.get("/v2", headers=own).status_code == 200


def test_clear_in_json_and_binary(http: httpx.Client) -> None:
    samples = data()[:3].astype(np.float32)
    expected = estimator().predict_proba(samples)
    plain = {"name": "X", "datatype": "FP32", "shape": [3, 4], "data": samples.tolist()}
    answer = http.post("/v2/models/risk-clear/infer", json={"id": "7", "inputs": [plain]}).json()
    (version,) = http.get("/v2/models/risk-clear").json()["versions"]
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("7", "risk-clear", version)
    found = {output["name"]: output for output in answer["outputs"]}
    np.testing.assert_allclose(np.reshape(found["probabilities"]["data"], (3, 2)), expected, atol=1e-5)
    assert found["label"]["data"] == estimator().predict(samples).tolist()

    parts, length = InferRequest(inputs=(Tensor.of("X", samples),)).encode()
    mixed = json.loads(parts[0]) | {
        "outputs": [{"name": "label"}, {"name": "probabilities", "parameters": {"binary_data": True}}]
    }
    head = json.dumps(mixed).encode()
    answer2 = http.post(
        "/v2/models/risk-clear/infer",
        content=head + bytes(parts[1]),
        headers={wire.CONTENT_LENGTH_OF_JSON: str(len(head)), "Content-Type": "application/octet-stream"},
    )
    told = json.loads(answer2.content[: int(answer2.headers[wire.CONTENT_LENGTH_OF_JSON])])
    assert [output["name"] for output in told["outputs"]] == ["label", "probabilities"]
    assert "data" in told["outputs"][0] and "data" not in told["outputs"][1]
    assert length is not None


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"shape": [4, 3]}, 422),
        ({"shape": [12]}, 422),
        ({"name": "y"}, 422),
        ({"datatype": "INT64", "data": [1] * 12}, 422),
        ({"data": [[1.0] * 4] * 2}, 422),
        ({"data": [1.0] * 11 + [1e39]}, 400),
    ],
)
def test_clear_refuses_what_the_model_does_not_take(
    http: httpx.Client, change: dict[str, object], status: int
) -> None:
    plain = {"name": "X", "datatype": "FP32", "shape": [3, 4], "data": [1.0] * 12}
    answer = http.post("/v2/models/risk-clear/infer", json={"inputs": [plain | change]})
    assert answer.status_code == status, answer.text
    asked = {"inputs": [plain], "outputs": [{"name": "none"}]}
    assert http.post("/v2/models/risk-clear/infer", json=asked).status_code == 400


def test_no_line_of_the_log_tells_what_was_sent(server: Running, http: httpx.Client) -> None:
    secret = "patient-4711"  # noqa: S105
    http.get(f"/v2/models/{secret}?{secret}", headers={"X-Request-Id": "seen-1"})
    http.post("/v2/models/risk-clear/infer", json={"inputs": [{"name": secret}]})
    http.get(f"/{secret}")
    http.get("/v2", headers={"X-Request-Id": "last-1"})
    until(lambda: "last-1" in server.log.read_text(encoding="utf-8"))  # a line is written after its answer
    lines = server.lines()
    assert secret not in server.log.read_text(encoding="utf-8")
    line = next(line for line in lines if line.get("request_id") == "seen-1")
    assert (line["route"], line["status"], line["code"]) == ("/v2/models/{model}", 404, "not-served")
    assert not [line for line in lines if line["event"] == "failure"]
