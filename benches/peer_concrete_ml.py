"""Concrete ML (TFHE, integers) with its client and server, in a process of its own; requests travel as bytes."""

from __future__ import annotations

import json
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from concrete.ml.deployment import FHEModelClient, FHEModelDev, FHEModelServer
from concrete.ml.sklearn import LogisticRegression, RandomForestClassifier
from concrete.ml.torch.compile import compile_torch_model
from numpy.typing import NDArray
from partner import Answer, peak_rss_bytes, repeat, reset_peak, serve
from sklearn.ensemble import RandomForestClassifier as PlainForest
from sklearn.linear_model import LogisticRegression as PlainRegression

Array = NDArray[np.float64]

BITS = 6
"""Of weights, activations and rounding in networks and trees, as its own examples of these sizes take."""
LINEAR_BITS = 8
CHECKED = 20
"""At most so many rows are run and decrypted after the timing."""


class Square(torch.nn.Module):
    """x², a table look-up to its compiler."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.pow(x, 2)


def network(described: list[dict[str, Any]], arrays: dict[str, Array]) -> torch.nn.Module:
    """The layers as a torch module."""
    layers: list[torch.nn.Module] = []
    flat = described[0]["kind"] == "dense"
    for layer in described:
        kind = layer["kind"]
        if kind == "square":
            layers.append(Square())
            continue
        if kind == "pool":
            layers.append(torch.nn.AvgPool2d(2))
            continue
        weights, bias = arrays[layer["weights"]], arrays[layer["bias"]]
        made: torch.nn.Conv2d | torch.nn.Linear
        if kind == "convolution":
            filters, channels, size, _ = weights.shape
            made = torch.nn.Conv2d(channels, filters, size, stride=layer["stride"])
        else:
            if not flat:
                layers.append(torch.nn.Flatten())
                flat = True
            weights = weights.T
            made = torch.nn.Linear(weights.shape[1], weights.shape[0])
        with torch.no_grad():
            made.weight.copy_(torch.tensor(weights))
            made.bias.copy_(torch.tensor(bias))
        layers.append(made)
    return torch.nn.Sequential(*layers)


def regression(weights: Array, bias: Array, rows: Array) -> Any:
    """The fitted regression, quantised."""
    plain = PlainRegression()
    plain.coef_, plain.intercept_, plain.classes_ = weights.T, bias, np.array([0, 1])
    plain.n_features_in_ = len(weights)
    return LogisticRegression.from_sklearn_model(plain, rows, n_bits=LINEAR_BITS)


class Desk:
    """One compiled model with a client and a server."""

    def prepare(self, *, folder: str, threads: int) -> Answer:
        """Quantises, compiles, makes keys, encrypts the first row."""
        task = json.loads((Path(folder) / "task.json").read_text(encoding="utf-8"))
        with np.load(Path(folder) / "arrays.npz", allow_pickle=False) as found:
            arrays = {name: found[name] for name in found}
        layers, rows = task["layers"], arrays["calibration"]
        self.is_regression = [layer["kind"] for layer in layers] == ["dense"]
        self.samples = arrays["samples"].astype(np.float32)
        bits = LINEAR_BITS if self.is_regression else BITS
        if "training" in arrays:
            plain = PlainForest(n_estimators=10, max_depth=4, random_state=0)
            plain.fit(arrays["training"], arrays["training_labels"])
            model = RandomForestClassifier.from_sklearn_model(plain, arrays["training"], n_bits=BITS)
            model.compile(arrays["training"])
        elif self.is_regression:
            model = regression(arrays[layers[0]["weights"]], arrays[layers[0]["bias"]], rows)
            model.compile(rows)
        else:
            if layers[0]["kind"] == "convolution":
                rows, self.samples = rows.reshape(-1, 1, 28, 28), self.samples.reshape(-1, 1, 28, 28)
            model = compile_torch_model(
                network(layers, arrays),
                torch.tensor(rows, dtype=torch.float32),
                n_bits=BITS,
                rounding_threshold_bits=BITS,
            )
        self.store = tempfile.TemporaryDirectory()
        place = Path(self.store.name) / "model"
        FHEModelDev(str(place), model).save()
        self.client = FHEModelClient(str(place), str(Path(self.store.name) / "keys"))
        self.client.generate_private_and_evaluation_keys()
        self.keys = self.client.get_serialized_evaluation_keys()
        self.server = FHEModelServer(str(place))
        self.server.load()
        self.request = self.client.quantize_encrypt_serialize(self.samples[:1])
        self.last = b""
        reset_peak()
        return {
            "version": metadata.version("concrete-ml"),
            "parameters": f"{bits} bits",
            "samples": 1,
            "bytes_up": len(self.request),
            "key_bytes": len(self.keys),
        }

    def run(self, *, repeats: int) -> Answer:
        """From request bytes to response bytes."""

        def call() -> None:
            self.last = self.server.run(self.request, self.keys)

        return repeat(call, repeats)

    def scores(self, *, limit_s: float) -> Answer:
        """Decrypted answers to the timed row and, within ``limit_s``, to further ones.

        Of a regression, the scores that its probabilities stand for.
        """
        answers, end = [self.last], time.perf_counter() + limit_s
        for row in self.samples[1:CHECKED]:
            if time.perf_counter() > end:
                break
            answers.append(self.server.run(self.client.quantize_encrypt_serialize(row[None]), self.keys))
        found = np.concatenate(
            [np.asarray(self.client.deserialize_decrypt_dequantize(a)).reshape(1, -1) for a in answers]
        )
        if self.is_regression:
            positive = np.clip(found[:, -1:], 1e-12, 1 - 1e-12)
            found = np.log(positive / (1 - positive))
        return {"scores": found.tolist()}

    def memory(self) -> Answer:
        return {"rss_bytes": peak_rss_bytes()}


if __name__ == "__main__":
    desk = Desk()
    raise SystemExit(
        serve({"prepare": desk.prepare, "run": desk.run, "scores": desk.scores, "memory": desk.memory})
    )
