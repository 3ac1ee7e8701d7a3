"""Keys that the tests of the bare scheme share."""

from __future__ import annotations

import pytest

from tacit import ckks


@pytest.fixture(scope="session")
def params() -> ckks.Parameters:
    return ckks.Parameters.from_literal(ckks.N13_DEPTH3)


@pytest.fixture(scope="session")
def keys(params: ckks.Parameters) -> ckks.Keys:
    return ckks.keygen(params, rotations=[3], sums=[8], matmul=[(8, 3), (3, 8), (16, 16)], conjugate=True)
