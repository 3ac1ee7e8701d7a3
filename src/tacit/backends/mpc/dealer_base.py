"""What the three processes of `dealer2` do alike: numbers of calls, openings that the plan lists, checks of
arguments."""

from __future__ import annotations

import abc
from collections import deque
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any, TypeVar

import numpy as np

from tacit.backends.mpc import dealer_local as local
from tacit.backends.mpc.dealer_ahead import DEALER, Recording, Supply, received, recorded, supplied
from tacit.backends.mpc.dealer_secret import WORD
from tacit.backends.mpc.engine import SLACK_BITS, Bits, Convolution, Engine, Secret
from tacit.backends.mpc.steps import Steps
from tacit.errors import InternalError, InvalidParameterError, RevealError

__all__ = ["DEALER", "Party", "cut_of", "distinct", "owner_of", "width_of"]

S = TypeVar("S", bound=Secret)
B = TypeVar("B", bound=Bits)
T = TypeVar("T")
R = TypeVar("R")


class Party(Engine[S, B]):
    """One process of a session that is named by ``tag``. ``reveals``: the openings that the plan lists."""

    name = "dealer2"
    parties = 3

    def __init__(self, index: int, tag: bytes, reveals: Collection[str]) -> None:
        self.index = index
        self._tag = tag
        self._reveals = frozenset(reveals)
        self._revealed: set[str] = set()
        self._calls = 0
        self._stocked: deque[tuple[Hashable, Recording[Any] | Supply]] = deque()
        self._using = False

    def __repr__(self) -> str:
        return f"<dealer2, party {self.index}>"

    def begin_run(self) -> None:
        """The next run of the plan: each of its openings may be made once more. Nothing random starts over."""
        self._revealed.clear()

    def stock(self, label: Hashable, run: Callable[[], Steps[Any]]) -> Steps[None]:
        if self.index == DEALER:
            self._using = True
            try:
                recording = recorded(run())
            finally:
                self._using = False
            yield from recording.deliver()
            self._stocked.append((label, recording))
        else:
            supply = yield from received()
            self._stocked.append((label, supply))

    def run(self, label: Hashable, run: Callable[[], Steps[R]]) -> Steps[R]:
        if not self._stocked:
            return (yield from run())
        wanted, made = self._stocked[0]
        if wanted != label:
            raise InvalidParameterError(
                f"randomness was made ahead for a run of {wanted}; got {label}",
                hint="run what was announced, or begin a new session",
            )
        self._stocked.popleft()
        result: R
        if isinstance(made, Recording):
            result = yield from made.steps()
            return result
        self._using = True
        try:
            result = yield from supplied(run(), made)
        finally:
            self._using = False
        return result

    def _number(self) -> int:
        """Of the next call; no number comes twice.

        Raises ``InternalError`` where it is the number of a call of a run that the dealer made randomness for ahead.
        """
        if self._stocked and not self._using:
            raise InternalError("a call came before the run for which randomness was made ahead")
        self._calls += 1
        return self._calls

    def _reveal_once(self, to: Sequence[int], name: str) -> None:
        if DEALER in to:
            raise InvalidParameterError(
                f"the opening '{name}' names the dealer, who may see no value", hint="open it to party 0 or 1"
            )
        if name not in self._reveals:
            raise RevealError(
                f"party {self.index} was asked for the opening '{name}', which is not one of the plan's",
                hint="all parties run the plan that they agreed upon; compare its hash",
            )
        if name in self._revealed:
            raise RevealError(
                f"party {self.index} was asked for the opening '{name}' a second time",
                hint="start a new run of the plan",
            )
        self._revealed.add(name)

    def multiply(self, x: S, y: S, *, cut: int = 0) -> Steps[S]:
        return self._product(np.multiply, x, y, cut)

    def matmul(self, x: S, y: S, *, cut: int = 0) -> Steps[S]:
        return self._product(local.matmul, x, y, cut)

    def convolve(self, x: S, kernel: S, placement: Convolution, *, cut: int = 0) -> Steps[S]:
        return self._product(lambda a, b: local.convolve(a, b, placement), x, kernel, cut)

    @abc.abstractmethod
    def _product(self, product: local.Bilinear, x: S, y: S, cut: int) -> Steps[S]: ...


def owner_of(owner: int) -> int:
    """Raises ``InvalidParameterError`` where the party may own no input."""
    if owner not in (0, 1):
        raise InvalidParameterError(f"party {owner} of dealer2 may own no input; party 0 or 1 may")
    return owner


def cut_of(cut: int) -> int:
    """Raises ``InternalError`` for a truncation that has no meaning."""
    if not 1 <= cut <= SLACK_BITS:
        raise InternalError(f"a truncation by {cut} bits; 1 to {SLACK_BITS} are possible")
    return cut


def width_of(width: int) -> int:
    """Raises ``InternalError`` for a comparison that has no meaning."""
    if not 1 <= width <= WORD:
        raise InternalError(f"a comparison of {width} bits; 1 to {WORD} are possible")
    return width


def distinct(items: Sequence[T], missing: Callable[[T], bool]) -> list[T]:
    """Those of which something is missing, each once."""
    found: dict[int, T] = {id(item): item for item in items if missing(item)}
    return list(found.values())
