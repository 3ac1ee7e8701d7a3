"""The Rust core: leveled RNS-CKKS, as `tacit.ckks` and the `ckks` backend use it.

All objects are immutable and may be shared between threads; everything that takes more than some microseconds
runs without the interpreter lock. Everything raised on purpose is a class of `tacit.errors`; messages never
hold a secret or a value.

Words: a *cleartext* is the user's numbers, a *plaintext* an encoded polynomial, a *ciphertext* an encrypted
one. `n` is the ring degree, `slots = n / 2` the number of packed values. At *level* `l` the primes q_0..q_l
are present; 0 is the last level. The *scale* is the factor between values and encoded integers.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Never, SupportsFloat, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tacit._native import points, shares

__all__ = [
    "SECURITY_SOURCE",
    "Ciphertext",
    "EvaluationKeys",
    "Evaluator",
    "LinearMap",
    "Parameters",
    "Plaintext",
    "PublicKey",
    "SecretKey",
    "cpu_path",
    "cpu_paths",
    "points",
    "release_pool",
    "security_table",
    "shares",
]

SECURITY_SOURCE: str
"""Document, table, attack model, error and secret distribution behind `security_table`."""

def security_table() -> dict[int, int]:
    """`{log_n: largest log2(QP)}` that `Parameters.from_literal` accepts; see `SECURITY_SOURCE`."""

def cpu_paths() -> list[str]:
    """The instruction sets that this CPU can use, slowest first: `portable`, `avx2`, `ifma`. Results are the
    same bits on all."""

def cpu_path(name: str | None = None) -> str:
    """The path that `cpu=name` stands for: `name`, else the environment variable TACIT_CPU, else the fastest.

    InvalidParameterError: an unknown name, or a path that this CPU cannot run.
    """

def release_pool() -> int:
    """Frees the buffers of dropped objects that wait for their next use, and returns their bytes.

    They are kept because fresh memory costs as much as the arithmetic on it: at most 256 MiB, and 8 MiB for each
    thread. Those of other threads stay.
    """

def _bench_ntt(
    log_n: int, repeats: int, cpu: str | None = None, *, bits: int = 50
) -> tuple[float, int, int, int]:
    """A forward transform of size 2^log_n modulo a prime of `bits` bits: seconds of one, best of `repeats` runs; the
    prime; its primitive root of unity; and a checksum of the result (benches/hexl_ntt.cpp says which)."""

@final
class Parameters:
    """Checked, immutable parameters. Equal when `hash` is."""

    @staticmethod
    def from_literal(
        log_n: int, log_q: Sequence[int], log_p: Sequence[int], *, log_scale: int, cpu: str | None = None
    ) -> Parameters:
        """Parameters of 128-bit security.

        log_n: 12 to 16. log_q: bits (20 to 50) of q_0..q_L, at least one; q_L is dropped first. log_p: bits
        of the special primes of key switching; may be empty when no evaluation keys are made. log_scale: log2
        of the default scale, 1 to 60 and below the sum of log_q. cpu: as in `cpu_path`. Equal sizes give
        distinct primes, always the same ones.

        InsecureParameterError: log2(QP) above the table. InvalidParameterError: a size out of range.
        """

    @staticmethod
    def insecure_from_literal(
        log_n: int, log_q: Sequence[int], log_p: Sequence[int], *, log_scale: int, cpu: str | None = None
    ) -> Parameters:
        """The same from log_n = 4 up and without the security table: for tests. Part of the hash, so nothing
        mixes with secure ones."""

    @property
    def log_n(self) -> int:
        """log2 of the ring degree."""

    @property
    def n(self) -> int:
        """The ring degree."""

    @property
    def slots(self) -> int:
        """Values in one plaintext: n / 2."""

    @property
    def max_level(self) -> int:
        """The level of a fresh ciphertext: len(q) - 1."""

    @property
    def q(self) -> list[int]:
        """The moduli chain q_0..q_L."""

    @property
    def p(self) -> list[int]:
        """The special moduli."""

    @property
    def alpha(self) -> int:
        """Primes in one digit of key switching: len(p)."""

    @property
    def log_qp(self) -> float:
        """log2 of the product of all primes: what the security table limits."""

    @property
    def max_log_qp(self) -> int | None:
        """The limit of the security table; None for a ring degree that is not in it."""

    @property
    def log_scale(self) -> int:
        """log2 of the default scale."""

    @property
    def scale(self) -> float:
        """The default scale."""

    @property
    def hash(self) -> bytes:
        """32 bytes that identify the parameters (not the CPU path)."""

    @property
    def cpu(self) -> str:
        """The instruction set in use."""

    @property
    def is_insecure(self) -> bool:
        """Whether these came from `insecure_from_literal`."""

    @property
    def error_std(self) -> float:
        """Standard deviation of the error of keys and fresh ciphertexts: 3.2."""

    def dnum(self, level: int) -> int:
        """Digits of key switching at `level`: ceil((level + 1) / alpha), 0 without special primes. LevelError
        above max_level."""

    def log_q(self, level: int) -> float:
        """log2 of q_0·…·q_level. LevelError above max_level."""

    def galois_element(self, rotation: int) -> int:
        """5^rotation mod 2n: the exponent g of X → X^g that moves slot i + rotation to slot i. Any sign."""

    def encode(self, values: ArrayLike, *, level: int | None = None, scale: float | None = None) -> Plaintext:
        """A plaintext of `values`: (k,) float64 or complex128, k <= slots; the rest of the slots is 0.

        level: default max_level. scale: default `self.scale`, any positive number.

        ShapeError: not one-dimensional or too long. DataError: not numbers, NaN or infinity. LevelError:
        level above max_level. ScaleError: a bad scale, or a coefficient that does not fit into q_0·…·q_level
        or is 2^103 or more.
        """

    def decode(self, pt: Plaintext) -> NDArray[np.complex128]:
        """All slots, (slots,) complex128. InvalidParameterError: a plaintext of other parameters."""

    def decode_real(self, pt: Plaintext) -> NDArray[np.float64]:
        """The real parts of all slots, (slots,) float64; else as `decode`."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Plaintext:
    """An encoded polynomial."""

    @property
    def level(self) -> int: ...
    @property
    def scale(self) -> float: ...
    @property
    def params_hash(self) -> bytes:
        """`Parameters.hash` of the parameters it belongs to."""

    def residues(self) -> NDArray[np.uint64]:
        """(level + 1, n) uint64: row i modulo q_i, in bit-reversed NTT order."""

