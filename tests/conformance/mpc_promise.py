"""The assertion of the conformance tests of multi-party computation: a program keeps its promise on its region."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from tacit.backends.mpc.compile import Compiled, compile_program, rehearse_program
from tacit.backends.mpc.dealer_prices import DealerPrices
from tacit.backends.mpc.engine import Engine
from tacit.backends.mpc.executor import (
    decode_output,
    encode_inputs,
    prepare,
    reveal_outputs,
    run,
    share_inputs,
)
from tacit.backends.mpc.measure import measure
from tacit.backends.mpc.program import Program
from tacit.backends.mpc.rehearsal import Prices
from tacit.backends.mpc.replicated_prices import ReplicatedPrices
from tacit.backends.mpc.steps import Steps, Tally, Words, lockstep
from tacit.errors import NoAdmissiblePlanError, PrecisionError, UnsupportedOpError
from tacit.ir.interpret import interpret
from tacit.ir.signature import Array
from tests.conformance.random_models import Case, random_case
from tests.conformance.random_trees import random_trees
from tests.mpc.pair import opened_session
from tests.mpc.trio import trio

__all__ = [
    "FAMILIES",
    "REFUSALS",
    "Outcome",
    "Run",
    "broken",
    "on_dealer",
    "on_replicated",
    "on_words",
    "outcome",
    "sweep",
]

REFUSALS = (UnsupportedOpError, NoAdmissiblePlanError, PrecisionError)
"""Errors that may be raised instead of a program; any other is a defect."""

FAMILIES: Mapping[str, Callable[[Random], Case]] = {
    "affine": lambda rng: random_case(rng, max_functions=0),
    "one function": lambda rng: random_case(rng, max_functions=1),
    "two functions": lambda rng: random_case(rng, max_functions=2),
    "trees": random_trees,
}

Run = Callable[[Compiled, Array], dict[str, Array]]


@dataclass(frozen=True)
class Outcome:
    """``promised`` and ``measured``: largest absolute error of the primary output; ``labels_differ``: of how many
    samples the label is another one although the promise rules it out."""

    promised: float
    measured: float
    labels_differ: int


def broken(found: Outcome) -> bool:
    """Whether the run broke its promise; a promise of nothing, or of everything, is none."""
    is_promise = 0 < found.promised < np.inf
    return not (is_promise and found.measured <= found.promised and not found.labels_differ)


def outcome(case: Case, seed: int, run_: Run) -> Outcome:
    """Four samples of the calibration, and two corners of the region where the promise is proven for all of it.

    Raises the refusals of ``compile_program``.
    """
    compiled = compile_program(case.graph, calibration=case.calibration, max_error=case.max_error)
    program = compiled.program
    again = Program.from_bytes(program.to_bytes())
    assert again.digest() == program.digest()
    x = case.calibration[:4]
    if not program.measured and not program.comparison_margin:
        low, high = program.inputs[0].bounds()
        corner = np.random.default_rng(seed).random((2, *x.shape[1:])) < 0.5
        x = np.concatenate([x, np.where(corner, low, high)])
    clear = interpret(case.graph, x)
    got = run_(Compiled(again, compiled.weights, case.graph), x)
    primary = clear[case.graph.primary]
    error = float(np.abs(got[case.graph.primary] - primary).max(initial=0.0))
    return Outcome(program.error_bound, error, _differing(case, clear, got, program.error_bound))


def _differing(case: Case, clear: Mapping[str, Array], got: Mapping[str, Array], promised: float) -> int:
    """Samples whose label differs though the two largest scores are farther apart than twice the promise."""
    label, primary = case.graph.label, clear[case.graph.primary]
    if label is None or primary.ndim != 2 or primary.shape[1] < 2:
        return 0
    top = np.sort(primary, axis=1)
    return int(((got[label] != clear[label]) & (top[:, -1] - top[:, -2] > 2 * promised)).sum())


def on_words(compiled: Compiled, x: Array) -> dict[str, Array]:
    """A rehearsal, which checks that no value leaves the range that was proven for it."""
    return rehearse_program(compiled, {compiled.program.inputs[0].name: x})


def on_replicated(compiled: Compiled, x: Array) -> dict[str, Array]:
    """Three parties with replicated shares in one process; what they send is what `measure` says."""
    return _among(trio(openings=compiled.program.openings), ReplicatedPrices(), compiled, x)


def on_dealer(compiled: Compiled, x: Array) -> dict[str, Array]:
    """Two computing parties and a dealer in one process, likewise."""
    return _among(opened_session(reveals=compiled.program.openings), DealerPrices(), compiled, x)


def _among(
    engines: Sequence[Engine[Any, Any]], prices: Prices, compiled: Compiled, x: Array
) -> dict[str, Array]:
    """Party 0 gives the samples and gets the outputs, party 1 the weights."""
    program = compiled.program
    name = program.inputs[0].name
    words = encode_inputs(program, {name: x})

    def party(engine: Engine[Any, Any]) -> Steps[dict[str, Words | None]]:
        own = compiled.weights if engine.index == 1 else None
        holdings = yield from prepare(engine, program, own, 1)
        given = words if engine.index == 0 else {}
        inputs = yield from share_inputs(engine, program, given, {name: 0}, samples=len(x))
        outputs = yield from run(engine, program, holdings, inputs)
        return (yield from reveal_outputs(engine, program, outputs, (0,)))

    tally = Tally(ahead=prices.ahead)
    opened = lockstep([party(engine) for engine in engines], tally=tally)
    cost = measure(program, prices, len(x))
    assert tally.rounds == cost.tally.rounds + cost.preparation.rounds
    before = cost.preparation.bits or [0] * 3
    assert tally.bits == [a + b for a, b in zip(before, cost.tally.bits, strict=True)]
    assert all(value is None for found in opened[1:] for value in found.values())
    decoded: dict[str, Array] = {}
    for output in program.outputs:
        value = opened[0][output.name]
        assert value is not None
        decoded[output.name] = decode_output(output, value)
    return decoded


def sweep(family: str, count: int, run_: Run, *, first: int = 0) -> Counter[str]:
    """Seeds ``first`` … ``first`` + count - 1: how many ran and how many were refused, by error."""
    counts: Counter[str] = Counter()
    for seed in range(first, first + count):
        case = FAMILIES[family](Random(seed))
        try:
            found = outcome(case, seed, run_)
        except REFUSALS as refusal:
            assert refusal.hint, f"{family} {seed}: a refusal without a hint"
            counts[type(refusal).__name__] += 1
            continue
        assert not broken(found), f"{family} {seed}: {found}"
        counts["run"] += 1
    return counts


if __name__ == "__main__":
    # python -m tests.conformance.mpc_promise 2000: so many graphs in all, on words and among parties
    for each in FAMILIES:
        for engine in (on_words, on_replicated, on_dealer):
            print(each, engine.__name__, dict(sweep(each, int(sys.argv[1]) // len(FAMILIES), engine)))
