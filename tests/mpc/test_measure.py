"""What a program is said to cost is what a rehearsal of it costs, whatever the data."""

from __future__ import annotations

import pytest

from tacit.backends.mpc.compile import compile_program
from tacit.backends.mpc.dealer_prices import DealerPrices
from tacit.backends.mpc.executor import adopt, encode_inputs, reveal_outputs, run, share_inputs
from tacit.backends.mpc.measure import measure
from tacit.backends.mpc.rehearsal import Prices, Rehearsal, rehearse
from tacit.backends.mpc.replicated_prices import ReplicatedPrices
from tacit.backends.mpc.steps import Tally
from tests.mpc.models import attention, convolutional, dense


@pytest.mark.parametrize("prices", [ReplicatedPrices(), DealerPrices()], ids=["replicated3", "dealer2"])
@pytest.mark.parametrize("make", [dense, convolutional, attention])
def test_costs_are_those_of_a_rehearsal(make: object, prices: Prices) -> None:
    graph, data = make()  # type: ignore[operator]
    compiled = compile_program(graph, calibration=data)
    program = compiled.program
    for samples in (1, 3):
        engine, tally = Rehearsal(prices), Tally(ahead=prices.ahead)
        holdings = adopt(program, {k: engine.public(v) for k, v in compiled.weights.items()})
        words = encode_inputs(program, {"x": data[:samples]})
        inputs = rehearse(share_inputs(engine, program, words, {"x": 0}, samples=samples), tally)
        outputs = rehearse(run(engine, program, holdings, inputs), tally)
        rehearse(reveal_outputs(engine, program, outputs, (0,)), tally)
        cost = measure(program, prices, samples)
        assert (cost.tally.rounds, cost.tally.bits) == (tally.rounds, tally.bits)
        assert cost.work == engine.work
        assert cost.calls >= sum(each.kind in ("matmul", "relu", "convolve") for each in program.instructions)
        assert cost.preparation.bits[1] > 0
