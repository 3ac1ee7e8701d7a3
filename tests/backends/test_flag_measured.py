"""The range flag of plans that are fitted to calibration data: it watches the arguments of every polynomial."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tacit._native import SecretKey
from tacit.backends.ckks.backend import MEASURED_ASSUMPTION, CkksCandidate
from tacit.backends.ckks.compiled import Compiled
from tacit.backends.ckks.flag import MEETING, raise_flag
from tacit.backends.ckks.measured import CALM
from tacit.backends.ckks.normal import Watch
from tacit.backends.ckks.owner import Owner
from tacit.backends.ckks.program import FlagStage
from tacit.backends.ckks.provider import Provider
from tacit.backends.ckks.regression import FAMILIES, round_values, watched_reaches
from tacit.backends.ckks.ridge import Ridge, RidgeRound, RidgeStage, Term
from tacit.backends.ckks.sampled import SampledCiphertext, SampledEngine
from tacit.backends.ckks.simulation import Simulation
from tacit.errors import HiddenRangeError, MalformedMessageError, PrecisionError
from tacit.ir.interpret import interpret
from tests.backends.reference import candidate_of
from tests.backends.test_maximum import images, pools

GRAPH = pools(blocks=2)
X = np.random.default_rng(4).uniform(-1, 1, (400, 1, 1, 1)) + images(GRAPH, 400) / 10


@pytest.fixture(scope="module")
def packed() -> CkksCandidate:
    return candidate_of(GRAPH, X, max_error=0.25, measured=True)


@pytest.fixture(scope="module", params=["latency", "throughput"])
def candidate(request: pytest.FixtureRequest, packed: CkksCandidate) -> CkksCandidate:
    if request.param == "latency":
        return packed
    return candidate_of(GRAPH, X, layout="throughput", max_error=0.25, measured=True)


def flags(candidate: CkksCandidate, x: np.ndarray) -> np.ndarray:
    """(samples,) as the owner would decrypt them, noise included."""
    found: list[np.ndarray] = []
    simulation = Simulation(candidate.compile(), seed=0)
    read = simulation.engine.decrypt

    def keep(ct: SampledCiphertext, *, width: int = 1) -> np.ndarray:
        values = read(ct, width=width)
        found.append(values)
        return values

    simulation.engine.decrypt = keep
    simulation.chunk = len(x)
    simulation.predict(x, strict=False)
    # The flag is decrypted before the scores.
    return found[0][0].real


def largest_argument(candidate: CkksCandidate, x: np.ndarray) -> np.ndarray:
    """(samples,) of any argument that results need over its reach, from the model's own maps and rounds in float64."""
    units = [candidate.region.normalise(x.reshape(len(x), -1)).T]
    found = np.zeros(len(x))
    for node in candidate.model.nodes:
        value = units[node.reads[0]]
        if isinstance(node, Ridge):
            for turn, columns in zip(node.rounds, node.columns, strict=True):
                parts = [value[list(places)] for places in zip(*columns, strict=True)]
                for term in (term for term in turn.terms if term.reach):
                    for place in term.places:
                        cut = zip(term.weights, parts[place : place + len(term.weights)], strict=True)
                        form = np.abs(sum(w * e for w, e in cut)).max(axis=0)
                        found = np.fmax(found, np.nan_to_num(form / term.reach, nan=np.inf))
                with np.errstate(over="ignore", invalid="ignore"):
                    value = round_values(turn, parts)
            units.append(value)
        else:
            units.append(node.matrices[0] @ value + node.bias[:, None])
    return found


def steep(candidate: CkksCandidate) -> np.ndarray:
    """(100, 1, 10, 10) from the region's mean to its rim, along the signs of a filter all over.

    Calibration samples are nearly constant over the image, so that such a sample makes hidden values that none has.
    """
    region = candidate.region
    kernel = next(value for value in GRAPH.constants.values() if value.shape == (2, 1, 3, 3))[0, 0]
    way = np.sign(np.tile(kernel, (4, 4))[:10, :10]).reshape(-1) * region.radius
    rim = np.where(
        way > 0, region.centre + region.radius - region.mean, region.centre - region.radius - region.mean
    )
    rim = rim * min(1.0, region.ball / float(np.linalg.norm(rim / region.radius)))
    found: np.ndarray = region.mean + np.linspace(0, 0.999, 100)[:, None] * rim
    region.check(found)
    return found.reshape(-1, 1, 10, 10)