@final
class Ciphertext:
    """An encrypted polynomial tuple; the representation shows degree, level and scale only."""

    @property
    def level(self) -> int: ...
    @property
    def scale(self) -> float: ...
    @property
    def degree(self) -> int:
        """Parts less one: 1, or 2 after `mul` and `square`."""

    @property
    def is_seeded(self) -> bool:
        """Whether part 1 is stored as a seed: fresh from `SecretKey.encrypt`."""

    @property
    def size_bytes(self) -> int:
        """len(self.to_bytes())."""

    @property
    def params_hash(self) -> bytes:
        """`Parameters.hash` of the parameters it belongs to."""

    def with_scale(self, scale: float) -> Ciphertext:
        """The same polynomials read with another scale: every value is divided by scale / self.scale. This
        changes the meaning, not the polynomials; it is for exact bookkeeping of scales. ScaleError: not a
        positive number."""

    def residues(self, part: int) -> NDArray[np.uint64]:
        """(level + 1, n) uint64 of one part: row i modulo q_i, in bit-reversed NTT order.
        InvalidParameterError: no such part."""

    def to_bytes(self) -> bytes:
        """The binary form, version 1; `crates/ckks/src/wire.rs` describes every bit."""

    @staticmethod
    def from_bytes(params: Parameters, data: bytes) -> Ciphertext:
        """Reads `to_bytes`; there is one valid form only. A checksum detects damage, not an adversary: use an
        authenticated channel.

        MalformedMessageError: truncated, too long, damaged, not canonical, or transparent.
        PeerIncompatibleError: other parameters or another version.
        """

    @staticmethod
    def from_bytes_many(params: Parameters, data: Sequence[bytes], *, threads: int = 1) -> list[Ciphertext]:
        """`[from_bytes(params, d) for d in data]`, spread over 1 to 256 threads. The error is that of the first bad
        input."""

