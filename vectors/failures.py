"""Vectors that must be refused: good objects damaged one thing at a time, and operations whose operands do
not fit."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import known
from oracle import randomness

__all__ = ["vectors"]

Vector = dict[str, object]

_NAME = "two-special-primes"
_MALFORMED, _INCOMPATIBLE = "malformed-message", "peer-incompatible"
_HEADER = 40


def vectors() -> Iterator[tuple[str, Vector]]:
    """(file name without suffix, vector) pairs."""
    world = known.Known(_NAME)
    for kind, source in (
        ("ciphertext", _ciphertexts(world)),
        ("public-key", _public_keys(world)),
        ("evaluation-keys", _evaluation_keys(world)),
        ("secret-key", _secret_keys(world)),
    ):
        for name, expect, data in source:
            yield f"bad-{kind}-{name}", _vector(expect, f"read-{kind}", {"bytes": data.hex()})
    yield from ((f"bad-operation-{name}", vector) for name, vector in _operations(world))
    yield from ((f"bad-parameters-{name}", vector) for name, vector in _literals())


def _frames(world: known.Known, kind: int, flags: int, body: bytes) -> Iterator[tuple[str, str, bytes]]:
    """What can be wrong with any object."""
    good = world.wire.frame(kind, flags, body)
    other = known.Known("one-special-prime").wire
    yield "empty", _MALFORMED, b""
    yield "truncated-header", _MALFORMED, good[:30]
    yield "truncated-body", _MALFORMED, good[:-17]
    yield "trailing-byte", _MALFORMED, good + b"\0"
    yield "bad-magic", _MALFORMED, world.wire.frame(kind, flags, body, magic=b"TACO")
    yield "bad-version", _INCOMPATIBLE, world.wire.frame(kind, flags, body, version=2)
    yield "other-kind", _MALFORMED, world.wire.frame(kind % 4 + 1, flags, body)
    yield "other-parameters", _INCOMPATIBLE, other.frame(kind, flags, body)
    yield "unknown-flag", _MALFORMED, world.wire.frame(kind, flags | 4, body)
    middle = (len(good) + _HEADER) // 2
    yield "tampered", _MALFORMED, good[:middle] + bytes((good[middle] ^ 1,)) + good[middle + 1 :]
    yield "tampered-checksum", _MALFORMED, good[:-1] + bytes((good[-1] ^ 0x80,))


def _ciphertexts(world: known.Known) -> Iterator[tuple[str, str, bytes]]:
    wire, good = world.wire, world.wire.ciphertext(world.x)
    body = good[_HEADER:-16]
    rows = body[12:]
    yield from _frames(world, 1, 0, body)

    def with_fields(
        level: int, degree: int, scale: float, rest: bytes, *, flags: int = 0, reserved: int = 0
    ) -> bytes:
        return wire.frame(1, flags, struct.pack("<BBHd", level, degree, reserved, scale) + rest)

    top, scale = world.top, world.scale
    one_part = rows[: len(rows) // 2]
    yield "reserved-byte", _MALFORMED, with_fields(top, 1, scale, rows, reserved=1)
    yield "level-too-high", _MALFORMED, with_fields(top + 1, 1, scale, rows)
    yield "degree-0", _MALFORMED, with_fields(top, 0, scale, one_part)
    yield "degree-3", _MALFORMED, with_fields(top, 3, scale, rows + rows)
    seed = world.seed("x")
    yield "seeded-degree-2", _MALFORMED, with_fields(top, 2, scale, seed + rows, flags=1)
    yield "transparent", _MALFORMED, with_fields(top, 1, scale, one_part + bytes(len(one_part)))
    yield "not-canonical", _MALFORMED, with_fields(top, 1, scale, b"\xff" * 8 + rows[8:])
    for name, value in (
        ("nan", float("nan")),
        ("infinite", float("inf")),
        ("zero", 0.0),
        ("negative", -scale),
    ):
        yield f"scale-{name}", _MALFORMED, with_fields(top, 1, value, rows)


def _public_keys(world: known.Known) -> Iterator[tuple[str, str, bytes]]:
    wire = world.wire
    seed = world.seed("public key")
    a = wire.expanded(seed, randomness.PUBLIC_KEY, 0, list(range(world.top + 1)))
    b, _ = world.model.public_key(world.s, a, world.noise(), world.top)
    body = wire.public_key(seed, b)[_HEADER:-16]
    yield from _frames(world, 2, 0, body)
    yield "not-canonical", _MALFORMED, wire.frame(2, 0, body[:-8] + b"\xff" * 8)


def _evaluation_keys(world: known.Known) -> Iterator[tuple[str, str, bytes]]:
    wire, model = world.wire, world.model
    g, h = model.rotation_element(1), model.rotation_element(2)
    first, second = world.galois(g, 0), world.galois(h, 0)
    good = wire.evaluation_keys(world.relinearization(0), {g: first})
    body = good[_HEADER:-16]
    yield from _frames(world, 3, 1, body)
    two = wire.evaluation_keys(None, {g: first, h: second})[_HEADER:-16]

    def with_entry(data: bytes, index: int, element: int, level: int) -> bytes:
        at = 8 + 48 * index
        return data[:at] + struct.pack("<QQ", element, level) + data[at + 16 :]

    low, high = sorted((g, h))
    yield "descending", _MALFORMED, wire.frame(3, 0, with_entry(with_entry(two, 0, high, 0), 1, low, 0))
    yield "repeated", _MALFORMED, wire.frame(3, 0, with_entry(two, 1, low, 0))
    yield "even-element", _MALFORMED, wire.frame(3, 0, with_entry(two, 0, 2, 0))
    yield "identity", _MALFORMED, wire.frame(3, 0, with_entry(two, 0, 1, 0))
    yield "element-too-large", _MALFORMED, wire.frame(3, 0, with_entry(two, 1, 2 * model.n + 1, 0))
    yield "level-too-high", _MALFORMED, wire.frame(3, 0, with_entry(two, 1, high, world.top + 1))
    yield "level-huge", _MALFORMED, wire.frame(3, 0, with_entry(two, 1, high, (1 << 64) - 1))
    yield "count-huge", _MALFORMED, wire.frame(3, 0, struct.pack("<I", (1 << 32) - 1) + two[4:])
    yield "not-canonical", _MALFORMED, wire.frame(3, 0, two[:-8] + b"\xff" * 8)


def _secret_keys(world: known.Known) -> Iterator[tuple[str, str, bytes]]:
    body = world.wire.secret_key(world.s)[_HEADER:-16]
    yield from _frames(world, 4, 0, body)
    yield "coefficient-2", _MALFORMED, world.wire.frame(4, 0, b"\x02" + body[1:])


def _operations(world: known.Known) -> Iterator[tuple[str, Vector]]:
    model, wire = world.model, world.wire
    x, low = world.x, model.drop_level(world.x, 1)
    bottom = model.drop_level(world.x, 0)
    doubled = type(x)(x.parts, x.level, 2 * x.scale)
    both = {"x": wire.ciphertext(x).hex(), "y": wire.ciphertext(low).hex()}
    g = model.rotation_element(1)
    keys = wire.evaluation_keys(None, {g: world.galois(g, 0)}).hex()
    yield "add-levels-differ", _vector("level", "add", both)
    yield "multiply-levels-differ", _vector("level", "multiply", both)
    both = {"x": wire.ciphertext(x).hex(), "y": wire.ciphertext(doubled).hex()}
    yield "add-scales-differ", _vector("scale", "add", both)
    yield "rescale-no-level", _vector("level", "rescale", {"x": wire.ciphertext(bottom).hex()})
    yield "drop-level-up", _vector("level", "drop-level", {"x": wire.ciphertext(low).hex()}, level=2)
    product = wire.ciphertext(model.multiply(x, x)).hex()
    yield "relinearize-no-key", _vector("missing-key", "relinearize", {"x": product, "keys": keys})
    inputs = {"x": wire.ciphertext(bottom).hex(), "keys": keys}
    yield "rotate-no-key", _vector("missing-key", "rotate", inputs, steps=3)
    inputs = {"x": wire.ciphertext(x).hex(), "keys": keys}
    yield "rotate-key-of-lower-level", _vector("missing-key", "rotate", inputs, steps=1)
    yield "conjugate-no-key", _vector("missing-key", "conjugate", inputs)


def _literals() -> Iterator[tuple[str, Vector]]:
    for name, expect, literal in (
        ("modulus-too-large", "insecure-parameter", (12, [40, 40], [40], 30)),
        ("ring-too-large", "invalid-parameter", (17, [40], [], 30)),
        ("ring-too-small", "invalid-parameter", (11, [30], [], 20)),
        ("prime-too-large", "invalid-parameter", (13, [51], [], 30)),
        ("prime-too-small", "invalid-parameter", (13, [19], [], 10)),
        ("no-primes", "invalid-parameter", (13, [], [], 10)),
        ("scale-too-large", "invalid-parameter", (13, [40], [], 45)),
    ):
        log_n, log_q, log_p, log_scale = literal
        vector = _vector(expect, "parameters", {})
        vector["parameters"] = {
            "insecure": False,
            "log_n": log_n,
            "log_q": log_q,
            "log_p": log_p,
            "log_scale": log_scale,
        }
        yield name, vector


def _vector(expect: str, operation: str, inputs: dict[str, str], **arguments: float) -> Vector:
    return {
        "expect": expect,
        "operation": operation,
        "parameters": {"insecure": True, **known.LITERALS[_NAME]},
        "arguments": arguments,
        "inputs": inputs,
    }
