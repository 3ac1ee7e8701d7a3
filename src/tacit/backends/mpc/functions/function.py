"""What is known of a function before it runs: how it is applied, and its proven error, output range and slope."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tacit.backends.mpc.steps import Steps

__all__ = ["Apply", "Bound", "Function", "Span"]

Apply = Callable[..., Steps[Any]]
"""(engine, x, *, f, low, high) to the result, with f fractional bits in and out."""

Bound = Callable[[int, float, float], float]
"""(f, low, high) to a number."""

Span = Callable[[int, float, float], tuple[float, float]]
"""(f, low, high) to the range of what comes out, its error included."""


@dataclass(frozen=True)
class Function:
    """A function of one secret, element by element, for arguments of a proven range [low, high].

    ``error``: the largest deviation from the real function, for every argument of the range.
    ``output``: where results lie. ``slope``: the largest derivative, so that an argument that is off by δ adds slope·δ.
    All three, and ``apply``, raise ``PrecisionError`` where the range does not fit, ``InvalidParameterError`` where
    it is none.
    """

    name: str
    apply: Apply
    error: Bound
    output: Span
    slope: Bound
