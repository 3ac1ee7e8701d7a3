"""Buffers of dropped objects wait for their next use until somebody asks for their memory."""

import numpy as np

from tacit import _native


def test_the_pool_is_released(
    params: _native.Parameters, secret: _native.SecretKey, evaluator: _native.Evaluator
) -> None:
    x = np.linspace(-1, 1, params.slots)

    def product() -> np.ndarray:
        ciphertext = secret.encrypt(params.encode(x))
        return np.asarray(
            params.decode_real(secret.decrypt(evaluator.mul_relin_rescale(ciphertext, ciphertext)))
        )

    expected = product()
    assert _native.release_pool() >= 8 * params.n
    assert _native.release_pool() == 0
    assert np.abs(product() - expected).max() < 1e-4
