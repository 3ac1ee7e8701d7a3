"""A compiled model: the public plan and, in normal form, the weights. What the provider keeps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.approximate import Approximation
from tacit.backends.ckks.envelope import open_envelope, seal
from tacit.backends.ckks.flag import APART
from tacit.backends.ckks.forest_program import schedule_forest
from tacit.backends.ckks.levels import Chain, moduli, schedule
from tacit.backends.ckks.matrix import Matrix, full
from tacit.backends.ckks.maximum import Maximum, Round, Windows
from tacit.backends.ckks.normal import Model, ScaledAffine, Step, Watch
from tacit.backends.ckks.program import Program
from tacit.backends.ckks.public import PublicPlan
from tacit.backends.ckks.ridge import Ridge, RidgeRound, Term, steps_of
from tacit.backends.ckks.selection import Selection, selection_from_fields, selection_to_fields
from tacit.errors import MalformedMessageError, TacitError

__all__ = ["SALT_BYTES", "Compiled"]

SALT_BYTES = 16

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Compiled:
    """``salt``: opens the plan's commitment to the model; secret like the weights.

    ``keeps_maps``: as in ``Program``; it is the provider's own business and not in the public plan.
    """

    public: PublicPlan
    model: Model | Selection
    chain: Chain
    salt: bytes
    keeps_maps: bool = True

    def __repr__(self) -> str:
        return f"<Compiled {self.public!r}>"

    def program(self) -> Program:
        """The stages; always the same for the same compiled model."""
        q, _ = moduli(self.chain.log_n, self.chain.log_q, self.chain.log_p)
        codes = self.public.region.codes
        if isinstance(self.model, Selection) and codes is not None:
            stages = schedule_forest(self.model, self.chain, q, self.public.layout, codes)
            return replace(stages, keeps_maps=self.keeps_maps)
        if isinstance(self.model, Selection):
            raise MalformedMessageError("the bundle is not valid: its forest has no codes")
        return replace(schedule(self.model, self.chain, q, self.public.layout), keeps_maps=self.keeps_maps)

    def to_bytes(self) -> bytes:
        """Plan, weights and salt: the provider's secret."""
        return seal(
            "bundle",
            {
                "plan": self.public.to_bytes(),
                "salt": self.salt,
                "rescale_last": self.chain.rescale_last,
                "keeps_maps": self.keeps_maps,
                **_model_to_fields(self.model),
            },
        )

    @staticmethod
    def from_bytes(data: bytes) -> Compiled:
        """Reads ``to_bytes``. Raises ``MalformedMessageError`` or ``PeerIncompatibleError``."""
        fields = open_envelope(data, "bundle")
        try:
            public = PublicPlan.from_bytes(fields["plan"])
            model = _model_from_fields(fields)
            rescale_last, keeps_maps = fields["rescale_last"], fields["keeps_maps"]
            if type(rescale_last) is not bool or type(keeps_maps) is not bool:
                raise ValueError("a switch is neither true nor false")
            chain = Chain(public.log_n, public.log_q, public.log_p, public.log_scale, rescale_last)
            _check_shapes(model, public)
            return Compiled(public, model, chain, _salt(fields["salt"]), keeps_maps)
        except TacitError:
            raise
        except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise MalformedMessageError(
                "the bundle is not valid: a field is missing or of a wrong type"
            ) from error


def _model_to_fields(model: Model | Selection) -> dict[str, Any]:
    common = {"low": _bytes(model.low), "high": _bytes(model.high), "error": _bytes(model.error)}
    if isinstance(model, Selection):
        return {**common, "forest": selection_to_fields(model)}
    return {
        **common,
        "unit": float(model.unit),
        "input_shape": list(model.input_shape),
        "nodes": [_node_to_list(node) for node in model.nodes],
        "watched": [
            [watch.value, watch.squarings, float(watch.energy), watch.turn] for watch in model.watched
        ],
    }


