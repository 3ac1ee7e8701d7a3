"""What a server does, without a protocol around it: REST and gRPC both call this.

Order of a prediction under `ckks`: who asks and how often; the client secret; the frame and its tag; the keys, which
are only those that the same owner sent; whether the request came before; then it is computed.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.errors import (
    AccessDeniedError,
    BusyError,
    ClockSkewError,
    DataError,
    InvalidParameterError,
    MalformedMessageError,
    NotServedError,
    PeerTimeoutError,
    RateLimitError,
    ReplayError,
    ShapeError,
    TacitError,
)
from tacit.net import envelope, wire
from tacit.net.tensors import DTYPES, InferRequest, InferResponse, Tensor
from tacit.service.access import Access, Principal, owner_of
from tacit.service.catalog import Catalog, Row, Served, Spec
from tacit.service.failure import LostKeysError
from tacit.service.metrics import Metrics
from tacit.service.pool import KeyFile, Pool
from tacit.service.replay import ReplayWindow, wall_clock_ms
from tacit.service.store import Store

__all__ = ["REQUEST", "RESPONSE", "Endpoint", "Settings"]

REQUEST, RESPONSE = "request", "response"
"""Names of the input and the output of an encrypted model."""

PLATFORM = {"ckks": "tacit_ckks", "clear": "tacit_clear"}
EXTENSIONS = ["binary_tensor_data", "model_repository", "tacit"]

HASHED_ELSEWHERE = 1 << 18
"""Bytes above which a tag is computed in a thread, so that the event loop goes on."""

READ_ELSEWHERE = 1 << 16
"""Bytes of inputs above which they become arrays in a thread."""

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """``store``: where keys are kept. ``request_bytes``: largest body of a prediction; ``request_s``: its most time."""

    version: str
    store: str = ""
    request_bytes: int = 256 << 20
    request_s: float = 600.0


class Endpoint:
    """Used by one event loop. Makes none of its parts and closes none."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        pool: Pool,
        store: Store,
        access: Access,
        replay: ReplayWindow,
        metrics: Metrics,
        settings: Settings,
    ) -> None:
        self.catalog = catalog
        self.metrics = metrics
        self.settings = settings
        self.store = store
        self.pool = pool
        self._access = access
        self._replay = replay
        self._started_at = time.time()
        self._running = self._done = self._failed = 0
        self.is_draining = False
        metrics.watch(self.load)

    def is_live(self) -> bool:
        """Whether the process answers at all."""
        return True

    def is_ready(self) -> bool:
        """Whether predictions are taken: some model is ready, workers are there, and the server does not end."""
        return not self.is_draining and self.pool.ready and bool(self.catalog.all())

    def server_metadata(self) -> dict[str, Any]:
        """The answer of ``GET /v2``."""
        return {
            "name": "tacit",
            "version": self.settings.version,
            "extensions": EXTENSIONS,
            "parameters": {"tacit_protocol": wire.PROTOCOL},
        }

    def model_metadata(self, model: str, version: str = "") -> dict[str, Any]:
        """The answer of ``GET /v2/models/{model}``. Raises ``NotServedError``."""
        served = self.catalog.find(model, version)
        found: dict[str, Any] = {
            "name": served.name,
            "versions": [served.version],
            "platform": PLATFORM[served.protection],
            "parameters": {"tacit_protection": served.protection, **served.roles},
        }
        if served.protection == "ckks":
            found["inputs"] = [{"name": REQUEST, "datatype": "BYTES", "shape": [1]}]
            found["outputs"] = [{"name": RESPONSE, "datatype": "BYTES", "shape": [1]}]
            found["parameters"]["tacit_plans"] = list(served.rows)
        else:
            found["inputs"] = [_spec(spec) for spec in served.inputs]
            found["outputs"] = [_spec(spec) for spec in served.outputs]
        return found

    def is_model_ready(self, model: str, version: str = "") -> bool:
        """Whether a model answers. Raises ``NotServedError`` for a name that is not in the index."""
        try:
            self.catalog.find(model, version)
        except NotServedError:
            if version or model not in [row["name"] for row in self.catalog.index()]:
                raise
            return False
        return not self.is_draining

    def repository_index(self) -> list[dict[str, str]]:
        """The answer of ``POST /v2/repository/index``."""
        return self.catalog.index()

    def plans(self, model: str) -> list[dict[str, Any]]:
        """What each plan of a model costs, plans for few samples first. Raises ``NotServedError``."""
        return [dict(row.facts) for row in self._encrypted(model).rows.values()]

    def plan(self, model: str, plan_id: str) -> bytes:
        """The public plan. Raises ``NotServedError``."""
        return self._row(self._encrypted(model), plan_id).public_plan

    def explain(self, model: str) -> dict[str, Any]:
        """The price list. Raises ``NotServedError``."""
        return dict(self.catalog.find(model).prices)

    def load(self) -> dict[str, Any]:
        """The answer of ``GET /v2/load``: numbers of the whole server, none of one user."""
        state, totals = self.pool.state(), self.store.totals()
        return {
            "version": self.settings.version,
            "started_at": self._started_at,
            "ready": self.is_ready(),
            "draining": self.is_draining,
            "requests": {"running": self._running, "done": self._done, "failed": self._failed},
            "queue": {
                "waiting": state.queued,
                "capacity": self.pool.limits.queue_count,
                "bytes": state.queue_bytes,
                "capacity_bytes": self.pool.limits.queue_bytes,
            },
            "workers": {
                "alive": sum(worker.process > 0 for worker in state.workers),
                "wanted": state.workers_wanted,
                "busy": state.running,
                "restarts": state.restarts,
            },
            "keys": dict(totals),
            "memory": {
                "keys_bytes": state.key_bytes,
                "keys_capacity_bytes": self.pool.limits.key_memory_bytes,
            },
        }

    def principal(
        self, headers: Mapping[str, str], certificate: bytes | None = None, address: str = ""
    ) -> Principal:
        """Who asks, counted. ``headers``: names in lower case. Raises ``AccessDeniedError`` or ``RateLimitError``."""
        try:
            found = self._access.identify(headers, certificate=certificate, address=address)
            self._access.admit(found)
        except TacitError as error:
            self._count(error)
            raise
        return found

    def body_limit(self, model: str) -> int:
        """Largest body of a prediction of a model. Raises ``NotServedError``."""
        served = self.catalog.find(model)
        if served.protection == "clear":
            return self.settings.request_bytes
        # The plan predicts the size of a full request; base64 adds a third, the frame and the JSON part a little.
        largest = max(int(row.facts["request_bytes"]) for row in served.rows.values())
        return min(self.settings.request_bytes, 2 * largest + (1 << 20))

    async def infer(
        self,
        model: str,
        version: str,
        request: InferRequest,
        *,
        principal: Principal,
        client: str | None = None,
        timeout_ms: int | None = None,
        request_id: str = "",
        protocol: str = "rest",
    ) -> InferResponse:
        """One prediction. ``client``: the header `Tacit-Client`. Cancelling the task cancels the work.

        Raises ``NotServedError``, ``PeerTimeoutError`` after ``timeout_ms``, and what reading, keys, queue and
        computing raise.
        """
        started = time.monotonic()
        status, known = 500, ""
        self._running += 1
        try:
            if self.is_draining:
                raise BusyError("the server is about to end", retry_after_s=1.0)
            served = self.catalog.find(model, version)
            known = served.name
            seconds = _seconds(request, timeout_ms, self.settings.request_s)
            deadline = asyncio.get_running_loop().time() + seconds
            compute = self._compute_encrypted if served.protection == "ckks" else self._compute_clear
            try:
                async with asyncio.timeout_at(deadline + 1.0):
                    outputs = await compute(served, request, principal, client, deadline)
            except TimeoutError:
                raise PeerTimeoutError(
                    "the prediction was not done in time",
                    hint="allow more time, or send it when less is going on",
                ) from None
            status = 200
            return InferResponse(model=served.name, version=served.version, outputs=outputs, id=request.id)
        except asyncio.CancelledError:
            status = 499  # no answer was sent; the number that web servers log for a client that left
            raise
        except Exception as error:
            status = wire.status_of(error)
            self._count(error)
            raise
        finally:
            self._running -= 1
            self._done += status == 200
            self._failed += status >= 500
            self.metrics.request(known, protocol, status, time.monotonic() - started)

    def owner(self, principal: Principal, client: str | None) -> tuple[str, bytes]:
        """The owner of keys (64 hexadecimal digits) and the client secret. Raises ``MalformedMessageError``."""
        secret = envelope.read_client_header(client or "")
        return owner_of(principal, secret), secret

    def program_of(self, model: str, plan_id: str) -> str:
        """The program that computes a plan. Raises ``NotServedError``."""
        return self._row(self._encrypted(model), plan_id).program_id

    def key_limit(self, model: str, plan_id: str) -> int:
        """Largest message of keys that a plan takes. Raises ``NotServedError``."""
        predicted = int(self._row(self._encrypted(model), plan_id).facts["key_bytes"])
        return predicted + predicted // 4 + (1 << 20)

    async def _compute_encrypted(
        self,
        served: Served,
        request: InferRequest,
        principal: Principal,
        client: str | None,
        deadline: float,
    ) -> tuple[Tensor, ...]:
        owner, secret = self.owner(principal, client)
        message, is_base64 = _message(request)
        opened = await _off_loop(
            len(message), lambda: envelope.open_request(message, client=secret, model=served.name)
        )
        row = self._row(served, opened.plan.hex())
        with self.store.lease(owner, opened.key.hex(), model=served.name, plan=row.plan_id) as lease:
            self._replay.admit(owner, opened)
            keys = KeyFile(owner=bytes.fromhex(owner), sha256=opened.key, path=lease.path)
            try:
                answer = await self.pool.run(
                    row.program_id, opened.body, keys, principal=principal.account, deadline=deadline
                )
            except LostKeysError:  # any other missing key is the fault of the request
                await asyncio.to_thread(self.store.lose, lease)
                raise
        sealed = await _off_loop(
            len(answer),
            lambda: envelope.seal_response(answer, client=secret, request=opened, now_ms=wall_clock_ms()),
        )
        parameters = {"content_type": "base64"} if is_base64 else {}
        return (Tensor.of_bytes(RESPONSE, [sealed], parameters=parameters),)

    async def _compute_clear(
        self,
        served: Served,
        request: InferRequest,
        principal: Principal,
        client: str | None,
        deadline: float,
    ) -> tuple[Tensor, ...]:
        size = sum(len(tensor.data) for tensor in request.inputs)
        arrays = await _off_loop(size, lambda: _arrays(served, request), READ_ELSEWHERE)
        wanted = [output.name for output in request.outputs] or [spec.name for spec in served.outputs]
        unknown = set(wanted) - {spec.name for spec in served.outputs}
        if unknown:
            raise InvalidParameterError(
                f"model `{served.name}` has no output `{min(unknown)[:100]}`",
                hint=f"it has {', '.join(f'`{spec.name}`' for spec in served.outputs)}",
            )
        owner = hashlib.sha256(principal.account.encode()).digest()
        found = await self.pool.predict(
            served.program_id, arrays, owner=owner, principal=principal.account, deadline=deadline
        )
        return tuple(Tensor.of(name, found[name]) for name in wanted)

    def _encrypted(self, model: str) -> Served:
        served = self.catalog.find(model)
        if served.protection != "ckks":
            raise NotServedError(
                f"model `{model}` is served in the clear and has no plans",
                hint="its metadata name the tensors that it takes",
            )
        return served

    @staticmethod
    def _row(served: Served, plan_id: str) -> Row:
        row = served.rows.get(plan_id)
        if row is None:
            raise NotServedError(
                f"model `{served.name}` is not served under this plan (any longer)",
                hint=f"`GET /v2/models/{served.name}/plans` lists those that are",
            )
        return row

    def _count(self, error: BaseException) -> None:
        reasons = {
            AccessDeniedError: "access",
            RateLimitError: "rate",
            ReplayError: "replay",
            ClockSkewError: "replay",
            PeerTimeoutError: "deadline",
        }
        for kind, reason in reasons.items():
            if isinstance(error, kind):
                self.metrics.rejected(reason)
                return
        if isinstance(error, BusyError):
            self.metrics.rejected("draining" if self.is_draining else "queue")


