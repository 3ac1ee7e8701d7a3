"""The normal form of deep networks with kinks: polynomials fitted to calibration data, and an error that is measured.

Bounds that hold for every input grow with every layer: after some rounds of max-pool and ReLU they are wider than the
scores. This lowering takes the ranges of hidden values from samples, with a margin, fits each polynomial where its
arguments lie, and runs the samples through the polynomials: the largest error that it meets, times `ERROR_MARGIN`, is
what it promises. Nothing of that is proven, and a plan says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, log2

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev

from tacit.backends.ckks.affine import Affine
from tacit.backends.ckks.approximate import Approximation, at_degree, fitted_absolute, relu_of
from tacit.backends.ckks.matrix import scaled
from tacit.backends.ckks.maximum import Maximum, Round, Windows
from tacit.backends.ckks.partition import Activation, Partition
from tacit.backends.ckks.ranges import Model, Observed, ScaledAffine, Step
from tacit.backends.ckks.region import Region
from tacit.errors import InternalError

__all__ = ["DEGREES", "ERROR_MARGIN", "SAMPLES", "lower_measured"]

FloatArray = npt.NDArray[np.float64]

DEGREES = (6, 14, 30)
"""Of polynomials for |t|, tried in turn: the largest even ones of 3, 4 and 5 levels."""
SAMPLES = 1000
"""Calibration samples that are run."""
RANGE_MARGIN = 1.25
"""Ranges are this much wider than what the samples reach."""
ERROR_MARGIN = 1.5
"""The promised error over the largest one that samples show."""
_FLOOR = 0.25
"""No element's range is narrower than this part of the widest of its layer."""
_POINTS = 200_000
"""Arguments that a fit looks at."""


@dataclass(frozen=True, eq=False)
class _Run:
    """Of one value, (elements, samples): ``clear``, and ``held`` as the polynomials make it, in units of ``scale``.

    ``scale``: (elements,), ``shift``: added to scale·held, ``None`` for none.
    """

    clear: FloatArray
    held: FloatArray
    scale: FloatArray
    shift: FloatArray | None = None


@lru_cache(maxsize=4)
def lower_measured(part: Partition, region: Region, observed: Observed, degree: int) -> Model:
    """The normal form with polynomials of ``degree`` for |t| and as close ones as take no more levels elsewhere."""
    samples = observed.samples[:SAMPLES].T
    centred = (samples - region.centre[:, None]) / region.radius[:, None]
    runs = [_Run(samples, centred, region.radius, region.centre)]
    nodes: list[ScaledAffine | Step | Maximum] = []
    unit = 1.0
    for made, node in enumerate(part.nodes, start=1):
        reads = [runs[read] for read in node.reads]
        if isinstance(node, Affine):
            is_last = made == len(part.nodes)
            clear = _image(node, [run.clear for run in reads])
            raw = _image(node, [_value(run) for run in reads])
            if is_last:
                largest = max(float(np.abs(raw).max()), float(np.abs(clear).max()), 1e-300)
                unit = 2.0 ** ceil(log2(RANGE_MARGIN * largest))
                reach = np.full(len(raw), unit)
            else:
                reach = _reach(raw, part, made)
            bias = node.bias
            for run, matrix in zip(reads, node.matrices, strict=True):
                bias = bias if run.shift is None else bias + matrix @ run.shift
            matrices = tuple(
                scaled(scaled(matrix, columns=run.scale), rows=1 / reach)
                for run, matrix in zip(reads, node.matrices, strict=True)
            )
            nodes.append(ScaledAffine(node.reads, matrices, bias / reach, np.ones(len(reach)), node.shape))
            runs.append(_Run(clear, raw / reach[:, None], reach))
        elif node.windows is not None:
            maximum, run = _maximum(node, reads[0], degree)
            nodes.append(maximum)
            runs.append(run)
        else:
            step, run = _step(node, reads, degree)
            nodes.append(step)
            runs.append(run)
    clear, made_of = runs[-1].clear, _value(runs[-1])
    error = ERROR_MARGIN * np.abs(made_of - clear).max(axis=1)
    error = np.full_like(error, float(error.max()))
    middle, half = (clear.max(axis=1) + clear.min(axis=1)) / 2, (clear.max(axis=1) - clear.min(axis=1)) / 2
    low, high = middle - RANGE_MARGIN * half - error, middle + RANGE_MARGIN * half + error
    return Model(tuple(nodes), low, high, error, unit, part.input_shape)


