"""Orion with its Lattigo back end, in a process of its own. It has no form for ciphertexts on the wire: no sizes."""

from __future__ import annotations

import json
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import orion
import orion.nn as on
import torch
from partner import Answer, peak_rss_bytes, repeat, reset_peak, serve

CHECKED = 20
"""At most so many rows are run and decrypted after the timing."""

SMALL = {"LogN": 13, "LogQ": [29, 26, 26, 26, 26, 26], "LogP": [29, 29], "LogScale": 26, "H": 8192}
"""Of its own examples for networks of this depth, in its ring without imaginary parts."""
LARGE = {"LogN": 14, "LogQ": [44, *[33] * 9], "LogP": [44, 44], "LogScale": 33, "H": 16384}
"""For deeper ones, where it ships none: the nine levels of the LeNet within 430 bits, with room for scores of 1,000."""


class Chain(on.Module):
    """Layers in a row."""

    def __init__(self, layers: list[on.Module]) -> None:
        super().__init__()
        for index, layer in enumerate(layers):
            setattr(self, f"layer{index}", layer)
        self.count = len(layers)

    def forward(self, x: Any) -> Any:
        for index in range(self.count):
            x = getattr(self, f"layer{index}")(x)
        return x


def build(described: list[dict[str, Any]], arrays: dict[str, np.ndarray[Any, Any]]) -> tuple[Chain, int]:
    """The network in its own layer classes, and how many levels it takes."""
    layers: list[on.Module] = []
    depth, flat = 0, described[0]["kind"] == "dense"
    for layer in described:
        kind = layer["kind"]
        depth += 1
        if kind == "square":
            layers.append(on.Quad())
            continue
        if kind == "pool":
            layers.append(on.AvgPool2d(2))
            continue
        weights, bias = arrays[layer["weights"]], arrays[layer["bias"]]
        if kind == "convolution":
            filters, channels, size, _ = weights.shape
            made = on.Conv2d(channels, filters, kernel_size=size, stride=layer["stride"], padding=0)
        else:
            if not flat:
                layers.append(on.Flatten())
                flat = True
            weights = weights.T
            made = on.Linear(weights.shape[1], weights.shape[0])
        with torch.no_grad():
            made.weight.copy_(torch.tensor(weights))
            made.bias.copy_(torch.tensor(bias))
        layers.append(made)
    return Chain(layers), depth


class Desk:
    """One network with its encrypted input."""

    def prepare(self, *, folder: str, threads: int) -> Answer:
        """Fits, compiles, encrypts the first row."""
        task = json.loads((Path(folder) / "task.json").read_text(encoding="utf-8"))
        with np.load(Path(folder) / "arrays.npz", allow_pickle=False) as found:
            arrays = {name: found[name] for name in found}
        torch.set_num_threads(threads)
        self.net, depth = build(task["layers"], arrays)
        literal = SMALL if depth <= len(SMALL["LogQ"]) - 1 else LARGE
        orion.init_scheme(
            {
                "ckks_params": {**literal, "RingType": "ConjugateInvariant"},
                "orion": {"margin": 2, "embedding_method": "hybrid", "backend": "lattigo", "debug": False},
            }
        )
        self.rows = torch.tensor(arrays["samples"], dtype=torch.float32)
        if any(layer["kind"] == "convolution" for layer in task["layers"]):
            self.rows = self.rows.reshape(-1, 1, 28, 28)
        self.net.eval()
        with torch.no_grad():
            self.net(self.rows[:1])
            orion.fit(self.net, self.rows[:1])
            self.level = orion.compile(self.net)
        self.net.he()
        self.request = self._encrypt(self.rows[:1])
        self.last = None
        reset_peak()
        return {
            "version": metadata.version("orion-fhe"),
            "parameters": f"LogN {literal['LogN']} without imaginary parts, LogQ {literal['LogQ']}, "
            f"LogP {literal['LogP']}",
            "samples": 1,
        }

    def _encrypt(self, row: torch.Tensor) -> Any:
        return orion.encrypt(orion.encode(row, self.level))

    def run(self, *, repeats: int) -> Answer:
        """From an encrypted input in memory to an encrypted output in memory."""

        def call() -> None:
            self.last = self.net(self.request)

        return repeat(call, repeats)

    def scores(self, *, limit_s: float) -> Answer:
        """Decrypted answers to the timed row and, within ``limit_s``, to further ones."""
        outputs, end = [self.last], time.perf_counter() + limit_s
        for index in range(1, CHECKED):
            if time.perf_counter() > end:
                break
            outputs.append(self.net(self._encrypt(self.rows[index : index + 1])))
        return {"scores": [out.decrypt().decode().reshape(-1).tolist() for out in outputs]}

    def memory(self) -> Answer:
        return {"rss_bytes": peak_rss_bytes()}


if __name__ == "__main__":
    desk = Desk()
    raise SystemExit(
        serve({"prepare": desk.prepare, "run": desk.run, "scores": desk.scores, "memory": desk.memory})
    )
