"""The trial of a plan before it is handed out: a few calibration samples, really encrypted, against the clear model.

A bound follows from theory; that the compiled program, the parameters and the core keep it is seen here. Samples are
chosen where a plan fails first: at the ends of the scores and at the rim of the region. A plan that fails is refused
with the node whose values left what the plan allows for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.compiled import Compiled
from tacit.backends.ckks.normal import Model
from tacit.backends.ckks.owner import Owner
from tacit.backends.ckks.partition import partition
from tacit.backends.ckks.provider import Provider
from tacit.backends.ckks.simulation import Simulation
from tacit.errors import PlanCheckError, PrecisionError
from tacit.ir.graph import Graph
from tacit.ir.interpret import interpret

__all__ = ["Trial", "hold_trial"]

FloatArray = npt.NDArray[np.float64]

KNOWN_SAMPLES = 4096
"""Calibration samples among which the ones to try are chosen."""
SIMULATED_SAMPLES = 32
"""Samples that run simulated besides: a wider net at the price of milliseconds."""

EXCESS = 1.02
"""Largest value over its bound that noise explains."""


@dataclass(frozen=True)
class Trial:
    """``samples`` were encrypted; ``max_error``: their largest error against clear, of those with a promise."""

    samples: int
    max_error: float


def hold_trial(
    graph: Graph,
    compiled: Compiled,
    owner: Owner,
    provider: Provider,
    calibration: FloatArray,
    *,
    count: int,
    progress: Callable[[float], None] | None = None,
) -> Trial:
    """Encrypts ``count`` samples of ``calibration`` (samples, features…) and holds the answers against the bound.

    ``provider`` must hold the keys of ``owner``. Raises ``PlanCheckError``.
    """
    data = calibration[:KNOWN_SAMPLES]
    clear = np.asarray(interpret(graph, data)[graph.primary])
    order = _telling(compiled, data, clear.reshape(len(data), -1))
    simulated = order[: max(count, SIMULATED_SAMPLES)]
    _simulate(graph, compiled, data[simulated], clear[simulated])
    chosen = order[:count]
    worst, position = 0.0, 0
    for chunk in owner.batches(data[chosen]):
        places = chosen[position : position + len(chunk)]
        position += len(chunk)
        try:
            answer = owner.decrypt(provider.run(owner.encrypt(chunk)), strict=False)
        except PrecisionError as error:
            raise _refusal(graph, compiled, data[places], f"an encrypted answer fails: {error}") from error
        error_found = _largest(np.asarray(answer) - clear[places], answer.within_bound)
        if not error_found <= compiled.public.error_bound:
            raise _refusal(
                graph,
                compiled,
                data[places],
                f"the error of an encrypted calibration sample is {error_found:.2g} and not at most "
                f"{compiled.public.error_bound:.2g}",
            )
        worst = max(worst, error_found)
        if progress is not None:
            progress(position / len(chosen))
    return Trial(len(chosen), worst)


def _telling(compiled: Compiled, data: FloatArray, scores: FloatArray) -> npt.NDArray[np.intp]:
    """(samples,) places in the order in which samples tell most of a plan: the ends of the widest score, the rim of the
    region, then the others spread over that score."""
    region = compiled.public.region
    flat = data.reshape(len(data), -1)
    widest = scores[:, int(np.argmax(np.ptp(scores, axis=0)))]
    ranked = np.argsort(widest, kind="stable")
    rim = int(np.argmax(np.linalg.norm((flat - region.mean) / region.radius, axis=1)))
    spread = ranked[np.argsort(np.arange(len(ranked)) * 0.6180339887498949 % 1.0, kind="stable")]
    first = [int(ranked[-1]), rim, int(ranked[0])]
    return np.array(list(dict.fromkeys([*first, *spread.tolist()])), dtype=np.intp)


def _simulate(graph: Graph, compiled: Compiled, data: FloatArray, clear: FloatArray) -> None:
    """Raises ``PlanCheckError`` where the program in the clear, with its noise, is beyond the bound."""
    answer = Simulation(compiled).predict(data, strict=False)
    error = _largest(np.asarray(answer) - clear, answer.within_bound)
    if not error <= compiled.public.error_bound:
        raise _refusal(
            graph,
            compiled,
            data,
            f"the error of a simulated calibration sample is {error:.2g} and not at most "
            f"{compiled.public.error_bound:.2g}",
        )


def _largest(difference: FloatArray, within_bound: npt.NDArray[np.bool_]) -> float:
    kept = np.abs(difference)[within_bound]
    return float(kept.max(initial=0.0)) if np.isfinite(kept).all() else float("inf")


def _refusal(graph: Graph, compiled: Compiled, data: FloatArray, finding: str) -> PlanCheckError:
    """The error with the node whose values left their range first, as the simulation shows it."""
    excess = Simulation(compiled).excess(data.reshape(len(data), -1))
    position = next((place for place, ratio in enumerate(excess) if not ratio <= EXCESS), None)
    if position is None:
        return PlanCheckError(
            f"{finding}; every hidden value stays in its interval",
            hint="an approximation or the arithmetic is worse than the plan says: please report this model",
        )
    node = _node_of(graph, compiled, position)
    return PlanCheckError(
        f"{finding}; values at `{node}` reach {excess[position]:.3g} times the interval that the plan has for them",
        node=node,
        excess=excess[position],
        hint="calibrate on samples that reach as far as these do, or use a model with smaller hidden values",
    )


def _node_of(graph: Graph, compiled: Compiled, position: int) -> str:
    """The node of the graph that a stage belongs to: maps belong to the function that reads what they make."""
    program = compiled.program()
    stages = program.stages
    if not isinstance(compiled.model, Model):
        return f"stage {position + 1} of {len(stages)}"
    waiting = [position]
    while waiting:
        position = waiting.pop(0)
        name = getattr(stages[position], "name", "")
        if name:
            return str(name)
        waiting += [later for later in range(len(stages)) if position + 1 in program.sources(later)]
    return partition(graph).cut[0]
