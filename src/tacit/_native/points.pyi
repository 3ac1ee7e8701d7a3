"""Keys of functions of a public point that two parties evaluate to shares: distributed comparison.

A key belongs to a secret ``alpha`` of ``bits`` bits, 0 to 64, and a secret bit ``flip``; both parties' bits at
a point x add up, modulo 2, to (x < alpha) ^ flip. Construction of Boyle and others (Eurocrypt 2021,
ia.cr/2020/1392) with one bit of output and blocks of 128 leaves; the layout is in `crates/share`, module
`dcf`.

*Words* are C-contiguous arrays of uint64. Of alphas and points the low ``bits`` bits count. Bits are packed as
in `tacit._native.shares`. Results do not depend on the instruction set (TACIT_CPU). The work is done without
the interpreter lock.

All raise ShapeError for lengths that do not fit, DataError for arrays that do not hold uint64,
InvalidParameterError for numbers out of range.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["evaluate", "generate", "key_words"]

def evaluate(
    prg_key: bytes,
    bits: int,
    second: bool,
    roots: NDArray[np.uint64],
    keys: NDArray[np.uint64],
    points: NDArray[np.uint64],
) -> NDArray[np.uint64]:
    """The shares of one party (``second``: of party 1) at its points, one for each key: packed bits.

    `roots`: two words for each key. `keys`: as `generate` made them.
    """

def generate(
    prg_key: bytes,
    bits: int,
    roots: list[NDArray[np.uint64]],
    alpha: NDArray[np.uint64],
    flips: NDArray[np.uint64],
) -> NDArray[np.uint64]:
    """Keys for each alpha, the same for both parties.

    `prg_key`: 16 public bytes, best not used for another batch. `roots`: of party 0 and of party 1, two random
    words for each alpha, never used before. `flips`: packed bits.
    """

def key_words(bits: int, n: int) -> int:
    """Words of the keys of n points."""
