"""An independent client, `tritonclient` over HTTP: clear models like any server, ciphertexts as BYTES."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tacit.net import envelope
from tests.service.models import data, estimator, package, write_model, write_package
from tests.service.owning import ByHand
from tests.service.running import Running, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("triton")
    models = folder / "models"
    models.mkdir()
    write_model(models)
    write_package(models)
    with running(folder, str(models), "--protection", "clear", "--protection", "ckks") as found:
        yield found


@pytest.fixture
def client(server: Running) -> Iterator[triton.InferenceServerClient]:
    found = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    yield found
    found.close()


def test_health_metadata_and_index(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live() and client.is_server_ready()
    (version,) = client.get_model_metadata("risk")["versions"]
    assert client.is_model_ready("risk") and client.is_model_ready("risk", version)
    assert not client.is_model_ready("none")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    found = client.get_model_metadata("risk")
    assert found["platform"] == "tacit_clear"
    assert [tensor["name"] for tensor in found["outputs"]] == ["label", "probabilities"]
    assert [(row["name"], row["state"]) for row in client.get_model_repository_index()] == [
        ("risk", "READY"),
        ("risk-ckks", "READY"),
    ]
    with pytest.raises(InferenceServerException, match="no model `none`"):
        client.get_model_metadata("none")


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_predictions_of_a_clear_model(
    client: triton.InferenceServerClient, binary: bool, datatype: str
) -> None:
    samples = data()[:5].astype({"FP32": np.float32, "FP64": np.float64}[datatype])
    given = triton.InferInput("X", [5, 4], datatype)
    given.set_data_from_numpy(samples, binary_data=binary)
    wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("probabilities", "label")]
    for outputs in (wanted, None):
        answer = client.infer("risk", [given], outputs=outputs, request_id="mine")
        assert answer.get_response()["id"] == "mine"
        expected = estimator().predict_proba(samples)
        np.testing.assert_allclose(answer.as_numpy("probabilities"), expected, atol=1e-5)
        assert answer.as_numpy("label").tolist() == estimator().predict(samples).tolist()


def test_errors_are_readable_there(client: triton.InferenceServerClient) -> None:
    given = triton.InferInput("X", [5, 3], "FP32")
    given.set_data_from_numpy(np.zeros((5, 3), np.float32))
    with pytest.raises(InferenceServerException, match=r"shape \[5, 3\]") as caught:
        client.infer("risk", [given])
    assert caught.value.status() == "422"


@pytest.mark.parametrize("binary", [True, False])
def test_ciphertexts_travel_as_bytes(
    server: Running, client: triton.InferenceServerClient, binary: bool
) -> None:
    """Keys and frames by Tacit, the call and the tensors by the other client."""
    with server.client() as http:
        owner = ByHand(http, "risk-ckks", package().offers[0].plan_id)
        assert owner.upload().status_code == 201
        message = owner.message(data()[:1])
        given = triton.InferInput("request", [1], "BYTES")
        if binary:
            given.set_data_from_numpy(np.array([message], dtype=object))
        else:
            given.set_data_from_numpy(np.array([base64.b64encode(message)], dtype=object), binary_data=False)
            given._parameters["content_type"] = "base64"
        output = triton.InferRequestedOutput("response", binary_data=binary)
        answer = client.infer("risk-ckks", [given], outputs=[output], headers=owner.headers)
        found = answer.as_numpy("response")[0]
        sealed = found if binary else base64.b64decode(found)
        body = envelope.open_response(
            sealed,
            client=owner.secret,
            model="risk-ckks",
            plan=bytes.fromhex(owner.plan_id),
            key=bytes.fromhex(owner.digest),
            id=owner.ids[-1],
        )
        values = np.asarray(owner.owner.decrypt(bytes(body)))
        assert np.max(np.abs(values - estimator().predict_proba(data()[:1]))) <= owner.owner.plan.error_bound
