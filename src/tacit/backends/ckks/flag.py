"""The range flag: one number beside the scores that tells the owner whether hidden values left their ranges.

Where ranges are those of calibration data (`ranges.Observed`), a sample may leave them, and then no bound holds. Every
such value v is held in units of its range; the flag is Σ v^e over all of them, e an even power. One |v| > 1 makes it
more than 1, and no value can hide another, for all terms are positive. Before the last squares, where only v² can be
had, the sum is weighted, and it is the sum itself that bounds what noise amounts to (`SquareStage`). It is computed on
the values as they are, noise included, so that it needs no promise of its own but for the few operations that make it.

Where polynomials were fitted to samples (`measured`), their arguments are watched: what matters is whether they are
where it was fitted. Some stay there if others do, and need no look (`regression.watched_reaches`). Those of one round
meet in a slot before their last squares, Σ (Σ a^8)^(e/8): fewer products, and still no value hides another. They have
no scale in common; integer multiples, which take no level, make one, and make each count up to an eighth more than it
should, never less.

It is a ciphertext of its own, for the scores' noise would drown it, and every slot holds the same whole sum. Its scale
is small, so that it wraps around the modulus late (thousands of times the alarm); beyond that it is as good as random.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, hypot, ldexp, log2, sqrt
from typing import Any, Protocol

from tacit.backends.ckks.noise import TAIL, NoiseModel
from tacit.backends.ckks.program import FLAG_LEVEL, FlagStage, fold_steps
from tacit.backends.ckks.ridge import RidgeStage, arguments, times_integer

__all__ = ["APART", "MEETING", "flag_noise", "flag_scale", "raise_flag"]

Ciphertext = Any

APART = 3
"""Squares of every argument of a round before those of one slot are added up."""
MEETING = 8
"""The scale at which they are added up, over that of values: what an integer multiple may add is one part of it."""
_QUIET = 16.0
"""The flag's scale over the noise that its last rescale may add."""


class Engine(Protocol):
    """What the flag needs of an engine (`executor.Engine` has more)."""

    @property
    def q(self) -> Sequence[float]: ...
    def drop_level(self, ct: Ciphertext, level: int) -> Ciphertext: ...
    def square_relin_rescale(self, ct: Ciphertext) -> Ciphertext: ...
    def note_bound(self, ct: Ciphertext, bound: float) -> Ciphertext: ...
    def mul_const(self, ct: Ciphertext, constant: float, *, scale: float) -> Ciphertext: ...
    def add(self, a: Ciphertext, b: Ciphertext) -> Ciphertext: ...
    def sub(self, a: Ciphertext, b: Ciphertext) -> Ciphertext: ...
    def rotate(self, ct: Ciphertext, k: int) -> Ciphertext: ...
    def rotate_sum(self, ct: Ciphertext, steps: Sequence[int]) -> Ciphertext: ...
    def rescale(self, ct: Ciphertext) -> Ciphertext: ...


def raise_flag(engine: Engine, stage: FlagStage, registers: Sequence[list[Ciphertext]]) -> list[Ciphertext]:
    """The results, which are the first register, and after them the flag of the other registers, at level 0."""
    watched = sorted(
        zip(registers[1:], stage.squarings, stage.energies, stage.spans, stage.rounds, strict=True),
        key=lambda item: item[3],
        reverse=True,
    )
    product = stage.scale * engine.q[FLAG_LEVEL]
    total, width = None, 1
    for register, squarings, energy, span, turn in watched:
        # What was added up so far repeats after ``span`` slots once it is folded: one fold serves all that follow.
        if total is not None and span < width:
            total = engine.rotate_sum(total, fold_steps(width, span))
        width = span
        lowered = [engine.drop_level(ct, FLAG_LEVEL + squarings) for ct in register]
        forms = [[ct] for ct in lowered] if turn is None else arguments(engine, turn, lowered)
        for group in forms:
            if turn is None:
                (power,) = group
                for _ in range(squarings):
                    power = engine.note_bound(engine.square_relin_rescale(power), energy)
            else:
                power = engine.note_bound(_together(engine, group, squarings, turn.scale), 1.0)
            term = engine.mul_const(power, 1.0 / energy, scale=product / power.scale).with_scale(product)
            total = term if total is None else engine.add(total, term)
    if width > 1:
        total = engine.rotate_sum(total, fold_steps(width, 1))
    flag = engine.rescale(engine.note_bound(total, 1.0)).with_scale(stage.scale)
    return [*registers[0], flag]


