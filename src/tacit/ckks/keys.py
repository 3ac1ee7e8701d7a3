"""Keys: what the owner of the data makes and keeps, and what the evaluator gets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, log2

import numpy as np
from numpy.typing import ArrayLike

from tacit import _native
from tacit.ckks.evaluator import Evaluator
from tacit.ckks.matrix import matrix_rotations
from tacit.ckks.packing import Cleartext, cleartext, fold_steps, pack, period
from tacit.ckks.parameters import Parameters
from tacit.ckks.vector import Vector
from tacit.errors import InvalidParameterError, PeerIncompatibleError, ShapeError

__all__ = ["Keys", "keygen", "rotations_for"]


def rotations_for(
    *, sums: Iterable[int] = (), matmul: Iterable[tuple[int, int]] = (), powers: int = 0
) -> list[int]:
    """The rotations needed by sums over so many entries and by matrices of these shapes (inputs, outputs).

    ``powers``: also 1, 2, 4, … below this size, of which every other rotation can be made up.
    """
    steps = set(fold_steps(1, period(powers)) if powers > 0 else ())
    for size in sums:
        steps.update(fold_steps(1, period(size)))
    for inputs, outputs in matmul:
        steps.update(matrix_rotations(inputs, outputs))
    return sorted(steps)


def keygen(
    params: Parameters,
    *,
    rotations: Iterable[int] = (),
    sums: Iterable[int] = (),
    matmul: Iterable[tuple[int, int]] = (),
    conjugate: bool = False,
    threads: int = 1,
) -> Keys:
    """Fresh keys from the randomness of the operating system.

    ``rotations``, ``sums=[size, …]``, ``matmul=[(inputs, outputs), …]`` say which rotations the evaluator
    may do: each is one
    more key to send. Without them it adds, multiplies and evaluates polynomials.
    """
    steps = {step % params.slots for step in rotations} | set(rotations_for(sums=sums, matmul=matmul))
    too_far = sorted(step for step in steps if step >= params.slots)
    if too_far:
        raise InvalidParameterError(
            f"rotations must be below the number of slots, {params.slots}; got {too_far}"
        )
    secret = _native.SecretKey.generate(params.native)
    top = params.depth
    evaluation = secret.evaluation_keys(
        rotations={step: top for step in sorted(steps - {0})},
        conjugate=top if conjugate else None,
        relinearize=top if top > 0 else None,
        threads=threads,
    )
    return Keys(
        params, secret, secret.public_key(), evaluation, Evaluator(params, evaluation, threads=threads)
    )


@dataclass(frozen=True, repr=False)
class Keys:
    """The owner's keys. ``secret`` never leaves; ``public`` and ``evaluation`` may be sent to anybody.

    Values that `decrypt` returns carry the noise of the ciphertext, which depends on the secret key: do not
    hand them to
    whoever computed the ciphertext (Li and Micciancio, ia.cr/2020/1533).
    """

    params: Parameters
    secret: _native.SecretKey
    public: _native.PublicKey
    evaluation: _native.EvaluationKeys
    evaluator: Evaluator

    def encrypt(
        self, values: ArrayLike, *, level: int | None = None, bound: float | None = None, public: bool = False
    ) -> Vector:
        """Encrypt 1 to N/2 numbers, with the secret key (half the bytes, least noise) or the ``public`` one.

        ``bound``: an upper bound of the absolute values, for the noise estimate; by default the next power
        of two, which
        stays in this process. Raises DataError for NaN, infinity or what is no number, ShapeError for too
        many values.
        """
        params = self.params
        array = cleartext(values, slots=params.slots)
        level = params.depth if level is None else level
        if not 0 <= level <= params.depth:
            raise InvalidParameterError(
                f"the 'level' parameter must be in [0, {params.depth}]; got {level} instead"
            )
        scale = params.scales[level]
        plaintext = params.native.encode(pack(array, slots=params.slots), level=level, scale=scale)
        model = self.evaluator.noise
        limit = _power_of_two(array) if bound is None else bound
        noise = model.fresh_public(scale, limit) if public else model.fresh(scale, limit)
        native = (self.public if public else self.secret).encrypt(plaintext)
        return Vector(
            self.evaluator, native, size=len(array), noise=noise, is_complex=array.dtype.kind == "c"
        )

    def decrypt(self, vector: Vector) -> Cleartext:
        """The ``size`` values of a vector, float64, or complex128 for a complex vector.

        Raises PeerIncompatibleError when the vector belongs to other parameters.
        """
        if vector.evaluator.params.hash != self.params.hash:
            raise PeerIncompatibleError("the vector belongs to other parameters than the keys")
        plaintext = self.secret.decrypt(vector.native)
        decode = self.params.native.decode if vector.is_complex else self.params.native.decode_real
        return decode(plaintext)[: vector.size]

    def load(self, data: bytes, *, bound: float = 1.0) -> Vector:
        """A vector from the bytes that another process serialized; see `Evaluator.load`."""
        return self.evaluator.load(data, bound=bound)

    def noise(self, vector: Vector, expected: ArrayLike) -> float:
        """The measured noise: log2 of the root mean square error against the ``expected`` values.

        To be compared with ``vector.noise_bits``. Needs the secret key and the right answer: for learning
        and for tests.
        """
        values = np.asarray(expected)
        if values.shape != (vector.size,):
            raise ShapeError(f"expected values must have the shape ({vector.size},); got {values.shape}")
        error = np.real(self.decrypt(vector) - values)
        mean_square = float(np.mean(error**2))
        return log2(mean_square) / 2 if mean_square > 0 else float("-inf")

    def __repr__(self) -> str:
        return f"<Keys n={self.params.n} depth={self.params.depth}>"


def _power_of_two(array: Cleartext) -> float:
    largest = float(np.abs(array).max())
    return 2.0 ** ceil(log2(largest)) if largest > 0 else 1.0
