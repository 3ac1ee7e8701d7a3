"""Tensors of the Open Inference Protocol: against bytes written by hand, an independent client, and mutants."""

from __future__ import annotations

import json
import struct
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tritonclient.http._infer_input import InferInput
from tritonclient.http._utils import _get_inference_request

from tacit.errors import DataError, MalformedMessageError, ShapeError, TacitError, TooLargeError
from tacit.net.tensors import DTYPES, MAX_STRINGS, InferRequest, InferResponse, Limits, Output, Tensor

ROW = {"name": "x", "datatype": "FP32", "shape": [1, 2]}


def request(**fields: Any) -> bytes:
    return json.dumps({"inputs": [{**ROW, "data": [1.5, 2.5]}], **fields}).encode()


def test_json_and_binary_are_the_same_tensor() -> None:
    """The bytes are written out by hand: 1.5 and 2.5 as little-endian floats of 4 bytes."""
    head = json.dumps({"id": "7", "inputs": [{**ROW, "parameters": {"binary_data_size": 8}}]}).encode()
    raw = bytes.fromhex("0000c03f00002040")
    binary = InferRequest.decode(head + raw, len(head))
    assert binary.id == "7"
    assert binary.inputs[0].array().tolist() == [[1.5, 2.5]]
    plain = InferRequest.decode(request())
    assert bytes(plain.inputs[0].data) == raw
    nested = request(inputs=[{**ROW, "data": [[1.5, 2.5]]}])
    assert bytes(InferRequest.decode(nested).inputs[0].data) == raw


def test_binary_tensors_are_not_copied() -> None:
    tensor = Tensor.of_bytes("request", [b"x" * 1000])
    parts, length = InferRequest(inputs=(tensor,)).encode()
    body = b"".join(parts)
    found = InferRequest.decode(body, length).inputs[0]
    assert isinstance(found.data, memoryview) and found.data.obj is body
    assert bytes(found.elements()[0]) == b"x" * 1000


def test_elements_of_bytes() -> None:
    tensor = Tensor.of("names", np.array(["a", "", "äö"], dtype=object))
    assert bytes(tensor.data) == b"\x01\0\0\0a\0\0\0\0\x04\0\0\0\xc3\xa4\xc3\xb6"
    assert tensor.array().tolist() == [b"a", b"", "äö".encode()]
    text = InferRequest(inputs=(tensor,)).encode(binary=False)
    assert text[1] is None
    assert json.loads(text[0][0])["inputs"][0]["data"] == ["a", "", "äö"]
    coded = Tensor.of_bytes("r", [b"\xff\x00"], parameters={"content_type": "base64"})
    body = InferRequest(inputs=(coded,)).encode(binary=False)[0][0]
    assert json.loads(body)["inputs"][0]["data"] == ["/wA="]
    assert bytes(InferRequest.decode(body).inputs[0].elements()[0]) == b"\xff\x00"


