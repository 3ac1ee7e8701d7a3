"""Chains and noise: what planning assumes of the native core, compared with it."""

from __future__ import annotations

import numpy as np
import pytest

from tacit import _native
from tacit.backends.ckks import backend
from tacit.backends.ckks.levels import MAX_LOG_QP, MAX_SCALE_BITS, Chain, chains, moduli
from tacit.backends.ckks.noise import NoiseModel
from tacit.errors import DepthError, PrecisionError
from tests.backends.dense import dense, samples


def test_the_security_table_is_that_of_the_core() -> None:
    assert _native.security_table() == MAX_LOG_QP


@pytest.mark.parametrize("log_n", [12, 13, 14])
def test_primes_are_those_of_the_core(log_n: int) -> None:
    literal = {12: ((37, 31), (38,)), 13: ((50, 38, 38, 38), (50,)), 14: ((45, 40, 40, 40), (50, 50))}[log_n]
    params = _native.Parameters.from_literal(log_n, *literal, log_scale=30)
    q, p = moduli(log_n, *literal)
    assert tuple(params.q) == q
    assert tuple(params.p) == p


@pytest.mark.parametrize("switches_keys", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 3, 5, 9, 14])
def test_every_chain_is_secure(depth: int, switches_keys: bool) -> None:
    for log_n, limit in MAX_LOG_QP.items():
        for chain in chains(depth, log_n, switches_keys=switches_keys):
            assert chain.log_qp <= limit
            assert max(*chain.log_q, *chain.log_p, 0) <= 50
            assert bool(chain.log_p) == switches_keys
            assert len(chain.log_q) == depth + 1 or (depth == 1 and not chain.rescale_last)


def measured(
    params: _native.Parameters, secret: _native.SecretKey, ct: _native.Ciphertext, wanted: np.ndarray
) -> float:
    slots = params.decode(secret.decrypt(ct))
    return float(np.std(slots.real - wanted.real)) * ct.scale


def test_noise_is_as_modelled() -> None:
    """Standard deviations of fresh, rotated, rescaled and multiplied ciphertexts, within 20 % of the model."""
    params = _native.Parameters.from_literal(13, [45, 36, 36, 36], [50], log_scale=36)
    model = NoiseModel(13, [float(x) for x in params.q], [float(x) for x in params.p])
    secret = _native.SecretKey.insecure_from_seed(params, bytes(32))
    keys = secret.evaluation_keys(rotations=[1], relinearize=True)
    evaluator = _native.Evaluator(params, keys)
    x = np.random.default_rng(0).uniform(-1, 1, params.slots)
    fresh = secret.encrypt(params.encode(x))
    assert measured(params, secret, fresh, x) == pytest.approx(model.fresh, rel=0.2)
    rotated = evaluator.rotate(fresh, 1)
    modelled = np.hypot(model.fresh, model.key_switch(3))
    assert modelled / 1.2 <= measured(params, secret, rotated, np.roll(x, -1)) <= 1.2 * modelled
    scaled = evaluator.rescale(evaluator.mul_const(fresh, 0.7, scale=float(params.q[3])))
    modelled = np.hypot(model.rounding, 0.7 * model.fresh)
    assert modelled / 1.2 <= measured(params, secret, scaled, 0.7 * x) <= 1.2 * modelled
    squared = evaluator.square_relin_rescale(fresh)
    own = 2 * np.sqrt(np.mean(x**2)) * model.fresh * fresh.scale / params.q[3]
    switched = model.key_switch(3) / params.q[3]
    modelled = np.sqrt(own**2 + switched**2 + model.fused_rounding**2)
    assert modelled / 1.2 <= measured(params, secret, squared, x * x) <= 1.2 * modelled


@pytest.mark.parametrize("special", [[50, 50], [42, 42], [44, 44, 44]], ids=str)
def test_noise_with_several_special_primes_is_as_modelled(special: list[int]) -> None:
    params = _native.Parameters.from_literal(14, [42] * 6, special, log_scale=42)
    model = NoiseModel(14, [float(x) for x in params.q], [float(x) for x in params.p])
    secret = _native.SecretKey.insecure_from_seed(params, bytes(32))
    evaluator = _native.Evaluator(params, secret.evaluation_keys(rotations=[5]))
    x = np.random.default_rng(0).uniform(-1, 1, params.slots)
    rotated = evaluator.rotate(secret.encrypt(params.encode(x)), 5)
    modelled = np.hypot(model.fresh, model.key_switch(5))
    assert modelled / 1.2 <= measured(params, secret, rotated, np.roll(x, -5)) <= 1.2 * modelled


def test_running_out_of_primes_ends() -> None:
    with pytest.raises(DepthError, match="primes of 20 bits"):
        moduli(14, (20,) * 40, ())


def test_no_larger_ring_is_tried_where_a_full_scale_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise at one scale grows with the ring: what fails there fails in every larger one."""
    tried: list[Chain] = []
    attempt = backend._tried

    def record(model: object, chain: Chain, *others: object) -> object:
        tried.append(chain)
        return attempt(model, chain, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(backend, "_tried", record)
    with pytest.raises(PrecisionError):
        backend.CkksBackend().candidates(dense((8, 6, 5, 4, 2)), samples(60, 8), max_error=1e-8)
    full = min(chain.log_n for chain in tried if chain.log_scale >= MAX_SCALE_BITS)
    assert max(chain.log_n for chain in tried) == full < max(MAX_LOG_QP)
