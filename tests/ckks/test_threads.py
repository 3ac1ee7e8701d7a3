"""Threads change the time, not the answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tacit import ckks


def test_number_of_threads_does_not_change_a_bit(keys: ckks.Keys, params: ckks.Parameters) -> None:
    data = keys.encrypt(np.linspace(-1, 1, 8)).serialize()
    answers = set()
    for threads in (1, 2, 3):
        x = ckks.Evaluator(params, keys.evaluation, threads=threads).load(data)
        answers.add(((x * x + x) @ np.ones((8, 3)) + x.sum()).serialize())
    assert len(answers) == 1


def test_one_evaluator_serves_many_callers(keys: ckks.Keys) -> None:
    vectors = [keys.encrypt(np.full(8, float(i))) for i in range(12)]

    def work(x: ckks.Vector) -> bytes:
        return (x * x).sum().serialize()

    alone = [work(x) for x in vectors]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, vectors)) == alone
    sums = [keys.decrypt(keys.load(data))[0] for data in alone]
    assert np.allclose(sums, [8 * i * i for i in range(12)], rtol=0, atol=1e-3)
