"""From terms to instructions, with an interval for every value, the bits of every truncation and every comparison.

A number is held as words · 2^-frac_bits · factor. The factor is public and positive; it goes through whatever is
homogeneous and ends in the next weights, so that the scale of a mean costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, log2
from typing import Any

import numpy as np

from tacit.backends.mpc.engine import SLACK_BITS
from tacit.backends.mpc.operations import STEPPED
from tacit.backends.mpc.patterns import Term, Terms
from tacit.backends.mpc.program import Field, Instruction, Weight, encode_words
from tacit.backends.mpc.ranges import Box, FloatArray, Range, bits_of, widened
from tacit.backends.mpc.steps import Words
from tacit.errors import PrecisionError, UnsupportedOpError
from tacit.ir.signature import Array, Shape

__all__ = ["Held", "Lowering", "OverflowsError", "Rule", "lower"]

_ROOM = 1
"""Bits that are kept free below what the ring can truncate."""
_MOST_WEIGHT_BITS = 44


class OverflowsError(PrecisionError):
    """A value has no room in the ring: where, and by how many bits."""

    code = "precision"

    def __init__(self, term: Term, bits: float) -> None:
        super().__init__(
            f"node `{term.node}` ({term.op}): values of up to 2^{bits:.0f} are more than the ring of 64 bits holds",
            hint="give calibration data, so that hidden values can be clipped to what it shows, or scale the model",
        )
        self.term = term


@dataclass(frozen=True, eq=False)
class Held:
    """A value of the program. ``bits``: it is shared as bits, with ``range`` 0 to 1."""

    name: str
    frac: int
    range: Range
    factor: float = 1.0
    bits: bool = False


Rule = Callable[["Lowering", Term], Held]


@dataclass(eq=False)
class Lowering:
    """``frac``: fractional bits of the plan. ``limits``: bounds of values that are to be clipped; ``spreads``: of sums
    of squares, what they are taken for where they are less, by the value that is normalised with them."""

    terms: Terms
    frac: int
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    input_bits: Mapping[str, int] = field(default_factory=dict)
    spreads: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.values: dict[str, Held] = {}
        self._makers = {term.output: term for term in self.terms.terms}
        self.instructions: list[Instruction] = []
        self.weights: dict[str, Weight] = {}
        self.words: dict[str, Words] = {}
        self.publics: dict[str, Words] = {}
        self.compared: dict[str, tuple[str, float]] = {}
        """What each comparison reads, and by how much that may be off, where it is no whole number."""
        self._levels: dict[str, int] = {}
        self._fresh = 0
        self.term = Term("", (), "", {}, "")

    def marked(self) -> Callable[[], None]:
        """Goes back to the present state, any number of times; arrays are never written to, so they are not copied."""
        kept: list[tuple[dict[str, Any], dict[str, Any]]] = [
            (held, dict(held))
            for held in (
                self.values,
                self.weights,
                self.words,
                self.publics,
                self.compared,
                self._levels,
                self.terms.constants,
            )
        ]
        public, count, fresh = set(self.terms.public), len(self.instructions), self._fresh

        def back() -> None:
            for held, then in kept:
                held.clear()
                held.update(then)
            self.terms.public.clear()
            self.terms.public.update(public)
            del self.instructions[count:]
            self._fresh = fresh

        return back

    # What terms read.

    def shape(self, name: str) -> Shape:
        """Of a value of the graph, or of one between the terms of a pattern, which has samples."""
        known = self.terms.graph.values.get(name)
        return known.shape if known is not None else (None, *self.values[name].range.low.shape[1:])

    def is_constant(self, name: str) -> bool:
        return name in self.terms.constants

    def constant(self, name: str) -> Array:
        return self.terms.constants[name]

    def is_public(self, name: str) -> bool:
        return name in self.terms.public

    def maker(self, name: str) -> Term | None:
        """The term that makes a value; ``None`` for inputs and constants."""
        return self._makers.get(name)

    def is_largest(self, value: str, top: str) -> bool:
        """Whether ``top`` is the largest of the elements of a value, along some axes."""
        made = self.maker(top)
        return made is not None and made.op == "ReduceMax" and made.inputs == (value,)

    def scalar(self, name: str) -> float | None:
        array = self.terms.constants.get(name)
        return float(array.reshape(())) if array is not None and array.size == 1 else None

    # What terms make.

    def emit(
        self,
        kind: str,
        inputs: Sequence[str],
        frac: int,
        made: Range,
        *,
        factor: float = 1.0,
        bits: bool = False,
        more: Mapping[str, Field] | None = None,
        **fields: Field,
    ) -> Held:
        """One more instruction. Raises ``OverflowsError`` where its result has no room."""
        if not bits:
            self.check(made.most / factor, frac)
            if frac == 0 and factor == 1.0:
                made = Range(np.ceil(made.low - 1e-6), np.floor(made.high + 1e-6), made.error)
        self._fresh += 1
        name = f"{self.term.output}#{self._fresh}"
        level = max((self._levels.get(each, 0) for each in inputs), default=0)
        level += kind in STEPPED
        self._levels[name] = level
        self.instructions.append(
            Instruction(kind, tuple(inputs), name, {**(more or {}), **fields}, self.term.node, level)
        )
        return Held(name, frac, made, factor, bits)

    def truth(self, kind: str, x: Held) -> Held:
        """The bits of a comparison with 0. What it gives is right where x is farther from 0 than x may be off."""
        ends = np.zeros_like(x.range.low), np.ones_like(x.range.low)
        made = Range(*ends, np.zeros(()))
        held = self.emit(kind, (x.name,), 0, made, bits=True, width=self.width(x.range, x))
        off = float(x.range.error.max(initial=0.0)) if x.frac else 0.0
        self.compared[held.name] = x.name, off
        return held

    def check(self, most: float, frac: int) -> None:
        """Raises ``OverflowsError`` unless numbers of this size can be held, and truncated."""
        if not most * 2.0**frac < 2.0 ** (SLACK_BITS - _ROOM):
            raise OverflowsError(self.term, log2(max(most, 1e-300)) + frac if np.isfinite(most) else np.inf)

    def weight(self, array: FloatArray, frac: int, source: str) -> str:
        """The name of a constant as words: a weight of the provider, or public where the source is."""
        self._fresh += 1
        name = f"{source}#{self._fresh}"
        array = np.asarray(array, dtype=np.float64)
        self.check(float(np.abs(array).max(initial=0.0)), frac)
        words = encode_words(array, frac)
        if self.is_public(source):
            self.publics[name] = words
        else:
            self.weights[name] = Weight(name, words.shape, frac)
            self.words[name] = words
        return name

    def literal(self, number: float, frac: int) -> str:
        """A number of the plan itself."""
        self._fresh += 1
        name = f"{self.term.output}#{self._fresh}"
        self.publics[name] = encode_words(np.array(number), frac)
        return name

    def weight_bits(self, weights: FloatArray, most: float, reach: float, x_frac: int, is_whole: bool) -> int:
        """Fractional bits for weights: so many that their rounding is less than a truncation's, where there is room.

        ``most``: of the result; ``reach``: sum of magnitudes that a weight's rounding is multiplied by.
        """
        if is_whole:
            return 0
        wanted = self.frac + 3 + max(0, ceil(log2(max(reach, 1.0))))
        room = SLACK_BITS - _ROOM - x_frac - ceil(log2(max(most * 1.001, 2.0**-20)))
        size = float(np.abs(weights).max(initial=0.0))
        own = 61 - ceil(log2(max(size, 2.0**-20)))
        bits = min(wanted, room, own, _MOST_WEIGHT_BITS)
        if bits < self.frac:
            raise OverflowsError(self.term, log2(max(most, 1e-300)) + x_frac + self.frac)
        return bits

    @property
    def ulp(self) -> float:
        return float(2.0**-self.frac)

    # Forms.

    def plain(self, name: str) -> Held:
        """The value as a secret of the ring, not as bits."""
        held = self.values[name]
        if held.bits:
            held = self.emit("to_ring", (held.name,), 0, held.range)
            self.values[name] = held
        return held

    def fixed(self, held: Held, frac: int | None = None) -> Held:
        """With factor 1 and the fractional bits of the plan, by a truncation where that is needed."""
        frac = self.frac if frac is None else frac
        if held.factor == 1.0 and held.frac == frac:
            return held
        if held.factor == 1.0 and held.frac < frac:
            return self.shifted(held, frac)
        if held.factor == 1.0:
            return self.emit(
                "truncate", (held.name,), frac, widened(held.range, 2.0**-frac), cut=held.frac - frac
            )
        most = held.range.most
        room = SLACK_BITS - _ROOM - held.frac - ceil(log2(max(most, 2.0**-30)))
        wanted = frac + 3 + max(0, ceil(log2(max(most / held.factor, 1.0))))
        bits = min(room, wanted, 44)
        if bits < min(wanted, self.frac) or held.frac + bits <= frac:
            raise OverflowsError(self.term, log2(max(most, 1e-300)) + held.frac + self.frac)
        by = round(held.factor * 2.0**bits)
        lost = abs(by * 2.0**-bits - held.factor) * most / held.factor + 2.0**-frac
        made = widened(held.range, lost)
        return self.emit("scale", (held.name,), frac, made, by=by, cut=held.frac + bits - frac)

    def shifted(self, held: Held, frac: int) -> Held:
        """With more fractional bits; exact and local."""
        if held.frac == frac:
            return held
        return self.emit(
            "times", (held.name,), frac, held.range, factor=held.factor, by=1 << (frac - held.frac)
        )

    def alike(self, *held: Held) -> list[Held]:
        """With one number of fractional bits and one factor."""
        if len({each.factor for each in held}) > 1:
            whole = all(each.frac == 0 and each.factor == 1.0 for each in held)
            held = tuple(each if whole else self.fixed(each) for each in held)
        most = max(each.frac for each in held)
        return [self.shifted(each, most) for each in held]

    def operand(self, name: str, like: Held) -> Held:
        """A constant in the form of a value that it meets: exact up to rounding to its fractional bits."""
        array = np.asarray(self.constant(name), dtype=np.float64)
        scaled = array / like.factor
        exact = np.rint(np.ldexp(scaled, like.frac))
        lost = np.abs(np.ldexp(exact, -like.frac) - scaled) * like.factor
        ends = np.ldexp(exact, -like.frac) * like.factor
        word = self.weight(scaled, like.frac, name)
        return Held(word, like.frac, Range(ends, ends, lost), like.factor)

    def pair(self, first: str, second: str, *, compared: bool = False) -> tuple[Held, Held]:
        """Both operands in one form, one of them maybe a constant; ``compared``: then a fraction is enough."""
        if self.is_constant(second):
            x = self.plain(first)
            x = x if compared and x.frac else self.roomy(x, second)
            return x, self.operand(second, x)
        if self.is_constant(first):
            x, y = self.pair(second, first, compared=compared)
            return y, x
        x, y = self.alike(self.plain(first), self.plain(second))
        return x, y

    def roomy(self, x: Held, constant: str) -> Held:
        """With the plan's fractional bits, where a constant has a fraction and the value none."""
        array = np.asarray(self.constant(constant), dtype=np.float64)
        whole = bool((array == np.rint(array)).all())
        return x if whole or x.frac >= self.frac else self.shifted(x, self.frac)

    def width(self, r: Range, held: Held) -> int:
        """Bits of a comparison with 0 of a value of this range, held like ``held``."""
        return min(64, bits_of(r.most / held.factor, held.frac))

    def refuse(self, reason: str, hint: str) -> UnsupportedOpError:
        return UnsupportedOpError(
            f"node `{self.term.node}` ({self.term.op}): {reason}",
            node=self.term.node,
            op=self.term.op,
            hint=hint,
        )


