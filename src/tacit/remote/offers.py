"""What a provider offers for a model: its plans, and which of them a number of rows takes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tacit.errors import InvalidParameterError, MalformedMessageError, NotServedError

__all__ = ["Offer", "choose", "named", "read_offers"]

BYTES_PER_SECOND = 125e6
"""Of the network that plans are compared on: 1 Gbit/s."""
MAX_OFFERS = 64
PLAN_FORM = re.compile(r"[0-9a-f]{64}")
PREFIX_FORM = re.compile(r"[0-9a-f]{32,64}")


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A row of the provider's list, by its own word. ``seconds``: of a request of ``batch`` samples, there."""

    plan_id: str
    batch: int
    layout: str
    request_bytes: int
    response_bytes: int
    key_bytes: int
    seconds: float
    error_bound: float

    def seconds_for(self, rows: int) -> float:
        """Predicted for so many rows in whole requests, with the way there and back."""
        on_the_way = (self.request_bytes + self.response_bytes) / BYTES_PER_SECOND
        return -(-rows // self.batch) * (self.seconds + on_the_way)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return dict(vars(self))


def read_offers(document: dict[str, Any]) -> tuple[Offer, ...]:
    """The rows of ``GET …/plans``. Raises ``MalformedMessageError``, and ``NotServedError`` for an empty
    list."""
    rows = document.get("plans")
    if not isinstance(rows, list) or len(rows) > MAX_OFFERS:
        raise MalformedMessageError(
            "the provider's list of plans is not valid", hint="is it of the same version?"
        )
    offers = tuple(_read(row) for row in rows)
    if not offers:
        raise NotServedError("the provider offers no plan for this model", hint="ask its operator")
    return offers


def choose(offers: Sequence[Offer], rows: int) -> Offer:
    """The plan that predicts so many rows soonest, by what the provider says; the first of equals."""
    return min(offers, key=lambda offer: offer.seconds_for(max(1, rows)))


def named(offers: Sequence[Offer], plan: str) -> Offer:
    """The offer whose id begins with ``plan``, at least 32 hexadecimal digits.

    Fewer could be met by trying plans.
    """
    if not isinstance(plan, str) or not PREFIX_FORM.fullmatch(plan):
        raise InvalidParameterError(
            "a plan is named by at least 32 hexadecimal digits of its id, in lower case",
            hint="who provides the model can tell the whole id, and `tacit keys list --json` shows those in use",
        )
    found = [offer for offer in offers if offer.plan_id.startswith(plan)]
    if len(found) != 1:
        raise NotServedError(
            f"the provider offers {'no' if not found else 'more than one'} plan `{plan[:12]}`",
            hint=f"it offers {', '.join(offer.plan_id[:12] for offer in offers)}",
        )
    return found[0]


def _read(row: Any) -> Offer:
    try:
        offer = Offer(
            plan_id=row["plan_id"],
            layout=row["layout"],
            batch=row["batch"],
            request_bytes=row["request_bytes"],
            response_bytes=row["response_bytes"],
            key_bytes=row["key_bytes"],
            seconds=float(row["seconds"]),
            error_bound=float(row["error_bound"]),
        )
        counts = (offer.batch, offer.request_bytes, offer.response_bytes, offer.key_bytes)
        is_valid = (
            type(offer.plan_id) is str
            and PLAN_FORM.fullmatch(offer.plan_id) is not None
            and offer.layout in ("latency", "throughput")
            and all(type(count) is int and 0 <= count < 1 << 53 for count in counts)
            and offer.batch >= 1
            and all(math.isfinite(number) and number >= 0 for number in (offer.seconds, offer.error_bound))
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        is_valid = False
    if not is_valid:
        raise MalformedMessageError(
            "a row of the provider's list of plans is not valid", hint="is it of the same version?"
        )
    return offer
