"""Least squares: the sums of ridge functions that are nearest to the maxima of samples.

A round is fitted to what the polynomials before it made of samples, and to what it should make of them, so that it
makes up for their errors where it can. A small part of the weight goes to the whole box of arguments, so that none is
forgotten. Nothing of this is proven: what is left as error is measured elsewhere, on samples that no fit has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import floor

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev
from scipy.optimize import linprog

from tacit.backends.ckks.approximate import sup_norm
from tacit.backends.ckks.flag import APART, MEETING
from tacit.backends.ckks.maximum import Pair
from tacit.backends.ckks.ridge import RidgeRound, Term

__all__ = ["Effects", "fit_round", "largest_forms", "loudness", "round_values", "watched_reaches"]

FloatArray = npt.NDArray[np.float64]
Forms = tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
"""Weights and the places that they are used at, of forms that share one polynomial."""

_POINTS = 24_000
"""Samples of arguments that a fit looks at."""
_EVERYWHERE = 0.05
"""Weight of the whole box against that of the samples."""
_SCORES = 10.0
"""Weight of the errors of scores against those of elements."""
_TIGHTER = 1.2
"""What watched forms may be held against tighter, so that others need not be watched."""
_CHUNK = 32
"""Samples whose effects are computed at once."""
_DAMPING = 1e-7
"""Weight of the squares of coefficients: forms that can stand for each other do not grow against each other."""
_DRIFT_BITS = 6.0
"""Of scale that the highest power may lose or win by a division that takes no level."""


@dataclass(frozen=True, eq=False)
class Effects:
    """What a round does to scores: ``gradient`` (probes, results, samples) of the result in the units of ``wanted``.

    ``elements``: (results, samples) each, that the round reads together; ``wanted``: (results, samples) of it.
    """

    gradient: FloatArray
    elements: Sequence[FloatArray]
    wanted: FloatArray


@dataclass(frozen=True)
class _Family:
    """Forms with one polynomial. ``even``: it has even powers only, as the forms have no sign."""

    forms: Forms
    even: bool = False


_ONE = _Family((((1,), (0, 1)),))
_ONE_OF_THREE = _Family((((1,), (0, 1, 2)),))
_PAIR = _Family((((1, -1), (0,)),), even=True)
_PAIRS = _Family((((1, -1), (0, 1)), ((1, 0, -1), (0,))), even=True)
_OFF = _Family((((2, -1), (0,)), ((-1, 2), (0,))))
_OFF_MEAN = _Family((((2, -1, -1), (0,)), ((-1, 2, -1), (0,)), ((-1, -1, 2), (0,))))
_OFF_ALL = _Family((((3, -1, -1), (0,)), ((-1, 3, -1), (0,)), ((-1, -1, 3), (0,))))
FAMILIES = {
    (2, False): (_PAIR,),
    (2, True): (_ONE, _PAIR, _Family((((1, 1), (0,)),)), _OFF),
    (3, False): (_PAIRS, _OFF_MEAN),
    (3, True): (_ONE_OF_THREE, _PAIRS, _OFF_MEAN, _Family((((1, 1, 1), (0,)),)), _OFF_ALL),
}
"""By how many elements are taken together, and whether a ReLU follows. The forms are those of a maximum, and
with a ReLU those of a maximum with a further element 0; all sums are symmetric in the elements."""


def largest_forms(count: int, rectified: bool, elements: Sequence[FloatArray]) -> list[float]:
    """What the forms of each family reach. Elements beyond either end may be zeros, as in the gaps of layouts."""
    return [
        max(
            float(np.abs(part).max())
            for weights, places in family.forms
            for place in places
            for part in _partial_sums(weights, elements[place : place + len(weights)])
        )
        for family in FAMILIES[count, rectified]
    ]


def watched_reaches(count: int, rectified: bool, reaches: Sequence[float]) -> list[float]:
    """Of every family what a range flag holds its forms against, infinity for those that it need not look at.

    Where some forms stay within their reaches, others do by themselves, or would if these were a little less: what each
    can come to is a linear program. The fewest forms with which all stay within ``reaches`` are watched, if their own
    are divided by `_TIGHTER` at most.
    """
    families = FAMILIES[count, rectified]
    rows = [
        np.array(
            [[0.0] * at + [*map(float, w)] + [0.0] * (count - at - len(w)) for w, p in f.forms for at in p]
        )
        for f in families
    ]
    everywhere = range(len(families))
    subsets = [chosen for size in everywhere for chosen in combinations(everywhere, size + 1)]
    for chosen in sorted(subsets, key=lambda subset: sum(len(families[i].forms) for i in subset)):
        limits = np.concatenate([np.full(len(rows[i]), reaches[i]) for i in chosen])
        forms = np.concatenate([rows[i] for i in chosen])
        both, within = np.concatenate([forms, -forms]), np.concatenate([limits, limits])
        tighter = 1.0
        for i in set(everywhere) - set(chosen):
            for row in rows[i]:
                found = linprog(-row, both, within, bounds=(None, None))
                bounded = found.status == 0 and found.x is not None
                tighter = max(tighter, float(row @ found.x) / reaches[i] if bounded else np.inf)
        if tighter <= _TIGHTER:
            return [reaches[i] / tighter if i in chosen else np.inf for i in everywhere]
    return list(reaches)


def loudness(
    count: int,
    rectified: bool,
    elements: Sequence[FloatArray],
    reaches: Sequence[float],
    squarings: int,
) -> FloatArray:
    """(samples,) what a round adds to the range flag at most: its forms over ``reaches``, in the power 2^squarings.

    ``elements``: (…, samples) each. A bound for slots and columns, which differ in what meets before the last squares.
    """
    samples = int(elements[0].shape[-1])
    found = np.zeros(samples)
    for start in range(0, samples, _CHUNK):
        here = [part[..., start : start + _CHUNK] for part in elements]
        total = np.zeros_like(here[0])
        for family, reach in zip(FAMILIES[count, rectified], reaches, strict=True):
            for weights, places in family.forms if reach < np.inf else ():
                for place in places:
                    cut = zip(weights, here[place : place + len(weights)], strict=True)
                    power = np.asarray(sum(w * e for w, e in cut if w)) / reach
                    for _ in range(APART):
                        power = power * power
                    total += (1 + 1 / MEETING) * power
        for _ in range(squarings - APART):
            total *= total
        found[start : start + _CHUNK] = total.reshape(-1, total.shape[-1]).sum(axis=0)
    return found


def fit_round(
    offset: Pair,
    elements: FloatArray,
    wanted: FloatArray,
    reaches: Sequence[float],
    *,
    depth: int,
    rectified: bool,
    effects: Effects | None = None,
) -> RidgeRound:
    """The round whose results are nearest to ``wanted`` (n,) for ``elements`` (count, n); ``depth`` levels deep.

    ``reaches``: of every family, what its forms reach with a margin, at most 1. ``effects``: with which the errors of
    scores count, too.
    """
    count, rng = len(elements), np.random.default_rng(0)
    chosen = rng.permutation(elements.shape[1])[:_POINTS]
    elements, wanted = elements[:, chosen], wanted[chosen]
    families = FAMILIES[count, rectified]
    drift = 2.0 ** (-_DRIFT_BITS / 2 ** (depth - 1))
    multiples = [max(1, floor(1 / reach)) for reach in reaches]
    # A largest reach of 1 may have been rounded up.
    widths = [min(max(m * reach, drift), 1.0) for m, reach in zip(multiples, reaches, strict=True)]
    box = _box(families, elements, reaches, rng)
    largest = box.max(axis=0)
    systems, targets = [], []
    for points, target, weight in (
        (elements, wanted, 1.0),
        (box, np.maximum(largest, 0) if rectified else largest, _EVERYWHERE),
    ):
        rows = np.sqrt(weight / max(1, points.shape[1]))
        systems.append(rows * _basis(families, multiples, widths, points, depth))
        targets.append(rows * target)
    if effects is not None:
        system, target = _mixed(families, multiples, widths, effects, depth)
        systems.append(system)
        targets.append(target)
    systems.append(np.sqrt(_DAMPING) * np.eye(systems[0].shape[1]))
    targets.append(np.zeros(len(systems[-1])))
    solution = np.linalg.lstsq(np.concatenate(systems), np.concatenate(targets))[0]
    terms: list[Term] = []
    constant, position = 0.0, 0
    watched = watched_reaches(count, rectified, reaches)
    for family, multiple, width, reach in zip(families, multiples, widths, watched, strict=True):
        powers = _powers(depth, even=family.even)
        series = np.zeros(powers[-1] + 1)
        series[powers] = solution[position : position + len(powers)]
        position += len(powers)
        high = sup_norm(series)
        terms += [
            Term(
                tuple(multiple * w for w in weights),
                places,
                width,
                tuple(series.tolist()),
                high,
                min(multiple * reach, width) if reach < np.inf else 0.0,
            )
            for weights, places in family.forms
        ]
    straight, constant = float(solution[position]), float(solution[position + 1])
    found = RidgeRound(offset, count, tuple(terms), straight, constant, 0.0)
    slope = 1.05 * max(_slope(found, elements), 1.0)
    return RidgeRound(offset, count, tuple(terms), straight, constant, slope)


def round_values(turn: RidgeRound, elements: Sequence[FloatArray], gain: float = 1.0) -> FloatArray:
    """What a round makes of elements (any shape), times ``gain``."""
    total = turn.straight * sum(elements) + turn.constant
    for term in turn.terms:
        for place in term.places:
            argument = _argument(term, elements[place : place + len(term.weights)])
            total = total + _value(np.array(term.series), argument)
    return np.asarray(gain * total)


def _value(series: FloatArray, t: FloatArray) -> FloatArray:
    """A series at ``t``; an even one by T_2k(t) = T_k(2t² - 1), with half the products."""
    if not series[1::2].any():
        return np.asarray(chebyshev.chebval(2 * t * t - 1, series[::2]))
    return np.asarray(chebyshev.chebval(t, series))


def _argument(term: Term, elements: Sequence[FloatArray]) -> FloatArray:
    parts = [w * e for w, e in zip(term.weights, elements, strict=True) if w]
    return np.asarray(sum(parts) / term.width)


def _partial_sums(weights: tuple[int, ...], elements: Sequence[FloatArray]) -> list[FloatArray]:
    """The form, and what it is where the elements at one of its ends are 0."""
    parts = [w * e for w, e in zip(weights, elements, strict=True)]
    ends = range(1, len(parts))
    return [np.asarray(sum(cut)) for cut in (parts, *(parts[:i] for i in ends), *(parts[i:] for i in ends))]


def _powers(depth: int, *, even: bool) -> list[int]:
    """Indices of the T_j in a series of so many levels; T_0 and T_1 are in the constant and straight part."""
    return list(range(2, 1 << depth, 2 if even else 1))


def _basis(
    families: Sequence[_Family],
    multiples: Sequence[int],
    widths: Sequence[float],
    points: FloatArray,
    depth: int,
) -> FloatArray:
    """(points, coefficients)."""
    columns = []
    for family, multiple, width in zip(families, multiples, widths, strict=True):
        powers = _powers(depth, even=family.even)
        total = np.zeros((points.shape[1], len(powers)))
        for weights, places in family.forms:
            for place in places:
                part = points[place : place + len(weights)]
                argument = multiple * np.tensordot(np.array(weights, dtype=np.float64), part, 1) / width
                total = total + chebyshev.chebvander(argument, powers[-1])[:, powers]
        columns.append(total)
    straight = points.sum(axis=0)[:, None]
    return np.concatenate([*columns, straight, np.ones_like(straight)], axis=1)


def _mixed(
    families: Sequence[_Family],
    multiples: Sequence[int],
    widths: Sequence[float],
    effects: Effects,
    depth: int,
) -> tuple[FloatArray, FloatArray]:
    """Rows for every probe and sample: Σ over results of gradient · what the round makes, and what it should be.

    Rows are as long on average as if errors were independent: those that add up then count for more.
    """
    gradient = effects.gradient
    probes, results, samples = gradient.shape
    rows, targets = [], []
    for start in range(0, samples, _CHUNK):
        cut = slice(start, start + _CHUNK)
        here = np.stack([part[:, cut] for part in effects.elements])
        basis = _basis(families, multiples, widths, here.reshape(len(here), -1), depth)
        basis = basis.reshape(results, -1, basis.shape[1])
        own = gradient[:, :, cut].transpose(2, 0, 1)
        rows.append((own @ basis.transpose(1, 0, 2)).reshape(-1, basis.shape[2]))
        targets.append((own @ effects.wanted[:, cut].T[:, :, None]).reshape(-1))
    length = float(np.sqrt((gradient**2).sum(axis=1).mean()))
    weight = np.sqrt(_SCORES / (probes * samples)) / max(length, 1e-300)
    return weight * np.concatenate(rows), weight * np.concatenate(targets)


def _box(
    families: Sequence[_Family], elements: FloatArray, reaches: Sequence[float], rng: np.random.Generator
) -> FloatArray:
    """(count, points) arguments all over the box in which every form stays within its reach; denser at the ends."""
    reach = 1.5 * float(np.abs(elements).max())
    points = reach * np.cos(np.pi * rng.random((len(elements), _POINTS // 2)))
    inside = np.ones(points.shape[1], dtype=bool)
    for family, limit in zip(families, reaches, strict=True):
        for weights, places in family.forms:
            for place in places:
                form = np.tensordot(
                    np.array(weights, dtype=np.float64), points[place : place + len(weights)], 1
                )
                inside &= np.abs(form) <= limit
    return points[:, inside]


def _slope(turn: RidgeRound, elements: FloatArray) -> float:
    """The largest Σ_i |∂/∂x_i| at some elements (count, n)."""
    gradient = np.full(elements.shape, turn.straight)
    for term in turn.terms:
        steep = chebyshev.chebder(np.array(term.series))
        for place in term.places:
            part = list(elements[place : place + len(term.weights)])
            inner = chebyshev.chebval(_argument(term, part), steep) / term.width
            for i, weight in enumerate(term.weights):
                gradient[place + i] += weight * inner
    return float(np.abs(gradient).sum(axis=0).max(initial=0.0))
