"""Ranges that hold for every input of the region, and what errors made on the way amount to at the outputs.

Every pre-activation is bounded twice, by the box (sums of magnitudes) and by the ball (Cauchy–Schwarz); the tighter
bound counts. Deeper layers follow by the slopes of the activations on those ranges. Functions are then approximated on
exactly these ranges, so no accepted input can leave them.

Deep networks of squares have no useful bound of this kind: it grows doubly exponentially. For them, and only where no
function is approximated, ranges may be `Observed` on samples, with a margin; a promise then holds for samples whose
hidden values stay within it, and a plan says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, log2

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.affine import Affine
from tacit.backends.ckks.approximate import Approximation, absolute_within, approximate
from tacit.backends.ckks.matrix import (
    Matrix,
    absolute,
    applied,
    row_norms,
    scaled,
    spectral_bound,
    with_entries,
)
from tacit.backends.ckks.maximum import Maximum, Round, Windows
from tacit.backends.ckks.normal import Model, ScaledAffine, Step, Watch
from tacit.backends.ckks.partition import EXACT, Activation, Partition
from tacit.backends.ckks.region import Region
from tacit.errors import InternalError, NoAdmissiblePlanError, PrecisionError

__all__ = ["Observed", "lower", "score_range"]

FloatArray = npt.NDArray[np.float64]

_GRID = np.linspace(-1.0, 1.0, 2049)
ROUNDING = 2.0**-52
"""Relative error of a float64 operation, with one bit to spare."""
_WIDEN = 1.01
"""Intervals are this much wider than the bound, for the errors that earlier layers add."""
OBSERVED_MARGIN = 2.0
"""Observed ranges are this much wider than what the samples reach."""
_HUGE = 1e100
"""Values and slopes from here on count as not finite: their squares would overflow."""
_NARROW = 0.8
"""An interval is centred where that makes it narrower by this factor at least."""
_FLOOR = 0.25
"""No element's observed range is narrower than this part of the widest of its layer."""
_SQUARINGS = 3
"""Of watched values at most: v^8 is far below 1 for ordinary values and grows fast beyond their range."""
_CALM = 0.5
"""What the flags of calibration samples may reach; 1 is the alarm."""


@dataclass(frozen=True, eq=False)
class Observed:
    """``samples``: (samples, features) whose hidden values, with a margin, are taken as ranges."""

    samples: FloatArray


@dataclass(frozen=True, eq=False)
class _Range:
    """Of one value: an interval for every element, the value at the region's mean, and how it deviates from that.

    ``moves``: the deviation is a sum of terms (slope, distance), each at most slope ⊙ d with ‖d‖₂ <= distance.
    """

    low: FloatArray
    high: FloatArray
    at_mean: FloatArray
    moves: tuple[tuple[FloatArray, float], ...]

    @property
    def magnitude(self) -> FloatArray:
        return np.maximum(np.abs(self.low), np.abs(self.high))

    def widened(self, error: FloatArray) -> _Range:
        return replace(self, low=self.low - error, high=self.high + error)


@dataclass(frozen=True, eq=False)
class _Scaled:
    """How a value is held: value = scale ⊙ held + shift; ``error``: (elements,) of the value."""

    scale: FloatArray
    shift: FloatArray | None
    error: FloatArray


