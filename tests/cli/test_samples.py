"""Tables of numbers: what is read, what is refused by row and column, and that writing is all or nothing."""

from __future__ import annotations

import os
import pathlib

import numpy as np
import pytest

from tacit.cli.samples import check_writable, read_samples, write_answers
from tacit.errors import DataError, InvalidParameterError, ShapeError

TABLE = np.array([[1.0, -2.5], [0.25, 4e-3], [7.0, 8.0]])
VALUE = "8675309"


@pytest.mark.parametrize(
    "text",
    [
        "1.0,-2.5\n.25,4e-3\n7,8\n",
        "age,dose\n1.0,-2.5\n.25,4e-3\n7,8\n",
        "age;dose\n1.0;-2.5\n.25;4e-3\n7;8\n",
        "1.0\t-2.5\r\n.25\t4e-3\r\n7\t8",
        '"age","dose, mg"\n"1.0","-2.5"\n".25","4e-3"\n"7","8"\n',
        "0,1\n1.0,-2.5\n.25,4e-3\n7,8\n",
        "\ufeffage,dose\n1.0,-2.5\n\n.25,4e-3\n7,8\n\n",
    ],
    ids=["plain", "header", "semicolon", "tab", "quoted", "numbered", "bom"],
)
def test_csv_is_read(tmp_path: pathlib.Path, text: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text(text, encoding="utf-8", newline="")
    np.testing.assert_array_equal(read_samples(path), TABLE)


def test_npy_is_read_with_further_axes(tmp_path: pathlib.Path) -> None:
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.save(tmp_path / "data.npy", images)
    read = read_samples(tmp_path / "data.npy")
    assert read.dtype == np.float64
    np.testing.assert_array_equal(read, images)


def test_parquet_is_read(tmp_path: pathlib.Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"age": TABLE[:, 0], "dose": TABLE[:, 1]}), tmp_path / "data.parquet")
    np.testing.assert_array_equal(read_samples(tmp_path / "data.parquet"), TABLE)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (f"age,dose\n1,2\n{VALUE},\n", ["row 2", "`dose`"]),
        (f"age,dose\n1,2\n3,x{VALUE}\n", ["row 2", "`dose`", "text"]),
        ("1,2\nnan,4\n", ["row 2", "`1`"]),
        ("1,2\n3,inf\n4,inf\n", ["row 2", "`2`", "2 such places"]),
        (f"1,x{VALUE}\n3,4\n", ["row 1", "`2`"]),
    ],
)
def test_a_bad_cell_is_named_by_place_and_not_shown(
    tmp_path: pathlib.Path, text: str, where: list[str]
) -> None:
    path = tmp_path / "data.csv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_samples(path)
    assert all(part in str(caught.value) for part in where)
    assert VALUE not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("absent.csv", None, DataError),
        ("empty.csv", b"", ShapeError),
        ("header.csv", b"age,dose\n", ShapeError),
        ("ragged.csv", b"1,2\n3\n", ShapeError),
        ("latin.csv", b"caf\xe9,dose\n1,2\n", DataError),
        ("binary.csv", bytes(range(256)), DataError),
        ("data.xlsx", b"1,2\n", InvalidParameterError),
        ("data", b"1,2\n", InvalidParameterError),
        ("empty.npy", b"", DataError),
        ("text.npy", b"1,2\n3,4\n", DataError),
        ("cut.npy", b"\x93NUMPY\x01\x00v\x00{'descr'", DataError),
        ("text.parquet", b"1,2\n3,4\n", DataError),
    ],
)
def test_bad_files_are_refused(
    tmp_path: pathlib.Path, name: str, content: bytes | None, error: type[Exception]
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error) as caught:
        read_samples(path)
    assert name in str(caught.value)


def test_pickled_arrays_are_refused(tmp_path: pathlib.Path) -> None:
    np.save(tmp_path / "data.npy", np.array([["a", object()]], dtype=object), allow_pickle=True)
    with pytest.raises(DataError):
        read_samples(tmp_path / "data.npy")


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros((0, 3)), np.zeros((3, 0)), np.float64(1)])
def test_samples_are_rows(tmp_path: pathlib.Path, array: np.ndarray) -> None:
    np.save(tmp_path / "data.npy", array)
    with pytest.raises(ShapeError):
        read_samples(tmp_path / "data.npy")


def test_nan_in_npy_and_parquet_is_named(tmp_path: pathlib.Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    np.save(tmp_path / "data.npy", np.array([[1.0, 2.0], [3.0, np.nan]]))
    with pytest.raises(DataError, match=r"row 2, column `2`"):
        read_samples(tmp_path / "data.npy")
    parquet.write_table(arrow.table({"age": [1.0, None], "dose": [1.0, 2.0]}), tmp_path / "data.parquet")
    with pytest.raises(DataError, match=r"row 2, column `age`"):
        read_samples(tmp_path / "data.parquet")
    parquet.write_table(arrow.table({"name": ["a", "b"]}), tmp_path / "data.parquet")
    with pytest.raises(DataError, match="`name`"):
        read_samples(tmp_path / "data.parquet")


@pytest.mark.parametrize("suffix", [".csv", ".npy", ".parquet"])
def test_what_is_written_can_be_read(tmp_path: pathlib.Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    write_answers(path, TABLE, None, ["p_0", "p_1"])
    np.testing.assert_array_equal(read_samples(path), TABLE)
    assert list(tmp_path.iterdir()) == [path]


def test_labels_are_written_first(tmp_path: pathlib.Path) -> None:
    write_answers(tmp_path / "out.csv", TABLE, np.array(["ill", "well, now", "ill"]), ["p_0", "p_1"])
    assert (tmp_path / "out.csv").read_text().splitlines()[:3] == [
        "label,p_0,p_1",
        "ill,1.0,-2.5",
        '"well, now",0.25,0.004',
    ]


def test_a_failed_write_leaves_the_old_file(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.npy"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="no space left"):
        write_answers(path, TABLE, None, ["p_0", "p_1"])
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_outputs_are_refused_before_the_work(tmp_path: pathlib.Path) -> None:
    check_writable(tmp_path / "out.csv")
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match="no such folder"):
        check_writable(tmp_path / "absent" / "out.csv")
    with pytest.raises(InvalidParameterError):
        check_writable(tmp_path / "out.doc")
    with pytest.raises(DataError, match="folder"):
        (tmp_path / "folder.csv").mkdir()
        check_writable(tmp_path / "folder.csv")
    with pytest.raises(DataError, match="cannot write"):
        check_writable(pathlib.Path("/proc/out.csv"))
