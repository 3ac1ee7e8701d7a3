"""A Chebyshev series evaluated on a ciphertext, by its recipe (`polynomial`): powers first, then the parts.

Each part is asked for at an exact level and scale. A power lives until it was read for the last time: at its own level
and at each lower one that it is read at, for which it is copied once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeGuard

from tacit.backends.ckks.polynomial import Leaf, Recipe, Split

if TYPE_CHECKING:
    from tacit.backends.ckks.executor import Engine

__all__ = ["Series", "at_scale", "relabel"]

Ciphertext = Any

_UNIT = 1.0 + 2.0**-10
"""Bound on |T_j(x)| for |x| <= 1, with room for noise."""


class Series:
    """One evaluation: the powers of one argument, which starts at ``level``."""

    def __init__(self, engine: Engine, plan: Recipe, argument: Ciphertext, level: int) -> None:
        self._engine = engine
        self._plan = plan
        self._level = level
        self._reads = Counter(_reads(plan, level))
        self._left: Counter[int] = Counter()
        for (index, _), count in self._reads.items():
            self._left[index] += count
        self._copies: dict[tuple[int, int], Ciphertext] = {}
        self._powers = {1: _at_level(engine, engine.quiet(argument), level)}

    def result(self, scale: float) -> Ciphertext:
        """The value at the level that the recipe ends at, and exactly this scale. To be called once."""
        for power in self._plan.powers:
            self._make(power.index, power.left, power.right, self._level - power.depth)
        return self._value(self._plan.root, self._level - self._plan.depth, scale)

    def _make(self, index: int, left: int, right: int, level: int) -> None:
        engine, one = self._engine, self._power(left, level + 1)
        if left == right:
            product = engine.square_relin_rescale(one)
        else:
            product = engine.mul_relin_rescale(one, self._power(right, level + 1))
        del one
        doubled = engine.add(product, product)
        if left == right:
            made = engine.add_const(doubled, -1.0)
        else:
            base = self._power(1, level + 1)
            made = engine.sub(doubled, at_scale(engine, base, 1.0, level, doubled.scale))
        self._powers[index] = engine.note_bound(made, _UNIT)

    def _power(self, index: int, level: int) -> Ciphertext:
        """T_index at a level; forgotten where nothing reads it any more."""
        found = self._copies.pop((index, level), None)
        if found is None:
            found = _at_level(self._engine, self._powers[index], level)
        self._reads[index, level] -= 1
        self._left[index] -= 1
        if self._reads[index, level]:
            self._copies[index, level] = found
        if not self._left[index]:
            del self._powers[index]
        return found

    def _value(self, part: Leaf | Split, level: int, scale: float) -> Ciphertext:
        """A part at an exact level and scale."""
        if isinstance(part, Leaf):
            return self._sum(part, level, scale)
        engine, giant = self._engine, self._power(part.giant, level + 1)
        if _is_constant(part.quotient):
            result = at_scale(engine, giant, part.quotient.coefficients[0], level, scale)
        else:
            quotient = self._value(part.quotient, level + 1, scale * engine.q[level + 1] / giant.scale)
            result = relabel(engine.mul_relin_rescale(quotient, giant), scale)
            del quotient
        del giant
        rest = part.remainder
        if _is_constant(rest):
            constant = rest.coefficients[0] if rest.coefficients else 0.0
            return engine.add_const(result, constant) if constant else result
        return engine.add(result, self._value(rest, level, scale))

    def _sum(self, leaf: Leaf, level: int, scale: float) -> Ciphertext:
        engine, wanted, total = self._engine, scale * self._engine.q[level + 1], None
        for j in leaf.powers:
            base = self._power(j, level + 1)
            term = relabel(engine.mul_const(base, leaf.coefficients[j], scale=wanted / base.scale), wanted)
            total = term if total is None else engine.add(total, term)
        result = relabel(engine.rescale(total), scale)
        return engine.add_const(result, leaf.coefficients[0]) if leaf.coefficients[0] else result


def at_scale(engine: Engine, ct: Ciphertext, constant: float, level: int, scale: float) -> Ciphertext:
    """constant·ct at an exact level and scale; costs the level above."""
    base = _at_level(engine, ct, level + 1)
    factor = scale * engine.q[level + 1] / base.scale
    return relabel(engine.rescale(engine.mul_const(base, constant, scale=factor)), scale)


def relabel(ct: Ciphertext, scale: float) -> Ciphertext:
    """Removes the floating-point dust of scale arithmetic (relative 2^-50), so that sums meet at equal scales."""
    return ct if ct.scale == scale else ct.with_scale(scale)


def _at_level(engine: Engine, ct: Ciphertext, level: int) -> Ciphertext:
    return ct if ct.level == level else engine.drop_level(ct, level)


def _is_constant(part: Leaf | Split) -> TypeGuard[Leaf]:
    return isinstance(part, Leaf) and not part.powers


def _reads(plan: Recipe, level: int) -> Iterator[tuple[int, int]]:
    """Every power with the level that it is read at, as often as it is read."""
    for power in plan.powers:
        above = level - power.depth + 1
        yield power.left, above
        if power.left != power.right:
            yield from ((power.right, above), (1, above))
    yield from _part_reads(plan.root, level - plan.depth)


def _part_reads(part: Leaf | Split, level: int) -> Iterator[tuple[int, int]]:
    if isinstance(part, Leaf):
        yield from ((j, level + 1) for j in part.powers)
        return
    yield part.giant, level + 1
    if not _is_constant(part.quotient):
        yield from _part_reads(part.quotient, level + 1)
    if not _is_constant(part.remainder):
        yield from _part_reads(part.remainder, level)