def _seconds(request: InferRequest, timeout_ms: int | None, most: float) -> float:
    """How long a prediction may take: by the header, by the protocol's parameter `timeout` (µs), and by the server."""
    given = request.parameters.get("timeout", 0)
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise MalformedMessageError("the parameter `timeout` is a number of microseconds")
    limits = [timeout_ms / 1000 if timeout_ms else most, given / 1e6 if given else most]
    return min(*limits, most)


async def _off_loop(size: int, work: Any, most: int = HASHED_ELSEWHERE) -> Any:
    return work() if size < most else await asyncio.to_thread(work)


def _message(request: InferRequest) -> tuple[memoryview, bool]:
    """The frame inside a prediction of an encrypted model, and whether it came as base64."""
    fits = len(request.inputs) == 1 and request.inputs[0].name == REQUEST
    if not fits or request.inputs[0].datatype != "BYTES" or request.inputs[0].shape != (1,):
        raise MalformedMessageError(
            f"an encrypted model takes one input, `{REQUEST}`, BYTES of shape [1]",
            hint="its request is what `tacit.connect` makes: an encrypted sample in an authenticated frame",
        )
    if not {output.name for output in request.outputs} <= {RESPONSE}:
        raise InvalidParameterError(f"an encrypted model has one output, `{RESPONSE}`")
    tensor = request.inputs[0]
    return tensor.elements()[0], tensor.parameters.get("content_type") == "base64"


