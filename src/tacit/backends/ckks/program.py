"""What the provider runs: a list of stages with the level and the scale of every plaintext already fixed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.layout import ColumnLayout, ReplicatedLayout, WindowLayout
from tacit.backends.ckks.linear import SlotMap
from tacit.backends.ckks.ordering import ColumnOrderStage, LeafStage, OrderStage, PathStage, VoteStage
from tacit.backends.ckks.polynomial import recipe
from tacit.backends.ckks.ridge import RidgeStage

__all__ = [
    "FLAG_LEVEL",
    "ColumnStage",
    "FlagStage",
    "MapStage",
    "MaximumStage",
    "PolynomialStage",
    "ProductStage",
    "Program",
    "SquareStage",
    "Stage",
    "SumStage",
    "fold_steps",
]

FloatArray = npt.NDArray[np.float64]

FLAG_LEVEL = 1
"""Where the powers of a range flag meet and are folded; a rescale then brings the sum to its small scale."""


@dataclass(frozen=True, eq=False)
class MapStage:
    """A linear map on one packed ciphertext. ``scale``: of the diagonals. ``bound``: (slots,) on |result|.

    ``absorbs``: noise of the result that the next stage was made for, 0 where noise travels on.
    """

    map: SlotMap
    level: int
    scale: float
    rescale: bool
    bound: FloatArray
    absorbs: float = 0.0


@dataclass(frozen=True, eq=False)
class SumStage:
    """The sum of packed ciphertexts at ``level`` and ``scale``, then folds, then ``bias`` (slots,).

    ``bound``: (slots,) on |result|.
    """

    folds: tuple[int, ...]
    bias: FloatArray
    level: int
    scale: float
    bound: FloatArray


@dataclass(frozen=True, eq=False)
class ColumnStage:
    """A linear map on one ciphertext per element: weights (outputs, inputs), bias and bound (outputs,).

    Inputs are the columns of all registers that it reads, one register after the other, read at the scale of the first.
    """

    weights: FloatArray
    bias: FloatArray
    level: int
    scale: float
    rescale: bool
    bound: FloatArray


@dataclass(frozen=True, eq=False)
class SquareStage:
    """t → t², one level. ``name``: of the node in the graph, here and elsewhere.

    ``energy``: above 1 where arguments may leave [-1, 1] and instead the sum of their squares is at most that: then
    Cauchy and Schwarz bound what their noise amounts to.
    """

    level: int
    name: str = ""
    energy: float = 1.0


@dataclass(frozen=True, eq=False)
class ProductStage:
    """(s, t) → s·t for two registers of one layout, one level."""

    level: int
    name: str = ""


@dataclass(frozen=True, eq=False)
class PolynomialStage:
    """t → Σ series[j]·T_j(t) for t in [-1, 1]; the result has exactly ``scale``.

    ``high``: a bound on its magnitude; ``slope``: on that of its derivative, as in ``Approximation``.
    ``absorbs``: noise of the result that the next stage was made for, 0 where noise travels on.
    """

    series: tuple[float, ...]
    level: int
    scale: float
    high: float
    slope: float
    absorbs: float = 0.0
    name: str = ""


@dataclass(frozen=True, eq=False)
class FlagStage:
    """The last stage where ranges are watched (`flag`): reads the results, then values in units of their ranges.

    Makes the results and one ciphertext more: Σ v^(2^squarings) / energy over the elements of each value, where
    ``energies`` are at least 1. ``spans``: slots after which each value repeats (1 for columns). ``terms``: slots or
    columns that are added up for one value, at most.
    ``scale``: of the flag, at level 0. ``rounds``: of each value the round that reads it, whose arguments are watched
    (`flag`); ``None`` where the value itself is.
    """

    squarings: tuple[int, ...]
    energies: tuple[float, ...]
    spans: tuple[int, ...]
    terms: int
    scale: float
    rounds: tuple[RidgeStage | None, ...]


@dataclass(frozen=True, eq=False)
class MaximumStage:
    """x → 2·half·max(x, x'), where x' = rotate(x, ``rotation``), or another column: ``pairs`` of columns (x, x').

    ``absolute``: makes half·|x - x'| of x - x', which is in [-1, 1]; ``bound``: on |result|.
    """

    absolute: PolynomialStage
    half: float
    rotation: int
    pairs: tuple[tuple[int, int], ...]
    bound: float
    name: str = ""

    @property
    def level(self) -> int:
        return self.absolute.level

    @property
    def scale(self) -> float:
        return self.absolute.scale


Stage = (
    MapStage
    | FlagStage
    | SumStage
    | ColumnStage
    | SquareStage
    | ProductStage
    | PolynomialStage
    | MaximumStage
    | RidgeStage
    | OrderStage
    | PathStage
    | ColumnOrderStage
    | LeafStage
    | VoteStage
)


@dataclass(frozen=True, eq=False)
class Program:
    """Register 0 holds the input; ``stages[i]`` makes register i + 1. The last register holds the results.

    A register is a list of ciphertexts: one in latency packing, one for each element in throughput packing.
    ``level``, ``scale``: of the input ciphertexts. ``output_scale``: of the results, which are at level 0.
    ``reads``: for each stage the registers that it reads; empty for a chain, where each reads what the one before made.
    ``keeps_maps``: whether diagonals stay encoded between requests, which takes memory, or not, which takes time.
    """

    stages: tuple[Stage, ...]
    input: ReplicatedLayout | WindowLayout | ColumnLayout
    output: ReplicatedLayout | ColumnLayout
    level: int
    scale: float
    output_scale: float
    reads: tuple[tuple[int, ...], ...] = ()
    keeps_maps: bool = True

    @property
    def flag(self) -> FlagStage | None:
        """The range flag, which is the last of the results where there is one."""
        last = self.stages[-1]
        return last if isinstance(last, FlagStage) else None

    def sources(self, position: int) -> tuple[int, ...]:
        """The registers that a stage reads."""
        return self.reads[position] if self.reads else (position,)

    def rotations(self) -> dict[int, int]:
        """Rotation → highest level at which it is used: the fewest and smallest keys that serve the program."""
        levels: dict[int, int] = {}

        def use(rotations: tuple[int, ...], level: int) -> None:
            for k in rotations:
                levels[k] = max(levels.get(k, 0), level)

        for stage in self.stages:
            if isinstance(stage, MapStage):
                use(stage.map.rotations, stage.level)
                use(stage.map.folds, stage.level - 1 if stage.rescale else stage.level)
            elif isinstance(stage, SumStage):
                use(stage.folds, stage.level)
            elif isinstance(stage, FlagStage):
                use(fold_steps(max(stage.spans), 1), FLAG_LEVEL)
            elif isinstance(stage, OrderStage | PathStage) or (
                isinstance(stage, MaximumStage) and not stage.pairs
            ):
                use((stage.rotation,), stage.level)
            elif isinstance(stage, RidgeStage):
                use(stage.rotations, stage.level)
        return dict(sorted(levels.items()))

    def conjugate(self) -> int | None:
        """Highest level at which a real part is taken, ``None`` where none is."""
        levels = [s.level - s.rescale for s in self.stages if isinstance(s, MapStage) and s.map.real_part]
        levels += [s.level for s in self.stages if isinstance(s, OrderStage | ColumnOrderStage)]
        return max(levels, default=None)

    def relinearize(self) -> int | None:
        """Highest level at which two ciphertexts are multiplied, ``None`` where none are."""
        levels: list[int] = []
        for stage in self.stages:
            if isinstance(stage, PolynomialStage):
                if recipe(stage.series).multiplications:
                    levels.append(stage.level)
            elif isinstance(stage, FlagStage):
                levels.append(FLAG_LEVEL + max(stage.squarings))
            elif isinstance(
                stage,
                SquareStage
                | ProductStage
                | MaximumStage
                | RidgeStage
                | OrderStage
                | PathStage
                | ColumnOrderStage,
            ):
                levels.append(stage.level)
        return max(levels, default=None)


def fold_steps(width: int, span: int) -> tuple[int, ...]:
    """Rotations that add up what lies ``span`` slots apart in ``width`` slots, both powers of two; widest first."""
    return tuple(span << i for i in reversed(range((width // span).bit_length() - 1)))
