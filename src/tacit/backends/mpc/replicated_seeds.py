"""Seeds of the random words that two parties of `replicated3` make alike without a message.

Seed k_i is made by party i, which gives it to the party before it; so party i knows k_i and k_(i+1), just as it holds
the components i and i+1 of every secret. From a seed and the session follows a key, from the key and the number of a
call a stream (`crates/share`, module `prg`). A call takes numbers that no other call of the session takes, and a stream
only moves forward: no word is used twice, so long as no two sessions share both seed and name.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final

from tacit.errors import InternalError

__all__ = ["SEED_BYTES", "fresh_seed", "session_key"]

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
