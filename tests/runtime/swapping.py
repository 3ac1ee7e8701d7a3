"""A small protocol for tests of parties as processes: three parties, additive shares, no secrets worth keeping."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tacit.backends.mpc.steps import Round, Steps, Words
from tacit.errors import InvalidParameterError
from tacit.runtime.protocols import Protocol

SWAPPING = Protocol("swapping", ("anna", "berta", "clara"), "tests.runtime.swapping")


@dataclass
class Wheel:
    """What stands for an engine: the others' seeds were seen."""

    index: int
    session: bytes
    plan: bytes
    reveals: tuple[str, ...]

    def turn(self, words: Words) -> Steps[Words]:
        """Each sends to the one before it and gets from the one after it."""
        before, after = (self.index - 1) % 3, (self.index + 1) % 3
        inbox = yield Round({before: [words]}, {after: [words.size]})
        return np.asarray(inbox[after][0]).reshape(words.shape)


def open_engine(index: int, *, session: bytes, plan: bytes, reveals: Collection[str]) -> Steps[Wheel]:
    wheel = Wheel(index, session, plan, tuple(reveals))
    own = np.frombuffer(secrets.token_bytes(32), dtype=np.uint64)
    yield from wheel.turn(own)
    return wheel


def deal(words: Words) -> list[list[Words]]:
    masks = [
        np.frombuffer(secrets.token_bytes(words.nbytes), dtype=np.uint64).reshape(words.shape)
        for _ in range(2)
    ]
    return [[masks[0]], [masks[1]], [words - masks[0] - masks[1]]]


def combine(parts: Sequence[Sequence[Words]]) -> Words:
    return np.asarray(sum((part[0] for part in parts[1:]), parts[0][0]))


class Actor:
    def __init__(self, engine: Wheel, program: bytes) -> None:
        self.engine, self.program = engine, program
        self.weights: dict[str, list[Words]] = {}

    def prepare(self, parts: Mapping[str, list[Words]], shapes: Mapping[str, tuple[int, ...]]) -> Steps[None]:
        self.weights = dict(parts)
        yield Round()

    def predict(
        self, parts: Mapping[str, list[Words]], shapes: Mapping[str, tuple[int, ...]]
    ) -> Steps[dict[str, list[Words]]]:
        """Sums of inputs and weights; the shares go once around, so each party ends with its own."""
        total = parts["x"][0] + self.weights["w"][0]
        for _ in range(3):
            total = yield from self.engine.turn(total)
        return {"y": [total], "x": [parts["x"][0]]}

    def turns(self, arrays: list[Words], *, times: int) -> Steps[list[Words]]:
        (words,) = arrays
        for _ in range(times):
            words = yield from self.engine.turn(words)
        return [words]

    def fail(self, arrays: list[Words], *, at: int) -> Steps[list[Words]]:
        for number in range(4):
            if number == 2 and self.engine.index == at:
                raise InvalidParameterError("a party that cannot go on")
            yield from self.engine.turn(np.zeros(4, dtype=np.uint64))
        return []
