"""The protocols by name: where their prices come from."""

from __future__ import annotations

from tacit.backends.mpc.rehearsal import Prices
from tacit.errors import InvalidParameterError

__all__ = ["prices_of"]


def prices_of(variant: str) -> Prices:
    """What the primitives of a protocol cost. Raises ``InvalidParameterError`` for another name."""
    if variant == "replicated3":
        from tacit.backends.mpc.replicated_prices import ReplicatedPrices

        return ReplicatedPrices()
    if variant == "dealer2":
        from tacit.backends.mpc.dealer_prices import DealerPrices

        return DealerPrices()
    raise InvalidParameterError(f"there is no protocol `{variant}`", hint="known are replicated3 and dealer2")