def _spec(spec: Spec) -> dict[str, Any]:
    shape = [-1 if size is None else size for size in spec.shape]
    return {"name": spec.name, "datatype": _datatype(spec), "shape": shape}


def _datatype(spec: Spec) -> str:
    if spec.dtype == "str":
        return "BYTES"
    dtype = np.dtype(spec.dtype)
    return next((name for name, known in DTYPES.items() if np.dtype(known) == dtype), "FP64")


def _arrays(served: Served, request: InferRequest) -> Arrays:
    """Inputs by name, in the types of the model. Raises ``ShapeError`` or ``DataError``."""
    specs = {spec.name: spec for spec in served.inputs}
    given = {tensor.name: tensor for tensor in request.inputs}
    if set(specs) != set(given):
        raise ShapeError(
            f"model `{served.name}` takes {', '.join(f'`{name}`' for name in specs)}",
            hint="name each of its inputs once",
        )
    arrays: Arrays = {}
    # All of them before one is read: an array of texts takes many times the bytes that claim it.
    for name, spec in specs.items():
        tensor, wanted = given[name], _datatype(spec)
        if tensor.datatype != wanted and {tensor.datatype, wanted} != {"FP32", "FP64"}:
            raise DataError(f"input `{name}` is {tensor.datatype}. The model takes {wanted}.")
        fits = len(tensor.shape) == len(spec.shape)
        if not fits or any(
            size not in (None, got) for size, got in zip(spec.shape, tensor.shape, strict=True)
        ):
            shape = ", ".join("n" if size is None else str(size) for size in spec.shape)
            raise ShapeError(f"input `{name}` has shape {list(tensor.shape)}. The model takes [{shape}].")
    for name, spec in specs.items():
        array, wanted = given[name].array(), _datatype(spec)
        if wanted == "BYTES":
            texts = [_decoded(name, item) for item in array.reshape(-1).tolist()]
            array = np.array(texts, dtype=object).reshape(array.shape)
        else:
            array = array.astype(spec.dtype, copy=False)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise DataError(f"input `{name}` holds NaN or infinity")
        arrays[name] = array
    return arrays


def _decoded(name: str, item: bytes) -> str:
    try:
        return item.decode()
    except UnicodeDecodeError:
        raise DataError(f"input `{name}` holds bytes that are no UTF-8") from None
