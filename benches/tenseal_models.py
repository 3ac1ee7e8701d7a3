"""The same models with TenSEAL (optional extra `peers`), as its tutorials write them; requests travel as bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Peer",
    "tenseal_convolution",
    "tenseal_logistic",
    "tenseal_logistic_batch",
    "tenseal_mlp",
    "tenseal_version",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Peer:
    """``call``: the server's work, from request to response bytes; ``check``: largest error of its last answer."""

    call: Callable[[], object]
    check: Callable[[], float]
    bytes_up: int
    key_bytes: int


def tenseal_version() -> str | None:
    """``None`` when TenSEAL is not installed."""
    try:
        import_module("tenseal")
    except ImportError:
        return None
    return metadata.version("tenseal")


def tenseal_logistic(x: Array, weights: Array, bias: float, expected: float) -> Peer:
    """One sample: a dot product, N = 4096 with the chain of TenSEAL's tutorial."""
    ts: Any = import_module("tenseal")
    context = ts.context(ts.SCHEME_TYPE.CKKS, 4096, coeff_mod_bit_sizes=[40, 20, 40])
    context.global_scale = 2**20
    context.generate_galois_keys()
    server = ts.context_from(context.serialize(save_secret_key=False))
    request = ts.ckks_vector(context, x.tolist()).serialize()
    plain, shift = weights.tolist(), [bias]
    last: list[bytes] = [b""]

    def call() -> None:
        scores = ts.ckks_vector_from(server, request).dot(plain)
        last[0] = (scores + shift).serialize()

    def check() -> float:
        return abs(ts.ckks_vector_from(context, last[0]).decrypt()[0] - expected)

    return Peer(call, check, len(request), _key_bytes(context))


def tenseal_logistic_batch(x: Array, weights: Array, bias: float, expected: Array) -> Peer:
    """One ciphertext per feature, one slot per sample: x (2048, features)."""
    ts: Any = import_module("tenseal")
    context = ts.context(ts.SCHEME_TYPE.CKKS, 4096, coeff_mod_bit_sizes=[40, 20, 40])
    context.global_scale = 2**20
    server = ts.context_from(context.serialize(save_secret_key=False))
    requests = [ts.ckks_vector(context, column.tolist()).serialize() for column in x.T]
    plain = [[float(w)] * len(x) for w in weights]
    last: list[bytes] = [b""]

    def call() -> None:
        total = None
        for request, weight in zip(requests, plain, strict=True):
            term = ts.ckks_vector_from(server, request) * weight
            total = term if total is None else total + term
        biases = [bias] * len(x)
        last[0] = (total + biases).serialize()

    def check() -> float:
        return float(np.abs(np.array(ts.ckks_vector_from(context, last[0]).decrypt()) - expected).max())

    return Peer(call, check, sum(map(len, requests)), _key_bytes(context))


def tenseal_mlp(x: Array, layers: tuple[Array, Array, Array, Array], expected: Array) -> Peer:
    """784-128-10 with x²: two `matmul` and one `square_` at N = 8192."""
    ts: Any = import_module("tenseal")
    context = ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[40, 26, 26, 26, 26, 40])
    context.global_scale = 2**26
    context.generate_galois_keys()
    server = ts.context_from(context.serialize(save_secret_key=False))
    request = ts.ckks_vector(context, x.tolist()).serialize()
    w1, b1, w2, b2 = (layer.tolist() for layer in layers)
    last: list[bytes] = [b""]

    def call() -> None:
        hidden = ts.ckks_vector_from(server, request).matmul(w1) + b1
        hidden.square_()
        last[0] = (hidden.matmul(w2) + b2).serialize()

    def check() -> float:
        return float(np.abs(np.array(ts.ckks_vector_from(context, last[0]).decrypt()) - expected).max())

    return Peer(call, check, len(request), _key_bytes(context))


def tenseal_convolution(
    image: Array,
    kernels: Array,
    bias: Array,
    layers: tuple[Array, Array, Array, Array],
    stride: int,
    expected: Array,
) -> Peer:
    """The network of its convolution tutorial, with `im2col` by the owner and the tutorial's chain at N = 8192."""
    ts: Any = import_module("tenseal")
    context = ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[31, *[26] * 6, 31])
    context.global_scale = 2**26
    context.generate_galois_keys()
    server = ts.context_from(context.serialize(save_secret_key=False))
    packed, windows = ts.im2col_encoding(context, image.tolist(), *kernels.shape[1:], stride)
    request = packed.serialize()
    filters = list(zip(kernels.tolist(), bias.tolist(), strict=True))
    w1, b1, w2, b2 = (layer.tolist() for layer in layers)
    last: list[bytes] = [b""]

    def call() -> None:
        x = ts.ckks_vector_from(server, request)
        hidden = ts.CKKSVector.pack_vectors([x.conv2d_im2col(kernel, windows) + b for kernel, b in filters])
        hidden.square_()
        hidden = hidden.mm(w1) + b1
        hidden.square_()
        last[0] = (hidden.mm(w2) + b2).serialize()

    def check() -> float:
        return float(np.abs(np.array(ts.ckks_vector_from(context, last[0]).decrypt()) - expected).max())

    return Peer(call, check, len(request), _key_bytes(context))


def _key_bytes(context: Any) -> int:
    return len(context.serialize(save_secret_key=False))
