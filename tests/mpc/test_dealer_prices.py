"""Declared rounds and bits of `dealer2` are those that are counted, whatever form the operands come in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tacit.backends.mpc.dealer_prices import DealerPrices
from tacit.backends.mpc.engine import Convolution
from tacit.backends.mpc.rehearsal import Rehearsal, rehearse
from tacit.backends.mpc.steps import Steps, Tally, together
from tests.mpc.pair import AHEAD, all_run, opened_session

Program = Callable[[Any, Any, Any], Steps[Any]]


def multiply(engine: Any, x: Any, y: Any) -> Steps[Any]:
    return engine.multiply(x, y)


def multiply_and_cut(engine: Any, x: Any, y: Any) -> Steps[Any]:
    return engine.multiply(x, y, cut=9)


def matmul(engine: Any, x: Any, y: Any) -> Steps[Any]:
    return engine.matmul(x.reshape(7, 10), y.reshape(10, 7), cut=3)


def convolve(engine: Any, x: Any, y: Any) -> Steps[Any]:
    return engine.convolve(x.reshape(1, 2, 5, 7), y[:24].reshape(3, 2, 2, 2), Convolution(), cut=3)


def truncate(engine: Any, x: Any, y: Any) -> Steps[Any]:
    return engine.truncate(x + y, 7)


def rectify(engine: Any, x: Any, y: Any) -> Steps[Any]:
    return engine.rectify(x - y, 23)


def compare(engine: Any, x: Any, y: Any) -> Steps[Any]:
    below = yield from engine.negative(x, 40)
    above = yield from engine.negative(y, 64)
    either = yield from engine.both(engine.flip(below), above)
    chosen: list[Any] = yield from together(
        engine.select(either, x), engine.select(above, y), engine.to_ring(engine.xor(below, above))
    )
    return (yield from engine.multiply(chosen[0] + chosen[2], chosen[1]))


def chain(engine: Any, x: Any, y: Any) -> Steps[Any]:
    z = yield from engine.multiply(x, y, cut=9)
    side: list[Any] = yield from together(
        engine.negative(z, 30), engine.multiply(z, z, cut=9), engine.truncate(z, 2), engine.rectify(z, 31)
    )
    again = yield from engine.select(side[0], z + side[1])
    return (yield from engine.multiply(again, side[3]))


PROGRAMS: list[Program] = [
    multiply,
    multiply_and_cut,
    matmul,
    convolve,
    truncate,
    rectify,
    compare,
    chain,
]


@pytest.mark.parametrize("adopted", [False, True])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda each: each.__name__)
def test_counted_is_declared(program: Program, adopted: bool) -> None:
    x = np.arange(70, dtype=np.uint64)

    def whole(engine: Any) -> Steps[Any]:
        mine = x if engine.name == "rehearsal" else None
        a = yield from engine.share(0, x if engine.index == 0 else mine, x.shape)
        b = yield from engine.share(1, x if engine.index == 1 else mine, x.shape)
        if adopted:
            zero = np.zeros((1,), dtype=np.uint64)
            # A product by 1 that is cut by nothing would be masked; a rectified number is not.
            a = yield from engine.rectify(a + engine.public(zero), 20)
        c = yield from program(engine, a, b)
        yield from engine.reveal(c, (0,), "y")
        return c

    counted, declared = Tally(ahead=AHEAD), Tally(ahead=DealerPrices.ahead)
    every_round, every_declared = Tally(), Tally()
    all_run(opened_session(), whole, tally=counted)
    all_run(opened_session(), whole, tally=every_round)
    rehearse(whole(Rehearsal(DealerPrices())), declared)
    rehearse(whole(Rehearsal(DealerPrices())), every_declared)
    assert (counted.rounds, counted.bits) == (declared.rounds, declared.bits)
    assert (every_round.rounds, every_round.bits) == (every_declared.rounds, every_declared.bits)


def test_price_of_a_rectifier_alone() -> None:
    prices = DealerPrices()
    x = np.arange(100, dtype=np.uint64)
    tally = Tally()
    rehearse(Rehearsal(prices).rectify(Rehearsal(prices).public(x), 30), tally)
    declared = Tally()
    for bits in prices.rectify(100, 30):
        declared.add(bits)
    assert tally == declared