def beyond(candidate: CkksCandidate) -> np.ndarray:
    """The first of these with a flag that is surely up, and that does not wrap."""
    x = steep(candidate)
    found = flags(candidate, x)
    first = int(np.flatnonzero(found > 3)[0])
    assert found[first] < 200
    return x[first : first + 1]


def test_the_plan_says_what_it_watches(candidate: CkksCandidate) -> None:
    declaration, model = candidate.declaration, candidate.model
    assert MEASURED_ASSUMPTION in declaration.assumptions
    assert "range flag" in {sight.what for sight in declaration.sights}
    rounds = [
        (made, turn)
        for made, node in enumerate(model.nodes, start=1)
        if isinstance(node, Ridge)
        for turn in range(len(node.rounds))
    ]
    assert len(rounds) == 4
    assert [(watch.value, watch.turn) for watch in model.watched] == rounds
    assert all(watch.energy == 1 and watch.squarings >= 3 for watch in model.watched)
    again = Compiled.from_bytes(candidate.compile().to_bytes())
    assert again.model.watched == model.watched
    assert again.public.flag is not None and again.public.is_measured


def test_calibration_samples_are_calm(candidate: CkksCandidate) -> None:
    found, noise = flags(candidate, X), candidate.compile().public.flag.noise
    print(f"{found.max():.2g} <= {CALM} + {noise:.2g}")
    assert found.max() <= CALM + noise
    assert Simulation(candidate.compile(), seed=1).predict(X).within_bound.all()


def test_a_hidden_value_out_of_its_range_gives_no_number(packed: CkksCandidate) -> None:
    x = np.concatenate([X[:1], beyond(packed), steep(packed)[-1:]])
    provider = Provider(Compiled.from_bytes(packed.compile().to_bytes()))
    owner = Owner(provider.public_plan())
    # What wraps is a number by chance, and one in a million looks innocent: the same one in every run does not.
    owner._secret = SecretKey.insecure_from_seed(owner._params, bytes(32))
    provider.load_keys(owner.evaluation_keys())
    response = provider.run(owner.encrypt(x[:2]))
    with pytest.raises(HiddenRangeError, match="of 1 of 2 samples") as caught:
        owner.decrypt(response)
    assert "recalibrate" in (caught.value.hint or "")
    answer = owner.decrypt(response, strict=False)
    assert answer.within_bound.tolist() == [True, False]
    clear = interpret(GRAPH, x[:1])[GRAPH.primary]
    assert np.abs(np.asarray(answer)[0] - clear[0]).max() <= answer.report.error_bound
    # So far out that values wrap: whichever check it is that finds it.
    response = provider.run(owner.encrypt(x[2:]))
    with pytest.raises(PrecisionError):
        owner.decrypt(response)


def test_simulated_samples_out_of_range_give_no_number(candidate: CkksCandidate) -> None:
    x = np.concatenate([X[:1], beyond(candidate), steep(candidate)[-1:]])
    simulated = Simulation(candidate.compile(), seed=0)
    with pytest.raises(HiddenRangeError, match="of 2 of 3"):
        simulated.predict(x)
    assert simulated.predict(x, strict=False).within_bound.tolist() == [True, False, False]


def test_marks_are_where_arguments_leave_their_ranges(candidate: CkksCandidate) -> None:
    """From the middle to the rim: whatever is refused is beyond, or a few hundredths from it, and what is beyond is."""
    x = steep(candidate)
    answer = Simulation(candidate.compile(), seed=0).predict(x, strict=False)
    reached = largest_argument(candidate, x)
    assert (reached > 1).sum() > 10
    assert not answer.within_bound[reached > 1].any()
    assert answer.within_bound[reached < 0.7].all()


