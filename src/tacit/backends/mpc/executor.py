"""Runs a program on an engine: weights shared once, inputs shared, levels one after the other.

Instructions of one level share their rounds. Between levels the live secrets can be taken out (`Checkpoint`), and a
run can begin again from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from tacit.backends.mpc.engine import Engine, Secret
from tacit.backends.mpc.operations import LOCAL, STEPPED
from tacit.backends.mpc.program import Instruction, Output, Program, encode_words
from tacit.backends.mpc.steps import Steps, Words, together
from tacit.errors import DataRangeError, InternalError, ShapeError
from tacit.ir.signature import Array

__all__ = [
    "Checkpoint",
    "Holdings",
    "adopt",
    "decode_output",
    "encode_inputs",
    "prepare",
    "reveal_outputs",
    "run",
    "shapes_of",
    "share_inputs",
]

S = TypeVar("S", bound=Secret)
Value = Any
"""A secret or bits of the engine that the program runs on."""


@dataclass(frozen=True, eq=False)
class Holdings(Generic[S]):
    """What a party holds of the weights for a session: its part of each, by name."""

    weights: Mapping[str, S]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Before level ``position``: every value that it or a later level reads, no weights among them."""

    position: int
    live: Mapping[str, Value]


def prepare(
    engine: Engine[Any, Any], program: Program, weights: Mapping[str, Words] | None, owner: int
) -> Steps[Holdings[Any]]:
    """Shares the weights of the party ``owner``, which gives them; the others give ``None``. One round."""
    if weights is not None and set(weights) != {weight.name for weight in program.weights}:
        raise ShapeError("the weights are not those that the plan names")
    shared = yield from together(
        *(
            engine.share(owner, None if weights is None else weights[weight.name], weight.shape)
            for weight in program.weights
        )
    )
    return Holdings(dict(zip((weight.name for weight in program.weights), shared, strict=True)))


def adopt(program: Program, parts: Mapping[str, S]) -> Holdings[S]:
    """Weights whose shares came from outside. Raises ``ShapeError`` where one is missing or of another shape."""
    for weight in program.weights:
        if weight.name not in parts or parts[weight.name].shape != weight.shape:
            raise ShapeError(f"the weight `{weight.name}` must have shape {weight.shape}")
    return Holdings({weight.name: parts[weight.name] for weight in program.weights})


def encode_inputs(program: Program, arrays: Mapping[str, Array]) -> dict[str, Words]:
    """Words of the inputs that are given. Raises ``DataRangeError`` for what lies outside the plan's region."""
    words: dict[str, Words] = {}
    for each in program.inputs:
        if each.name not in arrays:
            continue
        array = np.asarray(arrays[each.name], dtype=np.float64)
        expected = tuple(size for size in each.shape if size is not None)
        if array.shape[1 if None in each.shape else 0 :] != expected:
            raise ShapeError(f"input `{each.name}` must have shape {each.shape}. Got {array.shape} instead.")
        low, high = each.bounds()
        if not ((array >= low) & (array <= high)).all():
            raise DataRangeError(
                f"input `{each.name}` lies outside the region that the plan was made for",
                hint="calibrate with data that covers it, or leave the sample out",
            )
        words[each.name] = encode_words(array, each.frac_bits)
    return words


def share_inputs(
    engine: Engine[Any, Any],
    program: Program,
    words: Mapping[str, Words],
    owners: Mapping[str, int],
    *,
    samples: int,
) -> Steps[dict[str, Any]]:
    """Shares inputs: ``words`` has those that this party owns, ``owners`` the party of each."""
    shapes = shapes_of(program, samples)
    shared = yield from together(
        *(
            engine.share(
                owners[name], words[name] if owners[name] == engine.index else words.get(name), shape
            )
            for name, shape in shapes.items()
        )
    )
    return dict(zip(shapes, shared, strict=True))


def shapes_of(program: Program, samples: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the inputs with this many samples."""
    return {
        each.name: tuple(samples if size is None else size for size in each.shape) for each in program.inputs
    }


def run(
    engine: Engine[Any, Any],
    program: Program,
    holdings: Holdings[Any],
    inputs: Mapping[str, Value],
    *,
    start: Checkpoint | None = None,
    at: Callable[[Checkpoint], Steps[None] | None] | None = None,
) -> Steps[dict[str, Any]]:
    """Secrets of the outputs by name. ``inputs`` do not count where there is a ``start``.

    ``at``: called between levels with what a restart needs; it may return steps of its own, which are run.
    """
    values: dict[str, Value] = dict(inputs if start is None else start.live)
    first = 0 if start is None else start.position
    levels = _levels(program)
    last_read = _last_reads(program)
    publics = {name: engine.public(words) for name, words in program.publics.items()}
    for position in range(first, len(levels)):
        if at is not None and position > first:
            more = at(Checkpoint(position, dict(values)))
            if more is not None:
                yield from more
        known = _Known(values, holdings.weights, publics)
        yield from _level(engine, levels[position], known)
        values = {name: value for name, value in values.items() if last_read.get(name, -1) > position}
    known = _Known(values, holdings.weights, publics)
    return {output.name: known[output.value] for output in program.outputs}


def reveal_outputs(
    engine: Engine[Any, Any], program: Program, secrets: Mapping[str, Any], to: Sequence[int]
) -> Steps[dict[str, Words | None]]:
    """Opens the outputs to some parties, in one round."""
    opened = yield from together(
        *(engine.reveal(secrets[output.name], to, output.opening) for output in program.outputs)
    )
    return dict(zip((output.name for output in program.outputs), opened, strict=True))


def decode_output(output: Output, words: Words) -> Array:
    """The numbers or labels that opened words stand for."""
    signed = words.view(np.int64)
    if output.classes:
        return np.asarray(output.classes)[np.clip(signed, 0, len(output.classes) - 1)]
    if output.dtype != "float64":
        return signed.astype(np.int64 if output.dtype == "int64" else np.bool_)
    return np.asarray(np.ldexp(signed.astype(np.float64), -output.frac_bits) * output.factor)


def _level(engine: Engine[Any, Any], instructions: Sequence[Instruction], known: _Known) -> Steps[None]:
    """What goes between parties first, side by side; then, in order, what is local and may read it."""
    stepped = [each for each in instructions if each.kind in STEPPED]
    results = yield from together(
        *(STEPPED[each.kind](engine, [known[name] for name in each.inputs], each.fields) for each in stepped)
    )
    for each, result in zip(stepped, results, strict=True):
        known.values[each.output] = result
    for each in instructions:
        if each.kind not in STEPPED:
            operands = [known[name] for name in each.inputs]
            known.values[each.output] = LOCAL[each.kind](engine, operands, each.fields)


def _levels(program: Program) -> list[list[Instruction]]:
    levels: list[list[Instruction]] = [[] for _ in range(program.levels)]
    for each in program.instructions:
        levels[each.level].append(each)
    return levels


def _last_reads(program: Program) -> dict[str, int]:
    """The last level that reads a value; outputs are read after all."""
    found: dict[str, int] = {}
    for each in program.instructions:
        for name in each.inputs:
            found[name] = max(found.get(name, 0), each.level)
    found.update({output.value: program.levels for output in program.outputs})
    return found


@dataclass(frozen=True, eq=False)
class _Known:
    values: dict[str, Value]
    weights: Mapping[str, Value]
    publics: Mapping[str, Value]

    def __getitem__(self, name: str) -> Value:
        for known in (self.values, self.weights, self.publics):
            if name in known:
                return known[name]
        raise InternalError(f"the plan reads `{name}`, which nothing before it makes")
