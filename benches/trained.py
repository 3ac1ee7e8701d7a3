"""Networks are trained once: their weights stay in `benches/.trained`, named by the code that made them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["kept"]

HERE = Path(__file__).resolve().parent
STORE = HERE / ".trained"
SOURCES = ("convolutional_models.py", "dense_models.py")


def kept(
    name: str, source: str, train: Callable[[], Sequence[NDArray[np.float32]]]
) -> list[NDArray[np.float32]]:
    """The arrays that ``train`` returns, trained on data from ``source``; read back where they were made before."""
    digest = hashlib.sha256(source.encode())
    for file in SOURCES:
        digest.update((HERE / file).read_bytes())
    path = STORE / f"{name}-{digest.hexdigest()[:16]}.npz"
    if not path.exists():
        STORE.mkdir(exist_ok=True)
        made = STORE / f"{name}.{os.getpid()}.npz"
        np.savez(made, **{str(index): array for index, array in enumerate(train())})
        made.replace(path)
    with np.load(path, allow_pickle=False) as found:
        return [found[str(index)] for index in range(len(found.files))]
