"""The encrypted engine: the native evaluator and encoder behind the executor's interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tacit._native import Ciphertext, EvaluationKeys, Evaluator, LinearMap, Parameters, Plaintext

__all__ = ["EncryptedEngine"]

Item = TypeVar("Item")
Result = TypeVar("Result")

FloatArray = npt.NDArray[np.float64]


class EncryptedEngine:
    """``keys`` may be ``None`` for programs without rotations and products, and for encoding only."""

    def __init__(self, params: Parameters, keys: EvaluationKeys | None = None, *, threads: int = 1) -> None:
        evaluator = Evaluator(params, keys, threads=threads)
        self.params = params
        self.threads = threads
        self._keys = keys
        self._imaginary: Plaintext | None = None
        self._mul_plain = evaluator.mul_plain
        self.q = tuple(float(q) for q in params.q)
        self.add = evaluator.add
        self.sub = evaluator.sub
        self.add_plain = evaluator.add_plain
        self.add_const = evaluator.add_const
        self.mul_const = evaluator.mul_const
        self.mul_relin_rescale = evaluator.mul_relin_rescale
        self.square_relin_rescale = evaluator.square_relin_rescale
        self.rescale = evaluator.rescale
        self.drop_level = evaluator.drop_level
        self.conjugate = evaluator.conjugate
        self.rotate = evaluator.rotate
        self.rotate_sum = evaluator.rotate_sum
        self.linear = evaluator.linear
        self.linear_combinations = evaluator.linear_combinations

    def encode(self, values: npt.NDArray[Any], *, level: int, scale: float) -> Plaintext:
        return self.params.encode(values, level=level, scale=scale)

    def linear_map(
        self, diagonals: Mapping[int, npt.NDArray[Any]], *, level: int, scale: float, baby: int
    ) -> LinearMap:
        return LinearMap(self.params, dict(diagonals), level=level, scale=scale, baby=baby)

    def times_i(self, ct: Ciphertext) -> Ciphertext:
        """i at scale 1 is the monomial X^(N/2): no level, no noise."""
        if self._imaginary is None:
            self._imaginary = self.params.encode(np.full(self.params.slots, 1j), scale=1.0)
        return self._mul_plain(ct, self._imaginary)

    def each(self, task: Callable[[EncryptedEngine, Item], Result], items: Sequence[Item]) -> list[Result]:
        """Independent tasks beside each other, one thread each: native operations do not hold the interpreter's lock.

        Operations on one thread waste nothing on waiting for each other, as those on several do.
        """
        if self.threads == 1 or len(items) < 2:
            return [task(self, item) for item in items]
        single = self.on(1)
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(lambda item: task(single, item), items))

    def on(self, threads: int) -> EncryptedEngine:
        """The same keys, which are shared and not copied, on another number of threads."""
        return EncryptedEngine(self.params, self._keys, threads=threads)

    def note_bound(self, ct: Ciphertext, bound: FloatArray | float) -> Ciphertext:
        """Bounds matter to the simulator only."""
        return ct

    def quiet(self, ct: Ciphertext) -> Ciphertext:
        """As ``note_bound``."""
        return ct

    def loudest(self, cts: Sequence[Ciphertext]) -> Ciphertext:
        """As ``note_bound``."""
        return cts[0]

    def note_slope(self, result: Ciphertext, argument: Ciphertext, slope: float) -> Ciphertext:
        """As ``note_bound``."""
        return result

    def note_energy(self, square: Ciphertext, argument: Ciphertext, energy: float) -> Ciphertext:
        """As ``note_bound``."""
        return square

    def absorb(self, ct: Ciphertext, noise: float) -> Ciphertext:
        """Noise that the next stage was made for; it matters to the simulator only."""
        return ct

    def __repr__(self) -> str:
        return f"<EncryptedEngine n={self.params.n}>"
