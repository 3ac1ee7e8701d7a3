"""The `ckks` protection: every way to run a graph encrypted that is worth comparing, and its compilation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product
from math import prod

import numpy as np
import numpy.typing as npt

from tacit.backends.base import Cost, Declaration, Sight
from tacit.backends.ckks.bound import NOISY_SAMPLES, sampled_noise, worst_noise
from tacit.backends.ckks.candidate import CkksCandidate, flag_of
from tacit.backends.ckks.costs import predict
from tacit.backends.ckks.envelope import MAX_MESSAGE_BYTES
from tacit.backends.ckks.forest import Forest, import_forest
from tacit.backends.ckks.forest_search import plan_forest
from tacit.backends.ckks.layout import ColumnLayout, power_of_two
from tacit.backends.ckks.levels import MAX_LOG_QP, MAX_SCALE_BITS, Chain, chains, moduli, schedule
from tacit.backends.ckks.machine import INTEL_EMERALD_RAPIDS, Machine
from tacit.backends.ckks.measured import DEPTHS, ERROR_MARGIN, lower_measured
from tacit.backends.ckks.memory import without_maps
from tacit.backends.ckks.noise import TAIL
from tacit.backends.ckks.normal import Model
from tacit.backends.ckks.partition import Partition, partition
from tacit.backends.ckks.program import Program
from tacit.backends.ckks.public import MAX_KEY_BYTES, MAX_LATENCY_BATCH
from tacit.backends.ckks.ranges import Observed, lower, score_range
from tacit.backends.ckks.region import Region, calibrate
from tacit.backends.ckks.tail import tail_gain
from tacit.errors import (
    DataError,
    DepthError,
    InvalidParameterError,
    MemoryLimitError,
    NoAdmissiblePlanError,
    PrecisionError,
    TacitError,
)
from tacit.ir.graph import Graph
from tacit.ir.interpret import interpret

__all__ = ["ASSUMPTIONS", "CkksBackend", "CkksCandidate"]

FloatArray = npt.NDArray[np.float64]

ASSUMPTIONS = (
    "RLWE with a uniform ternary secret and error 3.2 is hard: 128 bit classical, by the table of ia.cr/2024/463",
    "circular security: evaluation keys encrypt parts of the secret key under itself",
    "the provider is semi-honest: it follows the protocol (answers are checked for plausibility, not proven)",
    "IND-CPA only: decrypted answers and their errors must stay with the owner (ia.cr/2020/1533)",
    "no circuit privacy: who holds the secret key may learn about the weights from the noise of many answers",
)
OBSERVED_ASSUMPTION = (
    "ranges of hidden values are those of the calibration data times two or more, not proven for the whole region; a "
    "sample that leaves them raises the range flag and gets no answer, unless it leaves so far that flag or scores "
    "wrap around their moduli and come to lie where they look innocent"
)
MEASURED_ASSUMPTION = (
    "ranges of hidden values and the error of polynomials are measured on calibration data, not proven: the largest "
    f"error of these samples, of which every second one was not used to fit, times {ERROR_MARGIN} is promised for "
    f"samples like them; noise is {TAIL:.0f} deviations of what simulated samples show; a sample for which an argument "
    "of a polynomial leaves its range raises the range flag and gets no answer, unless it leaves so far that flag and "
    "scores wrap around their moduli and come to lie where they look innocent; inside the ranges nothing tells a "
    "sample that is unlike the calibration data"
)
TOLERANCES = (1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3)
"""Errors that are tried in turn when none is asked for, over the range of the calibrated scores."""
APPROXIMATION_SHARE = 0.7
"""Part of the tolerated error that approximations may take; noise gets the rest."""
FEW_SAMPLES = 16
"""Batches below this use latency packing wherever it keeps its promise."""
CALIBRATION_SAMPLES = 4096
SPAN_SAMPLES = 512
REQUESTS_PER_KEYS = 10
"""Requests for which one set of keys is thought to be made, when its bytes are weighed against seconds."""
_ROOM = 3.0
"""Decrypted scores that pass the owner's check are within this many tolerated errors of the sound range of scores."""
FITTED = frozenset({"relu", "pool"})
"""Kinds of functions with which a model may be fitted to calibration data, where no bound can be proven."""
MAX_BYTES_HELD = 1 << 35
"""Columns of one value may take this much memory; packings that would need more are not tried."""
_LEAST_SPREAD = 2.0**-40
"""Of scores, over the largest: below it all weights round to 0, and a result would not depend on what is encrypted."""
_LEAST_NOISE = 2.0**-36
"""Noise of the last rescaling over the largest result: 8 times N/6 units, N = 2^12, of a scale below 2^50 over it."""


