"""`python -m tests.runtime.up PARTY.toml [WHERE SIGNAL]`: a party that is up, and may end itself once in a job.

WHERE is `prepare`, `reveal`, or the number of a layer.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tacit.backends.mpc.steps import Steps, Words
from tacit.net.channel import Limits
from tacit.runtime.party import load_party
from tacit.runtime.play import At, Live
from tacit.runtime.running import World
from tacit.runtime.up import stay_up
from tests.runtime.layers import Layers, LayersOfFiles

SILENCE_S = 5.0
"""More than by default: on a busy machine nobody is called dead but who is stopped."""


@dataclass(frozen=True)
class Doom:
    """Where a process ends itself, and a file that says that it did."""

    where: str
    kind: int
    mark: pathlib.Path

    def strike(self, where: str) -> None:
        if where == self.where and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), self.kind)


@dataclass(frozen=True)
class DoomedLayers(Layers):
    doom: Doom = Doom("", 0, pathlib.Path())

    def prepare(self, engine: Any, weights: Mapping[str, Words] | None, owner: int) -> Steps[Any]:
        holdings = yield from super().prepare(engine, weights, owner)
        self.doom.strike("prepare")
        return holdings

    def run(self, engine: Any, holdings: Any, live: Live, position: int, at: At) -> Steps[Live]:
        def struck(place: int, live: Live) -> Steps[None] | None:
            steps = at(place, live)
            self.doom.strike(str(place))
            return steps

        outputs = yield from super().run(engine, holdings, live, position, struck)
        return outputs

    def reveal(self, engine: Any, outputs: Live, to: tuple[int, ...]) -> Steps[Mapping[str, Words | None]]:
        self.doom.strike("reveal")
        words = yield from super().reveal(engine, outputs, to)
        return words


@dataclass(frozen=True)
class DoomedFiles(LayersOfFiles):
    doom: Doom

    def read(self, program: bytes) -> Layers:
        return DoomedLayers(super().read(program).shapes, doom=self.doom)


def tell(what: str, facts: Mapping[str, Any]) -> None:
    print(json.dumps({"what": what, **facts}), flush=True)


def main() -> None:
    path = pathlib.Path(sys.argv[1])
    where, kind = sys.argv[2:] or ("", "0")
    doom = Doom(where, int(kind), path.with_suffix(".struck"))
    world = World(DoomedFiles(doom), np.load, tell, limits=Limits(silence_s=SILENCE_S), resume_s=120.0)
    stay_up(load_party(path), world, ready=lambda: tell("up", {}))


if __name__ == "__main__":
    main()
