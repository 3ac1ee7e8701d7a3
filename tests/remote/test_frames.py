"""Tables in, tables of the same kind out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas
import polars
import pyarrow
import pytest

from tacit.backends.answer import Answer, Report
from tacit.errors import DataError
from tacit.remote.frames import frame_kind, like_frame, samples_of

COLUMNS: dict[str, list[float]] = {"age": [1.0, 2.0], "dose": [0.5, 0.25]}
WANTED = np.array([[1.0, 0.5], [2.0, 0.25]])
NAMES = ["probabilities_ill", "probabilities_well"]
TABLES: dict[str, Any] = {
    "pandas": pandas.DataFrame(COLUMNS, index=["a", "b"]),
    "polars": polars.DataFrame(COLUMNS),
    "Table": pyarrow.table(COLUMNS),
    "RecordBatch": pyarrow.RecordBatch.from_pydict(COLUMNS),
}


def answer() -> Answer:
    report = Report(protection="ckks", plan_id="", samples=2)
    return Answer.of(
        np.array([[0.25, 0.75], [0.5, 0.5]]),
        labels=np.array(["well", "ill"]),
        report=report,
        within_bound=np.array([True, False]),
    )


@pytest.mark.parametrize("kind", TABLES)
def test_tables_become_arrays_and_answers_tables(kind: str) -> None:
    table = TABLES[kind]
    assert np.array_equal(samples_of(table), WANTED)
    result = like_frame(table, answer(), NAMES, marks=True)
    assert type(result) is type(table)
    found = (
        result.to_pydict() if hasattr(result, "to_pydict") else {k: list(result[k]) for k in result.columns}
    )
    assert list(found) == ["label", *NAMES, "within_bound"]
    assert found["label"] == ["well", "ill"]
    assert found["probabilities_well"] == [0.75, 0.5]
    assert found["within_bound"] == [True, False]


def test_pandas_keeps_its_index() -> None:
    result = like_frame(TABLES["pandas"], answer(), NAMES, marks=False)
    assert list(result.index) == ["a", "b"]
    assert "within_bound" not in result


@pytest.mark.parametrize("given", [[[1, 2]], np.ones((2, 2)), ((1, 2), (3, 4))])
def test_everything_else_is_an_array(given: Any) -> None:
    assert frame_kind(given) == ""
    assert samples_of(given).shape[1] == 2


def test_integers_and_booleans_are_numbers() -> None:
    columns = {"a": [1, 2], "b": [True, False]}
    for table in (pandas.DataFrame(columns), polars.DataFrame(columns), pyarrow.table(columns)):
        assert np.array_equal(samples_of(table), [[1, 1], [2, 0]])


PATIENT = "Smith"


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize(
    ("cells", "word"), [([PATIENT, "b"], "not numbers"), ([1.5, None], "lacks 1 values")]
)
def test_columns_without_numbers_are_named_and_values_are_not(
    library: str, cells: list[Any], word: str
) -> None:
    columns = {"age": [1.0, 2.0], "name": cells}
    table = {"pandas": pandas.DataFrame, "polars": polars.DataFrame, "pyarrow": pyarrow.table}[library](
        columns
    )
    with pytest.raises(DataError, match=f"`name`.*{word}") as caught:
        samples_of(table)
    assert PATIENT not in f"{caught.value} {caught.value.hint}"


def test_columns_of_the_same_name_are_refused_by_arrow() -> None:
    with pytest.raises(DataError, match="same name"):
        samples_of(pyarrow.Table.from_arrays([pyarrow.array([1.0])] * 2, names=["a", "a"]))


def test_pandas_columns_of_the_same_name_are_taken_by_place() -> None:
    assert np.array_equal(samples_of(pandas.DataFrame([[1.0, 2.0]], columns=["a", "a"])), [[1.0, 2.0]])


def test_ragged_lists_are_a_typed_error() -> None:
    with pytest.raises(DataError):
        samples_of([[1, 2], [3]])