def lower(
    terms: Terms,
    boxes: Mapping[str, Box],
    frac: int,
    rules: Mapping[str, Rule],
    *,
    limits: Mapping[str, tuple[float, float]],
    input_bits: Mapping[str, int],
    spreads: Mapping[str, float],
    outputs: Sequence[str],
    relieved: Callable[[OverflowsError], Collection[str]] = lambda error: (),
) -> Lowering:
    """All instructions. ``input_bits``: fractional bits of inputs.

    ``relieved``: names values that ``limits`` has since the call, because of what overflowed; lowering goes on from the
    first of them. Raises what rules raise, an ``OverflowsError`` where nothing is named.
    """
    work = Lowering(terms, frac, limits, input_bits, spreads)
    for value in terms.graph.inputs:
        box = boxes[value.name]
        shape = tuple(1 if size is None else size for size in value.shape)
        bits = input_bits[value.name]
        low, high = np.broadcast_to(box.low, shape), np.broadcast_to(box.high, shape)
        made = Range(low, high, np.zeros(()))
        if value.dtype == "float64":
            made = widened(made, 2.0 ** -(bits + 1))
        work.term = Term("input", (), value.name, {}, value.name)
        work.check(made.most, bits)
        work.values[value.name] = Held(value.name, bits, made)
    places = {term.output: place for place, term in enumerate(terms.terms)}
    marks: list[Callable[[], None]] = []
    while len(marks) < len(terms.terms):
        place = len(marks)
        marks.append(work.marked())
        try:
            _lowered(work, terms.terms[place], rules)
        except OverflowsError as error:
            clipped = relieved(error)
            if not clipped:
                raise
            place = min(place, *(places[name] for name in clipped))
            marks[place]()
            del marks[place:]
    work.term = Term("output", (), "output", {}, "output")
    for name in outputs:
        held = work.plain(name)
        if held.name in (value.name for value in terms.graph.inputs):
            held = work.emit("times", (held.name,), held.frac, held.range, factor=held.factor, by=1)
        work.values[name] = held
    return work


def _lowered(work: Lowering, term: Term, rules: Mapping[str, Rule]) -> None:
    work.term = term
    rule = rules.get(term.op)
    if rule is None:
        raise work.refuse("is not run by multi-party computation", "leave this node out of the model")
    held = rule(work, term)
    if term.output in work.limits:
        held = _clipped(work, held, *work.limits[term.output])
    work.values[term.output] = held


def _clipped(work: Lowering, held: Held, low: float, high: float) -> Held:
    """Between bounds of the plan; a value that cannot pass a bound is not compared with it."""
    r = held.range
    width = work.width(Range(r.low - high, r.high - low, r.error), held)
    bounds = [work.literal(bound / held.factor, held.frac) for bound in (low, high)]
    made = replace(r.clipped(low, high), ball=None, stochastic=None)
    if r.lowest >= low:
        return work.emit("minimum", (held.name, bounds[1]), held.frac, made, factor=held.factor, width=width)
    return work.emit("clip", (held.name, *bounds), held.frac, made, factor=held.factor, width=width)