class CkksBackend:
    """Homomorphic encryption: the owner encrypts, the provider computes, only the owner can decrypt.

    ``machine``: whose seconds are predicted; ``note``: why it is not the one at hand, shown with the price.
    ``memory_bytes``: largest memory of the provider that a plan may take, as predicted; ``None`` for any.
    ``measured``: whether an error that is measured on the calibration data may be promised where none is proven.
    """

    name = "ckks"

    def __init__(
        self,
        machine: Machine = INTEL_EMERALD_RAPIDS,
        *,
        note: str = "",
        memory_bytes: int | None = None,
        measured: bool = False,
    ) -> None:
        self.machine = machine
        self.note = note
        self.memory_bytes = memory_bytes
        self.measured = measured

    def candidates(
        self,
        graph: Graph,
        calibration: npt.NDArray[np.float64] | None,
        *,
        batch: int = 1,
        max_error: float | None = None,
        threads: int = 1,
    ) -> Sequence[CkksCandidate]:
        """The cheapest chain for each packing.

        Raises ``UnsupportedOpError`` for what does not run encrypted, ``DataError`` without calibration data,
        ``DepthError`` when no secure chain is long enough, ``PrecisionError`` when none is precise enough,
        ``MemoryLimitError`` when none of those fits.
        """
        found = import_forest(graph)
        part = partition(graph) if found is None else found[0]
        if calibration is None:
            raise DataError(
                "`ckks` needs calibration data: without them no error bound can be promised",
                hint="pass `calibration=` (in a shell `--calibration`) some hundred samples like those to come",
            )
        data = np.asarray(calibration, dtype=np.float64).reshape(len(calibration), prod(part.input_shape))
        region = calibrate(data, exact=part.is_exact)
        forest = None if found is None else found[1]
        span = _score_span(graph, part, data)
        low, high = score_range(part, region) if forest is None else forest.score_range()
        largest = float(max(high.max(), -low.min()))
        if forest is None and np.isfinite(largest) and float((high - low).max()) <= _LEAST_SPREAD * largest:
            raise NoAdmissiblePlanError(
                "the answers differ by less than their rounding on the calibrated region: nothing would be encrypted",
                hint="calibrate on data in the units that the model was fitted in",
            )
        room = _ROOM * TOLERANCES[-1] * span
        gain = tail_gain(part.tail, low - room, high + room)
        sources: list[Observed | None] = [None]
        kinks = any(activation.kind in FITTED for activation in part.activations)
        if forest is None and part.activations and (part.is_exact or (kinks and self.measured)):
            sources.append(Observed(data[:CALIBRATION_SAMPLES]))
        if max_error is not None:
            if not np.isfinite(max_error) or max_error <= 0:
                raise InvalidParameterError(
                    f"the 'max_error' parameter must be > 0. Got {max_error} instead."
                )
            tolerance = max_error / gain
            if tolerance > TOLERANCES[-1] * span:
                gain = tail_gain(part.tail, low - _ROOM * tolerance, high + _ROOM * tolerance)
            tolerances: tuple[float, ...] = (max_error / gain,)
        else:
            relatives = TOLERANCES if part.is_exact and forest is None else TOLERANCES[1:]
            tolerances = tuple(relative * span for relative in relatives)
        problem: TacitError | None = None
        for layouts, observed, tolerance in product(_layouts(batch), sources, tolerances):
            try:
                if forest is not None:
                    return self._named(
                        self._fitting(
                            _forest(
                                graph,
                                part,
                                forest,
                                data,
                                gain,
                                tolerance,
                                batch,
                                threads,
                                layouts,
                                self.machine,
                            ),
                            threads,
                        ),
                        data,
                    )
                return self._named(
                    self._search(graph, part, region, gain, tolerance, batch, threads, layouts, observed),
                    data,
                )
            except (PrecisionError, DepthError, MemoryLimitError) as error:
                problem = error
        if kinks and not self.measured and isinstance(problem, PrecisionError | DepthError):
            hint = f"{problem.hint}; or take a bound that is measured and not proven: `measured=True`"
            raise type(problem)(str(problem), hint=hint)
        raise problem or DepthError("no chain was tried")

    def _fitting(self, options: Sequence[CkksCandidate], threads: int) -> list[CkksCandidate]:
        """The options within the limit of memory, with maps encoded for every request where nothing else fits.

        Raises ``MemoryLimitError`` where none of some is.
        """
        limit = self.memory_bytes
        fitting = [o for o in options if limit is None or o.declaration.cost.memory_bytes <= limit]
        if fitting or not options:
            return fitting
        smaller = []
        for o in options:
            leaner = without_maps(o.program, o.chain, o.declaration, o.batch, threads, self.machine)
            smaller.append(replace(o, program=leaner[0], declaration=leaner[1]))
        fitting = [o for o in smaller if limit is None or o.declaration.cost.memory_bytes <= limit]
        if fitting:
            return fitting
        least = min(option.declaration.cost.memory_bytes for option in (*options, *smaller))
        raise MemoryLimitError(
            f"no plan fits into {limit} bytes of the provider's memory: the smallest takes {least}",
            wanted_bytes=least,
            hint="allow more memory, a larger max_error, or fewer samples in a request",
        )

    def _named(self, candidates: Sequence[CkksCandidate], data: FloatArray) -> Sequence[CkksCandidate]:
        """The candidates with the machine that their seconds are of, and the range of the answers in ``data``."""
        facts: dict[str, object] = {
            "machine": str(self.machine),
            **({"machine_note": self.note} if self.note else {}),
        }
        facts["output_span"] = _output_span(candidates[0].graph, candidates[0].part, data)
        return [
            replace(c, declaration=replace(c.declaration, details={**c.declaration.details, **facts}))
            for c in candidates
        ]

    def _search(
        self,
        graph: Graph,
        part: Partition,
        region: Region,
        gain: float,
        tolerance: float,
        batch: int,
        threads: int,
        layouts: tuple[str, ...],
        observed: Observed | None,
    ) -> Sequence[CkksCandidate]:
        """``tolerance``: largest error of the decrypted scores."""
        model = _lowered(part, region, np.inf if part.is_exact else APPROXIMATION_SHARE * tolerance, observed)
        found: list[CkksCandidate] = []
        failures: list[float] = []
        too_large: MemoryLimitError | None = None
        least = _LEAST_NOISE * model.unit * float(model.affines[-1].bound.max())
        if least > tolerance:
            raise PrecisionError(
                f"results may be so large that no error below {least:.2g} can be promised",
                hint="calibrate on a narrower range, or use a shallower model",
            )
        for layout in layouts:
            options = self._layout(
                graph, part, region, gain, model, tolerance, layout, batch, threads, failures, observed
            )
            try:
                if options:
                    found.append(_cheapest(self._fitting(options, threads)))
            except MemoryLimitError as error:
                too_large = error
        if found:
            return found
        if too_large is not None:
            raise too_large
        if not failures:
            raise DepthError(
                f"the model needs {model.depth} levels or more slots than any secure parameter set has",
                hint="use fewer layers, square instead of ReLU, or a larger max_error",
            )
        raise PrecisionError(
            f"no parameter set keeps the error of the scores within {tolerance:.2g}: best was {min(failures):.2g}",
            hint="allow a larger max_error, calibrate on a narrower range, or use a shallower model",
        )

    def _layout(
        self,
        graph: Graph,
        part: Partition,
        region: Region,
        gain: float,
        model: Model,
        tolerance: float,
        layout: str,
        batch: int,
        threads: int,
        failures: list[float],
        observed: Observed | None,
    ) -> list[CkksCandidate]:
        """Candidates of the smallest ring that has any."""
        switches = layout == "latency" or not model.is_affine
        widest = max(power_of_two(size) for size in model.sizes)
        for log_n in MAX_LOG_QP:
            options: list[CkksCandidate] = []
            at_full_scale = False
            if (
                layout == "throughput"
                and max(model.sizes) * (model.depth + 1) << (log_n + 4) > MAX_BYTES_HELD
            ):
                continue
            for chain in chains(model.depth, log_n, switches_keys=switches):
                if layout == "latency" and widest > chain.slots:
                    continue
                if model.watched and not chain.rescale_last:
                    continue
                q, _ = moduli(chain.log_n, chain.log_q, chain.log_p)
                program, noise = _tried(model, chain, layout, region, observed)
                if noise is None:
                    continue
                error = noise + float(model.error.max())
                if error > tolerance:
                    failures.append(error)
                    at_full_scale |= chain.log_scale >= MAX_SCALE_BITS
                    continue
                carried = (
                    program.input.samples
                    if isinstance(program.input, ColumnLayout)
                    else min(batch, MAX_LATENCY_BATCH)
                )
                cost = predict(program, chain, q, batch=carried, threads=threads, machine=self.machine)
                if cost.key_bytes > MAX_KEY_BYTES or cost.bytes_up > MAX_MESSAGE_BYTES:
                    continue
                declaration = _declare(part, chain, program, cost, error * gain, observed, model)
                options.append(
                    CkksCandidate(
                        graph, part, region, model, chain, program, declaration, noise, error, carried
                    )
                )
            # In a larger ring the same scale has more noise: no chain there does what this one cannot.
            if options or at_full_scale:
                return options
        return []


