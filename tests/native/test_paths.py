"""The same bytes from every CPU path and every number of threads, and no interpreter lock in the way."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from tacit import _native
from tacit._native import EvaluationKeys, Evaluator, LinearMap, Parameters, SecretKey


def chain(cpu: str | None, threads: int = 1, log_n: int = 11) -> list[bytes]:
    """Everything from keys to a linear map, each intermediate result as bytes."""
    params = Parameters.insecure_from_literal(log_n, [50, 40, 40, 38], [50, 49], log_scale=40, cpu=cpu)
    secret = SecretKey.insecure_from_seed(params, b"paths must agree, bit for bit!!!")
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, params.slots))
    scale = float(params.q[2])
    diagonals = {k: rng.normal(size=params.slots) for k in range(5)}
    linear = LinearMap(params, diagonals, level=2, scale=scale, baby=2)
    keys = secret.evaluation_keys(
        rotations=dict.fromkeys([1, 3, *linear.rotations], 3), conjugate=1, relinearize=True, threads=threads
    )
    evaluator = Evaluator(params, keys, threads=threads)
    a = secret.encrypt(params.encode(x + 1j * y))
    b = secret.public_key().encrypt(params.encode(y))
    product = evaluator.mul(a, b)
    rescaled = evaluator.rescale(evaluator.relinearize(product))
    fused = evaluator.mul_relin_rescale(a, b)
    rotated = evaluator.rotate(fused, 3)
    mapped = evaluator.linear(rotated, linear)
    results = [
        a,
        b,
        product,
        rescaled,
        fused,
        rotated,
        mapped,
        evaluator.conjugate(mapped),
        *evaluator.rotate_hoisted(mapped, [0, 1, 3]),
        evaluator.rotate_sum(mapped, [1, 3]),
        *evaluator.linear_combinations([a, a], rng.normal(size=(3, 2)), scale=2.0**30),
        evaluator.mul_const(evaluator.add_const(a, 1 - 2j), 0.3, scale=2.0**35),
        evaluator.square_relin_rescale(evaluator.sub(fused, rotated)),
        evaluator.mul_plain(evaluator.sub_plain(a, params.encode(y)), params.encode(x)),
    ]
    decoded = params.decode(secret.decrypt(mapped))
    expected = sum(d * np.roll((x + 1j * y) * y, -k - 3) for k, d in diagonals.items())
    assert np.abs(decoded - expected).max() < 1e-4
    keys_again = EvaluationKeys.from_bytes(params, keys.to_bytes())
    return [ct.to_bytes() for ct in results] + [keys_again.to_bytes(), decoded.tobytes()]


def test_paths_agree() -> None:
    expected = chain("portable")
    for cpu in _native.cpu_paths():
        assert chain(cpu) == expected, cpu


def test_environment_chooses_the_path() -> None:
    code = "from tests.native.test_paths import chain; import hashlib, sys;"
    code += "sys.stdout.write(hashlib.sha256(b''.join(chain(None))).hexdigest())"
    digests = set()
    for cpu in _native.cpu_paths():
        environment = {**os.environ, "TACIT_CPU": cpu, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
        digests.add(done.stdout)
    assert len(digests) == 1


def test_threads_agree() -> None:
    # Large enough that rows are really spread over the pool.
    expected = chain(None, log_n=14)
    assert chain(None, threads=2, log_n=14) == expected
    assert chain(None, threads=3, log_n=14) == expected


def test_long_calls_release_the_interpreter() -> None:
    params = Parameters.from_literal(15, [50] * 10, [50] * 4, log_scale=40)
    secret = SecretKey.generate(params)

    def longest_pause() -> tuple[float, float]:
        """Seconds of the native call, and the longest time in it during which this thread did not run."""
        seconds, started = [0.0], threading.Event()

        def work() -> None:
            started.set()
            start = time.perf_counter()
            secret.evaluation_keys(rotations=[1, 2, 3], relinearize=True)
            seconds[0] = time.perf_counter() - start

        worker = threading.Thread(target=work)
        worker.start()
        started.wait()
        pause, last = 0.0, time.perf_counter()
        while worker.is_alive():
            now = time.perf_counter()
            pause, last = max(pause, now - last), now
        worker.join()
        return pause, seconds[0]

    # A busy machine may stop this thread for long, but not three times in a row.
    attempts = [longest_pause() for _ in range(3)]
    assert any(pause < seconds / 2 for pause, seconds in attempts), attempts


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_pools_survive_a_fork() -> None:
    code = """
import os, sys, warnings
from tests.native.test_paths import chain
warnings.simplefilter("ignore")
before = chain(None, threads=2, log_n=13)
child = os.fork()
if child == 0:
    os._exit(0 if chain(None, threads=2, log_n=13) == before else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
