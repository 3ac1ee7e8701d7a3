"""What a job computes, as its session sees it: shares of weights and inputs, steps between positions, openings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from tacit.backends.mpc.steps import Steps, Words
from tacit.ir.signature import Array
from tacit.runtime.protocols import PartyEngine

__all__ = ["At", "Live", "Play", "Plays", "Samples"]

Live = Mapping[str, Any]
"""Secrets and bits by name."""
At = Callable[[int, Live], Steps[None] | None]
"""Called between layers with the position and all that later ones read; its steps are run."""
Samples = Callable[[Path], Array]
"""Reads the samples of a file: (rows, features …) float64."""


class Play(Protocol):
    """One program."""

    @property
    def openings(self) -> tuple[str, ...]:
        """Names of all values that are ever opened."""

    @property
    def end(self) -> int:
        """The position after the last layer."""

    def inputs(self, samples: Array) -> dict[str, Words]:
        """What the owner of the data shares."""

    def prepare(self, engine: PartyEngine, weights: Mapping[str, Words] | None, owner: int) -> Steps[object]:
        """Shares the weights of ``owner``, which gives them."""

    def share(
        self, engine: PartyEngine, inputs: Mapping[str, Words] | None, owner: int, rows: int
    ) -> Steps[Live]:
        """Shares the inputs of ``owner``, which gives them."""

    def run(self, engine: PartyEngine, holdings: Any, live: Live, position: int, at: At) -> Steps[Live]:
        """From a position to the end: the secrets of the outputs."""

    def reveal(
        self, engine: PartyEngine, outputs: Live, to: tuple[int, ...]
    ) -> Steps[Mapping[str, Words | None]]:
        """Opens the outputs to some parties."""

    def decode(self, words: Mapping[str, Words]) -> dict[str, Array]:
        """What opened words stand for, by the name of the output, the primary one first."""


class Plays(Protocol):
    """Makes programs, and reads them."""

    def compile(self, model: Path, calibration: Array | None) -> tuple[bytes, dict[str, Words]]:
        """The program, which has no weights and which all parties may see, and the weights, which stay."""

    def read(self, program: bytes) -> Play:
        """Raises ``MalformedMessageError`` for what is no program."""
