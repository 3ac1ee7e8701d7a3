"""What an operator sees of a real server: metrics, probes, load, the status page, gRPC beside REST."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.patience import PATIENCE_S
from tests.service.models import data, estimator, write_model
from tests.service.running import Running, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("operations")
    (folder / "models").mkdir()
    write_model(folder / "models")
    words = [str(folder / "models"), "--protection=clear", "--protection=ckks", "--batch=1"]
    options = ["--metrics-listen=127.0.0.1:0", "--grpc-listen=127.0.0.1:0", "--request-bytes=4000000"]
    with running(folder, *words, *options) as found:
        yield found


def scraped(server: Running) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = httpx.get(server.started["metrics"], trust_env=False, timeout=PATIENCE_S).text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def labels(**given: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(given.items()))


def predict(client: httpx.Client, rows: int = 1) -> httpx.Response:
    values = data()[:1].repeat(rows, axis=0).astype(np.float32)
    tensor = {"name": "X", "datatype": "FP32", "shape": list(values.shape), "data": values.ravel().tolist()}
    return client.post("/v2/models/risk/infer", json={"inputs": [tensor]})


def test_metrics_say_what_happened(server: Running) -> None:
    with server.client() as client:
        before = scraped(server)
        assert predict(client).status_code == 200
        assert client.post("/v2/models/none/infer", json={"inputs": []}).status_code == 404
        assert predict(client, rows=100_000).status_code == 413
        load = client.get("/v2/load").json()
    after = scraped(server)

    def grown(name: str, **given: str) -> float:
        key = (name, labels(**given))
        return after.get(key, 0.0) - before.get(key, 0.0)

    assert grown("tacit_requests_total", model="risk", protocol="rest", status="200") == 1
    assert grown("tacit_request_seconds_count", model="risk") == 1
    route = "/v2/models/{model}/infer"
    assert [grown("tacit_calls_total", route=route, status=status) for status in ("200", "404", "413")] == [
        1,
        1,
        1,
    ]
    assert grown("tacit_rejected_total", reason="size") == 1
    assert after["tacit_ready", ()] == 1
    assert after["tacit_load_readable", ()] == 1
    assert after["tacit_workers_alive", ()] >= 1
    assert after["tacit_queue_capacity", ()] == load["queue"]["capacity"]
    assert not [name for name, given in after if "none" in dict(given).values()]


def test_the_operators_address_has_nothing_else(server: Running) -> None:
    base = server.started["metrics"].removesuffix("/metrics")
    with httpx.Client(base_url=base, trust_env=False, timeout=PATIENCE_S) as client:
        assert client.get("/v2/health/live").json() == {"live": True}
        assert client.get("/v2/health/ready").json() == {"ready": True}
        for path in ("/", "/v2", "/v2/load", "/v2/models/risk", "/openapi.json"):
            assert client.get(path).status_code == 404


def test_grpc_answers_as_rest_does(server: Running) -> None:
    triton = pytest.importorskip("tritonclient.grpc", reason="needs tritonclient[grpc]")
    values = data()[:3].astype(np.float32)
    tensor = triton.InferInput("X", [3, values.shape[1]], "FP32")
    tensor.set_data_from_numpy(values)
    client = triton.InferenceServerClient(server.started["grpc"].removeprefix("grpc://"))
    try:
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("risk-ckks")
        assert client.get_model_metadata("risk-ckks").platform == "tacit_ckks"
        found = client.infer("risk", [tensor]).as_numpy("probabilities")
        assert np.allclose(found, estimator().predict_proba(data()[:3]), atol=1e-5)
        with pytest.raises(triton.InferenceServerException, match="NOT_FOUND"):
            client.infer("none", [tensor])
        with pytest.raises(triton.InferenceServerException, match="INVALID_ARGUMENT"):
            client.infer("risk-ckks", [tensor])
    finally:
        client.close()
    assert scraped(server)["tacit_requests_total", labels(model="risk", protocol="grpc", status="200")] == 1


def test_the_status_page_shows_this_server(server: Running, tab: Any) -> None:
    tab.goto(server.address)
    tab.locator("#state", has_text="Ready").wait_for()
    tab.get_by_role("button", name="Show risk-ckks").click()
    tab.wait_for_selector("#details:not([hidden])")
    assert "ckks" in tab.inner_text("#models")
    assert "one sample" in tab.inner_text("#plans")
    assert "who sees inputs" in tab.inner_text("#prices")
    assert tab.wrong == []
