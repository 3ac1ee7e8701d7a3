"""The gRPC service through a client that we did not write, before a stand-in endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tacit import errors
from tacit.net.tensors import InferRequest, InferResponse, Tensor
from tacit.service import grpc_service, tracing
from tacit.service.access import Principal
from tacit.service.log import Log
from tests.patience import PATIENCE_S, SOON_S, until

grpc = pytest.importorskip("grpc", reason="needs tacit[grpc]")
triton = pytest.importorskip("tritonclient.grpc", reason="needs tritonclient[grpc]")

# Their client leaves its threads to the interpreter's end.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Endpoint:
    """Doubles what it gets, and keeps what it was told."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}
        self.error: Exception | None = None
        self.sleep_s = 0.0
        self.cancelled = threading.Event()

    def is_live(self) -> bool:
        return True

    def is_ready(self) -> bool:
        return True

    def server_metadata(self) -> dict[str, Any]:
        return {
            "name": "tacit",
            "version": "9",
            "extensions": ["tacit", "binary_tensor_data"],
            "parameters": {},
        }

    def model_metadata(self, model: str, version: str = "") -> dict[str, Any]:
        if model != "m":
            raise errors.NotServedError("there is no such model")
        x = {"name": "x", "datatype": "FP64", "shape": [-1, 2], "parameters": {}}
        return {"name": model, "versions": ["1"], "platform": "tacit_clear", "inputs": [x], "outputs": [x]}

    def is_model_ready(self, model: str, version: str = "") -> bool:
        return model == "m"

    def repository_index(self) -> list[dict[str, Any]]:
        return [
            {"name": "m", "version": "1", "state": "READY"},
            {"name": "bad", "state": "UNAVAILABLE", "reason": "no"},
        ]

    def body_limit(self, model: str) -> int:
        return 1 << 19

    def principal(self, headers: Mapping[str, str], certificate: bytes | None, address: str) -> object:
        self.seen.update(headers=dict(headers), certificate=certificate, address=address)
        if headers.get("authorization") == "Bearer wrong":
            raise errors.AccessDeniedError("this token is not known here")
        return Principal("token:somebody", "token:somebody")

    async def infer(
        self, model: str, version: str, request: InferRequest, *, principal: object, **facts: Any
    ) -> InferResponse:
        self.seen.update(facts, principal=principal, model=model, version=version)
        try:
            await asyncio.sleep(self.sleep_s)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.error is not None:
            raise self.error
        outputs = tuple(
            Tensor.of_bytes("y", [bytes(element)[::-1] for element in tensor.elements()])
            if tensor.datatype == "BYTES"
            else Tensor.of("y", tensor.array() * 2)
            for tensor in request.inputs
        )
        return InferResponse(model=model, version=version or "1", outputs=outputs, id=request.id)


@contextlib.contextmanager
def running(endpoint: Endpoint, **options: Any) -> Iterator[int]:
    """The port of the service, in a loop of a thread of its own."""
    ready, ports = threading.Event(), []
    stop: asyncio.Event
    failures: list[Exception] = []

    async def main() -> None:
        nonlocal stop
        stop = asyncio.Event()
        usual: dict[str, Any] = {"max_bytes": 1 << 20, "log": Log(io.StringIO())}
        server = await grpc_service.serve(endpoint, "127.0.0.1", 0, **(usual | options))
        ports.append(server.port)
        ready.set()
        await stop.wait()
        await server.stop(0.5)

    def run() -> None:
        try:
            loop.run_until_complete(main())
        except Exception as error:
            failures.append(error)
            ready.set()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        assert ready.wait(PATIENCE_S)
        if failures:
            raise failures[0]
        yield ports[0]
    finally:
        if not failures:
            loop.call_soon_threadsafe(lambda: stop.set())
        thread.join(PATIENCE_S)
        loop.close()


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture
def client(endpoint: Endpoint) -> Iterator[Any]:
    with running(endpoint) as port, triton.InferenceServerClient(f"127.0.0.1:{port}") as made:
        yield made


def tensor(array: Any, datatype: str, name: str = "x") -> Any:
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("m")
    assert not client.is_model_ready("other")
    facts = client.get_server_metadata()
    assert (facts.name, facts.version, list(facts.extensions)) == (
        "tacit",
        "9",
        ["tacit", "binary_tensor_data"],
    )
    model = client.get_model_metadata("m")
    assert model.platform == "tacit_clear"
    assert (model.inputs[0].name, model.inputs[0].datatype, list(model.inputs[0].shape)) == (
        "x",
        "FP64",
        [-1, 2],
    )
    assert [(row.name, row.state) for row in client.get_model_repository_index().models] == [
        ("m", "READY"),
        ("bad", "UNAVAILABLE"),
    ]