def _layouts(batch: int) -> tuple[tuple[str, ...], ...]:
    """Packings in the order in which they are tried: a request of a few samples has no use for thousands of slots."""
    if batch < FEW_SAMPLES:
        return ("latency",), ("throughput",)
    return (("latency", "throughput"),)


@lru_cache(maxsize=4)
def _lowered(part: Partition, region: Region, tolerance: float, observed: Observed | None) -> Model:
    if observed is None or part.is_exact:
        return lower(part, region, tolerance, observed)
    least = np.inf
    for depths in DEPTHS:
        model = lower_measured(part, region, observed, depths)
        error = float(model.error.max())
        if error <= tolerance:
            return model
        least = min(least, error)
    raise PrecisionError(
        f"functions fitted to the calibration data leave an error of {least:.2g}, more than {tolerance:.2g}",
        hint="allow a larger max_error, or use a shallower model",
    )


@lru_cache(maxsize=12)
def _tried(
    model: Model, chain: Chain, layout: str, region: Region, observed: Observed | None
) -> tuple[Program, float | None]:
    """A program and its noise, ``None`` where values could wrap around a modulus.

    Noise is measured where ranges and errors are, for bounds of it grow with every layer as theirs do.
    """
    q, p = moduli(chain.log_n, chain.log_q, chain.log_p)
    program = schedule(model, chain, q, layout)
    try:
        flag_of(program, chain)
        if model.measured is not None and observed is not None:
            units = region.normalise(observed.samples[:NOISY_SAMPLES])
            return program, model.unit * sampled_noise(program, chain, q, p, units)
        return program, model.unit * worst_noise(program, chain, q, p)
    except PrecisionError:
        return program, None


