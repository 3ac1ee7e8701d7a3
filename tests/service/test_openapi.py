"""The document and the table of calls are one thing: paths, parameters and the errors that the wire knows."""

from __future__ import annotations

import json
import re

from tacit.net import wire
from tacit.service.calls import CALLS, PARAMETERS, SCHEMAS
from tacit.service.openapi import document

DOCUMENT = document("1.2.3")
OPERATIONS = [each for methods in DOCUMENT["paths"].values() for each in methods.values()]


def test_every_call_is_in_the_document_and_nothing_else() -> None:
    written = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert written == {(call.method, call.path) for call in CALLS}
    assert {call.path for call in CALLS} == set(wire.PATHS.values())


def test_names_of_operations_are_unique() -> None:
    names = [operation["operationId"] for operation in OPERATIONS]
    assert len(set(names)) == len(names)


def test_references_resolve_and_nothing_is_left_over() -> None:
    text = json.dumps(DOCUMENT)
    used = set(re.findall(r"components.schemas.(\w+)", text))
    assert used == set(SCHEMAS)
    assert {key for call in CALLS for key in call.headers} == set(PARAMETERS)


def test_parameters_of_paths_are_declared() -> None:
    for path, methods in DOCUMENT["paths"].items():
        for operation in methods.values():
            declared = [found["name"] for found in operation["parameters"] if found["in"] == "path"]
            assert declared == re.findall(r"{(\w+)}", path)


def test_statuses_of_errors_are_those_of_the_wire() -> None:
    statuses = {
        int(status)
        for methods in DOCUMENT["paths"].values()
        for each in methods.values()
        for status in each["responses"]
    }
    assert statuses <= {200, 201, 204, 304, 400, 500, *wire.STATUS.values()}
    assert set(wire.STATUS.values()) <= statuses


def test_only_health_is_public() -> None:
    public = {each["operationId"] for each in OPERATIONS if each.get("security") == []}
    assert public == {"live", "ready"}