def _model_from_fields(fields: dict[str, Any]) -> Model | Selection:
    low, high, error = (_array(fields[key]) for key in ("low", "high", "error"))
    if "forest" in fields:
        return selection_from_fields(fields["forest"], low, high, error)
    nodes = tuple(_node_from_list(node) for node in fields["nodes"])
    watched = tuple(
        Watch(int(value), int(squarings), float(energy), None if turn is None else int(turn))
        for value, squarings, energy, turn in fields["watched"]
    )
    return Model(nodes, low, high, error, float(fields["unit"]), tuple(fields["input_shape"]), watched)


def _check_shapes(model: Model | Selection, public: PublicPlan) -> None:
    if isinstance(model, Selection):
        if not model.is_consistent(public.region.codes) or len(model.low) != public.output.size:
            raise MalformedMessageError("the bundle is not valid: its forest does not fit its plan")
        return
    widths = [public.features]
    fits = bool(model.nodes) and isinstance(model.nodes[-1], ScaledAffine)
    fits = fits and prod(model.input_shape) == public.features
    for made, node in enumerate(model.nodes, start=1):
        fits = fits and bool(node.reads) and all(0 <= read < made for read in node.reads)
        if not fits:
            break
        read = [widths[value] for value in node.reads]
        if isinstance(node, ScaledAffine):
            rows = node.size
            fits = [matrix.shape for matrix in node.matrices] == [(rows, width) for width in read]
            fits = fits and prod(node.shape) == rows and node.bound.shape == (rows,)
            widths.append(rows)
        elif isinstance(node, Maximum | Ridge):
            fits = len(read) == 1 and prod(node.windows.shape) == read[0] and node.windows.is_valid
            widths.append(node.size if fits else 0)
        else:
            fits = len(read) == (1 if node.approximation else len(read)) <= 2 and len(set(read)) == 1
            widths.append(read[0])
    for watch in model.watched:
        fits = fits and 0 < watch.value < len(model.nodes) and watch.squarings >= 1
        fits = fits and _is_watchable(model, watch)
    if not fits or widths[-1] != public.output.size:
        raise MalformedMessageError("the bundle is not valid: its shapes do not fit each other")


def _is_watchable(model: Model, watch: Watch) -> bool:
    """Whether there is what a watch looks at, with as many levels below it as it takes."""
    level = model.levels[watch.value]
    if watch.turn is not None:
        node = model.nodes[watch.value - 1]
        if not isinstance(node, Ridge) or not 0 <= watch.turn < len(node.rounds):
            return False
        level += sum(turn.depth for turn in node.rounds[watch.turn :])
        return APART <= watch.squarings < level
    return watch.squarings < level


def _node_to_list(node: ScaledAffine | Step | Maximum | Ridge) -> list[Any]:
    reads = list(node.reads)
    if isinstance(node, ScaledAffine):
        matrices = [_matrix_to_list(matrix) for matrix in node.matrices]
        return ["affine", reads, list(node.shape), matrices, _bytes(node.bias), _bytes(node.bound)]
    if isinstance(node, Ridge):
        turns = [_ridge_to_list(turn) for turn in node.rounds]
        return ["ridge", reads, node.name, _windows_to_list(node.windows), turns]
    if isinstance(node, Maximum):
        geometry = _windows_to_list(node.windows)
        rounds = [[turn.gain, _approximation_to_list(turn.absolute)] for turn in node.rounds]
        return ["maximum", reads, node.name, geometry, rounds]
    return ["step", reads, node.name, _approximation_to_list(node.approximation)]


def _node_from_list(fields: list[Any]) -> ScaledAffine | Step | Maximum | Ridge:
    kind, reads, *rest = fields
    if kind == "step":
        name, approximation = rest
        return Step(tuple(reads), _approximation_from_list(approximation), str(name))
    if kind in ("maximum", "ridge"):
        name, geometry, rounds = rest
        windows = _windows_from_list(geometry)
        if kind == "ridge":
            return Ridge(tuple(reads), windows, _ridge_from_list(rounds, windows), str(name))
        return Maximum(tuple(reads), windows, _rounds_from_list(rounds, windows), str(name))
    shape, matrices, bias, bound = rest
    return ScaledAffine(
        tuple(reads),
        tuple(_matrix_from_list(matrix) for matrix in matrices),
        _array(bias),
        _array(bound),
        tuple(shape),
    )


