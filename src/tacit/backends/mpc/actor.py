"""One party of a session that runs a program: weights and inputs come as parts of shares, outputs leave as parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tacit.backends.mpc.executor import Checkpoint, Holdings, adopt, run, shapes_of
from tacit.backends.mpc.program import Program
from tacit.backends.mpc.steps import Steps, Words
from tacit.errors import ShapeError

__all__ = ["Actor"]

Parts = Mapping[str, Sequence[Words]]
Shapes = Mapping[str, Sequence[int]]
At = Callable[[int, Mapping[str, Any]], Steps[None] | None]
"""Called between levels with the position and all live values; its steps are run."""


class Actor:
    """``engine``: of this party, with ``adopt``, ``reveal_outside`` and ``begin_run`` for a client outside.
    ``program``: bytes of a `Program`; ``MalformedMessageError`` where they are none."""

    def __init__(self, engine: Any, program: bytes) -> None:
        self.program = Program.from_bytes(program)
        self._engine = engine
        self._holdings: Holdings[Any] | None = None

    def prepare(self, parts: Parts, shapes: Shapes) -> Steps[None]:
        """Takes this party's parts of the weights, for all runs that follow."""
        self._holdings = adopt(self.program, self._adopted(parts, shapes))
        yield from self._engine.settle(*self._holdings.weights.values())

    def stock(self, arrays: Sequence[Words] = (), *, samples: int, runs: int = 1) -> Steps[None]:
        """Makes ahead what can be made of the next runs on so many samples each, before their inputs are there.

        Then only such runs can be made until it is used up; a protocol that has nothing to make ahead does nothing.
        """
        if self._holdings is None:
            raise ShapeError("the weights were not shared yet", hint="call prepare first")
        shapes = shapes_of(self.program, samples)
        for _ in range(runs):
            yield from self._engine.stock(_label(shapes), lambda: self._run({}, shapes, start=0, at=None))

    def predict(
        self, parts: Parts, shapes: Shapes, *, start: int = 0, at: At | None = None
    ) -> Steps[dict[str, list[Words]]]:
        """From this party's parts of the inputs to its parts of the outputs, which the client outside combines.

        ``start``: a position at which ``parts`` are those of all live secrets.
        """
        label = _label(shapes) if at is None and not start else "a run with checkpoints"
        given: dict[str, list[Words]] = yield from self._engine.run(
            label, lambda: self._run(parts, shapes, start=start, at=at)
        )
        return given

    def _run(
        self, parts: Parts, shapes: Shapes, *, start: int, at: At | None
    ) -> Steps[dict[str, list[Words]]]:
        if self._holdings is None:
            raise ShapeError("the weights were not shared yet", hint="call prepare first")
        engine = self._engine
        engine.begin_run()
        live = self._adopted(parts, shapes)
        if not start and set(live) != {each.name for each in self.program.inputs}:
            raise ShapeError(f"inputs must be {sorted(each.name for each in self.program.inputs)}")
        between = None if at is None else _between(at)
        first = Checkpoint(start, live) if start else None
        secrets = yield from run(engine, self.program, self._holdings, live, start=first, at=between)
        given: dict[str, list[Words]] = {}
        for output in self.program.outputs:
            given[output.name] = yield from engine.reveal_outside(secrets[output.name], output.opening)
        return given

    def _adopted(self, parts: Parts, shapes: Shapes) -> dict[str, Any]:
        return {
            name: self._engine.adopt(list(parts.get(name, ())), tuple(shape))
            for name, shape in shapes.items()
        }


def _label(shapes: Shapes) -> str:
    """What is public of a run."""
    return ", ".join(f"{name} {tuple(shape)}" for name, shape in sorted(shapes.items()))


def _between(at: At) -> Callable[[Checkpoint], Steps[None] | None]:
    return lambda checkpoint: at(checkpoint.position, checkpoint.live)
