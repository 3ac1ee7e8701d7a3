"""Public randomness: AES-256 in counter mode, as written in the documentation of the Rust sampler."""

from __future__ import annotations

from collections.abc import Iterator

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

__all__ = ["CIPHERTEXT", "GALOIS", "PUBLIC_KEY", "RELINEARIZATION", "stream", "uniform_row", "words"]

CIPHERTEXT, PUBLIC_KEY, RELINEARIZATION, GALOIS = range(4)


def stream(kind: int, digit: int, prime: int) -> int:
    """The stream of one row; ``prime`` is its index in the whole chain q_0 … q_L, p_0 … p_{K-1}."""
    return kind << 48 | digit << 32 | prime


def words(seed: bytes, stream: int) -> Iterator[int]:
    """The 64-bit little-endian words of the stream: AES-256 of (stream ‖ block counter), both
    little-endian."""
    encryptor = Cipher(algorithms.AES(seed), modes.ECB()).encryptor()
    counter = 0
    while True:
        block = encryptor.update(stream.to_bytes(8, "little") + counter.to_bytes(8, "little"))
        yield int.from_bytes(block[:8], "little")
        yield int.from_bytes(block[8:], "little")
        counter += 1


def uniform_row(seed: bytes, stream: int, n: int, q: int) -> list[int]:
    """``n`` uniform residues: words masked to the bits of q, those that are not below q thrown away."""
    mask = (1 << q.bit_length()) - 1
    out: list[int] = []
    for word in words(seed, stream):
        if (word & mask) < q:
            out.append(word & mask)
            if len(out) == n:
                break
    return out
