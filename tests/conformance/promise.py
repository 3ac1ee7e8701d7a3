"""The one assertion of the conformance tests: a compiled model keeps its promise, encrypted, on its whole region."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.backend import CkksBackend, CkksCandidate
from tacit.backends.ckks.owner import Owner
from tacit.backends.ckks.provider import Provider
from tacit.backends.ckks.region import Region
from tacit.backends.ckks.selection import Selection
from tacit.errors import DepthError, NoAdmissiblePlanError, PrecisionError, UnsupportedOpError
from tacit.ir.graph import Graph
from tacit.ir.interpret import interpret
from tests.conformance.random_models import Case

__all__ = ["REFUSALS", "Outcome", "broken", "plan_of", "run_encrypted"]

FloatArray = npt.NDArray[np.float64]

REFUSALS = (UnsupportedOpError, NoAdmissiblePlanError, PrecisionError, DepthError)
"""Errors that may be raised instead of a plan; any other is a defect."""


@dataclass(frozen=True)
class Outcome:
    """``promised`` and ``measured``: largest absolute error of the primary output. ``labels_differ``: of how many
    samples the label is another one although the promise rules it out. ``calibration_doubted``: samples of the
    calibration for which a network does not promise its bound (trees may not decide)."""

    promised: float
    measured: float
    samples: int
    log_n: int
    labels_differ: int
    calibration_doubted: int

    @property
    def ratio(self) -> float:
        return self.measured / self.promised


def broken(outcome: Outcome) -> bool:
    """Whether the run broke its promise; a promise of nothing, or of everything, is none."""
    is_promise = 0 < outcome.promised < np.inf
    kept = outcome.measured <= outcome.promised and not outcome.labels_differ
    return not (is_promise and kept and not outcome.calibration_doubted)


def plan_of(case: Case) -> CkksCandidate:
    """The candidate of the packing that the case asks for. Raises the refusals of ``CkksBackend.candidates``."""
    batch = 64 if case.layout == "throughput" else 4
    found = CkksBackend().candidates(case.graph, case.calibration, batch=batch, max_error=case.max_error)
    return next((c for c in found if c.layout == case.layout), found[0])


def run_encrypted(case: Case, candidate: CkksCandidate, seed: int) -> Outcome:
    """Two samples of the calibration and two from the edge of the region, encrypted, computed on and decrypted.

    Trees, whose region is made of single values, get four of the calibration.
    """
    provider = Provider(candidate.compile())
    owner = Owner(provider.public_plan())
    provider.load_keys(owner.evaluation_keys())
    shape = case.calibration.shape[1:]
    edges = case.calibration[2:4]
    if not isinstance(candidate.model, Selection):
        edges = _edges(candidate.region, 2, seed).reshape(-1, *shape)
    x = np.concatenate([case.calibration[:2], edges])
    clear = interpret(case.graph, x)
    values, labels, decided = [], [], []
    for chunk in owner.batches(x):
        answer = owner.decrypt(provider.run(owner.encrypt(chunk)), strict=False)
        values.append(np.asarray(answer))
        decided.append(answer.within_bound)
        if answer.labels is not None:
            labels.append(answer.labels)
    primary, within = clear[case.graph.primary], np.concatenate(decided)
    got = np.concatenate(values)
    promised = owner.plan.error_bound
    differ = 0
    if labels:
        differ = _differing(case.graph, primary, clear, np.concatenate(labels), within, promised)
    return Outcome(
        promised,
        float(np.abs(got - primary)[within].max(initial=0.0)),
        int(within.sum()),
        candidate.chain.log_n,
        differ,
        0 if isinstance(candidate.model, Selection) else int((~within[:2]).sum()),
    )


def _differing(
    graph: Graph,
    primary: FloatArray,
    clear: dict[str, npt.NDArray[np.generic]],
    labels: npt.NDArray[np.generic],
    within: npt.NDArray[np.bool_],
    promised: float,
) -> int:
    """Samples whose label differs though the two largest scores are farther apart than twice the promise."""
    label = graph.roles["label"]
    if primary.ndim != 2 or primary.shape[1] < 2:
        return 0
    top = np.sort(primary, axis=1)
    clear_cut = top[:, -1] - top[:, -2] > 2 * promised
    return int(((labels != clear[label]) & clear_cut & within).sum())


def _edges(region: Region, count: int, seed: int) -> FloatArray:
    """Samples as far from the mean as the region admits, in random directions to corners of the box."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        corner = region.centre + np.sign(rng.normal(size=region.features)) * region.radius
        way = corner - region.mean
        length = float(np.linalg.norm(way / region.radius))
        found.append(region.mean + way * min(1.0, region.ball / length) * (1 - 1e-9))
    return np.stack(found)