def _forest(
    graph: Graph,
    part: Partition,
    forest: Forest,
    data: FloatArray,
    gain: float,
    tolerance: float,
    batch: int,
    threads: int,
    layouts: tuple[str, ...],
    machine: Machine,
) -> Sequence[CkksCandidate]:
    """The cheapest chain for each packing of a forest. Raises as ``CkksBackend.candidates`` does."""
    found: list[CkksCandidate] = []
    problem: TacitError | None = None
    for layout in layouts:
        try:
            plans = plan_forest(forest, data, tolerance, layout)
        except (PrecisionError, DepthError) as error:
            problem = error
            continue
        options = []
        for plan in plans:
            chain, program = plan.chain, plan.program
            q, _ = moduli(chain.log_n, chain.log_q, chain.log_p)
            carried = (
                program.input.samples
                if isinstance(program.input, ColumnLayout)
                else min(batch, MAX_LATENCY_BATCH)
            )
            cost = predict(program, chain, q, batch=carried, threads=threads, machine=machine)
            declaration = _declare(part, chain, program, cost, plan.score_error * gain, None, None)
            declaration = replace(
                declaration,
                sights=(
                    *(sight for sight in declaration.sights if sight.what != "calibrated region"),
                    Sight(
                        "calibrated region",
                        ("provider", "owner"),
                        "box, mean, decimals and ranks of the features",
                    ),
                    Sight("doubt", ("owner",), "in how many trees a value was too close to a threshold"),
                ),
                details={
                    **declaration.details,
                    "comparison_margin": plan.margin,
                    "code_digits": sorted(set(plan.region.codes.digits.tolist()))
                    if plan.region.codes
                    else [],
                    "comparisons": len(plan.model.forest.features),
                    "calibration_rows": len(data),
                    "calibration_rows_within_margin": plan.undecided,
                },
            )
            options.append(
                CkksCandidate(
                    graph,
                    part,
                    plan.region,
                    plan.model,
                    chain,
                    program,
                    declaration,
                    plan.noise,
                    plan.score_error,
                    carried,
                    plan.margin,
                )
            )
        found.append(_cheapest(options))
    if not found:
        raise problem or DepthError("no chain was tried")
    return found


