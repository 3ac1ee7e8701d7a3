"""Forests and boosting on tables: labels of all test rows under encryption against those in the clear.

    python benches/forest_datasets.py [--quick] [--json] [--save] [--task TABLE]

Each row of results is one model on one table, all test rows in requests of one slot a sample: ``correct`` says that no
label of a row within the bound differs from the clear one and no error is above the promise. Rows that the bound does
not hold for (a value in the cell of a threshold) are counted apart, and so are rows that the owner refuses
because they are outside the calibrated region or off a feature's grid. Tables other than those of scikit-learn are
looked for in ``TACIT_BENCH_DATA``; without them only breast cancer and diabetes run.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from dense_models import DATA
from measurement import RESULTS, Row, arguments, machine, peak_rss_bytes, show
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.model_selection import train_test_split

import tacit
from tacit._native import cpu_path

FloatArray = npt.NDArray[np.float64]

THREADS = 2
ADULT_TRAIN, ADULT_TEST = 8000, 2000


@dataclass(frozen=True)
class Table:
    """Rows of numbers with classes, or with a number to predict."""

    train: FloatArray
    labels: FloatArray
    test: FloatArray
    is_regression: bool = False


def breast_cancer() -> Table:
    x, y = load_breast_cancer(return_X_y=True)
    train, test, labels, _ = train_test_split(x, y, test_size=0.4, random_state=0)
    return Table(train, labels, test)


def diabetes() -> Table:
    x, y = load_diabetes(return_X_y=True, scaled=False)
    train, test, labels, _ = train_test_split(x, y, test_size=0.4, random_state=0)
    return Table(train, labels, test, is_regression=True)


def pima() -> Table:
    rows = _read(DATA / "tabular_small" / "pima_diabetes.csv")[1:]
    return _split(np.array(rows, dtype=np.float64))


def german() -> Table:
    rows = _read(DATA / "tabular_small" / "german_credit.csv")
    return _split(_one_hot(rows))


def adult() -> Table:
    """A sample of 2,000 of the test rows, chosen once; 8,000 rows to train on."""
    parts = [_read(DATA / "adult" / f"adult-{name}.csv.gz") for name in ("train", "test")]
    rng = np.random.default_rng(0)
    kept = [
        [part[i] for i in rng.choice(len(part), size, replace=False)]
        for part, size in zip(parts, (ADULT_TRAIN, ADULT_TEST), strict=True)
    ]
    table = _one_hot([[cell.strip(" .") for cell in row] for part in kept for row in part])
    train, test = table[:ADULT_TRAIN], table[ADULT_TRAIN:]
    return Table(train[:, :-1], train[:, -1], test[:, :-1])


def _read(path: Path) -> list[list[str]]:
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    return [row for row in csv.reader(text.splitlines()) if row]


def _one_hot(rows: list[list[str]]) -> FloatArray:
    """Numbers as they are; other columns as one of 0 and 1 for each category, or for the second of two."""
    columns: list[FloatArray] = []
    for cells in zip(*rows, strict=True):
        try:
            columns.append(np.array(cells, dtype=np.float64))
        except ValueError:
            names = sorted(set(cells))
            chosen = names[1:] if len(names) == 2 else names
            columns += [np.array([cell == name for cell in cells], dtype=np.float64) for name in chosen]
    return np.column_stack(columns)


def _split(table: FloatArray) -> Table:
    train, test = train_test_split(table, test_size=0.4, random_state=0)
    return Table(train[:, :-1], train[:, -1], test[:, :-1])


TABLES: dict[str, Callable[[], Table]] = {
    "breast-cancer": breast_cancer,
    "diabetes": diabetes,
    "pima": pima,
    "german-credit": german,
    "adult": adult,
}
CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "random-forest": lambda: RandomForestClassifier(10, max_depth=4, random_state=0),
    "extra-trees": lambda: ExtraTreesClassifier(10, max_depth=4, random_state=0),
    "gradient-boosting": lambda: GradientBoostingClassifier(n_estimators=20, max_depth=3, random_state=0),
    "histogram-boosting": lambda: HistGradientBoostingClassifier(
        max_iter=20, max_leaf_nodes=8, random_state=0
    ),
    "xgboost": lambda: _xgboost(),
    "lightgbm": lambda: _lightgbm(),
}
REGRESSORS: dict[str, Callable[[], Any]] = {
    "random-forest": lambda: RandomForestRegressor(10, max_depth=4, random_state=0),
    "extra-trees": lambda: ExtraTreesRegressor(10, max_depth=4, random_state=0),
    "gradient-boosting": lambda: GradientBoostingRegressor(n_estimators=20, max_depth=3, random_state=0),
}


def _xgboost() -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=20, max_depth=3, random_state=0, n_jobs=1)


def _lightgbm() -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=20, num_leaves=8, random_state=0, n_jobs=1, verbose=-1)


def _loaded(name: str, model: Any, width: int) -> Any:
    """What `tacit.protect` takes: the estimator, or for other libraries their ONNX file."""
    if name not in ("xgboost", "lightgbm"):
        return model
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    convert = onnxmltools.convert_xgboost if name == "xgboost" else onnxmltools.convert_lightgbm
    options = {} if name == "xgboost" else {"zipmap": False}
    return convert(model, initial_types=[("x", FloatTensorType([None, width]))], **options)


def _fitted(name: str, table: Table) -> Any:
    maker = (REGRESSORS if table.is_regression else CLASSIFIERS)[name]
    labels = table.labels if table.is_regression else np.unique(table.labels, return_inverse=True)[1]
    return _loaded(name, maker().fit(table.train, labels), table.train.shape[1])


def run(table_name: str, name: str, table: Table) -> Row:
    """One model on one table."""
    task = f"{table_name} {name}"
    try:
        model = _fitted(name, table)
    except ImportError as missing:
        return Row(task=task, shape="absent", system="tacit", note=str(missing))
    # ONNX files of these libraries hold float32, and so must data that are compared with their thresholds.
    single = name in ("xgboost", "lightgbm")
    train, test = (
        part.astype(np.float32).astype(np.float64) if single else part for part in (table.train, table.test)
    )
    started = time.perf_counter()
    private = tacit.protect(model, "ckks", calibration=train, batch=len(test), check=0, threads=THREADS)
    planning = time.perf_counter() - started
    owner, provider = private.owner, private.provider
    assert owner is not None
    assert provider is not None
    allowed = np.array([_is_accepted(owner, row[None]) for row in test])
    rows = test[allowed]
    seconds, up, down, parts = 0.0, 0, 0, []
    for piece in owner.batches(rows):
        request = owner.encrypt(piece)
        started = time.perf_counter()
        response = provider.run(request)
        seconds += time.perf_counter() - started
        parts.append(owner.decrypt(response, strict=False))
        up, down = up + len(request), down + len(response)
    holds = np.concatenate([part.within_bound for part in parts])
    clear = private.clear(rows)
    values = np.concatenate([np.asarray(part) for part in parts])
    error = float(np.abs(values - np.asarray(clear))[holds].max(initial=0.0))
    differing = 0
    if clear.labels is not None:
        labels = np.concatenate([np.asarray(part.labels) for part in parts])
        differing = int((labels != np.asarray(clear.labels))[holds].sum())
    details = private.plan.declaration.details
    return Row(
        task=task,
        shape=f"2^{details['log_n']} {len(rows)} rows",
        system="tacit",
        seconds=seconds,
        n=len(parts),
        threads=THREADS,
        correct=differing == 0 and error <= private.plan.error_bound,
        max_error=error,
        bytes_up=up,
        bytes_down=down,
        key_bytes=owner.key_bytes,
        rss_bytes=peak_rss_bytes(),
        note="; ".join(
            [
                f"{differing} of {int(holds.sum())} labels differ, bound {private.plan.error_bound:.2g}",
                f"{int((~holds).sum())} rows too close to a threshold (margin {details['comparison_margin']:.2g})",
                f"{int((~allowed).sum())} of {len(test)} rows refused by the owner",
                f"{details['comparisons']} comparisons, planned in {planning:.3g} s",
                f"q {details['log_q']} p {details['log_p']}",
            ]
        ),
    )


def _is_accepted(owner: tacit.Owner, row: FloatArray) -> bool:
    try:
        owner.plan.region.check(row)
    except tacit.errors.DataRangeError:
        return False
    return True


def rows(task: str, *, quick: bool) -> Iterator[Row]:
    """The models on one table; ``quick``: the first of them."""
    try:
        table = TABLES[task]()
    except FileNotFoundError:
        yield Row(task=task, shape="absent", system="tacit", note=f"there is no such table in {DATA}")
        return
    names = list(REGRESSORS if table.is_regression else CLASSIFIERS)
    for name in names[:1] if quick else names:
        yield run(task, name, table)


def main() -> int:
    """Status 1 when an answer is wrong."""
    options = arguments(__doc__ or "", tuple(TABLES))
    about = machine() | {"cpu_path": cpu_path()}
    wrong = 0
    for task in options.task or (("breast-cancer",) if options.quick else TABLES):
        for row in rows(task, quick=options.quick):
            show(row, as_json=options.json)
            wrong += row.correct is False
            if options.save:
                RESULTS.mkdir(exist_ok=True)
                with (RESULTS / "forest_datasets.jsonl").open("a") as file:
                    file.write(json.dumps({**row.to_dict(), **about}) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