@pytest.mark.parametrize("binary", [True, False])
def test_requests_of_an_independent_client(binary: bool) -> None:
    given_ = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.array([[True, False]]),
        "c": np.array([b"one", b"two"], dtype=object),
        "d": np.array([-(2**63), 2**63 - 1]),
    }
    kinds = {"a": "FP32", "b": "BOOL", "c": "BYTES", "d": "INT64"}
    inputs = []
    for name, array in given_.items():
        inputs.append(InferInput(name, list(array.shape), kinds[name]))
        inputs[-1].set_data_from_numpy(array, binary_data=binary)
    body, length = _get_inference_request(inputs, "id-1", None, 0, False, False, 0, None, None)
    found = InferRequest.decode(body, length)
    assert found.binary and found.id == "id-1"
    for tensor in found.inputs:
        assert tensor.array().tolist() == given_[tensor.name].tolist()


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"inputs": []}, None),
        ({"inputs": {}}, MalformedMessageError),
        ({"inputs": [1]}, MalformedMessageError),
        ({"inputs": [{**ROW, "data": [1.5]}]}, ShapeError),
        ({"inputs": [{**ROW, "data": 1.5}]}, MalformedMessageError),
        ({"inputs": [{**ROW, "data": [1.5, "2"]}]}, MalformedMessageError),
        ({"inputs": [{**ROW, "data": [1.5, True]}]}, MalformedMessageError),
        ({"inputs": [{**ROW, "data": [1.5, 1e300]}]}, MalformedMessageError),
        ({"inputs": [{**ROW, "data": [1.5, 10**400]}]}, MalformedMessageError),
        ({"inputs": [{**ROW}]}, MalformedMessageError),
        ({"inputs": [{**ROW, "data": [1, 2], "parameters": {"binary_data_size": 8}}]}, MalformedMessageError),
        ({"inputs": [{**ROW, "parameters": {"binary_data_size": 8}}]}, MalformedMessageError),
        ({"inputs": [{**ROW, "parameters": {"binary_data_size": -1}}]}, MalformedMessageError),
        ({"inputs": [{**ROW, "parameters": {"binary_data_size": True}}]}, MalformedMessageError),
        ({"inputs": [{**ROW, "parameters": {"shared_memory_region": "r"}}]}, MalformedMessageError),
        ({"inputs": [{**ROW, "shape": [-1, 2], "data": [1, 2]}]}, MalformedMessageError),
        ({"inputs": [{**ROW, "shape": [1.0, 2], "data": [1, 2]}]}, MalformedMessageError),
        ({"inputs": [{**ROW, "shape": [1] * 9, "data": [1]}]}, MalformedMessageError),
        ({"inputs": [{**ROW, "shape": [0, 1 << 39, 1 << 39], "data": []}]}, MalformedMessageError),
        ({"inputs": [{**ROW, "datatype": "FP128", "data": [1, 2]}]}, MalformedMessageError),
        ({"inputs": [{**ROW, "datatype": ["FP32"], "data": [1, 2]}]}, MalformedMessageError),
        ({"inputs": [{**ROW, "datatype": "FP16", "data": [1, 2]}]}, MalformedMessageError),
        ({"inputs": [{**ROW, "datatype": "UINT8", "data": [1, 256]}]}, MalformedMessageError),
        ({"inputs": [{**ROW, "datatype": "INT64", "data": [1.5, 2]}]}, MalformedMessageError),
        ({"inputs": [{**ROW, "datatype": "BYTES", "data": ["a", 1]}]}, MalformedMessageError),
        ({"inputs": [{**ROW, "name": "", "data": [1, 2]}]}, MalformedMessageError),
        ({"inputs": [{**ROW, "data": [1, 2], "more": 1}]}, MalformedMessageError),
        ({"inputs": [{**ROW, "data": [1, 2]}] * 2}, MalformedMessageError),
        ({"inputs": [{**ROW, "data": [1, 2]}] * 65}, TooLargeError),
        ({"outputs": [{"name": "y"}, {"name": "y"}]}, MalformedMessageError),
        ({"outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, MalformedMessageError),
        ({"outputs": [{}]}, MalformedMessageError),
        ({"parameters": {"binary_data_output": "yes"}}, MalformedMessageError),
        ({"parameters": {"x": []}}, MalformedMessageError),
        ({"parameters": [1]}, MalformedMessageError),
        ({"id": 7}, MalformedMessageError),
        ({"more": 7}, MalformedMessageError),
    ],
)
def test_what_is_refused(fields: dict[str, Any], error: type[TacitError] | None) -> None:
    if error is None:
        InferRequest.decode(request(**fields))
        return
    with pytest.raises(error):
        InferRequest.decode(request(**fields))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"inputs": [], "inputs": []}',
        b'{"inputs": [NaN]}',
        b'{"inputs": [], "parameters": {"x": 1e999}}',
        b"\xff",
        b"[" * 100_000,
        b'{"inputs":' + b"[" * 100_000,
        b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": '
        + b"[" * 50
        + b"1"
        + b"]" * 50
        + b"}]}",
        b'{"inputs": [{"name": "x", "datatype": "FP64", "shape": [1], "data": [1e999]}]}',
        b'{"inputs": [' + b"1" * 5000 + b"]}",
    ],
)
def test_what_is_no_request(body: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        InferRequest.decode(body)


def test_json_above_the_limit_is_not_parsed() -> None:
    with pytest.raises(TooLargeError, match="At most 10"):
        InferRequest.decode(request(), limits=Limits(json_bytes=10))
    for length in (0, -1, 1 << 40):
        with pytest.raises(MalformedMessageError):
            InferRequest.decode(request(), length)


def test_claims_allocate_nothing() -> None:
    """Sizes that a message claims without sending them cost no memory."""
    claims = [
        {**ROW, "shape": [1 << 19, 1 << 20], "parameters": {"binary_data_size": 1 << 41}},
        {**ROW, "shape": [1 << 19, 1 << 20], "parameters": {"binary_data_size": 4}},
        {**ROW, "shape": [1 << 19, 1 << 20], "data": [1]},
        {**ROW, "datatype": "BYTES", "shape": [1 << 30], "parameters": {"binary_data_size": 4}},
    ]
    tracemalloc.start()
    for claim in claims:
        head = json.dumps({"inputs": [claim]}).encode()
        with pytest.raises(TacitError):
            InferRequest.decode(head + struct.pack("<I", 2**32 - 1), len(head))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@given(
    hnp.arrays(
        st.sampled_from([np.dtype(dtype) for dtype in DTYPES.values()]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ),
    st.booleans(),
)
@settings(deadline=None)
def test_arrays_survive(array: np.ndarray, binary: bool) -> None:
    tensor = Tensor.of("t", array)
    answer = InferResponse(model="m", version="1", outputs=(tensor,), id="i")
    has_json = array.dtype != np.float16 and (array.dtype.kind != "f" or bool(np.isfinite(array).all()))
    if not binary and not has_json:
        with pytest.raises(DataError):
            answer.encode(binary=False)
        return
    parts, length = answer.encode(binary=binary)
    found = InferResponse.decode(b"".join(parts), length)
    assert found.outputs[0].array().dtype == array.dtype
    assert found.outputs[0].array().shape == array.shape
    assert found.outputs[0].array().tobytes() == array.tobytes()
    assert (found.model, found.version, found.id) == ("m", "1", "i")


VALID, VALID_LENGTH = InferRequest(
    inputs=(Tensor.of("x", np.arange(4.0)), Tensor.of_bytes("r", [b"abc", b""])),
    outputs=(Output("y", True),),
    id="1",
).encode()


@given(st.data())
@settings(max_examples=600, deadline=None)
def test_mutants_end_in_typed_errors(data: st.DataObject) -> None:
    """Bytes changed, cut, put in or doubled: a tensor of the size that it says, or a typed error."""
    body = bytearray(b"".join(VALID))
    length = VALID_LENGTH or 0
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1))
        match data.draw(st.sampled_from(["set", "cut", "put", "double", "length"])):
            case "set":
                body[place] = data.draw(st.integers(0, 255))
            case "cut":
                del body[place : place + data.draw(st.integers(1, 9))]
            case "put":
                body[place:place] = data.draw(st.binary(min_size=1, max_size=9))
            case "double":
                body[place:place] = body[place : place + 20]
            case "length":
                length += data.draw(st.integers(-9, 9))
        if not body:
            return
    try:
        found = InferRequest.decode(bytes(body), length)
    except (MalformedMessageError, ShapeError, TooLargeError):
        return
    for tensor in found.inputs:
        if tensor.datatype != "BF16":
            try:
                assert tensor.array().shape == tensor.shape
            except DataError:
                assert tensor.datatype == "BOOL"


