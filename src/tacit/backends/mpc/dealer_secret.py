"""Secrets of `dealer2`: public masked words, and who holds what of the mask.

A secret x has up to two forms, both linear in x:

- masked: both computing parties know x̂ = x + r and hold additive shares of r; the dealer holds r. It may be known
  modulo 2^known only (after a truncation), and not at all for known = 0.
- shared: additive shares of x, which the dealer knows nothing of. It follows from the masked form where known = 64.

Products need the masked form modulo 2^64, comparisons of w bits need it modulo 2^w. What is missing is opened
when it is needed, under a mask of its own, and kept: the object then knows more of the same secret.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import numpy as np

from tacit.backends.mpc.engine import Bits, Secret
from tacit.backends.mpc.steps import Words

__all__ = ["WORD", "Dealt", "DealtBits", "Masked", "MaskedBits"]

WORD = 64


class Masked(Secret):
    """What computing party ``index`` holds. ``hat`` and ``mask`` mean nothing where ``known`` is 0."""

    __slots__ = ("_part", "hat", "index", "known", "mask")

    def __init__(self, index: int, *, hat: Words, mask: Words, known: int, part: Words | None = None) -> None:
        self.index = index
        self.hat = hat
        self.mask = mask
        self.known = known
        self._part = part

    @classmethod
    def of_part(cls, index: int, part: Words) -> Self:
        """Of an additive share alone."""
        return cls(index, hat=part, mask=part, known=0, part=part)

    def __repr__(self) -> str:
        return f"<Masked {self.shape}, known modulo 2^{self.known}>"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.hat.shape

    @property
    def part(self) -> Words:
        """This party's additive share."""
        if self._part is None:
            return self.hat - self.mask if self.index == 0 else np.negative(self.mask)
        return self._part

    def local(self, linear: Callable[..., Words], *others: Self) -> Self:
        known = min(self.known, *(other.known for other in others), WORD)
        part = None
        if known < WORD:
            part = np.asarray(linear(self.part, *(other.part for other in others)))
        if not known and part is not None:
            return type(self).of_part(self.index, part)
        hat = np.asarray(linear(self.hat, *(other.hat for other in others)))
        mask = np.asarray(linear(self.mask, *(other.mask for other in others)))
        return type(self)(self.index, hat=hat, mask=mask, known=known, part=part)

    def plus(self, words: Words) -> Masked:
        """The sum with public words."""
        part = self._part
        if part is not None and self.index == 0:
            part = part + words
        if not self.known and part is not None:
            return Masked.of_part(self.index, part)
        return Masked(self.index, hat=self.hat + words, mask=self.mask, known=self.known, part=part)

    def keep(self, hat: Words, mask: Words) -> None:
        """The masked form modulo 2^64 was opened."""
        if self.known < WORD:
            self.hat, self.mask, self.known, self._part = hat, mask, WORD, None


class Dealt(Secret):
    """What the dealer holds: the mask modulo 2^``known``, zeros where there is none."""

    __slots__ = ("known", "mask")

    def __init__(self, mask: Words, known: int = WORD) -> None:
        self.mask = mask
        self.known = known

    def __repr__(self) -> str:
        return f"<Dealt {self.shape}, known modulo 2^{self.known}>"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.mask.shape

    def local(self, linear: Callable[..., Words], *others: Self) -> Self:
        known = min(self.known, *(other.known for other in others), WORD)
        return type(self)(np.asarray(linear(self.mask, *(other.mask for other in others))), known)

    def keep(self, mask: Words) -> None:
        if self.known < WORD:
            self.mask, self.known = mask, WORD


class MaskedBits(Bits):
    """What a computing party holds of bits, 64 to a word: its share modulo 2, and the masked form if it was
    opened."""

    __slots__ = ("_shape", "hat", "mask", "part")

    def __init__(
        self,
        shape: tuple[int, ...],
        part: Words,
        *,
        hat: Words | None = None,
        mask: Words | None = None,
    ) -> None:
        self._shape = shape
        self.part = part
        self.hat = hat
        self.mask = mask

    def __repr__(self) -> str:
        return f"<MaskedBits {self.shape}>"

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    def keep(self, hat: Words, mask: Words) -> None:
        if self.hat is None:
            self.hat, self.mask = hat, mask


class DealtBits(Bits):
    """What the dealer holds of bits: their mask, if they were opened under one."""

    __slots__ = ("_shape", "mask")

    def __init__(self, shape: tuple[int, ...], mask: Words | None = None) -> None:
        self._shape = shape
        self.mask = mask

    def __repr__(self) -> str:
        return f"<DealtBits {self.shape}>"

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    def keep(self, mask: Words) -> None:
        if self.mask is None:
            self.mask = mask
