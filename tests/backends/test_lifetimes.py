"""Ciphertexts end when they were read for the last time: nothing waits for Python's collector of cycles."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier

import tacit
from tacit.backends.ckks.backend import CkksBackend
from tacit.backends.ckks.executor import Executor
from tacit.backends.ckks.layout import ColumnLayout
from tacit.backends.ckks.levels import moduli
from tacit.backends.ckks.meter import Meter
from tacit.backends.ckks.polynomial import recipe
from tacit.backends.ckks.series import Series
from tacit.ir.graph import Graph
from tests.backends.dense import dense, samples
from tests.backends.test_maximum import images, pools


def _forest() -> tuple[Graph, np.ndarray]:
    x, y = load_breast_cancer(return_X_y=True)
    return tacit.load(RandomForestClassifier(3, max_depth=3, random_state=0).fit(x, y)), x


def _pools() -> tuple[Graph, np.ndarray]:
    graph = pools()
    return graph, images(graph, 100)


CASES = {
    "squares": lambda: (dense((8, 6, 6, 3), "square"), samples(100, 8)),
    "sigmoid": lambda: (dense((8, 6, 3), "Sigmoid"), samples(100, 8)),
    "relu": lambda: (dense((8, 6, 3), "Relu"), samples(100, 8)),
    "maximum": _pools,
    "forest": _forest,
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_a_run_leaves_its_results_only(name: str, threads: int) -> None:
    """On the meter, whose ledger counts ciphertexts as long as anything refers to them."""
    graph, data = CASES[name]()
    tried = 0
    for candidate in CkksBackend().candidates(graph, data, batch=64, max_error=0.3):
        program, chain = candidate.compile().program(), candidate.chain
        meter = Meter(
            chain.log_n, moduli(chain.log_n, chain.log_q, chain.log_p)[0], len(chain.log_p), threads=threads
        )
        inputs = program.input.size if isinstance(program.input, ColumnLayout) else 1
        executor = Executor(program, meter)
        gc.collect()
        gc.disable()
        try:
            made = executor.run([meter.fresh(program.level, program.scale) for _ in range(inputs)])
            assert meter.ledger.words == sum(2 * (ct.level + 1) * meter.n for ct in made)
            del made
            assert meter.ledger.words == 0 < meter.ledger.most
        finally:
            gc.enable()
        tried += 1
    assert tried


@pytest.mark.parametrize("degree", [1, 2, 3, 7, 14, 15, 30, 63])
@pytest.mark.parametrize("parity", ["all", "odd", "even"])
def test_powers_end_when_they_were_read(degree: int, parity: str) -> None:
    """Every power that a recipe announces is read as often as was announced; an object that is kept shows it."""
    series = np.linspace(1.0, 2.0, degree + 1)
    series[{"all": [], "odd": slice(0, None, 2), "even": slice(1, None, 2)}[parity]] = 0.0
    if not series[1:].any():
        return
    plan = recipe(tuple(series))
    meter = Meter(13, [2.0**40] * 9, 1)
    run = Series(meter, plan, meter.fresh(8, 2.0**40), 8)
    result = run.result(2.0**40)
    assert result.level == 8 - plan.depth
    assert not run._powers and not run._copies
    kept = weakref.ref(run)
    del run
    assert kept() is None
