"""A model under `mpc` whose parties are all on this machine: each a process of its own, TLS between them.

Whoever holds this object plays owner and provider: it makes the shares, gives each party only its own, and puts the
shares of answers together. No party ever has enough of them to know a value.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.backends.answer import Answer, Report
from tacit.backends.mpc.backend import COPIES, WORD_BYTES, MpcCompiled
from tacit.backends.mpc.executor import decode_output, encode_inputs
from tacit.errors import PlanCheckError, UsageError
from tacit.ir.graph import Graph
from tacit.ir.interpret import bind_inputs, interpret
from tacit.planner.plan import Plan
from tacit.runtime.local import Parties

__all__ = ["SharedModel", "tried_on_shares"]

ACTOR = "tacit.backends.mpc.actor:Actor"
MOST_NUMBERS = 1 << 23
"""Of one hidden value that a run may hold: more samples take several runs."""
TRIED_AMONG = 4096
"""Calibration samples among which the ones to try are chosen."""


class SharedModel:
    """Running parties that hold a model as shares. ``close`` ends their processes, as does the end of this one.

    Raises ``PeerError`` where the parties do not come together.
    """

    def __init__(self, graph: Graph, plan: Plan, compiled: MpcCompiled) -> None:
        self._graph, self._program = graph, compiled.program
        self._variant = compiled.variant
        self.plan = plan
        start = time.perf_counter()
        self._parties: Parties | None = Parties.start(
            ACTOR,
            program=compiled.program.to_bytes(),
            variant=compiled.variant,
            reveals=compiled.program.openings,
        )
        try:
            self._parties.prepare(compiled.weights)
        except BaseException:
            self.close()
            raise
        self.opening_seconds = time.perf_counter() - start
        self._weight_bytes = (
            WORD_BYTES * COPIES[compiled.variant] * sum(w.size for w in compiled.weights.values())
        )
        widest = max(value.features for value in graph.values.values())
        self._rows = max(1, MOST_NUMBERS // max(1, widest))

    @property
    def processes(self) -> Mapping[str, int]:
        """The process of each party, by its name; none after ``close``."""
        return {} if self._parties is None else self._parties.processes

    def predict(self, X: npt.ArrayLike, progress: Callable[[float], None] = lambda done: None) -> Answer:
        """The answers for samples (samples, …), as many runs as memory asks for.

        Raises ``DataError``, ``ShapeError`` and ``DataRangeError`` before anything is shared, and ``PeerError`` with
        the name of a party that failed; then no number is returned, and all parties have ended.
        """
        _, bound = bind_inputs(self._graph, np.asarray(X))
        ((name, samples),) = bound.items()
        start = time.perf_counter()
        words = encode_inputs(self._program, {name: samples})
        encoded = time.perf_counter() - start
        seconds = {"share": encoded, "parties": 0.0, "combine": 0.0}
        outputs: dict[str, list[npt.NDArray[Any]]] = {}
        sent: dict[str, int] = {}
        rounds = up = down = 0
        for piece in _pieces(words, self._rows):
            if self._parties is None:
                raise UsageError("this object was closed", hint="call `tacit.protect` again")
            start = time.perf_counter()
            try:
                opened = self._parties.predict(piece)
            except BaseException:
                self.close()
                raise
            spent = time.perf_counter() - start
            computed = max(report.seconds for report in self._parties.reports)
            seconds["parties"] += computed
            seconds["share"] += spent - computed
            start = time.perf_counter()
            for output in self._program.outputs:
                outputs.setdefault(output.name, []).append(decode_output(output, opened[output.name]))
            seconds["combine"] += time.perf_counter() - start
            for each in self._parties.reports:
                sent[each.party] = sent.get(each.party, 0) + each.sent_bytes
            rounds += max(report.rounds for report in self._parties.reports)
            up += WORD_BYTES * COPIES[self._variant] * sum(each.size for each in piece.values())
            down += WORD_BYTES * COPIES[self._variant] * sum(each.size for each in opened.values())
            progress(min(1.0, sum(map(len, outputs[self._graph.primary])) / max(1, len(samples))))
        values = np.concatenate(outputs[self._graph.primary])
        label = self._graph.label
        report = Report(
            protection=self.plan.protection,
            plan_id=self.plan.plan_id,
            samples=len(values),
            seconds=seconds,
            bytes_up=up,
            bytes_down=down,
            key_bytes=self._weight_bytes,
            error_bound=self.plan.error_bound,
            measured=self._program.measured,
            rounds=rounds,
            bytes_by_party=sent,
        )
        return Answer.of(
            values, labels=None if label is None else np.concatenate(outputs[label]), report=report
        )

    def close(self) -> None:
        """Ends the parties; a second call does nothing."""
        parties, self._parties = self._parties, None
        if parties is not None:
            parties.close()


def _pieces(
    words: Mapping[str, npt.NDArray[np.uint64]], rows: int
) -> Iterator[dict[str, npt.NDArray[np.uint64]]]:
    ((name, whole),) = words.items()
    for begin in range(0, max(1, len(whole)), rows):
        yield {name: whole[begin : begin + rows]}


def tried_on_shares(
    model: SharedModel,
    graph: Graph,
    calibration: npt.NDArray[np.float64],
    count: int,
) -> Plan:
    """The plan with what ``count`` calibration samples showed among the parties. Raises ``PlanCheckError``.

    Samples are those with the largest and smallest answers, then others spread over them.
    """
    data = calibration[:TRIED_AMONG]
    clear = np.asarray(interpret(graph, data)[graph.primary], dtype=np.float64)
    flat = clear.reshape(len(data), -1)
    ranked = np.argsort(flat[:, int(np.argmax(np.ptp(flat, axis=0)))], kind="stable")
    places = ranked[np.unique(np.linspace(0, len(ranked) - 1, num=min(count, len(ranked))).astype(np.intp))]
    answer = np.asarray(model.predict(data[places]))
    error = float(np.max(np.abs(answer - clear[places]), initial=0.0))
    if not error <= model.plan.error_bound:
        raise PlanCheckError(
            f"the error of a calibration sample among the parties is {error:.2g} and not at most "
            f"{model.plan.error_bound:.2g}",
            hint="the arithmetic is worse than the plan says: please report this model",
        )
    return replace(model.plan, checked_samples=len(places), checked_error=error)
