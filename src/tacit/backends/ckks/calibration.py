"""Measures a machine: operations of the native core at a few sizes, and the rates that explain their times best.

Every time is the best of some repetitions, so that neighbours on the machine hardly count. Rates are the non-negative
least squares of relative errors (Lawson and Hanson, 1974, chapter 23); sizes of caches are those that fit best.
"""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from math import log, sqrt
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from tacit import _native
from tacit._native import Ciphertext, EvaluationKeys, Evaluator, LinearMap, Parameters, SecretKey, cpu_path
from tacit.backends.ckks.envelope import open_envelope, seal
from tacit.backends.ckks.machine import Machine, Rates
from tacit.backends.ckks.work import QUANTITIES, Caches, Shape, Work

__all__ = ["POINTS", "Point", "Sample", "core_id", "cpu_name", "fit", "measure"]

FloatArray = npt.NDArray[np.float64]
Clock = Callable[[], float]
Progress = Callable[[str, float], None]
Count = Callable[[Shape], Work]


@dataclass(frozen=True)
class Point:
    """Sizes at which operations are timed. ``babies``, ``giants``: steps of the linear map, the first of each at rest.

    Keys of a few megabytes are cycled through, as programs do, so that they come from where theirs come from.
    """

    log_n: int
    rows: int
    specials: int
    babies: int
    giants: int


POINTS = (
    Point(12, 2, 1, 8, 3),
    Point(13, 4, 1, 8, 3),
    Point(14, 4, 2, 4, 3),
    Point(14, 7, 2, 8, 3),
    Point(15, 6, 2, 4, 2),
    Point(15, 11, 3, 8, 2),
    Point(15, 16, 2, 2, 2),
    Point(16, 8, 3, 4, 2),
)
"""Rings and levels of the programs that are compiled most, the smallest first."""
COLUMNS = 16
"""Operands of the linear combinations that are timed."""
BUDGET_S = 0.01
"""Time given to one operation, and at least ``LEAST`` repetitions."""
LEAST = 3
TURNS = 2
"""Times that all points are gone through: a processor that is slower for a second is not slower in all of them."""
MINOR = 0.4
"""Weight of operations that programs spend little time in."""
NEAR_WORDS = (1 << 16, 1 << 17, 1 << 18)
SHARED_WORDS = (1 << 20, 1 << 21, 1 << 22, 1 << 23)
"""Sizes of caches that are tried."""
ROUNDS = 6
"""Of reweighting, which makes twice as long and half as long count the same."""
FIRST_MESSAGE = QUANTITIES.index("packed")
"""Quantities from here on are those of one thread, whatever the number of threads."""


@dataclass(frozen=True)
class Sample:
    """One operation, timed. ``count``: its work at a shape; ``resident``: words that repetitions went through."""

    shape: Shape
    count: Count
    seconds: float
    weight: float = 1.0

    def work(self, caches: Caches) -> Work:
        return self.count(replace(self.shape, caches=caches))


def measure(
    *,
    threads: int,
    today: str,
    points: Sequence[Point] = POINTS,
    progress: Progress = lambda phase, done: None,
    clock: Clock = time.perf_counter,
) -> Machine:
    """The rates of this machine with one thread and with ``threads``; a few seconds. ``today``: for its origin."""
    turns: list[list[Sample]] = []
    counts = (1,) if threads == 1 else (1, threads)
    for turn in range(TURNS):
        turns.append([])
        for done, point in enumerate(points):
            part = (turn + done / len(points)) / TURNS
            progress(f"measure operations at N = 2^{point.log_n}", part)
            turns[turn] += _samples(point, counts, clock)
    samples = [min(same, key=lambda sample: sample.seconds) for same in zip(*turns, strict=True)]
    progress("fit", 1.0)
    caches, rates, error = fit(samples, counts)
    return Machine(
        cpu=cpu_name(),
        cpu_path=cpu_path(),
        core=core_id(),
        origin=f"measured {today}, operations within {100 * error:.0f} %",
        caches=caches,
        message_s=_message_seconds(clock),
        rates=rates,
    )


