"""The public API: load a model, see the price list, protect it, predict; and the two roles as separate objects."""

from __future__ import annotations

import datetime
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.backends.answer import Answer, Report
from tacit.backends.base import Backend
from tacit.backends.ckks.compiled import Compiled
from tacit.backends.ckks.machine import Machine, builtin
from tacit.backends.ckks.machine import load as load_machine
from tacit.backends.ckks.machine import save as save_machine
from tacit.backends.ckks.owner import Owner
from tacit.backends.ckks.provider import Provider as CkksProvider
from tacit.backends.ckks.public import PublicPlan
from tacit.backends.ckks.simulation import Simulation
from tacit.backends.ckks.trial import hold_trial
from tacit.backends.clear import ClearBackend
from tacit.errors import InternalError, InvalidParameterError, ShapeError, TacitError, UsageError
from tacit.ir.graph import Graph
from tacit.ir.interpret import interpret
from tacit.planner.choose import survey
from tacit.planner.explain import Explanation
from tacit.planner.plan import Plan

__all__ = [
    "PROTECTIONS",
    "Answer",
    "Explanation",
    "Machine",
    "Owner",
    "Plan",
    "Private",
    "Provider",
    "PublicPlan",
    "Report",
    "calibrate",
    "explain",
    "known_machine",
    "load",
    "machine_path",
    "protect",
    "simulate",
]

PROTECTIONS = ("clear", "ckks")
"""Protections that this version runs."""

CHECKED_SAMPLES = 3
"""Calibration samples that a plan is tried on, encrypted, before it is handed out."""

Progress = Callable[[str, float], None]
"""Called with the name of a phase and the part of it that is done, 0 to 1."""


def load(model: str | Path | bytes | Graph | object) -> Graph:
    """The graph of a model: a path to an ONNX file, its bytes, a fitted scikit-learn estimator, or a graph as it is.

    Raises ``ModelError`` for what cannot be read and ``UnsupportedOpError`` for an operator that Tacit does not run.
    """
    if isinstance(model, Graph):
        return model
    from tacit.importers import load as load_model

    graph: Graph = load_model(model)
    return graph


def calibrate(
    *, threads: int | None = None, path: str | Path | None = None, progress: Progress | None = None
) -> Machine:
    """Measures this machine in some seconds and keeps what it found, so that predicted seconds are of this machine.

    ``threads``: measured besides one thread. ``path``: of the file, by default ``machine_path()``. Plans that are made
    from then on are chosen and priced by it. Raises ``OSError`` where the file cannot be written.
    """
    from tacit.backends.ckks.calibration import measure

    machine = measure(
        threads=_threads(threads),
        today=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        progress=progress or (lambda phase, done: None),
    )
    save_machine(machine, machine_path() if path is None else Path(path))
    return machine


def machine_path() -> Path:
    """Where ``calibrate`` keeps what it found: ``tacit/machine.json`` in the user's cache folder.

    Raises ``UsageError`` where the user has no folder.
    """
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(cache):
        return Path(cache) / "tacit" / "machine.json"
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        raise UsageError("this user has no home folder", hint="set `XDG_CACHE_HOME`, or pass `path=`")
    return Path(home) / ".cache" / "tacit" / "machine.json"


def known_machine(path: str | Path | None = None) -> tuple[Machine, str]:
    """The machine whose seconds are predicted, and a note: why it is not the one at hand, empty if it is.

    What ``calibrate`` kept, if that was this processor, instruction set and build of the core; else one that comes
    with Tacit.
    """
    from tacit._native import cpu_path
    from tacit.backends.ckks.calibration import core_id, cpu_name

    cpu = cpu_name()
    try:
        place = machine_path() if path is None else Path(path)
        machine = load_machine(place)
    except FileNotFoundError:
        return builtin(cpu), "this machine was not measured: run `tacit about --calibrate`"
    except (TacitError, OSError) as error:
        reason = str(error) if isinstance(error, TacitError) else f"`{place}` cannot be read"
        return builtin(cpu), f"{reason}: run `tacit about --calibrate`"
    if (machine.cpu, machine.cpu_path, machine.core) != (cpu, cpu_path(), core_id()):
        return builtin(cpu), (
            f"what was measured is of another machine or build ({machine.cpu}, {machine.cpu_path}, "
            f"{machine.core}): run `tacit about --calibrate`"
        )
    return machine, ""


