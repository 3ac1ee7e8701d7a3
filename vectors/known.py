"""Keys, ciphertexts and values that the vectors share: all of them from seeded generators, none from
Tacit."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field

from oracle import embedding, polynomial, randomness
from oracle.primes import chain
from oracle.scheme import Ciphertext, Model, SwitchingKey
from oracle.wire import Wire

__all__ = ["LITERALS", "Known"]

# Insecure on purpose: N = 16. The two differ in the number of primes of a key-switching digit.
LITERALS = {
    "one-special-prime": {"log_n": 4, "log_q": [40, 30, 30], "log_p": [42], "log_scale": 30},
    "two-special-primes": {"log_n": 4, "log_q": [40, 30, 30, 30], "log_p": [36, 36], "log_scale": 30},
}


@dataclass
class Known:
    """Everything for one literal. ``values``: two vectors of complex slots; ``x``, ``y``: their
    encryptions."""

    name: str
    model: Model = field(init=False)
    wire: Wire = field(init=False)

    def __post_init__(self) -> None:
        literal = LITERALS[self.name]
        log_n, scale = int(str(literal["log_n"])), int(str(literal["log_scale"]))
        q, p = list(literal["log_q"]), list(literal["log_p"])  # type: ignore[call-overload]
        primes = chain(log_n, q + p)
        self.model = Model(log_n, tuple(primes[: len(q)]), tuple(primes[len(q) :]))
        self.wire = Wire(self.model, scale)
        self.rng = random.Random(self.name)  # noqa: S311 - test values
        n = self.model.n
        self.top = len(q) - 1
        self.scale = float(1 << scale)
        self.s = [self.rng.choice((-1, 0, 1)) for _ in range(n)]
        self.values = [
            [complex(self.rng.uniform(-2, 2), self.rng.uniform(-2, 2)) for _ in range(n // 2)]
            for _ in range(2)
        ]
        self.x, self.y = (self.encrypt(f"{name}", v) for name, v in zip("xy", self.values, strict=True))

    def seed(self, name: str) -> bytes:
        """A public seed."""
        return hashlib.sha256(f"{self.name}/{name}".encode()).digest()

    def noise(self) -> list[int]:
        """Small errors."""
        return [round(self.rng.gauss(0, 3.2)) for _ in range(self.model.n)]

    def encrypt(self, name: str, values: list[complex]) -> Ciphertext:
        """A fresh seeded encryption at the top level."""
        a = self.wire.expanded(self.seed(name), randomness.CIPHERTEXT, 0, list(range(self.top + 1)))
        message = embedding.encode(values, self.model.n, int(self.scale))
        return self.model.encrypt_secret(message, self.s, a, self.noise(), level=self.top, scale=self.scale)

    def relinearization(self, level: int) -> tuple[bytes, SwitchingKey]:
        """The key from s² to s."""
        big = self.model.modulus(level) * self.model.special
        square = polynomial.centred(polynomial.multiply(self.s, self.s, big), big)
        return self._key("relinearization", randomness.RELINEARIZATION, square, self.s, level)

    def galois(self, g: int, level: int) -> tuple[bytes, SwitchingKey]:
        """The key of X → X^g."""
        target = self.model.galois_source(self.s, g)
        return self._key(f"galois {g}", randomness.GALOIS, self.s, target, level)

    def _key(
        self, name: str, kind: int, source: list[int], target: list[int], level: int
    ) -> tuple[bytes, SwitchingKey]:
        seed = self.seed(name)
        digits = range(len(self.model.digit_primes(level)))
        halves = [
            (self.wire.expanded(seed, kind, j, self.wire.key_primes(level)), self.noise()) for j in digits
        ]
        return seed, self.model.switching_key(source, target, halves, level)
