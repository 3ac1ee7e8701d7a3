"""Maxima of windows as sums of ridge functions: Σ_r p_r(a_r·x), polynomials of linear forms of a few neighbours.

max(a, b) = (a + b + |a - b|)/2 is such a sum; the larger of three, and max(a, b, 0), which is a maximum with the ReLU
after it, come near enough to one with a handful of forms (ridge functions: Logan and Shepp, Duke Math. J. 42, 1975).
All polynomials of a round are evaluated beside each other, so that two maxima or a maximum and its ReLU take the levels
of one polynomial. The weights of forms are small integers: they are sums of ciphertexts and take no level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.maximum import Pair, Windows
from tacit.backends.ckks.polynomial import depth_of, recipe
from tacit.backends.ckks.series import Series, at_scale

if TYPE_CHECKING:
    from tacit.backends.ckks.executor import Engine

__all__ = [
    "Ridge",
    "RidgeRound",
    "RidgeStage",
    "Term",
    "arguments",
    "distance",
    "positions",
    "run_ridge",
    "steps_of",
    "times",
    "times_integer",
]

Ciphertext = Any
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_LEAST_REACH = 0.25
"""Of a form, whose integer weights are as large as its reach allows."""


class Adding(Protocol):
    """What forms need of an engine (`executor.Engine` has more)."""

    def add(self, a: Ciphertext, b: Ciphertext) -> Ciphertext: ...
    def sub(self, a: Ciphertext, b: Ciphertext) -> Ciphertext: ...
    def rotate(self, ct: Ciphertext, k: int) -> Ciphertext: ...


@dataclass(frozen=True)
class Term:
    """Σ_s p(Σ_j weights[j]·x[s + j] / width) over ``places`` s, where p = Σ series[j]·T_j and arguments are in [-1, 1].

    ``width``: at most 1. ``high``: a bound on |p| on [-1, 1]. ``reach``: at most ``width``, what a range flag holds the
    form against, so that all are where they were fitted; 0 for a form that stays there if the others do.
    """

    weights: tuple[int, ...]
    places: tuple[int, ...]
    width: float
    series: tuple[float, ...]
    high: float
    reach: float

    @property
    def is_valid(self) -> bool:
        """For terms that were read from bytes."""
        sound = bool(self.weights) and bool(self.places) and max(self.weights) > 0
        sound = sound and sum(map(abs, self.weights)) <= 64 and min(self.places) >= 0
        sound = sound and 0 < self.width <= 1
        sound = sound and (self.reach == 0 or _LEAST_REACH <= self.reach <= self.width)
        return sound and 2 <= len(self.series) <= 256 and self.series[-1] != 0


@dataclass(frozen=True)
class RidgeRound:
    """x → Σ terms + straight·Σ x_i + constant, where x_i lies i·``offset`` further on, for i below ``count``.

    ``slope``: a bound on Σ_i |∂/∂x_i|.
    """

    offset: Pair
    count: int
    terms: tuple[Term, ...]
    straight: float
    constant: float
    slope: float

    @property
    def depth(self) -> int:
        return max(depth_of(len(term.series) - 1) for term in self.terms)


@dataclass(frozen=True, eq=False)
class Ridge:
    """The largest elements of windows of the value ``reads[0]``, with a ReLU or not, as ``rounds`` make them.

    ``name``: of the node in the graph, for messages.
    """

    reads: tuple[int, ...]
    windows: Windows
    rounds: tuple[RidgeRound, ...]
    name: str = ""

    @property
    def depth(self) -> int:
        return sum(turn.depth for turn in self.rounds)

    @property
    def size(self) -> int:
        """Elements of the result."""
        return prod(self.windows.result)

    @property
    def columns(self) -> tuple[tuple[tuple[int, ...], ...], ...]:
        """For each round the columns that it reads together, by position in what the round before made."""
        made = positions(self.windows, [(turn.offset, turn.count) for turn in self.rounds])
        found = []
        for before, after, turn in zip(made[:-1], made[1:], self.rounds, strict=True):
            far = distance(self.windows, turn.offset)
            places = [np.searchsorted(before, after + i * far).tolist() for i in range(turn.count)]
            found.append(tuple(zip(*places, strict=True)))
        return tuple(found)


def steps_of(windows: Windows) -> tuple[tuple[Pair, int], ...]:
    """Of every round, the offset and how many elements it takes together: three where a kernel has three, else two."""
    found: list[tuple[Pair, int]] = []
    for axis in (0, 1):
        if windows.kernel[axis] == 3:
            far = windows.dilations[axis]
            found.append(((far, 0) if axis == 0 else (0, far), 3))
        else:
            found += [(offset, 2) for offset in windows.offsets if offset[axis]]
    return tuple(found)


def distance(windows: Windows, offset: Pair) -> int:
    """Elements from one to the one at ``offset`` from it."""
    return offset[0] * windows.shape[2] + offset[1]


def positions(windows: Windows, steps: Sequence[tuple[Pair, int]]) -> list[IntArray]:
    """Elements that are needed before the first round and after each, ascending."""
    wanted = [windows.origins]
    for offset, count in reversed(steps):
        far = distance(windows, offset)
        wanted.append(np.unique(np.concatenate([wanted[-1] + i * far for i in range(count)])))
    wanted[-1] = np.arange(prod(windows.shape))
    return wanted[::-1]


def times(turn: RidgeRound, gain: float) -> RidgeRound:
    """The round with results times ``gain`` > 0."""
    terms = tuple(
        replace(term, series=tuple(gain * c for c in term.series), high=gain * term.high)
        for term in turn.terms
    )
    return replace(
        turn,
        terms=terms,
        straight=gain * turn.straight,
        constant=gain * turn.constant,
        slope=gain * turn.slope,
    )


@dataclass(frozen=True, eq=False)
class RidgeStage:
    """One round, for values in [-1, 1]; the result has exactly ``scale``.

    x_i = rotate(x, i·``rotation``), or columns: ``groups`` of those that are read together.
    ``bound``: on |result|. ``name``: of the node in the graph.
    """

    round: RidgeRound
    level: int
    scale: float
    rotation: int
    groups: tuple[tuple[int, ...], ...]
    bound: float
    name: str = ""

    @property
    def rotations(self) -> tuple[int, ...]:
        return () if self.groups else tuple(i * self.rotation for i in range(1, self.round.count))


def run_ridge(engine: Engine, stage: RidgeStage, values: list[Ciphertext]) -> list[Ciphertext]:
    """The round on one packed ciphertext, or on every group of columns."""
    values = [engine.drop_level(ct, stage.level) for ct in values]
    if not stage.groups:
        together = [values[0], *(engine.rotate(values[0], k) for k in stage.rotations)]
        made = engine.each(
            lambda own, term: _evaluated(own, stage, term, together[: len(term.weights)]), stage.round.terms
        )
        parts = [
            engine.rotate(part, place * stage.rotation) if place else part
            for part, term in zip(made, stage.round.terms, strict=True)
            for place in term.places
        ]
        return [_total(engine, stage, together, parts)]
    results = []
    for group in stage.groups:
        together = [values[i] for i in group]
        cuts = [
            (term, together[place : place + len(term.weights)])
            for term in stage.round.terms
            for place in term.places
        ]
        parts = engine.each(lambda own, cut: _evaluated(own, stage, *cut), cuts)
        results.append(_total(engine, stage, together, parts))
    return results


def arguments(engine: Adding, stage: RidgeStage, values: list[Ciphertext]) -> list[list[Ciphertext]]:
    """The watched forms of a round in units of their reaches: of a packed ciphertext, or of every group of columns.

    At the level of ``values``, which may be lower than the round's.
    """

    def own(term: Term, cut: Sequence[Ciphertext]) -> Ciphertext:
        form = _form(engine, term, cut)
        return form.with_scale(form.scale * term.reach)

    watched = [term for term in stage.round.terms if term.reach]
    if not stage.groups:
        together = [values[0], *(engine.rotate(values[0], k) for k in stage.rotations)]
        # Other places are other slots of the same form.
        return [[own(term, together[: len(term.weights)]) for term in watched]]
    return [
        [
            own(term, [values[i] for i in group[place : place + len(term.weights)]])
            for term in watched
            for place in term.places
        ]
        for group in stage.groups
    ]


def _evaluated(engine: Engine, stage: RidgeStage, term: Term, values: Sequence[Ciphertext]) -> Ciphertext:
    """One polynomial of one form, at the level that the round ends at."""
    argument = engine.note_bound(_form(engine, term, values), term.width)
    # A division that takes no level: the same polynomial at another scale.
    argument = argument.with_scale(argument.scale * term.width)
    made = Series(engine, recipe(term.series), argument, stage.level).result(stage.scale)
    made = engine.note_slope(engine.note_bound(made, term.high + 2.0**-10), argument, 0.0)
    end = stage.level - stage.round.depth
    return made if made.level == end else engine.drop_level(made, end)


def _form(engine: Adding, term: Term, values: Sequence[Ciphertext]) -> Ciphertext:
    """Σ weights[j]·values[j] by sums alone."""
    total = None
    for weight, value in sorted(zip(term.weights, values, strict=True), key=lambda pair: -pair[0]):
        if weight == 0:
            continue
        multiple = times_integer(engine, value, abs(weight))
        if total is None:
            total = multiple  # The largest weight, which is positive.
        else:
            total = engine.add(total, multiple) if weight > 0 else engine.sub(total, multiple)
    return total


def times_integer(engine: Adding, ct: Ciphertext, count: int) -> Ciphertext:
    """count·ct by doubling, for a count of at least 1."""
    total = None
    while count:
        if count & 1:
            total = ct if total is None else engine.add(total, ct)
        count >>= 1
        if count:
            ct = engine.add(ct, ct)
    return total


def _total(
    engine: Engine, stage: RidgeStage, values: Sequence[Ciphertext], parts: Sequence[Ciphertext]
) -> Ciphertext:
    turn, total = stage.round, parts[0]
    for part in parts[1:]:
        total = engine.add(total, part)
    straight = engine.quiet(values[0])
    for value in values[1:]:
        straight = engine.add(straight, engine.quiet(value))
    total = engine.add(total, at_scale(engine, straight, turn.straight, total.level, stage.scale))
    if turn.constant:
        total = engine.add_const(total, turn.constant)
    total = engine.note_bound(total, stage.bound)
    return engine.note_slope(total, engine.loudest(values), turn.slope)
