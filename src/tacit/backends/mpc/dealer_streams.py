"""Seeds of `dealer2` and the random words that come from them.

The dealer shares one seed with each computing party, and the computing parties share one that the dealer does
not know. From a seed, the session and the plan follows a key; from the key and the number of a call a stream.
A call takes a number that no other call of the session takes, and a stream only moves forward: no word is
used twice, so long as no two sessions have both seed and name in common. There is no way to continue a
session: after a crash the seeds are new.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from tacit._native.shares import Stream
from tacit.backends.mpc.steps import Words
from tacit.errors import InternalError

__all__ = ["SEED_BYTES", "Stream", "expanded", "fresh_seed", "prg_key", "session_key", "session_tag"]

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


def session_tag(session: bytes, plan: bytes) -> bytes:
    """32 bytes that name session and plan; public."""
    sizes = len(session).to_bytes(8, "little") + len(plan).to_bytes(8, "little")
    return hashlib.sha256(b"tacit dealer2 session\0" + sizes + session + plan).digest()


def session_key(seed: bytes, tag: bytes) -> bytes:
    """HMAC-SHA256 of the session's tag under the seed: a pseudorandom function, as in HKDF-Expand (RFC 5869)."""
    return hmac.digest(seed, b"tacit dealer2 streams\0" + tag, "sha256")


def prg_key(tag: bytes, number: int) -> bytes:
    """16 public bytes: the key of the permutation in the trees of one call (`crates/share`, module `dcf`)."""
    return hashlib.sha256(b"tacit dealer2 trees\0" + tag + number.to_bytes(8, "little")).digest()[:16]


def expanded(seed: Words, size: int) -> Words:
    """Random words from a seed that a client made for one secret only, so that its stream 0 has never been used."""
    return Stream(seed.tobytes(), 0).words(size)
