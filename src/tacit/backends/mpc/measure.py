"""What a program costs before anything runs: its steps on values that have a shape and no content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from tacit.backends.mpc.engine import Convolution, Engine
from tacit.backends.mpc.executor import Holdings, run, shapes_of
from tacit.backends.mpc.program import Program
from tacit.backends.mpc.rehearsal import Plain, PlainBits, Price, Prices, Rehearsal, Work, rehearse
from tacit.backends.mpc.steps import Steps, Tally, Words, together

__all__ = ["Measured", "measure"]


@dataclass(frozen=True)
class Measured:
    """``tally``: rounds and bits that each party sends, sharing of inputs and opening of outputs included;
    ``run``: without those, as where a client outside deals and combines.

    ``preparation``: those of sharing the weights, once. ``work``: local work. ``calls``: of primitives.
    """

    tally: Tally
    run: Tally
    preparation: Tally
    work: Work
    calls: int


def measure(program: Program, prices: Prices, samples: int, *, owner: int = 0, provider: int = 1) -> Measured:
    """Costs of one run on so many samples, which ``owner`` gives and gets; the weights are the provider's.

    They depend on shapes alone, never on data or weights.
    """
    engine = _Counting(prices)
    preparation, tally = Tally(ahead=prices.ahead), Tally(ahead=prices.ahead)
    weights = {weight.name: engine.blank(weight.shape) for weight in program.weights}
    rehearse(_shared(engine, list(weights.values()), provider), preparation)
    inputs = {name: engine.blank(shape) for name, shape in shapes_of(program, samples).items()}
    rehearse(_shared(engine, list(inputs.values()), owner), tally)
    engine.calls = 0
    own = Tally(ahead=prices.ahead)
    outputs = rehearse(run(engine, program, Holdings(weights), inputs), own)
    tally.join(own)
    opened = (engine.reveal(outputs[each.name], (owner,), each.opening) for each in program.outputs)
    rehearse(together(*opened), tally)
    return Measured(tally, own, preparation, engine.work, engine.calls)


def _shared(engine: _Counting, values: list[Plain], owner: int) -> Steps[list[Plain]]:
    return together(*(engine.share(owner, value.words, value.shape) for value in values))


@dataclass
class _Counting(Rehearsal):
    """Every value is zero, whatever it is computed from: nothing is multiplied, compared or checked."""

    calls: int = 0

    @staticmethod
    def blank(shape: tuple[int, ...]) -> Plain:
        return Plain(np.broadcast_to(np.uint64(0), shape))

    def _paid(
        self,
        price: Price,
        shape: tuple[int, ...],
        opens: tuple[Sequence[Plain], Sequence[PlainBits]] = ((), ()),
        *,
        known: int = 64,
        need: int = 64,
    ) -> Steps[Plain]:
        """``opens``: what is needed in masked form in the first round, of ``need`` bits; ``known``: of the result."""
        self.calls += 1
        yield from self._open(*opens, price, need=need)
        return self._formed(shape, known)

    def _formed(self, shape: tuple[int, ...], known: int) -> Plain:
        result = self.blank(shape)
        result.known = known if self.prices.masked else 64
        return result

    def _product(self, x: Plain, y: Plain, price: Price, shape: tuple[int, ...], cut: int) -> Steps[Plain]:
        yield from self.settle(x, y)
        return (yield from self._paid(price, shape, known=64 - cut))

    def add_public(self, x: Plain, words: Words) -> Plain:
        return self._formed(np.broadcast_shapes(x.shape, words.shape), x.known)

    def multiply(self, x: Plain, y: Plain, *, cut: int = 0) -> Steps[Plain]:
        shape = np.broadcast_shapes(x.shape, y.shape)
        self.work.elements += prod(shape)
        return self._product(x, y, self.prices.multiply(prod(shape), cut), shape, cut)

    def multiply_freely(self, x: Plain, y: Plain, *, cut: int = 0) -> Steps[Plain]:
        return self.multiply(x, y, cut=cut)

    def matmul(self, x: Plain, y: Plain, *, cut: int = 0) -> Steps[Plain]:
        shape = (*np.broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1])
        self.work.products += prod(shape) * x.shape[-1]
        return self._product(x, y, self.prices.matmul(prod(shape), cut), shape, cut)

    def convolve(self, x: Plain, kernel: Plain, placement: Convolution, *, cut: int = 0) -> Steps[Plain]:
        sizes = [
            (
                x.shape[2 + i]
                + placement.pads[i]
                + placement.pads[2 + i]
                - placement.dilations[i] * (kernel.shape[2 + i] - 1)
                - 1
            )
            // placement.strides[i]
            + 1
            for i in range(2)
        ]
        shape = (x.shape[0], kernel.shape[0], *sizes)
        self.work.products += prod(shape) * prod(kernel.shape[1:])
        return self._product(x, kernel, self.prices.convolve(prod(shape), cut), shape, cut)

    def truncate(self, x: Plain, cut: int) -> Steps[Plain]:
        self.work.elements += x.size
        return self._paid(self.prices.truncate(x.size, cut), x.shape, ([x], ()), known=64 - cut)

    def truncate_freely(self, x: Plain, cut: int) -> Steps[Plain]:
        return self.truncate(x, cut)

    def negative(self, x: Plain, width: int) -> Steps[PlainBits]:
        self.work.compared_bits += x.size * width
        yield from self._paid(self.prices.negative(x.size, width), x.shape, ([x], ()), need=width)
        return PlainBits(np.broadcast_to(np.bool_(False), x.shape), not self.prices.masked)

    def both(self, a: PlainBits, b: PlainBits) -> Steps[PlainBits]:
        yield from self._paid(self.prices.both(a.size), a.shape, ((), [a, b]))
        return PlainBits(a.bits, not self.prices.masked)

    def select(self, a: PlainBits, x: Plain) -> Steps[Plain]:
        self.work.elements += x.size
        return self._paid(self.prices.select(x.size), x.shape, ([x], [a]), known=0)

    def to_ring(self, a: PlainBits) -> Steps[Plain]:
        return self._paid(self.prices.to_ring(a.size), a.shape, ((), [a]), known=0)

    def rectify(self, x: Plain, width: int) -> Steps[Plain]:
        if self.prices.masked:
            return Engine.rectify(self, x, width)
        self.work.compared_bits += x.size * width
        return self._paid(self.prices.rectify(x.size, width), x.shape)
