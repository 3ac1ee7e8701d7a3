"""The search for forests: how fine the codes, on which chain, in which packing.

Codes by ranks get the fewest bits at which no more than ``UNDECIDED_ROWS`` of all samples are expected to have a value
in the cell of a threshold on their way; grids take what they need. The chain then follows: as many levels as the codes
and the trees have, for every number of special primes the smallest scale that is precise enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.bound import worst_noise
from tacit.backends.ckks.codes import LINEAR_SHARE, MAX_BITS, Codes
from tacit.backends.ckks.forest import Forest
from tacit.backends.ckks.forest_program import packed_slots, schedule_forest
from tacit.backends.ckks.layout import power_of_two
from tacit.backends.ckks.levels import MAX_LOG_QP, MAX_PRIME_BITS, SPECIAL_BITS, Chain, moduli
from tacit.backends.ckks.program import Program
from tacit.backends.ckks.region import Region, calibrate_codes
from tacit.backends.ckks.selection import Selection, coded, reached, select
from tacit.errors import DepthError, PrecisionError

__all__ = ["ForestPlan", "plan_forest", "undecided"]

FloatArray = npt.NDArray[np.float64]

UNDECIDED_ROWS = 0.001
"""Part of the samples that are expected to be undecided, where levels and slots suffice."""
BITS = (8, 12, 16, 24, MAX_BITS)
"""Bits of codes that are tried."""
SCALE_BITS = tuple(range(28, 46, 2))
TIE_BREAK = 2.0**-10
"""Part of the tolerated error by which equal scores are told apart: noise is a thousand times below its bound."""
_SPECIALS = (1, 2, 3, 4)


@dataclass(frozen=True, eq=False)
class ForestPlan:
    """One chain and packing. ``noise``: bound on the noise of a result slot. ``undecided``: rows of the calibration."""

    model: Selection
    region: Region
    chain: Chain
    program: Program
    noise: float
    layout: str
    undecided: int

    @property
    def score_error(self) -> float:
        return self.noise + float(self.model.error.max())

    @property
    def margin(self) -> float:
        """The widest cell of a feature that is compared by ranks, over its calibrated range; 0 where all are grids."""
        codes = self.region.codes
        widest = 0.0
        for feature in sorted(set(self.model.forest.features.tolist())):
            if codes is not None and not codes.is_grid(feature):
                knots = codes.knots[int((codes.decimals[:feature] < 0).sum())]
                cell = float(np.diff(knots).max()) * (len(knots) - 1) / (1 << codes.bits)
                widest = max(widest, cell / float(self.region.radius[feature]))
        return widest


def plan_forest(forest: Forest, data: FloatArray, tolerance: float, layout: str) -> list[ForestPlan]:
    """The plans of one packing: one for each chain that is worth a look, of the finest codes that have any.

    ``forest``: thresholds in the units of the features. ``data``: (rows, features) calibration. ``tolerance``: largest
    error of a score. Raises ``DepthError`` where no ring has the levels or slots, ``PrecisionError`` where noise is
    too much.
    """
    problem: PrecisionError | None = None
    for bits in reversed(_enough_bits(forest, data)):
        found = []
        for region in _regions(data, bits, layout):
            try:
                found += _plans(forest, region, data, tolerance, layout)
            except PrecisionError as failure:
                problem = failure
        if found:
            return found
    raise problem or DepthError(
        f"paths of {forest.depth} steps to {forest.leaves} leaves need more levels or slots than any secure parameter "
        "set has",
        hint="limit `max_depth` or `n_estimators`, or send batches (one sample a slot)",
    )


def _plans(
    forest: Forest, region: Region, data: FloatArray, tolerance: float, layout: str
) -> list[ForestPlan]:
    """The plans on the smallest ring that has any; none where no ring has the levels or slots."""
    codes = region.codes
    inner = None if codes is None else coded(forest, codes)
    if codes is None or inner is None or not inner.leaves:
        raise PrecisionError(
            "the model is constant on the calibrated region", hint="calibrate on data with a wider range"
        )
    model = select(inner, TIE_BREAK * tolerance / len(inner.bias))
    rows = undecided(inner, codes, data)
    depth = model.depth(int(codes.digits.max()))
    problem: PrecisionError | None = None
    for log_n in MAX_LOG_QP:
        if layout == "latency" and packed_slots(model, codes) > 1 << (log_n - 1):
            continue
        found = []
        for specials in _SPECIALS:
            least = 0.0
            for chain in _chains(depth, log_n, specials):
                if chain.log_q[-1] < least:
                    continue
                q, p = moduli(chain.log_n, chain.log_q, chain.log_p)
                program = schedule_forest(model, chain, q, layout, codes)
                try:
                    noise = worst_noise(program, chain, q, p) * model.unit
                except PrecisionError as failure:
                    problem = failure
                    continue
                allowed = min(tolerance - float(model.error.max()), model.weight / 4)
                if noise <= allowed:
                    found.append(ForestPlan(model, region, chain, program, noise, layout, rows))
                    break
                problem = PrecisionError(
                    f"noise may move a score by {noise:.2g}, and no more than {max(allowed, 0.0):.2g} is tolerated",
                    hint="allow a larger max_error; where scores are large beside what they differ by, fit the model "
                    "to targets without their mean",
                )
                # Noise halves with every bit of scale, and hardly depends on anything else.
                least = chain.log_q[-1] + np.log2(noise / allowed)
        if found:
            return found
    if problem is not None:
        raise problem
    return []


def _regions(data: FloatArray, bits: int, layout: str) -> Iterator[Region]:
    """Codes of a number of bits as they are worth a look in a packing."""
    if layout == "throughput":
        yield calibrate_codes(data, bits=bits, paired=True)
        return
    for group in (1, 2):
        yield calibrate_codes(data, bits=bits, group=group, digits=power_of_two(-(-bits // group)))


def undecided(forest: Forest, codes: Codes, data: FloatArray) -> int:
    """Calibration rows with an undecided comparison on their way. ``forest``: as ``coded`` gives it."""
    pieces = [reached(forest, codes, data[start : start + 512]) for start in range(0, len(data), 512)]
    return int(sum((piece.sum(axis=1) < forest.trees).sum() for piece in pieces))


def _enough_bits(forest: Forest, data: FloatArray) -> list[int]:
    """Bits to try, ascending, up to the first at which few enough samples are, or are expected to be, undecided.

    A cell by ranks holds at most 1 / (1 - ``LINEAR_SHARE``) times the share of samples that it would with equal shares,
    as far as the knots follow the distribution.
    """
    tried = []
    for bits in BITS:
        tried.append(bits)
        codes = calibrate_codes(data, bits=bits).codes
        if codes is None:
            continue
        inner = coded(forest, codes)
        ranked = np.array([not codes.is_grid(int(feature)) for feature in inner.features])
        if not inner.leaves or not ranked.any():
            break
        steps = ((inner.sides != 0) & ranked[inner.comparisons]).sum(axis=1)
        on_way = float((reached(inner, codes, data[:512]) @ steps).mean())
        expected = on_way / (1 - LINEAR_SHARE) / 2**bits
        # Values that many samples share, and thresholds at them, are not seen in the distribution.
        if max(expected, undecided(inner, codes, data) / len(data)) <= UNDECIDED_ROWS:
            break
    return tried


def _chains(depth: int, log_n: int, specials: int) -> Iterator[Chain]:
    """Chains of ``depth`` levels from the smallest scale up, special primes as large as fit: they drown what switching
    keys adds.
    """
    for scale in SCALE_BITS if 2 * specials <= depth + 1 else ():
        log_q = (min(MAX_PRIME_BITS, scale + 4), *(scale,) * depth)
        special = min((MAX_LOG_QP[log_n] - sum(log_q)) // specials, SPECIAL_BITS)
        if special > scale:
            yield Chain(log_n, log_q, (special,) * specials, scale - 1, True)