def lower(part: Partition, region: Region, tolerance: float, observed: Observed | None = None) -> Model:
    """The normal form with approximations whose errors together stay within ``tolerance`` at every output.

    ``observed``: narrows the ranges to what samples show, for models of squares only.
    Raises ``PrecisionError`` where no polynomial is good enough.
    """
    ranges = _ranges(part, region)
    watched: tuple[Watch, ...] = ()
    if observed is not None:
        ranges, watched = _narrowed(part, ranges, observed)
    gains = _gains(part, ranges)
    inexact = sum(activation.kind not in EXACT for activation in part.activations)
    uniform = {a.reads[0] for a in part.activations if a.kind == "smooth"}
    shiftable = uniform - {
        read
        for node in part.nodes
        for read in node.reads
        if not isinstance(node, Activation) or node.kind != "smooth"
    }
    values = [_Scaled(region.radius, region.centre, np.zeros(region.features))]
    uniform |= {part.nodes[read - 1].reads[0] for read in uniform if _is_pool(part.nodes[read - 1])}
    pools = {
        node.reads[0]: _absolute(node, gains[made], ranges, tolerance / max(1, inexact))
        for made, node in enumerate(part.nodes, start=1)
        if isinstance(node, Activation) and _is_pool(node)
    }
    nodes: list[ScaledAffine | Step | Maximum] = []
    unit = 1.0
    for made, node in enumerate(part.nodes, start=1):
        if isinstance(node, Activation):
            if node.windows is not None:
                made_of, value = _maximum(node, node.windows, values, pools[node.reads[0]])
                nodes.append(made_of)
                values.append(value)
                continue
            step, value = _step(node, ranges, values, gains[made], tolerance / max(1, inexact))
            nodes.append(step)
            values.append(value)
            continue
        bias, error = _affine_image(node, values, region)
        shift: FloatArray | None = None
        if made == len(part.nodes):
            bound = ranges[made].magnitude + error
            unit = 2.0 ** ceil(log2(max(float(bound.max()), 1e-300)))
            reach = np.full(len(bound), unit)
        else:
            reach = ranges[made].magnitude * _WIDEN + error
            reach = np.maximum(reach, max(float(reach.max()) * 1e-3, 1e-9))
            if made in uniform:
                reach = np.full_like(reach, float(reach.max()))
            if made in shiftable:
                reach, shift = _centred(ranges[made].widened(error), reach)
                bias = bias if shift is None else bias - shift
            bound = reach
            for node_after in part.activations:
                if made in node_after.reads and node_after.windows is not None:
                    reach = _room(reach, node_after.windows, pools[made])
        matrices = tuple(
            scaled(scaled(matrix, columns=values[read].scale), rows=1 / reach)
            for read, matrix in zip(node.reads, node.matrices, strict=True)
        )
        nodes.append(ScaledAffine(node.reads, matrices, bias / reach, bound / reach, node.shape))
        values.append(_Scaled(reach, shift, error))
    error = values[-1].error
    low, high = ranges[-1].low - error, ranges[-1].high + error
    return Model(tuple(nodes), low, high, error, unit, part.input_shape, watched)


def _centred(r: _Range, reach: FloatArray) -> tuple[FloatArray, FloatArray | None]:
    """The half width and the middle of one interval for all elements, where that is much narrower than [-reach, reach].

    Elsewhere ``reach`` and ``None``: an odd or even function keeps half of its coefficients at 0 around 0.
    """
    low, high = float(r.low.min()), float(r.high.max())
    half = max((high - low) / 2 * _WIDEN, float(reach.max()) * 1e-3)
    if half > _NARROW * float(reach.max()):
        return reach, None
    return np.full_like(reach, half), np.full_like(reach, (low + high) / 2)


def score_range(part: Partition, region: Region) -> tuple[FloatArray, FloatArray]:
    """(scores,) lowest and highest exact score of any input of the region."""
    last = _ranges(part, region)[-1]
    return last.low, last.high


def _affine_image(affine: Affine, values: list[_Scaled], region: Region) -> tuple[FloatArray, FloatArray]:
    """(outputs,) bias with the shifts of what is read, and the error that comes through."""
    bias, error = affine.bias, np.zeros(affine.bias.size)
    for read, matrix in zip(affine.reads, affine.matrices, strict=True):
        value = values[read]
        if value.shift is not None:
            bias = bias + matrix @ value.shift
            error = error + _cancellation(matrix, affine.bias, region)
        error = error + np.asarray(absolute(matrix) @ value.error)
    return bias, error


def _cancellation(matrix: Matrix, bias: FloatArray, region: Region) -> FloatArray:
    """(outputs,) bound on what float64 loses where large numbers cancel, as for a feature that is almost constant.

    Composing the map (`partition`) rounds an entry by the size of the bias at most, applying it every product.
    """
    size = np.abs(region.centre) + region.radius
    loss: FloatArray = absolute(matrix) @ size + np.abs(bias) * (1.0 + float(size.sum()))
    return loss * ROUNDING


