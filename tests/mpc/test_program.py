"""Plans survive bytes, and nothing but a plan is read as one."""

from __future__ import annotations

from dataclasses import replace

import cbor2
import pytest

from tacit.backends.mpc.compile import compile_program
from tacit.backends.mpc.program import Program
from tacit.errors import MalformedMessageError
from tests.mpc.models import convolutional, dense


@pytest.mark.parametrize("make", [dense, convolutional])
def test_a_plan_survives_bytes(make: object) -> None:
    graph, data = make()  # type: ignore[operator]
    program = compile_program(graph, calibration=data).program
    again = Program.from_bytes(program.to_bytes())
    assert again.digest() == program.digest()
    assert again.instructions == program.instructions
    assert again.outputs == program.outputs and again.weights == program.weights
    assert again.openings == tuple(f"output:{name}" for name in [graph.primary, graph.label] if name)


def test_another_plan_has_another_digest() -> None:
    graph, data = dense()
    program = compile_program(graph, calibration=data).program
    assert replace(program, frac_bits=15).digest() != program.digest()
    assert compile_program(graph, calibration=2 * data).program.digest() != program.digest()


def test_what_is_no_plan_is_refused() -> None:
    graph, data = dense()
    good = compile_program(graph, calibration=data).program.to_bytes()
    body = cbor2.loads(good)
    wrong = [
        b"",
        good[:-1],
        good + b"\0",
        cbor2.dumps({**body, "format": "another"}, canonical=True),
        cbor2.dumps({**body, "more": 1}, canonical=True),
        cbor2.dumps({key: value for key, value in body.items() if key != "weights"}, canonical=True),
        cbor2.dumps({**body, "instructions": [[1, 2, 3]]}, canonical=True),
        cbor2.dumps([1, 2]),
    ]
    for data_bytes in wrong:
        with pytest.raises(MalformedMessageError):
            Program.from_bytes(data_bytes)
