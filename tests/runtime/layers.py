"""A program for tests: products with weights and rectifiers, one after the other. It compiles a `.npz` of matrices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cbor2
import numpy as np

from tacit.backends.mpc.steps import Steps, Words, together
from tacit.errors import MalformedMessageError
from tacit.runtime.play import At, Live

FRAC_BITS = 16
WIDTH = 40


def encode(numbers: Any) -> Words:
    return np.asarray(
        np.rint(np.ldexp(np.asarray(numbers, dtype=np.float64), FRAC_BITS)).astype(np.int64)
    ).view(np.uint64)


def clear(matrices: list[Any], x: Any) -> Any:
    for matrix in matrices:
        x = np.maximum(x @ matrix, 0)
    return x


@dataclass(frozen=True)
class Layers:
    shapes: tuple[tuple[int, int], ...]
    openings: tuple[str, ...] = ("output:y",)

    @property
    def end(self) -> int:
        return len(self.shapes)

    def inputs(self, samples: Any) -> dict[str, Words]:
        return {"x": encode(samples)}

    def prepare(self, engine: Any, weights: Mapping[str, Words] | None, owner: int) -> Steps[Any]:
        shared = yield from together(
            *(
                engine.share(owner, None if weights is None else weights[str(place)], shape)
                for place, shape in enumerate(self.shapes)
            )
        )
        return shared

    def share(self, engine: Any, inputs: Mapping[str, Words] | None, owner: int, rows: int) -> Steps[Live]:
        shape = (rows, self.shapes[0][0])
        x = yield from engine.share(owner, None if inputs is None else inputs["x"], shape)
        return {"x": x}

    def run(self, engine: Any, holdings: Any, live: Live, position: int, at: At) -> Steps[Live]:
        x = live["x"]
        for place in range(position, self.end):
            if place > position:
                yield from at(place, {"x": x}) or ()
            x = yield from engine.matmul(x, holdings[place], cut=FRAC_BITS)
            x = yield from engine.rectify(x, WIDTH)
        return {"x": x}

    def reveal(self, engine: Any, outputs: Live, to: tuple[int, ...]) -> Steps[Mapping[str, Words | None]]:
        words = yield from engine.reveal(outputs["x"], to, self.openings[0])
        return {"y": words}

    def decode(self, words: Mapping[str, Words]) -> dict[str, Any]:
        return {name: np.ldexp(each.view(np.int64), -FRAC_BITS) for name, each in words.items()}


class LayersOfFiles:
    """The plays of tests."""

    def compile(self, model: Path, calibration: Any) -> tuple[bytes, dict[str, Words]]:
        with np.load(model) as file:
            matrices = [file[name] for name in sorted(file.files)]
        program = cbor2.dumps([list(matrix.shape) for matrix in matrices])
        return program, {str(place): encode(matrix) for place, matrix in enumerate(matrices)}

    def read(self, program: bytes) -> Layers:
        try:
            return Layers(tuple((rows, columns) for rows, columns in cbor2.loads(program)))
        except (ValueError, TypeError, cbor2.CBORDecodeError):
            raise MalformedMessageError("this is no program of layers") from None
