"""Tables of numbers in files: samples to predict, calibration data, answers.

Errors name the row and the column, never the value.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np

from tacit.errors import DataError, InvalidParameterError, ShapeError

__all__ = ["FORMATS", "check_same_columns", "check_writable", "read_samples", "read_table", "write_answers"]

FORMATS = (".csv", ".parquet", ".npy")

Table = tuple[list[str] | None, np.ndarray]


def read_samples(path: pathlib.Path) -> np.ndarray:
    """Read samples, one per row: (rows, features) float64; a .npy file may hold further axes.

    A .csv file is separated by comma, semicolon or tab; a first row without numbers names the columns.
    Raises DataError for an unreadable file, a missing value or a text, ShapeError for ragged rows or no rows.
    """
    return read_table(path)[1]


def read_table(path: pathlib.Path) -> Table:
    """As `read_samples`, with the names of the columns before it, or None."""
    reader = {".csv": read_csv, ".parquet": read_parquet, ".npy": read_npy}.get(path.suffix.lower())
    if reader is None:
        raise unknown_format(path)
    if path.is_dir():
        raise DataError(f"`{path}` is a folder", hint="name a file in it")
    try:
        names, table = reader(path)
    except FileNotFoundError:
        raise DataError(f"no such file: `{path}`", hint="check the path of the data") from None
    except OSError as error:
        raise DataError(f"cannot read `{path}`: {error.strerror or 'not a file of its kind'}") from None
    if table.ndim < 2 or 0 in table.shape:
        raise ShapeError(
            f"`{path}` holds an array of shape {table.shape}",
            hint="give one sample per row, at least one row",
        )
    bad = np.argwhere(~np.isfinite(table))
    if len(bad):
        row, column = int(bad[0][0]), int(bad[0][1])
        raise missing(path, row + 1, names[column] if names else str(column + 1), count=len(bad))
    return names, table


def check_same_columns(data: pathlib.Path, names: list[str] | None, known: list[str] | None) -> None:
    """Refuse data whose columns are those of the calibration data in another order: the model knows places
    only."""
    if names is None or known is None or names == known or sorted(names) != sorted(known):
        return
    place = next(index for index, pair in enumerate(zip(names, known, strict=True)) if pair[0] != pair[1])
    raise DataError(
        f"`{data}`: column {place + 1} is `{names[place]}`, in the calibration data `{known[place]}`",
        hint="bring the columns into the order in which the model was fitted",
    )


def write_answers(
    path: pathlib.Path,
    values: np.ndarray,
    labels: np.ndarray | None,
    names: Sequence[str],
    *,
    within_bound: np.ndarray | None = None,
) -> None:
    """Write answers by the suffix of the path, all or nothing: a reader sees the old file or the new one.

    `values`: (rows, len(names)) float64; `labels`: (rows,) or None; `within_bound`: (rows,) of true and
    false, or None. A .npy file holds the values only; rows without a promise are NaN in it.
    """
    columns: dict[str, Sequence[Any]] = {} if labels is None else {"label": labels.tolist()}
    columns |= {name: column.tolist() for name, column in zip(names, values.T, strict=True)}
    if within_bound is not None:
        columns["within_bound"] = within_bound.tolist()
    match path.suffix.lower():
        case ".csv":
            text = io.StringIO(newline="")
            writer = csv.writer(text)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
            with atomic(path) as file:
                file.write(text.getvalue().encode())
        case ".npy":
            with atomic(path) as file:
                kept = values if within_bound is None else np.where(within_bound[:, None], values, np.nan)
                np.save(file, kept, allow_pickle=False)
        case ".parquet":
            arrow, parquet = import_parquet()
            with atomic(path) as file:
                parquet.write_table(arrow.table(columns), file)
        case _:
            raise unknown_format(path)


def check_writable(path: pathlib.Path) -> None:
    """Refuse, before any work is done, an output that could not be written afterwards."""
    if path.suffix.lower() not in FORMATS:
        raise unknown_format(path)
    if path.suffix.lower() == ".parquet":
        import_parquet()
    if path.is_dir():
        raise DataError(f"`{path}` is a folder", hint="name a file in it")
    with contextlib.suppress(FileNotFoundError), writing(path):
        scratch = scratch_path(path)
        scratch.touch()
        scratch.unlink()
        return
    raise DataError(f"cannot write `{path}`: no such folder", hint="make the folder first")


@contextlib.contextmanager
def atomic(path: pathlib.Path) -> Iterator[IO[bytes]]:
    """Open a scratch file beside `path` that takes its place when the block ends well, and vanishes
    otherwise."""
    scratch = scratch_path(path)
    with writing(path):
        try:
            with scratch.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DataError(
            f"cannot write `{path}`: {(error.strerror or 'failed').lower()}",
            hint="choose another place with `-o`",
        ) from None


def scratch_path(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def read_csv(path: pathlib.Path) -> Table:
    """Column names or None, and the numbers."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            delimiter = max(",;\t", key=first.count)
            file.seek(0)
            rows = [row for row in csv.reader(file, delimiter=delimiter) if row]
    except (UnicodeDecodeError, csv.Error):
        raise DataError(f"`{path}` is not a text table in UTF-8", hint="export it as CSV again") from None
    names = rows.pop(0) if rows and is_header(rows[0]) else None
    width = len(names or (rows[0] if rows else ()))
    table = np.empty((len(rows), width), dtype=np.float64)
    for number, row in enumerate(rows):
        if len(row) != width:
            raise ShapeError(f"`{path}`: row {number + 1} has {len(row)} columns, the first row {width}")
        try:
            table[number] = row
        except ValueError:
            column = next(index for index, cell in enumerate(row) if not is_number(cell))
            name = names[column] if names else str(column + 1)
            raise missing(path, number + 1, name, text=bool(row[column].strip())) from None
    return names, table


