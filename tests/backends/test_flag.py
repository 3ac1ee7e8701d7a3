"""The range flag: what it is, when it is up, and that no answer passes it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tacit.backends.ckks.backend import OBSERVED_ASSUMPTION, CkksCandidate
from tacit.backends.ckks.compiled import Compiled
from tacit.backends.ckks.envelope import open_envelope, seal
from tacit.backends.ckks.layout import ReplicatedLayout
from tacit.backends.ckks.owner import Owner
from tacit.backends.ckks.partition import Activation
from tacit.backends.ckks.program import fold_steps
from tacit.backends.ckks.provider import Provider
from tacit.backends.ckks.public import PublicPlan
from tacit.backends.ckks.scores import read_columns, read_packed
from tacit.backends.ckks.simulation import Simulation
from tacit.backends.ckks.simulator import SimulatedCiphertext, Simulator
from tacit.errors import HiddenRangeError, MalformedMessageError, PrecisionError
from tacit.ir.interpret import interpret
from tests.backends.dense import dense, samples
from tests.backends.reference import candidate_of

GRAPH = dense((8, 6, 6, 6, 3), "square")
X = samples(200, 8)


@pytest.fixture(scope="module", params=["latency", "throughput"])
def candidate(request: pytest.FixtureRequest) -> CkksCandidate:
    return candidate_of(GRAPH, X, layout=request.param, max_error=1e-2)


@pytest.fixture(scope="module")
def roles(candidate: CkksCandidate) -> tuple[Provider, Owner]:
    """From the stored form, which must hold what the flag needs."""
    provider = Provider(Compiled.from_bytes(candidate.compile().to_bytes()))
    owner = Owner(provider.public_plan())
    provider.load_keys(owner.evaluation_keys())
    return provider, owner


def hidden(candidate: CkksCandidate, x: np.ndarray) -> list[np.ndarray]:
    """Of each watched value (elements, samples) in units of its range, from the graph's own maps in float64."""
    part, model = candidate.part, candidate.model
    exact, units = [x.T], [candidate.region.normalise(x).T]
    for node, held in zip(part.nodes, model.nodes, strict=True):
        if isinstance(node, Activation):
            exact.append(node.function(*(exact[read] for read in node.reads)))
            units.append(units[held.reads[0]] ** 2)
            continue
        reads = zip(node.reads, node.matrices, strict=True)
        exact.append(sum(matrix @ exact[read] for read, matrix in reads) + node.bias[:, None])
        reads = zip(held.reads, held.matrices, strict=True)
        units.append(sum(matrix @ units[read] for read, matrix in reads) + held.bias[:, None])
        ratio = exact[-1] / units[-1]
        assert np.allclose(ratio, np.median(ratio, axis=1, keepdims=True), rtol=1e-6), (
            "units are fixed multiples"
        )
    return [units[watch.value] for watch in model.watched]


def flags(candidate: CkksCandidate, x: np.ndarray) -> np.ndarray:
    return sum(
        (values ** (2**watch.squarings)).sum(axis=0) / watch.energy
        for values, watch in zip(hidden(candidate, x), candidate.model.watched, strict=True)
    )


def test_the_plan_says_what_it_watches(candidate: CkksCandidate) -> None:
    assert OBSERVED_ASSUMPTION in candidate.declaration.assumptions
    assert "range flag" in {sight.what for sight in candidate.declaration.sights}
    plan = candidate.compile().public
    assert PublicPlan.from_bytes(plan.to_bytes()).flag == plan.flag
    assert 0.5 <= plan.flag.limit < 1
    assert len(candidate.model.watched) == 3


def test_proven_ranges_need_no_flag() -> None:
    assert candidate_of(dense((8, 6, 3), "square"), X).compile().public.flag is None


def test_calibration_samples_are_calm(candidate: CkksCandidate) -> None:
    assert 0 < flags(candidate, X).max() <= 0.5


def test_the_flag_is_the_sum_of_powers(
    candidate: CkksCandidate, roles: tuple[Provider, Owner], monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, owner = roles
    seen: list[np.ndarray] = []
    read = owner._slots

    def keep(part: bytes, scale: float) -> np.ndarray:
        seen.append(read(part, scale))
        return seen[-1]

    monkeypatch.setattr(owner, "_slots", keep)
    x = X[:3]
    for chunk in owner.batches(x):
        owner.decrypt(provider.run(owner.encrypt(chunk)))
    is_packed = candidate.layout == "latency"
    raised = np.stack(seen[:3])[:, 0].real if is_packed else seen[0][:3].real
    wanted = flags(candidate, x)
    print(f"{np.abs(raised - wanted).max():.2g} <= {owner.plan.flag.noise:.2g}")
    assert 0 < owner.plan.flag.noise < 0.5
    assert np.abs(raised - wanted).max() <= owner.plan.flag.noise


def test_no_value_leaves_its_range_unseen(candidate: CkksCandidate) -> None:
    """Many samples of the region, simulated: marked exactly where the flag is up, and always beyond a range."""
    region = candidate.region
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, (4000, 8)) * rng.uniform(0.5, 2, (4000, 1))
    x = x[np.abs(x - region.centre).max(axis=1) <= region.radius.min()]
    x = x[np.linalg.norm((x - region.mean) / region.radius, axis=1) <= region.ball]
    reached = zip(hidden(candidate, x), candidate.model.watched, strict=True)
    beyond = np.any(
        [(np.abs(v) > w.energy**0.5 ** (w.squarings == 1)).any(axis=0) for v, w in reached], axis=0
    )
    answer = Simulation(candidate.compile(), seed=0).predict(x, strict=False)
    assert 20 < beyond.sum() < len(x) / 2
    assert not answer.within_bound[beyond].any()
    clear = interpret(GRAPH, x)[GRAPH.primary]
    usual = ((clear >= candidate.model.low) & (clear <= candidate.model.high)).all(axis=1)
    assert answer.within_bound[usual & (flags(candidate, x) < 0.8)].all()
    kept = answer.within_bound
    assert np.abs(np.asarray(answer) - clear)[kept].max() <= answer.report.error_bound


