"""One small model under two plans, and folders of keys that no user has."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import numpy as np
import pytest

from tacit.backends.ckks.provider import Provider
from tests.backends.dense import samples
from tests.remote.provider import Scripted, scripted

X = samples(60, 4)


@pytest.fixture(scope="session")
def bundles() -> tuple[bytes, bytes]:
    """A model compiled for one row, and for many."""
    from sklearn.linear_model import LogisticRegression

    import tacit

    model = LogisticRegression().fit(X, np.where(X @ [1, -1, 2, 0] > 0, "ill", "well"))
    one, many = (
        tacit.Provider.from_model(model, calibration=X, batch=batch, check=0).to_bytes()
        for batch in (1, 2000)
    )
    return one, many


@pytest.fixture
def server(bundles: tuple[bytes, bytes]) -> Iterator[Scripted]:
    with scripted(*(Provider(bundle) for bundle in bundles)) as server:
        yield server


@pytest.fixture
def ring(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "keys"
