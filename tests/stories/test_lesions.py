"""The images and the network of the skin story: the same everywhere, right gradients, exported as trained."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tacit
from tacit.errors import DataError
from tacit.ir.interpret import interpret
from tacit.stories.lesion_network import _forward, _gradients, _start, to_onnx, train
from tacit.stories.lesions import EDGE, draw, read

SHAPE = (2, 8, 4)


def test_images_are_the_same_on_every_machine() -> None:
    one, two = draw(20, 5), draw(20, 5)
    assert one.known.shape == (20, 3, EDGE, EDGE)
    assert one.new.shape == (5, 3, EDGE, EDGE)
    assert (one.known == two.known).all() and (one.new_labels == two.new_labels).all()
    assert one.known.min() >= 0 and one.known.max() <= 1
    assert set(one.known_labels) == {0, 1}
    assert "synthetic" in one.origin


def test_gradients_are_those_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    parameters = [p.astype(np.float64) for p in _start(rng, SHAPE)]
    x, labels = rng.normal(size=(6, *SHAPE)), rng.integers(0, 2, 6)

    def loss() -> float:
        scores = _forward(parameters, x)[0]
        return float(np.mean(np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(6), labels]))

    found = _gradients(parameters, x, labels)
    assert [g.shape for g in found] == [p.shape for p in parameters]
    for parameter, gradient in zip(parameters, found, strict=True):
        for place in rng.choice(parameter.size, size=min(6, parameter.size), replace=False):
            spot = np.unravel_index(place, parameter.shape)
            old = parameter[spot]
            ends = []
            for step in (1e-5, -1e-5):
                parameter[spot] = old + step
                ends.append(loss())
            parameter[spot] = old
            assert gradient[spot] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-3, abs=1e-7)


def test_the_file_is_the_network() -> None:
    rng = np.random.default_rng(1)
    parameters = _start(rng, SHAPE)
    x = rng.uniform(size=(7, *SHAPE))
    graph = tacit.load(to_onnx(parameters, SHAPE))
    scores = _forward(parameters, x.astype(np.float32))[0]
    likely = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    found = interpret(graph, x)
    np.testing.assert_allclose(found[graph.roles["probabilities"]], likely, atol=1e-5)
    assert (found[graph.roles["label"]] == scores.argmax(axis=1)).all()


def test_it_learns() -> None:
    lesions = draw(400, 200)
    graph = tacit.load(to_onnx(train(lesions.known, lesions.known_labels), lesions.known.shape[1:]))
    labels = tacit.protect(graph, "clear").predict(lesions.new).labels
    assert labels is not None
    assert (labels == lesions.new_labels).mean() > 0.8
    assert abs(lesions.new_labels.mean() - 0.5) < 0.1


def table(path: Path, rows: int = 40, change: Callable[[list[str]], list[str]] = lambda cells: cells) -> Path:
    rng = np.random.default_rng(2)
    lines = [",".join(["lesion_id", *(f"pixel{n:04}" for n in range(64)), "label"])]
    for row in range(rows):
        cells = [f"L{row // 2}", *map(str, rng.integers(0, 256, 64)), str(row // 2 % 7)]
        lines.append(",".join(change(cells)))
    text = "\n".join(lines) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_a_table_of_images(tmp_path: Path, name: str) -> None:
    found = read(table(tmp_path / name), new=10)
    assert found.new.shape == (10, 1, 8, 8)
    assert found.known.shape == (30, 1, 8, 8)
    assert found.known.max() <= 1
    ours = {image.tobytes() for image in found.new}
    assert not ours & {image.tobytes() for image in found.known}


def test_bad_tables_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "absent.csv")
    (tmp_path / "few.csv").write_text("label,pixel0000\n1,2\n")
    with pytest.raises(DataError, match="no column"):
        read(tmp_path / "few.csv")
    with pytest.raises(DataError, match="too few"):
        read(table(tmp_path / "short.csv", rows=4))
    with pytest.raises(DataError, match="0 to 255"):
        read(table(tmp_path / "bright.csv", change=lambda cells: [cells[0], "256", *cells[2:]]))
    with pytest.raises(DataError, match="cannot read"):
        read(table(tmp_path / "text.csv", change=lambda cells: [cells[0], "dark", *cells[2:]]))
    (tmp_path / "bytes.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="cannot read"):
        read(tmp_path / "bytes.csv.gz")
