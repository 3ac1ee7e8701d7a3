"""An owner written out by hand on top of plain HTTP calls: what the protocol page says, and nothing else."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field

import httpx
import numpy as np

import tacit
from tacit.net import envelope, wire
from tacit.net.tensors import InferRequest, InferResponse, Tensor


@dataclass
class ByHand:
    """Keys for one plan of one model, and the client secret that was made with them."""

    http: httpx.Client
    model: str
    plan_id: str
    secret: bytes = field(default_factory=envelope.new_client_secret)

    def __post_init__(self) -> None:
        self.owner = tacit.Owner(self.http.get(f"/v2/models/{self.model}/plans/{self.plan_id}").content)
        self.keys = self.owner.evaluation_keys()
        self.digest = hashlib.sha256(self.keys).hexdigest()
        self.ids: list[bytes] = []

    @property
    def headers(self) -> dict[str, str]:
        return {wire.CLIENT: envelope.client_header(self.secret)}

    def piece(self, offset: int, content: bytes, **more: str) -> httpx.Response:
        given = {
            wire.UPLOAD_OFFSET: str(offset),
            wire.UPLOAD_LENGTH: str(len(self.keys)),
            wire.MODEL: self.model,
            wire.PLAN: self.plan_id,
            "Content-Type": "application/octet-stream",
        }
        return self.http.patch(
            f"/v2/keys/{self.digest}", content=content, headers=self.headers | given | more
        )

    def upload(self) -> httpx.Response:
        return self.piece(0, self.keys)

    def message(self, samples: np.ndarray, *, now_ms: int | None = None) -> bytes:
        """An encrypted request in its frame."""
        message, made = self.sealed(self.owner.encrypt(samples), now_ms=now_ms)
        self.ids.append(made)
        return message

    def sealed(self, request: bytes, *, now_ms: int | None = None) -> tuple[bytes, bytes]:
        """A frame around a request, and its id."""
        return envelope.seal_request(
            request,
            client=self.secret,
            model=self.model,
            plan=bytes.fromhex(self.plan_id),
            key=bytes.fromhex(self.digest),
            now_ms=time.time_ns() // 10**6 if now_ms is None else now_ms,
        )

    def send(self, message: bytes, **more: str) -> httpx.Response:
        parts, length = InferRequest(inputs=(Tensor.of_bytes("request", [message]),), binary=True).encode()
        given = {wire.CONTENT_LENGTH_OF_JSON: str(length), "Content-Type": "application/octet-stream"}
        return self.http.post(
            f"/v2/models/{self.model}/infer", content=b"".join(parts), headers=self.headers | given | more
        )

    def opened(self, answer: httpx.Response, made: bytes) -> np.ndarray:
        """The answer to the request with id ``made``, decrypted."""
        length = answer.headers.get(wire.CONTENT_LENGTH_OF_JSON)
        found = InferResponse.decode(answer.content, None if length is None else int(length))
        body = envelope.open_response(
            found.outputs[0].elements()[0],
            client=self.secret,
            model=self.model,
            plan=bytes.fromhex(self.plan_id),
            key=bytes.fromhex(self.digest),
            id=made,
        )
        return np.asarray(self.owner.decrypt(bytes(body)))

    def predict(self, samples: np.ndarray) -> np.ndarray:
        answer = self.send(self.message(samples))
        answer.raise_for_status()
        return self.opened(answer, self.ids[-1])
