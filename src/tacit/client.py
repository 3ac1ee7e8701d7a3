"""The public API: load a model, see the price list, protect it, predict; and the two roles as separate objects."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.backends.answer import Answer, Report
from tacit.backends.ckks.compiled import Compiled
from tacit.backends.ckks.machine import Machine
from tacit.backends.ckks.owner import Owner
from tacit.backends.ckks.public import PublicPlan
from tacit.backends.ckks.simulation import Simulation
from tacit.backends.mpc.backend import MpcCompiled
from tacit.errors import InternalError, InvalidParameterError, UsageError
from tacit.ir.graph import Graph
from tacit.ir.interpret import interpret
from tacit.planner.choose import survey
from tacit.planner.explain import Explanation
from tacit.planner.plan import Plan
from tacit.roles.arguments import (
    checked_batch,
    checked_calibration,
    checked_check,
    checked_max_error,
    checked_threads,
)
from tacit.roles.compilation import CHECKED_SAMPLES, PROTECTIONS, backend_of, compile_model, load, tried
from tacit.roles.machine import Progress, calibrate
from tacit.roles.provider import Provider
from tacit.roles.shared_model import SharedModel, tried_on_shares

__all__ = [
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
    "load",
    "protect",
    "simulate",
]


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
    ``batch``: samples of the request that is priced. ``memory_bytes``, ``measured``: as for ``protect``.
    """
    graph = load(model)
    found = survey(
        [backend_of(name, memory_bytes, measured) for name in protections],
        graph,
        checked_calibration(graph, calibration),
        batch=checked_batch(batch),
        max_error=checked_max_error(max_error),
        threads=checked_threads(threads),
    )
    return Explanation(
        model=graph.name,
        batch=checked_batch(batch),
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
    """Every role on this machine, with real cryptography between them.

    ``protection``: ``ckks`` runs owner and provider in this process, ``mpc`` three parties in processes of their own,
    ``mpc:dealer2`` two parties and a dealer.

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
    count = checked_check(check)
    graph = load(model)
    report("plan", 0.1)
    plan, compiled = compile_model(
        graph, protection, calibration, batch, max_error, threads, memory_bytes, measured
    )
    if compiled is None:
        report("ready", 1.0)
        return Private(graph, plan, owner=None, provider=None)
    if isinstance(compiled, MpcCompiled):
        report("start the parties", 0.4)
        shared = SharedModel(graph, plan, compiled)
        try:
            report("check the plan", 0.8)
            data = checked_calibration(graph, calibration)
            if count and data is not None:
                plan = tried_on_shares(shared, graph, data, count)
        except BaseException:
            shared.close()
            raise
        report("ready", 1.0)
        return Private(graph, plan, owner=None, provider=None, shared=shared, progress=progress)
    report("encode the model", 0.4)
    provider = Provider(compiled, threads=checked_threads(threads), plan=plan)
    report("make keys", 0.6)
    owner = Owner(provider.public_plan(), threads=checked_threads(threads))
    provider.load_keys(owner.evaluation_keys())
    plan = tried(graph, plan, compiled, owner, provider, calibration, count, report)
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
    plan, compiled = compile_model(graph, "ckks", calibration, batch, max_error, threads, measured=measured)
    if not isinstance(compiled, Compiled):
        raise InternalError("a plan under `ckks` was not compiled")
    private = Private(graph, plan, owner=None, provider=None, compiled=compiled, progress=progress)
    return private.predict(X, compare=compare, strict=strict, simulate=True)


class Private:
    """A protected model with every role on this machine. ``owner`` and ``provider`` exchange bytes only.

    ``owner`` and ``provider`` are ``None`` under ``clear``, which protects nothing, and under ``mpc``, where ``shared``
    is the model among its parties.
    """

    def __init__(
        self,
        graph: Graph,
        plan: Plan,
        *,
        owner: Owner | None,
        provider: Provider | None,
        compiled: Compiled | None = None,
        shared: SharedModel | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._compiled = compiled
        self._simulation: Simulation | None = None
        self._progress = progress or (lambda phase, done: None)
        self.plan = plan
        self.owner = owner
        self.provider = provider
        self.shared = shared
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
        """Forgets keys and model, and ends the processes of parties; a second call does nothing."""
        if self.shared is not None:
            self.shared.close()
        self.shared = None
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
        calibrated region, ``PeerError`` when a party fails, and ``PrecisionError`` when a result fails its check; then
        no number is returned.
        """
        if self.plan.protection == "clear":
            return self.clear(X)
        if self.shared is not None:
            if simulate:
                raise InvalidParameterError("`simulate` is for `ckks`: nothing is encrypted with noise here")
            return self._compared(
                self.shared.predict(X, lambda done: self._progress("predict", done)), X, compare
            )
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
        return self._compared(answer, X, compare)

    def _compared(self, answer: Answer, X: npt.ArrayLike, compare: bool) -> Answer:
        """The answer, with its largest difference to the clear one in the report where that was asked for."""
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