def _step(
    activation: Activation,
    ranges: tuple[_Range, ...],
    values: list[_Scaled],
    gain: FloatArray,
    tolerance: float,
) -> tuple[Step, _Scaled]:
    """The step, and its result (scale and error in the units of the model)."""
    first = activation.reads[0]
    reach, error = values[first].scale, values[first].error
    if activation.kind == "product":
        second = activation.reads[1]
        other = values[second]
        error = ranges[second].magnitude * error + ranges[first].magnitude * other.error + error * other.error
        return Step(activation.reads, None, activation.name), _Scaled(reach * other.scale, None, error)
    if activation.kind == "square":
        error = 2.0 * ranges[first].magnitude * error + error**2
        return Step(activation.reads, None, activation.name), _Scaled(reach**2, None, error)
    slope = _slope(activation, ranges[first].widened(error))
    if activation.kind == "relu":
        worst = float((gain @ reach).max(initial=0.0))
        found = approximate(activation.function, "relu", tolerance / max(worst, 1e-300))
        scale, own = reach, found.error * reach
    else:
        width, shift = float(reach[0]), values[first].shift
        middle = 0.0 if shift is None else float(shift[0])
        worst = float(gain.sum(axis=1).max(initial=0.0))
        # held as a multiple of a power of two, so that neither noise nor the modulus depends on the size of the values
        largest = float(np.abs(activation.function(middle + width * _GRID)).max())
        size = 2.0 ** ceil(log2(max(largest, 1e-300))) if np.isfinite(largest) else 1.0
        found = approximate(
            lambda t: activation.function(middle + width * t) / size,
            "smooth",
            tolerance / max(worst * size, 1e-300),
        )
        if not found.series[1:].any():
            raise NoAdmissiblePlanError(
                f"the function of node `{activation.name}` ({activation.op}) is the same for every input: there is "
                "nothing to protect",
                hint="check that the model was fitted",
            )
        scale, own = np.full_like(reach, size), np.full_like(reach, size * found.error)
    return Step(activation.reads, found, activation.name), _Scaled(scale, None, slope * error + own)


def _is_pool(node: Affine | Activation) -> bool:
    return isinstance(node, Activation) and node.windows is not None


def _absolute(
    node: Activation, gain: FloatArray, ranges: tuple[_Range, ...], tolerance: float
) -> Approximation:
    """The polynomial for |t| in the rounds of a maximum."""
    if node.windows is None:
        raise InternalError("a maximum has no windows")
    width = 2.0 * float(ranges[node.reads[0]].magnitude.max())
    rounds = len(node.windows.offsets)
    worst = width * max(1, rounds) * float(gain.sum(axis=1).max(initial=0.0)) / 2
    return absolute_within(min(tolerance / max(worst, 1e-300), 1 / (4 * max(1, rounds))))


