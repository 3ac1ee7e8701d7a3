"""Random words that two parties of `replicated3` make alike without a message, and where their seeds come from.

Seed k_i is made by party i, which gives it to the party before it; so party i knows k_i and k_(i+1), just as it holds
the components i and i+1 of every secret. From a seed and the session follows a key, from the key and the number of a
call a stream. A call takes a number that no other call of the session takes, and a stream only moves forward: no word
is used twice, so long as no two sessions share both seed and name.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tacit.backends.mpc.steps import Words
from tacit.errors import InternalError

__all__ = ["SEED_BYTES", "Stream", "fresh_seed", "session_key"]

SEED_BYTES: Final = 32


def fresh_seed(entropy: Callable[[int], bytes]) -> bytes:
    """A seed from the operating system. Raises ``InternalError`` where it gives none; there is no other source."""
    hint = "the session was abandoned: fix the random source of this machine and start it again"
    try:
        seed = entropy(SEED_BYTES)
    except (OSError, RuntimeError) as error:
        raise InternalError(f"the operating system gave no randomness: {error}", hint=hint) from error
    if len(seed) != SEED_BYTES:
        raise InternalError(f"the operating system gave {len(seed)} random bytes of {SEED_BYTES}", hint=hint)
    return seed


def session_key(seed: bytes, session: bytes) -> bytes:
    """HMAC-SHA256 of the session under the seed: a pseudorandom function, as in HKDF-Expand (RFC 5869)."""
    return hmac.digest(seed, b"tacit replicated3 streams\0" + session, "sha256")


class Stream:
    """Stream ``number`` of a key of 32 bytes: the words of `crates/share`, module `prg`."""

    __slots__ = ("_cipher", "_next", "_nonce")

    def __init__(self, key: bytes, number: int) -> None:
        derive = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()  # noqa: S305 - of counters
        label = number.to_bytes(8, "little")
        blocks = derive.update(label + bytes(8) + label + (1).to_bytes(8, "little"))
        self._cipher = Cipher(algorithms.AES128(blocks[:16]), modes.ECB()).encryptor()  # noqa: S305 - of counters
        self._nonce = int.from_bytes(blocks[16:24], "little")
        self._next = 0

    def __repr__(self) -> str:
        return "<Stream>"

    def fill(self, size: int) -> Words:
        """The next words."""
        blocks = (size + 1) // 2
        counters = np.empty((blocks, 2), dtype="<u8")
        counters[:, 0] = np.arange(self._next, self._next + blocks, dtype=np.uint64)
        counters[:, 1] = self._nonce
        self._next += blocks
        words = np.frombuffer(self._cipher.update(counters.tobytes()), dtype="<u8")
        return words[:size].astype(np.uint64)
