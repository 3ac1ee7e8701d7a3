"""How values are rearranged: all local, but for what is chosen by a secret index."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from tacit.backends.mpc.lowering import Held, Lowering, Rule
from tacit.backends.mpc.patterns import Term
from tacit.backends.mpc.program import Field
from tacit.backends.mpc.ranges import FloatArray, Range
from tacit.backends.mpc.rules_affine import weighted
from tacit.ir.ops import OPS
from tacit.ir.signature import Attribute

__all__ = ["SHAPE"]


def _moved(kind: str, keys: tuple[str, ...]) -> Rule:
    """An op that only moves elements, with the fields that its instruction takes from its attributes."""

    def rule(work: Lowering, term: Term) -> Held:
        x = work.plain(term.inputs[0])
        meaning: Callable[[FloatArray], FloatArray] = lambda a: OPS[term.op].meaning([a], term.attributes)  # noqa: E731
        made = x.range.structured(meaning)
        fields: dict[str, Field] = {key: term.attributes[key] for key in keys}
        return work.emit(kind, (x.name,), x.frac, made, factor=x.factor, more=fields)

    return rule


def _reshape(work: Lowering, term: Term) -> Held:
    held = work.values[term.inputs[0]]
    shape = _ints(term.attributes["shape"])
    made = held.range.structured(lambda a: a.reshape((1, *shape[1:]) if shape[:1] == (-1,) else shape))
    kind = "reshape_bits" if held.bits else "reshape"
    return work.emit(kind, (held.name,), held.frac, made, factor=held.factor, bits=held.bits, shape=shape)


def _pad(work: Lowering, term: Term) -> Held:
    x = work.plain(term.inputs[0])
    pads, value = _ints(term.attributes["pads"]), float(str(term.attributes["value"]))
    word = round(value / x.factor * 2.0**x.frac)
    number = word * 2.0**-x.frac * x.factor
    rank = x.range.low.ndim
    width = [(pads[i], pads[i + rank]) for i in range(rank)]
    r = x.range
    lost = np.pad(r.error, width, constant_values=abs(number - value))
    made = Range(
        np.pad(r.low, width, constant_values=number), np.pad(r.high, width, constant_values=number), lost
    )
    return work.emit("pad", (x.name,), x.frac, made, factor=x.factor, pads=pads, value=word)


def _concat(work: Lowering, term: Term) -> Held:
    secret = [work.plain(name) for name in term.inputs if not work.is_constant(name)]
    for name in term.inputs:
        if work.is_constant(name):
            secret = [work.roomy(held, name) for held in secret]
    made = iter(work.alike(*secret))
    like = work.alike(*secret)[0]
    parts = [work.operand(name, like) if work.is_constant(name) else next(made) for name in term.inputs]
    axis = term.attributes["axis"]
    if not isinstance(axis, int):
        raise work.refuse("has no axis", "give one")
    join: Callable[[list[FloatArray]], FloatArray] = lambda a: np.concatenate(a, axis=axis)  # noqa: E731
    whole = Range(
        join([part.range.low for part in parts]),
        join([part.range.high for part in parts]),
        join([part.range.error for part in parts]),
    )
    return work.emit(
        "concat", tuple(part.name for part in parts), like.frac, whole, factor=like.factor, axis=axis
    )


def _gather(work: Lowering, term: Term) -> Held:
    table, index = term.inputs
    axis = term.attributes["axis"]
    if not isinstance(axis, int):
        raise work.refuse("has no axis", "give one")
    if not work.is_constant(index):
        return _looked_up(work, term, axis)
    places = np.asarray(work.constant(index), dtype=np.int64)
    x = work.plain(table)
    count = x.range.low.shape[axis]
    places = np.where(places < 0, places + count, places)
    if work.is_public(index):
        made = x.range.structured(lambda a: np.take(a, places, axis=axis))
        flat = tuple(int(each) for each in places.reshape(-1))
        return work.emit(
            "take", (x.name,), x.frac, made, factor=x.factor, axis=axis, places=flat, shape=places.shape
        )
    name = f"{term.output}~places"
    chosen = np.zeros((count, places.size))
    chosen[places.reshape(-1), np.arange(places.size)] = 1.0
    work.terms.add_constant(name, chosen, like=index)
    last = _axis_moved(work, x, axis, -1, table)
    exact = last.range.structured(lambda a: np.take(a, places.reshape(-1), axis=-1))
    rows = _at_least_two(work, last, term)
    picked = weighted(work, "matmul", rows, name, lambda a, b: np.matmul(a, b), reach=1.0)
    picked = replace(picked, range=exact)
    return _back(work, picked, places.shape, axis, term)


def _at_least_two(work: Lowering, x: Held, term: Term) -> Held:
    if x.range.low.ndim >= 2:
        return x
    raise work.refuse("chooses among single numbers by a secret index", "keep the samples first")


def _axis_moved(work: Lowering, x: Held, source: int, target: int, like: str) -> Held:
    rank = x.range.low.ndim
    order = [axis for axis in range(rank) if axis != source]
    order.insert(target % rank, source)
    if order == list(range(rank)):
        return x
    made = x.range.structured(lambda a: a.transpose(order))
    return work.emit("transpose", (x.name,), x.frac, made, factor=x.factor, perm=tuple(order))


def _back(work: Lowering, x: Held, shape: tuple[int, ...], axis: int, term: Term) -> Held:
    """(…, places) with the places as ``shape`` at ``axis``."""
    rest = x.range.low.shape[:-1]
    first = (-1,) if work.shape(term.output)[:1] == (None,) else rest[:1]
    wide = (*first, *rest[1:], *shape)
    made = x.range.structured(lambda a: a.reshape(*rest, *shape))
    x = work.emit("reshape", (x.name,), x.frac, made, factor=x.factor, shape=wide)
    order = (*range(axis), *range(len(rest), len(rest) + len(shape)), *range(axis, len(rest)))
    if order == tuple(range(len(order))):
        return x
    made = x.range.structured(lambda a: a.transpose(order))
    return work.emit("transpose", (x.name,), x.frac, made, factor=x.factor, perm=order)


def _looked_up(work: Lowering, term: Term, axis: int) -> Held:
    """By a secret index: compared with every place, and the table multiplied by what is equal."""
    table, index = term.inputs
    if not work.is_constant(table) or axis != 0:
        raise work.refuse("looks up computed values by a secret index", "look up constants along axis 0")
    rows = np.asarray(work.constant(table), dtype=np.float64)
    x = work.plain(index)
    shape = x.range.low.shape
    if not shape or work.shape(index)[:1] != (None,):
        raise work.refuse("has an index without samples", "keep the samples first")
    count = rows.shape[0]
    wide = x.range.structured(lambda a: a[..., None])
    x = work.emit("reshape", (x.name,), 0, wide, shape=(-1, *shape[1:], 1))
    name = f"{term.output}~all"
    work.terms.add_constant(name, np.arange(count))
    places = work.operand(name, x)
    apart = Range(x.range.low - places.range.high, x.range.high - places.range.low, np.zeros(()))
    away = work.emit("subtract", (x.name, places.name), 0, apart)
    same = work.truth("zero", away)
    truth = same.range
    ones = work.emit("to_ring", (same.name,), 0, truth)
    flat = f"{term.output}~table"
    work.terms.add_constant(flat, rows.reshape(count, -1), like=table)
    if len(shape) == 1:
        ones = work.emit(
            "reshape", (ones.name,), 0, truth.structured(lambda a: a[:, None]), shape=(-1, 1, count)
        )
    made = weighted(work, "matmul", ones, flat, lambda a, b: np.matmul(a, b), reach=1.0)
    low, high = rows.reshape(count, -1).min(axis=0), rows.reshape(count, -1).max(axis=0)
    lost = made.range.error
    exact = Range(
        np.broadcast_to(low, made.range.low.shape) - lost, np.broadcast_to(high, lost.shape) + lost, lost
    )
    result = (1, *shape[1:], *rows.shape[1:])
    return work.emit(
        "reshape",
        (made.name,),
        made.frac,
        exact.structured(lambda a: a.reshape(result)),
        shape=(-1, *result[1:]),
    )


def _ints(value: Attribute) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else ()


SHAPE: Mapping[str, Rule] = {
    "Reshape": _reshape,
    "Transpose": _moved("transpose", ("perm",)),
    "Slice": _moved("slice", ("axes", "starts", "ends", "steps")),
    "Pad": _pad,
    "Concat": _concat,
    "Gather": _gather,
}
