"""How a Chebyshev series is evaluated on a ciphertext: Paterson–Stockmeyer in the Chebyshev basis, at minimal depth.

A series of degree d takes ceil(log2(d + 1)) levels. Split at the largest power of two g <= d: p = q·T_g + r with
T_(g+j) = 2·T_g·T_j - T_(g-j); a part becomes a leaf Σ c_j·T_j as soon as its powers are there early enough.
The recursion is that of ia.cr/2020/1203, section 5: every part is asked for at an exact level and scale, so that
additions meet at equal scales. Zero coefficients cost nothing: an odd series needs odd powers only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = ["Leaf", "Power", "Recipe", "Split", "depth_of", "recipe"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Leaf:
    """Σ coefficients[j]·T_j; one level for the constants (none for a bare constant)."""

    coefficients: tuple[float, ...]

    @property
    def powers(self) -> tuple[int, ...]:
        return tuple(j for j, c in enumerate(self.coefficients) if j and c)


@dataclass(frozen=True)
class Split:
    """quotient·T_giant + remainder."""

    giant: int
    quotient: Leaf | Split
    remainder: Leaf | Split


@dataclass(frozen=True)
class Power:
    """T_index = 2·T_left·T_right - T_(left - right); left - right is 0 or 1."""

    index: int
    left: int
    right: int
    depth: int


@dataclass(frozen=True)
class Recipe:
    """``powers`` in an order in which each can be made; ``root`` is then evaluated at depth ``depth``."""

    powers: tuple[Power, ...]
    root: Leaf | Split
    depth: int

    @property
    def multiplications(self) -> int:
        """Ciphertext products: powers and splits."""

        def splits(part: Leaf | Split) -> int:
            return 0 if isinstance(part, Leaf) else 1 + splits(part.quotient) + splits(part.remainder)

        return len(self.powers) + splits(self.root)


def depth_of(degree: int) -> int:
    """Levels that a series of this degree takes."""
    return max(1, degree.bit_length())


def power_depth(index: int) -> int:
    """Levels under the argument at which T_index is there."""
    return (index - 1).bit_length()


@lru_cache(maxsize=256)
def recipe(series: tuple[float, ...]) -> Recipe:
    """The evaluation of a Chebyshev series c_0 … c_d, d >= 1, with the fewest products at the least depth."""
    depth = depth_of(len(series) - 1)
    options = []
    for leaf in (1 << i for i in range(1, depth + 1)):
        needed: set[int] = set()
        root = _plan(np.array(series), depth, leaf, needed)
        for index in sorted(needed, reverse=True):
            _close(index, needed)
        powers = tuple(
            Power(index, (index + 1) // 2, index // 2, power_depth(index))
            for index in sorted(needed)
            if index > 1
        )
        options.append(Recipe(powers, root, depth))
    return min(options, key=lambda option: option.multiplications)


def _close(index: int, needed: set[int]) -> None:
    if index <= 1:
        return
    for part in ((index + 1) // 2, index // 2):
        if part not in needed:
            needed.add(part)
            _close(part, needed)


def _plan(series: FloatArray, depth: int, leaf: int, needed: set[int]) -> Leaf | Split:
    """The part that evaluates ``series`` in at most ``depth`` levels; ``needed`` collects the powers that it reads.

    ``leaf``: parts of a degree below it become leaves where their powers are there early enough.
    """
    nonzero = np.flatnonzero(series)
    degree = int(nonzero[-1]) if nonzero.size else 0
    series = series[: degree + 1]
    terms = [j for j in nonzero.tolist() if j]
    if degree <= 1 or (degree < leaf and all(power_depth(j) + 1 <= depth for j in terms)):
        needed.update(terms)
        return Leaf(tuple(float(c) for c in series))
    giant = 1 << (degree.bit_length() - 1)
    needed.add(giant)
    quotient = np.zeros(degree - giant + 1)
    quotient[0] = series[giant]
    quotient[1:] = 2 * series[giant + 1 :]
    remainder = series[:giant].copy()
    for j in range(1, degree - giant + 1):
        remainder[giant - j] -= series[giant + j]
    return Split(giant, _plan(quotient, depth - 1, leaf, needed), _plan(remainder, depth, leaf, needed))
