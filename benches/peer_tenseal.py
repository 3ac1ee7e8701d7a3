"""TenSEAL as its tutorials write each model, in a process of its own; requests travel as bytes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import tenseal as ts
from numpy.typing import NDArray
from partner import Answer, peak_rss_bytes, repeat, reset_peak, serve

Array = NDArray[np.float64]

CHECKED = 20
"""At most so many rows are run and decrypted after the timing."""


@dataclass
class Job:
    """``call``: the server's work on one request; ``decrypt``: the scores of its last answer, (rows, outputs)."""

    encrypt: Callable[[Array], list[bytes]]
    call: Callable[[list[bytes]], bytes]
    decrypt: Callable[[bytes], Array]
    key_bytes: int
    samples: int
    parameters: str


def _context(n: int, chain: list[int], log_scale: int, *, rotates: bool = True) -> tuple[Any, Any]:
    """Owner's and server's contexts."""
    context = ts.context(ts.SCHEME_TYPE.CKKS, n, coeff_mod_bit_sizes=chain)
    context.global_scale = 2**log_scale
    if rotates:
        context.generate_galois_keys()
    return context, ts.context_from(context.serialize(save_secret_key=False))


def _key_bytes(context: Any) -> int:
    return len(context.serialize(save_secret_key=False))


def _single(context: Any, outputs: int, unit: float = 1.0) -> Callable[[bytes], Array]:
    def decrypt(answer: bytes) -> Array:
        return np.array(ts.ckks_vector_from(context, answer).decrypt()[:outputs])[None] * unit

    return decrypt


def logistic(weights: Array, bias: Array) -> Job:
    """A dot product, N = 4096 with the chain of TenSEAL's tutorial."""
    context, server = _context(4096, [40, 20, 40], 20)
    plain, shift = weights[:, 0].tolist(), bias.tolist()

    def call(request: list[bytes]) -> bytes:
        answer: bytes = (ts.ckks_vector_from(server, request[0]).dot(plain) + shift).serialize()
        return answer

    def encrypt(rows: Array) -> list[bytes]:
        return [ts.ckks_vector(context, rows[0].tolist()).serialize()]

    return Job(encrypt, call, _single(context, 1), _key_bytes(context), 1, "N 4096, q 40 20 40, scale 2^20")


def logistic_batch(weights: Array, bias: Array) -> Job:
    """One ciphertext per feature, one slot per sample."""
    context, server = _context(4096, [40, 20, 40], 20, rotates=False)
    rows = 2048
    plain = [[float(w)] * rows for w in weights[:, 0]]
    biases = [float(bias[0])] * rows

    def call(request: list[bytes]) -> bytes:
        total = None
        for part, weight in zip(request, plain, strict=True):
            term = ts.ckks_vector_from(server, part) * weight
            total = term if total is None else total + term
        answer: bytes = (total + biases).serialize()
        return answer

    def encrypt(x: Array) -> list[bytes]:
        return [ts.ckks_vector(context, column.tolist()).serialize() for column in x[:rows].T]

    def decrypt(answer: bytes) -> Array:
        return np.array(ts.ckks_vector_from(context, answer).decrypt())[:, None]

    return Job(encrypt, call, decrypt, _key_bytes(context), rows, "N 4096, q 40 20 40, scale 2^20")


def dense(layers: list[Array]) -> Job:
    """Two `matmul` and one `square_` at N = 8192."""
    context, server = _context(8192, [40, 26, 26, 26, 26, 40], 26)
    w1, b1, w2, b2 = (layer.tolist() for layer in layers)

    def call(request: list[bytes]) -> bytes:
        hidden = ts.ckks_vector_from(server, request[0]).matmul(w1) + b1
        hidden.square_()
        answer: bytes = (hidden.matmul(w2) + b2).serialize()
        return answer

    def encrypt(rows: Array) -> list[bytes]:
        return [ts.ckks_vector(context, rows[0].ravel().tolist()).serialize()]

    return Job(
        encrypt,
        call,
        _single(context, len(b2)),
        _key_bytes(context),
        1,
        "N 8192, q 40 26 26 26 26 40, scale 2^26",
    )


