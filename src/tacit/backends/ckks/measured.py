"""The normal form of deep networks with kinks: polynomials fitted to calibration data, and an error that is measured.

Bounds that hold for every input grow with every layer: after some rounds of max-pool and ReLU they are wider than the
scores. This lowering takes the ranges of hidden values from samples, with a margin, fits polynomials to
one half of them where their arguments lie, has the range flag watch that arguments stay there, and runs all of them
through the polynomials: the largest error that it meets, in the half that no fit has seen or in the other, times
`ERROR_MARGIN`, is what it promises. Nothing of that is proven, and a plan says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, log2, prod

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev

from tacit.backends.ckks.affine import Affine
from tacit.backends.ckks.approximate import at_degree, fitted_absolute, relu_of
from tacit.backends.ckks.matrix import scaled
from tacit.backends.ckks.maximum import Windows
from tacit.backends.ckks.normal import Measured, Model, ScaledAffine, Step, Watch
from tacit.backends.ckks.partition import EXACT, Activation, Partition
from tacit.backends.ckks.program import FLAG_LEVEL
from tacit.backends.ckks.ranges import Observed
from tacit.backends.ckks.region import Region
from tacit.backends.ckks.regression import (
    Effects,
    fit_round,
    largest_forms,
    loudness,
    round_values,
    watched_reaches,
)
from tacit.backends.ckks.ridge import Ridge, RidgeRound, distance, positions, steps_of, times
from tacit.backends.ckks.sensitivity import gradients, through_rounds

__all__ = ["DEPTHS", "ERROR_MARGIN", "SAMPLES", "lower_measured"]

FloatArray = npt.NDArray[np.float64]

DEPTHS = ((3, 3), (4, 4), (4, 5), (5, 5))
"""Levels of polynomials, tried in turn: of those of all functions but the last, and of the last."""
SAMPLES = 2000
"""Calibration samples that are run; fits see every second one."""
RANGE_MARGIN = 1.5
"""Ranges are this much wider than what the samples reach."""
ERROR_MARGIN = 1.5
"""The promised error over the largest one that samples show."""
SQUARINGS = 5
"""Of what is watched at most: in power 32 samples, which reach two thirds of their ranges, are next to nothing."""
CALM = 0.25
"""What the flags of the samples may reach, all watched arguments together; 1 is the alarm."""
_FLOOR = 0.25
"""No element's range is narrower than this part of the widest of its layer."""
_POINTS = 200_000
"""Arguments that a fit looks at."""
_TELLING = 200
"""Samples whose scores fits look at."""
_DOUBT = 0.02
"""Of the mean spread of elements: how much of one an element needs to be given a scale of its own."""
_BETWEEN = 100
"""Samples of which values between windows are looked at, too: no result needs them, but they must stay in range."""


@dataclass(frozen=True, eq=False)
class _Run:
    """Of one value, (elements, samples): ``clear``, and ``held`` as the polynomials make it, in units of ``scale``.

    ``scale``: (elements,), ``shift``: added to scale·held, ``None`` for none.
    """

    clear: FloatArray
    held: FloatArray
    scale: FloatArray
    shift: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class _Flag:
    """What ranges must know of the range flag. ``levels``: of every value of a partition, what follows takes.

    ``share``: of `CALM`, for the arguments of one round or function.
    """

    levels: tuple[int, ...]
    share: float

    @staticmethod
    def of(part: Partition, depths: tuple[int, int]) -> _Flag:
        levels, watched = [0] * (len(part.nodes) + 1), 0
        for made, node in reversed(list(enumerate(part.nodes, start=1))):
            own, depth = 1, depths[_is_last_function(part, made)]
            if _joins(part, made):
                own = 0
            elif isinstance(node, Activation) and node.windows is not None:
                own = depth * len(steps_of(node.windows))
                watched += len(steps_of(node.windows))
            elif isinstance(node, Activation) and node.kind not in EXACT:
                own = depth
                watched += 1
            for read in node.reads:
                levels[read] = max(levels[read], levels[made] + own)
        return _Flag(tuple(levels), CALM / max(1, watched))

    def squarings(self, level: int) -> int:
        """Of what is made at a level: as many as are left, and no more than needed."""
        return min(SQUARINGS, level - FLAG_LEVEL)

    def wider(self, loudest: float, squarings: int) -> float:
        """How much wider ranges must be for the flag to stay calm."""
        return float(max(1.0, (loudest / self.share) ** (1 / 2**squarings)))


