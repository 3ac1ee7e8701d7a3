"""Predicted and measured bytes and memory of providers in processes of their own, as the benchmark measures them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier

from tests.backends.dense import dense, samples

BENCHES = Path(__file__).resolve().parents[2] / "benches"
WITHIN = 1.3
REQUESTS = 6
MODULES = ("ckks_predict", "prediction_tasks", "partner", "peers", "measurement", "dense_models", "trained")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHES))
    import ckks_predict

    yield ckks_predict
    for name in (*MODULES, "convolutional_models"):
        sys.modules.pop(name, None)


def _forest() -> tuple[object, np.ndarray]:
    x, y = load_breast_cancer(return_X_y=True)
    return RandomForestClassifier(4, max_depth=3, random_state=0).fit(x[:, :10], y), x[:, :10]


CASES = {
    "squares": (lambda: (dense((200, 64, 10), "square"), samples(300, 200)), 1, 100e6),
    "relu": (lambda: (dense((24, 16, 4), "Relu"), samples(300, 24)), 1, 200e6),
    "forest": (_forest, 1, 100e6),
    "forest in a batch": (_forest, 4096, 150e6),
}


@pytest.mark.parametrize("name", CASES)
def test_bytes_are_exact_and_memory_is_within_30_percent(
    bench: ModuleType, name: str, tmp_path: Path
) -> None:
    """After several requests: a provider that kept something of each would be beyond it (the last number is the least
    that its process takes, so that a small process does not hide what a model adds)."""
    make, batch, least = CASES[name]
    model, data = make()
    task = bench.Problem(model=model, calibration=data, samples=data, batch=batch, checked=(1, 1))
    roles = bench.Roles(task, tmp_path, threads=2)
    with roles.process:
        cost, served = roles.plan.declaration.cost, roles.owner.plan.batch
        up = roles.time_requests(np.resize(data, (served, data.shape[1])))
        roles.run(REQUESTS)
        _, down = roles.predict(np.resize(data, (served, data.shape[1])))
        assert (up, down) == (cost.bytes_up, cost.bytes_down)
        assert roles.owner.key_bytes == cost.key_bytes
        measured = roles.process.ask("memory")["rss_bytes"]
    assert measured > least
    ratio = cost.memory_bytes / measured
    print(
        f"memory: {cost.memory_bytes / 1e6:.0f} MB predicted, {measured / 1e6:.0f} MB measured, {ratio:.2f}"
    )
    assert 1 / WITHIN <= ratio <= WITHIN


def test_accuracy_counts_where_a_bound_is_measured(bench: ModuleType) -> None:
    measured = bench.Problem(
        model=None, calibration=np.zeros(1), samples=np.zeros(1), checked=(1, 1), measured=True
    )
    proven = bench.Problem(model=None, calibration=np.zeros(1), samples=np.zeros(1), checked=(1, 1))

    def check(differing: int, right: int, count: int) -> object:
        return bench.Check(count, 0.0, differing, 0, right / count, 493 / 500, None, 0)

    assert bench._right(measured, check(3, 492, 500))
    assert not bench._right(measured, check(3, 491, 500))
    assert not bench._right(proven, check(1, 493, 500))
    assert bench._right(proven, check(0, 493, 500))
