"""The protocols that parties run: their roles, and where their engines come from.

An engine is opened by steps among all parties: ``opening(index, session=…, plan=…, reveals=…)``. A client outside the
parties makes shares with ``deal`` and puts results together with ``combine``, of the same module.
"""

from __future__ import annotations

import abc
import importlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from tacit.backends.mpc.engine import Bits, Engine, Secret
from tacit.backends.mpc.steps import Steps, Words
from tacit.errors import InvalidParameterError

__all__ = ["PartyEngine", "Protocol", "named"]


class PartyEngine(Engine[Secret, Bits]):
    """What a session needs of an engine beside its primitives."""

    @abc.abstractmethod
    def arrays(self, x: Secret) -> list[Words]:
        """This party's part of a secret."""

    @abc.abstractmethod
    def adopt(self, arrays: Sequence[Words], shape: tuple[int, ...]) -> Secret:
        """A secret of which ``arrays`` is this party's part."""


@dataclass(frozen=True)
class Protocol:
    """``roles``: the parties in their order. ``module``: has ``open_engine``, ``deal`` and ``combine``."""

    name: str
    roles: tuple[str, ...]
    module: str

    def open(
        self, index: int, *, session: bytes, plan: bytes, reveals: Collection[str]
    ) -> Steps[PartyEngine]:
        """The opening of the engine of one party."""
        opening: Callable[..., Steps[PartyEngine]] = self.function("open_engine")
        return opening(index, session=session, plan=plan, reveals=reveals)

    def function(self, name: str) -> Callable[..., Any]:
        """A function of the protocol's module."""
        found: Callable[..., Any] = getattr(importlib.import_module(self.module), name)
        return found


_KNOWN = (
    Protocol("replicated3", ("party-0", "party-1", "party-2"), "tacit.backends.mpc.replicated"),
    Protocol("dealer2", ("party-0", "party-1", "dealer"), "tacit.backends.mpc.dealer"),
)


def named(name: str) -> Protocol:
    """The protocol of this name. Raises ``InvalidParameterError``."""
    for protocol in _KNOWN:
        if protocol.name == name:
            return protocol
    known = ", ".join(f"`{protocol.name}`" for protocol in _KNOWN)
    raise InvalidParameterError(f"there is no protocol `{name}`", hint=f"known are {known}")
