"""BLAKE3 (O'Connor, Aumasson, Neves, Wilcox-O'Hearn, 2020), the plain hash of 32 bytes, from sections 2.1 to
2.5 of the paper."""

from __future__ import annotations

import struct

__all__ = ["blake3"]

_IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
_PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
_CHUNK_START, _CHUNK_END, _PARENT, _ROOT = 1, 2, 4, 8
_MASK = 0xFFFFFFFF

Words = tuple[int, ...]


def _compress(cv: Words, block: Words, counter: int, length: int, flags: int) -> Words:
    v = [*cv, *_IV[:4], counter & _MASK, counter >> 32, length, flags]
    m = list(block)

    def rotate(x: int, r: int) -> int:
        return (x >> r | x << 32 - r) & _MASK

    def mix(a: int, b: int, c: int, d: int, x: int, y: int) -> None:
        for word, r1, r2 in ((x, 16, 12), (y, 8, 7)):
            v[a] = (v[a] + v[b] + word) & _MASK
            v[d] = rotate(v[d] ^ v[a], r1)
            v[c] = (v[c] + v[d]) & _MASK
            v[b] = rotate(v[b] ^ v[c], r2)

    for _ in range(7):
        for i in range(4):
            mix(i, 4 + i, 8 + i, 12 + i, m[2 * i], m[2 * i + 1])
        for i in range(4):
            mix(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[8 + 2 * i], m[9 + 2 * i])
        m = [m[i] for i in _PERMUTATION]
    return tuple(v[i] ^ v[i + 8] for i in range(8))


def _chunk(data: bytes, index: int, root: int) -> Words:
    cv: Words = _IV
    blocks = [data[i : i + 64] for i in range(0, len(data), 64)] or [b""]
    for i, block in enumerate(blocks):
        flags = (_CHUNK_START if i == 0 else 0) | ((_CHUNK_END | root) if i == len(blocks) - 1 else 0)
        words = struct.unpack("<16I", block.ljust(64, b"\0"))
        cv = _compress(cv, words, index, len(block), flags)
    return cv


def _subtree(data: bytes, index: int, root: int) -> Words:
    """The chaining value of ``data``, whose first chunk has this index: left subtrees hold a power of two of
    chunks."""
    if len(data) <= 1024:
        return _chunk(data, index, root)
    chunks = (len(data) + 1023) // 1024
    left = 1 << (chunks - 1).bit_length() - 1
    halves = _subtree(data[: left * 1024], index, 0) + _subtree(data[left * 1024 :], index + left, 0)
    return _compress(_IV, halves, 0, 64, _PARENT | root)


def blake3(data: bytes) -> bytes:
    """The 32 byte hash of ``data``."""
    return struct.pack("<8I", *_subtree(data, 0, _ROOT))
