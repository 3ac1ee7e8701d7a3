"""The range flag: one number beside the scores that tells the owner whether hidden values left their ranges.

Where ranges are those of calibration data (`ranges.Observed`), a sample may leave them, and then no bound holds. Every
such value v is held in units of its range; the flag is Σ v^e over all of them, e an even power. One |v| > 1 makes it
more than 1, and no value can hide another, for all terms are positive. Before the last squares, where only v² can be
had, the sum is weighted, and it is the sum itself that bounds what noise amounts to (`SquareStage`). It is computed on
the values as they are, noise included, so that it needs no promise of its own but for the few operations that make it.

It is a ciphertext of its own, for the scores' noise would drown it, and every slot holds the same whole sum. Its scale
is small, so that it wraps around the modulus late (thousands of times the alarm); beyond that it is as good as random.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, ldexp, log2, sqrt
from typing import Any, Protocol

from tacit.backends.ckks.noise import TAIL, NoiseModel
from tacit.backends.ckks.program import FLAG_LEVEL, FlagStage, fold_steps

__all__ = ["flag_noise", "flag_scale", "raise_flag"]

Ciphertext = Any

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
    def rotate_sum(self, ct: Ciphertext, steps: Sequence[int]) -> Ciphertext: ...
    def rescale(self, ct: Ciphertext) -> Ciphertext: ...


def raise_flag(engine: Engine, stage: FlagStage, registers: Sequence[list[Ciphertext]]) -> list[Ciphertext]:
    """The results, which are the first register, and after them the flag of the other registers, at level 0."""
    watched = sorted(
        zip(registers[1:], stage.squarings, stage.energies, stage.spans, strict=True),
        key=lambda item: item[3],
        reverse=True,
    )
    product = stage.scale * engine.q[FLAG_LEVEL]
    total, width = None, 1
    for register, squarings, energy, span in watched:
        # What was added up so far repeats after ``span`` slots once it is folded: one fold serves all that follow.
        if total is not None and span < width:
            total = engine.rotate_sum(total, fold_steps(width, span))
        width = span
        for ct in register:
            power = engine.drop_level(ct, FLAG_LEVEL + squarings)
            for _ in range(squarings):
                power = engine.note_bound(engine.square_relin_rescale(power), energy)
            term = engine.mul_const(power, 1.0 / energy, scale=product / power.scale).with_scale(product)
            total = term if total is None else engine.add(total, term)
    if width > 1:
        total = engine.rotate_sum(total, fold_steps(width, 1))
    flag = engine.rescale(engine.note_bound(total, 1.0)).with_scale(stage.scale)
    return [*registers[0], flag]


def flag_scale(noise: NoiseModel) -> float:
    """The smallest power of two at which the last rescale disturbs a flag by less than a sixteenth."""
    return ldexp(1.0, ceil(log2(_QUIET * TAIL * noise.rounding)))


def flag_noise(noise: NoiseModel, stage: FlagStage, power_scale: float) -> float:
    """A bound on what the operations that make a flag add to it, failing with probability below 2^-40.

    ``power_scale``: of the powers that meet. The noise of a squaring is doubled by each later one, as values are at
    most 1; a fold adds it up over the slots.
    """
    most = max(stage.squarings)
    squaring = noise.key_switch(FLAG_LEVEL + most) + noise.fused_rounding
    own = (ldexp(squaring, most) + noise.key_switch(FLAG_LEVEL)) * sqrt(stage.terms) * len(stage.squarings)
    return TAIL * (own / power_scale + noise.rounding / stage.scale)