def convolutional(kernels: Array, bias: Array, stride: int, layers: list[Array], highest: float) -> Job:
    """The network of its convolution tutorial, with `im2col` by the owner and the tutorial's chain at N = 8192.

    The last layer is divided by a power of two so that scores stay within ±4: more wraps around the last prime.
    """
    context, server = _context(8192, [31, *[26] * 6, 31], 26)
    unit = 2.0 ** np.ceil(np.log2(max(highest, 4) / 4))
    filters = list(zip(kernels[:, 0].tolist(), bias.tolist(), strict=True))
    w1, b1, w2, b2 = layers
    dense = [w1.tolist(), b1.tolist(), (w2 / unit).tolist(), (b2 / unit).tolist()]
    windows = [0]

    def encrypt(rows: Array) -> list[bytes]:
        image = rows[0].reshape(28, 28).tolist()
        packed, windows[0] = ts.im2col_encoding(context, image, *kernels.shape[2:], stride)
        return [packed.serialize()]

    def call(request: list[bytes]) -> bytes:
        x = ts.ckks_vector_from(server, request[0])
        maps = [x.conv2d_im2col(kernel, windows[0]) + shift for kernel, shift in filters]
        hidden = ts.CKKSVector.pack_vectors(maps)
        hidden.square_()
        hidden = hidden.mm(dense[0]) + dense[1]
        hidden.square_()
        answer: bytes = (hidden.mm(dense[2]) + dense[3]).serialize()
        return answer

    return Job(
        encrypt,
        call,
        _single(context, len(b2), unit),
        _key_bytes(context),
        1,
        "N 8192, q 31 26x6 31, scale 2^26",
    )


class Desk:
    """One model with its request."""

    def prepare(self, *, folder: str, threads: int) -> Answer:
        """Compiles the model and encrypts the first rows."""
        task = json.loads((Path(folder) / "task.json").read_text(encoding="utf-8"))
        with np.load(Path(folder) / "arrays.npz", allow_pickle=False) as found:
            arrays = {name: found[name] for name in found}
        layers = task["layers"]
        kinds = [layer["kind"] for layer in layers]
        parameters = [
            arrays[layer[part]] for layer in layers if "weights" in layer for part in ("weights", "bias")
        ]
        if kinds == ["dense"]:
            self.job = (logistic_batch if task["batch"] > 1 else logistic)(*parameters)
        elif kinds == ["dense", "square", "dense"]:
            self.job = dense(parameters)
        elif kinds == ["convolution", "square", "dense", "square", "dense"]:
            self.job = convolutional(
                *parameters[:2], layers[0]["stride"], parameters[2:], float(arrays["range"][0])
            )
        else:
            raise ValueError(f"not expressible: {kinds}")
        self.samples = arrays["samples"]
        self.request = self.job.encrypt(self.samples)
        self.last = b""
        reset_peak()
        return {
            "version": metadata.version("tenseal"),
            "parameters": self.job.parameters,
            "samples": self.job.samples,
            "bytes_up": sum(map(len, self.request)),
            "key_bytes": self.job.key_bytes,
        }

    def run(self, *, repeats: int) -> Answer:
        """From request bytes to response bytes."""

        def call() -> None:
            self.last = self.job.call(self.request)

        return repeat(call, repeats)

    def scores(self, *, limit_s: float) -> Answer:
        """Decrypted answers to the timed request and, within ``limit_s``, to further rows."""
        found, end = [self.job.decrypt(self.last)], time.perf_counter() + limit_s
        for row in self.samples[1:CHECKED] if self.job.samples == 1 else ():
            if time.perf_counter() > end:
                break
            found.append(self.job.decrypt(self.job.call(self.job.encrypt(row[None]))))
        return {"scores": np.concatenate(found).tolist()}

    def memory(self) -> Answer:
        return {"rss_bytes": peak_rss_bytes()}


if __name__ == "__main__":
    desk = Desk()
    raise SystemExit(
        serve({"prepare": desk.prepare, "run": desk.run, "scores": desk.scores, "memory": desk.memory})
    )
