"""Runs a program on an engine: the encrypted one, the simulator, or the meter of the cost model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.flag import raise_flag
from tacit.backends.ckks.ordering import (
    ColumnOrderStage,
    LeafStage,
    OrderStage,
    PathStage,
    VoteStage,
    run_column_order,
    run_leaves,
    run_order,
    run_path,
    run_votes,
)
from tacit.backends.ckks.polynomial import recipe
from tacit.backends.ckks.program import (
    ColumnStage,
    FlagStage,
    MapStage,
    MaximumStage,
    PolynomialStage,
    ProductStage,
    Program,
    SquareStage,
    Stage,
    SumStage,
)
from tacit.backends.ckks.ridge import RidgeStage, run_ridge
from tacit.backends.ckks.series import Series, at_scale, relabel

__all__ = ["Engine", "Executor", "Observer", "Watcher"]

Ciphertext = Any
"""An engine's own type; the executor reads its ``level`` and ``scale`` only."""
FloatArray = npt.NDArray[np.float64]
SlotArray = npt.NDArray[np.float64] | npt.NDArray[np.complex128]
Observer = Callable[[int, Stage], None]
"""Called with the position and the stage right before a stage runs; profiles cut a run into stages with it."""
Watcher = Callable[[int, Stage, list[Ciphertext]], None]
"""Called with the position, the stage, and the ciphertexts that it made."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Engine(Protocol):
    """The operations of ``tacit._native.Evaluator`` that programs use, with the encoder, and moduli as ``q``."""

    @property
    def q(self) -> Sequence[float]: ...
    def encode(self, values: npt.NDArray[Any], *, level: int, scale: float) -> Any: ...
    def linear_map(
        self, diagonals: Mapping[int, SlotArray], *, level: int, scale: float, baby: int
    ) -> Any: ...
    def note_bound(self, ct: Ciphertext, bound: FloatArray | float) -> Ciphertext: ...
    def quiet(self, ct: Ciphertext) -> Ciphertext: ...
    def loudest(self, cts: Sequence[Ciphertext]) -> Ciphertext: ...
    def note_slope(self, result: Ciphertext, argument: Ciphertext, slope: float) -> Ciphertext: ...
    def note_energy(self, square: Ciphertext, argument: Ciphertext, energy: float) -> Ciphertext: ...
    def absorb(self, ct: Ciphertext, noise: float) -> Ciphertext: ...
    def rotate(self, ct: Ciphertext, k: int) -> Ciphertext: ...
    def add(self, a: Ciphertext, b: Ciphertext) -> Ciphertext: ...
    def sub(self, a: Ciphertext, b: Ciphertext) -> Ciphertext: ...
    def add_plain(self, ct: Ciphertext, pt: Any) -> Ciphertext: ...
    def add_const(self, ct: Ciphertext, constant: complex) -> Ciphertext: ...
    def mul_const(self, ct: Ciphertext, constant: float, *, scale: float) -> Ciphertext: ...
    def mul_relin_rescale(self, a: Ciphertext, b: Ciphertext) -> Ciphertext: ...
    def square_relin_rescale(self, ct: Ciphertext) -> Ciphertext: ...
    def times_i(self, ct: Ciphertext) -> Ciphertext: ...
    def each(self, task: Callable[[Self, Item], Result], items: Sequence[Item]) -> list[Result]: ...
    def rescale(self, ct: Ciphertext) -> Ciphertext: ...
    def drop_level(self, ct: Ciphertext, level: int) -> Ciphertext: ...
    def conjugate(self, ct: Ciphertext) -> Ciphertext: ...
    def rotate_sum(self, ct: Ciphertext, steps: Sequence[int]) -> Ciphertext: ...
    def linear(self, ct: Ciphertext, linear_map: Any, *, rescale: bool = True) -> Ciphertext: ...
    def linear_combinations(
        self, cts: Sequence[Ciphertext], weights: FloatArray, *, scale: float
    ) -> list[Ciphertext]: ...


class Executor:
    """A program with its diagonals and biases encoded once, for many runs. Immutable after construction.

    Where the program does not keep its maps, each is encoded when its stage runs and dropped after it.
    """

    def __init__(self, program: Program, engine: Engine) -> None:
        self.program = program
        self.engine = engine
        self.maps: dict[int, Any] = {}
        self.biases: dict[int, Any] = {}
        scales = [program.scale]
        for position, stage in enumerate(program.stages):
            scales.append(self._encode(position, stage, [scales[r] for r in program.sources(position)]))

    def _encode(self, position: int, stage: Stage, scales: Sequence[float]) -> float:
        """Encodes what a stage needs for registers of the given scales. Returns the scale of its result."""
        engine, scale = self.engine, scales[0]
        if isinstance(stage, MapStage):
            if self.program.keeps_maps:
                self.maps[position] = _encoded(engine, stage)
            scale = scale * stage.scale / (engine.q[stage.level] if stage.rescale else 1.0)
            if stage.map.bias.any():
                level = stage.level - 1 if stage.rescale else stage.level
                self.biases[position] = engine.encode(stage.map.bias, level=level, scale=scale)
            return scale
        if isinstance(stage, SumStage):
            if stage.bias.any():
                self.biases[position] = engine.encode(stage.bias, level=stage.level, scale=stage.scale)
            return stage.scale
        if isinstance(stage, ColumnStage):
            return scale * stage.scale / (engine.q[stage.level] if stage.rescale else 1.0)
        if isinstance(stage, SquareStage | PathStage):
            return scale * scale / engine.q[stage.level]
        if isinstance(stage, ProductStage):
            return scales[0] * scales[1] / engine.q[stage.level]
        if isinstance(stage, OrderStage):
            return (4 if stage.last else 2) * scale * scale / engine.q[stage.level]
        return stage.scale if isinstance(stage, PolynomialStage | RidgeStage | VoteStage) else scale

    def run(
        self,
        inputs: list[Ciphertext],
        engine: Engine | None = None,
        *,
        observe: Observer | None = None,
        watch: Watcher | None = None,
    ) -> list[Ciphertext]:
        """Ciphertexts of the program's input layout → ciphertexts of its output layout, at level 0; then its flag.

        Takes the ciphertexts out of ``inputs``, which is empty afterwards: each ends when it was read last.
        ``engine``: one of the same parameters that holds keys; by default the one that encoded the program.
        """
        return _Run(self, engine or self.engine).run(inputs, observe, watch)


class _Run:
    """One execution: the program on one engine."""

    def __init__(self, executor: Executor, engine: Engine) -> None:
        self.program = executor.program
        self.engine = engine
        self._maps = executor.maps
        self._biases = executor.biases

    def run(
        self, inputs: list[Ciphertext], observe: Observer | None, watch: Watcher | None
    ) -> list[Ciphertext]:
        program, engine = self.program, self.engine
        last_read = {
            r: position for position in range(len(program.stages)) for r in program.sources(position)
        }
        registers = {0: list(inputs)}
        inputs.clear()
        for position, stage in enumerate(program.stages):
            if observe is not None:
                observe(position, stage)
            sources = program.sources(position)
            # Lists of its own for the stage, which may end a ciphertext that it needs no more.
            read = [list(registers[r]) for r in sources]
            for r in set(sources):
                if last_read[r] == position:
                    del registers[r]
            made = self.stage(position, stage, read)
            del read
            if watch is not None:
                watch(position, stage, made)
            registers[position + 1] = made
        return [engine.drop_level(ct, 0) if ct.level else ct for ct in registers[len(program.stages)]]

    def stage(self, position: int, stage: Stage, registers: Sequence[list[Ciphertext]]) -> list[Ciphertext]:
        """What one stage makes of the registers that it reads."""
        engine, values = self.engine, registers[0]
        if isinstance(stage, MapStage):
            return [self._map(position, stage, values[0])]
        if isinstance(stage, SumStage):
            return [self._sum(position, stage, [register[0] for register in registers])]
        if isinstance(stage, ColumnStage):
            return self._columns(stage, registers)
        if isinstance(stage, SquareStage):
            return [self._square(stage, ct) for ct in values]
        if isinstance(stage, ProductStage):
            pairs = zip(*registers, strict=True)
            return [
                engine.mul_relin_rescale(engine.drop_level(a, stage.level), engine.drop_level(b, stage.level))
                for a, b in pairs
            ]
        if isinstance(stage, OrderStage):
            return [run_order(engine, stage, values[0])]
        if isinstance(stage, FlagStage):
            return raise_flag(engine, stage, registers)
        if isinstance(stage, MaximumStage):
            return self._maximum(stage, values)
        if isinstance(stage, RidgeStage):
            return run_ridge(engine, stage, values)
        if isinstance(stage, PathStage):
            return [run_path(engine, stage, values[0])]
        if isinstance(stage, ColumnOrderStage):
            return run_column_order(engine, stage, values)
        if isinstance(stage, LeafStage):
            return run_leaves(engine, stage, values)
        if isinstance(stage, VoteStage):
            return run_votes(engine, stage, values)
        return [self._polynomial(stage, ct) for ct in values]

    def _square(self, stage: SquareStage, ct: Ciphertext) -> Ciphertext:
        engine = self.engine
        ct = engine.drop_level(ct, stage.level)
        if stage.energy == 1.0:
            return engine.square_relin_rescale(ct)
        own = engine.square_relin_rescale(engine.quiet(ct))
        return engine.note_energy(own, ct, stage.energy)

    def _sum(self, position: int, stage: SumStage, terms: Sequence[Ciphertext]) -> Ciphertext:
        engine = self.engine
        result = relabel(terms[0], stage.scale)
        for term in terms[1:]:
            result = engine.add(result, relabel(term, stage.scale))
        if stage.folds:
            result = engine.rotate_sum(result, stage.folds)
        if position in self._biases:
            result = engine.add_plain(result, self._biases[position])
        return engine.note_bound(result, stage.bound)

    def _map(self, position: int, stage: MapStage, ct: Ciphertext) -> Ciphertext:
        engine = self.engine
        ct = engine.drop_level(ct, stage.level) if ct.level > stage.level else ct
        encoded = self._maps[position] if self.program.keeps_maps else _encoded(engine, stage)
        result = engine.linear(ct, encoded, rescale=stage.rescale)
        del encoded
        if stage.map.folds:
            result = engine.rotate_sum(result, stage.map.folds)
        if stage.map.real_part:
            result = engine.add(result, engine.conjugate(result))
        if position in self._biases:
            bias = self._biases[position]
            result = engine.add_plain(relabel(result, bias.scale), bias)
        result = engine.note_bound(result, stage.bound)
        return engine.absorb(result, stage.absorbs) if stage.absorbs else result

    def _maximum(self, stage: MaximumStage, values: list[Ciphertext]) -> list[Ciphertext]:
        engine, absolute = self.engine, stage.absolute
        values = [engine.drop_level(ct, stage.level) for ct in values]
        pairs = [(values[i], values[j]) for i, j in stage.pairs]
        if not stage.pairs:
            pairs = [(values[0], engine.rotate(values[0], stage.rotation))]
        results = []
        for a, b in pairs:
            size = self._polynomial(absolute, engine.note_bound(engine.sub(a, b), 1.0))
            middle = at_scale(engine, engine.add(a, b), stage.half, size.level, size.scale)
            results.append(engine.note_bound(engine.add(size, middle), stage.bound))
        return results

    def _columns(self, stage: ColumnStage, registers: Sequence[list[Ciphertext]]) -> list[Ciphertext]:
        engine, scale = self.engine, registers[0][0].scale
        # Weights of registers with another scale make up for it.
        values = [relabel(ct, scale) for register in registers for ct in register]
        dropped = [engine.drop_level(ct, stage.level) if ct.level > stage.level else ct for ct in values]
        results = engine.linear_combinations(dropped, stage.weights, scale=stage.scale)
        if stage.rescale:
            results = [engine.rescale(ct) for ct in results]
        layout = self.program.input
        unit = 1 + 1j if getattr(layout, "is_complex", False) else 1.0
        return [
            engine.note_bound(engine.add_const(ct, float(b) * unit), float(high) * abs(unit))
            for ct, b, high in zip(results, stage.bias, stage.bound, strict=True)
        ]

    def _polynomial(self, stage: PolynomialStage, argument: Ciphertext) -> Ciphertext:
        engine = self.engine
        result = Series(engine, recipe(stage.series), argument, stage.level).result(stage.scale)
        result = engine.note_slope(engine.note_bound(result, stage.high), argument, stage.slope)
        return engine.absorb(result, stage.absorbs) if stage.absorbs else result


def _encoded(engine: Engine, stage: MapStage) -> Any:
    """The diagonals of a map as plaintexts."""
    return engine.linear_map(stage.map.diagonals, level=stage.level, scale=stage.scale, baby=stage.map.baby)
