"""Functions as polynomials on pieces, in the rounds of one comparison and one selection.

All thresholds are compared at once, while the powers of the variable are made; every piece's polynomial is a local
combination of them. One is selected by differences, v_K + Σ_k [x < t_k]·(v_k - v_(k+1)), and truncated. A polynomial is
used on its own piece only; elsewhere it may leave the ring, and the selection multiplies what came out by zero, which
is exact. So the range of the argument costs nothing but the width of the comparison: nothing is clipped first.

Polynomials on pieces as in PUMA (Dong and others 2023, arXiv 2307.12533: GELU by degrees 3 and 6 between two tails);
here pieces and degrees are searched for a wanted error.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from tacit.backends.mpc.engine import B, Engine, S
from tacit.backends.mpc.fixedpoint import width_of
from tacit.backends.mpc.functions.polynomial import (
    POWER_BITS,
    Fit,
    Real,
    Variable,
    combination,
    fit,
    powers,
)
from tacit.backends.mpc.steps import Steps, together
from tacit.errors import PrecisionError

__all__ = ["Affine", "Piece", "Pieces", "evaluate", "piece_error", "search"]

DEGREES = (3, 4, 6, 8, 12, 16)
"""That are tried."""

MOST_PIECES = 24

COMPARING = 5
"""Rounds of a comparison, as in `replicated3`, where a power takes two. By rounds, and by the bits that each party
sends for an element, one choice of pieces is preferred to another; no error depends on it."""

ROUND = 200.0
"""Bits for an element that a round is worth: at 100 Mbit/s and 20 ms, those of a tensor of 10,000 elements."""


@dataclass(frozen=True)
class Affine:
    """slope·x + constant exactly, in words with f fractional bits. ``error``: as an approximation."""

    slope: int
    constant: int
    error: float


Piece = Affine | Fit


@dataclass(frozen=True)
class Pieces:
    """Piece k holds for thresholds[k-1] <= x < thresholds[k]. ``width``: bits of every x - threshold."""

    f: int
    variable: Variable
    thresholds: tuple[int, ...]
    pieces: tuple[Piece, ...]
    width: int

    @property
    def fits(self) -> list[Fit]:
        return [piece for piece in self.pieces if isinstance(piece, Fit)]

    @property
    def degree(self) -> int:
        return max((len(piece.coefficients) - 1 for piece in self.fits), default=0)

    @property
    def cut(self) -> int:
        """Bits of the last truncation; 0 where all pieces are exact."""
        return POWER_BITS + self.fits[0].bits - self.f if self.fits else 0

    @property
    def ramps(self) -> dict[int, int]:
        """By threshold: the change of the slope of what is exact and not truncated."""
        slopes = [piece.slope if isinstance(piece, Affine) else 0 for piece in self.pieces]
        steps = {k: a - b for k, (a, b) in enumerate(itertools.pairwise(slopes)) if a != b}
        return steps if self.fits else {}

    @property
    def last_slope(self) -> int:
        last = self.pieces[-1]
        return last.slope if isinstance(last, Affine) else 0

    @property
    def error(self) -> float:
        """Largest error for exact inputs: of the fit, of the powers, of the last truncation."""
        return max(piece_error(piece, self.f) for piece in self.pieces)


def piece_error(piece: Piece, f: int) -> float:
    """Largest error of one piece whose result has f fractional bits."""
    return piece.error if isinstance(piece, Affine) else piece.error + piece.spread + math.ldexp(1.0, -f)


def search(
    function: Real,
    f: int,
    domain: tuple[int, int],
    active: tuple[int, int],
    tails: tuple[Affine, Affine],
    *,
    out: int | None = None,
) -> Pieces:
    """The cheapest pieces whose error is at most three units of the result, or as small as its size allows.

    ``domain``: words of the argument with f fractional bits. ``active``: where the tails do not hold.
    ``out``: fractional bits of the result, f if not given.

    Raises ``PrecisionError`` where the result does not fit into the ring, or no pieces come near.
    """
    out = f if out is None else out
    low, high = max(active[0], domain[0]), min(active[1], domain[1])
    if low >= high:
        if domain[1] <= active[0] or domain[0] >= active[1]:
            only = tails[0] if domain[1] <= active[0] else tails[1]
        else:
            value = float(function(np.array([math.ldexp(low, -f)]))[0])
            only = Affine(0, round(math.ldexp(value, out)), math.ldexp(0.5, -out))
        return Pieces(out, Variable(f, 0, 1), (), (only,), 1)
    variable = Variable.over(f, low, high)
    points = function(np.linspace(math.ldexp(low, -f), math.ldexp(high, -f), 257))
    # The tails are values beside the polynomials, before the same truncation.
    constants = [abs(tail.constant) for tail in tails]
    size = max(float(np.max(np.abs(points))), math.ldexp(max(constants), -out))
    if math.ldexp(size, out) > 2.0**60:
        raise PrecisionError(
            f"results of {size:.3g} do not fit into words with {out} fractional bits",
            hint="plan with fewer fractional bits, or bound the argument",
        )
    bits = min(30, 60 - POWER_BITS - math.frexp(size)[1])
    width = max(width_of(domain[0] - high, domain[1] - low), 1)
    ends = (domain[0] < low) + (domain[1] > high)
    best: tuple[float, tuple[int, ...], tuple[Fit, ...]] | None = None
    wanted = max(math.ldexp(2.0, -out), size * 2.0**-25)
    while best is None:
        if wanted > size * 2.0**-6 + math.ldexp(1.0, -out):
            raise PrecisionError(
                f"no {MOST_PIECES} polynomials come near the function on {low} … {high} words of {f} bits",
                hint="bound the argument to a smaller range",
            )
        for degree in DEGREES:
            found = _cover(function, variable, (low, high), degree, bits, wanted)
            if found is None:
                continue
            thresholds, fits = found
            power = max(max(len(each.coefficients) for each in fits) - 1, 1)
            rounds = max(COMPARING, 2 * (power - 1).bit_length())
            count = len(thresholds) + ends
            cost = count * (2.5 * width + 85) + power * 96 + rounds * ROUND
            if best is None or cost < best[0]:
                best = cost, thresholds, fits
        wanted *= 4.0
    _, thresholds, fits = best
    pieces: tuple[Piece, ...] = fits
    if domain[0] < low:
        thresholds, pieces = (low, *thresholds), (tails[0], *pieces)
    if domain[1] > high:
        thresholds, pieces = (*thresholds, high), (*pieces, tails[1])
    return Pieces(out, variable, thresholds, pieces, width)


def evaluate(engine: Engine[S, B], x: S, table: Pieces) -> Steps[S]:
    """The function of x, element by element."""
    ramps = table.ramps
    groups = [
        [k for k in range(len(table.thresholds)) if k not in ramps],
        [k for k in range(len(table.thresholds)) if k in ramps],
    ]
    *below, values = yield from together(
        *(_below(engine, x, table, group) for group in groups if group), _values(engine, x, table)
    )
    groups = [group for group in groups if group]
    steps = values.local(lambda v: v[:-1] - v[1:])
    choices = [
        engine.select(bits, steps.local(lambda v, group=group: v[group]))
        for bits, group in zip(below, groups, strict=True)
    ]
    if ramps:
        choices.append(engine.select(below[-1], combination([x], np.array([[ramps[k]] for k in groups[-1]]))))
    chosen = yield from together(*choices)
    result: S = values[len(table.thresholds)]
    for each in chosen[: len(groups)]:
        result = result + each.sum(0)
    if table.fits:
        result = yield from engine.truncate(result, table.cut)
        result = result + x.times(table.last_slope)
    for each in chosen[len(groups) :]:
        result = result + each.sum(0)
    return result


def _below(engine: Engine[S, B], x: S, table: Pieces, group: list[int]) -> Steps[B]:
    """Whether x is below each threshold of a group: (thresholds, *x.shape)."""
    limits = np.array([-table.thresholds[k] % (1 << 64) for k in group], dtype=np.uint64)
    moved = x.local(lambda w: np.repeat(w[None], len(group), axis=0))
    moved = engine.add_public(moved, limits.reshape(-1, *(1,) * len(x.shape)))
    found = yield from engine.negative(moved, table.width)
    return engine.reshape_bits(found, (len(group), *x.shape))


def _values(engine: Engine[S, B], x: S, table: Pieces) -> Steps[S]:
    """The values of all pieces before truncation, (pieces, *x.shape); without the slopes if there is a truncation."""
    degree = max(table.degree, 1)
    made = [x]
    if table.fits:
        made = yield from powers(engine, x, table.variable, degree)
    rows = np.zeros((len(table.pieces), degree), dtype=np.int64)
    constants = np.zeros(len(table.pieces), dtype=np.uint64)
    for row, piece in enumerate(table.pieces):
        if isinstance(piece, Fit):
            rows[row, : len(piece.coefficients) - 1] = piece.coefficients[1:]
            constants[row] = (piece.coefficients[0] << POWER_BITS) % (1 << 64)
        else:
            rows[row, 0] = 0 if table.fits else piece.slope
            constants[row] = (piece.constant << table.cut) % (1 << 64)
    values = combination(made, rows)
    return engine.add_public(values, constants.reshape(-1, *(1,) * len(x.shape)))


def _cover(
    function: Real, variable: Variable, active: tuple[int, int], degree: int, bits: int, wanted: float
) -> tuple[tuple[int, ...], tuple[Fit, ...]] | None:
    """Pieces from the left, each as long as its error allows; none where they are too many."""
    thresholds: list[int] = []
    fits: list[Fit] = []
    start, high = active
    while True:
        whole = fit(function, variable, start, high, degree, bits)
        if whole.error + whole.spread <= wanted:
            fits.append(whole)
            return tuple(thresholds), tuple(fits)
        good, bad = start, high
        kept: Fit | None = None
        while bad - good > max(1, (high - active[0]) >> 7):
            middle = (good + bad) // 2
            tried = fit(function, variable, start, middle, degree, bits)
            if tried.error + tried.spread <= wanted:
                good, kept = middle, tried
            else:
                bad = middle
        if kept is None or len(fits) + 1 >= MOST_PIECES:
            return None
        fits.append(kept)
        thresholds.append(good)
        start = good
