"""How `mpc` runs the model of each probe: compiled, and rehearsed on plain words within its promise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tacit.backends.mpc.compile import compile_program, rehearse_program
from tacit.errors import TacitError
from tacit.importers import import_onnx
from tacit.ir.interpret import interpret
from tests.conformance.operators import data_of, model_of
from tests.conformance.probes import PROBES

__all__ = ["Rehearsed", "rehearsed", "way"]

SAMPLES = 12


@dataclass(frozen=True)
class Rehearsed:
    """``measured``: the bound is; ``bound`` and ``error`` are of the primary output."""

    measured: bool
    bound: float
    error: float


@lru_cache(maxsize=512)
def rehearsed(index: int, at_end: bool) -> Rehearsed | str:
    """The outcome for the probe of this number, or why it is refused."""
    probe = PROBES[index]
    data = data_of(probe)
    try:
        graph = import_onnx(model_of(probe, at_end=at_end))
        compiled = compile_program(graph, calibration=data)
    except TacitError as refusal:
        return f"{type(refusal).__name__}: {refusal}"
    samples = data[:SAMPLES]
    got = rehearse_program(compiled, {graph.inputs[0].name: samples})[graph.primary]
    want = interpret(graph, samples)[graph.primary]
    error = float(np.max(np.abs(np.asarray(got, dtype=float) - np.asarray(want, dtype=float)), initial=0.0))
    return Rehearsed(compiled.program.measured, compiled.program.error_bound, error)


def way(index: int) -> str:
    """One cell of the table."""
    found = [rehearsed(index, at_end) for at_end in (False, True)]
    words = ["no" if isinstance(each, str) else "measured" if each.measured else "yes" for each in found]
    if words[0] == words[1]:
        return words[0]
    return f"between layers: {words[0]}; at the end: {words[1]}"
