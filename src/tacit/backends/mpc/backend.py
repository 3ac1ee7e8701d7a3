"""The `mpc` protection: a graph as a program on shares, priced for a protocol, a machine and networks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.backends.base import Cost, Declaration
from tacit.backends.mpc.compile import compile_program
from tacit.backends.mpc.declaration import SIGHTS, VARIANTS, assumptions_of, parameters_of, prices_in_words
from tacit.backends.mpc.machine import INTEL_XEON, Amounts, Machine
from tacit.backends.mpc.measure import measure
from tacit.backends.mpc.program import Program
from tacit.backends.mpc.protocol import prices_of
from tacit.backends.mpc.ranges import Box
from tacit.backends.mpc.steps import Words
from tacit.errors import DataError, InvalidParameterError, PrecisionError
from tacit.ir.graph import Graph
from tacit.ir.interpret import interpret

__all__ = ["COPIES", "WORD_BYTES", "MpcBackend", "MpcCandidate", "MpcCompiled"]

WORD_BYTES = 8
HELD = {"replicated3": 2, "dealer2": 1}
"""Words that a computing party has of every shared one."""
COPIES = {"replicated3": 6, "dealer2": 2}
"""Words that go between a client and all parties together for every word that it shares or gets."""
PROCESS_BYTES = 80_000_000
"""Of a party that has loaded Python and NumPy; an estimate of magnitude, as those below."""
OPENING_S = 1.5
"""For three processes to start and to join."""
DEAL_S = 6e-9
"""A client makes the shares of a word, or puts one together."""
SPAN_SAMPLES = 512
MARGIN = 0.5
"""Part of a feature's calibrated range that the region adds on either side, as under `ckks`."""


@dataclass(frozen=True, eq=False)
class MpcCompiled:
    """``program``: public; ``weights``: words of the provider's constants, which it shares."""

    program: Program
    weights: Mapping[str, Words]
    variant: str

    @property
    def plan_id(self) -> str:
        """SHA-256 in hexadecimal of what all parties must agree on: protocol and program."""
        return hashlib.sha256(f"tacit mpc plan {self.variant} {self.program.digest()}".encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class MpcCandidate:
    """One protocol for one graph, compiled."""

    declaration: Declaration
    compiled: MpcCompiled

    def compile(self) -> MpcCompiled:
        return self.compiled


class MpcBackend:
    """Secret sharing: parties compute on shares, and neither data nor model is in the clear at any of them.

    ``variant``: the protocol, ``replicated3`` or ``dealer2``; a dealer is a party that must be asked for by name.
    ``machine``: whose seconds are predicted; ``note``: why it is not the one at hand. ``measured``: whether an error
    that is measured on the calibration data may be promised where none is proven.
    """

    def __init__(
        self,
        machine: Machine = INTEL_XEON,
        *,
        variant: str = "replicated3",
        note: str = "",
        measured: bool = False,
    ) -> None:
        if variant not in VARIANTS:
            raise InvalidParameterError(
                f"the 'variant' parameter must be one of {', '.join(VARIANTS)}. Got '{variant}' instead."
            )
        self.name = "mpc" if variant == "replicated3" else f"mpc:{variant}"
        self.variant = variant
        self.machine = machine
        self.note = note
        self.measured = measured

    def candidates(
        self,
        graph: Graph,
        calibration: npt.NDArray[np.float64] | None,
        *,
        batch: int = 1,
        max_error: float | None = None,
        threads: int = 1,
    ) -> Sequence[MpcCandidate]:
        """One candidate: the program for the box that the calibration data span.

        Raises ``UnsupportedOpError`` for what does not run on shares, ``DataError`` without calibration data,
        ``PrecisionError`` where the error is more than ``max_error`` or is not proven.
        """
        if calibration is None:
            raise DataError(
                "`mpc` needs calibration data: without them neither widths nor an error bound can be proven",
                hint="pass `calibration=` (in a shell `--calibration`) some hundred samples like those to come",
            )
        found = compile_program(
            graph, Box.of(calibration, margin=MARGIN), calibration=calibration, max_error=max_error
        )
        if found.program.measured and not self.measured:
            raise PrecisionError(
                "no error bound can be proven for this model on the calibrated region",
                hint="take a bound that is measured on calibration data and not proven: `measured=True`",
            )
        compiled = MpcCompiled(found.program, found.weights, self.variant)
        return (MpcCandidate(self._declare(compiled, graph, calibration, batch), compiled),)

    def _declare(
        self, compiled: MpcCompiled, graph: Graph, calibration: npt.NDArray[np.float64], batch: int
    ) -> Declaration:
        program = compiled.program
        measured = measure(program, prices_of(self.variant), batch)
        amounts = Amounts.of(measured.run, measured.work, measured.calls)
        weight_words = sum(words.size for words in compiled.weights.values())
        inputs = batch * sum(value.features for value in graph.inputs)
        outputs = batch * sum(graph.values[name].features for name in graph.outputs)
        widest = batch * max(value.features for value in graph.values.values())
        copies = WORD_BYTES * COPIES[self.variant]
        cost = Cost(
            samples=batch,
            seconds=self.machine.seconds(self.variant, amounts),
            owner_seconds=DEAL_S * COPIES[self.variant] * (inputs + outputs),
            setup_seconds=OPENING_S + DEAL_S * COPIES[self.variant] * weight_words,
            bytes_up=copies * inputs,
            bytes_down=copies * outputs,
            key_bytes=copies * weight_words,
            memory_bytes=PROCESS_BYTES + WORD_BYTES * HELD[self.variant] * (weight_words + 4 * widest),
        )
        clear = np.asarray(interpret(graph, calibration[:SPAN_SAMPLES])[graph.primary], dtype=np.float64)
        details = {
            **prices_in_words(self.variant, amounts, measured.run.bits, self.machine),
            "machine": str(self.machine),
            **({"machine_note": self.note} if self.note else {}),
            "output_span": float(np.ptp(clear)),
            "openings": list(program.openings),
            **({"promise": "measured"} if program.measured else {}),
        }
        return Declaration(
            protection=self.name,
            variant=VARIANTS[self.variant],
            cost=cost,
            error_bound=program.error_bound,
            sights=SIGHTS,
            assumptions=assumptions_of(self.variant, program),
            parameters=parameters_of(program),
            details=details,
        )
