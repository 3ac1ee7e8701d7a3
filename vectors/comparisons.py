"""Keys of distributed comparison functions, in Python's integers; AES from the package `cryptography`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from shares import hexed, words

LEAF_BITS = 7
Block = int


def hashed(prg_key: bytes, seed: Block) -> Block:
    """E(s) ^ s."""
    encryptor = Cipher(algorithms.AES(prg_key), modes.ECB()).encryptor()  # noqa: S305 - the block cipher is meant
    return int.from_bytes(encryptor.update(seed.to_bytes(16, "little")), "little") ^ seed


def child(prg_key: bytes, seed: Block, direction: int) -> tuple[Block, int, int]:
    """Seed, control bit and value."""
    h = hashed(prg_key, seed | direction)
    return h >> 3 << 3, h >> direction & 1, h >> 2 & 1


def levels(bits: int) -> int:
    return max(0, bits - LEAF_BITS)


def generate(prg_key: bytes, bits: int, roots: tuple[Block, Block], alpha: int, flip: int) -> list[Block]:
    """Figure 1 of ia.cr/2020/1392 in the group Z_2, with the last seven levels as one block (CCS 2016)."""
    seeds, controls, value, keys = [root >> 3 << 3 for root in roots], [0, 1], 0, []
    for level in range(levels(bits)):
        keep = alpha >> (bits - 1 - level) & 1
        lose = 1 - keep
        children = [[child(prg_key, seed, direction) for direction in (0, 1)] for seed in seeds]
        seed = children[0][lose][0] ^ children[1][lose][0]
        turn = [children[0][d][1] ^ children[1][d][1] ^ (d == keep) for d in (0, 1)]
        # Off the path to alpha all points are below it (where the path goes right) or none is.
        add = children[0][lose][2] ^ children[1][lose][2] ^ value ^ keep ^ flip
        keys.append(seed | turn[0] | turn[1] << 1 | add << 2)
        for party in (0, 1):
            kept, control, own = children[party][keep]
            value ^= own ^ (controls[party] & add)
            seeds[party] = kept ^ (seed if controls[party] else 0)
            controls[party] = control ^ (controls[party] & turn[keep])
    suffix = alpha % (1 << min(bits, LEAF_BITS))
    target = sum(((j < suffix) ^ flip ^ value) << j for j in range(128))
    return [*keys, hashed(prg_key, seeds[0]) ^ hashed(prg_key, seeds[1]) ^ target]


def evaluate(prg_key: bytes, bits: int, party: int, root: Block, keys: list[Block], point: int) -> int:
    seed, control, value = root >> 3 << 3, party, 0
    for level, key in enumerate(keys[:-1]):
        direction = point >> (bits - 1 - level) & 1
        seed, own_control, own_value = child(prg_key, seed, direction)
        value ^= own_value ^ (control & key >> 2)
        seed ^= key >> 3 << 3 if control else 0
        control = own_control ^ (control & key >> direction & 1)
    leaves = hashed(prg_key, seed) ^ (keys[-1] if control else 0)
    return (leaves >> point % (1 << min(bits, LEAF_BITS)) & 1) ^ value


def halves(blocks: list[Block]) -> list[int]:
    """The words of blocks."""
    return [block >> shift & ((1 << 64) - 1) for block in blocks for shift in (0, 64)]


def blocks(numbers: list[int]) -> list[Block]:
    return [low | high << 64 for low, high in zip(numbers[::2], numbers[1::2], strict=True)]


def packed(bits: list[int]) -> list[int]:
    return [sum(bit << j for j, bit in enumerate(bits[at : at + 64])) for at in range(0, len(bits), 64)]


def comparison(bits: int, n: int) -> dict[str, Any]:
    """Keys for ``n`` secrets, evaluated at, below, above and far from them, whole and damaged."""
    name = f"compare {bits}"
    low = (1 << bits) - 1
    prg_key = b"".join(word.to_bytes(8, "little") for word in words(f"{name} key", 2))
    alpha, flips = words(f"{name} alpha", n), [word & 1 for word in words(f"{name} flips", n)]
    roots = [blocks(words(f"{name} roots {party}", 2 * n)) for party in (0, 1)]
    each = [generate(prg_key, bits, (roots[0][i], roots[1][i]), alpha[i] & low, flips[i]) for i in range(n)]
    # Level by level.
    rows = [each[i][level] for level in range(levels(bits) + 1) for i in range(n)]
    mask = (1 << 64) - 1
    evaluations = []
    places = [alpha, [a - 1 & mask for a in alpha], [a + 1 & mask for a in alpha], words(f"{name} points", n)]
    # A bit of the first correction word of each key, or of its correction of leaves.
    damages = [(None, 0)] * 4 + [(0, 0), (0, 2), (0, 77), (levels(bits), 3)]
    for k, (row, bit) in enumerate(damages):
        points = places[k % 4]
        damage = [0] * len(rows)
        if row is not None:
            damage[row * n : (row + 1) * n] = [1 << bit] * n
        keys = [a ^ b for a, b in zip(rows, damage, strict=True)]
        outputs = [
            [evaluate(prg_key, bits, party, roots[party][i], keys[i::n], points[i]) for i in range(n)]
            for party in (0, 1)
        ]
        if row is None:
            for i in range(n):
                assert outputs[0][i] ^ outputs[1][i] == (points[i] & low < alpha[i] & low) ^ flips[i]  # noqa: S101
        evaluations.append({
            "points": hexed(points), "damage": [] if row is None else [row, bit],
            "output0": hexed(packed(outputs[0])), "output1": hexed(packed(outputs[1])),
        })  # fmt: skip
    inputs = {
        "roots0": hexed(halves(roots[0])), "roots1": hexed(halves(roots[1])),
        "alpha": hexed(alpha), "flips": hexed(packed(flips)),
    }  # fmt: skip
    return {
        "operation": "compare", "bits": bits, "prg_key": prg_key.hex(), "inputs": inputs,
        "keys": hexed(halves(rows)), "evaluations": evaluations,
    }  # fmt: skip


def refusals() -> Iterator[tuple[str, dict[str, Any]]]:
    """What the kernels refuse, by a part of what they say."""
    whole = comparison(9, 3)
    short = {**whole, "keys": whole["keys"][:-16]}
    yield "short-keys", {"expect": "words of the keys", **short}
    for name, change, says in (
        ("one-root-too-few", {"roots1": whole["inputs"]["roots1"][:-32]}, "words of the roots"),
        ("no-flips", {"flips": ""}, "words of the flips"),
    ):
        yield name, {"expect": says, **whole, "inputs": {**whole["inputs"], **change}}
    damaged = [{**whole["evaluations"][0], "points": whole["evaluations"][0]["points"][:-16]}]
    yield "one-point-too-few", {"expect": "words of the keys", **whole, "evaluations": damaged}
    yield "65-bits", {"expect": "at most 64 bits", **whole, "bits": 65}


def vectors() -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, vector)."""
    for bits, n in ((0, 2), (1, 3), (6, 5), (7, 9), (8, 4), (20, 33), (64, 5)):
        yield f"compare-{bits}", {"expect": "ok", **comparison(bits, n)}
    for name, vector in refusals():
        yield f"bad-compare-{name}", vector