def explain(
    model: object,
    *,
    calibration: npt.ArrayLike | None = None,
    batch: int = 1,
    max_error: float | None = None,
    protections: Sequence[str] = PROTECTIONS,
    memory_bytes: int | None = None,
    measured: bool = False,
    threads: int | None = None,
) -> Explanation:
    """The price list: for each protection who sees what, seconds, bytes, memory, precision, or why it is refused.

    ``calibration``: (samples, features), numbers like those to come; ``ckks`` needs them to promise an error bound.
    ``memory_bytes``, ``measured``: as for ``protect``.
    """
    graph = load(model)
    found = survey(
        [_backend(name, memory_bytes, measured) for name in protections],
        graph,
        _calibration(graph, calibration),
        batch=_batch(batch),
        max_error=_max_error(max_error),
        threads=_threads(threads),
    )
    return Explanation(
        model=graph.name,
        batch=_batch(batch),
        plans=tuple(candidate.declaration for candidate in found.candidates),
        refusals=found.refusals,
    )


def protect(
    model: object,
    protection: str = "ckks",
    *,
    calibration: npt.ArrayLike | None = None,
    batch: int | None = 1,
    max_error: float | None = None,
    check: int = CHECKED_SAMPLES,
    memory_bytes: int | None = None,
    measured: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Private:
    """Both roles on this machine, with real cryptography between them.

    ``batch``: samples that a request should carry: 1 asks for the fastest single answer, many for throughput.
    ``max_error``: largest absolute error of the primary output; ``None`` takes what the plan can promise.
    ``check``: calibration samples that are encrypted and held against the clear model before this returns; 0 trusts
    the plan unseen. ``memory_bytes``: what the provider may take, as the plan predicts it; ``None`` for any.
    ``measured``: whether a bound that is measured on the calibration data will do where none can be proven.
    Raises ``PrecisionError``, ``DepthError`` or ``MemoryLimitError`` when no parameter set does it; the hint says what
    to change; and ``PlanCheckError`` when a sample of the check breaks the promise.
    """
    report = progress or (lambda phase, done: None)
    report("read the model", 0.0)
    count = _check(check)
    graph = load(model)
    report("plan", 0.1)
    plan, compiled = _compile(
        graph, protection, calibration, batch, max_error, threads, memory_bytes, measured
    )
    if compiled is None:
        report("ready", 1.0)
        return Private(graph, plan, owner=None, provider=None)
    report("encode the model", 0.4)
    provider = Provider(compiled, threads=_threads(threads), plan=plan)
    report("make keys", 0.6)
    owner = Owner(provider.public_plan(), threads=_threads(threads))
    provider.load_keys(owner.evaluation_keys())
    plan = _tried(graph, plan, compiled, owner, provider, calibration, count, report)
    report("ready", 1.0)
    return Private(graph, plan, owner=owner, provider=provider, compiled=compiled, progress=progress)


def simulate(
    model: object,
    X: npt.ArrayLike,
    *,
    calibration: npt.ArrayLike | None = None,
    batch: int | None = 1,
    max_error: float | None = None,
    measured: bool = False,
    compare: bool = True,
    strict: bool = True,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Answer:
    """What ``protect(model, "ckks", …).predict(X)`` would answer, without keys and in a fraction of its time.

    The plan is made as for ``protect``; then its program runs in the clear: the same polynomials, the same rounding,
    and the noise of every operation drawn at random. Nothing is protected. ``compare``: also reports the largest
    difference to the clear answers. Raises as ``protect`` and ``Private.predict`` do.
    """
    report = progress or (lambda phase, done: None)
    report("plan", 0.0)
    graph = load(model)
    plan, compiled = _compile(graph, "ckks", calibration, batch, max_error, threads, measured=measured)
    if compiled is None:
        raise InternalError("a plan under `ckks` was not compiled")
    private = Private(graph, plan, owner=None, provider=None, compiled=compiled, progress=progress)
    return private.predict(X, compare=compare, strict=strict, simulate=True)


class Provider(CkksProvider):
    """The provider's role on its own: a model, evaluation keys of any number of owners, and nothing that decrypts.

    ``plan``: the decision with its declaration, where this object was made from a model; ``None`` from a bundle.
    """

    def __init__(self, bundle: bytes | Compiled, *, threads: int = 1, plan: Plan | None = None) -> None:
        super().__init__(bundle, threads=threads)
        self.plan = plan

    @classmethod
    def from_model(
        cls,
        model: object,
        *,
        protection: str = "ckks",
        calibration: npt.ArrayLike | None = None,
        batch: int | None = 1,
        max_error: float | None = None,
        check: int = CHECKED_SAMPLES,
        memory_bytes: int | None = None,
        measured: bool = False,
        threads: int | None = None,
    ) -> Provider:
        """Compiles a model for owners elsewhere. Raises as ``protect`` does.

        ``check``: the plan is tried on so many of the calibration samples, under a key that is made for it and thrown
        away: no key of an owner is ever here. With 0 no secret key is made at all.
        """
        count, graph = _check(check), load(model)
        plan, compiled = _compile(
            graph, protection, calibration, batch, max_error, threads, memory_bytes, measured
        )
        if compiled is None:
            raise InvalidParameterError(f"`{protection}` has no provider of its own: nothing is protected")
        provider = cls(compiled, threads=_threads(threads), plan=plan)
        if count:
            owner = Owner(provider.public_plan(), threads=_threads(threads))
            key_id = provider.load_keys(owner.evaluation_keys())
            provider.plan = _tried(graph, plan, compiled, owner, provider, calibration, count)
            provider.forget_keys(key_id)
        return provider


class Private:
    """A protected model with every role in this process. ``owner`` and ``provider`` exchange bytes only.

    ``owner`` and ``provider`` are ``None`` under ``clear``, which protects nothing.
    """

    def __init__(
        self,
        graph: Graph,
        plan: Plan,
        *,
        owner: Owner | None,
        provider: Provider | None,
        compiled: Compiled | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._compiled = compiled
        self._simulation: Simulation | None = None
        self._progress = progress or (lambda phase, done: None)
        self.plan = plan
        self.owner = owner
        self.provider = provider
        self._graph = graph

    def __repr__(self) -> str:
        return f"<Private {self.plan.model!r} under {self.plan.protection}>"

    def __enter__(self) -> Private:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forgets keys and model; a second call does nothing."""
        self.owner = None
        self.provider = None
        self._compiled = None
        self._simulation = None

    def predict(
        self, X: npt.ArrayLike, *, compare: bool = False, strict: bool = True, simulate: bool = False
    ) -> Answer:
        """The primary output for every sample of ``X`` (samples, …), with labels and report.

        ``compare``: also runs in the clear, and reports the largest difference (of samples within the bound).
        ``strict``: samples for which no error can be promised, too close to a threshold of a tree or with hidden
        values out of their ranges (``HiddenRangeError``), are an error; otherwise they are marked in
        ``Answer.within_bound``. ``simulate``: encrypts nothing, runs the compiled program in the clear with the noise
        that encryption adds, fast enough for whole data sets; the report says so.

        Raises ``DataError`` for NaN, ``ShapeError`` for another shape, ``DataRangeError`` for samples outside the
        calibrated region, and ``PrecisionError`` when a result fails its check; then no number is returned.
        """
        if self.plan.protection == "clear":
            return self.clear(X)
        if simulate:
            return self._simulate(X, compare=compare, strict=strict)
        if self.owner is None or self.provider is None:
            raise UsageError("this object was closed", hint="call `tacit.protect` again")
        seconds = {"encrypt": 0.0, "server": 0.0, "decrypt": 0.0}
        up = down = 0
        parts: list[Answer] = []
        done_samples = 0
        chunks = list(self.owner.batches(X))
        total = sum(map(len, chunks))
        for chunk in chunks:
            start = time.perf_counter()
            request = self.owner.encrypt(chunk)
            sent = time.perf_counter()
            response = self.provider.run(request)
            received = time.perf_counter()
            parts.append(self.owner.decrypt(response, strict=strict))
            done = time.perf_counter()
            up, down = up + len(request), down + len(response)
            done_samples += len(chunk)
            self._progress("predict", done_samples / total)
            for phase, spent in zip(seconds, (sent - start, received - sent, done - received), strict=True):
                seconds[phase] += spent
        values = np.concatenate([np.asarray(part) for part in parts])
        labels = None
        if parts[0].labels is not None:
            labels = np.concatenate([part.labels for part in parts if part.labels is not None])
        within_bound = np.concatenate([part.within_bound for part in parts])
        difference = None
        if compare:
            clear = np.asarray(self.clear(X))
            difference = float(np.max(np.abs(values - clear)[within_bound], initial=0.0))
        report = Report(
            protection=self.plan.protection,
            plan_id=self.plan.plan_id,
            samples=len(values),
            seconds=seconds,
            bytes_up=up,
            bytes_down=down,
            key_bytes=self.owner.key_bytes,
            error_bound=self.plan.error_bound,
            max_error_against_clear=difference,
            comparison_margin=parts[0].report.comparison_margin,
            samples_out_of_bound=int((~within_bound).sum()),
            measured=parts[0].report.measured,
        )
        return Answer.of(values, labels=labels, report=report, within_bound=within_bound)

    def _simulate(self, X: npt.ArrayLike, *, compare: bool, strict: bool) -> Answer:
        if self._compiled is None:
            raise UsageError("this object was closed", hint="call `tacit.protect` again")
        if self._simulation is None:
            self._simulation = Simulation(self._compiled)
        answer = self._simulation.predict(
            X, strict=strict, progress=lambda done: self._progress("simulate", done)
        )
        if compare:
            difference = np.abs(np.asarray(answer) - np.asarray(self.clear(X)))[answer.within_bound]
            answer.report = replace(
                answer.report, max_error_against_clear=float(np.max(difference, initial=0.0))
            )
        return answer

    def clear(self, X: npt.ArrayLike | Mapping[str, npt.NDArray[Any]]) -> Answer:
        """The same prediction without protection: the graph interpreted in float64.

        A mapping gives each input of the model by its name.
        """
        start = time.perf_counter()
        given = (
            {name: np.asarray(array) for name, array in X.items()}
            if isinstance(X, Mapping)
            else np.asarray(X)
        )
        outputs = interpret(self._graph, given)
        spent = time.perf_counter() - start
        values = outputs[self._graph.primary]
        label = self._graph.label
        report = Report(
            protection="clear",
            plan_id=self._graph.digest(),
            samples=len(values),
            seconds={"server": spent},
            bytes_up=sum(
                8 * array.size for array in (given.values() if isinstance(given, dict) else [given])
            ),
            bytes_down=values.nbytes,
            max_error_against_clear=0.0,
        )
        return Answer.of(values, labels=None if label is None else outputs[label], report=report)


def _compile(
    graph: Graph,
    protection: str,
    calibration: npt.ArrayLike | None,
    batch: int | None,
    max_error: float | None,
    threads: int | None,
    memory_bytes: int | None = None,
    measured: bool = False,
) -> tuple[Plan, Compiled | None]:
    """The cheapest plan under a protection and, where there is one, the compiled model."""
    found = survey(
        [_backend(protection, memory_bytes, measured)],
        graph,
        _calibration(graph, calibration),
        batch=_batch(1 if batch is None else batch),
        max_error=_max_error(max_error),
        threads=_threads(threads),
    )
    candidate = found.of(protection)
    compiled = candidate.compile()
    is_compiled = isinstance(compiled, Compiled)
    plan = Plan(
        protection=protection,
        plan_id=compiled.public.plan_id if is_compiled else graph.digest(),
        model=graph.name,
        declaration=candidate.declaration,
        max_error=max_error,
    )
    return plan, compiled if is_compiled else None


def _tried(
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
    data = _calibration(graph, calibration)
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


def _backend(name: object, memory_bytes: int | None = None, measured: bool = False) -> Backend:
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
    raise InvalidParameterError(
        f"the 'protection' parameter must be one of {', '.join(PROTECTIONS)}. Got '{name}' instead."
    )


def _batch(batch: int) -> int:
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= 1 << 24:
        raise InvalidParameterError(
            f"the 'batch' parameter must be an integer from 1 to {1 << 24}. Got {batch!r} instead."
        )
    return batch


def _check(check: int) -> int:
    if isinstance(check, bool) or not isinstance(check, int) or not 0 <= check <= 1 << 16:
        raise InvalidParameterError(
            f"the 'check' parameter must be an integer from 0 to {1 << 16}. Got {check!r} instead."
        )
    return check


def _max_error(max_error: float | None) -> float | None:
    if max_error is None:
        return None
    if isinstance(max_error, bool) or not isinstance(max_error, (int, float)) or not 0 < max_error < math.inf:
        raise InvalidParameterError(
            f"the 'max_error' parameter must be > 0 and finite. Got {max_error!r} instead."
        )
    return max_error


def _threads(threads: int | None) -> int:
    if threads is None:
        import os

        return max(1, min(8, len(os.sched_getaffinity(0))))
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= 1024:
        raise InvalidParameterError(
            f"the 'threads' parameter must be an integer from 1 to 1024. Got {threads!r} instead."
        )
    return threads


def _calibration(graph: Graph, calibration: Any) -> npt.NDArray[np.float64] | None:
    """Calibration data as (samples, features…) float64, checked against the graph's only input."""
    if calibration is None:
        return None
    if len(graph.inputs) != 1:
        names = ", ".join(f"`{value.name}`" for value in graph.inputs)
        raise ShapeError(
            f"`ckks` takes a model with one input. Got {len(graph.inputs)} instead: {names}.",
            hint="export the model with one input that holds all features side by side, and split it inside",
        )
    from tacit.ir.interpret import bind_inputs

    _, bound = bind_inputs(graph, np.asarray(calibration))
    array: npt.NDArray[np.float64] = bound[graph.inputs[0].name].astype(np.float64)
    if len(array) < 2:
        raise ShapeError(
            f"calibration data must hold at least two samples. Got {len(array)} instead.",
            hint="give some hundred samples like those to come (in a shell `--calibration`)",
        )
    return array