def _rounds_from_list(fields: list[Any], windows: Windows) -> tuple[Round, ...]:
    rounds = []
    for offset, (gain, approximation) in zip(windows.offsets, fields, strict=True):
        found = _approximation_from_list(approximation)
        if found is None:
            raise ValueError("a round of a maximum has no polynomial")
        rounds.append(Round(offset, found, float(gain)))
    return tuple(rounds)


def _windows_to_list(windows: Windows) -> list[Any]:
    return [list(part) for part in (windows.shape, windows.kernel, windows.strides, windows.dilations)]


def _windows_from_list(geometry: list[Any]) -> Windows:
    (channels, height, width), *pairs = ([int(size) for size in part] for part in geometry)
    kernel, strides, dilations = ((rows, columns) for rows, columns in pairs)
    return Windows((channels, height, width), kernel, strides, dilations)


def _ridge_to_list(turn: RidgeRound) -> list[Any]:
    terms = [
        [
            list(term.weights),
            list(term.places),
            term.width,
            _bytes(np.array(term.series)),
            term.high,
            term.reach,
        ]
        for term in turn.terms
    ]
    return [turn.straight, turn.constant, turn.slope, terms]


def _ridge_from_list(fields: list[Any], windows: Windows) -> tuple[RidgeRound, ...]:
    rounds = []
    for (offset, count), (straight, constant, slope, parts) in zip(steps_of(windows), fields, strict=True):
        terms = tuple(
            Term(
                tuple(int(weight) for weight in weights),
                tuple(int(place) for place in places),
                float(width),
                tuple(_array(series).tolist()),
                float(high),
                float(reach),
            )
            for weights, places, width, series, high, reach in parts
        )
        most = max((len(term.weights) + max(term.places, default=count) for term in terms), default=0)
        watched = any(term.reach for term in terms)
        if not watched or not 0 < most <= count or not all(term.is_valid for term in terms):
            raise ValueError("a round of a maximum is not valid")
        rounds.append(RidgeRound(offset, count, terms, float(straight), float(constant), float(slope)))
    return tuple(rounds)


def _matrix_to_list(matrix: Matrix) -> list[Any]:
    """Shape and entries; where entries lie only for maps that do not store all of them."""
    shape = [int(size) for size in matrix.shape]
    if matrix.nnz == matrix.shape[0] * matrix.shape[1]:
        return [shape, _bytes(matrix.data)]
    places = (np.ascontiguousarray(part, dtype="<i4").tobytes() for part in (matrix.indices, matrix.indptr))
    return [shape, _bytes(matrix.data), *places]


def _matrix_from_list(fields: list[Any]) -> Matrix:
    (rows, columns), entries = fields[0], _array(fields[1])
    if len(fields) == 2:
        return full(entries.reshape(rows, columns))
    indices, indptr = (np.frombuffer(part, dtype="<i4").astype(np.int32) for part in fields[2:])
    matrix = Matrix((entries, indices, indptr), shape=(rows, columns))
    matrix.check_format(full_check=True)
    return matrix


def _approximation_to_list(found: Approximation | None) -> list[Any] | None:
    if found is None:
        return None
    return [_bytes(found.series), float(found.error), float(found.slope), float(found.high)]


def _approximation_from_list(fields: list[Any] | None) -> Approximation | None:
    if fields is None:
        return None
    series, error, slope, high = fields
    return Approximation(_array(series), float(error), float(slope), float(high))


def _salt(value: object) -> bytes:
    """Bytes only: of a number, ``bytes`` would make so many."""
    if not isinstance(value, bytes) or len(value) != SALT_BYTES:
        raise ValueError("the salt is not of its size")
    return value


def _bytes(array: FloatArray) -> bytes:
    return np.ascontiguousarray(array, dtype="<f8").tobytes()


def _array(data: bytes) -> FloatArray:
    return np.frombuffer(data, dtype="<f8").astype(np.float64)
