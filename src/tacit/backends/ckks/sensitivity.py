"""What small errors of hidden values amount to at the scores, sample by sample: gradients of the clear model.

A polynomial is wrong by much the same at many elements of a sample, and what counts is what their errors add up to.
Fits therefore see scores as well as elements (`regression.Effects`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.affine import Affine
from tacit.backends.ckks.maximum import Windows
from tacit.backends.ckks.partition import Activation, Partition
from tacit.backends.ckks.ridge import distance, positions, steps_of

__all__ = ["gradients", "through_rounds"]

FloatArray = npt.NDArray[np.float64]

PROBES = 16
"""Scores, or sums of scores with random signs where there are more."""
_STEP = 1e-5
"""Of differences, over the largest argument."""


def gradients(part: Partition, values: Sequence[FloatArray]) -> list[FloatArray | None]:
    """For each value (probes, elements, samples): how each probe of the scores moves with it.

    ``values``: (elements, samples) each, of the clear model. ``None`` for values that no function comes before.
    """
    outputs, samples = values[-1].shape
    probes = np.eye(outputs)
    if outputs > PROBES:
        probes = np.random.default_rng(0).choice((-1.0, 1.0), (PROBES, outputs))
    found: list[FloatArray | None] = [None] * len(values)
    found[-1] = np.repeat(probes[:, :, None], samples, axis=2)
    first = next((made for made, node in enumerate(part.nodes, start=1) if isinstance(node, Activation)), 0)
    for made, node in reversed(list(enumerate(part.nodes, start=1))):
        gradient = found[made]
        if gradient is None:
            continue
        for index, read in enumerate(node.reads):
            if read < first:
                continue
            moved = _back(node, index, gradient, [values[r] for r in node.reads])
            known = found[read]
            found[read] = moved if known is None else known + moved
    return found


def _back(
    node: Affine | Activation, index: int, gradient: FloatArray, values: list[FloatArray]
) -> FloatArray:
    """Through one node to the value that it reads at ``index``."""
    if isinstance(node, Affine):
        return np.stack([node.matrices[index].T @ probe for probe in gradient])
    if node.windows is not None:
        members = node.windows.members
        largest = np.argmax([values[0][column] for column in members.T], axis=0)
        return _scattered(gradient, members[np.arange(len(members))[:, None], largest], len(values[0]))
    if node.kind == "product":
        return np.asarray(gradient * values[1 - index])
    step = _STEP * max(1e-30, float(np.abs(values[0]).max()))
    slope = (node.function(values[0] + step) - node.function(values[0] - step)) / (2 * step)
    return np.asarray(gradient * slope)


def through_rounds(windows: Windows, states: Sequence[FloatArray], gradient: FloatArray) -> list[FloatArray]:
    """What each round of a maximum makes, (probes, elements, samples), from the gradient of what the last one makes.

    ``states``: of the clear model, the elements that are needed before each round (`ridge.positions`).
    """
    steps = steps_of(windows)
    made = positions(windows, steps)
    found = [gradient]
    for index in range(len(steps) - 1, 0, -1):
        (offset, count), state = steps[index], states[index]
        far = distance(windows, offset)
        places = np.stack([np.searchsorted(made[index], made[index + 1] + i * far) for i in range(count)])
        largest = np.argmax(state[places], axis=0)
        rows = places[largest, np.arange(places.shape[1])[:, None]]
        found.append(_scattered(found[-1], rows, len(state)))
    return found[::-1]


def _scattered(gradient: FloatArray, rows: npt.NDArray[np.int64], size: int) -> FloatArray:
    """(probes, results, samples) → (probes, size, samples), added up at ``rows`` (results, samples)."""
    probes, _, samples = gradient.shape
    flat = (rows * samples + np.arange(samples)).reshape(-1)
    made: FloatArray = np.zeros((probes, size, samples))
    for index, probe in enumerate(gradient):
        made[index] = np.bincount(flat, probe.reshape(-1), size * samples).reshape(size, samples)
    return made
