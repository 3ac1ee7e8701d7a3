"""The stages of a forest, in both packings.

*Latency* (one sample): slot step·L + l holds the comparison at step ``step`` of the way to leaf l (L leaves,
padded; the steps padded with comparisons that always hold), turned so that +1 means "towards the leaf". One linear
map makes all slots out of the features, one composition of polynomials decides all of them, and the product along
the paths is log2(steps) rotations and products; slots that are congruent modulo L then hold the same indicator.

*Throughput* (one sample a slot): one ciphertext per feature; every distinct comparison is decided once; products along
paths share common parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev

from tacit.backends.ckks.approximate import sup_norm
from tacit.backends.ckks.executor import Executor
from tacit.backends.ckks.layout import ColumnLayout, ReplicatedLayout, power_of_two
from tacit.backends.ckks.levels import HEADROOM_BITS, Chain
from tacit.backends.ckks.linear import between, input_layout
from tacit.backends.ckks.noise import TAIL
from tacit.backends.ckks.program import (
    ColumnStage,
    CompareStage,
    LeafStage,
    MapStage,
    PathStage,
    PolynomialStage,
    Program,
    QuadraticMapStage,
    Stage,
)
from tacit.backends.ckks.selection import Selection
from tacit.backends.ckks.simulator import Simulator

__all__ = ["comparison_noise", "schedule_forest"]

FloatArray = npt.NDArray[np.float64]


def schedule_forest(model: Selection, chain: Chain, q: tuple[int, ...], layout: str, width: int) -> Program:
    """The program of a forest on a chain with the primes ``q``. ``width``: features of a sample.

    ``layout``: ``latency``, for which ``model.slots`` must fit, or ``throughput``.
    """
    return (_packed if layout == "latency" else _columns)(model, chain, q, width)


def _packed(model: Selection, chain: Chain, q: tuple[int, ...], width: int) -> Program:
    nominal = 2.0**chain.log_scale
    level = len(q) - 1
    matrix, bias = _comparisons(model, width)
    source = input_layout(width, model.slots, chain.slots)
    first = between(source, matrix, bias)
    entry = model.comparison.entry
    ones = np.ones(chain.slots)
    stages: list[Stage] = [MapStage(first, level, float(q[level]), True, ones, entry)]
    level -= 1
    polynomials, level = _polynomials(model, level, nominal)
    stages.extend(polynomials)
    scale = nominal
    span = model.slots
    leaves = power_of_two(model.forest.leaves)
    while span > leaves:
        span //= 2
        stages.append(PathStage(span, level))
        scale = scale * scale / q[level]
        level -= 1
    here = ReplicatedLayout.plain(model.forest.leaves, chain.slots)
    linear, quadratic, constant = model.score_weights()
    scores, squares = between(here, linear, constant), between(here, quadratic, np.zeros_like(constant))
    square_scale = scale * scale / q[level]
    wanted = _result_scale(model, q)
    stages.append(
        QuadraticMapStage(
            scores,
            squares,
            level,
            wanted * q[level - 1] / scale,
            wanted * q[level - 1] / square_scale,
            np.real(scores.output.pack(model.bound)),
        )
    )
    output = ReplicatedLayout.plain(len(constant), chain.slots)
    return Program(tuple(stages), source, output, len(q) - 1, nominal, wanted)


def _columns(model: Selection, chain: Chain, q: tuple[int, ...], width: int) -> Program:
    nominal = 2.0**chain.log_scale
    forest = model.forest
    top = len(q) - 1
    polynomials, level = _polynomials(model, top, nominal)
    compare = CompareStage(
        tuple(forest.features.tolist()),
        tuple(forest.thresholds.tolist()),
        top,
        polynomials,
        model.comparison.entry,
    )
    paths = tuple(
        tuple(
            (int(c), bool(side > 0))
            for c, side in zip(forest.comparisons[leaf], forest.sides[leaf], strict=True)
            if side
        )
        for leaf in range(forest.leaves)
    )
    end = level - model.steps - 1
    plain = [_product_scale(len(path), level, nominal, q) for path in paths]
    squared = [scale * scale / q[end + 1] for scale, _ in plain]
    corrections = nominal / np.array([scale for scale, _ in plain] + squared)
    leaves = LeafStage(paths, level, end, nominal, corrections)
    linear, quadratic, constant = model.score_weights()
    wanted = _result_scale(model, q)
    weights = np.concatenate([linear, quadratic], axis=1) * corrections
    last = ColumnStage(weights, constant, end, wanted * q[end] / nominal, True, model.bound)
    source = ColumnLayout(width, chain.slots)
    output = ColumnLayout(len(constant), chain.slots)
    return Program((compare, leaves, last), source, output, top, nominal, wanted)


def _comparisons(model: Selection, width: int) -> tuple[FloatArray, FloatArray]:
    """(slots of a sample, width) matrix and bias: features to slots, with results in [-1 + entry, 1 - entry]."""
    forest = model.forest
    leaves = power_of_two(forest.leaves)
    inside = 1 - model.comparison.entry
    matrix = np.zeros((model.slots, width))
    bias = np.full(model.slots, -inside)
    reach = inside / (1 + np.abs(forest.thresholds))
    for step in range(1 << model.steps):
        rows = step * leaves + np.arange(forest.leaves)
        if step >= forest.depth:
            bias[rows] = inside
            continue
        side, which = forest.sides[:, step], forest.comparisons[:, step]
        factor = side * reach[which]
        matrix[rows, forest.features[which]] = factor
        bias[rows] = np.where(side != 0, -factor * forest.thresholds[which], inside)
    return matrix, bias


def _polynomials(model: Selection, level: int, nominal: float) -> tuple[tuple[PolynomialStage, ...], int]:
    """The stages of the comparison from a level on, the last one as (1 + p)/2, and the level of its result."""
    comparison = model.comparison
    stages = []
    for position, (series, degree) in enumerate(zip(comparison.series, comparison.degrees, strict=True)):
        if position + 1 < len(comparison.series):
            stages.append(PolynomialStage(series, level, nominal, 1.0, _slope(series), comparison.noise))
        else:
            halved = (0.5, *(c / 2 for c in series[1:]))
            stages.append(PolynomialStage(halved, level, nominal, 1.0 + comparison.error, _slope(halved)))
        level -= degree.bit_length()
    return tuple(stages), level


def _slope(series: Sequence[float]) -> float:
    """A bound on the derivative over [-1, 1]."""
    return sup_norm(chebyshev.chebder(np.array(series)))


def _product_scale(length: int, level: int, nominal: float, q: Sequence[int]) -> tuple[float, int]:
    """(scale, level) of the product of ``length`` comparisons as the executor multiplies them."""
    if length == 1:
        return nominal, level
    half = 1 << ((length - 1).bit_length() - 1)
    left, here = _product_scale(half, level, nominal, q)
    right, there = _product_scale(length - half, level, nominal, q)
    below = min(here, there)
    return left * right / q[below], below - 1


def _result_scale(model: Selection, q: Sequence[int]) -> float:
    room: float = q[0] / (2.0 * 2.0**HEADROOM_BITS * max(float(model.bound.max()), 1e-9))
    return room


def comparison_noise(
    program: Program, chain: Chain, q: Sequence[int], p: Sequence[int]
) -> tuple[float, float]:
    """(entry, noise): what a program's comparisons add to their argument and to the values of their polynomials.

    Noise of a polynomial is that of its own evaluation, on an exact argument.
    """
    first = program.stages[0]
    nominal = program.scale
    single = Simulator(chain.log_n, q, p, worst_case=True, columns=True)
    entry = 0.0
    polynomials = tuple(stage for stage in program.stages if isinstance(stage, PolynomialStage))
    if isinstance(first, CompareStage):
        fresh = single.encrypt(single.encode(np.ones(1), level=program.level, scale=nominal))
        halved = single.add_const(fresh.with_scale(2 * nominal), 1.0)
        entry = float((halved.noise + halved.shared).max())
        polynomials = first.polynomials
    elif isinstance(first, MapStage) and isinstance(program.input, ReplicatedLayout):
        full = Simulator(chain.log_n, q, p, worst_case=True)
        packed = np.abs(program.input.pack(np.ones(program.input.size)))
        fresh = full.encrypt(full.encode(packed, level=program.level, scale=nominal))
        alone = replace(program, stages=(replace(first, absorbs=0.0),))
        mapped = Executor(alone, full).run([fresh])[0]
        entry = float((mapped.noise + mapped.shared).max())
    noise = 0.0
    for stage in polynomials[:-1]:
        exact = single.encrypt(single.encode(np.ones(1), level=stage.level, scale=nominal))
        alone = Program(
            (replace(stage, absorbs=0.0),), program.input, program.output, stage.level, nominal, nominal
        )
        result = Executor(alone, single).run([replace(exact, noise=np.zeros(1))])[0]
        noise = max(noise, float((result.noise + result.shared).max()))
    return TAIL * entry, TAIL * noise