@pytest.mark.parametrize("reach", [0.26, 0.51, 0.77, 0.98, 1.0])
@pytest.mark.parametrize("squarings", [3, 4, 5])
@pytest.mark.parametrize("columns", [False, True])
def test_one_argument_beyond_its_reach_raises_the_flag(squarings: int, columns: bool, reach: float) -> None:
    """Whatever the scales of the forms that it meets, and not far inside of its reach."""
    parts = np.array([1.01, 0.7])
    terms = tuple(
        Term(weights, (0,), 1.0, (0.0, 0.0, 1.0), 1.0, own)
        for weights, own in (((1, 1), reach), ((1, -1), 0.6), ((2, -2), 1.0))
    )
    engine = SampledEngine(12, [2.0**33, *[2.0**30] * 7], [2.0**48], random=np.random.default_rng(squarings))
    groups, span = (((0, 1),), 1) if columns else ((), 4)
    round_stage = RidgeStage(RidgeRound((0, 1), 2, terms, 0.0, 0.0, 1.0), 6, 2.0**30, 1, groups, 1.0)
    stage = FlagStage((squarings,), (1.0,), (span,), 4, 2.0**20, (round_stage,))
    # All elements are equal: differences are nothing, and the sum is a hundredth beyond its reach, or well inside.
    half = reach * parts / 2
    columns_of = [SampledCiphertext(half[None], 6, 2.0**30) for _ in range(2)]
    slots = [SampledCiphertext(np.stack([half] * 4), 6, 2.0**30)]
    result = SampledCiphertext(np.zeros((1, 2)), 0, 2.0**30)
    made = raise_flag(engine, stage, [[result], columns_of if columns else slots])
    loud, calm = engine.decrypt(made[-1])[0]
    times = 1 if columns else 4
    meeting = (1 + 1 / MEETING) ** 2 ** (squarings - 3)
    exact = times * parts**2**squarings
    assert loud > 1
    assert (0.99 * exact - 0.01 <= [loud, calm]).all()
    assert ([loud, calm] <= meeting * exact * 1.01 + 0.01).all()


def test_watches_that_fit_no_round_are_refused(candidate: CkksCandidate) -> None:
    compiled = candidate.compile()
    first = compiled.model.watched[0]
    for watch in (
        replace(first, turn=2),
        replace(first, turn=-1),
        replace(first, squarings=2),
        replace(first, squarings=40),
        Watch(1, 40),
        Watch(1, 3, turn=0),
    ):
        bad = replace(compiled, model=replace(compiled.model, watched=(watch,)))
        with pytest.raises(MalformedMessageError):
            Compiled.from_bytes(bad.to_bytes())


@pytest.mark.parametrize(
    ("count", "rectified", "reaches"),
    [
        (2, False, [1.0]),
        (2, True, [0.5, 0.5, 0.99, 1.0]),
        (2, True, [0.9, 0.2, 0.5, 1.0]),
        (3, False, [0.61, 1.0]),
        (3, True, [0.323, 0.426, 0.753, 0.751, 1.0]),
        (3, True, [1.0, 0.1, 0.1, 0.2, 0.3]),
    ],
)
def test_what_is_not_watched_cannot_leave_its_range(
    count: int, rectified: bool, reaches: list[float]
) -> None:
    watched = watched_reaches(count, rectified, reaches)
    assert 0 < sum(w < np.inf for w in watched) <= len(reaches)
    assert all(w == np.inf or reach / 1.2 <= w <= reach for w, reach in zip(watched, reaches, strict=True))
    points = np.random.default_rng(0).normal(size=(count, 200_000))
    size, most = np.zeros(points.shape[1]), np.zeros(points.shape[1])
    for family, reach, limit in zip(FAMILIES[count, rectified], reaches, watched, strict=True):
        for weights, places in family.forms:
            for place in places:
                form = np.abs(np.array(weights) @ points[place : place + len(weights)])
                size, most = np.maximum(size, form / limit), np.maximum(most, form / reach)
    # Points on the rim of what the watched forms admit.
    assert (most / size).max() <= 1 + 1e-6
