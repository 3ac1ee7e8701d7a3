"""A model in, a plan and a compiled model out; and the trial that a plan passes before it is handed out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy.typing as npt

from tacit.backends.base import Backend
from tacit.backends.ckks.compiled import Compiled
from tacit.backends.ckks.owner import Owner
from tacit.backends.ckks.provider import Provider
from tacit.backends.ckks.trial import hold_trial
from tacit.backends.clear import ClearBackend
from tacit.backends.mpc.backend import MpcBackend, MpcCompiled
from tacit.errors import InvalidParameterError
from tacit.ir.graph import Graph
from tacit.planner.choose import survey
from tacit.planner.plan import Plan
from tacit.roles.arguments import checked_batch, checked_calibration, checked_max_error, checked_threads
from tacit.roles.machine import Progress, known_machine, known_party_machine

__all__ = ["BY_NAME", "CHECKED_SAMPLES", "PROTECTIONS", "backend_of", "compile_model", "load", "tried"]

PROTECTIONS = ("clear", "ckks", "mpc")
"""Protections that this version runs."""

BY_NAME = ("mpc:dealer2",)
"""Variants that run when they are asked for by name and never otherwise: with a dealer, one more party is trusted."""

CHECKED_SAMPLES = 3
"""Calibration samples that a plan is tried on, encrypted, before it is handed out."""


def load(model: str | Path | bytes | Graph | object) -> Graph:
    """The graph of a model: a path to an ONNX file, its bytes, a fitted scikit-learn estimator, or a graph as it is.

    Raises ``ModelError`` for what cannot be read and ``UnsupportedOpError`` for an operator that Tacit does not run.
    """
    if isinstance(model, Graph):
        return model
    from tacit.importers import load as load_model

    graph: Graph = load_model(model)
    return graph


def compile_model(
    graph: Graph,
    protection: str,
    calibration: npt.ArrayLike | None,
    batch: int | None,
    max_error: float | None,
    threads: int | None,
    memory_bytes: int | None = None,
    measured: bool = False,
) -> tuple[Plan, Compiled | MpcCompiled | None]:
    """The cheapest plan under a protection and, where there is one, the compiled model."""
    found = survey(
        [backend_of(protection, memory_bytes, measured)],
        graph,
        checked_calibration(graph, calibration),
        batch=checked_batch(1 if batch is None else batch),
        max_error=checked_max_error(max_error),
        threads=checked_threads(threads),
    )
    candidate = found.of(protection)
    compiled = candidate.compile()
    if isinstance(compiled, Compiled):
        plan_id = compiled.public.plan_id
    elif isinstance(compiled, MpcCompiled):
        plan_id = compiled.plan_id
    else:
        plan_id, compiled = graph.digest(), None
    plan = Plan(
        protection=protection,
        plan_id=plan_id,
        model=graph.name,
        declaration=candidate.declaration,
        max_error=max_error,
    )
    return plan, compiled


def tried(
    graph: Graph,
    plan: Plan,
    compiled: Compiled,
    owner: Owner,
    provider: Provider,
    calibration: npt.ArrayLike | None,
    count: int,
    report: Progress = lambda phase, done: None,
) -> Plan:
    """The plan with what its trial showed. Raises ``PlanCheckError``."""
    data = checked_calibration(graph, calibration)
    if not count or data is None:
        return plan
    trial = hold_trial(
        graph,
        compiled,
        owner,
        provider,
        data,
        count=count,
        progress=lambda done: report("check the plan", 0.8 + 0.2 * done),
    )
    return replace(plan, checked_samples=trial.samples, checked_error=trial.max_error)


def backend_of(name: object, memory_bytes: int | None = None, measured: bool = False) -> Backend:
    if type(measured) is not bool:
        raise InvalidParameterError(
            f"the 'measured' parameter must be True or False. Got {type(measured).__name__} instead."
        )
    if memory_bytes is not None and (type(memory_bytes) is not int or memory_bytes < 1):
        raise InvalidParameterError(
            f"the 'memory_bytes' parameter must be an integer >= 1. Got {memory_bytes!r} instead."
        )
    if not isinstance(name, str):
        raise InvalidParameterError(
            f"the 'protection' parameter must be one of {', '.join(PROTECTIONS)}. Got {type(name).__name__} instead.",
            hint="name data as `calibration=…`",
        )
    if name == "clear":
        return ClearBackend()
    if name == "ckks":
        from tacit.backends.ckks.backend import CkksBackend

        machine, note = known_machine()
        return CkksBackend(machine, note=note, memory_bytes=memory_bytes, measured=measured)
    if name == "mpc" or name in BY_NAME:
        rates, note = known_party_machine()
        variant = name.partition(":")[2] or "replicated3"
        return MpcBackend(rates, variant=variant, note=note, measured=measured)
    raise InvalidParameterError(
        f"the 'protection' parameter must be one of {', '.join((*PROTECTIONS, *BY_NAME))}. Got '{name}' instead."
    )
