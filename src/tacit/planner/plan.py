"""The decision: which protection runs which program, with the declaration that it was chosen by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cbor2

from tacit.backends.base import Declaration
from tacit.planner.cost import format_bytes, format_seconds

__all__ = ["Plan", "declaration_to_dict"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Immutable. ``plan_id``: SHA-256 (hexadecimal) of what both sides agree on, the backend's public plan.

    ``checked_samples``: calibration samples that were encrypted before the plan was handed out, and
    ``checked_error``: their largest error against clear, ``None`` where nothing was checked.
    """

    protection: str
    plan_id: str
    model: str
    declaration: Declaration
    max_error: float | None = None
    checked_samples: int = 0
    checked_error: float | None = None

    @property
    def error_bound(self) -> float:
        """Largest absolute error of the primary output that is promised."""
        return self.declaration.error_bound

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON and CBOR."""
        return {
            "protection": self.protection,
            "plan_id": self.plan_id,
            "model": self.model,
            "max_error": self.max_error,
            "checked_samples": self.checked_samples,
            "checked_error": self.checked_error,
            **declaration_to_dict(self.declaration),
        }

    def to_bytes(self) -> bytes:
        """Canonical CBOR of ``to_dict``: a record for logs and contracts."""
        return cbor2.dumps(self.to_dict(), canonical=True)

    def __repr__(self) -> str:
        return f"<Plan {self.plan_id[:12]} of {self.model!r} under {self.protection}>"

    def __str__(self) -> str:
        cost = self.declaration.cost
        measured = (
            ", measured and not proven" if self.declaration.details.get("promise") == "measured" else ""
        )
        checked = "" if self.checked_error is None else f" (checked: {self.checked_error:.2g})"
        return (
            f"{self.protection} plan {self.plan_id[:12]}: {self.declaration.variant}, {self.declaration.parameters}; "
            f"{cost.samples} sample{'s' * (cost.samples != 1)} per request in {format_seconds(cost.seconds)}, "
            f"{format_bytes(cost.bytes_up)} up, {format_bytes(cost.bytes_down)} down, "
            f"keys {format_bytes(cost.key_bytes)}, error <= {self.error_bound:.3g}{measured}{checked}"
        )


def declaration_to_dict(declaration: Declaration) -> dict[str, Any]:
    """Plain data, for JSON."""
    cost = declaration.cost
    return {
        "protection": declaration.protection,
        "variant": declaration.variant,
        "parameters": declaration.parameters,
        "error_bound": declaration.error_bound,
        "samples_per_request": cost.samples,
        "seconds": cost.seconds,
        "owner_seconds": cost.owner_seconds,
        "setup_seconds": cost.setup_seconds,
        "bytes_up": cost.bytes_up,
        "bytes_down": cost.bytes_down,
        "key_bytes": cost.key_bytes,
        "memory_bytes": cost.memory_bytes,
        "sees": {sight.what: {"who": list(sight.who), "note": sight.note} for sight in declaration.sights},
        "assumptions": list(declaration.assumptions),
        "details": dict(declaration.details),
    }
