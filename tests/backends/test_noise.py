"""Promised noise against measured noise, for networks whose neurons have equal noise and for ordinary ones."""

from __future__ import annotations

import numpy as np
import pytest

from tacit.backends.ckks.noise import TAIL
from tacit.backends.ckks.owner import Owner
from tacit.backends.ckks.provider import Provider
from tacit.ir.builder import GraphBuilder
from tacit.ir.graph import Graph
from tests.backends.dense import dense, samples
from tests.backends.reference import candidate_of


def bottleneck(copies: int) -> Graph:
    """4 → 1 → copies → 1 with squares: every hidden neuron is the same, or its negative."""
    rng = np.random.default_rng(0)
    builder = GraphBuilder("bottleneck")
    value = builder.input("x", (None, 4))
    signs = np.where(np.arange(copies) % 2, -1.0, 1.0)
    weights = (rng.normal(size=(4, 1)), np.ones((1, copies)) * signs, signs[:, None] / copies + 1.0)
    for layer, matrix in enumerate(weights):
        value = builder.node("MatMul", value, builder.constant(matrix))
        if layer < 2:
            value = builder.node("Mul", value, value)
    return builder.finish([value])


@pytest.mark.parametrize("layout", ["latency", "throughput"])
@pytest.mark.parametrize("name", ["equal neurons", "ordinary", "affine"])
def test_noise_is_within_what_is_promised(name: str, layout: str) -> None:
    graph = {
        "equal neurons": lambda: bottleneck(64),
        "ordinary": lambda: dense((4, 12, 3), "square"),
        "affine": lambda: dense((4, 3)),
    }[name]()
    x = samples(30, 4)
    candidate = candidate_of(graph, x, layout=layout)
    provider = Provider(candidate.compile())
    owner = Owner(provider.public_plan())
    provider.load_keys(owner.evaluation_keys())
    slots: list[np.ndarray] = []
    read = owner._slots

    def keep(part: bytes, scale: float) -> np.ndarray:
        slots.append(read(part, scale) * owner.plan.unit)
        return slots[-1] / owner.plan.unit

    owner._slots = keep  # type: ignore[method-assign]
    for row in x[:4]:
        owner.decrypt(provider.run(owner.encrypt(row[None])))
    if not owner.plan.output.is_complex:
        imaginary = np.stack(slots).imag
        assert 0 < imaginary.std() <= owner.plan.slot_noise / TAIL
        assert np.abs(imaginary).max() <= owner.plan.slot_noise


def test_the_tail_is_that_of_a_laplace_distribution() -> None:
    assert np.exp(-np.sqrt(2) * TAIL) < 2.0**-40
