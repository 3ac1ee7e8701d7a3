"""The one assertion of the backend: the compiled program in the clear, then the encrypted run within its promise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.backend import CkksBackend, CkksCandidate
from tacit.backends.ckks.executor import Executor
from tacit.backends.ckks.layout import ColumnLayout
from tacit.backends.ckks.levels import moduli
from tacit.backends.ckks.owner import Owner
from tacit.backends.ckks.provider import Provider
from tacit.backends.ckks.simulator import Simulator
from tacit.ir.graph import Graph
from tacit.ir.interpret import interpret

__all__ = ["assert_matches_reference", "candidate_of", "simulate"]

FloatArray = npt.NDArray[np.float64]


def candidate_of(
    graph: Graph,
    calibration: FloatArray,
    *,
    layout: str = "latency",
    max_error: float | None = None,
    measured: bool = False,
) -> CkksCandidate:
    """The backend's candidate of one packing."""
    kind = layout == "throughput"
    backend = CkksBackend(measured=measured)
    found = backend.candidates(graph, calibration, batch=64 if kind else 4, max_error=max_error)
    return next(c for c in found if isinstance(c.program.input, ColumnLayout) == kind)


def simulate(candidate: CkksCandidate, x: FloatArray) -> FloatArray:
    """The scores of the compiled program without encryption or noise: (samples, scores)."""
    program, chain = candidate.program, candidate.chain
    simulator = Simulator(chain.log_n, *moduli(chain.log_n, chain.log_q, chain.log_p))
    executor = Executor(program, simulator)
    units = candidate.region.normalise(x.reshape(len(x), -1))

    def run(vectors: list[npt.NDArray[np.float64]]) -> list[npt.NDArray[np.complex128]]:
        inputs = [
            simulator.encrypt(simulator.encode(v, level=program.level, scale=program.scale)) for v in vectors
        ]
        results = executor.run(inputs)
        if program.flag is not None:
            results.pop()
        assert all(ct.level == 0 for ct in results)
        assert all(abs(ct.scale / program.output_scale - 1) < 2**-40 for ct in results)
        if getattr(candidate.model, "measured", None):
            return [
                ct.values for ct in results
            ]  # Their noise is measured: the simulator's bound of it says nothing.
        return [simulator.decrypt(ct) for ct in results]

    if isinstance(program.input, ColumnLayout):
        padded = np.zeros((program.input.samples, program.input.size))
        padded[: len(units)] = units
        slots = np.stack(run(list(program.input.pack(padded)))).astype(complex)
        return candidate.model.unit * program.output.unpack(slots)[: len(units)]
    unit = candidate.model.unit
    return np.stack([unit * program.output.unpack(run([program.input.pack(u)])[0]).real for u in units])


def assert_matches_reference(
    graph: Graph, x: FloatArray, candidate: CkksCandidate, *, encrypted: bool = True
) -> None:
    """Both steps, for samples of the region. The bounds are printed and never 0."""
    part = candidate.part
    inner = graph.subgraph([graph.inputs[0].name], part.cut)
    outputs = interpret(inner, x)
    scores = np.concatenate([outputs[name].reshape(len(x), -1) for name in part.cut], axis=1)
    approximation = float(candidate.model.error.max()) + 1e-9 * max(1.0, float(np.abs(scores).max()))
    difference = float(np.abs(simulate(candidate, x) - scores).max())
    print(f"compiled {difference:.2g} <= {approximation:.2g}")
    assert 0 < approximation < np.inf
    assert difference <= approximation
    if not encrypted:
        return
    provider = Provider(candidate.compile())
    owner = Owner(provider.public_plan())
    provider.load_keys(owner.evaluation_keys())
    clear = interpret(graph, x)
    promised = owner.plan.error_bound
    assert 0 < promised < np.inf
    position = 0
    for chunk in owner.batches(x):
        answer = owner.decrypt(provider.run(owner.encrypt(chunk)))
        part_of_clear = clear[graph.primary][position : position + len(chunk)]
        error = float(np.abs(np.asarray(answer) - part_of_clear).max())
        print(f"encrypted {error:.2g} <= {promised:.2g}")
        assert error <= promised
        position += len(chunk)
