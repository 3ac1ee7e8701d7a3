"""Every call of the HTTP interface, in one table: the routes and the OpenAPI document are both made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tacit.net import wire

__all__ = ["CALLS", "PARAMETERS", "PATH_PARAMETERS", "SCHEMAS", "Call", "reference"]


@dataclass(frozen=True, kw_only=True)
class Call:
    """``name``: of the handler. ``body``, ``answer``: media types and the name of a schema. ``headers``: of the
    request, by their key in ``PARAMETERS``. ``statuses``: that are not errors. ``errors``: of typed errors."""

    name: str
    method: str
    path: str
    summary: str
    body: Mapping[str, str] = field(default_factory=dict)
    answer: Mapping[str, str] = field(default_factory=dict)
    headers: tuple[str, ...] = ()
    statuses: tuple[int, ...] = (200,)
    errors: tuple[int, ...] = ()
    is_public: bool = False
    """Whether it is answered without a token: health, for balancers that have none."""


JSON, BINARY, CBOR = "application/json", "application/octet-stream", "application/cbor"
PATHS = wire.PATHS

INFER: dict[str, Any] = {
    "method": "POST",
    "summary": "One prediction; binary tensors follow the JSON part (binary tensor extension).",
    "body": {JSON: "InferRequest", BINARY: "Binary"},
    "answer": {JSON: "InferResponse", BINARY: "Binary"},
    "headers": ("client_optional", "timeout", "json_length"),
    "errors": (400, 404, 409, 413, 415, 422, 429, 503, 504),
}

CALLS = (
    Call(
        name="live",
        method="GET",
        path=PATHS["live"],
        summary="Whether the process answers.",
        answer={JSON: "Live"},
        is_public=True,
    ),
    Call(
        name="ready",
        method="GET",
        path=PATHS["ready"],
        summary="Whether predictions are taken; 503 while starting and draining.",
        answer={JSON: "Ready"},
        statuses=(200, 503),
        is_public=True,
    ),
    Call(
        name="server",
        method="GET",
        path=PATHS["server"],
        summary="Name, version and extensions.",
        answer={JSON: "Server"},
    ),
    Call(
        name="load",
        method="GET",
        path=PATHS["load"],
        summary="Requests, queue, workers and keys of the whole server.",
        answer={JSON: "Load"},
    ),
    Call(
        name="index",
        method="POST",
        path=PATHS["index"],
        summary="Every model with its state, and what is wrong with it.",
        body={JSON: "IndexRequest"},
        answer={JSON: "Index"},
        errors=(400, 413, 415, 504),
    ),
    Call(
        name="model",
        method="GET",
        path=PATHS["model"],
        summary="Inputs, outputs and protection of a model.",
        answer={JSON: "Model"},
        errors=(404,),
    ),
    Call(
        name="model",
        method="GET",
        path=PATHS["version"],
        summary="The same of one version.",
        answer={JSON: "Model"},
        errors=(404,),
    ),
    Call(
        name="model_ready",
        method="GET",
        path=PATHS["model_ready"],
        summary="Whether a model takes predictions.",
        answer={JSON: "ModelReady"},
        statuses=(200, 503),
        errors=(404,),
    ),
    Call(
        name="model_ready",
        method="GET",
        path=PATHS["version_ready"],
        summary="The same of one version.",
        answer={JSON: "ModelReady"},
        statuses=(200, 503),
        errors=(404,),
    ),
    Call(name="infer", path=PATHS["infer"], **INFER),
    Call(name="infer", path=PATHS["version_infer"], **INFER),
    Call(
        name="plans",
        method="GET",
        path=PATHS["plans"],
        summary="The plans of an encrypted model, and what each costs.",
        answer={JSON: "Plans"},
        errors=(404,),
    ),
    Call(
        name="plan",
        method="GET",
        path=PATHS["plan"],
        summary="A public plan; the ETag is its id.",
        answer={CBOR: "Binary"},
        headers=("if_none_match",),
        statuses=(200, 304),
        errors=(404,),
    ),
    Call(
        name="explain",
        method="GET",
        path=PATHS["explain"],
        summary="The price list: who sees what, seconds, bytes, memory, precision.",
        answer={JSON: "Prices"},
        errors=(404,),
    ),
    Call(
        name="key_state",
        method="HEAD",
        path=PATHS["keys"],
        summary="How much of an upload of evaluation keys is there.",
        headers=("client",),
        errors=(400, 404),
    ),
    Call(
        name="key_piece",
        method="PATCH",
        path=PATHS["keys"],
        summary="The next piece of an upload; 201 when it was the last and the keys fit the plan, else 204.",
        body={BINARY: "Binary"},
        headers=("client", "model", "plan", "upload_offset", "upload_length"),
        statuses=(201, 204),
        errors=(400, 404, 409, 413, 415, 503, 504, 507),
    ),
    Call(
        name="key_removal",
        method="DELETE",
        path=PATHS["keys"],
        summary="Removes keys, or what there is of an upload.",
        headers=("client",),
        statuses=(204,),
        errors=(400, 404),
    ),
    Call(
        name="openapi",
        method="GET",
        path=PATHS["openapi"],
        summary="This document.",
        answer={JSON: "Document"},
    ),
)

TEXT: dict[str, Any] = {"type": "string"}
COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
NUMBER: dict[str, Any] = {"type": "number"}
FLAG: dict[str, Any] = {"type": "boolean"}
DIGEST: dict[str, Any] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
LENGTH: dict[str, Any] = {"type": "string", "pattern": "^(0|[1-9][0-9]{0,11})$"}

PARAMETERS: Mapping[str, tuple[str, bool, dict[str, Any], str]] = {
    "client": (
        wire.CLIENT,
        True,
        {"type": "string", "pattern": "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$"},
        "Client secret: 32 random bytes in base64url, made with the keys.",
    ),
    "client_optional": (
        wire.CLIENT,
        False,
        {"type": "string", "pattern": "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$"},
        "Client secret; needed for encrypted models.",
    ),
    "model": (wire.MODEL, True, TEXT, "Name of the model that the keys are for."),
    "plan": (wire.PLAN, True, DIGEST, "The plan that the keys are for."),
    "upload_offset": (wire.UPLOAD_OFFSET, True, LENGTH, "Where this piece begins, in bytes."),
    "upload_length": (wire.UPLOAD_LENGTH, True, LENGTH, "Bytes of the whole."),
    "timeout": (
        wire.TIMEOUT_MS,
        False,
        {"type": "string", "pattern": "^[1-9][0-9]{0,8}$"},
        "Milliseconds after which nobody waits for the answer.",
    ),
    "json_length": (
        wire.CONTENT_LENGTH_OF_JSON,
        False,
        {"type": "string", "pattern": "^[1-9][0-9]{0,11}$"},
        "Bytes of the JSON part, where binary tensors follow it.",
    ),
    "if_none_match": ("If-None-Match", False, TEXT, "An ETag that the caller has."),
}
"""Key of a header → its name, whether it is needed, schema, meaning."""

PATH_PARAMETERS: Mapping[str, tuple[dict[str, Any], str]] = {
    "model": (TEXT, "Name of a model."),
    "version": (TEXT, "Version of a model."),
    "plan_id": (TEXT, "SHA-256 of a public plan, in hexadecimal."),
    "digest": (DIGEST, "SHA-256 of the message of evaluation keys, in hexadecimal."),
}


def _object(
    required: Mapping[str, Any], optional: Mapping[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(optional or {})},
        **more,
    }


def _list(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def reference(name: str) -> dict[str, str]:
    """A schema by its name."""
    return {"$ref": "/".join(("#", "components", "schemas", name))}


NAME: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 256}
OPEN: dict[str, Any] = {"type": "object"}
DATATYPES = ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"]
DATATYPES += ["FP16", "BF16", "FP32", "FP64", "BYTES"]

SCHEMAS: Mapping[str, Any] = {
    "Binary": {"type": "string", "format": "binary"},
    "Error": _object({"error": TEXT, "code": TEXT, "hint": TEXT, "request_id": TEXT}, {"details": OPEN}),
    "Live": _object({"live": FLAG}),
    "Ready": _object({"ready": FLAG}),
    "ModelReady": _object({"name": TEXT, "ready": FLAG}),
    "Server": _object({"name": TEXT, "version": TEXT, "extensions": _list(TEXT)}, {"parameters": OPEN}),
    "Load": _object({"version": TEXT, "started_at": NUMBER, "ready": FLAG, "draining": FLAG}),
    "IndexRequest": _object({}, {"ready": FLAG}, additionalProperties=False),
    "Index": _list(
        _object(
            {
                "name": TEXT,
                "version": TEXT,
                "state": {"enum": ["READY", "LOADING", "UNAVAILABLE"]},
                "reason": TEXT,
            }
        )
    ),
    "TensorMetadata": _object(
        {"name": NAME, "datatype": {"enum": DATATYPES}, "shape": _list({"type": "integer"})}
    ),
    "Model": _object(
        {
            "name": TEXT,
            "versions": _list(TEXT),
            "platform": TEXT,
            "inputs": _list(reference("TensorMetadata")),
            "outputs": _list(reference("TensorMetadata")),
        },
        {"parameters": OPEN},
    ),
    "Parameters": {
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": {"type": ["boolean", "number", "string"]},
    },
    "Tensor": _object(
        {"name": NAME, "datatype": {"enum": DATATYPES}, "shape": {**_list(COUNT), "maxItems": 8}},
        {"parameters": reference("Parameters"), "data": {"type": "array"}},
        additionalProperties=False,
    ),
    "RequestedOutput": _object(
        {"name": NAME}, {"parameters": reference("Parameters")}, additionalProperties=False
    ),
    "InferRequest": _object(
        {"inputs": _list(reference("Tensor"))},
        {
            "id": {"type": "string", "maxLength": 256},
            "parameters": reference("Parameters"),
            "outputs": _list(reference("RequestedOutput")),
        },
        additionalProperties=False,
    ),
    "InferResponse": _object(
        {"model_name": TEXT, "model_version": TEXT, "outputs": _list(reference("Tensor"))},
        {"id": TEXT, "parameters": reference("Parameters")},
    ),
    "Plans": _object(
        {
            "plans": _list(
                _object(
                    {
                        "plan_id": DIGEST,
                        "batch": COUNT,
                        "layout": TEXT,
                        "request_bytes": COUNT,
                        "response_bytes": COUNT,
                        "key_bytes": COUNT,
                        "seconds": NUMBER,
                        "error_bound": NUMBER,
                        "checked_samples": COUNT,
                    }
                )
            )
        }
    ),
    "Prices": _object({"model": TEXT, "plans": _list(OPEN), "refusals": _list(OPEN)}),
    "Document": _object({"openapi": TEXT, "paths": OPEN}),
}
