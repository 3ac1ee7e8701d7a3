"""An encrypted vector and its arithmetic."""

from __future__ import annotations

from dataclasses import replace
from math import inf, log2
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from tacit import _native
from tacit.ckks import polynomial
from tacit.ckks.matrix import Matrix
from tacit.ckks.noise import Noise
from tacit.ckks.packing import Cleartext, cleartext, fold_steps, period
from tacit.ckks.plaintext import Plaintext, encode
from tacit.errors import (
    DataError,
    InvalidParameterError,
    LevelError,
    PeerIncompatibleError,
    PrecisionError,
    ShapeError,
)

if TYPE_CHECKING:
    from tacit.ckks.evaluator import Evaluator

__all__ = ["Operand", "Vector"]

# Whole factors up to this size are multiplied in without a scale, so they cost no level.
_LARGEST_WHOLE_FACTOR = 1 << 31


Operand: TypeAlias = "Vector | Plaintext | ArrayLike"
"""What the operators take on either side."""


class Vector:
    """An encrypted vector of ``size`` numbers. Immutable: every operation gives a new one.

    ``+ - *`` take another vector, an array of the same size or a number, and broadcast a vector of one
    entry; ``@`` takes a
    clear matrix, a clear vector or an encrypted vector. Products relinearise and rescale by themselves, and
    operands of
    different levels meet at the lower one; at each level there is one scale, so that nothing drifts.

    Entries beyond ``size`` are kept zero up to noise, so that sums and matrices are right. An operation whose result
    may not fit into the modulus, by the bounds carried along, raises PrecisionError: it would wrap around unnoticed.
    """

    __array_ufunc__ = None  # NumPy then leaves ``array * vector`` to `__rmul__`.
    __slots__ = ("evaluator", "is_complex", "native", "noise", "size")

    def __init__(
        self,
        evaluator: Evaluator,
        native: _native.Ciphertext,
        *,
        size: int,
        noise: Noise,
        is_complex: bool = False,
    ) -> None:
        room = evaluator.params.room_bits(native.level, native.scale)
        if noise.bound > 0 and log2(noise.bound) > room:
            raise PrecisionError(
                f"values may be as large as 2^{log2(noise.bound):.1f}, and level {native.level} holds 2^{room:.1f}",
                hint="if they are known to be smaller say so, x.bounded(…) or encrypt(…, bound=…);"
                " else scale them down or use a larger log_q[0] - log_scale",
            )
        self.evaluator = evaluator
        self.native = native
        self.size = size
        self.noise = noise
        self.is_complex = is_complex

    # what is visible without a key

    @property
    def level(self) -> int:
        """Multiplications that are still possible."""
        return self.native.level

    @property
    def log_scale(self) -> float:
        """log2 of the factor between values and the encrypted integers."""
        return log2(self.native.scale)

    @property
    def noise_bits(self) -> float:
        """log2 of the standard deviation of the error that decryption is expected to show; see `noise`."""
        return self.noise.bits

    @property
    def size_bytes(self) -> int:
        """Length of the serialized ciphertext."""
        return self.native.size_bytes

    def bounded(self, bound: float) -> Vector:
        """The same vector, of which the caller knows that no entry is larger than ``bound`` in absolute value.

        Estimates of later operations become better; a wrong bound makes them wrong. Raises InvalidParameterError unless
        ``bound`` is positive and finite.
        """
        if not 0 < bound < inf:
            raise InvalidParameterError(
                f"the 'bound' parameter must be positive and finite; got {bound} instead"
            )
        return self.derived(self.native, replace(self.noise, bound=float(bound)))

    def serialize(self) -> bytes:
        """The bytes that ``evaluator.load`` and ``keys.load`` read. Hold no noise estimate and no bound on
        the values."""
        return self.evaluator.dump(self)

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        return (
            f"<Vector size={self.size} level={self.level} log_scale={self.log_scale:.1f}"
            f" noise_bits={self.noise_bits:.1f}>"
        )

    # sums and products

    def __add__(self, other: Operand) -> Vector:
        run = self.evaluator.native
        if isinstance(other, Vector):
            left, right = self._paired(other)
            left, right = left._spread(right.size), right._spread(left.size)
            left, right = left._paired(right)
            return left._result(run.add(left.native, right.native), right, left.noise.plus(right.noise))
        if isinstance(other, Plaintext):
            return self._plus_plain(other)
        values = self._operand(other)
        if len(values) == 1 and self.size == period(self.size):
            number = values[0].item()
            noise = replace(self.noise, bound=self.noise.bound + abs(number))
            return self._result(run.add_const(self.native, number), values, noise)
        spread = self._spread(len(values))
        values = np.broadcast_to(values, (spread.size,))
        return spread._plus_plain(encode(self.evaluator.params, values, level=spread.level))

    def __radd__(self, other: Plaintext | ArrayLike) -> Vector:
        return self + other

    def __neg__(self) -> Vector:
        return self.derived(self.evaluator.native.neg(self.native), self.noise)

    def __sub__(self, other: Operand) -> Vector:
        if isinstance(other, Plaintext):
            return -(-self + other)
        return self + (-other if isinstance(other, Vector) else -self._operand(other))

    def __rsub__(self, other: Plaintext | ArrayLike) -> Vector:
        return -self + other

    def __mul__(self, other: Operand) -> Vector:
        if isinstance(other, Vector):
            return self.square() if other is self else self._times_vector(other)
        if isinstance(other, Plaintext):
            return self._times_plain(other)
        values = self._operand(other)
        if len(values) > 1:
            return self._times_array(values)
        factor = values[0].item()
        if factor == 0:
            raise _zero_factor()
        if factor == int(factor.real) and abs(factor) <= _LARGEST_WHOLE_FACTOR:
            product = self.evaluator.native.mul_const(self.native, float(factor.real), scale=1.0)
            return self._result(product, values, self.noise.scaled(factor.real))
        if factor.imag:
            return self._times_array(np.full(self.size, factor))
        return self._times_constant(factor.real)

    def __rmul__(self, other: Plaintext | ArrayLike) -> Vector:
        return self * other

    def __truediv__(self, other: ArrayLike) -> Vector:
        divisors = self._operand(other)
        if not divisors.all():
            raise DataError("a vector cannot be divided by zero")
        return self * (1 / divisors)

    def __pow__(self, exponent: int) -> Vector:
        if exponent < 1:
            raise InvalidParameterError(f"the exponent of a power must be >= 1; got {exponent} instead")
        return self if exponent == 1 else self.polyval([0.0] * exponent + [1.0])

    def square(self) -> Vector:
        """The entrywise square; cheaper than a product."""
        self._require_level("a square")
        self.evaluator.require_relinearization()
        product = self.evaluator.native.square_relin_rescale(self.native)
        return self._after_product(product, self, self.noise.times(self.noise))

    # sums over entries, rotations, matrices

    def rotate(self, steps: int) -> Vector:
        """Entry i of the result is entry i + steps, cyclically in the next power of two ≥ size, which is the
        new size.

        Uses the key of ``steps``, or those of the powers of two that make it up. Raises MissingKeyError.
        """
        length = period(self.size)
        steps %= length
        evaluator = self.evaluator
        if steps in evaluator.rotations:
            path = [steps]
        else:
            path = [1 << bit for bit in range(steps.bit_length()) if steps >> bit & 1]
            if any(step not in evaluator.rotations for step in path):
                evaluator.require_rotations([steps])
        native, noise = self.native, self.noise
        for step in path:
            native = evaluator.native.rotate(native, step)
            noise = noise.more(evaluator.noise.key_switch(self.level, native.scale))
        return Vector(evaluator, native, size=length, noise=noise, is_complex=self.is_complex)

    def conjugate(self) -> Vector:
        """The complex conjugate of each entry. Raises MissingKeyError without ``keygen(…,
        conjugate=True)``."""
        noise = self.noise.more(self.evaluator.noise.key_switch(self.level, self.native.scale))
        return self.derived(self.evaluator.native.conjugate(self.native), noise)

    def sum(self) -> Vector:
        """The sum of all entries, a vector of one entry. Raises MissingKeyError without ``keygen(…,
        sums=[size])``."""
        return self._folded(fold_steps(1, period(self.size)), self.size, 1)

    def dot(self, other: Vector | ArrayLike) -> Vector:
        """The inner product with a vector, encrypted or clear: a vector of one entry."""
        if not isinstance(other, Vector):
            # A whole number is no vector: the product with it would skip the check of shapes.
            other = np.atleast_1d(np.asarray(other))
            if other.shape != (self.size,):
                raise ShapeError(f"the inner product needs {self.size} numbers; got the shape {other.shape}")
        elif other.size != self.size:
            raise ShapeError(f"the inner product needs {self.size} entries; got {other.size}")
        return (self * other).sum()

    def __matmul__(self, other: Matrix | Vector | ArrayLike) -> Vector:
        if isinstance(other, Vector):
            return self.dot(other)
        if not isinstance(other, Matrix):
            array = np.asarray(other)
            if array.ndim == 1:
                return self.dot(array)
            if array.ndim != 2 or array.shape[0] != self.size:
                raise ShapeError(
                    f"a vector of {self.size} entries needs a matrix of {self.size} rows;"
                    f" got the shape {array.shape}"
                )
            self._require_level("a product with a matrix")
            other = self.evaluator.matrix(array, level=self.level)
        return self._times_matrix(other)

    def __rmatmul__(self, other: ArrayLike) -> Vector:
        array = np.asarray(other)
        return self @ (array if array.ndim == 1 else array.T)

    def polyval(self, coefficients: ArrayLike) -> Vector:
        """Σ coefficients[k]·x^k for each entry x, in the fewest levels possible: ⌈log2(degree + 1)⌉."""
        return polynomial.evaluate(self, coefficients)

    # levels

    def at_level(self, level: int) -> Vector:
        """The same values at a lower level, with the scale that belongs to it. Costs one cheap product."""
        if not 0 <= level <= self.level:
            raise LevelError(
                f"a vector of level {self.level} can be taken to levels 0 to {self.level}; got {level}"
            )
        return self._at(level, self.evaluator.params.scales[level])

    def _at(self, level: int, scale: float) -> Vector:
        """At ``level`` with ``scale``: multiplied by 1 at the scale that makes it so, and rescaled."""
        if level == self.level:
            return self
        run, params = self.evaluator.native, self.evaluator.params
        dropped = run.drop_level(self.native, level + 1)
        factor = params.plain_scale(level + 1, source=self.native.scale, target=scale)
        native = run.rescale(run.mul_const(dropped, 1.0, scale=factor)).with_scale(scale)
        # 1 is encoded as the nearest integer to the factor, which is relative error of the values.
        error = (round(factor) / factor - 1) * self.noise.bound
        return self.derived(native, self.noise.more(self.evaluator.noise.rounding(scale) + error**2))

    def derived(self, native: _native.Ciphertext, noise: Noise) -> Vector:
        """Another ciphertext as a vector of the same size and kind."""
        return Vector(self.evaluator, native, size=self.size, noise=noise, is_complex=self.is_complex)

    # products, one for each kind of factor

    def _times_vector(self, other: Vector) -> Vector:
        left, right = self._paired(other)
        left._require_level("a product")
        self.evaluator.require_relinearization()
        product = self.evaluator.native.mul_relin_rescale(left.native, right.native)
        return left._after_product(product, right, left.noise.times(right.noise))

    def _plus_plain(self, plaintext: Plaintext) -> Vector:
        left = self._meeting(plaintext)._spread(plaintext.size)._meeting(plaintext)
        if plaintext.size == 1 and left.size != period(left.size):
            # One number in every slot would also fill the zeros beyond the size.
            plaintext = encode(plaintext.params, np.repeat(plaintext.decode(), left.size), level=left.level)
        added = self.evaluator.native.add_plain(left.native, plaintext.native)
        extra = Noise(self.evaluator.noise.encoding(plaintext.scale), plaintext.bound)
        return left._result(added, plaintext, left.noise.plus(extra))

    def _times_plain(self, plaintext: Plaintext) -> Vector:
        left = self._meeting(plaintext)
        left._require_level("a product with numbers that are not whole")
        if plaintext.bound == 0:
            raise _zero_factor()
        run = self.evaluator.native
        product = run.rescale(run.mul_plain(left.native, plaintext.native))
        factor = Noise(self.evaluator.noise.encoding(plaintext.scale), plaintext.bound)
        return left._after_rescale(product, plaintext, left.noise.times(factor))

    def _times_array(self, values: Cleartext) -> Vector:
        return self._times_plain(encode(self.evaluator.params, values, level=self.level))

    def _times_constant(self, factor: float) -> Vector:
        self._require_level("a product with a number that is not whole")
        run = self.evaluator.native
        scale = self.evaluator.params.plain_scale(self.level)
        if abs(factor) * scale < 1:
            raise PrecisionError(
                f"a factor of 2^{log2(abs(factor)):.1f} is lost in the rounding to 2^-{log2(scale):.1f}",
                hint="use a larger log_scale, or scale the values",
            )
        product = run.rescale(run.mul_const(self.native, factor, scale=scale))
        error = self.noise.bound / scale / 2
        noise = self.noise.scaled(abs(factor)).more(error**2)
        return self._after_rescale(product, np.array([factor]), noise)

    def _times_matrix(self, matrix: Matrix) -> Vector:
        evaluator = self.evaluator
        if matrix.shape[0] != self.size:
            raise ShapeError(
                f"a matrix of shape {matrix.shape} takes {matrix.shape[0]} entries; got {self.size}"
            )
        if matrix.level > self.level:
            raise LevelError(
                f"the matrix was encoded for level {matrix.level}; the vector has level {self.level} left",
                hint=f"encode it with evaluator.matrix(weights, level={self.level})",
            )
        x = self.at_level(matrix.level)
        evaluator.require_rotations([*matrix.native.rotations, *matrix.folds])
        native = evaluator.native.linear(x.native, matrix.native, rescale=True)
        model, params = evaluator.noise, evaluator.params
        variance = (x.noise.variance + model.key_switch(x.level, x.native.scale)) * matrix.largest_norm
        variance += x.noise.bound**2 * matrix.shape[0] * model.encoding(params.plain_scale(x.level))
        shared = x.noise.shared * matrix.largest_column**2
        noise = Noise(variance, x.noise.bound * matrix.largest_column, shared)
        return x._after_product(native, x, noise)._folded(matrix.folds, 1, matrix.shape[1])

    # bookkeeping

    def _folded(self, steps: list[int], terms: int, size: int) -> Vector:
        """Blocks added up by rotations; ``terms``: how many entries of this bound make one of the result."""
        evaluator = self.evaluator
        evaluator.require_rotations(steps)
        native = evaluator.native.rotate_sum(self.native, steps) if steps else self.native
        noise = self.noise
        for _ in steps:
            noise = noise.folded(2).more(evaluator.noise.key_switch(self.level, self.native.scale))
        noise = Noise(noise.variance, self.noise.bound * terms, noise.shared)
        if size == 1:
            # Every slot now holds the same sum, error included.
            noise = Noise(0.0, noise.bound, noise.total)
        return Vector(evaluator, native, size=size, noise=noise, is_complex=self.is_complex)

    def _require_level(self, operation: str) -> None:
        if self.level == 0:
            raise LevelError(
                f"{operation} needs a level and none is left",
                hint="encrypt under deeper parameters, ckks.parameters(depth=…),"
                " or let the key owner decrypt and encrypt again",
            )

    def _operand(self, other: ArrayLike) -> Cleartext:
        values = cleartext(other, slots=self.evaluator.params.slots)
        if len(values) != self.size and 1 not in (len(values), self.size):
            raise ShapeError(f"a vector of {self.size} entries does not go with {len(values)} numbers")
        return values

    def _meeting(self, plaintext: Plaintext) -> Vector:
        """At the level of ``plaintext``."""
        if plaintext.params.hash != self.evaluator.params.hash:
            raise PeerIncompatibleError("the vector and the plaintext belong to different parameters")
        if plaintext.size != self.size and 1 not in (plaintext.size, self.size):
            raise ShapeError(f"a vector of {self.size} entries does not go with {plaintext.size} numbers")
        if plaintext.level > self.level:
            raise LevelError(
                f"the plaintext was encoded for level {plaintext.level}; the vector has level {self.level}",
                hint=f"encode it with evaluator.encode(values, level={self.level})",
            )
        return self.at_level(plaintext.level)

    def _paired(self, other: Vector) -> tuple[Vector, Vector]:
        """Both at the lower of the two levels."""
        if other.evaluator.params.hash != self.evaluator.params.hash:
            raise PeerIncompatibleError("the two vectors belong to different parameters")
        if other.size != self.size and 1 not in (other.size, self.size):
            raise ShapeError(f"vectors of {self.size} and {other.size} entries do not go together")
        level = min(self.level, other.level)
        return self.at_level(level), other.at_level(level)

    def _spread(self, size: int) -> Vector:
        """One entry as a vector of ``size`` equal ones; the zeros beyond it cost a level unless size is a
        power of two."""
        if size <= self.size:
            return self
        if size == period(size):
            return Vector(
                self.evaluator, self.native, size=size, noise=self.noise, is_complex=self.is_complex
            )
        return self._times_array(np.ones(size))

    def _result(
        self, native: _native.Ciphertext, other: Vector | Plaintext | Cleartext, noise: Noise
    ) -> Vector:
        is_complex = other.dtype.kind == "c" if isinstance(other, np.ndarray) else other.is_complex
        return Vector(
            self.evaluator,
            native,
            size=max(self.size, len(other)),
            noise=noise,
            is_complex=self.is_complex or is_complex,
        )

    def _after_rescale(
        self, native: _native.Ciphertext, other: Vector | Plaintext | Cleartext, noise: Noise
    ) -> Vector:
        scale = self.evaluator.params.scales[self.level - 1]
        noise = noise.more(self.evaluator.noise.rounding(scale))
        return self._result(native.with_scale(scale), other, noise)

    def _after_product(self, native: _native.Ciphertext, other: Vector, noise: Noise) -> Vector:
        scales = self.evaluator.params.scales
        scale = scales[self.level - 1]
        noise = noise.more(self.evaluator.noise.product(self.level, scales[self.level] ** 2, scale))
        return self._result(native.with_scale(scale), other, noise)


def _zero_factor() -> DataError:
    return DataError("a product with zero is zero for everybody to see; it needs no encrypted vector")