@final
class SecretKey:
    """The owner's secret. It shows its ring degree only; comparing, copying and pickling raise UsageError."""

    @staticmethod
    def generate(params: Parameters) -> SecretKey:
        """A new key. Randomness comes from the operating system; InternalError when there is none."""

    @staticmethod
    def insecure_from_seed(params: Parameters, seed: bytes) -> SecretKey:
        """A key for tests and vectors: the key, and everything made with it or with its public key in the
        same order, is determined by `seed`, 32 bytes. InvalidParameterError: another length."""

    @staticmethod
    def from_bytes(params: Parameters, data: bytes) -> SecretKey:
        """Reads `reveal_bytes`. MalformedMessageError, PeerIncompatibleError: as `Ciphertext.from_bytes`."""

    @property
    def params(self) -> Parameters: ...
    def public_key(self) -> PublicKey:
        """A key that encrypts and does not decrypt."""

    def encrypt(self, pt: Plaintext) -> Ciphertext:
        """A fresh seeded ciphertext of the level and scale of `pt`. InvalidParameterError: a plaintext of
        other parameters."""

    def decrypt(self, ct: Ciphertext) -> Plaintext:
        """The plaintext with its noise. Showing it to others can reveal the key (ia.cr/2020/1533).

        InvalidParameterError: a ciphertext of other parameters.
        """

    def evaluation_keys(
        self,
        *,
        rotations: Mapping[int, int] | Iterable[int] | None = None,
        conjugate: int | None = None,
        relinearize: int | bool | None = None,
        threads: int = 1,
    ) -> EvaluationKeys:
        """The keys that an `Evaluator` needs; they decrypt nothing.

        rotations: {rotation: highest level at which it is used}, or rotations used at max_level. conjugate:
        the highest level of `conjugate`. relinearize: the highest level of products, True for max_level. A
        key serves all levels below its own and is smaller for low levels. threads: 1 to 256.

        InvalidParameterError: parameters without special primes, or threads out of range. LevelError: a level
        above max_level.
        """

    def reveal_bytes(self) -> bytes:
        """The secret itself, unprotected: for the owner's key store."""

    def __eq__(self, other: object, /) -> Never: ...
    def __reduce__(self) -> Never: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]

@final
class PublicKey:
    """Encrypts, does not decrypt."""

    @property
    def params(self) -> Parameters: ...
    def encrypt(self, pt: Plaintext) -> Ciphertext:
        """A fresh ciphertext of the level and scale of `pt`. InvalidParameterError: a plaintext of other
        parameters."""

    def to_bytes(self) -> bytes:
        """The binary form, version 1."""

    @staticmethod
    def from_bytes(params: Parameters, data: bytes) -> PublicKey:
        """Reads `to_bytes`; errors as `Ciphertext.from_bytes`."""

@final
class EvaluationKeys:
    """Relinearisation and Galois keys: what the evaluator gets."""

    @property
    def params_hash(self) -> bytes:
        """`Parameters.hash` of the parameters they belong to."""

    @property
    def size_bytes(self) -> int:
        """len(self.to_bytes()): halves of the keys travel as seeds."""

    @property
    def memory_bytes(self) -> int:
        """Bytes of residues in memory."""

    @property
    def has_relinearization(self) -> bool: ...
    @property
    def has_conjugation(self) -> bool: ...
    @property
    def galois_elements(self) -> list[int]:
        """Exponents of all Galois keys, ascending."""

    @property
    def rotations(self) -> list[int]:
        """Rotations in 1..slots-1 that have a key, ascending."""

    def to_bytes(self) -> bytes:
        """The binary form, version 1."""

    @staticmethod
    def from_bytes(params: Parameters, data: bytes) -> EvaluationKeys:
        """Reads `to_bytes`; errors as `Ciphertext.from_bytes`."""

@final
class LinearMap:
    """A matrix on the slots by its generalised diagonals: y = Σ_k diagonal_k ⊙ rotate(x, k)."""

    def __new__(
        cls, params: Parameters, diagonals: Mapping[int, ArrayLike], *, level: int, scale: float, baby: int
    ) -> LinearMap:
        """Encodes the diagonals for ciphertexts of `level`.

        diagonals: {k: (slots,) float64 or complex128}. scale: of the encoded diagonals; the prime q_level
        keeps the scale of a rescaled result. baby: rotations k = giant·baby + j are split with 0 <= j < baby;
        1 <= baby <= slots.

        InvalidParameterError: no diagonal, or baby out of range. Others as `Parameters.encode`.
        """

    @property
    def level(self) -> int: ...
    @property
    def scale(self) -> float: ...
    @property
    def rotations(self) -> list[int]:
        """The rotations whose keys `Evaluator.linear` needs."""

    @property
    def memory_bytes(self) -> int:
        """Bytes of encoded diagonals in memory."""