def read_parquet(path: pathlib.Path) -> Table:
    arrow, parquet = import_parquet()
    try:
        table = parquet.read_table(path)
    except arrow.ArrowInvalid:
        raise DataError(f"`{path}` is not a parquet file", hint="export it again") from None
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        if not (
            arrow.types.is_integer(kind) or arrow.types.is_floating(kind) or arrow.types.is_boolean(kind)
        ):
            raise DataError(
                f"`{path}`: column `{name}` holds {kind}, not numbers", hint="drop or encode the column"
            )
        if column.null_count:
            row = column.is_null().to_pylist().index(True) + 1
            raise missing(path, row, name, count=column.null_count)
        columns.append(column.to_numpy().astype(np.float64))
    return list(table.column_names), np.column_stack(columns) if columns else np.empty((table.num_rows, 0))


def read_npy(path: pathlib.Path) -> Table:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):
        raise DataError(f"`{path}` is not a .npy file of numbers", hint="save it with numpy.save") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise DataError(f"`{path}` does not hold one array of real numbers", hint="save it with numpy.save")
    return None, np.ascontiguousarray(array, dtype=np.float64)


def import_parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InvalidParameterError("reading parquet needs pyarrow", hint="pip install pyarrow") from None
    return pyarrow, pyarrow.parquet


def is_header(row: Sequence[str]) -> bool:
    """A row without numbers names the columns; so does 0, 1, 2, … as table libraries write it by default."""
    return not any(map(is_number, row)) or (len(row) > 1 and row == [str(index) for index in range(len(row))])


def is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def missing(path: pathlib.Path, row: int, column: str, *, count: int = 1, text: bool = False) -> DataError:
    """Row counts from 1 below the header."""
    what = "a text" if text else "no finite number"
    more = f" ({count} such places)" if count > 1 else ""
    return DataError(
        f"`{path}`: row {row}, column `{column}` holds {what}{more}",
        hint="fill, encode or drop it before predicting",
    )


def unknown_format(path: pathlib.Path) -> InvalidParameterError:
    return InvalidParameterError(
        f"`{path.name}` has no known suffix", hint=f"use one of {', '.join(FORMATS)}"
    )
