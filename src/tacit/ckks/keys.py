"""Keys: what the owner of the data makes and keeps, and what the evaluator gets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import log2

import numpy as np
from numpy.typing import ArrayLike

from tacit import _native
from tacit.ckks.evaluator import Evaluator
from tacit.ckks.matrix import matrix_rotations
from tacit.ckks.packing import Cleartext, fold_steps, period
from tacit.ckks.parameters import Parameters
from tacit.ckks.plaintext import Plaintext, encode
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
        self,
        values: Plaintext | ArrayLike,
        *,
        level: int | None = None,
        bound: float | None = None,
        public: bool = False,
    ) -> Vector:
        """Encrypt 1 to N/2 numbers, with the secret key (half the bytes, least noise) or the ``public`` one.

        ``bound``: an upper bound of the absolute values, for the noise estimate; by default the next power of two,
        which stays in this process. Raises as `tacit.ckks.plaintext.encode`.
        """
        if public:
            return self.evaluator.encrypt(values, self.public, level=level, bound=bound)
        plaintext = values if isinstance(values, Plaintext) else encode(self.params, values, level=level)
        limit = plaintext.power_of_two if bound is None else bound
        noise = self.evaluator.noise.fresh(plaintext.scale, limit)
        native = self.secret.encrypt(plaintext.native)
        return Vector(
            self.evaluator, native, size=plaintext.size, noise=noise, is_complex=plaintext.is_complex
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

    @staticmethod
    def restore(
        params: Parameters, *, secret: bytes, public: bytes, evaluation: bytes, threads: int = 1
    ) -> Keys:
        """Keys from the bytes of ``secret.reveal_bytes()``, ``public.to_bytes()`` and ``evaluation.to_bytes()``.

        Whoever has the first of them reads everything: keep it where keys are kept. Raises MalformedMessageError and
        PeerIncompatibleError.
        """
        evaluation_keys = _native.EvaluationKeys.from_bytes(params.native, evaluation)
        return Keys(
            params,
            _native.SecretKey.from_bytes(params.native, secret),
            _native.PublicKey.from_bytes(params.native, public),
            evaluation_keys,
            Evaluator(params, evaluation_keys, threads=threads),
        )

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
