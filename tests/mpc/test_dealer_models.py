"""Whole programs on two parties and a dealer: within their promise, at their price, also as processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tacit.backends.mpc.actor import Actor
from tacit.backends.mpc.compile import compile_program
from tacit.backends.mpc.dealer import combine, deal
from tacit.backends.mpc.dealer_ahead import Supply, recorded, supplied
from tacit.backends.mpc.dealer_prices import DealerPrices
from tacit.backends.mpc.executor import decode_output, encode_inputs
from tacit.backends.mpc.measure import measure
from tacit.backends.mpc.steps import Round, Steps, Tally, lockstep
from tacit.errors import InternalError, InvalidParameterError
from tacit.ir.interpret import interpret
from tacit.runtime.local import Parties
from tests.mpc.models import attention, convolutional, dense
from tests.mpc.pair import AHEAD, opened_session


def check(compiled: Any, words: dict[str, Any], rows: Any) -> None:
    wanted = interpret(compiled.graph, rows)
    for output in compiled.program.outputs:
        got = decode_output(output, words[output.name])
        if output.dtype == "float64":
            assert np.abs(got - wanted[output.name]).max() <= compiled.program.error_bound
        else:
            assert (got == wanted[output.name]).all()


def dealt(values: Any) -> tuple[list[dict[str, Any]], dict[str, tuple[int, ...]]]:
    parts = {name: deal(words) for name, words in values.items()}
    shapes = {name: words.shape for name, words in values.items()}
    return [{name: part[i] for name, part in parts.items()} for i in range(3)], shapes


def prepared(compiled: Any) -> list[Actor]:
    program = compiled.program
    actors = [Actor(engine, program.to_bytes()) for engine in opened_session(reveals=program.openings)]
    parts, shapes = dealt(compiled.weights)
    lockstep([actor.prepare(own, shapes) for actor, own in zip(actors, parts, strict=True)])
    return actors


def predicted(actors: list[Actor], compiled: Any, rows: Any, tally: Tally | None = None) -> None:
    """One run, checked."""
    parts, shapes = dealt(encode_inputs(compiled.program, {"x": rows}))
    given = lockstep(
        [actor.predict(own, shapes) for actor, own in zip(actors, parts, strict=True)], tally=tally
    )
    outputs = compiled.program.outputs
    check(compiled, {o.name: combine([part[o.name] for part in given]) for o in outputs}, rows)


@pytest.mark.parametrize("make", [dense, convolutional, attention])
def test_runs_of_a_session(make: Callable[[], Any]) -> None:
    graph, data = make()
    compiled = compile_program(graph, calibration=data)
    actors = prepared(compiled)
    for rows in (data[:1], data[1:4]):
        tally = Tally(ahead=AHEAD)
        predicted(actors, compiled, rows, tally)
        # Inputs that come from outside are opened under masks by both; what is handed outside is no round.
        assert tally.rounds <= measure(compiled.program, DealerPrices(), len(rows)).tally.rounds


def test_runs_whose_randomness_was_made_ahead() -> None:
    graph, data = dense()
    compiled = compile_program(graph, calibration=data)
    actors = prepared(compiled)
    for samples, runs in ((2, 2), (3, 1)):
        stocked = Tally()
        lockstep([actor.stock(samples=samples, runs=runs) for actor in actors], tally=stocked)
        assert stocked.bits[:2] == [0, 0] and stocked.bits[2] > 0
    for count in (2, 2, 3):
        tally = Tally()
        predicted(actors, compiled, data[:count], tally)
        assert tally.bits[2] == 0 and tally.bits[0] > 0
    # Used up: the dealer sends in the run again.
    tally = Tally()
    predicted(actors, compiled, data[:2], tally)
    assert tally.bits[2] > 0


def test_what_was_made_ahead_is_for_one_kind_of_run() -> None:
    graph, data = dense()
    compiled = compile_program(graph, calibration=data)
    actors = prepared(compiled)
    lockstep([actor.stock(samples=2) for actor in actors])
    for actor, parts in zip(actors, dealt(encode_inputs(compiled.program, {"x": data[:3]}))[0], strict=True):
        with pytest.raises(InvalidParameterError, match="made ahead for a run of x"):
            lockstep([actor.predict(parts, {"x": (3, data.shape[1])})])
        engine: Any = vars(actor)["_engine"]
        with pytest.raises(InternalError, match="before the run"):
            lockstep([engine.share(0, None, (3,))])
    predicted(actors, compiled, data[:2])


def test_a_supply_is_used_whole_and_in_order() -> None:
    words = np.arange(3, dtype=np.uint64)

    def step(size: int) -> Steps[None]:
        yield Round(awaits={2: [size]})

    with pytest.raises(InternalError, match="another program"):
        lockstep([supplied(step(4), Supply([words]))])
    with pytest.raises(InternalError, match="another program"):
        lockstep([supplied(step(3), Supply([]))])
    with pytest.raises(InternalError, match="longer program"):
        lockstep([supplied(step(3), Supply([words, words]))])
    with pytest.raises(InternalError, match="awaits"):
        recorded(step(3))
    lockstep([supplied(step(3), Supply([words]))])


def test_processes() -> None:
    graph, data = dense()
    compiled = compile_program(graph, calibration=data)
    program = compiled.program
    with Parties.start(
        "tacit.backends.mpc.actor:Actor",
        program=program.to_bytes(),
        variant="dealer2",
        reveals=program.openings,
    ) as parties:
        parties.prepare(compiled.weights)
        parties.call("stock", [[], [], []], samples=1)
        for rows in (data[:1], data[1:6]):
            check(compiled, dict(parties.predict(encode_inputs(program, {"x": rows}))), rows)
        assert {peer for peer, sent in parties.reports[2].sent_to.items() if sent} == {"party-0", "party-1"}