def test_a_flag_with_an_imaginary_part_is_not_plausible(candidate: CkksCandidate) -> None:
    """Powers of real values are real but for noise: what is not was never made by the program."""
    plan = candidate.compile().public
    assert plan.flag is not None
    middle = (plan.low + plan.high) / 2
    flags = np.array([0.1, 0.1 + 1j * plan.flag.limit / 2, 0.1 + 2j * plan.flag.limit])
    scores = np.tile(middle, (3, 1))
    if isinstance(plan.output, ReplicatedLayout):
        period = np.zeros((3, plan.output.period), dtype=complex)
        period[:, : plan.output.size] = scores
        read = read_packed(plan, np.tile(period, 2), np.repeat(flags[:, None], 4, axis=1))
    else:
        read = read_columns(plan, scores, np.zeros_like(scores), flags)
    assert read.inside.all() and read.plausible.tolist() == [True, True, False]


def test_a_raised_flag_gives_no_number(candidate: CkksCandidate, roles: tuple[Provider, Owner]) -> None:
    provider, owner = roles
    x = X[[0, 1]].copy()
    x[1] *= owner.plan.region.ball / np.linalg.norm(
        (x[1] - owner.plan.region.mean) / owner.plan.region.radius
    )
    x[1] = np.clip(x[1], *(owner.plan.region.centre + side * owner.plan.region.radius for side in (-1, 1)))
    assert flags(candidate, x)[1] > 1
    response = provider.run(owner.encrypt(x))
    with pytest.raises(HiddenRangeError, match="of 1 of 2 samples") as caught:
        owner.decrypt(response)
    assert "recalibrate" in caught.value.hint
    answer = owner.decrypt(response, strict=False)
    assert answer.within_bound.tolist() == [True, False]
    assert answer.report.samples_out_of_bound == 1
    with pytest.raises(HiddenRangeError):
        Simulation(candidate.compile(), seed=0).predict(x)


def test_a_response_without_its_flag_is_refused(roles: tuple[Provider, Owner]) -> None:
    provider, owner = roles
    response = provider.run(owner.encrypt(X[:1]))
    fields = open_envelope(response, "response")
    with pytest.raises(MalformedMessageError):
        owner.decrypt(seal("response", {**fields, "ciphertexts": fields["ciphertexts"][:-1]}))


def test_a_flag_that_no_honest_run_makes_is_refused(roles: tuple[Provider, Owner]) -> None:
    provider, owner = roles
    response = provider.run(owner.encrypt(X[:1]))
    plan = owner.plan
    owner.plan = replace(plan, flag=replace(plan.flag, noise=1e-12))
    object.__setattr__(owner.plan, "plan_id", plan.plan_id)
    try:
        if plan.layout == "latency":
            with pytest.raises(PrecisionError, match="fails its checks"):
                owner.decrypt(response)
    finally:
        owner.plan = plan
    owner.decrypt(response)


def test_energy_bounds_the_noise_of_squares() -> None:
    """Arguments beyond 1 whose squares add up to the energy: the worst signs and sizes stay within the bound."""
    rng = np.random.default_rng(0)
    slots, energy, std = 8, 5.0, 1e-4
    noise = rng.uniform(0.2, 1, slots) * std
    weights = rng.normal(size=slots)
    q = [float(2**40 + 1), float(2**40 + 3), float(2**40 + 5)]
    worst = Simulator(4, q, [float(2**45)], worst_case=True)
    exact = SimulatedCiphertext(np.ones(slots), np.zeros(slots), noise, 2, 2.0**40)
    square = replace(
        worst.square_relin_rescale(worst.quiet(exact)), noise=np.zeros(slots), shared=np.zeros(slots)
    )
    made = worst.note_energy(square, exact, energy)
    spread = np.sqrt(np.sum((weights * made.noise) ** 2)) + np.abs(weights) @ made.shared
    values = weights * noise
    values *= np.sqrt(energy) / np.linalg.norm(values)
    error = np.abs(weights) @ np.abs((np.abs(values) + noise) ** 2 - values**2)
    print(f"{error:.3g} <= {spread:.3g}")
    assert 0.9 * spread < error <= spread
    assert (made.values == energy).all()


def test_folds_add_up_everything() -> None:
    assert fold_steps(16, 1) == (8, 4, 2, 1)
    assert fold_steps(16, 4) == (8, 4)
    assert fold_steps(4, 4) == ()
