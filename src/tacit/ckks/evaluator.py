"""The evaluator: parameters and evaluation keys. It computes on vectors and cannot decrypt them."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

from numpy.typing import ArrayLike

from tacit import _native
from tacit.ckks.matrix import Matrix
from tacit.ckks.noise import NoiseModel
from tacit.ckks.parameters import Parameters
from tacit.ckks.plaintext import Plaintext, encode
from tacit.ckks.vector import Vector
from tacit.errors import MalformedMessageError, MissingKeyError, PeerIncompatibleError

__all__ = ["Evaluator"]

_HEADER = struct.Struct("<4sBBxxI")
_MAGIC = b"TCKV"
_VERSION = 1
_CHECKSUM_BYTES, _SEAL_BYTES = 16, 8


class Evaluator:
    """What the computing side holds. Vectors remember theirs, so that ``x * y`` finds the keys it needs."""

    def __init__(
        self, params: Parameters, keys: _native.EvaluationKeys | bytes | None = None, *, threads: int = 1
    ) -> None:
        """``keys``: the evaluation keys or their bytes, None for additions and clear factors only."""
        if isinstance(keys, bytes):
            keys = _native.EvaluationKeys.from_bytes(params.native, keys)
        self.params = params
        self.keys = keys
        self.native = _native.Evaluator(params.native, keys, threads=threads)
        self.noise = NoiseModel(params)
        self.rotations: frozenset[int] = frozenset(keys.rotations if keys is not None else ())

    def matrix(self, weights: ArrayLike, *, level: int | None = None) -> Matrix:
        """``weights`` (inputs, outputs) encoded once for many products ``x @ matrix`` at ``level``."""
        return Matrix.encode(self.params, weights, level=level)

    def encode(self, values: ArrayLike, *, level: int | None = None) -> Plaintext:
        """``values`` encoded once for many sums ``x + plaintext`` and products ``x * plaintext`` at ``level``."""
        return encode(self.params, values, level=level)

    def encrypt(
        self,
        values: Plaintext | ArrayLike,
        public: _native.PublicKey | bytes,
        *,
        level: int | None = None,
        bound: float | None = None,
    ) -> Vector:
        """Encrypt for the owner of ``public``. As `Keys.encrypt`, but nobody here can decrypt it."""
        if isinstance(public, bytes):
            public = _native.PublicKey.from_bytes(self.params.native, public)
        plaintext = values if isinstance(values, Plaintext) else self.encode(values, level=level)
        limit = plaintext.power_of_two if bound is None else bound
        noise = self.noise.fresh_public(plaintext.scale, limit)
        native = public.encrypt(plaintext.native)
        return Vector(self, native, size=plaintext.size, noise=noise, is_complex=plaintext.is_complex)

    def load(self, data: bytes, *, bound: float = 1.0) -> Vector:
        """A vector from `Vector.serialize`; ``bound`` on its values is what the reader knows, for the noise
        estimate.

        The estimate starts anew, as for a fresh encryption. Raises MalformedMessageError for bytes that are
        no vector and
        PeerIncompatibleError for another version or other parameters.
        """
        if len(data) < _HEADER.size + _SEAL_BYTES:
            raise MalformedMessageError(f"a vector has more than {_HEADER.size} bytes; got {len(data)}")
        magic, version, kind, size = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise MalformedMessageError("these bytes are not a serialized vector")
        if version != _VERSION:
            raise PeerIncompatibleError(
                f"this build reads vectors of version {_VERSION}; got version {version}"
            )
        if kind > 1 or data[6:8] != b"\0\0" or not 1 <= size <= self.params.slots:
            raise MalformedMessageError("the header of a serialized vector is not valid")
        body = data[_HEADER.size : -_SEAL_BYTES]
        if data[-_SEAL_BYTES:] != _seal(data[: _HEADER.size], body):
            raise MalformedMessageError(
                "the header of a serialized vector was changed, or its end is missing"
            )
        native = _native.Ciphertext.from_bytes(self.params.native, body)
        if native.degree != 1:
            raise MalformedMessageError(f"a serialized vector has degree 1; got degree {native.degree}")
        noise = self.noise.fresh(native.scale, bound)
        if native.level < self.params.depth:
            noise = noise.more(self.noise.rounding(native.scale))
        return Vector(self, native, size=size, noise=noise, is_complex=kind == 1)

    def dump(self, vector: Vector) -> bytes:
        """The bytes that `load` reads.

        12 bytes of header (magic, version, real or complex, size), the ciphertext, and 8 bytes of BLAKE2b over the
        header and the checksum that ends the ciphertext. They detect damage, not an adversary.
        """
        header = _HEADER.pack(_MAGIC, _VERSION, int(vector.is_complex), vector.size)
        body = vector.native.to_bytes()
        return header + body + _seal(header, body)

    def require_rotations(self, steps: Sequence[int]) -> None:
        """Raise MissingKeyError, naming the rotations, unless there is a key for each of ``steps``."""
        missing = sorted(step for step in steps if step % self.params.slots and step not in self.rotations)
        if missing:
            raise MissingKeyError(
                f"no key for the rotations {missing}",
                hint=f"ask the key owner for keygen(params, rotations={missing}); sums=[size] and"
                " matmul=[(inputs, outputs)] make those of sums and matrices",
            )

    def require_relinearization(self) -> None:
        """Raise MissingKeyError unless ciphertexts can be multiplied."""
        if self.keys is None or not self.keys.has_relinearization:
            raise MissingKeyError(
                "no relinearization key, so two ciphertexts cannot be multiplied",
                hint="make the keys with keygen(params), and pass keys.evaluation to the evaluator",
            )

    def __repr__(self) -> str:
        return f"<Evaluator n={self.params.n} rotations={len(self.rotations)}>"


def _seal(header: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(header + body[-_CHECKSUM_BYTES:], digest_size=_SEAL_BYTES).digest()