def test_a_prediction(client: Any, endpoint: Endpoint) -> None:
    x = np.array([[1.5, -2.0]])
    headers = {"x-request-id": "r-1", "tacit-client": "c", "authorization": "Bearer t"}
    found = client.infer("m", [tensor(x, "FP64")], request_id="i", headers=headers, client_timeout=90)
    assert found.as_numpy("y").tolist() == [[3.0, -4.0]]
    assert found.get_response().id == "i"
    assert endpoint.seen["request_id"] == "r-1"
    assert endpoint.seen["client"] == "c"
    assert endpoint.seen["principal"].identity == "token:somebody"
    assert endpoint.seen["address"] == "127.0.0.1"
    assert 20_000 < endpoint.seen["timeout_ms"] < 91_000  # their library rounds up
    assert endpoint.seen["protocol"] == "grpc"


def test_bytes_travel_as_they_are(client: Any) -> None:
    message = bytes(range(256)) * 1000
    found = client.infer("m", [tensor(np.array([message], dtype=object), "BYTES")])
    assert found.as_numpy("y").tolist() == [message[::-1]]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.MissingKeyError("no such keys"), "NOT_FOUND"),
        (errors.ShapeError("another shape"), "INVALID_ARGUMENT"),
        (errors.RateLimitError("too often"), "RESOURCE_EXHAUSTED"),
        (errors.BusyError("full"), "UNAVAILABLE"),
        (errors.ReplayError("seen before"), "ABORTED"),
        (errors.PeerTimeoutError("too late"), "DEADLINE_EXCEEDED"),
        (ValueError("a secret value"), "INTERNAL"),
    ],
)
def test_errors_keep_code_and_hint(endpoint: Endpoint, error: Exception, status: str) -> None:
    endpoint.error = error
    with running(endpoint) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\x0a\x01m", metadata=(("x-request-id", "r-7"),), timeout=PATIENCE_S)
    assert caught.value.code().name == status
    trailing = dict(caught.value.trailing_metadata())
    body = json.loads(trailing["tacit-error-bin"])
    assert body["request_id"] == "r-7"
    assert body["code"] == getattr(error, "code", "internal")
    assert "secret" not in str(caught.value.details()) + str(body)
    assert ("retry-after" in trailing) == isinstance(error, errors.BusyError)


def test_a_wrong_token_is_refused(client: Any) -> None:
    for call in (
        lambda headers: client.infer("m", [tensor(np.zeros((1, 2)), "FP64")], headers=headers),
        lambda headers: client.get_model_metadata("m", headers=headers),
        lambda headers: client.get_model_repository_index(headers=headers),
    ):
        with pytest.raises(triton.InferenceServerException, match="UNAUTHENTICATED"):
            call({"authorization": "Bearer wrong"})


def test_unknown_models_and_methods(client: Any) -> None:
    with pytest.raises(triton.InferenceServerException, match="NOT_FOUND"):
        client.get_model_metadata("other")
    with pytest.raises(triton.InferenceServerException, match="UNIMPLEMENTED"):
        client.get_inference_statistics()


def test_large_and_compressed_messages_are_refused(client: Any) -> None:
    with pytest.raises(triton.InferenceServerException, match="RESOURCE_EXHAUSTED"):
        client.infer("m", [tensor(np.zeros((1, 1 << 18)), "FP64")])
    with pytest.raises(triton.InferenceServerException, match="UNIMPLEMENTED"):
        client.infer("m", [tensor(np.zeros((1, 1 << 10)), "FP64")], compression_algorithm="gzip")
    assert client.infer("m", [tensor(np.zeros((1, 2)), "FP64")]).as_numpy("y").tolist() == [[0, 0]]


def test_a_client_that_leaves_cancels_the_work(endpoint: Endpoint) -> None:
    endpoint.sleep_s = 2 * PATIENCE_S
    with running(endpoint) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer").future(b"\x0a\x01m")
        until(lambda: "model" in endpoint.seen)
        call.cancel()
        assert endpoint.cancelled.wait(SOON_S)


@pytest.mark.parametrize("text", ["soon", "-1", "1" * 10, ""])
def test_a_timeout_that_is_no_number_is_refused(client: Any, text: str) -> None:
    with pytest.raises(triton.InferenceServerException, match="INVALID_ARGUMENT"):
        client.infer("m", [tensor(np.zeros((1, 2)), "FP64")], headers={"tacit-timeout-ms": text})


