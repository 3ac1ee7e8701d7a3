"""Vectors that are expected to work: inputs and outputs as bytes of the wire form, outputs from the
oracle."""

from __future__ import annotations

from collections.abc import Iterator

import known
from oracle import embedding, randomness
from oracle.scheme import Ciphertext, Model

__all__ = ["vectors"]

Vector = dict[str, object]


def vectors() -> Iterator[tuple[str, Vector]]:
    """(file name without suffix, vector) pairs."""
    for name in known.LITERALS:
        world = known.Known(name)
        yield from ((f"ckks-{name}-{operation}", vector) for operation, vector in _all(world))


def _all(world: known.Known) -> Iterator[tuple[str, Vector]]:
    yield "parameters", _vector(world, "parameters", {}, _parameters(world))
    yield (
        "seed",
        _vector(
            world, "negate", {"x": _seeded(world, "x", world.x)}, _ct(world, world.model.negate(world.x))
        ),
    )
    yield from _arithmetic(world)
    yield from _switching(world)
    yield from _objects(world)


def _arithmetic(world: known.Known) -> Iterator[tuple[str, Vector]]:
    model, x, y = world.model, world.x, world.y
    both = {"x": _ct(world, x), "y": _seeded(world, "y", y)}
    yield "add", _vector(world, "add", both, _ct(world, model.add(x, y)))
    yield "subtract", _vector(world, "subtract", both, _ct(world, model.add(x, model.negate(y))))
    product = model.multiply(x, y)
    yield "multiply", _vector(world, "multiply", both, _ct(world, product))
    yield "square", _vector(world, "square", {"x": _ct(world, x)}, _ct(world, model.multiply(x, x)))
    rescaled = model.rescale(product)
    yield "rescale-degree-2", _vector(world, "rescale", {"x": _ct(world, product)}, _ct(world, rescaled))
    yield "rescale", _vector(world, "rescale", {"x": _ct(world, x)}, _ct(world, model.rescale(x)))
    dropped = model.drop_level(x, 0)
    yield "drop-level", _vector(world, "drop-level", {"x": _ct(world, x)}, _ct(world, dropped), level=0)
    for factor, scale in ((3.0, 1.0), (-0.75, 2.0**20)):
        times = model.multiply_plain(x, _constant(model, round(factor * scale)), scale)
        suffix = "whole" if scale == 1.0 else "real"
        inputs = {"x": _ct(world, x)}
        yield (
            f"multiply-constant-{suffix}",
            _vector(world, "multiply-constant", inputs, _ct(world, times), factor=factor, scale=scale),
        )
    slots = embedding.decode(model.decrypt(x, world.s), x.scale)
    secret = {"x": _ct(world, x), "secret_key": world.wire.secret_key(world.s).hex()}
    expected = [[z.real, z.imag] for z in slots]
    yield "decrypt", _vector(world, "decrypt", secret, expected)
    slots = embedding.decode(model.decrypt(product, world.s), product.scale)
    secret = {"x": _ct(world, product), "secret_key": world.wire.secret_key(world.s).hex()}
    yield "decrypt-degree-2", _vector(world, "decrypt", secret, [[z.real, z.imag] for z in slots])


def _switching(world: known.Known) -> Iterator[tuple[str, Vector]]:
    model, x, y = world.model, world.x, world.y
    seed, key = world.relinearization(world.top)
    keys = world.wire.evaluation_keys((seed, key), {}).hex()
    product = model.multiply(x, y)
    inputs = {"x": _ct(world, product), "keys": keys}
    yield "relinearize", _vector(world, "relinearize", inputs, _ct(world, model.relinearize(product, key)))
    inputs = {"x": _ct(world, x), "y": _ct(world, y), "keys": keys}
    fused = model.multiply_relinearize_rescale(x, y, key)
    yield "multiply-fused", _vector(world, "multiply-relinearize-rescale", inputs, _ct(world, fused))
    low = model.drop_level(x, 1)
    fused = model.multiply_relinearize_rescale(low, low, key)
    inputs = {"x": _ct(world, low), "keys": keys}
    yield "square-fused-low-level", _vector(world, "square-relinearize-rescale", inputs, _ct(world, fused))
    for steps in (1, 3):
        g = model.rotation_element(steps)
        seed, key = world.galois(g, world.top)
        inputs = {"x": _ct(world, x), "keys": world.wire.evaluation_keys(None, {g: (seed, key)}).hex()}
        rotated = _ct(world, model.apply_galois(x, g, key))
        yield f"rotate-{steps}", _vector(world, "rotate", inputs, rotated, steps=steps)
    g = model.rotation_element(2)
    seed, key = world.galois(g, 1)
    inputs = {"x": _ct(world, low), "keys": world.wire.evaluation_keys(None, {g: (seed, key)}).hex()}
    yield (
        "rotate-trimmed-key",
        _vector(world, "rotate", inputs, _ct(world, model.apply_galois(low, g, key)), steps=2),
    )
    g = 2 * model.n - 1
    seed, key = world.galois(g, world.top)
    inputs = {"x": _ct(world, x), "keys": world.wire.evaluation_keys(None, {g: (seed, key)}).hex()}
    yield "conjugate", _vector(world, "conjugate", inputs, _ct(world, model.apply_galois(x, g, key)))


def _objects(world: known.Known) -> Iterator[tuple[str, Vector]]:
    """Objects that must come back byte for byte."""
    model, wire = world.model, world.wire
    seed = world.seed("public key")
    a = wire.expanded(seed, randomness.PUBLIC_KEY, 0, list(range(world.top + 1)))
    b, _ = model.public_key(world.s, a, world.noise(), world.top)
    g = model.rotation_element(1)
    keys = wire.evaluation_keys(world.relinearization(1), {g: world.galois(g, world.top)})
    objects = {
        "ciphertext": wire.ciphertext(world.x),
        "ciphertext-seeded": wire.ciphertext(world.x, seed=world.seed("x")),
        "ciphertext-degree-2": wire.ciphertext(model.multiply(world.x, world.y)),
        "public-key": wire.public_key(seed, b),
        "evaluation-keys": keys,
        "secret-key": wire.secret_key(world.s),
    }
    for name, data in objects.items():
        kind = name if name.endswith("s") or name.endswith("key") else "ciphertext"
        yield f"read-{name}", _vector(world, f"read-{kind}", {"bytes": data.hex()}, data.hex())


def _parameters(world: known.Known) -> Vector:
    hash_ = world.wire.parameter_hash.hex()
    return {"q": list(world.model.q), "p": list(world.model.p), "hash": hash_}


def _constant(model: Model, value: int) -> list[int]:
    return [value] + [0] * (model.n - 1)


def _ct(world: known.Known, ct: Ciphertext) -> str:
    return world.wire.ciphertext(ct).hex()


def _seeded(world: known.Known, name: str, ct: Ciphertext) -> str:
    return world.wire.ciphertext(ct, seed=world.seed(name)).hex()


def _vector(
    world: known.Known, operation: str, inputs: dict[str, str], output: object, **arguments: float
) -> Vector:
    return {
        "expect": "ok",
        "operation": operation,
        "parameters": {"insecure": True, **known.LITERALS[world.name]},
        "arguments": arguments,
        "inputs": inputs,
        "output": output,
    }