def _room(reach: FloatArray, windows: Windows, found: Approximation) -> FloatArray:
    """What a value is divided by so that differences stay in [-1, 1] in every round; alike in a channel."""
    channels = windows.shape[0]
    widest = reach.reshape(channels, -1).max(axis=1)
    return np.repeat(2.0 * widest / (1.0 - len(windows.offsets) * found.error), len(reach) // channels)


def _maximum(
    node: Activation, windows: Windows, values: list[_Scaled], found: Approximation
) -> tuple[Maximum, _Scaled]:
    """The rounds, and their result: each is off by half of what its polynomial is."""
    before, rounds = values[node.reads[0]], len(windows.offsets)
    turns = tuple(
        Round(offset, found, 2.0 if index == rounds - 1 else 1.0)
        for index, offset in enumerate(windows.offsets)
    )
    scale = before.scale[windows.origins]
    error = windows.apply(before.error) + rounds * found.error / 2 * scale
    return Maximum(node.reads, windows, turns, node.name), _Scaled(
        scale / (2.0 if rounds else 1.0), None, error
    )


@lru_cache(maxsize=8)
@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def _ranges(part: Partition, region: Region) -> tuple[_Range, ...]:
    """Ranges of every value."""
    centre, radius = region.centre, region.radius
    ranges = [_Range(centre - radius, centre + radius, region.mean, ((radius, region.ball),))]
    for node in part.nodes:
        if isinstance(node, Affine):
            ranges.append(_affine_range(node, ranges))
            continue
        operands = [ranges[read] for read in node.reads]
        if node.windows is not None:
            made = _pool_range(node.windows, operands[0])
        elif node.kind == "product":
            made = _product_range(*operands)
        else:
            made = _function_range(node, operands[0])
        finite = [made.low, made.high, *(slope for slope, _ in made.moves)]
        if not all((np.abs(numbers) < _HUGE).all() for numbers in finite):
            raise PrecisionError(
                f"the function of node `{node.name}` ({node.op}) is not finite on its calibrated interval",
                hint="calibrate on a narrower range, or bound the input of that function",
            )
        ranges.append(made)
    return tuple(ranges)


def _affine_range(affine: Affine, ranges: list[_Range]) -> _Range:
    """By the box and by the ball; the tighter bound counts."""
    low, high, at_mean = (affine.bias.copy() for _ in range(3))
    ball = np.zeros(affine.bias.size)
    distance = 0.0
    for read, matrix in zip(affine.reads, affine.matrices, strict=True):
        before = ranges[read]
        up = with_entries(matrix, np.maximum(matrix.data, 0))
        down = with_entries(matrix, np.minimum(matrix.data, 0))
        low += up @ before.low + down @ before.high
        high += up @ before.high + down @ before.low
        at_mean += matrix @ before.at_mean
        for slope, length in before.moves:
            steep = scaled(matrix, columns=slope)
            ball += row_norms(steep) * length
            distance += spectral_bound(steep) * length
    low, high = np.maximum(low, at_mean - ball), np.minimum(high, at_mean + ball)
    return _Range(low, high, at_mean, ((np.ones(low.size), distance),))


def _function_range(activation: Activation, before: _Range) -> _Range:
    slope = _slope(activation, before)
    low, high = _image(activation, before)
    at_mean = activation.function(before.at_mean)
    return _Range(low, high, at_mean, tuple((slope * s, length) for s, length in before.moves))


def _pool_range(windows: Windows, before: _Range) -> _Range:
    """A maximum moves no further than one of its elements; those of several windows count in each."""
    overlap = float(np.bincount(windows.members.reshape(-1)).max()) ** 0.5
    moves = tuple((windows.apply(slope), overlap * length) for slope, length in before.moves)
    low, high, at_mean = (windows.apply(part) for part in (before.low, before.high, before.at_mean))
    return _Range(low, high, at_mean, moves)


def _product_range(a: _Range, b: _Range) -> _Range:
    """a·b - a₀·b₀ = a·(b - b₀) + b₀·(a - a₀)."""
    corners = np.stack([a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high])
    moves = [(a.magnitude * slope, length) for slope, length in b.moves]
    moves += [(np.abs(b.at_mean) * slope, length) for slope, length in a.moves]
    return _Range(corners.min(axis=0), corners.max(axis=0), a.at_mean * b.at_mean, tuple(moves))


def _narrowed(
    part: Partition, ranges: tuple[_Range, ...], observed: Observed
) -> tuple[tuple[_Range, ...], tuple[Watch, ...]]:
    """The part of each range that samples reach, times the margin; a floor helps elements that hardly move in them.

    Only ranges of affine maps; those of functions are what they were. What is narrower than proven is watched, but for
    the results, which the owner sees; ranges are so wide that the flag stays calm on the samples.
    """
    narrowed = [ranges[0]]
    values: list[FloatArray] = [observed.samples.T]
    for node, sound in zip(part.nodes, ranges[1:], strict=True):
        if isinstance(node, Activation):
            values.append(node.function(*(values[read] for read in node.reads)))
            narrowed.append(sound)
            continue
        z = np.repeat(node.bias[:, None], values[0].shape[1], axis=1)
        for read, matrix in zip(node.reads, node.matrices, strict=True):
            z = z + applied(matrix, values[read])
        values.append(z)
        largest: FloatArray = np.abs(z).max(axis=1)
        reach = OBSERVED_MARGIN * np.maximum(largest, _FLOOR * largest.max())
        narrowed.append(replace(sound, low=np.maximum(sound.low, -reach), high=np.minimum(sound.high, reach)))
    levels = _least_levels(part)
    found = [
        Watch(value, min(_SQUARINGS, levels[value] - 1))
        for value, node in enumerate(part.nodes[:-1], start=1)
        if isinstance(node, Affine) and (narrowed[value].magnitude < ranges[value].magnitude).any()
    ]
    rest = _CALM
    for index, watch in sorted(enumerate(found), key=lambda item: -item[1].squarings):
        # High powers are calm by themselves and go first; what they leave is shared by the low ones.
        here, power = narrowed[watch.value], 2**watch.squarings
        floor = max(float(here.magnitude.max()) * 1e-3, 1e-9)
        units = np.abs(values[watch.value]) / np.maximum(here.magnitude, floor)[:, None]
        loudest = float((units**power).sum(axis=0).max())
        share = rest / sum(other.squarings <= watch.squarings for other in found[index:] + found[:index])
        energy = max(1.0, loudest / share)
        rest -= min(loudest, share)
        if watch.squarings == 1 and _is_squared(part, watch.value):
            found[index] = replace(watch, energy=energy)
            continue
        wider = energy ** (1 / power)
        narrowed[watch.value] = replace(
            here, low=np.minimum(here.low, here.low * wider), high=np.maximum(here.high, here.high * wider)
        )
    return tuple(narrowed), tuple(found)


def _is_squared(part: Partition, value: int) -> bool:
    """Whether nothing but squares read a value."""
    readers = [node for node in part.nodes if value in node.reads]
    return all(isinstance(node, Activation) and node.kind == "square" for node in readers)


def _least_levels(part: Partition) -> list[int]:
    """Of every value, the levels that what follows takes at least."""
    levels = [0] * (len(part.nodes) + 1)
    for made, node in reversed(list(enumerate(part.nodes, start=1))):
        for read in node.reads:
            levels[read] = max(levels[read], levels[made] + 1)
    return levels


def _image(activation: Activation, r: _Range) -> tuple[FloatArray, FloatArray]:
    """(outputs,) bounds on the function over each interval: sampled, then widened by slope times half the spacing."""
    values = activation.function(_points(r))
    slack = _slope(activation, r) * (r.high - r.low) / (len(_GRID) - 1) / 2
    return values.min(axis=0) - slack, values.max(axis=0) + slack


def _slope(activation: Activation, r: _Range) -> FloatArray:
    """(outputs,) bound on |f'| over each interval."""
    if activation.kind == "relu":
        return np.ones_like(r.low)
    if activation.kind == "square":
        return 2.0 * r.magnitude * _WIDEN
    points = _points(r)
    spacing = np.maximum((r.high - r.low) / (len(_GRID) - 1), 1e-300)
    steepness = np.abs(np.diff(activation.function(points), axis=0)) / spacing
    slope: FloatArray = steepness.max(axis=0) * 1.05
    return slope


def _points(r: _Range) -> FloatArray:
    """(2049, outputs) points that run through each interval, a little beyond its ends."""
    middle, half = (r.low + r.high) / 2, (r.high - r.low) / 2 * _WIDEN
    return middle + _GRID[:, None] * half


def _gains(part: Partition, ranges: tuple[_Range, ...]) -> dict[int, FloatArray]:
    """For each value, (outputs, elements): what an error of 1 in an element amounts to at each output.

    Only for values that an approximation comes before.
    """
    inexact = {0: False}
    for made, node in enumerate(part.nodes, start=1):
        approximated = isinstance(node, Activation) and node.kind not in EXACT
        inexact[made] = approximated or any(inexact[read] for read in node.reads)
    gains: dict[int, FloatArray] = {}

    def count(read: int, gain: FloatArray) -> None:
        gains[read] = gains[read] + gain if read in gains else gain

    for made, node in reversed(list(enumerate(part.nodes, start=1))):
        needed = [inexact[read] for read in node.reads]
        gain = gains.get(made)
        if isinstance(node, Affine):
            is_last = made == len(part.nodes)
            for read, matrix, wanted in zip(node.reads, node.matrices, needed, strict=True):
                if wanted and (is_last or gain is not None):
                    size = absolute(matrix)
                    count(read, size.toarray() if gain is None else gain @ size)
        elif gain is not None and node.windows is not None:
            if needed[0]:
                # As if errors were alike within a window; the bound itself is not computed with this.
                members = node.windows.members
                spread = np.zeros((len(gain), int(np.prod(node.windows.shape))))
                for column in members.T:
                    spread[:, column] += gain / members.shape[1]
                count(node.reads[0], spread)
        elif gain is not None and node.kind == "product":
            a, b = node.reads
            if needed[0]:
                count(a, gain * ranges[b].magnitude)
            if needed[1]:
                count(b, gain * ranges[a].magnitude)
        elif gain is not None and needed[0]:
            count(node.reads[0], gain * _slope(node, ranges[node.reads[0]]))
    # A value that nothing reads, as behind a slice that leaves it out, may have any error.
    return {made: gains.get(made, np.zeros((1, ranges[made].low.size))) for made in inexact}