@final
class Evaluator:
    """The operations on ciphertexts.

    All raise InvalidParameterError for operands of other parameters. Binary operations need equal levels
    (LevelError); sums need scales that agree to 2^-30 (ScaleError). Keys that are missing, or trimmed below
    the level, raise MissingKeyError.
    """

    def __new__(
        cls, params: Parameters, keys: EvaluationKeys | None = None, *, threads: int = 1
    ) -> Evaluator:
        """threads: 1 (work stays on the caller's thread) to 256; results do not depend on it.
        InvalidParameterError: out of range, or keys of other parameters."""

    @property
    def params(self) -> Parameters: ...
    @property
    def threads(self) -> int: ...
    def add(self, a: Ciphertext, b: Ciphertext) -> Ciphertext:
        """a + b."""

    def sub(self, a: Ciphertext, b: Ciphertext) -> Ciphertext:
        """a - b."""

    def neg(self, a: Ciphertext) -> Ciphertext:
        """-a."""

    def add_plain(self, a: Ciphertext, pt: Plaintext) -> Ciphertext:
        """a + pt; the level of `pt` is at least that of `a`, the scales agree."""

    def sub_plain(self, a: Ciphertext, pt: Plaintext) -> Ciphertext:
        """a - pt; as `add_plain`."""

    def mul_plain(self, a: Ciphertext, pt: Plaintext) -> Ciphertext:
        """a · pt slot by slot, at the product of the scales; the level of `pt` is at least that of `a`.
        ScaleError: the product does not fit into the modulus."""

    def add_const(self, a: Ciphertext, c: SupportsFloat | complex) -> Ciphertext:
        """a + c in every slot."""

    def mul_const(self, a: Ciphertext, c: SupportsFloat, *, scale: float) -> Ciphertext:
        """a · c in every slot, with c rounded to a multiple of 1 / scale, at the product of the scales."""

    def mul(self, a: Ciphertext, b: Ciphertext) -> Ciphertext:
        """a · b slot by slot, of degree 2, at the product of the scales; operands of degree 1."""

    def square(self, a: Ciphertext) -> Ciphertext:
        """a · a for less than `mul`."""

    def relinearize(self, a: Ciphertext) -> Ciphertext:
        """The same values in degree 1; `a` of degree 2. Needs the relinearisation key."""

    def mul_relin_rescale(self, a: Ciphertext, b: Ciphertext) -> Ciphertext:
        """rescale(relinearize(mul(a, b))) with one division: faster and less noise."""

    def square_relin_rescale(self, a: Ciphertext) -> Ciphertext:
        """rescale(relinearize(square(a))) with one division."""

    def rescale(self, a: Ciphertext) -> Ciphertext:
        """Divides polynomials and scale by q_level and drops it. LevelError at level 0."""

    def drop_level(self, a: Ciphertext, level: int) -> Ciphertext:
        """Forgets the primes above `level`; values and scale stay. LevelError: above the level of `a`."""

    def rotate(self, a: Ciphertext, k: int) -> Ciphertext:
        """Slot i of the result is slot i + k (mod slots) of `a`, of degree 1. Any sign. Needs the key of k
        mod slots."""

    def rotate_hoisted(self, a: Ciphertext, ks: Sequence[int]) -> list[Ciphertext]:
        """rotate(a, k) for each k, sharing the decomposition of `a`."""

    def conjugate(self, a: Ciphertext) -> Ciphertext:
        """The complex conjugate of every slot. Needs the conjugation key."""

    def rotate_sum(self, a: Ciphertext, steps: Sequence[int]) -> Ciphertext:
        """For each step in turn a ← a + rotate(a, step): steps 1, 2, 4, …, m/2 sum each m neighbouring
        slots."""

    def linear(self, a: Ciphertext, map: LinearMap, *, rescale: bool = True) -> Ciphertext:
        """The map applied to the slots of `a`, rescaled unless told not to. Needs the keys of
        `map.rotations`."""

    def linear_combinations(
        self, cts: Sequence[Ciphertext], weights: ArrayLike, *, scale: float
    ) -> list[Ciphertext]:
        """Σ_j weights[i, j] · cts[j] for each row i, at scale · cts[0].scale, not rescaled.

        weights: (m, len(cts)) real, rounded to multiples of 1 / scale. ShapeError: another shape. DataError:
        not real numbers, NaN or infinity.
        """
