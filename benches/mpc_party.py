"""What each of Tacit's parties does in the benchmark: keeps its shares, then computes on them again and again."""

from __future__ import annotations

import cProfile
import io
import json
import pstats
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from tacit.backends.mpc.engine import Secret
from tacit.backends.mpc.executor import Holdings, run
from tacit.backends.mpc.program import Program
from tacit.backends.mpc.steps import Steps, Words

__all__ = ["COMPUTING", "Network", "Primitive", "describe"]

COMPUTING = 2
"""Parties of `dealer2` that are no dealer."""
_LISTED = 45
"""Functions of a profile."""


class Timed:
    """One party. ``once`` is what is timed: from shared inputs to shared outputs, by name."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.secrets: dict[str, Secret] = {}

    def once(self) -> Steps[Mapping[str, Secret]]:
        raise NotImplementedError

    def opening(self, name: str) -> str:
        """The name under which an output is revealed."""
        return name

    def prepare(self, parts: Mapping[str, list[Words]], shapes: Mapping[str, tuple[int, ...]]) -> Steps[None]:
        """Takes this party's shares of weights and inputs; inputs may come again."""
        self.secrets |= {name: self.engine.adopt(arrays, shapes[name]) for name, arrays in parts.items()}
        yield from ()

    def run(self, arrays: list[Words], *, repeats: int, ahead_s: float = 0.0) -> Steps[list[Words]]:
        """Seconds of each run, as words. ``ahead_s``: before each, parties that compute give a dealer so much time."""
        seconds = []
        for _ in range(repeats):
            if self.engine.index < COMPUTING:
                time.sleep(ahead_s)
            start = time.perf_counter()
            yield from self.once()
            seconds.append(time.perf_counter() - start)
        return [np.array(seconds).view(np.uint64)]

    def predict(
        self, parts: Mapping[str, list[Words]], shapes: Mapping[str, tuple[int, ...]]
    ) -> Steps[dict[str, list[Words]]]:
        """One run whose outputs go to the one who started the parties."""
        self.engine.begin_run()
        outputs = yield from self.once()
        found = {}
        for name, secret in outputs.items():
            found[name] = yield from self.engine.reveal_outside(secret, self.opening(name))
        return found

    def profile(self, arrays: list[Words], *, repeats: int) -> Steps[list[Words]]:
        """Where the time of runs goes: text of `cProfile`, by its own time, padded to words."""
        profiler = cProfile.Profile()
        profiler.enable()
        for _ in range(repeats):
            yield from self.once()
        profiler.disable()
        text = io.StringIO()
        pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(_LISTED)
        told = text.getvalue().encode()
        return [np.frombuffer(told + b" " * (-len(told) % 8), dtype=np.uint64)]


class Primitive(Timed):
    """One step of the engine on inputs ``x`` and, where it takes two, ``y``."""

    def __init__(self, engine: Any, program: bytes) -> None:
        super().__init__(engine)
        facts = json.loads(program)
        self.step, self.options = (
            str(facts["step"]),
            {key: int(value) for key, value in facts["options"].items()},
        )

    def once(self) -> Steps[Mapping[str, Secret]]:
        operands = [self.secrets[name] for name in sorted(self.secrets)]
        result = yield from getattr(self.engine, self.step)(*operands, **self.options)
        return {"result": result}


class Network(Timed):
    """A program on its inputs, with its weights."""

    def __init__(self, engine: Any, program: bytes) -> None:
        super().__init__(engine)
        self.program = Program.from_bytes(program)
        self.openings = {output.name: output.opening for output in self.program.outputs}

    def opening(self, name: str) -> str:
        return self.openings[name]

    def once(self) -> Steps[Mapping[str, Secret]]:
        inputs = {each.name: self.secrets[each.name] for each in self.program.inputs}
        return (yield from run(self.engine, self.program, Holdings(self.secrets), inputs))


def describe(step: str, **options: int) -> bytes:
    """The ``program`` of a primitive."""
    return json.dumps({"step": step, "options": options}, sort_keys=True).encode()