def _value(run: _Run) -> FloatArray:
    value: FloatArray = run.held * run.scale[:, None]
    return value if run.shift is None else value + run.shift[:, None]


def _image(affine: Affine, values: list[FloatArray]) -> FloatArray:
    image = np.repeat(affine.bias[:, None], values[0].shape[1], axis=1)
    for matrix, value in zip(affine.matrices, values, strict=True):
        image = image + matrix @ value
    return image


def _reach(raw: FloatArray, part: Partition, made: int) -> FloatArray:
    """(elements,) what the results of an affine map are divided by, so that functions find their arguments in [-1, 1].

    All elements alike for smooth functions, those of a channel alike for maxima.
    """
    largest: FloatArray = np.abs(raw).max(axis=1)
    reach = RANGE_MARGIN * np.maximum(largest, max(_FLOOR * float(largest.max()), 1e-9))
    readers = [node for node in part.nodes if isinstance(node, Activation) and made in node.reads]
    if any(node.kind == "smooth" for node in readers):
        reach = np.full_like(reach, float(reach.max()))
    for node in readers:
        if node.windows is None:
            continue
        channels = node.windows.shape[0]
        reach = np.repeat(reach.reshape(channels, -1).max(axis=1), len(reach) // channels)
        state = node.windows.spread(raw / reach[:, None])
        reach = reach * max(1.0, _interval(node.windows, state, 0))
    return reach


def _interval(windows: Windows, state: FloatArray, index: int) -> float:
    """What differences of a round reach in any slot, with the margin; after the last round, what results reach."""
    offsets = windows.offsets
    if index == len(offsets):
        return RANGE_MARGIN * float(np.abs(windows.collect(state)).max())
    differences = state - windows.shifted(state, offsets[index])
    return RANGE_MARGIN * max(float(np.abs(differences).max()), float(np.abs(state).max()))


def _maximum(node: Activation, run: _Run, degree: int) -> tuple[Maximum, _Run]:
    windows = node.windows
    if windows is None:
        raise InternalError("a maximum has no windows")
    state = windows.spread(run.held)
    clear = windows.spread(run.clear / run.scale[:, None])
    scale = run.scale[windows.origins]
    rounds = []
    for index, offset in enumerate(windows.offsets):
        other, clear_other = windows.shifted(state, offset), windows.shifted(clear, offset)
        total, difference = state + other, state - other
        largest = np.maximum(clear, clear_other)
        fit = _thinned(difference, 2 * largest - total)
        found = fitted_absolute(degree, *fit)
        state = (total + _even(found, difference)) / 2
        gain = 1 / max(_interval(windows, state, index + 1), 1e-9)
        rounds.append(Round(offset, found, gain))
        state, clear, scale = state * gain, largest * gain, scale / gain
    result = _Run(node.function(run.clear), windows.collect(state), scale)
    return Maximum(node.reads, windows, tuple(rounds), node.name), result


def _step(node: Activation, reads: list[_Run], degree: int) -> tuple[Step, _Run]:
    first = reads[0]
    clear = node.function(*(run.clear for run in reads))
    scale: FloatArray
    if node.kind == "product":
        held, scale = first.held * reads[1].held, first.scale * reads[1].scale
        return Step(node.reads, None, node.name), _Run(clear, held, scale)
    if node.kind == "square":
        return Step(node.reads, None, node.name), _Run(clear, first.held**2, np.square(first.scale))
    if node.kind == "relu":
        wanted = 2 * clear / first.scale[:, None] - first.held
        found = relu_of(fitted_absolute(degree, *_thinned(first.held, wanted)))
        scale = first.scale
    else:
        width = float(first.scale[0])
        found = at_degree(lambda t: node.function(width * t), "smooth", degree + 1)
        scale = np.ones_like(first.scale)
    held = np.asarray(chebyshev.chebval(first.held, found.series))
    return Step(node.reads, found, node.name), _Run(clear, held, scale)


def _thinned(arguments: FloatArray, wanted: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Some of the pairs, evenly spread."""
    arguments, wanted = arguments.reshape(-1), wanted.reshape(-1)
    step = 1 + arguments.size // _POINTS
    return arguments[::step], wanted[::step]


def _even(found: Approximation, t: FloatArray) -> FloatArray:
    """An even series at ``t``: T_2k(t) = T_k(2t² - 1), with half the products."""
    return np.asarray(chebyshev.chebval(2 * t * t - 1, found.series[::2]), dtype=np.float64)
