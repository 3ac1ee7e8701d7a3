"""The public plan of a protected computation: instructions on shared values, without any weight.

All parties run the same program. It names every value, its fractional bits, the bits of every comparison and
truncation, what is opened and who owns what goes in. Weights are apart: the provider shares them.

What a plan shows of the model: its structure, the exponents and bounds that the structure holds, and sizes of
intermediate values as powers of two, from which its widths were derived.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal, cast

import cbor2
import numpy as np

from tacit.backends.mpc.steps import Words
from tacit.errors import MalformedMessageError
from tacit.ir.signature import Array, DType, Shape

__all__ = ["Field", "Input", "Instruction", "Output", "Program", "Saturation", "Weight", "encode_words"]

FORMAT = "tacit mpc program 1"

Field = int | float | str | tuple[int, ...]
Owner = Literal["owner", "provider", "public"]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One operation. ``level``: how many instructions that send anything come before it, itself included.

    Those of one level that send do not read each other and share rounds; local ones follow them, in order.

    ``node``: of the model, for messages. ``fields``: what the operation needs to know, public.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    fields: Mapping[str, Field] = field(default_factory=dict)
    node: str = ""
    level: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", MappingProxyType(dict(self.fields)))


@dataclass(frozen=True, slots=True)
class Input:
    """``low`` and ``high``: (1, …) or scalars: the region for which the plan was made; ``frac_bits`` of its words."""

    name: str
    shape: Shape
    dtype: DType
    owner: Owner
    frac_bits: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    bound_shape: tuple[int, ...]

    def bounds(self) -> tuple[Array, Array]:
        """Arrays that broadcast to (samples, …)."""
        return np.array(self.low).reshape(self.bound_shape), np.array(self.high).reshape(self.bound_shape)


@dataclass(frozen=True, slots=True)
class Weight:
    """A constant of the provider, shared once for a session; its words have ``frac_bits``."""

    name: str
    shape: tuple[int, ...]
    frac_bits: int


@dataclass(frozen=True, slots=True)
class Output:
    """``value``: of the program; ``factor``: what its number is multiplied by when opened; ``opening``: its name.

    ``role``: as in the graph. ``classes``: what an index stands for, empty where the number is the answer.
    """

    name: str
    role: str
    value: str
    shape: Shape
    dtype: DType
    frac_bits: int
    factor: float
    classes: tuple[str, ...] | tuple[int, ...] = ()

    @property
    def opening(self) -> str:
        return f"output:{self.name}"


@dataclass(frozen=True, slots=True)
class Saturation:
    """A hidden value that is clipped because no proof keeps it in the ring; the bounds come from calibration data."""

    node: str
    value: str
    low: float
    high: float


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Program:
    """``error_bound``: largest absolute error of the primary output, ``measured``: on calibration samples, not proven.

    ``comparison_margin``: the bound holds for samples whose compared numbers are farther from their thresholds than
    this; 0 where nothing is compared. ``publics``: words that the plan itself holds (indices, masks, literals).
    """

    name: str
    frac_bits: int
    inputs: tuple[Input, ...]
    weights: tuple[Weight, ...]
    publics: Mapping[str, Words]
    instructions: tuple[Instruction, ...]
    outputs: tuple[Output, ...]
    saturations: tuple[Saturation, ...] = ()
    error_bound: float = 0.0
    measured: bool = False
    comparison_margin: float = 0.0

    @property
    def openings(self) -> tuple[str, ...]:
        """Names of all values that are ever opened."""
        return tuple(output.opening for output in self.outputs)

    @property
    def levels(self) -> int:
        return 1 + max((each.level for each in self.instructions), default=-1)

    @property
    def primary(self) -> Output:
        """As `Graph.primary`: the first output is it."""
        return self.outputs[0]

    def digest(self) -> str:
        """SHA-256 of the bytes, in hexadecimal: what parties compare before they begin."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """Canonical CBOR."""
        body = {
            "format": FORMAT,
            "name": self.name,
            "frac_bits": self.frac_bits,
            "inputs": [_row(each) for each in self.inputs],
            "weights": [_row(each) for each in self.weights],
            "publics": [
                [name, list(words.shape), np.ascontiguousarray(words).astype("<u8").tobytes()]
                for name, words in sorted(self.publics.items())
            ],
            "instructions": [
                [i.kind, list(i.inputs), i.output, dict(sorted(i.fields.items())), i.node, i.level]
                for i in self.instructions
            ],
            "outputs": [_row(each) for each in self.outputs],
            "saturations": [_row(each) for each in self.saturations],
            "error_bound": self.error_bound,
            "measured": self.measured,
            "comparison_margin": self.comparison_margin,
        }
        return cbor2.dumps(body, canonical=True)

    @classmethod
    def from_bytes(cls, data: bytes) -> Program:
        """Raises ``MalformedMessageError`` for what ``to_bytes`` of this version does not write."""
        try:
            body = cbor2.loads(data)
            if body["format"] != FORMAT:
                raise MalformedMessageError("a plan of another version")
            program = cls(
                name=_text(body["name"]),
                frac_bits=_whole(body["frac_bits"]),
                inputs=tuple(_rows(Input, body["inputs"])),
                weights=tuple(_rows(Weight, body["weights"])),
                publics={
                    _text(name): np.frombuffer(raw, dtype="<u8").astype(np.uint64).reshape(shape)
                    for name, shape, raw in body["publics"]
                },
                instructions=tuple(
                    Instruction(
                        _text(kind),
                        tuple(_text(name) for name in inputs),
                        _text(output),
                        {_text(key): _field(value) for key, value in each.items()},
                        _text(node),
                        _whole(level),
                    )
                    for kind, inputs, output, each, node, level in body["instructions"]
                ),
                outputs=tuple(_rows(Output, body["outputs"])),
                saturations=tuple(_rows(Saturation, body["saturations"])),
                error_bound=float(body["error_bound"]),
                measured=bool(body["measured"]),
                comparison_margin=float(body["comparison_margin"]),
            )
        except MalformedMessageError:
            raise
        except (cbor2.CBORDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise MalformedMessageError("bytes that are no plan") from error
        if program.to_bytes() != data:
            raise MalformedMessageError("a plan that is not in canonical form")
        return program


def encode_words(numbers: Array, frac_bits: int) -> Words:
    """Fixed point, rounded to the nearest; |numbers| · 2^frac_bits must stay below 2^62."""
    scaled = np.rint(np.ldexp(np.asarray(numbers, dtype=np.float64), frac_bits))
    return scaled.astype(np.int64).view(np.uint64)


def _row(record: Any) -> list[Any]:
    values = (getattr(record, each.name) for each in fields(record))
    return [list(value) if isinstance(value, tuple) else value for value in values]


def _rows(kind: type[Any], rows: list[list[Any]]) -> list[Any]:
    return [kind(*(tuple(value) if isinstance(value, list) else value for value in row)) for row in rows]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise MalformedMessageError("a plan holds a name that is no text")
    return value


def _whole(value: object) -> int:
    if type(value) is not int:
        raise MalformedMessageError("a plan holds a number that is no integer")
    return value


def _field(value: object) -> Field:
    if isinstance(value, list) and all(type(each) is int for each in value):
        return tuple(value)
    if type(value) in (int, float, str):
        return cast(Field, value)
    raise MalformedMessageError("a plan holds a field of an unknown kind")
