"""What the provider runs: a list of stages with the level and the scale of every plaintext already fixed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.layout import ColumnLayout, ReplicatedLayout, WindowLayout
from tacit.backends.ckks.linear import SlotMap
from tacit.backends.ckks.polynomial import recipe

__all__ = ["ColumnStage", "MapStage", "PolynomialStage", "Program", "SquareStage", "Stage"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MapStage:
    """A linear map on one packed ciphertext. ``scale``: of the diagonals. ``bound``: (slots,) on |result|."""

    map: SlotMap
    level: int
    scale: float
    rescale: bool
    bound: FloatArray


@dataclass(frozen=True, eq=False)
class ColumnStage:
    """A linear map on one ciphertext per element: weights (outputs, inputs), bias and bound (outputs,)."""

    weights: FloatArray
    bias: FloatArray
    level: int
    scale: float
    rescale: bool
    bound: FloatArray


@dataclass(frozen=True, eq=False)
class SquareStage:
    """t → t², one level."""

    level: int


@dataclass(frozen=True, eq=False)
class PolynomialStage:
    """t → Σ series[j]·T_j(t) for t in [-1, 1]; the result has exactly ``scale``. ``high``: a bound on its magnitude."""

    series: tuple[float, ...]
    level: int
    scale: float
    high: float


Stage = MapStage | ColumnStage | SquareStage | PolynomialStage


@dataclass(frozen=True, eq=False)
class Program:
    """``level``, ``scale``: of the input ciphertexts. ``output_scale``: of the results, which are at level 0."""

    stages: tuple[Stage, ...]
    input: ReplicatedLayout | WindowLayout | ColumnLayout
    output: ReplicatedLayout | ColumnLayout
    level: int
    scale: float
    output_scale: float

    def rotations(self) -> dict[int, int]:
        """Rotation → highest level at which it is used: the fewest and smallest keys that serve the program."""
        levels: dict[int, int] = {}
        for stage in self.stages:
            if isinstance(stage, MapStage):
                after = stage.level - 1 if stage.rescale else stage.level
                for k in stage.map.rotations:
                    levels[k] = max(levels.get(k, 0), stage.level)
                for k in stage.map.folds:
                    levels[k] = max(levels.get(k, 0), after)
        return dict(sorted(levels.items()))

    def conjugate(self) -> int | None:
        """Highest level at which a real part is taken, ``None`` where none is."""
        maps = [s for s in self.stages if isinstance(s, MapStage) and s.map.real_part]
        return max((s.level - s.rescale for s in maps), default=None)

    def relinearize(self) -> int | None:
        """Highest level at which two ciphertexts are multiplied, ``None`` where none are."""
        levels = [s.level for s in self.stages if isinstance(s, SquareStage)]
        for stage in self.stages:
            if isinstance(stage, PolynomialStage) and recipe(stage.series).multiplications:
                levels.append(stage.level)
        return max(levels, default=None)
