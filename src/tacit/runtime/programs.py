"""Programs of models as jobs run them: compiled where the model is, read by all, inputs of one party."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from tacit.backends.mpc import executor
from tacit.backends.mpc.compile import compile_program
from tacit.backends.mpc.program import Program
from tacit.backends.mpc.steps import Steps, Words
from tacit.errors import InvalidParameterError, ShapeError
from tacit.ir.signature import Array
from tacit.runtime.play import At, Live, Play
from tacit.runtime.protocols import PartyEngine

__all__ = ["ModelPlay", "ModelPlays"]


@dataclass(frozen=True)
class ModelPlay:
    """A ``Play`` of one program, whose one input is owned by the party that has the data."""

    program: Program

    @property
    def openings(self) -> tuple[str, ...]:
        return self.program.openings

    @property
    def end(self) -> int:
        return self.program.levels

    def inputs(self, samples: Array) -> dict[str, Words]:
        """Samples (rows, features) or in the shape of the input. Raises ``ShapeError`` and ``DataRangeError``."""
        (expected,) = self.program.inputs
        shape = tuple(size for size in expected.shape if size is not None)
        rows = np.asarray(samples, dtype=np.float64)
        if prod(rows.shape[1:]) != prod(shape):
            raise ShapeError(
                f"the data has {prod(rows.shape[1:])} numbers in a row, the model takes {prod(shape)}",
                hint="give the columns that the model was fitted on",
            )
        return executor.encode_inputs(self.program, {expected.name: rows.reshape(len(rows), *shape)})

    def prepare(
        self, engine: PartyEngine, weights: Mapping[str, Words] | None, owner: int
    ) -> Steps[executor.Holdings[Any]]:
        return executor.prepare(engine, self.program, weights, owner)

    def share(
        self, engine: PartyEngine, inputs: Mapping[str, Words] | None, owner: int, rows: int
    ) -> Steps[Live]:
        owners = {each.name: owner for each in self.program.inputs}
        shared = yield from executor.share_inputs(engine, self.program, inputs or {}, owners, samples=rows)
        return shared

    def run(self, engine: PartyEngine, holdings: Any, live: Live, position: int, at: At) -> Steps[Live]:
        outputs = (
            yield from executor.run(
                engine,
                self.program,
                holdings,
                live if not position else {},
                start=executor.Checkpoint(position, live) if 0 < position < self.end else None,
                at=lambda checkpoint: at(checkpoint.position, checkpoint.live),
            )
            if position < self.end
            else _kept(live)
        )
        return outputs

    def reveal(
        self, engine: PartyEngine, outputs: Live, to: tuple[int, ...]
    ) -> Steps[Mapping[str, Words | None]]:
        opened = yield from executor.reveal_outputs(engine, self.program, outputs, to)
        return opened

    def decode(self, words: Mapping[str, Words]) -> dict[str, Array]:
        return {
            output.name: executor.decode_output(output, words[output.name]) for output in self.program.outputs
        }


class ModelPlays:
    """The ``Plays`` of model files: ONNX."""

    def compile(self, model: Path, calibration: Array | None) -> tuple[bytes, dict[str, Words]]:
        """Raises as ``importers.load`` and ``compile_program`` do, and ``InvalidParameterError`` for several inputs."""
        from tacit.importers import load

        compiled = compile_program(load(model), calibration=calibration)
        if len(compiled.program.inputs) != 1:
            raise InvalidParameterError(
                f"the model takes {len(compiled.program.inputs)} inputs",
                hint="jobs run models of one input: put its parts side by side in one table",
            )
        return compiled.program.to_bytes(), dict(compiled.weights)

    def read(self, program: bytes) -> Play:
        return ModelPlay(Program.from_bytes(program))


def _kept(live: Live) -> Steps[Live]:
    """The outputs themselves: the checkpoint was after the last layer."""
    yield from ()
    return live
