"""Small parameters that every file uses."""

import pytest

from tacit import _native


@pytest.fixture(scope="session")
def params() -> _native.Parameters:
    return _native.Parameters.insecure_from_literal(10, [50, 40, 40], [50], log_scale=40)


@pytest.fixture(scope="session")
def secret(params: _native.Parameters) -> _native.SecretKey:
    return _native.SecretKey.insecure_from_seed(params, bytes(range(32)))


@pytest.fixture(scope="session")
def keys(secret: _native.SecretKey) -> _native.EvaluationKeys:
    return secret.evaluation_keys(rotations={1: 2, 2: 1}, conjugate=0, relinearize=True)


@pytest.fixture(scope="session")
def evaluator(params: _native.Parameters, keys: _native.EvaluationKeys) -> _native.Evaluator:
    return _native.Evaluator(params, keys)
