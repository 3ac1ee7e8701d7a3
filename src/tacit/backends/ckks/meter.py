"""An engine that adds up seconds instead of computing: what operations cost, for plans and for layouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tacit.backends.ckks.machine import INTEL_EMERALD_RAPIDS, Machine
from tacit.backends.ckks.work import Shape, Work

__all__ = ["SWITCH_POLYNOMIALS", "Ledger", "Meter", "MeteredCiphertext", "MeteredMap"]

FloatArray = npt.NDArray[np.float64]
Item = TypeVar("Item")
Result = TypeVar("Result")

SWITCH_POLYNOMIALS = 8
"""Over Q_l·P, that a key switch holds at once: parts of a product, digits, sums, quotients."""


@dataclass
class Ledger:
    """Words of the ciphertexts that are alive, and the most that were at once."""

    words: int = 0
    most: int = 0

    def add(self, words: int) -> None:
        self.words += words
        self.most = max(self.most, self.words)


class MeteredCiphertext:
    """Level and scale of a ciphertext that is not there. It counts in a ledger for as long as it is referred to."""

    def __init__(self, level: int, scale: float, ledger: Ledger | None = None, row_words: int = 0) -> None:
        self.level = level
        self.scale = scale
        self._ledger = ledger
        self._row_words = row_words
        if ledger is not None:
            ledger.add(2 * (level + 1) * row_words)

    def __del__(self) -> None:
        if self._ledger is not None:
            self._ledger.add(-2 * (self.level + 1) * self._row_words)

    def with_scale(self, scale: float) -> MeteredCiphertext:
        return MeteredCiphertext(self.level, scale, self._ledger, self._row_words)


@dataclass(frozen=True)
class MeteredMap:
    """A linear map that is not there: how many diagonals, and baby and giant steps that move something."""

    diagonals: int
    babies: int
    giants: int
    level: int
    scale: float
    words: int = 0
    """To be given back after use, of maps that are not kept."""


class Meter:
    """An engine that adds up ``seconds``. ``q``: moduli; ``specials``: number of special primes.

    ``machine``: whose seconds; by default always the same one, so that what is chosen by them is chosen everywhere.
    ``resident``: words of keys and encoded diagonals that the program goes through between two uses of the same ones.
    ``model_words``: of the plaintexts that were encoded so far; ``cleartext_bytes``: of what they were encoded from.
    ``ledger``: of the ciphertexts that ``fresh`` and the operations made, and of maps that are not kept.
    ``running``: whether maps are made while a request waits: they take time, and memory until they were used.
    """

    def __init__(
        self,
        log_n: int,
        q: Sequence[float],
        specials: int,
        *,
        machine: Machine = INTEL_EMERALD_RAPIDS,
        threads: int = 1,
    ) -> None:
        self.q = tuple(float(x) for x in q)
        self.log_n = log_n
        self.n = 1 << log_n
        self.specials = specials
        self.machine = machine
        self.threads = threads
        self.resident = 0.0
        self.model_words = 0
        self.cleartext_bytes = 0
        self.ledger = Ledger()
        self.seconds = 0.0
        self.running = False
        self._rates = machine.at(threads)
        self._known: dict[tuple[object, ...], float] = {}

    def shape(self, level: int) -> Shape:
        """The sizes of an operation at a level."""
        return Shape(self.log_n, level + 1, self.specials, self.threads, self.machine.caches, self.resident)

    def price(self, name: str, level: int, work: Callable[[Shape], Work], *amounts: int) -> float:
        """Seconds of one operation; ``name`` and ``amounts`` tell it from others at the same level."""
        key = (name, level, self.resident, *amounts)
        if key not in self._known:
            self._known[key] = self._rates.of(work(self.shape(level)))
        return self._known[key]

    def spend(self, seconds: float) -> None:
        self.seconds += seconds

    def fresh(self, level: int, scale: float) -> MeteredCiphertext:
        """A ciphertext that counts in the ledger."""
        return MeteredCiphertext(level, scale, self.ledger, self.n)

    def encode(self, values: npt.NDArray[Any], *, level: int, scale: float) -> MeteredCiphertext:
        self.model_words += (level + 1) * self.n
        self.cleartext_bytes += values.nbytes
        return MeteredCiphertext(level, scale)

    def linear_map(
        self, diagonals: Mapping[int, npt.NDArray[Any]], *, level: int, scale: float, baby: int
    ) -> MeteredMap:
        babies = len({k % baby for k in diagonals} - {0})
        giants = len({k - k % baby for k in diagonals} - {0})
        rows = level + 1 + self.specials
        words = len(diagonals) * rows * self.n
        self.cleartext_bytes += sum(diagonal.nbytes for diagonal in diagonals.values())
        if not self.running:
            self.model_words += words
            return MeteredMap(len(diagonals), babies, giants, level, scale)
        one = Shape(self.log_n, rows, 0, 1, self.machine.caches, self.resident)
        self.spend(len(diagonals) * self.machine.at(1).of(one.encode()))
        self.ledger.add(words)
        return MeteredMap(len(diagonals), babies, giants, level, scale, words)

    def note_bound(self, ct: MeteredCiphertext, bound: FloatArray | float) -> MeteredCiphertext:
        return ct

    def quiet(self, ct: MeteredCiphertext) -> MeteredCiphertext:
        return ct

    def loudest(self, cts: Sequence[MeteredCiphertext]) -> MeteredCiphertext:
        """As ``note_bound``."""
        return cts[0]

    def note_slope(
        self, result: MeteredCiphertext, argument: MeteredCiphertext, slope: float
    ) -> MeteredCiphertext:
        return result

    def note_energy(
        self, square: MeteredCiphertext, argument: MeteredCiphertext, energy: float
    ) -> MeteredCiphertext:
        """As ``note_bound``."""
        return square

    def absorb(self, ct: MeteredCiphertext, noise: float) -> MeteredCiphertext:
        return ct

    def add(self, a: MeteredCiphertext, b: MeteredCiphertext) -> MeteredCiphertext:
        self.spend(self.price("sum", a.level, Shape.sum))
        return self.fresh(a.level, a.scale)

    sub = add

    def add_plain(self, ct: MeteredCiphertext, pt: MeteredCiphertext) -> MeteredCiphertext:
        self.spend(self.price("sum with plain", ct.level, Shape.sum_with_plain))
        return self.fresh(ct.level, ct.scale)

    def add_const(self, ct: MeteredCiphertext, constant: complex) -> MeteredCiphertext:
        self.spend(self.price("sum with plain", ct.level, Shape.sum_with_plain))
        return self.fresh(ct.level, ct.scale)

    def mul_const(self, ct: MeteredCiphertext, constant: float, *, scale: float) -> MeteredCiphertext:
        self.spend(self.price("sum", ct.level, Shape.sum))
        return self.fresh(ct.level, ct.scale * scale)

    def switch_key(self, level: int) -> None:
        """What a key switch takes for itself counts while it lasts."""
        words = SWITCH_POLYNOMIALS * (level + 1 + self.specials) * self.n
        self.ledger.add(words)
        self.ledger.add(-words)

    def mul_relin_rescale(self, a: MeteredCiphertext, b: MeteredCiphertext) -> MeteredCiphertext:
        self.switch_key(a.level)
        self.spend(self.price("product", a.level, lambda shape: shape.key_switch(product=True)))
        return self.fresh(a.level - 1, a.scale * b.scale / self.q[a.level])

    def square_relin_rescale(self, ct: MeteredCiphertext) -> MeteredCiphertext:
        return self.mul_relin_rescale(ct, ct)

    def rescale(self, ct: MeteredCiphertext) -> MeteredCiphertext:
        self.spend(self.price("rescale", ct.level, Shape.rescale))
        return self.fresh(ct.level - 1, ct.scale / self.q[ct.level])

    def drop_level(self, ct: MeteredCiphertext, level: int) -> MeteredCiphertext:
        self.spend(self.price("copy", level, Shape.copy))
        return self.fresh(level, ct.scale)

    def rotate(self, ct: MeteredCiphertext, k: int) -> MeteredCiphertext:
        self.switch_key(ct.level)
        self.spend(self.price("rotate", ct.level, lambda shape: shape.key_switch(product=False)))
        return self.fresh(ct.level, ct.scale)

    def rotate_sum(self, ct: MeteredCiphertext, steps: Sequence[int]) -> MeteredCiphertext:
        for step in steps:
            ct = self.add(self.rotate(ct, step), ct)
        return ct

    def conjugate(self, ct: MeteredCiphertext) -> MeteredCiphertext:
        return self.rotate(ct, 0)

    def times_i(self, ct: MeteredCiphertext) -> MeteredCiphertext:
        self.spend(self.price("sum", ct.level, Shape.sum))
        return self.fresh(ct.level, ct.scale)

    def each(self, task: Callable[[Meter, Item], Result], items: Sequence[Item]) -> list[Result]:
        """Tasks on one thread each: all of them over the number of threads, or the longest one."""
        if self.threads == 1 or len(items) < 2:
            return [task(self, item) for item in items]
        single = Meter(self.log_n, self.q, self.specials, machine=self.machine)
        single.resident, single.ledger = self.resident, self.ledger
        results, longest, passing = [], 0.0, []
        ledger, most = self.ledger, self.ledger.most
        for item in items:
            before, ledger.most = single.seconds, ledger.words
            results.append(task(single, item))
            longest = max(longest, single.seconds - before)
            passing.append(ledger.most - ledger.words)
            most = max(most, ledger.most)
        # The tasks beside the one at the peak hold something, too, that ends with them: the most that it may be.
        ledger.most = most + sum(sorted(passing)[: -self.threads : -1])
        self.spend(max(single.seconds / self.threads, longest))
        return results

    def linear(
        self, ct: MeteredCiphertext, linear_map: MeteredMap, *, rescale: bool = True
    ) -> MeteredCiphertext:
        count, babies, giants = linear_map.diagonals, linear_map.babies, linear_map.giants
        self.spend(
            self.price(
                "linear",
                ct.level,
                lambda shape: shape.linear(diagonals=count, babies=babies, giants=giants, rescaled=rescale),
                count,
                babies,
                giants,
                rescale,
            )
        )
        # The sums of all giant steps over Q·P are there at once.
        sums = 2 * (giants + 1) * (ct.level + 1 + self.specials) * self.n
        self.ledger.add(sums)
        self.ledger.add(-sums - linear_map.words)
        scale = ct.scale * linear_map.scale
        return self.fresh(ct.level - 1, scale / self.q[ct.level]) if rescale else self.fresh(ct.level, scale)

    def linear_combinations(
        self, cts: Sequence[MeteredCiphertext], weights: FloatArray, *, scale: float
    ) -> list[MeteredCiphertext]:
        outputs, inputs = weights.shape
        self.spend(
            self.price(
                "combinations",
                cts[0].level,
                lambda shape: shape.combinations(inputs=inputs, outputs=outputs),
                inputs,
                outputs,
            )
        )
        return [self.fresh(cts[0].level, cts[0].scale * scale) for _ in range(outputs)]
