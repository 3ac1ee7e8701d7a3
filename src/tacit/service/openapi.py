"""The OpenAPI 3.1 document of the HTTP interface, made from the table of calls."""

from __future__ import annotations

import http
import re
from typing import Any

from tacit.net import wire
from tacit.service.calls import CALLS, PARAMETERS, PATH_PARAMETERS, SCHEMAS, Call, reference

__all__ = ["document"]


def document(version: str) -> dict[str, Any]:
    """Plain data. ``version``: of the server."""
    paths: dict[str, dict[str, Any]] = {}
    for call in CALLS:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tacit",
            "version": version,
            "summary": "Predictions on encrypted data: Open Inference Protocol v2 with the extension `tacit`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": dict(SCHEMAS),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "certificate": {"type": "mutualTLS"},
            },
        },
        "security": [{}, {"token": []}, {"certificate": []}],
    }


def _operation(call: Call) -> dict[str, Any]:
    """One method of one path."""
    suffix = "_version" if "{version}" in call.path else ""
    found: dict[str, Any] = {
        "operationId": call.name + suffix,
        "summary": call.summary,
        "parameters": [_path_parameter(name) for name in re.findall(r"{(\w+)}", call.path)]
        + [_header(key) for key in call.headers],
        "responses": _responses(call),
    }
    if call.body:
        found["requestBody"] = {"required": call.name != "index", "content": _content(call.body)}
    if call.is_public:
        found["security"] = []
    return found


def _responses(call: Call) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status in call.statuses:
        answer = {"description": http.HTTPStatus(status).phrase}
        has_body = call.answer and status in (200, 503)
        responses[str(status)] = answer | ({"content": _content(call.answer)} if has_body else {})
    denied = () if call.is_public else (401, 429)
    for status in sorted({*call.errors, *denied, 400, 500}):
        answer = {"description": http.HTTPStatus(status).phrase}
        has_body = call.method != "HEAD"
        error = {"content": {"application/json": {"schema": reference("Error")}}} if has_body else {}
        headers = {}
        if status in (429, 503):
            headers = {"headers": {wire.RETRY_AFTER: {"schema": {"type": "integer", "minimum": 1}}}}
        responses.setdefault(str(status), answer | error | headers)
    return responses


def _content(media: Any) -> dict[str, Any]:
    return {kind: {"schema": reference(schema)} for kind, schema in media.items()}


def _header(key: str) -> dict[str, Any]:
    name, is_needed, schema, meaning = PARAMETERS[key]
    return {"name": name, "in": "header", "required": is_needed, "schema": schema, "description": meaning}


def _path_parameter(name: str) -> dict[str, Any]:
    schema, meaning = PATH_PARAMETERS[name]
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": meaning}
