"""Comparisons of secrets: exact, of integers and of fixed-point words alike."""

from __future__ import annotations

from tacit.backends.mpc.engine import B, Engine, S
from tacit.backends.mpc.fixedpoint import width_of
from tacit.backends.mpc.steps import Steps, together

__all__ = ["equal", "less"]


def less(engine: Engine[S, B], a: S, b: S, *, low: int, high: int) -> Steps[B]:
    """a < b, of equal shapes, for low <= a - b <= high in words."""
    return engine.negative(a - b, width_of(low, high))


def equal(engine: Engine[S, B], a: S, b: S, *, low: int, high: int) -> Steps[B]:
    """a = b, for low <= a - b <= high in words: neither is less. At most one of both is, so that their sum tells."""
    width = width_of(min(low, -high), max(high, -low))
    below, above = yield from together(engine.negative(a - b, width), engine.negative(b - a, width))
    result: B = engine.flip(engine.xor(below, above))
    return result