def test_a_port_that_is_taken_is_said(endpoint: Endpoint) -> None:
    with running(endpoint) as port:

        async def again() -> None:
            await grpc_service.serve(endpoint, "127.0.0.1", port, max_bytes=1 << 20, log=Log(io.StringIO()))

        with pytest.raises(errors.InvalidParameterError, match="listen"):
            asyncio.run(again())


def test_tls_with_certificates_of_clients(endpoint: Endpoint, tmp_path: Path) -> None:
    """The peer's certificate comes through; without one there is no connection; a renewed one is used."""
    authority = Authority(tmp_path)
    server, client = authority.issue("localhost"), authority.issue("alice")
    with running(endpoint, certificate=server, client_ca=authority.path) as port:
        roots, key, chain = (path.read_bytes() for path in (authority.path, client[1], client[0]))
        credentials = grpc.ssl_channel_credentials(roots, key, chain)
        with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelReady")
            assert call(b"\x0a\x01m", timeout=PATIENCE_S) == b"\x08\x01"
        from cryptography import x509

        assert endpoint.seen["certificate"] is not None
        assert (
            "alice" in x509.load_der_x509_certificate(endpoint.seen["certificate"]).subject.rfc4514_string()
        )
        with (
            grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(roots)) as channel,
            pytest.raises(grpc.RpcError),
        ):
            channel.unary_unary("/inference.GRPCInferenceService/ModelReady")(b"\x0a\x01m", timeout=5)


class Authority:
    """A certificate authority of the test."""

    def __init__(self, folder: Path) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of a test")])
        self.path = folder / "ca.pem"
        self.path.write_bytes(self._signed(self._name, self._key.public_key(), None))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Chain and key of a name, as files."""
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        chain, secret = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        chain.write_bytes(self._signed(subject, key.public_key(), name))
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return chain, secret

    def _signed(self, subject: Any, public: Any, host: str | None) -> bytes:
        import datetime

        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization

        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
        )
        if host is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        made: bytes = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        return made


def test_calls_are_written_down(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call leaves one line, whatever became of it, and a span; neither says what was sent."""
    lines, spans = io.StringIO(), []

    class Kept(tracing.Span):
        def __init__(self) -> None:
            super().__init__()
            self.facts: dict[str, Any] = {}
            spans.append(self.facts)

        def set(self, name: str, value: str | int) -> None:
            super().set(name, value)
            self.facts[name] = value

    @contextlib.contextmanager
    def span(name: str, headers: Mapping[str, str] | None = None, /, **facts: Any) -> Iterator[Kept]:
        kept = Kept()
        for key, value in facts.items():
            kept.set(key, value)
        yield kept

    monkeypatch.setattr(tracing, "span", span)
    with running(endpoint, log=Log(lines)) as port:
        made = triton.InferenceServerClient(f"127.0.0.1:{port}")
        sent = [tensor(np.zeros((1, 2)), "FP64")]
        made.infer("m", sent, headers={"x-request-id": "one"})
        with pytest.raises(triton.InferenceServerException):
            made.infer("m", sent, headers={"authorization": "Bearer wrong"})
        endpoint.error = RuntimeError("a secret")
        with pytest.raises(triton.InferenceServerException):
            made.infer("m", sent)
        with pytest.raises(triton.InferenceServerException):
            made.get_model_metadata("secret")
        made.close()
    written = [json.loads(line) for line in lines.getvalue().splitlines()]
    calls = [line for line in written if line["event"] == "call"]
    infer = "/inference.GRPCInferenceService/ModelInfer"
    assert [(line["method"], line["route"], line["status"], line.get("code")) for line in calls[:3]] == [
        ("GRPC", infer, 200, None),
        ("GRPC", infer, 401, "access-denied"),
        ("GRPC", infer, 500, "internal"),
    ]
    assert (calls[0]["request_id"], calls[0]["model"], calls[0]["principal"]) == (
        "one",
        "m",
        "token:somebody",
    )
    assert calls[3]["status"] == 404 and "model" not in calls[3]
    failure = next(line for line in written if line["event"] == "failure")
    assert failure["kind"] == "RuntimeError" and failure["place"].startswith("test_grpc.py:")
    assert "secret" not in lines.getvalue()
    assert [span["status"] for span in spans] == [200, 401, 500, 404]
    assert spans[0]["route"] == infer and spans[1]["code"] == "access-denied"
