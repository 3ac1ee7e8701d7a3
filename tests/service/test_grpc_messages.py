"""Messages of gRPC against classes that another project generated from the protocol, and against mutants."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tacit.errors import MalformedMessageError, ShapeError, TacitError, TooLargeError
from tacit.net.tensors import DTYPES, InferResponse, Tensor
from tacit.service import grpc_messages

foreign = pytest.importorskip("tritonclient.grpc.service_pb2", reason="needs tritonclient[grpc]")
OURS = {"InferTensor": ("ModelInferRequest.InferInputTensor", "ModelInferResponse.InferOutputTensor")}
NESTED = {
    "TensorMetadata": "ModelMetadataResponse.TensorMetadata",
    "InferRequestedOutputTensor": "ModelInferRequest.InferRequestedOutputTensor",
    "ModelIndex": "RepositoryIndexResponse.ModelIndex",
}


def foreign_fields(path: str) -> set[tuple[str, int, int, bool]]:
    found = foreign
    for part in path.split("."):
        found = getattr(found, part)
    return fields(found.DESCRIPTOR)


def fields(descriptor: object) -> set[tuple[str, int, int, bool]]:
    return {
        (field.name, field.number, field.type, field.is_repeated)
        for field in descriptor.fields  # type: ignore[attr-defined]
    }


@pytest.mark.parametrize("name", grpc_messages.classes())
def test_fields_are_those_of_the_protocol(name: str) -> None:
    ours = fields(grpc_messages.classes()[name].DESCRIPTOR)
    for path in OURS.get(name, (NESTED.get(name, name),)):
        assert ours == foreign_fields(path)


@pytest.mark.parametrize("datatype", sorted({*DTYPES, "BYTES"} - {"FP16"}))
def test_contents_of_each_datatype_are_read(datatype: str) -> None:
    message = foreign.ModelInferRequest(model_name="m", model_version="2", id="i")
    tensor = message.inputs.add(name="x", datatype=datatype, shape=[2])
    tensor.parameters["flag"].bool_param = True
    if datatype == "BYTES":
        expected = np.array([b"one", b""], dtype=object)
        tensor.contents.bytes_contents.extend([b"one", b""])
    else:
        expected = np.array([1, 0], dtype=bool if datatype == "BOOL" else DTYPES[datatype])
        kind = {"b": "bool", "f": "fp", "i": "int", "u": "uint"}[expected.dtype.kind]
        wide = {"FP32": "32", "FP64": "64", "INT64": "64", "UINT64": "64"}.get(datatype, "")
        getattr(tensor.contents, f"{kind}{wide}_contents").extend(expected.tolist())
    model, version, request = grpc_messages.read_infer(message.SerializeToString())
    assert (model, version, request.id) == ("m", "2", "i")
    assert request.inputs[0].parameters == {"flag": True}
    array = request.inputs[0].array()
    assert array.dtype == expected.dtype
    assert array.tolist() == expected.tolist()


def test_raw_contents_are_read() -> None:
    message = foreign.ModelInferRequest(model_name="m")
    message.inputs.add(name="x", datatype="FP16", shape=[2, 1])
    message.inputs.add(name="y", datatype="BYTES", shape=[1])
    message.outputs.add(name="z").parameters["classification"].int64_param = 3
    message.raw_input_contents.extend([np.array([1, 2], "<f2").tobytes(), b"\x02\0\0\0ab"])
    _, _, request = grpc_messages.read_infer(message.SerializeToString())
    assert request.inputs[0].array().tolist() == [[1.0], [2.0]]
    assert [bytes(element) for element in request.inputs[1].elements()] == [b"ab"]
    assert request.outputs[0].name == "z"
    assert request.outputs[0].parameters == {"classification": 3}


def test_answers_are_read_by_others() -> None:
    tensors = (Tensor.of("y", np.array([[1.5, -2.0]])), Tensor.of_bytes("label", [b"ill"]))
    written = grpc_messages.write_infer(
        InferResponse(
            model="m",
            version="1",
            outputs=tensors,
            id="i",
            parameters={"text": "t", "whole": 3, "part": 0.5, "flag": False},
        )
    )
    found = foreign.ModelInferResponse.FromString(written)
    assert (found.model_name, found.model_version, found.id) == ("m", "1", "i")
    assert [(item.name, item.datatype, list(item.shape)) for item in found.outputs] == [
        ("y", "FP64", [1, 2]),
        ("label", "BYTES", [1]),
    ]
    assert np.frombuffer(found.raw_output_contents[0]).tolist() == [1.5, -2.0]
    assert found.raw_output_contents[1] == b"\x03\0\0\0ill"
    assert found.parameters["text"].string_param == "t"
    assert found.parameters["whole"].int64_param == 3
    assert found.parameters["part"].double_param == 0.5
    assert found.parameters["flag"].WhichOneof("parameter_choice") == "bool_param"


def request(**changes: object) -> bytes:
    """A request with one input of two numbers, changed."""
    message = foreign.ModelInferRequest(model_name="m")
    tensor = message.inputs.add(name="x", datatype="FP32", shape=changes.pop("shape", [2]))
    if "contents" in changes:
        tensor.contents.fp32_contents.extend(changes.pop("contents"))
    for raw in changes.pop("raw", []):  # type: ignore[attr-defined]
        message.raw_input_contents.append(raw)
    for name, value in changes.items():
        setattr(tensor, name, value)
    return bytes(message.SerializeToString())


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (request(raw=[b"12345678", b""]), MalformedMessageError),
        (request(raw=[b"1234567"]), MalformedMessageError),
        (request(raw=[b"12345678"], contents=[1, 2]), MalformedMessageError),
        (request(contents=[1]), ShapeError),
        (request(contents=[1, 2], shape=[-1, -2]), ShapeError),
        (request(contents=[1] * 9, shape=[1] * 9), MalformedMessageError),
        (request(contents=[1, 2], datatype="INT32"), MalformedMessageError),
        (request(contents=[1, 2], datatype="FP16"), MalformedMessageError),
        (request(contents=[1, 2], datatype="NONE"), MalformedMessageError),
        (request(contents=[1, 2], name=""), MalformedMessageError),
        (b"\xff\xff", MalformedMessageError),
        (b"\x0b", MalformedMessageError),
        (b"\x2a\x7f", MalformedMessageError),
        (b"\x00\x01", MalformedMessageError),
        (b"\x0a\x02\xff\xfe", MalformedMessageError),
        (b"\x2a\x00" * 257, TooLargeError),
        (b"\x2a\x00" * 65, TooLargeError),
        (b"\x2a\xff\xff\xff\x02" + bytes(0x5FFFFF), TooLargeError),
    ],
)
def test_what_does_not_fit_is_refused(message: bytes, error: type[TacitError]) -> None:
    with pytest.raises(error):
        grpc_messages.read_infer(message)


def test_numbers_outside_their_type_are_refused() -> None:
    message = foreign.ModelInferRequest()
    tensor = message.inputs.add(name="x", datatype="INT8", shape=[1])
    tensor.contents.int_contents.append(128)
    with pytest.raises(MalformedMessageError, match="INT8"):
        grpc_messages.read_infer(message.SerializeToString())


def test_two_inputs_of_one_name_and_shared_memory_are_refused() -> None:
    message = foreign.ModelInferRequest()
    for _ in range(2):
        message.inputs.add(name="x", datatype="FP32", shape=[0])
    with pytest.raises(MalformedMessageError, match="same name"):
        grpc_messages.read_infer(message.SerializeToString())
    del message.inputs[1]
    message.inputs[0].parameters["shared_memory_region"].string_param = "r"
    with pytest.raises(MalformedMessageError, match="shared memory"):
        grpc_messages.read_infer(message.SerializeToString())


def test_mutants_end_in_typed_errors() -> None:
    """Every changed, cut or grown message is read or refused with an error of ours."""
    dice = random.Random(4)
    whole = request(raw=[np.array([1, 2], "<f4").tobytes()])
    read = refused = 0
    for _ in range(20_000):
        mutant = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            place = dice.randrange(len(mutant) + 1)
            if dice.random() < 0.4 and place < len(mutant):
                mutant[place] = dice.randrange(256)
            elif dice.random() < 0.5:
                del mutant[place : place + dice.randint(1, 4)]
            else:
                mutant[place:place] = dice.randbytes(dice.randint(1, 4))
        try:
            grpc_messages.read_infer(bytes(mutant))
            read += 1
        except (MalformedMessageError, ShapeError, TooLargeError):
            refused += 1
    assert read > 100
    assert refused > 1000
