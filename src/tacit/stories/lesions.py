"""The images of the skin story: drawn by code, so synthetic, or the HAM10000 table of 8 by 8 grey pixels from a file.

A drawn lesion of the kind `harmless` is round, of one brown and of an even rim; one `to be examined` is lopsided, of a
ragged rim and of two browns. That is a caricature of what a doctor looks for, made so that a small network can learn
it: nothing about skin follows from it.
"""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tacit.errors import DataError

__all__ = ["KINDS", "Lesions", "draw", "read"]

FloatArray = npt.NDArray[np.float64]

KINDS = ("harmless", "to be examined")
"""Names of the labels 0 and 1."""
EDGE = 16
"""Pixels on a side of a drawn image."""
_WATCHED = frozenset({0, 1, 6})
"""Labels of the table to be examined: actinic keratosis, basal cell carcinoma, melanoma."""
_PIXELS = 64
_MOST_ROWS = 100_000


@dataclass(frozen=True)
class Lesions:
    """Images (samples, channels, rows, columns) float64 from 0 to 1 and labels (samples,): ``known`` at the company,
    ``new`` at the clinic. ``origin``: where they come from, in words."""

    known: FloatArray
    known_labels: npt.NDArray[np.int64]
    new: FloatArray
    new_labels: npt.NDArray[np.int64]
    origin: str


def draw(known: int = 800, new: int = 60, *, seed: int = 7) -> Lesions:
    """Synthetic colour images of ``EDGE`` by ``EDGE`` pixels, the same on every machine."""
    rng = np.random.default_rng(seed)
    labels = np.asarray(rng.integers(0, 2, known + new), dtype=np.int64)
    images = np.stack([_lesion(rng, bool(label)) for label in labels])
    return Lesions(
        images[:known],
        labels[:known],
        images[known:],
        labels[known:],
        "synthetic: drawn by code, no patient",
    )


def _lesion(rng: np.random.Generator, examined: bool) -> FloatArray:
    """(3, EDGE, EDGE): skin with a lesion, and noise."""
    rows, columns = np.mgrid[0:EDGE, 0:EDGE] / (EDGE - 1.0) - 0.5
    rows, columns = rows - rng.uniform(-0.08, 0.08), columns - rng.uniform(-0.08, 0.08)
    angle, distance = np.arctan2(rows, columns), np.hypot(rows, columns)
    rim = rng.uniform(0.2, 0.3)
    turn = rng.uniform(0, 2 * np.pi, 3)
    if examined:
        shape = 0.25 * np.cos(angle - turn[0]) + 0.2 * np.cos(3 * angle - turn[1])
        shape += 0.1 * np.cos(5 * angle - turn[2])
    else:
        shape = 0.06 * np.cos(2 * angle - turn[0])
    inside = 1.0 / (1.0 + np.exp(np.clip((distance - rim * (1.0 + shape)) * rng.uniform(25, 60), -50, 50)))
    skin = np.array([0.86, 0.66, 0.55]) * rng.uniform(0.8, 1.1)
    brown = np.array([0.5, 0.3, 0.22]) * rng.uniform(0.8, 1.25)
    dark = brown * (rng.uniform(0.4, 0.7) if examined else rng.uniform(0.85, 1.0))
    half = 1.0 / (1.0 + np.exp(-20.0 * (rows * np.sin(turn[1]) + columns * np.cos(turn[1]))))
    lesion = brown[:, None, None] * (1 - half) + dark[:, None, None] * half
    image = skin[:, None, None] * (1 - inside) + lesion * inside
    image = image + 0.03 * rng.standard_normal(image.shape)
    return np.asarray(np.clip(image, 0.0, 1.0), dtype=np.float64)


def read(path: Path, *, new: int = 60, seed: int = 7) -> Lesions:
    """A table as HAM10000's `hmnist_8_8_L`: columns `pixel0000` … `pixel0063` and `label` (0 to 6), plain or gzip.

    Where there is a column `lesion_id`, images of one lesion stay on one side. Raises ``DataError``.
    """
    pixels, labels, lesions = _table(path)
    sides = np.unique(lesions)
    np.random.default_rng(seed).shuffle(sides)
    kept, count = set[str](), 0
    for side in sides:
        if count >= new:
            break
        kept.add(str(side))
        count += int((lesions == side).sum())
    apart = np.isin(lesions, sorted(kept))
    if apart.all():
        raise DataError(f"`{path}` has {len(labels)} images: too few to train on")
    images = pixels.reshape(-1, 1, 8, 8) / 255.0
    return Lesions(
        images[~apart],
        labels[~apart],
        images[apart][:new],
        labels[apart][:new],
        f"images of 8 by 8 grey pixels in {path.name}",
    )


def _table(path: Path) -> tuple[FloatArray, npt.NDArray[np.int64], npt.NDArray[np.str_]]:
    names = [f"pixel{number:04}" for number in range(_PIXELS)]
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            reader = csv.DictReader(file)
            missing = {*names, "label"} - set(reader.fieldnames or ())
            if missing:
                raise DataError(
                    f"`{path}` has no column `{min(missing)}`", hint="give a table such as `hmnist_8_8_L`"
                )
            rows = [row for row, _ in zip(reader, range(_MOST_ROWS), strict=False)]
        pixels = np.array([[float(row[name]) for name in names] for row in rows])
        kinds = [int(row["label"]) for row in rows]
    except FileNotFoundError:
        raise DataError(f"no such file: `{path}`", hint="check the path of the data") from None
    except (OSError, EOFError, ValueError, TypeError, csv.Error) as error:
        raise DataError(f"cannot read `{path}` as a table of images", hint="give .csv or .csv.gz") from error
    if not rows or not ((pixels >= 0) & (pixels <= 255)).all() or not set(kinds) <= set(range(7)):
        raise DataError(f"`{path}` must have pixels from 0 to 255 and labels from 0 to 6")
    labels = np.array([kind in _WATCHED for kind in kinds], dtype=np.int64)
    return pixels, labels, np.array([row.get("lesion_id") or str(n) for n, row in enumerate(rows)])
