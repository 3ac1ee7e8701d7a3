"""A forest of 10 trees of depth 4 on breast cancer: one sample, and as many as a ciphertext has slots.

Every row checks the answers of the same run: labels of all samples that are marked within the bound as in the clear,
and the largest of their errors within the promise. Samples too close to a threshold are counted apart.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from measurement import Row, peak_rss_bytes
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

import tacit

__all__ = ["TASKS", "rows"]

TASKS = ("forest-10x4", "forest-10x4-batch")
BATCH = 8192


def rows(task: str, *, quick: bool, threads: int) -> Iterator[Row]:
    """The row of one of ``TASKS``. ``seconds``: of one request, median."""
    x, y = load_breast_cancer(return_X_y=True)
    train, test, labels, _ = train_test_split(x, y, test_size=0.4, random_state=0)
    model = RandomForestClassifier(n_estimators=10, max_depth=4, random_state=0).fit(train, labels)
    single = task == "forest-10x4"
    private = tacit.protect(model, "ckks", calibration=train, batch=1 if single else BATCH, threads=threads)
    owner, provider = private.owner, private.provider
    batch = np.resize(test, (owner.plan.batch, test.shape[1]))
    request = owner.encrypt(batch)
    times = []
    for _ in range((3 if quick else 30) if single else 1):
        start = time.perf_counter()
        response = provider.run(request)
        times.append(time.perf_counter() - start)
    checked = test[: (3 if quick else len(test)) if single else len(test)]
    answer = private.predict(checked, strict=False) if single else owner.decrypt(response, strict=False)
    clear = private.clear(batch if not single else checked)
    error, differing, apart = _compare(answer, clear)
    seconds = statistics.median(times)
    details = private.plan.declaration.details
    yield Row(
        task=task,
        shape=f"2^{details['log_n']} batch {owner.plan.batch}",
        system="tacit",
        seconds=seconds,
        n=len(times),
        threads=threads,
        correct=differing == 0 and error <= private.plan.error_bound,
        max_error=error,
        bytes_up=len(request),
        bytes_down=len(response),
        key_bytes=owner.key_bytes,
        rss_bytes=peak_rss_bytes(),
        note="; ".join(
            [
                f"{len(clear)} samples, {differing} labels differ within the bound {private.plan.error_bound:.2g}",
                f"{apart} samples too close to a threshold",
                f"margin {details['comparison_margin']:.2g}, {details['comparisons']} comparisons of "
                f"{max(details['code_digits'])} digits",
                f"{owner.plan.batch / seconds:.4g} samples/s",
                f"best {min(times):.4g} s, predicted {private.plan.declaration.cost.seconds:.4g} s",
                f"q {details['log_q']} p {details['log_p']}",
            ]
        ),
    )


def _compare(answer: tacit.Answer, clear: tacit.Answer) -> tuple[float, int, int]:
    """(largest error, labels that differ) of samples within the bound, and how many are not."""
    holds: npt.NDArray[np.bool_] = answer.within_bound
    error = float(np.abs(np.asarray(answer) - np.asarray(clear))[holds].max(initial=0.0))
    return error, int((answer.labels != clear.labels)[holds].sum()), int((~holds).sum())
