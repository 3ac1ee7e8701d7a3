"""Use data that you may never see."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tacit.client import (
        Answer,
        Explanation,
        Machine,
        Owner,
        Plan,
        Private,
        Provider,
        PublicPlan,
        Report,
        calibrate,
        explain,
        load,
        protect,
        simulate,
    )
    from tacit.remote.connect import Remote, connect

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Explanation",
    "Machine",
    "Owner",
    "Plan",
    "Private",
    "Provider",
    "PublicPlan",
    "Remote",
    "Report",
    "__version__",
    "calibrate",
    "connect",
    "explain",
    "load",
    "protect",
    "simulate",
]

_LATE_MODULES = ("ckks", "errors")
_HOMES = {"Remote": "tacit.remote.connect", "connect": "tacit.remote.connect"}
"""Where public names are that `tacit.client` does not have."""


def __getattr__(name: str) -> Any:
    """Public names come from their modules at first use, so that ``import tacit`` loads nothing heavy."""
    if name in _LATE_MODULES:
        return import_module(f"tacit.{name}")
    if name in __all__:
        value = getattr(import_module(_HOMES.get(name, "tacit.client")), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'tacit' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, *_LATE_MODULES])