def _together(engine: Engine, forms: Sequence[Ciphertext], squarings: int, nominal: float) -> Ciphertext:
    """(Σ a^8)^(2^(squarings - 3)) of the arguments in ``forms``, of a scale from half of ``nominal`` to all of it."""
    total = None
    for form in forms:
        power = form
        for _ in range(APART):
            power = engine.square_relin_rescale(power)
            power = _multiple(engine, power, max(1, floor(nominal / power.scale)))
        power = _multiple(engine, power, ceil(MEETING * nominal / power.scale)).with_scale(MEETING * nominal)
        total = power if total is None else engine.add(total, power)
    for _ in range(squarings - APART):
        total = engine.square_relin_rescale(total)
    return total


def _multiple(engine: Engine, ct: Ciphertext, count: int) -> Ciphertext:
    """The same value at ``count`` times the scale."""
    return times_integer(engine, ct, count).with_scale(ct.scale * count)


def flag_scale(noise: NoiseModel) -> float:
    """The smallest power of two at which the last rescale disturbs a flag by less than a sixteenth."""
    return ldexp(1.0, ceil(log2(_QUIET * TAIL * noise.rounding)))


def flag_noise(noise: NoiseModel, stage: FlagStage, power_scale: float) -> float:
    """A bound on what the operations that make a flag add to it, failing with probability below 2^-40.

    ``power_scale``: of the values. It is the noise where the sum is 1, and grows more slowly than the sum from there:
    what is n in a power p, of which p^k is added up, is k·p^(k-1)·n there, and Σ p^(2k-2) <= Σ p^k <= 1 for k >= 2. So
    over all slots it is k·n once, and only that of the last squares is added up over the slots.
    """
    variance = 0.0
    for squarings, turn in zip(stage.squarings, stage.rounds, strict=True):
        switch = noise.key_switch(FLAG_LEVEL + squarings) / noise.q[FLAG_LEVEL]
        own = hypot(switch, noise.fused_rounding) / power_scale
        if turn is None:
            variance += own**2 * (stage.terms + 4**squarings)
            continue
        # Scales are at least a quarter of that of values after a square; the noise of each is doubled by the next.
        outer = squarings - APART
        apart = (1 + 1 / MEETING) ** 2 * 16 * _geometric(APART) * _forms(turn)
        variance += own**2 * apart * (4**outer if outer else stage.terms)
        for index in range(outer):
            left = outer - 1 - index
            scale = float(MEETING) ** (2 << index)
            variance += (own / scale) ** 2 * (4**left if left else stage.terms)
    product = stage.scale * noise.q[FLAG_LEVEL]
    folds = noise.key_switch(FLAG_LEVEL) * sqrt(2 * max(stage.spans)) / product
    largest = power_scale * max(
        [1.0] + [float(MEETING) ** (1 << s - APART) for s, t in _pairs(stage) if t is not None]
    )
    # The constants that bring powers to the flag's scale are integers.
    return TAIL * (sqrt(variance) + folds + noise.rounding / stage.scale) + largest / product


def _pairs(stage: FlagStage) -> list[tuple[int, RidgeStage | None]]:
    return list(zip(stage.squarings, stage.rounds, strict=True))


def _forms(stage: RidgeStage) -> int:
    """Arguments that meet in a slot."""
    return sum(len(term.places) if stage.groups else 1 for term in stage.round.terms if term.reach)


def _geometric(count: int) -> int:
    """Σ 4^i for i below ``count``: variances, each doubled in size by the next square."""
    return sum(4**i for i in range(count))