@given(st.binary(max_size=300), st.one_of(st.none(), st.integers(0, 300)))
def test_noise_ends_in_typed_errors(body: bytes, length: int | None) -> None:
    with pytest.raises(MalformedMessageError):
        InferRequest.decode(body, length)


def test_elements_are_walked_no_further_than_the_shape_says() -> None:
    """A large binary part of empty elements must not cost a step each on the way to its refusal."""
    zeros = bytes(64 << 20)
    started = time.process_time()
    for count in (1, 1000):
        with pytest.raises(MalformedMessageError):
            Tensor("x", "BYTES", (count,), zeros)
    with pytest.raises(MalformedMessageError, match="cannot hold"):
        Tensor("x", "BYTES", (1 << 20,), bytes(4 << 18))
    assert time.process_time() - started < 1.0


def test_tensors_of_very_many_texts_are_refused() -> None:
    count = MAX_STRINGS + 1
    with pytest.raises(TooLargeError):
        Tensor("x", "BYTES", (count,), bytes(4 * count))
    assert len(Tensor("x", "BYTES", (1000,), bytes(4000)).elements()) == 1000


@pytest.mark.parametrize("where", ["id", "name", "output"])
def test_half_of_a_surrogate_pair_is_refused(where: str) -> None:
    """JSON can say it, UTF-8 cannot: an answer that repeats it could not be written."""
    half = "\ud800"
    fields: dict[str, Any] = {"inputs": [{**ROW, "data": [1, 2], "name": half if where == "name" else "x"}]}
    fields |= {"id": half} if where == "id" else {}
    fields |= {"outputs": [{"name": half}]} if where == "output" else {}
    with pytest.raises(MalformedMessageError, match="surrogate"):
        InferRequest.decode(json.dumps(fields).encode())
