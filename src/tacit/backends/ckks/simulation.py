"""A compiled model run in the clear on whole data sets: the answers that encryption would give, noise included."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tacit.backends.answer import Answer, Report
from tacit.backends.ckks.compiled import Compiled
from tacit.backends.ckks.executor import Executor, Observer
from tacit.backends.ckks.layout import ColumnLayout, ReplicatedLayout
from tacit.backends.ckks.levels import moduli
from tacit.backends.ckks.sampled import SampledEngine
from tacit.backends.ckks.scores import Scores, read_columns, read_packed, run_tail, table
from tacit.errors import HiddenRangeError, PrecisionError

__all__ = ["Simulation"]

FloatArray = npt.NDArray[np.float64]
Values = npt.NDArray[np.float64] | npt.NDArray[np.complex128]

CHUNK_NUMBERS = 1 << 18
"""Slots times samples that run at once: what a ciphertext holds then stays in the second-level cache."""
CHUNK_COLUMNS = 1 << 13
"""Samples that run at once where every one has a slot: there are as many ciphertexts as features."""


class Simulation:
    """The program of a compiled model on an engine that computes in the clear and draws the noise of each operation.

    It holds the weights and takes inputs in the clear: for whoever has both. No key is made. ``seed``: of the noise,
    for tests; by default the operating system's.
    """

    def __init__(self, compiled: Compiled, *, seed: int | None = None) -> None:
        self.plan = plan = compiled.public
        chain = compiled.chain
        q, p = moduli(chain.log_n, chain.log_q, chain.log_p)
        self.engine = SampledEngine(chain.log_n, q, p, random=np.random.default_rng(seed))
        self._executor = Executor(compiled.program(), self.engine)
        self.chunk = CHUNK_COLUMNS
        if not isinstance(plan.input, ColumnLayout):
            span = plan.input.span
            self._places = np.asarray(plan.input.pack(np.arange(1.0, plan.input.size + 1)))[:span]
            self._is_complex = bool(np.iscomplexobj(self._places))
            self.chunk = max(1, CHUNK_NUMBERS // span)

    def predict(
        self,
        X: npt.ArrayLike,
        *,
        strict: bool = True,
        progress: Callable[[float], None] | None = None,
    ) -> Answer:
        """What ``Owner.decrypt`` would return for ``X`` (samples, …), marked as simulated in its report.

        Raises as ``Owner.encrypt`` and ``Owner.decrypt`` do, except that a sample which the owner's checks would refuse
        is an error only if ``strict``; otherwise it is marked in ``Answer.within_bound``.
        ``progress``: called with the part that is done, 0 to 1.
        """
        start = time.perf_counter()
        plan = self.plan
        data = table(plan, X)
        plan.region.check(data)
        parts: list[Scores] = []
        for begin in range(0, len(data), self.chunk):
            piece = data[begin : begin + self.chunk]
            parts.append(self.scores(piece))
            if progress is not None:
                progress((begin + len(piece)) / len(data))
        values = np.concatenate([part.values for part in parts])
        decided = np.concatenate([part.decided for part in parts])
        inside = np.concatenate([part.inside for part in parts])
        within_bound = np.concatenate([part.within_bound for part in parts])
        if strict and not inside.all():
            raise HiddenRangeError(
                f"hidden values of {int((~inside).sum())} of {len(data)} simulated samples leave the ranges of the "
                "calibration data",
                hint="recalibrate the plan with samples like these, or pass `strict=False` to have them marked",
            )
        if strict and not within_bound.all():
            raise PrecisionError(
                f"{int((~within_bound).sum())} of {len(data)} simulated samples get no answer within the bound: "
                f"{int((~decided).sum())} are too close to a threshold, the others fail the owner's checks",
                hint="pass `strict=False` to get all answers, with these marked in `answer.within_bound`",
            )
        # Far outside of their ranges values overflow, which encrypted wrap around to some number: marked like these.
        within_bound &= np.isfinite(values).all(axis=1)
        outputs = run_tail(plan, np.where(np.isfinite(values), values, 0.0))
        label = plan.tail.label
        report = Report(
            protection="ckks",
            plan_id=plan.plan_id,
            samples=len(data),
            seconds={"simulate": time.perf_counter() - start},
            error_bound=plan.error_bound,
            comparison_margin=plan.margin,
            samples_out_of_bound=int((~within_bound).sum()),
            measured=plan.is_measured,
            simulated=True,
        )
        return Answer.of(
            outputs[plan.tail.primary],
            labels=None if label is None else outputs[label],
            report=report,
            within_bound=within_bound,
        )

    def scores(self, data: FloatArray, observe: Observer | None = None) -> Scores:
        """The scores of (samples, features) inside the region, with the owner's checks. All samples run at once."""
        plan = self.plan
        units = plan.region.normalise(data)
        is_packed = isinstance(plan.output, ReplicatedLayout)
        vectors = [self._packed(units)] if is_packed else [column[None] for column in units.T]
        inputs = [self.engine.encrypt(values, level=plan.level, scale=plan.scale) for values in vectors]
        with np.errstate(over="ignore", invalid="ignore"):
            results = self._executor.run(inputs, observe=observe)
            raised = None if plan.flag is None else self.engine.decrypt(results.pop())
            if isinstance(plan.output, ReplicatedLayout):
                values = self.engine.decrypt(results[0], width=plan.output.period).T
                return read_packed(plan, values * (plan.unit + 0j), None if raised is None else raised.T + 0j)
            columns = np.concatenate([self.engine.decrypt(result) for result in results]).T * plan.unit
            imaginary = columns.imag if np.iscomplexobj(columns) else None
            return read_columns(plan, columns.real, imaginary, None if raised is None else raised[0])

    def excess(self, data: FloatArray) -> list[float]:
        """For each stage the largest value over the bound that the plan has for it, 0 where it has none.

        ``data``: (samples, features) inside the region, of which one chunk runs. Noise counts with the values.
        """
        noted: list[list[float]] = []

        def begin(position: int, stage: object) -> None:
            self.engine.noted = []
            noted.append(self.engine.noted)

        try:
            self.scores(data[: self.chunk], begin)
        finally:
            self.engine.noted = None
        return [max(ratios, default=0.0) for ratios in noted]

    def _packed(self, units: Values) -> Values:
        """(span, samples) of what the owner encrypts: one span of the input's layout."""
        padded = np.concatenate([np.zeros((len(units), 1)), units], axis=1).T
        if not self._is_complex:
            return padded[self._places.real.astype(np.intp)]
        return padded[self._places.real.astype(np.intp)] + 1j * padded[self._places.imag.astype(np.intp)]
