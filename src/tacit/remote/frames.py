"""Tables of data frame libraries: samples out of them, answers into the same kind.

Recognised by where their class comes from: no library is imported that the caller does not use.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.backends.answer import Answer
from tacit.errors import DataError

__all__ = ["frame_kind", "like_frame", "samples_of"]


def frame_kind(X: object) -> str:
    """``pandas``, ``polars``, ``pyarrow``, or empty for anything that is no table of these."""
    kind = type(X)
    library = kind.__module__.partition(".")[0]
    known = {
        ("pandas", "DataFrame"),
        ("polars", "DataFrame"),
        ("pyarrow", "Table"),
        ("pyarrow", "RecordBatch"),
    }
    return library if (library, kind.__name__) in known else ""


def samples_of(X: Any) -> npt.NDArray[Any]:
    """(rows, columns) numbers of a table, or the array of anything else.

    Columns are taken by place: a plan knows no names. Raises ``DataError`` for a column that does not hold
    numbers or lacks some; it names the column, never a value.
    """
    match frame_kind(X):
        case "pandas":
            columns = [
                (str(name), _pandas(str(name), X.iloc[:, place])) for place, name in enumerate(X.columns)
            ]
        case "polars":
            columns = [(name, _polars(name, X[name])) for name in X.columns]
        case "pyarrow":
            columns = [(name, _arrow(name, X.column(name))) for name in _arrow_names(X)]
        case _:
            try:
                return np.asarray(X)
            except (TypeError, ValueError) as error:
                raise DataError("samples must be a numeric array or a table") from error
    if not columns:
        return np.empty((len(X), 0))
    return np.column_stack([numbers for _, numbers in columns])


def like_frame(X: Any, answer: Answer, names: list[str], *, marks: bool) -> Any:
    """The answer as a table of the kind of ``X``: ``label`` where there are labels, then one column per number.

    ``names``: of the columns of numbers; ``marks``: adds ``within_bound``. A pandas table keeps the index of
    ``X``.
    """
    values = np.asarray(answer).reshape(len(answer), -1)
    columns: dict[str, Any] = {} if answer.labels is None else {"label": answer.labels}
    columns |= {name: np.ascontiguousarray(column) for name, column in zip(names, values.T, strict=True)}
    if marks:
        columns["within_bound"] = answer.within_bound
    match frame_kind(X):
        case "pandas":
            import pandas

            return pandas.DataFrame(columns, index=X.index)
        case "polars":
            import polars

            return polars.DataFrame({name: _plain(column) for name, column in columns.items()})
        case _:
            import pyarrow

            table = pyarrow.table({name: _plain(column) for name, column in columns.items()})
            return table if type(X).__name__ == "Table" else table.combine_chunks().to_batches()[0]


def _plain(column: npt.NDArray[Any]) -> Any:
    """Texts as a list: fixed-width arrays of them are foreign to Arrow."""
    return column.tolist() if column.dtype.kind in "OUS" else column


def _pandas(name: str, column: Any) -> npt.NDArray[np.float64]:
    if column.isna().any():
        raise _missing(name, int(column.isna().sum()))
    if column.dtype.kind not in "biuf":
        raise _no_numbers(name, str(column.dtype))
    return np.asarray(column.to_numpy(dtype=np.float64))


def _polars(name: str, column: Any) -> npt.NDArray[np.float64]:
    if column.null_count():
        raise _missing(name, int(column.null_count()))
    if not (column.dtype.is_numeric() or str(column.dtype) == "Boolean"):
        raise _no_numbers(name, str(column.dtype))
    return np.asarray(column.to_numpy()).astype(np.float64)


def _arrow(name: str, column: Any) -> npt.NDArray[np.float64]:
    import pyarrow

    if column.null_count:
        raise _missing(name, int(column.null_count))
    kind = column.type
    if not any(
        test(kind) for test in (pyarrow.types.is_integer, pyarrow.types.is_floating, pyarrow.types.is_boolean)
    ):
        raise _no_numbers(name, str(kind))
    return np.asarray(column.to_numpy(zero_copy_only=False)).astype(np.float64)


def _arrow_names(X: Any) -> list[str]:
    names = list(X.schema.names)
    if len(set(names)) < len(names):
        raise DataError("two columns of the table have the same name", hint="rename one of them")
    return names


def _missing(name: str, count: int) -> DataError:
    return DataError(f"column `{name}` lacks {count} values", hint="fill them in or drop these rows")


def _no_numbers(name: str, kind: str) -> DataError:
    return DataError(
        f"column `{name}` holds {kind}, not numbers", hint="encode the column as the model was fitted"
    )
