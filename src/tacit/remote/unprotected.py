"""Predictions by a model that is served without protection, for whoever asks for that by name."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.backends.answer import Answer, Report
from tacit.errors import DataError, MalformedMessageError, UsageError
from tacit.net import wire
from tacit.net.tensors import DTYPES, InferRequest, InferResponse, Output, Tensor
from tacit.remote.exchange import json_length
from tacit.remote.session import Session

__all__ = ["predict_unprotected"]

MAX_ANSWER_BYTES = 1 << 30


def predict_unprotected(
    session: Session, model: str, metadata: dict[str, Any], samples: npt.NDArray[Any], *, timeout_s: float
) -> tuple[Answer, str]:
    """The answer of a model whose samples and answers the provider sees, and the name of the output that it is.

    ``metadata``: of the model, as the provider gave it. Raises ``UsageError`` for a model with several inputs.
    """
    start = time.perf_counter()
    name, dtype = _input(metadata)
    try:
        tensor = Tensor.of(name, np.ascontiguousarray(samples, dtype=dtype))
    except (TypeError, ValueError) as error:
        raise DataError("samples must be a numeric array") from error
    wanted = tuple(Output(name, True) for name in _outputs(metadata))
    parts, length = InferRequest(inputs=(tensor,), outputs=wanted).encode(binary=True)
    deadline = session.clock() + timeout_s
    reply = session.patiently(
        lambda: session.ask(
            "POST",
            wire.PATHS["infer"].format(model=model),
            deadline=deadline,
            headers={wire.CONTENT_LENGTH_OF_JSON: str(length), "Content-Type": "application/octet-stream"},
            parts=parts,
            limit=MAX_ANSWER_BYTES,
        ),
        deadline=deadline,
    )
    answer = InferResponse.decode(reply.body, json_length(reply))
    arrays = {tensor.name: tensor.array() for tensor in answer.outputs}
    primary, label = _roles(metadata, arrays)
    report = Report(
        protection="clear",
        plan_id="",
        samples=len(samples),
        seconds={"server": time.perf_counter() - start},
        bytes_up=sum(map(len, parts)),
        bytes_down=len(reply.body),
    )
    labels = None if label is None else _labels(arrays[label])
    return Answer.of(arrays[primary].astype(np.float64), labels=labels, report=report), primary


def _input(metadata: dict[str, Any]) -> tuple[str, np.dtype[Any]]:
    inputs = metadata.get("inputs")
    if not isinstance(inputs, list) or not inputs or not all(isinstance(one, dict) for one in inputs):
        raise MalformedMessageError("the provider does not say what the model takes")
    if len(inputs) > 1:
        raise UsageError(
            f"the model takes {len(inputs)} inputs, this call has one",
            hint="use any client of the protocol for it",
        )
    name, datatype = inputs[0].get("name"), inputs[0].get("datatype")
    if not isinstance(name, str) or datatype not in DTYPES:
        raise MalformedMessageError("the provider does not say what the model takes")
    return name, np.dtype(DTYPES[datatype])


def _outputs(metadata: dict[str, Any]) -> list[str]:
    outputs = metadata.get("outputs")
    names = [one.get("name") for one in outputs if isinstance(one, dict)] if isinstance(outputs, list) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise MalformedMessageError("the provider does not say what the model gives")
    return [str(name) for name in names]


def _roles(metadata: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> tuple[str, str | None]:
    """Names of the primary output and of the labels: as the provider says, else by what they hold."""
    parameters = metadata.get("parameters")
    told = parameters if isinstance(parameters, dict) else {}
    primary, label = told.get("tacit_primary"), told.get("tacit_label")
    if primary in arrays and arrays[primary].dtype.kind in "biuf":
        return primary, label if label in arrays else None
    numbers = [name for name, array in arrays.items() if array.dtype.kind == "f"]
    if len(numbers) != 1:
        raise MalformedMessageError("the provider does not say which output of the model is the answer")
    others = [name for name in arrays if name != numbers[0]]
    return numbers[0], others[0] if len(others) == 1 else None


def _labels(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.dtype.kind != "O":
        return array.copy()
    try:
        return np.array([bytes(item).decode() for item in array.reshape(-1)]).reshape(array.shape)
    except UnicodeDecodeError:
        raise MalformedMessageError("a label of the answer is not UTF-8") from None
