"""What one party of a protocol on shares computes, in Python's integers; AES from the package `cryptography`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

WORD = (1 << 64) - 1
EDGES = [0, 1, WORD, 1 << 63, (1 << 63) - 1, (1 << 52) - 1, 1 << 52, 0xFFF, 1 << 12, (1 << 32) - 1, 1 << 32]


def hexed(words: list[int]) -> str:
    """Words as 8 bytes each, least significant first."""
    return b"".join(word.to_bytes(8, "little") for word in words).hex()


def words(name: str, n: int) -> list[int]:
    """Numbers with the edges of the range among them."""
    rng = random.Random(name)  # noqa: S311 - test values
    return [rng.choice(EDGES) if rng.random() < 0.3 else rng.getrandbits(64) for _ in range(n)]


def encrypt(key: bytes, first: int, second: int) -> bytes:
    """One block: two integers."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - the block cipher is meant
    return encryptor.update(first.to_bytes(8, "little") + second.to_bytes(8, "little"))


def stream(seed: bytes, number: int, first: int, n: int) -> list[int]:
    """``n`` words from block ``first`` on."""
    key, nonce = encrypt(seed, number, 0), int.from_bytes(encrypt(seed, number, 1)[:8], "little")
    blocks = [encrypt(key, first + i, nonce) for i in range((n + 1) // 2)]
    return [int.from_bytes(b[i : i + 8], "little") for b in blocks for i in (0, 8)][:n]


def streams() -> Iterator[tuple[str, dict[str, Any]]]:
    """Consecutive calls, each with its own number of words."""
    seeds = {
        "zero-seed": (bytes(32), 0),
        "counting-seed": (bytes(range(32)), 1),
        "last-number": (b"\xff" * 32, WORD),
    }
    for name, (seed, number) in seeds.items():
        outputs, first = [], 0
        for n in (1, 2, 3, 8, 9, 64, 131):
            outputs.append(hexed(stream(seed, number, first, n)))
            first += (n + 1) // 2
        yield name, {"operation": "stream", "seed": seed.hex(), "number": str(number), "outputs": outputs}


def products() -> Iterator[tuple[str, dict[str, Any]]]:
    """One party's x1·y1 + x1·y2 + x2·y1."""
    for rows, depth, columns in ((1, 5, 7), (3, 4, 6), (4, 9, 2), (7, 130, 17)):
        name = f"{rows}x{depth}x{columns}"
        x = [words(f"{name} x{i}", rows * depth) for i in (1, 2)]
        y = [words(f"{name} y{i}", depth * columns) for i in (1, 2)]
        out = [
            sum(
                x[a][i * depth + k] * y[b][k * columns + j]
                for a, b in ((0, 0), (0, 1), (1, 0))
                for k in range(depth)
            )
            & WORD
            for i in range(rows)
            for j in range(columns)
        ]
        shape = {"rows": rows, "depth": depth, "columns": columns}
        inputs = {"x1": hexed(x[0]), "x2": hexed(x[1]), "y1": hexed(y[0]), "y2": hexed(y[1])}
        yield name, {"operation": "product", "shape": shape, "inputs": inputs, "output": hexed(out)}


def convolutions() -> Iterator[tuple[str, dict[str, Any]]]:
    """One party's k1·x1 + k1·x2 + k2·x1, one product after the other."""
    sizes: list[dict[str, Any]] = [
        placed(1, 1, (6, 9), 4, (3, 2)),
        placed(2, 4, (5, 4), 6, (3, 3), strides=(2, 1), pads=(1, 0, 2, 1), dilations=(1, 2), groups=2),
        placed(1, 3, (4, 5), 3, (3, 3), pads=(1, 1, 1, 1), groups=3),
    ]
    for size in sizes:
        (height, width), (rows, columns), groups = size["image"], size["kernel"], size["groups"]
        depth, each = size["channels"] // groups, size["filters"] // groups
        name = "x".join(str(n) for n in (size["channels"], height, width, size["filters"], rows, columns))
        x = [words(f"{name} x{i}", size["samples"] * size["channels"] * height * width) for i in (1, 2)]
        kernel = [words(f"{name} k{i}", size["filters"] * depth * rows * columns) for i in (1, 2)]
        padded = [n + size["pads"][i] + size["pads"][i + 2] for i, n in enumerate((height, width))]
        far = [(n - 1) * step + 1 for n, step in zip((rows, columns), size["dilations"], strict=True)]
        result = [
            (n - reach) // stride + 1 for n, reach, stride in zip(padded, far, size["strides"], strict=True)
        ]
        out = []
        for n, f, v, u in product(
            range(size["samples"]), range(size["filters"]), range(result[0]), range(result[1])
        ):
            total = 0
            for c, i, j in product(range(depth), range(rows), range(columns)):
                down = v * size["strides"][0] + i * size["dilations"][0] - size["pads"][0]
                across = u * size["strides"][1] + j * size["dilations"][1] - size["pads"][1]
                if not (0 <= down < height and 0 <= across < width):
                    continue
                at = ((n * size["channels"] + f // each * depth + c) * height + down) * width + across
                k = ((f * depth + c) * rows + i) * columns + j
                total += sum(kernel[a][k] * x[b][at] for a, b in ((0, 0), (0, 1), (1, 0)))
            out.append(total & WORD)
        inputs = {"x1": hexed(x[0]), "x2": hexed(x[1]), "k1": hexed(kernel[0]), "k2": hexed(kernel[1])}
        yield name, {"operation": "convolution", "sizes": size, "inputs": inputs, "output": hexed(out)}


def placed(
    samples: int,
    channels: int,
    image: tuple[int, int],
    filters: int,
    kernel: tuple[int, int],
    *,
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilations: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> dict[str, Any]:
    """Sizes of a convolution; pairs are of rows and columns, pads above, left, below and right."""
    return {
        "samples": samples,
        "channels": channels,
        "image": image,
        "filters": filters,
        "kernel": kernel,
        "strides": strides,
        "pads": pads,
        "dilations": dilations,
        "groups": groups,
    }


def masked() -> Iterator[tuple[str, dict[str, Any]]]:
    """x1·y1 + x1·y2 + x2·y1 + F(own) - F(next) + z - r + 2^62, word by word."""
    own, following, third = bytes(range(32)), bytes(range(1, 33)), bytes(range(2, 34))
    for n in (1, 8, 1027):
        x1, x2, y1, y2, z = (words(f"masked {n} {name}", n) for name in ("x1", "x2", "y1", "y2", "z"))
        masks = [stream(seed, 3, 0, n) for seed in (own, following, third)]
        out = [
            (a * c + a * d + b * c + p - q + e - r + (1 << 62)) & WORD
            for a, b, c, d, e, p, q, r in zip(x1, x2, y1, y2, z, *masks, strict=True)
        ]
        parts = {"x1": x1, "x2": x2, "y1": y1, "y2": y2, "z": z}
        inputs = {key: hexed(part) for key, part in parts.items()}
        seeds = {"own": own.hex(), "next": following.hex(), "third": third.hex()}
        yield str(n), {"operation": "masked", "number": 3, **seeds, "inputs": inputs, "output": hexed(out)}


def planes() -> Iterator[tuple[str, dict[str, Any]]]:
    """Numbers as planes of bits."""
    for n in (1, 63, 64, 65, 130):
        numbers = words(f"planes {n}", n)
        out = [
            sum((number >> j & 1) << i for i, number in enumerate(numbers[at : at + 64]))
            for j in range(64)
            for at in range(0, n, 64)
        ]
        yield str(n), {"operation": "planes", "inputs": {"numbers": hexed(numbers)}, "output": hexed(out)}


def truncations() -> Iterator[tuple[str, dict[str, Any]]]:
    """Numbers in the clear, as one part that is the first: what is opened, and the quotient."""
    top = 1 << 62
    for bits in (1, 18, 62):
        numbers = [-top, -top + 1, -(1 << (bits - 1)), -1, 0, 1, 1 << (bits - 1), top - 1]
        masks = words(f"masks {bits}", len(numbers))
        opened, out = [], []
        for x, r in zip(numbers, masks, strict=True):
            opened.append((x + top + r) & WORD)
            carry = x % (1 << bits) + r % (1 << bits) >= 1 << bits
            out.append(((x >> bits) + carry) & WORD)
        inputs = {"x": hexed([x & WORD for x in numbers]), "r": hexed(masks)}
        outputs = {"opened": hexed(opened), "quotient": hexed(out)}
        yield str(bits), {"operation": "truncate", "bits": bits, "inputs": inputs, **outputs}


def refusals() -> Iterator[tuple[str, dict[str, Any]]]:
    """What the kernels refuse, by a part of what they say."""
    wrong = "words of `right`"
    for name, right in (("empty", 0), ("short", 5), ("long", 7), ("transposed", 9)):
        shape = {"rows": 1, "depth": 2, "columns": 3}
        inputs = {
            "x1": hexed([1] * 2),
            "x2": hexed([1] * 2),
            "y1": hexed([1] * right),
            "y2": hexed([1] * right),
        }
        yield f"product-right-{name}", {
            "expect": wrong, "operation": "product", "shape": shape, "inputs": inputs,
        }  # fmt: skip
    image = placed(1, 1, (2, 2), 1, (1, 1))
    for name, change, said in (
        ("kernel-large", {"kernel": (3, 1)}, "a convolution that fits"),
        ("no-stride", {"strides": (0, 1)}, "a convolution that fits"),
        ("no-groups", {"groups": 0}, "a convolution that fits"),
        ("image-short", {"image": (2, 3)}, "words of the input"),
    ):
        inputs = {"x1": hexed([1] * 4), "x2": hexed([1] * 4), "k1": hexed([1]), "k2": hexed([1])}
        yield f"convolution-{name}", {
            "expect": said, "operation": "convolution", "sizes": {**image, **change}, "inputs": inputs,
        }  # fmt: skip
    one = {"x": hexed([1]), "r": hexed([2])}
    for bits in (0, 63, 64, (1 << 32) - 1):
        yield f"truncate-{bits}-bits", {
            "expect": "1 to 62 bits", "operation": "truncate", "bits": bits, "inputs": one,
        }  # fmt: skip
    for name, masks in (("no-masks", 0), ("two-masks", 2)):
        yield f"truncate-{name}", {
            "expect": "differ in length", "operation": "truncate", "bits": 18,
            "inputs": {**one, "r": hexed([2] * masks)},
        }  # fmt: skip


def vectors() -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, vector)."""
    groups = {
        "stream": streams,
        "product": products,
        "convolution": convolutions,
        "masked": masked,
        "planes": planes,
        "truncate": truncations,
    }
    for kind, group in groups.items():
        for name, vector in group():
            yield f"{kind}-{name}", {"expect": "ok", **vector}
    for name, vector in refusals():
        yield f"bad-{name}", vector
