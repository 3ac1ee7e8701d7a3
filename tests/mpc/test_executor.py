"""Runs of programs: levels share rounds, and a run goes on from any checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tacit.backends.mpc.compile import Compiled, compile_program
from tacit.backends.mpc.executor import (
    Checkpoint,
    adopt,
    decode_output,
    encode_inputs,
    prepare,
    reveal_outputs,
    run,
    share_inputs,
)
from tacit.backends.mpc.rehearsal import Free, Plain, Price, Rehearsal, rehearse
from tacit.backends.mpc.steps import Tally
from tacit.errors import ShapeError
from tacit.ir.builder import GraphBuilder
from tacit.ir.interpret import interpret
from tests.mpc.models import convolutional, dense


class OneEach(Free):
    """Every primitive takes one round of one bit for each element."""

    def share(self, owner: int, n: int) -> Price:
        return ((n,),)

    def reveal(self, to: Sequence[int], n: int) -> Price:
        return ((n,),)

    def multiply(self, n: int, cut: int) -> Price:
        return ((n,),)

    def rectify(self, n: int, width: int) -> Price:
        return ((n,),)

    def negative(self, n: int, width: int) -> Price:
        return ((n,),)

    def select(self, n: int) -> Price:
        return ((n,),)


def compiled_dense() -> tuple[Compiled, dict[str, np.ndarray]]:
    graph, data = dense()
    return compile_program(graph, calibration=data), {"x": data[:5]}


def test_from_sharing_to_the_answer() -> None:
    compiled, data = compiled_dense()
    program, engine, tally = compiled.program, Rehearsal(OneEach()), Tally()
    holdings = rehearse(prepare(engine, program, compiled.weights, 0), tally)
    assert tally.rounds == 1
    words = encode_inputs(program, data)
    inputs = rehearse(share_inputs(engine, program, words, {"x": 0}, samples=5), tally)
    secrets = rehearse(run(engine, program, holdings, inputs), tally)
    opened = rehearse(reveal_outputs(engine, program, secrets, (0,)), tally)
    wanted = interpret(compiled.graph, data)
    for output in program.outputs:
        given = opened[output.name]
        assert given is not None
        got = decode_output(output, given)
        if output.dtype == "float64":
            assert np.abs(got - wanted[output.name]).max() <= program.error_bound
        else:
            assert (got == wanted[output.name]).all()


@pytest.mark.parametrize("make", [dense, convolutional])
def test_a_run_goes_on_from_every_checkpoint(make: object) -> None:
    graph, data = make()  # type: ignore[operator]
    compiled = compile_program(graph, calibration=data)
    program = compiled.program

    def outputs(start: Checkpoint | None, at: object = None) -> dict[str, Plain]:
        engine = Rehearsal(random=_Down())
        holdings = adopt(program, {k: engine.public(v) for k, v in compiled.weights.items()})
        words = encode_inputs(program, {"x": data[:3]})
        inputs = {} if start else {name: engine.public(each) for name, each in words.items()}
        return rehearse(run(engine, program, holdings, inputs, start=start, at=at))  # type: ignore[arg-type]

    taken: list[Checkpoint] = []
    whole = outputs(None, taken.append)
    assert [each.position for each in taken] == list(range(1, program.levels))
    weights = {weight.name for weight in program.weights}
    for checkpoint in taken:
        assert not checkpoint.live.keys() & weights
        again = outputs(checkpoint)
        assert all((again[name].words == whole[name].words).all() for name in whole)


class _Down(np.random.Generator):
    """Truncations all round down, so that runs are alike."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(1))

    def integers(self, low, high=None, size=None, dtype=np.int64, endpoint=False):  # type: ignore[no-untyped-def]
        return np.full(size, (high if high is not None else low) - 1, dtype=dtype)


def test_branches_share_rounds() -> None:
    builder = GraphBuilder("branches")
    x = builder.input("x", (None, 4))
    rng = np.random.default_rng(0)
    parts = [
        builder.node("Relu", builder.node("MatMul", x, builder.constant(rng.normal(size=(4, 4)))))
        for _ in range(3)
    ]
    value = builder.node("Concat", *parts, axis=1)
    graph = builder.finish([value], roles={"output": value})
    compiled = compile_program(graph, calibration=rng.normal(size=(20, 4)))
    engine, tally = Rehearsal(OneEach()), Tally()
    holdings = adopt(compiled.program, {k: engine.public(v) for k, v in compiled.weights.items()})
    words = encode_inputs(compiled.program, {"x": np.zeros((2, 4))})
    rehearse(run(engine, compiled.program, holdings, {"x": engine.public(words["x"])}), tally)
    assert (tally.rounds, tally.bits) == (2, [2 * 3 * 2 * 4])


def test_wrong_weights_are_refused() -> None:
    compiled, _ = compiled_dense()
    engine = Rehearsal()
    parts = {name: engine.public(words) for name, words in compiled.weights.items()}
    name = next(iter(parts))
    with pytest.raises(ShapeError, match="must have shape"):
        adopt(compiled.program, {**parts, name: engine.public(np.zeros(3, dtype=np.uint64))})
    with pytest.raises(ShapeError):
        rehearse(prepare(engine, compiled.program, {}, 0))