def fit(samples: Sequence[Sample], counts: Sequence[int]) -> tuple[Caches, tuple[Rates, ...], float]:
    """Sizes of caches, rates for every number of threads, and the root mean square of relative errors that is left."""
    best: tuple[float, Caches, tuple[Rates, ...]] | None = None
    for near, shared in product(NEAR_WORDS, SHARED_WORDS):
        caches = Caches(near, shared)
        found: list[Rates] = []
        errors: list[float] = []
        for threads in counts:
            rates, error = _fitted(samples, threads, caches, found[0].seconds if found else None)
            found.append(rates)
            errors.append(error)
        total = sqrt(sum(error**2 for error in errors) / len(errors))
        if best is None or total < best[0]:
            best = total, caches, tuple(found)
    if best is None:
        raise ValueError("there is no size of a cache to try")
    return best[1], best[2], best[0]


@cache
def core_id() -> str:
    """Names the build of the native core: other builds take other times."""
    try:
        data = Path(_native.__file__).read_bytes()
    except OSError:
        return "unknown"
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def cpu_name() -> str:
    """The model name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration, IndexError):
        name = platform.processor()
    return name[:200] or platform.machine() or "unknown processor"


def _fitted(
    samples: Sequence[Sample], threads: int, caches: Caches, single: Sequence[float] | None
) -> tuple[Rates, float]:
    """``single``: rates of one thread, from which those of messages are taken."""
    own = [sample for sample in samples if sample.shape.threads == threads]
    amounts = np.array([sample.work(caches).amounts() for sample in own])
    seconds = np.array([sample.seconds for sample in own])
    base = np.array([sample.weight for sample in own])
    if single is not None:
        amounts[:, FIRST_MESSAGE:] = 0.0
    weights = base / seconds
    rates = np.zeros(len(QUANTITIES))
    for _ in range(ROUNDS):
        rates, _ = nnls(amounts * weights[:, None], seconds * weights)
        expected = np.maximum(amounts @ rates, 0.1 * seconds)
        weights = base / np.sqrt(seconds * expected)
    if single is not None:
        rates[FIRST_MESSAGE:] = single[FIRST_MESSAGE:]
    relative = [w * log(e / s) for w, e, s in zip(base, expected, seconds, strict=True)]
    error = sqrt(sum(r * r for r in relative) / sum(base * base))
    return Rates(threads, tuple(float(rate) for rate in rates)), error


def _best(call: Callable[[], object], clock: Clock) -> float:
    """Seconds of the fastest of some calls, after one that does not count."""
    call()
    fastest, repetitions = float("inf"), 0
    end = clock() + BUDGET_S
    while repetitions < LEAST or clock() < end:
        start = clock()
        call()
        fastest = min(fastest, clock() - start)
        repetitions += 1
    return max(fastest, 1e-9)


def _samples(point: Point, counts: Sequence[int], clock: Clock) -> Iterator[Sample]:
    """Every operation at one point, for each number of threads."""
    level = point.rows - 1
    special_bits = 48 if point.log_n > 12 else 38
    params = Parameters.from_literal(
        point.log_n, [34] * point.rows, [special_bits] * point.specials, log_scale=30
    )
    secret = SecretKey.generate(params)
    rotations = [*range(1, point.babies), *(point.babies * i for i in range(1, point.giants))]
    keys = secret.evaluation_keys(
        rotations=dict.fromkeys(rotations, level), relinearize=level, threads=max(counts)
    )
    values = np.linspace(-1.0, 1.0, params.slots)
    plain = params.encode(values)
    for threads in counts:
        shape = Shape(point.log_n, point.rows, point.specials, threads, Caches(1, 1))
        run = Evaluator(params, keys, threads=threads)
        a = run.drop_level(secret.encrypt(plain), level)
        yield from _switches(shape, run, a, rotations, clock)
        yield from _maps(shape, run, params, a, values, point, clock)
        light: tuple[tuple[Callable[[], object], Count], ...] = (
            (partial(run.rescale, a), Shape.rescale),
            (partial(run.add, a, a), Shape.sum),
            (partial(run.add_plain, a, plain), Shape.sum_with_plain),
        )
        for call, count in light:
            yield Sample(shape, count, _best(call, clock), MINOR)
        if threads == 1:
            yield from _messages(shape, params, secret, a, clock)


def _switches(
    shape: Shape, run: Evaluator, a: Ciphertext, rotations: Sequence[int], clock: Clock
) -> Iterator[Sample]:
    turn = 0

    def rotate() -> None:
        nonlocal turn
        turn += 1
        run.rotate(a, rotations[turn % len(rotations)])

    words = float(len(rotations) * shape.key_words)
    yield Sample(
        shape,
        lambda s: replace(s, resident=words).key_switch(product=False),
        _best(rotate, clock),
    )
    yield Sample(
        shape, lambda s: s.key_switch(product=True), _best(lambda: run.square_relin_rescale(a), clock)
    )


def _maps(
    shape: Shape,
    run: Evaluator,
    params: Parameters,
    a: Ciphertext,
    values: FloatArray,
    point: Point,
    clock: Clock,
) -> Iterator[Sample]:
    for babies, giants in ((point.babies, 1), (point.babies, point.giants)):
        places = [point.babies * i + j for i in range(giants) for j in range(babies)]
        made = LinearMap(
            params, dict.fromkeys(places, values), level=a.level, scale=2.0**8, baby=point.babies
        )

        def count(s: Shape, diagonals: int = len(places), b: int = babies - 1, g: int = giants - 1) -> Work:
            return s.linear(diagonals=diagonals, babies=b, giants=g, rescaled=False)

        yield Sample(
            shape,
            count,
            _best(partial(run.linear, a, made, rescale=False), clock),
        )
    columns = [run.add(a, a) for _ in range(COLUMNS)]
    for outputs in (1, COLUMNS // 2):
        weights = np.full((outputs, COLUMNS), 0.5)

        def combined(s: Shape, outputs: int = outputs) -> Work:
            return s.combinations(inputs=COLUMNS, outputs=outputs)

        yield Sample(
            shape,
            combined,
            _best(partial(run.linear_combinations, columns, weights, scale=2.0**8), clock),
        )


def _messages(
    shape: Shape, params: Parameters, secret: SecretKey, a: Ciphertext, clock: Clock
) -> Iterator[Sample]:
    """Encoding, encryption, keys and their binary forms, on one thread."""
    level = shape.rows - 1
    values = np.linspace(-1.0, 1.0, params.slots)
    plain = params.encode(values)
    fresh = secret.encrypt(plain)
    low = Evaluator(params).drop_level(a, 0)
    one_row = replace(shape, rows=1)
    key = secret.evaluation_keys(rotations={1: level})
    decrypted = secret.decrypt(low)
    request, response, message = fresh.to_bytes(), low.to_bytes(), key.to_bytes()
    calls: tuple[tuple[Shape, Count, Callable[[], object]], ...] = (
        (shape, lambda s: s.read(seeded=True), lambda: Ciphertext.from_bytes(params, request)),
        (shape, lambda s: s.write(seeded=True), fresh.to_bytes),
        (one_row, lambda s: s.read(seeded=False), lambda: Ciphertext.from_bytes(params, response)),
        (one_row, lambda s: s.write(seeded=False), low.to_bytes),
        (shape, Shape.encode, lambda: params.encode(values)),
        (shape, Shape.encrypt, lambda: secret.encrypt(plain)),
        (one_row, Shape.decrypt, lambda: secret.decrypt(low)),
        (one_row, Shape.decode, lambda: params.decode(decrypted)),
        (shape, Shape.make_key, lambda: secret.evaluation_keys(rotations={1: level})),
        (shape, Shape.write_key, key.to_bytes),
        (shape, Shape.read_key, lambda: EvaluationKeys.from_bytes(params, message)),
    )
    for own, count, call in calls:
        yield Sample(own, count, _best(call, clock), MINOR)


def _message_seconds(clock: Clock) -> float:
    """Opening a request and sealing a response, without what they carry."""
    names = {"plan": bytes(32), "key": bytes(16), "id": bytes(16)}
    request = seal("request", {**names, "ciphertexts": [bytes(5000)]})

    def answer() -> bytes:
        open_envelope(request, "request")
        return seal("response", {**names, "ciphertexts": [bytes(5000)]})

    return _best(answer, clock)