@lru_cache(maxsize=4)
def lower_measured(part: Partition, region: Region, observed: Observed, depths: tuple[int, int]) -> Model:
    """The normal form with polynomials of ``depths`` levels: of the last function, those of the second.

    A ReLU right after a maximum is part of it.
    """
    samples = observed.samples[:SAMPLES]
    fitted = -(-len(samples) // 2)
    samples = np.concatenate([samples[::2], samples[1::2]]).T
    centred = (samples - region.centre[:, None]) / region.radius[:, None]
    runs = [_Run(samples, centred, region.radius, region.centre)]
    slopes = gradients(part, _clear(part, samples[:, : min(fitted, _TELLING)]))
    numbers, flag = [0], _Flag.of(part, depths)
    watched: list[Watch] = []
    nodes: list[ScaledAffine | Step | Ridge] = []
    unit = 1.0
    for made, node in enumerate(part.nodes, start=1):
        reads = [runs[read] for read in node.reads]
        sources = tuple(numbers[read] for read in node.reads)
        depth = depths[_is_last_function(part, made)]
        if isinstance(node, Affine):
            is_last = made == len(part.nodes)
            clear = _image(node, [run.clear for run in reads])
            raw = _image(node, [_value(run) for run in reads])
            if is_last:
                largest = max(float(np.abs(raw).max()), float(np.abs(clear).max()), 1e-300)
                unit = 2.0 ** ceil(log2(RANGE_MARGIN * largest))
                reach = np.full(len(raw), unit)
            else:
                reach = _reach(raw, part, made, flag, depths)
            bias = node.bias
            for run, matrix in zip(reads, node.matrices, strict=True):
                bias = bias if run.shift is None else bias + matrix @ run.shift
            matrices = tuple(
                scaled(scaled(matrix, columns=run.scale), rows=1 / reach)
                for run, matrix in zip(reads, node.matrices, strict=True)
            )
            nodes.append(ScaledAffine(sources, matrices, bias / reach, np.ones(len(reach)), node.shape))
            runs.append(_Run(clear, raw / reach[:, None], reach))
        elif _joins(part, made):
            # The maximum before it was made with this ReLU.
            runs.append(runs[-1])
        elif node.windows is not None:
            rectified = _joins(part, made + 1)
            slope = slopes[made + rectified]
            rounds = _Rounds(node.windows, reads[0].held, rectified, depth, flag.levels[made], flag)
            ridge, run = _ridge(node, sources, reads[0], rounds, fitted, slope)
            watched += [
                Watch(len(nodes) + 1, rounds.squarings(turn), turn=turn) for turn in range(len(ridge.rounds))
            ]
            if _only_maps(part, made + rectified):
                run = _understood(run, fitted)
            nodes.append(ridge)
            runs.append(run)
        else:
            if node.kind not in EXACT and sources[0]:
                squarings = flag.squarings(flag.levels[node.reads[0]])
                loudest = float((reads[0].held ** (2**squarings)).sum(axis=0).max())
                watched.append(Watch(sources[0], squarings, max(1.0, loudest / flag.share)))
            step, run = _step(node, sources, reads, fitted, depth)
            nodes.append(step)
            runs.append(run)
        numbers.append(len(nodes))
    clear, made_of = runs[-1].clear, _value(runs[-1])
    errors = np.abs(made_of - clear).max(axis=0)
    measured = Measured(
        fitted, float(errors[:fitted].max()), len(errors) - fitted, float(errors[fitted:].max(initial=0.0))
    )
    error = np.full(len(clear), ERROR_MARGIN * float(errors.max()))
    middle, half = (clear.max(axis=1) + clear.min(axis=1)) / 2, (clear.max(axis=1) - clear.min(axis=1)) / 2
    low, high = middle - RANGE_MARGIN * half - error, middle + RANGE_MARGIN * half + error
    model = Model(tuple(nodes), low, high, error, unit, part.input_shape, measured=measured)
    return replace(model, watched=tuple(dict.fromkeys(watched)))


def _joins(part: Partition, made: int) -> bool:
    """Whether a value is the ReLU of a maximum that nothing else reads, and that has a round to be a part of."""
    if made > len(part.nodes):
        return False
    node = part.nodes[made - 1]
    if not isinstance(node, Activation) or node.kind != "relu" or node.reads != (made - 1,) or made < 2:
        return False
    before = part.nodes[made - 2]
    readers = [after for after in part.nodes if made - 1 in after.reads]
    if not isinstance(before, Activation) or before.windows is None:
        return False
    return len(readers) == 1 and bool(steps_of(before.windows))


def _value(run: _Run) -> FloatArray:
    value: FloatArray = run.held * run.scale[:, None]
    return value if run.shift is None else value + run.shift[:, None]


def _image(affine: Affine, values: list[FloatArray]) -> FloatArray:
    image = np.repeat(affine.bias[:, None], values[0].shape[1], axis=1)
    for matrix, value in zip(affine.matrices, values, strict=True):
        image = image + matrix @ value
    return image


def _reach(raw: FloatArray, part: Partition, made: int, flag: _Flag, depths: tuple[int, int]) -> FloatArray:
    """(elements,) what the results of an affine map are divided by, so that functions find their arguments in [-1, 1].

    So wide that the range flag stays calm on the samples. All elements alike for smooth functions, those of a channel
    alike for maxima.
    """
    largest: FloatArray = np.abs(raw).max(axis=1)
    reach = RANGE_MARGIN * np.maximum(largest, max(_FLOOR * float(largest.max()), 1e-9))
    readers = [node for node in part.nodes if isinstance(node, Activation) and made in node.reads]
    if any(node.kind == "smooth" for node in readers):
        reach = np.full_like(reach, float(reach.max()))
    for node in readers:
        windows = node.windows
        if windows is None and node.kind not in EXACT:
            squarings = flag.squarings(flag.levels[made])
            loudest = float(((raw / reach[:, None]) ** (2**squarings)).sum(axis=0).max())
            reach = reach * flag.wider(loudest, squarings)
        if windows is None or not steps_of(windows):
            continue
        channels = windows.shape[0]
        reach = np.repeat(reach.reshape(channels, -1).max(axis=1), len(reach) // channels)
        if not _only_maps(part, part.nodes.index(node) + 1):
            reach = np.full_like(reach, float(reach.max()))
        own = part.nodes.index(node) + 1
        rectified, depth = _joins(part, own + 1), depths[_is_last_function(part, own)]
        rounds = _Rounds(windows, raw / reach[:, None], rectified, depth, flag.levels[own], flag)
        reach = reach * max(1.0, *rounds.reaches())
    return reach


def _clear(part: Partition, samples: FloatArray) -> list[FloatArray]:
    """Every value of the clear model."""
    values = [samples]
    for node in part.nodes:
        reads = [values[read] for read in node.reads]
        values.append(_image(node, reads) if isinstance(node, Affine) else node.function(*reads))
    return values


class _Rounds:
    """The rounds of a maximum on samples: those values that results need, and for some samples all that slots hold.

    ``state``: (elements, samples), those of the elements that the next round needs. ``level``: of the results.
    """

    def __init__(
        self, windows: Windows, state: FloatArray, rectified: bool, depth: int, level: int, flag: _Flag
    ) -> None:
        self.windows, self.rectified = windows, rectified
        self.depth, self.level, self.flag = depth, level, flag
        self._wider: dict[int, float] = {}
        self.steps = steps_of(windows)
        self.made = positions(windows, self.steps)
        self.index = 0
        self.state = state
        self.slots = windows.spread(state[:, :_BETWEEN])

    @property
    def is_last(self) -> bool:
        return self.index == len(self.steps) - 1

    def elements(self, values: FloatArray) -> list[FloatArray]:
        """What the next round reads together, of values that are held as ``state`` is."""
        (offset, count), before, after = (
            self.steps[self.index],
            self.made[self.index],
            self.made[self.index + 1],
        )
        far = distance(self.windows, offset)
        return [values[np.searchsorted(before, after + i * far)] for i in range(count)]

    def neighbours(self) -> list[FloatArray]:
        """The same in slots."""
        (rows, columns), count = self.steps[self.index]
        return [self.windows.shifted(self.slots, (i * rows, i * columns)) for i in range(count)]

    def squarings(self, index: int) -> int:
        """Of the arguments of a round, for the range flag."""
        return self.flag.squarings(self.level + (len(self.steps) - index) * self.depth)

    def reaches(self) -> list[float]:
        """What the forms of the next round reach, with the margin; after the last round what results reach.

        The margin is wider where the range flag needs it.
        """
        if self.index == len(self.steps):
            return [RANGE_MARGIN * max(float(np.abs(self.state).max()), 1e-9)]
        count, rectified = self.steps[self.index][1], self.rectified and self.is_last
        needed = largest_forms(count, rectified, self.elements(self.state))
        between = largest_forms(count, rectified, self.neighbours())
        found = [RANGE_MARGIN * max(a, b, 1e-9) for a, b in zip(needed, between, strict=True)]
        if self.index not in self._wider:
            squarings = self.squarings(self.index)
            watched = watched_reaches(count, rectified, found)
            needed_loud = loudness(count, rectified, self.elements(self.state), watched, squarings)
            between_loud = loudness(count, rectified, self.neighbours(), watched, squarings)
            # In layouts by phases slots hold what is needed as often as there are elements for it.
            times = -(-prod(self.windows.shape) // len(self.made[self.index + 1]))
            loudest = max(times * float(needed_loud.max()), float(between_loud.max()))
            self._wider[self.index] = self.flag.wider(loudest, squarings)
        return [self._wider[self.index] * reach for reach in found]

    def advance(self, turn: RidgeRound) -> None:
        self.state = round_values(turn, self.elements(self.state))
        self.slots = round_values(turn, self.neighbours())
        self.index += 1

    def shrink(self, gain: float) -> None:
        self.state, self.slots = self.state * gain, self.slots * gain


def _ridge(
    node: Activation,
    sources: tuple[int, ...],
    run: _Run,
    state: _Rounds,
    fitted: int,
    slope: FloatArray | None,
) -> tuple[Ridge, _Run]:
    """``state``: before the first round. ``fitted``: as many samples, the first ones, are seen by fits.

    ``slope``: (probes, results, samples) of scores with the result, for the first of those samples.
    """
    windows, rectified = state.windows, state.rectified
    clear, scale = run.clear / run.scale[:, None], run.scale[windows.origins]
    clears = [clear]
    for offset, count in state.steps:
        index = len(clears) - 1
        far, before, after = distance(windows, offset), state.made[index], state.made[index + 1]
        places = [np.searchsorted(before, after + i * far) for i in range(count)]
        clears.append(np.max([clears[-1][place] for place in places], axis=0))
    # Of what every round makes: where a ReLU follows, errors of what it takes for nothing do not count.
    moves: list[FloatArray] = []
    if slope is not None:
        telling = slope.shape[2]
        inner = slope * (clears[-1][:, :telling] > 0) if rectified else slope
        moves = [*through_rounds(windows, [c[:, :telling] for c in clears], inner)[:-1], slope]
    rounds, gained = [], 1.0
    for index, (offset, _) in enumerate(state.steps):
        joined = rectified and state.is_last
        elements = state.elements(state.state)
        wanted = clears[index + 1] * gained
        wanted = np.maximum(wanted, 0) if joined else wanted
        effects = None
        if moves:
            units = run.scale[state.made[index + 1]][:, None]
            telling = moves[index].shape[2]
            effects = Effects(moves[index] * units, [e[:, :telling] for e in elements], wanted[:, :telling])
        turn = fit_round(
            offset,
            np.stack([part[:, :fitted].reshape(-1) for part in elements]),
            wanted[:, :fitted].reshape(-1),
            state.reaches(),
            depth=state.depth,
            rectified=joined,
            effects=effects,
        )
        state.advance(turn)
        gain = 1 / max(state.reaches())
        state.shrink(gain)
        gained *= gain
        rounds.append(times(turn, gain))
    clear = np.maximum(clears[-1], 0) if rectified else clears[-1]
    result = _Run(clear * scale[:, None], state.state, scale / gained)
    return Ridge(sources, windows, tuple(rounds), node.name), result


def _is_last_function(part: Partition, made: int) -> bool:
    """Whether no function comes after a value, but for a ReLU that is made with it."""
    later = [after for after in range(made + 1, len(part.nodes) + 1) if not _joins(part, after)]
    return not any(isinstance(part.nodes[after - 1], Activation) for after in later)


def _only_maps(part: Partition, made: int) -> bool:
    """Whether only affine maps read a value."""
    return all(isinstance(node, Affine) for node in part.nodes if made in node.reads)


def _understood(run: _Run, fitted: int) -> _Run:
    """What is held, with the scale and the shift of each element at which it comes nearest to what it should be.

    They are part of the next map: constant and proportional errors of an element cost nothing to make up for.
    """
    held, scale = run.held, run.scale
    seen, wanted = held[:, :fitted], run.clear[:, :fitted] / scale[:, None]
    middle, aim = seen.mean(axis=1), wanted.mean(axis=1)
    spread = ((seen - middle[:, None]) ** 2).mean(axis=1)
    common = ((seen - middle[:, None]) * (wanted - aim[:, None])).mean(axis=1)
    doubt = max(_DOUBT * float(spread.mean()), 1e-30)
    ratio = (common + doubt) / (spread + doubt)
    return _Run(run.clear, held, scale * ratio, scale * (aim - ratio * middle))


def _step(
    node: Activation, sources: tuple[int, ...], reads: list[_Run], fitted: int, depth: int
) -> tuple[Step, _Run]:
    first = reads[0]
    clear = node.function(*(run.clear for run in reads))
    scale: FloatArray
    if node.kind == "product":
        held, scale = first.held * reads[1].held, first.scale * reads[1].scale
        return Step(sources, None, node.name), _Run(clear, held, scale)
    if node.kind == "square":
        return Step(sources, None, node.name), _Run(clear, first.held**2, np.square(first.scale))
    if node.kind == "relu":
        wanted = 2 * clear / first.scale[:, None] - first.held
        pairs = _thinned(first.held[:, :fitted], wanted[:, :fitted])
        found = relu_of(fitted_absolute((1 << depth) - 2, *pairs))
        scale = first.scale
    else:
        width = float(first.scale[0])
        found = at_degree(lambda t: node.function(width * t), "smooth", (1 << depth) - 1)
        scale = np.ones_like(first.scale)
    held = np.asarray(chebyshev.chebval(first.held, found.series))
    return Step(sources, found, node.name), _Run(clear, held, scale)


def _thinned(arguments: FloatArray, wanted: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Some of the pairs, evenly spread."""
    arguments, wanted = arguments.reshape(-1), wanted.reshape(-1)
    step = 1 + arguments.size // _POINTS
    return arguments[::step], wanted[::step]
