"""Which moduli a program runs on: the search over chains, and the level and scale of every plaintext.

Plaintexts are encoded at the scale of the prime that the following rescale drops, corrected so that every linear map
ends at the nominal scale: scales stay exact, with no drift to allow for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.layout import ColumnLayout, ReplicatedLayout, WindowLayout
from tacit.backends.ckks.placement import place
from tacit.backends.ckks.program import (
    ColumnStage,
    MapStage,
    PolynomialStage,
    Program,
    SquareStage,
    Stage,
)
from tacit.backends.ckks.ranges import Model
from tacit.errors import DepthError

__all__ = ["MAX_LOG_QP", "Chain", "chains", "moduli", "schedule"]

FloatArray = npt.NDArray[np.float64]

MAX_LOG_QP = {12: 106, 13: 214, 14: 430, 15: 868, 16: 1747}
"""log2(QP) at 128 bit classical security, ternary secret, error 3.2: ia.cr/2024/463, table 5.2. The native parameters
refuse more; this copy is what the search stays within (a test compares them)."""
MAX_PRIME_BITS = 50
SPECIAL_BITS = 48
"""Of special primes from N = 2^13 up: transforms modulo primes of 49 and 50 bits take a quarter more time."""
MAX_SCALE_BITS = 42
"""More scale than this buys no precision that float64 answers show."""
MIN_SCALE_BITS = 22
HEADROOM_BITS = 1.2
"""Room between the largest result and half the last modulus."""


@dataclass(frozen=True)
class Chain:
    """Prime sizes in bits. ``rescale_last``: whether the last linear map is rescaled."""

    log_n: int
    log_q: tuple[int, ...]
    log_p: tuple[int, ...]
    log_scale: int
    rescale_last: bool

    @property
    def log_qp(self) -> int:
        return sum(self.log_q) + sum(self.log_p)

    @property
    def slots(self) -> int:
        return 1 << (self.log_n - 1)


def chains(depth: int, log_n: int, *, switches_keys: bool) -> Iterator[Chain]:
    """Every chain worth trying for a depth (last linear map included) at one ring degree.

    The most precise scale of each shape; smaller ones too where bytes are most of the cost.

    ``switches_keys``: whether special primes are needed.
    """
    room = ceil(HEADROOM_BITS + 1)
    for rescale_last in (False, True):
        levels = depth if rescale_last else depth - 1
        if levels and not rescale_last:
            continue
        for count in ((1, 2, 3) if log_n > 13 else (1,)) if switches_keys else (0,):
            if count > 1 and levels + 1 <= count:
                continue
            for bits in ((SPECIAL_BITS,) if log_n > 12 else (50, 44, 38)) if switches_keys else (0,):
                left = MAX_LOG_QP[log_n] - count * bits
                special = (bits,) * count
                if levels == 0:
                    first = min(MAX_PRIME_BITS, left)
                    for scale in range((first - room) // 2, (first - room) // 2 + 5, 2):
                        if scale >= 8:
                            yield Chain(log_n, (first,), special, scale, rescale_last)
                    continue
                scale = min((left - room) // (levels + 1), MAX_SCALE_BITS, bits or MAX_PRIME_BITS)
                if scale + room > MAX_PRIME_BITS:
                    scale = min((left - MAX_PRIME_BITS) // levels, MAX_SCALE_BITS)
                first = min(MAX_PRIME_BITS, scale + room, left - scale * levels)
                if scale < MIN_SCALE_BITS or first < 20:
                    continue
                yield Chain(log_n, (first, *(scale,) * levels), special, scale, rescale_last)
                for less in () if switches_keys else range(MIN_SCALE_BITS + 2, scale, 4):
                    yield Chain(
                        log_n,
                        (min(less + room, MAX_PRIME_BITS), *(less,) * levels),
                        special,
                        less,
                        rescale_last,
                    )


def schedule(model: Model, chain: Chain, q: tuple[int, ...], layout: str) -> Program:
    """The program of a model on a chain with the primes ``q``. ``layout``: ``latency`` or ``throughput``.

    The model's values must fit the slots (checked by the caller).
    """
    nominal = 2.0**chain.log_scale
    level = len(q) - 1
    scale = nominal
    first, last = model.affines[0], model.affines[-1]
    size, results = first.matrix.shape[1], last.matrix.shape[0]
    result_scale = q[0] / 2.0 ** (1 + HEADROOM_BITS)
    placement = place(model, chain.log_n) if layout == "latency" else None
    columns = ColumnLayout(size, chain.slots, is_complex=model.is_affine)
    source: ReplicatedLayout | WindowLayout | ColumnLayout = placement.source if placement else columns
    stages: list[Stage] = []
    for index, affine in enumerate(model.affines):
        is_last = affine is last
        rescale = chain.rescale_last or not is_last
        wanted = result_scale if is_last else nominal
        plain = wanted * (q[level] if rescale else 1.0) / scale
        if placement:
            slot_map = placement.maps[index]
            bound = np.real(slot_map.output.pack(affine.bound))
            stages.append(MapStage(slot_map, level, plain, rescale, bound))
        else:
            weights = _opaque(_weights(model)[index], plain)
            stages.append(ColumnStage(weights, affine.bias, level, plain, rescale, affine.bound))
        level -= rescale
        scale = wanted
        if is_last:
            break
        step = model.steps[index]
        if step.approximation is None:
            stages.append(SquareStage(level))
            scale = scale * scale / q[level]
            level -= 1
        else:
            series = tuple(float(c) for c in step.approximation.series)
            high = step.approximation.high + 2.0**-10
            stages.append(PolynomialStage(series, level, nominal, high, step.approximation.slope))
            scale = nominal
            level -= step.depth
    output: ReplicatedLayout | ColumnLayout = ColumnLayout(results, chain.slots, is_complex=model.is_affine)
    if placement:
        output = ReplicatedLayout.plain(results, chain.slots)
    return Program(tuple(stages), source, output, len(q) - 1, nominal, scale)


def _opaque(weights: FloatArray, scale: float) -> FloatArray:
    """Weights of which every row has one that does not round to 0: an encryption of nothing would be transparent.

    Such a row gets the smallest weight, 1 / scale; the simulator counts it as rounding error.
    """
    rows = (np.abs(weights) * scale < 0.5).all(axis=1)
    if not rows.any():
        return weights
    weights = weights.copy()
    weights[rows, 0] = 1 / scale
    return weights


@lru_cache(maxsize=2)
def _weights(model: Model) -> tuple[FloatArray, ...]:
    """Dense matrices, shared by all programs of a model."""
    return tuple(np.asarray(affine.matrix.toarray(), dtype=np.float64) for affine in model.affines)


@lru_cache(maxsize=64)
def moduli(
    log_n: int, log_q: tuple[int, ...], log_p: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The primes of a literal: for each size in order the largest p = 1 mod 2N below 2^bits that is not yet taken.

    The same rule as the native parameters, so that planning needs no native tables (a test compares them).
    """
    used: dict[int, int] = {}

    def next_prime(bits: int) -> int:
        used[bits] = used.get(bits, 0) + 1
        return _primes(log_n, bits, used[bits])[-1]

    return tuple(next_prime(bits) for bits in log_q), tuple(next_prime(bits) for bits in log_p)


@lru_cache(maxsize=4096)
def _primes(log_n: int, bits: int, count: int) -> tuple[int, ...]:
    """The ``count`` largest primes p = 1 mod 2N below 2^bits, descending."""
    step = 2 << log_n
    before = _primes(log_n, bits, count - 1) if count > 1 else ()
    candidate = before[-1] - step if before else ((1 << bits) - 2) // step * step + 1
    while not _is_prime(candidate):
        candidate -= step
        if candidate < 2:
            raise DepthError(f"there are no {count} primes of {bits} bits for ring degree 2^{log_n}")
    return (*before, candidate)


def _is_prime(n: int) -> bool:
    """Deterministic Miller–Rabin for n < 3.3e24 (Sorenson and Webster, Math. Comp. 86, 2017)."""
    if n < 2:
        return False
    witnesses = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)
    if any(n % w == 0 for w in witnesses):
        return n in witnesses
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for w in witnesses:
        x = pow(w, odd, n)
        if x in (1, n - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True
