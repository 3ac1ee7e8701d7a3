"""A model in normal form: affine maps between scaled values, and functions of values in [-1, 1].

What `ranges` proves, or `measured` measures, `levels` schedules.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.approximate import Approximation
from tacit.backends.ckks.matrix import Matrix
from tacit.backends.ckks.maximum import Maximum
from tacit.backends.ckks.polynomial import depth_of
from tacit.backends.ckks.ridge import Ridge

__all__ = ["Measured", "Model", "ScaledAffine", "Step", "Watch"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScaledAffine:
    """Σ matrices[j] · (value reads[j]) + bias, between scaled values. ``bound``: (outputs,) on |result|, at most 1.

    ``shape``: of the result, unflattened.
    """

    reads: tuple[int, ...]
    matrices: tuple[Matrix, ...]
    bias: FloatArray
    bound: FloatArray
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Elements of the result."""
        return int(self.bias.size)

    @property
    def depth(self) -> int:
        return 1


@dataclass(frozen=True, eq=False)
class Step:
    """A function of the values ``reads``, element by element, arguments in [-1, 1].

    Of two values their product; of one the ``approximation``, or the exact square where that is ``None``.
    ``name``: of the node in the graph, for messages.
    """

    reads: tuple[int, ...]
    approximation: Approximation | None = None
    name: str = ""

    @property
    def depth(self) -> int:
        return 1 if self.approximation is None else depth_of(self.approximation.degree)


@dataclass(frozen=True)
class Watch:
    """The flag looks at this value, in the power 2^squarings: its range is observed and not proven.

    ``energy``: bound on the sum of powers over the elements where the flag is down. Above 1 before squares, where it
    bounds what noise amounts to as well as ranges do (`SquareStage`), and where no range can be made wider.
    ``turn``: it looks at the arguments of this round of the `Ridge` that makes the value, and not at the value.
    """

    value: int
    squarings: int
    energy: float = 1.0
    turn: int | None = None


@dataclass(frozen=True)
class Measured:
    """What was found of an error that is not proven: on ``fitted`` samples that polynomials were fitted to, and on
    ``held_out`` others, the largest error of a score each."""

    fitted: int
    fitted_error: float
    held_out: int
    held_out_error: float


@dataclass(frozen=True, eq=False)
class Model:
    """The encrypted part in normal form: value 0 is the input in units of the region's box, node i makes value i + 1.

    Results of the last node, which is affine, come in multiples of ``unit``, a power of two, so that they too are in
    [-1, 1]. ``low``, ``high``: (outputs,) sound range of the results times ``unit``.
    ``error``: (outputs,) what approximations add at most. ``watched``: values that a range flag must look at.
    ``measured``: what ``error`` rests on where it is not proven; it is not kept in bundles.
    """

    nodes: tuple[ScaledAffine | Step | Maximum | Ridge, ...]
    low: FloatArray
    high: FloatArray
    error: FloatArray
    unit: float
    input_shape: tuple[int, ...]
    watched: tuple[Watch, ...] = ()
    measured: Measured | None = None

    @property
    def affines(self) -> tuple[ScaledAffine, ...]:
        return tuple(node for node in self.nodes if isinstance(node, ScaledAffine))

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(node for node in self.nodes if isinstance(node, Step))

    @property
    def levels(self) -> tuple[int, ...]:
        """Of every value, the levels that what follows takes, one for every affine map; 0 for the results."""
        levels = [0] * (len(self.nodes) + 1)
        for made, node in reversed(list(enumerate(self.nodes, start=1))):
            for read in node.reads:
                levels[read] = max(levels[read], levels[made] + node.depth)
        return tuple(levels)

    @property
    def depth(self) -> int:
        """Levels of the longest way from the input to the results."""
        return self.levels[0]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Elements of every value."""
        sizes = [int(np.prod(self.input_shape, dtype=np.int64))]
        for node in self.nodes:
            sizes.append(sizes[node.reads[0]] if isinstance(node, Step) else node.size)
        return tuple(sizes)

    @property
    def is_affine(self) -> bool:
        return all(isinstance(node, ScaledAffine) for node in self.nodes)
