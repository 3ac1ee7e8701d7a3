"""The binary forms of ciphertexts and keys, version 1, written from the documentation of the wire format."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from oracle import polynomial, randomness
from oracle.blake3 import blake3
from oracle.polynomial import Polynomial
from oracle.scheme import Ciphertext, Model, SwitchingKey

__all__ = ["Wire", "WireError"]

_CIPHERTEXT, _PUBLIC_KEY, _EVALUATION_KEYS, _SECRET_KEY = 1, 2, 3, 4


class WireError(Exception):
    """Bytes that are not the one form of an object."""


@dataclass(frozen=True)
class Wire:
    """Reads and writes for one model; ``log_scale`` and ``insecure`` enter the hash of the parameters."""

    model: Model
    log_scale: int
    insecure: bool = True

    @property
    def parameter_hash(self) -> bytes:
        """BLAKE3 of the canonical byte form of the parameters."""
        model = self.model
        head = bytes((self.insecure, model.log_n, self.log_scale, len(model.q), len(model.p)))
        primes = b"".join(prime.to_bytes(8, "little") for prime in (*model.q, *model.p))
        return blake3(b"tacit.ckks.parameters.v1" + head + primes)

    # frames

    def frame(self, kind: int, flags: int, body: bytes, *, version: int = 1, magic: bytes = b"TCKS") -> bytes:
        """Header, body, checksum. The checksum is right whatever the rest is, so that the checks behind it
        are reached."""
        data = magic + struct.pack("<HBB", version, kind, flags) + self.parameter_hash + body
        return data + blake3(data)[:16]

    def _open(self, data: bytes, kind: int) -> tuple[int, bytes]:
        if data[:4] != b"TCKS" or data[4:7] != struct.pack("<HB", 1, kind):
            raise WireError("header")
        if data[8:40] != self.parameter_hash or blake3(data[:-16])[:16] != data[-16:]:
            raise WireError("hash")
        return data[7], data[40:-16]

    # rows

    def rows(self, poly: Sequence[int], primes: Iterable[int]) -> bytes:
        """The packed transformed rows of ``poly`` for these indices in q_0 … q_L, p_0 … p_{K-1}."""
        return b"".join(self._pack(polynomial.ntt([c % q for c in poly], q), q) for q in self._primes(primes))

    def _primes(self, indices: Iterable[int]) -> list[int]:
        chain = (*self.model.q, *self.model.p)
        return [chain[i] for i in indices]

    @staticmethod
    def _pack(row: Sequence[int], q: int) -> bytes:
        bits = q.bit_length()
        packed = sum(residue << i * bits for i, residue in enumerate(row))
        return packed.to_bytes(len(row) * bits // 8, "little")

    def _unpack(self, data: bytes, indices: Iterable[int]) -> tuple[list[list[int]], bytes]:
        rows = []
        for q in self._primes(indices):
            bits = q.bit_length()
            size = self.model.n * bits // 8
            packed = int.from_bytes(data[:size], "little")
            row = [packed >> i * bits & ((1 << bits) - 1) for i in range(self.model.n)]
            if max(row) >= q:
                raise WireError("residue")
            rows.append(row)
            data = data[size:]
        return rows, data

    def expanded(self, seed: bytes, kind: int, digit: int, indices: Sequence[int]) -> Polynomial:
        """The uniform polynomial modulo these primes; ``seed`` gives its rows directly in transformed
        order."""
        primes = self._primes(indices)
        rows = [
            randomness.uniform_row(seed, randomness.stream(kind, digit, i), self.model.n, q)
            for i, q in zip(indices, primes, strict=True)
        ]
        return polynomial.from_rows(rows, primes)

    def key_primes(self, level: int) -> list[int]:
        """q_0 … q_level and every p, as indices."""
        top = len(self.model.q)
        return [*range(level + 1), *range(top, top + len(self.model.p))]

    # objects

    def ciphertext(self, ct: Ciphertext, *, seed: bytes | None = None) -> bytes:
        """``seed``: write this instead of part 1, which must be its expansion."""
        head = struct.pack("<BBxxd", ct.level, len(ct.parts) - 1, ct.scale)
        parts = ct.parts[:1] if seed else ct.parts
        body = b"".join(self.rows(part, range(ct.level + 1)) for part in parts)
        return self.frame(_CIPHERTEXT, int(seed is not None), head + (seed or b"") + body)

    def read_ciphertext(self, data: bytes) -> Ciphertext:
        """The ciphertext in coefficient form; seeded halves are expanded."""
        flags, body = self._open(data, _CIPHERTEXT)
        level, degree, scale = struct.unpack_from("<BBxxd", body)
        rest = body[12:]
        seed, rest = (rest[:32], rest[32:]) if flags & 1 else (b"", rest)
        primes = list(range(level + 1))
        parts = []
        for i in range(degree + 1):
            if i == 1 and seed:
                parts.append(self.expanded(seed, randomness.CIPHERTEXT, 0, primes))
            else:
                rows, rest = self._unpack(rest, primes)
                parts.append(polynomial.from_rows(rows, self._primes(primes)))
        if rest:
            raise WireError("length")
        return Ciphertext(tuple(parts), level, scale)

    def public_key(self, seed: bytes, b: Polynomial) -> bytes:
        """Half a as its seed, and half b over q_0 … q_L."""
        return self.frame(_PUBLIC_KEY, 0, seed + self.rows(b, range(len(self.model.q))))

    def read_public_key(self, data: bytes) -> tuple[Polynomial, Polynomial]:
        """(b, a)."""
        _, body = self._open(data, _PUBLIC_KEY)
        primes = list(range(len(self.model.q)))
        rows, rest = self._unpack(body[32:], primes)
        if rest:
            raise WireError("length")
        a = self.expanded(body[:32], randomness.PUBLIC_KEY, 0, primes)
        return polynomial.from_rows(rows, self._primes(primes)), a

    def evaluation_keys(
        self,
        relinearization: tuple[bytes, SwitchingKey] | None,
        galois: Mapping[int, tuple[bytes, SwitchingKey]],
    ) -> bytes:
        """Each key with the seed that its halves a come from."""
        entries = [(0, *relinearization)] if relinearization else []
        entries += [(g, *galois[g]) for g in sorted(galois)]
        body = struct.pack("<Ixxxx", len(galois))
        body += b"".join(struct.pack("<QQ", g, key.level) + seed for g, seed, key in entries)
        for _, _, key in entries:
            body += b"".join(self.rows(b, self.key_primes(key.level)) for b, _ in key.digits)
        return self.frame(_EVALUATION_KEYS, int(relinearization is not None), body)

    def read_evaluation_keys(self, data: bytes) -> dict[int, SwitchingKey]:
        """Keys by Galois element; the relinearisation key under 0."""
        flags, body = self._open(data, _EVALUATION_KEYS)
        (count,) = struct.unpack_from("<I", body)
        count += flags & 1
        entries = [
            (*struct.unpack_from("<QQ", body, 8 + 48 * i), body[24 + 48 * i : 56 + 48 * i])
            for i in range(count)
        ]
        rest = body[8 + 48 * count :]
        keys = {}
        for g, level, seed in entries:
            primes = self.key_primes(level)
            digits = []
            for j in range(len(self.model.digit_primes(level))):
                rows, rest = self._unpack(rest, primes)
                kind = randomness.GALOIS if g else randomness.RELINEARIZATION
                a = self.expanded(seed, kind, j, primes)
                digits.append((polynomial.from_rows(rows, self._primes(primes)), a))
            keys[g] = SwitchingKey(tuple(digits), level)
        if rest:
            raise WireError("length")
        return keys

    def secret_key(self, s: Sequence[int]) -> bytes:
        """Two bits for each coefficient, from the low bits up."""
        packed = sum((c & 3) << 2 * i for i, c in enumerate(s))
        return self.frame(_SECRET_KEY, 0, packed.to_bytes(self.model.n // 4, "little"))

    def read_secret_key(self, data: bytes) -> list[int]:
        """The coefficients in {-1, 0, 1}."""
        _, body = self._open(data, _SECRET_KEY)
        packed = int.from_bytes(body, "little")
        return [(0, 1, 2, -1)[packed >> 2 * i & 3] for i in range(self.model.n)]
