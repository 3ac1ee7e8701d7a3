"""Linear maps with double hoisting over big integers: Bossuat et al. (ia.cr/2020/1203), algorithm 6."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from oracle import polynomial
from oracle.polynomial import Polynomial
from oracle.scheme import Ciphertext, Model, SwitchingKey, divide

__all__ = ["apply", "split"]

Pair = tuple[Polynomial, Polynomial]


def split(diagonals: Sequence[int], baby: int) -> dict[int, list[int]]:
    """The baby steps 0 ≤ j < baby of each giant step, a multiple of ``baby``, for diagonals k = giant + j."""
    steps: dict[int, list[int]] = {}
    for k in sorted(diagonals):
        steps.setdefault(k - k % baby, []).append(k % baby)
    return steps


def apply(
    model: Model,
    x: Ciphertext,
    diagonals: Mapping[int, Mapping[int, Polynomial]],
    keys: Mapping[int, SwitchingKey],
    *,
    scale: float,
) -> Ciphertext:
    """Σ_giant rot(Σ_j diagonals[giant][j] · rot(x, j), giant), rescaled.

    ``diagonals``: plaintext polynomials with signed coefficients, already rotated by -giant. ``keys``: by element.
    Everything stays over Q_level·P and times P; only the second part of a giant step is divided by P to be
    decomposed again, and one division by P·q_level ends the map.
    """
    big = model.modulus(x.level) * model.special
    total: Pair = ([0] * model.n, [0] * model.n)
    hoisting = any(j for steps in diagonals.values() for j in steps)
    for giant, steps in diagonals.items():
        inner: Pair = ([0] * model.n, [0] * model.n)
        for j, diagonal in steps.items():
            rotated = _raised(model, x, j, keys)
            inner = _plus(inner, (_times(rotated[0], diagonal, big), _times(rotated[1], diagonal, big)), big)
        if giant:
            g = model.rotation_element(giant)
            # Without a baby rotation the second part is a multiple of P, and the division is exact.
            part = model.mod_down(inner[1], x.level) if hoisting else _exactly(model, inner[1], x.level)
            switched = model.switch_raised(part, keys[g], x.level)
            moved = (polynomial.add(inner[0], switched[0], big), switched[1])
            inner = tuple(polynomial.automorphism(half, g, big) for half in moved)  # type: ignore[assignment]
        total = _plus(total, inner, big)
    modulus = model.modulus(x.level - 1)
    divisors = (model.q[x.level], *model.p)
    parts = tuple([divide(c, divisors) % modulus for c in half] for half in total)
    return Ciphertext(parts, x.level - 1, x.scale * scale / model.q[x.level])


def _raised(model: Model, x: Ciphertext, steps: int, keys: Mapping[int, SwitchingKey]) -> Pair:
    """P·rot(x, steps) over Q_level·P."""
    big = model.modulus(x.level) * model.special
    c0, c1 = (polynomial.scale(part, model.special, big) for part in x.parts)
    if steps == 0:
        return c0, c1
    g = model.rotation_element(steps)
    k0, k1 = model.switch_raised(x.parts[1], keys[g], x.level)
    moved = (polynomial.add(c0, k0, big), k1)
    return polynomial.automorphism(moved[0], g, big), polynomial.automorphism(moved[1], g, big)


def _exactly(model: Model, part: Polynomial, level: int) -> Polynomial:
    if any(c % model.special for c in part):
        raise ValueError("the coefficients must be multiples of P")
    return [c // model.special % model.modulus(level) for c in part]


def _times(a: Polynomial, b: Polynomial, modulus: int) -> Polynomial:
    return polynomial.multiply(a, b, modulus)


def _plus(x: Pair, y: Pair, modulus: int) -> Pair:
    return polynomial.add(x[0], y[0], modulus), polynomial.add(x[1], y[1], modulus)
