"""The same operations by two engines: Tacit's core and Microsoft SEAL as TenSEAL ships it (optional extra `peers`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module, metadata
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tacit import _native, ckks

__all__ = ["Engine", "Operation", "SealEngine", "TacitEngine", "seal_version"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Operation:
    """``call`` does the work that is timed; ``check`` decrypts its last result and gives the largest error."""

    call: Callable[[], object]
    check: Callable[[], float]
    per_call: int = 1
    """How many results one call makes."""
    key_bytes: int | None = None


class Engine(Protocol):
    """An engine set up for one shape."""

    def operation(self, task: str) -> Operation | None:
        """None when the engine does not have it."""


def seal_version() -> str | None:
    """The version of TenSEAL, None when it is not installed."""
    try:
        import_module("tenseal.sealapi")
    except ImportError:
        return None
    return metadata.version("tenseal")


class TacitEngine:
    """Tacit at one literal and one number of threads."""

    def __init__(
        self, literal: ckks.ParametersLiteral, x: Array, y: Array, *, threads: int, rotations: int
    ) -> None:
        params = ckks.Parameters.from_literal(literal)
        self._params, self._x, self._y = params.native, x, y
        self._rotations = list(range(1, rotations + 1))
        self._secret = _native.SecretKey.generate(params.native)
        self._public = self._secret.public_key()
        # At the scale of the top level a product lands near the nominal scale again.
        self._scale = params.scales[-1]
        self._plain = [self._params.encode(values, scale=self._scale) for values in (x, y)]
        self._cipher = [self._secret.encrypt(plain) for plain in self._plain]
        self._threads = threads
        self._evaluators: dict[tuple[int, bool], _native.Evaluator] = {}

    def set_threads(self, threads: int) -> None:
        """Another number of threads for the operations that follow."""
        self._threads = threads

    @cached_property
    def _keys(self) -> _native.EvaluationKeys:
        return self._secret.evaluation_keys(rotations=self._rotations, relinearize=True, threads=2)

    def _evaluator(self, *, with_keys: bool) -> _native.Evaluator:
        """Made once for each number of threads, and with keys only when they are needed."""
        kind = self._threads, with_keys
        if kind not in self._evaluators:
            keys = self._keys if with_keys else None
            self._evaluators[kind] = _native.Evaluator(self._params, keys, threads=self._threads)
        return self._evaluators[kind]

    def operation(self, task: str) -> Operation | None:
        """The operation of this name."""
        with_keys = task in {"rotate", "rotate-hoisted", "mul-relin-rescale"}
        run, x, y = self._evaluator(with_keys=with_keys), self._x, self._y
        a, b = self._cipher
        product = run.mul_plain(a, self._plain[1])
        one_key = self._keys.size_bytes // (len(self._rotations) + 1) if with_keys else None
        table: dict[str, tuple[Callable[[], Any], Array, int | None]] = {
            "rotate": (lambda: run.rotate(a, 1), np.roll(x, -1), one_key),
            "rotate-hoisted": (
                lambda: run.rotate_hoisted(a, self._rotations)[-1],
                np.roll(x, -self._rotations[-1]),
                one_key,
            ),
            "mul-relin-rescale": (lambda: run.mul_relin_rescale(a, b), x * y, one_key),
            "add": (lambda: run.add(a, b), x + y, None),
            "mul-plain": (lambda: run.mul_plain(a, self._plain[1]), x * y, None),
            "rescale": (lambda: run.rescale(product), x * y, None),
            "encrypt": (lambda: self._public.encrypt(self._plain[0]), x, None),
        }
        if task == "decrypt":
            return Operation(lambda: self._secret.decrypt(a), lambda: self._error(self._secret.decrypt(a), x))
        if task not in table:
            return None
        call, expected, key_bytes = table[task]
        per_call = len(self._rotations) if task == "rotate-hoisted" else 1
        return Operation(
            call, lambda: self._error(self._secret.decrypt(call()), expected), per_call, key_bytes
        )

    def _error(self, plaintext: _native.Plaintext, expected: Array) -> float:
        return float(np.abs(self._params.decode_real(plaintext) - expected).max())


class SealEngine:
    """SEAL with one special prime, which is all it has: its digits are single primes."""

    def __init__(self, log_n: int, log_q: list[int], log_scale: int, x: Array, y: Array) -> None:
        seal: Any = import_module("tenseal.sealapi")
        self._seal, self._x, self._y = seal, x, y
        parms = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
        parms.set_poly_modulus_degree(1 << log_n)
        parms.set_coeff_modulus(seal.CoeffModulus.Create(1 << log_n, log_q))
        # The library checks its own 128 bit table here.
        context = seal.SEALContext(parms, True, seal.SEC_LEVEL_TYPE.TC128)
        if not context.parameters_set():
            raise ValueError(f"SEAL refuses the parameters: {context.parameters_error_message()}")
        generator = seal.KeyGenerator(context)
        public = seal.PublicKey()
        generator.create_public_key(public)
        self._generator = generator
        self._encryptor = seal.Encryptor(context, public)
        self._decryptor = seal.Decryptor(context, generator.secret_key())
        self._encoder = seal.CKKSEncoder(context)
        self._run = seal.Evaluator(context)
        level = context.first_parms_id()
        self._plain, self._cipher = [], []
        for values in (x, y):
            plain, cipher = seal.Plaintext(), seal.Ciphertext()
            self._encoder.encode(values.tolist(), level, 2.0**log_scale, plain)
            self._encryptor.encrypt(plain, cipher)
            self._plain.append(plain)
            self._cipher.append(cipher)
        self._product = seal.Ciphertext()
        self._run.multiply_plain(self._cipher[0], self._plain[1], self._product)

    @cached_property
    def _relin(self) -> Any:
        keys = self._seal.RelinKeys()
        self._generator.create_relin_keys(keys)
        return keys

    @cached_property
    def _galois(self) -> Any:
        """For a rotation by one slot; the list holds exponents of X, and SEAL's rotations are powers of 3."""
        keys = self._seal.GaloisKeys()
        self._generator.create_galois_keys([3], keys)
        return keys

    def operation(self, task: str) -> Operation | None:
        """The operation of this name; SEAL does not hoist, so several rotations are single ones."""
        run, x, y = self._run, self._x, self._y
        a, b = self._cipher
        out, plain = self._seal.Ciphertext(), self._seal.Plaintext()

        def multiply() -> None:
            run.multiply(a, b, out)
            run.relinearize_inplace(out, self._relin)
            run.rescale_to_next_inplace(out)

        table: dict[str, tuple[Callable[[], object], Array]] = {
            "rotate": (lambda: run.rotate_vector(a, 1, self._galois, out), np.roll(x, -1)),
            "rotate-hoisted": (lambda: run.rotate_vector(a, 1, self._galois, out), np.roll(x, -1)),
            "mul-relin-rescale": (multiply, x * y),
            "add": (lambda: run.add(a, b, out), x + y),
            "mul-plain": (lambda: run.multiply_plain(a, self._plain[1], out), x * y),
            "rescale": (lambda: run.rescale_to_next(self._product, out), x * y),
            "encrypt": (lambda: self._encryptor.encrypt(self._plain[0], out), x),
        }
        if task == "decrypt":
            return Operation(lambda: self._decryptor.decrypt(a, plain), lambda: self._error(a, x))
        if task not in table:
            return None
        call, expected = table[task]

        def check() -> float:
            call()
            return self._error(out, expected)

        return Operation(call, check)

    def _error(self, cipher: object, expected: Array) -> float:
        plain = self._seal.Plaintext()
        self._decryptor.decrypt(cipher, plain)
        return float(np.abs(np.array(self._encoder.decode_double(plain)) - expected).max())
