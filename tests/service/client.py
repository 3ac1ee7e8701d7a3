"""A client written for tests: it does what an attacker would, one call at a time, with nothing made safe."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tacit.backends.ckks.owner import Owner
from tacit.net import envelope
from tacit.net.tensors import InferRequest, InferResponse, Tensor
from tacit.net.tls import client_context
from tests.patience import PATIENCE_S, SOON_S


@dataclasses.dataclass
class Server:
    """A running `tacit serve`. ``grpc``: where it answers gRPC, if it does."""

    url: str
    process: subprocess.Popen[str]
    http: httpx.Client
    grpc: str = ""


@contextmanager
def serving(folder: Path, *words: str, config: Path) -> Iterator[Server]:
    """`tacit serve` with these words in a process of its own; ``config``: where its development certificate is."""
    environment = {**os.environ, "XDG_CONFIG_HOME": str(config)}
    log = (folder / "log").open("a")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tacit",
            "serve",
            *words,
            "--listen",
            "127.0.0.1:0",
            "--json",
            "--workers",
            "1",
        ],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env=environment,
        cwd=folder,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (folder / "log").read_text()
        before = os.environ.get("XDG_CONFIG_HOME")
        os.environ["XDG_CONFIG_HOME"] = str(config)
        try:
            context = client_context(host="127.0.0.1")
        finally:
            if before is None:
                del os.environ["XDG_CONFIG_HOME"]
            else:
                os.environ["XDG_CONFIG_HOME"] = before
        with httpx.Client(verify=context, timeout=PATIENCE_S, trust_env=False) as http:
            said = json.loads(line)
            grpc = said.get("grpc") or ""
            yield Server(said["address"], process, http, grpc.removeprefix("grpcs://"))
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        finally:
            process.kill()
            if process.stdout is not None:
                process.stdout.close()
            log.close()


@dataclasses.dataclass
class Refusal:
    """How a call was refused. ``rest``: headers but for times and ids, and the body but for its request id."""

    status: int
    code: str
    rest: Any


class Client:
    """One owner of keys: a token, a client secret, a secret key for one plan."""

    def __init__(self, server: Server, token: str | None, *, model: str = "risk", plan: int = 0) -> None:
        self.server, self.token, self.model = server, token, model
        self.secret = envelope.new_client_secret()
        self.plan = self.plans(model)[plan]["plan_id"]
        found = self.call("GET", f"/v2/models/{model}/plans/{self.plan}")
        assert isinstance(found, httpx.Response), found
        self.owner = Owner(found.content)
        self.keys = self.owner.evaluation_keys()

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.keys).hexdigest()

    @property
    def header(self) -> str:
        """The client secret as it travels."""
        return envelope.client_header(self.secret)

    def plans(self, model: str) -> list[dict[str, Any]]:
        found = self.call("GET", f"/v2/models/{model}/plans")
        assert isinstance(found, httpx.Response), found
        return list(found.json()["plans"])

    def call(
        self, method: str, path: str, *, content: bytes = b"", **headers: str
    ) -> httpx.Response | Refusal:
        """One call; refusals come soon, and are compared, so what differs by chance is taken out of them."""
        sent = {"Tacit-Client": envelope.client_header(self.secret)} | headers
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        start = time.monotonic()
        found = self.server.http.request(method, self.server.url + path, content=content, headers=sent)
        if found.is_success:
            return found
        assert time.monotonic() - start < SOON_S, f"{method} {path} was refused too late"
        body = found.json() if found.content else {}
        body.pop("request_id", None)
        kept = {name: value for name, value in found.headers.items() if name not in ("date", "x-request-id")}
        return Refusal(found.status_code, body.get("code", ""), (kept, body))

    def send(
        self, data: bytes | None = None, *, offset: int = 0, until: int | None = None, **changes: str
    ) -> httpx.Response | Refusal:
        """A piece of an upload, by default all of the own keys."""
        data = self.keys if data is None else data
        headers = {
            "Upload-Offset": str(offset),
            "Upload-Length": str(len(data)),
            "Tacit-Model": self.model,
            "Tacit-Plan": self.plan,
            "Content-Type": "application/octet-stream",
        }
        digest = hashlib.sha256(data).hexdigest()
        return self.call("PATCH", f"/v2/keys/{digest}", content=data[offset:until], **(headers | changes))

    def head(self, digest: str) -> httpx.Response | Refusal:
        return self.call("HEAD", f"/v2/keys/{digest}")

    def frame(
        self,
        sample: np.ndarray,
        *,
        body: bytes | None = None,
        key: str = "",
        plan: str = "",
        model: str = "",
        ago_s: float = 0,
    ) -> tuple[bytes, bytes]:
        """A sealed request and its id; anything in it may be what it should not be."""
        return envelope.seal_request(
            self.owner.encrypt(sample) if body is None else body,
            client=self.secret,
            model=model or self.model,
            plan=bytes.fromhex(plan or self.plan),
            key=bytes.fromhex(key or self.digest),
            now_ms=time.time_ns() // 1_000_000 - int(1000 * ago_s),
        )

    def infer(self, frame: bytes, *, model: str = "") -> bytes | Refusal:
        """Sends a frame; the sealed response."""
        parts, length = InferRequest(inputs=(Tensor.of_bytes("request", [frame]),), binary=True).encode()
        found = self.call(
            "POST",
            f"/v2/models/{model or self.model}/infer",
            content=b"".join(parts),
            **{"Inference-Header-Content-Length": str(length), "Content-Type": "application/octet-stream"},
        )
        if isinstance(found, Refusal):
            return found
        answer = InferResponse.decode(found.content, int(found.headers["Inference-Header-Content-Length"]))
        return bytes(answer.outputs[0].elements()[0])

    def opened(self, response: bytes, id: bytes) -> bytes:
        """The body of a sealed response."""
        plan, key = bytes.fromhex(self.plan), bytes.fromhex(self.digest)
        return bytes(
            envelope.open_response(response, client=self.secret, model=self.model, plan=plan, key=key, id=id)
        )

    def predict(self, sample: np.ndarray) -> np.ndarray:
        """An honest prediction: decrypted scores."""
        message, id = self.frame(sample)
        response = self.infer(message)
        assert isinstance(response, bytes), response
        return np.asarray(self.owner.decrypt(self.opened(response, id)))
