"""Which moduli a program runs on: the search over chains, and the level and scale of every plaintext.

Plaintexts are encoded at the scale of the prime that the following rescale drops, corrected so that every linear map
ends at the nominal scale: scales stay exact, with no drift to allow for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.flag import flag_scale
from tacit.backends.ckks.layout import ColumnLayout, ReplicatedLayout, WindowLayout
from tacit.backends.ckks.maximum import Maximum
from tacit.backends.ckks.noise import NoiseModel
from tacit.backends.ckks.normal import Model, ScaledAffine, Step
from tacit.backends.ckks.placement import Placement, place
from tacit.backends.ckks.program import (
    ColumnStage,
    FlagStage,
    MapStage,
    MaximumStage,
    PolynomialStage,
    ProductStage,
    Program,
    SquareStage,
    Stage,
    SumStage,
)
from tacit.backends.ckks.ridge import Ridge, RidgeStage
from tacit.errors import DepthError, PrecisionError

__all__ = ["MAX_LOG_QP", "Chain", "chains", "moduli", "schedule"]

FloatArray = npt.NDArray[np.float64]

MAX_LOG_QP = {12: 106, 13: 214, 14: 430, 15: 868, 16: 1747}
"""log2(QP) at 128 bit classical security, ternary secret, error 3.2: ia.cr/2024/463, table 5.2. The native parameters
refuse more; this copy is what the search stays within (a test compares them)."""
MAX_PRIME_BITS = 50
SPECIAL_BITS = 48
"""Of special primes from N = 2^13 up: transforms modulo primes of 49 and 50 bits take a quarter more time."""
MAX_SPECIALS = {12: 1, 13: 1, 14: 4, 15: 5, 16: 5}
"""Most special primes that are tried: each makes digits fewer and keys smaller, and takes bits from the scales."""
LONG_CHAIN = 24
"""Levels from which more special primes are tried, whatever the ring."""
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
        for count in _specials(log_n, levels) if switches_keys else (0,):
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
                # Below log_n + 11 bits there are too few primes for a long chain.
                least = log_n + 11 if levels >= LONG_CHAIN else MIN_SCALE_BITS
                if scale < least or first < 20:
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


def _specials(log_n: int, levels: int) -> Sequence[int]:
    """Numbers of special primes worth trying: on long chains only few digits make keys that can be kept."""
    if levels >= LONG_CHAIN:
        return 2, 4, 6, 8
    return range(1, MAX_SPECIALS[log_n] + 1)


def schedule(model: Model, chain: Chain, q: tuple[int, ...], layout: str) -> Program:
    """The program of a model on a chain with the primes ``q``. ``layout``: ``latency`` or ``throughput``.

    The model's values must fit the slots (checked by the caller).
    """
    return _Schedule(model, chain, q, place(model, chain.log_n) if layout == "latency" else None).program()


class _Schedule:
    """The stages made so far. Every value is made as late as those who read it allow: low levels are cheap.

    ``register``, ``scale``: of every value. ``turns``: of the rounds of a value, the register that each reads.
    """

    def __init__(self, model: Model, chain: Chain, q: tuple[int, ...], placement: Placement | None) -> None:
        self.model, self.chain, self.q, self.placement = model, chain, q, placement
        self.nominal = 2.0**chain.log_scale
        self.levels = [max(0, level - (not chain.rescale_last)) for level in model.levels]
        self.register, self.scale = [0], [self.nominal]
        self.stages: list[Stage] = []
        self.reads: list[tuple[int, ...]] = []
        self.turns: dict[tuple[int, int], tuple[int, RidgeStage]] = {}

    def program(self) -> Program:
        model, slots, maps = self.model, self.chain.slots, 0
        for made, node in enumerate(model.nodes, start=1):
            if isinstance(node, Step):
                self._function(made, node)
            elif isinstance(node, Maximum):
                self._maximum(made, node)
            elif isinstance(node, Ridge):
                self._ridge(made, node)
            else:
                self._affine(made, node, maps)
                maps += 1
            self.register.append(len(self.stages))
        columns = ColumnLayout(model.sizes[0], slots, is_complex=model.is_affine)
        results = model.sizes[-1]
        source: ReplicatedLayout | WindowLayout | ColumnLayout = columns
        output: ReplicatedLayout | ColumnLayout = ColumnLayout(results, slots, is_complex=model.is_affine)
        if self.placement:
            source, output = self.placement.source, ReplicatedLayout.plain(results, slots)
        score_scale = self.scale[-1]
        self._watch()
        chained = all(read == (position,) for position, read in enumerate(self.reads))
        return Program(
            tuple(self.stages),
            source,
            output,
            len(self.q) - 1,
            self.nominal,
            score_scale,
            () if chained else tuple(self.reads),
        )

    def _watch(self) -> None:
        """The range flag, after everything else. Raises ``PrecisionError`` where the chain has no level for it."""
        watched = self.model.watched
        if not watched:
            return
        if not self.chain.rescale_last:
            raise PrecisionError("a range flag needs a level after the results")
        spans = tuple(self._span(watch.value) for watch in watched)
        _, p = moduli(self.chain.log_n, self.chain.log_q, self.chain.log_p)
        scale = flag_scale(NoiseModel(self.chain.log_n, self.q, p))
        looked = [
            (self.register[watch.value], None) if watch.turn is None else self.turns[watch.value, watch.turn]
            for watch in watched
        ]
        terms = max(max(spans), *self.model.sizes)
        squarings = tuple(watch.squarings for watch in watched)
        energies, turns = tuple(watch.energy for watch in watched), tuple(turn for _, turn in looked)
        stage = FlagStage(squarings, energies, spans, terms, scale, turns)
        self._add(stage, (self.register[-1], *(register for register, _ in looked)))

    def _span(self, value: int) -> int:
        """Slots after which a value repeats, or its map, where a function made it; 1 for columns."""
        if self.placement is None:
            return 1
        while not isinstance(node := self.model.nodes[value - 1], ScaledAffine):
            value = node.reads[0]
        index = sum(isinstance(node, ScaledAffine) for node in self.model.nodes[: value - 1])
        return self.placement.maps[index][0].output.span

    def _add(self, stage: Stage, registers: tuple[int, ...]) -> int:
        self.stages.append(stage)
        self.reads.append(registers)
        return len(self.stages)

    def _affine(self, made: int, node: ScaledAffine, index: int) -> None:
        is_last = made == len(self.model.nodes)
        wanted = self.q[0] / 2.0 ** (1 + HEADROOM_BITS) if is_last else self.nominal
        rescale = self.chain.rescale_last or not is_last
        level = self.levels[made] + rescale
        product = wanted * (self.q[level] if rescale else 1.0)
        registers = tuple(self.register[read] for read in node.reads)
        self.scale.append(wanted)
        if self.placement is None:
            first = self.scale[node.reads[0]]
            parts = [
                weights * (first / self.scale[read]) if self.scale[read] != first else weights
                for read, weights in zip(node.reads, _weights(self.model)[index], strict=True)
            ]
            plain = product / first
            weights = _opaque(np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0], plain)
            self._add(ColumnStage(weights, node.bias, level, plain, rescale, node.bound), registers)
            return
        maps, folds = self.placement.maps[index], self.placement.folds[index]
        bound = np.real(maps[0].output.pack(node.bound))
        alone = len(maps) == 1
        terms = [
            self._add(
                MapStage(
                    slot_map,
                    level,
                    product / self.scale[read],
                    rescale,
                    bound if alone else np.full(self.chain.slots, np.inf),
                ),
                (register,),
            )
            for slot_map, read, register in zip(maps, node.reads, registers, strict=True)
        ]
        if not alone:
            bias = np.real(maps[0].output.pack(node.bias))
            self._add(SumStage(folds, bias, self.levels[made], wanted, bound), tuple(terms))

    def _function(self, made: int, step: Step) -> None:
        registers = tuple(self.register[read] for read in step.reads)
        level = self.levels[made] + step.depth
        if step.approximation is not None:
            series = tuple(float(c) for c in step.approximation.series)
            high = step.approximation.high + 2.0**-10
            self._add(
                PolynomialStage(series, level, self.nominal, high, step.approximation.slope, name=step.name),
                registers,
            )
            self.scale.append(self.nominal)
            return
        scales = [self.scale[read] for read in step.reads]
        if len(registers) == 2:
            self._add(ProductStage(level, step.name), registers)
            self.scale.append(scales[0] * scales[1] / self.q[level])
        else:
            energy = next((w.energy for w in self.model.watched if w.value == step.reads[0]), 1.0)
            self._add(SquareStage(level, step.name, energy), registers)
            self.scale.append(scales[0] * scales[0] / self.q[level])

    def _maximum(self, made: int, node: Maximum) -> None:
        level = self.levels[made] + node.depth
        register = self.register[node.reads[0]]
        columns, moves = node.columns, self.placement.moves[made] if self.placement else ()
        for index, turn in enumerate(node.rounds):
            series = tuple(float(c) * turn.gain / 2 for c in turn.absolute.series)
            high = (turn.absolute.high + 2.0**-10) * turn.gain / 2
            slope = turn.absolute.slope * turn.gain / 2
            size = PolynomialStage(series, level, self.nominal, high, slope, name=node.name)
            rotation, pairs = (moves[index], ()) if self.placement else (0, columns[index])
            stage = MaximumStage(size, turn.gain / 2, rotation, pairs, 1.0 + 2.0**-6, node.name)
            register = self._add(stage, (register,))
            level -= turn.depth
        self.scale.append(self.nominal)

    def _ridge(self, made: int, node: Ridge) -> None:
        level = self.levels[made] + node.depth
        register = self.register[node.reads[0]]
        columns, moves = node.columns, self.placement.moves[made] if self.placement else ()
        for index, turn in enumerate(node.rounds):
            rotation, groups = (moves[index], ()) if self.placement else (0, columns[index])
            stage = RidgeStage(turn, level, self.nominal, rotation, groups, 1.0 + 2.0**-6, node.name)
            self.turns[made, index] = register, stage
            register = self._add(stage, (register,))
            level -= turn.depth
        self.scale.append(self.nominal)


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
def _weights(model: Model) -> tuple[tuple[FloatArray, ...], ...]:
    """Dense matrices of every map, shared by all programs of a model."""
    return tuple(
        tuple(np.asarray(matrix.toarray(), dtype=np.float64) for matrix in affine.matrices)
        for affine in model.affines
    )


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
