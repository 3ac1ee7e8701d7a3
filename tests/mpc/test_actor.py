"""Actors of all parties of a session in one process, with a client outside that shares and combines."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from tacit.backends.mpc.actor import Actor
from tacit.backends.mpc.compile import compile_program
from tacit.backends.mpc.executor import decode_output, encode_inputs
from tacit.backends.mpc.replicated import combine, deal
from tacit.backends.mpc.steps import Words, lockstep
from tacit.errors import MalformedMessageError, ShapeError
from tacit.ir.interpret import interpret
from tests.mpc.models import dense
from tests.mpc.trio import trio


def dealt(values: Mapping[str, Words]) -> tuple[list[dict[str, list[Words]]], dict[str, tuple[int, ...]]]:
    parts: list[dict[str, list[Words]]] = [{}, {}, {}]
    for name, words in values.items():
        for own, part in zip(parts, deal(words), strict=True):
            own[name] = part
    return parts, {name: words.shape for name, words in values.items()}


def actors() -> tuple[list[Actor], object, np.ndarray]:
    graph, data = dense()
    compiled = compile_program(graph, calibration=data)
    program = compiled.program
    made = [Actor(engine, program.to_bytes()) for engine in trio(openings=program.openings)]
    parts, shapes = dealt(compiled.weights)
    lockstep([actor.prepare(own, shapes) for actor, own in zip(made, parts, strict=True)])
    return made, compiled, data


def test_predictions_follow_each_other_in_one_session() -> None:
    made, compiled, data = actors()
    program = compiled.program  # type: ignore[attr-defined]
    for rows in (data[:1], data[1:6]):
        parts, shapes = dealt(encode_inputs(program, {"x": rows}))
        given = lockstep([actor.predict(own, shapes) for actor, own in zip(made, parts, strict=True)])
        wanted = interpret(compiled.graph, rows)  # type: ignore[attr-defined]
        for output in program.outputs:
            got = decode_output(output, combine([part[output.name] for part in given]))
            if output.dtype == "float64":
                assert np.abs(got - wanted[output.name]).max() <= program.error_bound
            else:
                assert (got == wanted[output.name]).all()


def test_an_actor_needs_weights_inputs_and_a_plan() -> None:
    made, compiled, _ = actors()
    program = compiled.program  # type: ignore[attr-defined]
    fresh = Actor(trio(openings=program.openings)[0], program.to_bytes())
    with pytest.raises(ShapeError, match="weights"):
        lockstep([fresh.predict({}, {})])
    with pytest.raises(ShapeError, match="inputs"):
        lockstep([made[0].predict({}, {})])
    with pytest.raises(MalformedMessageError):
        Actor(None, b"no plan")