def _cheapest(options: Sequence[CkksCandidate]) -> CkksCandidate:
    """The best of some chains; its details name those that are faster, or have smaller keys, at the other's price."""
    carried = [o for o in options if o.declaration.cost.key_bytes <= MAX_KEY_BYTES]
    options = carried or options
    chosen = min(options, key=_seconds_with_bytes)
    cost = chosen.declaration.cost
    others = [
        {"parameters": o.declaration.parameters, "seconds": c.seconds, "key_bytes": c.key_bytes}
        for o in options
        if (c := o.declaration.cost).seconds < cost.seconds or c.key_bytes < cost.key_bytes
    ]
    details = {**chosen.declaration.details, "alternatives": others}
    return replace(chosen, declaration=replace(chosen.declaration, details=details))


def _seconds_with_bytes(candidate: CkksCandidate) -> float:
    """Seconds of a request; a byte counts like one over a 1 Gbit/s network, keys are shared by some requests."""
    cost = candidate.declaration.cost
    return cost.seconds + (cost.bytes_up + cost.bytes_down + cost.key_bytes / REQUESTS_PER_KEYS) / 125e6


def _output_span(graph: Graph, part: Partition, data: FloatArray) -> float:
    """Largest range of a number of the primary output over calibration data."""
    sample = data[:SPAN_SAMPLES].reshape(-1, *part.input_shape)
    values = interpret(graph, sample)[graph.primary].reshape(len(sample), -1)
    return float((values.max(axis=0) - values.min(axis=0)).max())


def _score_span(graph: Graph, part: Partition, data: FloatArray) -> float:
    """Largest range of a score over the calibration data: what relative errors refer to."""
    inner = graph.subgraph([graph.inputs[0].name], part.cut)
    sample = data[:CALIBRATION_SAMPLES].reshape(-1, *part.input_shape)
    outputs = interpret(inner, sample)
    scores = np.concatenate([outputs[name].reshape(len(sample), -1) for name in part.cut], axis=1)
    span = float((scores.max(axis=0) - scores.min(axis=0)).max())
    return span if span > 0 else max(1.0, float(np.abs(scores).max()))


def _assumption(part: Partition) -> str:
    """What a plan with observed ranges rests on."""
    return OBSERVED_ASSUMPTION if part.is_exact else MEASURED_ASSUMPTION


def _measured_facts(model: Model | None) -> dict[str, object]:
    """What a promise that is not proven rests on."""
    found = None if model is None else model.measured
    if found is None:
        return {}
    return {
        "promise": "measured",
        "fitted_samples": found.fitted,
        "fitted_error": found.fitted_error,
        "held_out_samples": found.held_out,
        "held_out_error": found.held_out_error,
    }


def _declare(
    part: Partition,
    chain: Chain,
    program: Program,
    cost: Cost,
    error_bound: float,
    observed: Observed | None,
    model: Model | None,
) -> Declaration:
    tail = [node.op for node in part.tail.nodes]
    note = f"decrypts the scores and applies {', '.join(dict.fromkeys(tail))} itself" if tail else ""
    latency = not isinstance(program.input, ColumnLayout)
    rotations = program.rotations()
    flagged: tuple[Sight, ...] = ()
    if program.flag is not None:
        flagged = (
            Sight("range flag", ("owner",), "how near hidden values came to the ends of their ranges"),
        )
    return Declaration(
        protection="ckks",
        variant="one sample a ciphertext" if latency else "one feature a ciphertext, one sample a slot",
        cost=replace(cost),
        error_bound=error_bound,
        sights=(
            Sight("inputs", ("owner",)),
            Sight("model weights", ("provider",)),
            Sight("model structure", ("provider", "owner"), "depth, sizes and the last functions"),
            Sight("outputs", ("owner",)),
            Sight("scores", ("owner",), note),
            Sight("calibrated region", ("provider", "owner"), "box and mean of the features are in the plan"),
            *flagged,
        ),
        assumptions=ASSUMPTIONS if observed is None else (*ASSUMPTIONS, _assumption(part)),
        parameters=(
            f"N = 2^{chain.log_n}, log QP = {chain.log_qp} of {MAX_LOG_QP[chain.log_n]}, "
            f"{len(chain.log_q)} + {len(chain.log_p)} primes, {len(rotations)} rotation keys"
        ),
        details={
            "log_n": chain.log_n,
            "log_q": list(chain.log_q),
            "log_p": list(chain.log_p),
            "log_scale": chain.log_scale,
            "rotations": len(rotations),
            "relinearize": program.relinearize() is not None,
            "owner_tail": tail,
            **_measured_facts(model),
        },
    )
