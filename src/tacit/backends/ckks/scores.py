"""Scores out of decrypted slots, with every check that needs no clear model; and the tail that the owner runs."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.layout import ReplicatedLayout
from tacit.backends.ckks.public import Flag, PublicPlan
from tacit.errors import DataError, ShapeError
from tacit.ir.interpret import interpret

__all__ = ["Scores", "read_columns", "read_packed", "run_tail", "table"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
ComplexArray = npt.NDArray[np.complex128]


@dataclass(frozen=True, eq=False)
class Scores:
    """Of (samples,) each.

    ``values``: (samples, scores) that the tail takes. ``decided``: whether no comparison was too close. ``inside``:
    whether the hidden values stayed in their ranges, as far as the plan has a flag for that. ``plausible``: whether an
    honest run can have made the result; false only where the other two are true, for elsewhere noise may be large and
    nothing more is looked at.
    """

    values: FloatArray
    decided: BoolArray
    inside: BoolArray
    plausible: BoolArray

    @property
    def within_bound(self) -> BoolArray:
        """(samples,) whether the plan's bound holds."""
        return self.decided & self.inside & self.plausible


def table(plan: PublicPlan, X: npt.ArrayLike) -> FloatArray:
    """``X`` as (samples, features) finite float64.

    Raises ``DataError`` for what is no finite number, ``ShapeError`` for another shape than the plan's.
    """
    try:
        array = np.asarray(X)
        if array.dtype.kind not in "biuf":
            raise DataError(f"samples must be numbers. Got {array.dtype} instead.")
        array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError("samples must be a numeric array") from error
    shape = plan.input_shape
    if array.ndim != 1 + len(shape) or array.shape[1:] != shape:
        wanted = ", ".join(["n", *map(str, shape)])
        raise ShapeError(
            f"samples must have shape ({wanted}). Got {array.shape} instead.",
            hint="give one row per sample and one column per feature: no row numbers, no target",
        )
    if not len(array):
        raise ShapeError("a request holds at least one sample. Got 0 instead.")
    if not np.isfinite(array).all():
        raise DataError("samples hold NaN or infinity", hint="fill in or drop missing values")
    return array.reshape(len(array), prod(shape))


def read_packed(plan: PublicPlan, slots: ComplexArray, flags: ComplexArray | None = None) -> Scores:
    """From one ciphertext a sample: (samples, slots), in the units of the scores; ``flags``: the same of range flags.

    Replicas must agree, unused slots and imaginary parts hold noise, scores lie in the range of the plan.
    """
    noise = plan.slot_noise
    if not isinstance(plan.output, ReplicatedLayout):
        raise ShapeError("the plan has one slot for each sample")
    period, size = plan.output.period, plan.output.size
    blocks = slots.reshape(len(slots), -1, period)
    scores = blocks[:, 0, :size].real
    decided = _decided(plan, blocks[:, :, size - 1].real.max(axis=1))
    plausible = _plausible(plan, scores)
    plausible &= np.abs(blocks.imag).max(axis=(1, 2)) <= noise
    plausible &= np.abs(blocks.real - blocks[:, :1].real).max(axis=(1, 2)) <= 2 * noise
    plausible &= np.abs(blocks[:, :, size:].real).max(axis=(1, 2), initial=0.0) <= noise
    inside = np.full(len(scores), True)
    if plan.flag is not None and flags is not None:
        inside = np.asarray(flags.real.max(axis=1) <= plan.flag.limit)
        plausible &= np.abs(flags - flags[:, :1]).max(axis=1) <= 4 * plan.flag.noise
        plausible &= flags.real.min(axis=1) >= -plan.flag.noise
        plausible &= _is_real(plan.flag, flags).all(axis=1)
    return _scores(plan, scores, decided, inside, plausible)


def read_columns(
    plan: PublicPlan,
    scores: FloatArray,
    imaginary: FloatArray | None = None,
    flags: FloatArray | ComplexArray | None = None,
) -> Scores:
    """From one slot a sample: ``scores`` (samples, outputs); ``imaginary``: the same, holds noise.

    ``flags``: (samples,) range flags.
    """
    decided = _decided(plan, scores[:, -1])
    plausible = _plausible(plan, scores)
    if imaginary is not None:
        plausible &= np.abs(imaginary).max(axis=1) <= plan.slot_noise
    inside = np.full(len(scores), True)
    if plan.flag is not None and flags is not None:
        inside = np.asarray(flags.real <= plan.flag.limit)
        plausible &= (flags.real >= -plan.flag.noise) & _is_real(plan.flag, flags)
    return _scores(plan, scores, decided, inside, plausible)


def run_tail(plan: PublicPlan, scores: FloatArray) -> dict[str, Any]:
    """The values of the plan's tail for (samples, scores): what the owner computes after decryption."""
    inputs: dict[str, FloatArray] = {}
    position = 0
    for value in plan.tail.inputs:
        size = value.features
        shape = tuple(int(s) for s in value.shape[1:] if s is not None)
        inputs[value.name] = scores[:, position : position + size].reshape(len(scores), *shape)
        position += size
    return interpret(plan.tail, inputs)


def _scores(
    plan: PublicPlan, values: FloatArray, decided: BoolArray, inside: BoolArray, plausible: BoolArray
) -> Scores:
    kept = np.ascontiguousarray(values[:, : plan.scores])
    return Scores(kept, decided, inside, plausible | ~(decided & inside))


def _is_real(flag: Flag, flags: FloatArray | ComplexArray) -> BoolArray:
    """Whether imaginary parts are what noise makes: that of a power of a value in its range is far below the limit."""
    return np.asarray(np.abs(flags.imag) <= flag.limit)


def _plausible(plan: PublicPlan, scores: FloatArray) -> BoolArray:
    """(samples,) whether every score is finite and in the range that the weights allow."""
    slack = plan.slot_noise + plan.score_error
    inside = (scores >= plan.low - slack) & (scores <= plan.high + slack)
    return np.asarray((inside & np.isfinite(scores)).all(axis=1))


def _decided(plan: PublicPlan, doubts: FloatArray) -> BoolArray:
    """Which samples pass the check of comparisons: all, for plans without them."""
    return np.full(len(doubts), True) if plan.doubt is None else np.asarray(doubts <= plan.doubt)
