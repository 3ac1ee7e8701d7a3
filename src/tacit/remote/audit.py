"""A plan from a provider, checked before a key is made for it: nothing that a provider says makes an owner
less safe.

What the checks stand on: an owner sends ciphertexts under its own key and nothing else, so a provider can
hurt it only by parameters that do not hide, by a plan that says itself that others see more, by sizes that
exhaust the owner, and by changing the plan later. Whether the plan's program is the model's is the provider's
word (SECURITY.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from tacit._native import Parameters
from tacit.backends.ckks.public import PublicPlan
from tacit.errors import (
    InsecureParameterError,
    InvalidParameterError,
    PeerMisbehavedError,
    PlanChangedError,
    PlanRefusedError,
)
from tacit.planner.cost import format_bytes
from tacit.planner.visibility import ROLES, SUBJECTS
from tacit.remote.exchange import largest_response

__all__ = ["MAX_KEY_BYTES", "audit", "trusted"]

MAX_KEY_BYTES = 2_000_000_000
"""Evaluation keys that an owner makes without being asked: 2 GB."""
MAX_FRAME_BYTES = 512_000_000
"""Of a request or an answer, which are held in memory several times."""
PROVIDER_TOO = ("model weights", "model structure", "calibrated region")
"""What is the provider's own to know. Anything else must be the owner's alone."""


def audit(
    data: bytes,
    *,
    plan_id: str,
    max_error: float | None = None,
    measured: bool = False,
    max_key_bytes: int = MAX_KEY_BYTES,
) -> PublicPlan:
    """The plan in ``data``, if it is the one of this id and protects its owner.

    ``max_error``: largest promised error that will do. ``measured``: whether a bound that is measured and not
    proven will. Raises what `PublicPlan.from_bytes` raises, ``PeerMisbehavedError`` for another plan than was
    asked for, and ``PlanRefusedError`` with every reason at once.
    """
    plan = PublicPlan.from_bytes(data)
    if plan.plan_id != plan_id:
        raise PeerMisbehavedError(
            "the provider sent another plan than the one that was asked for",
            hint="ask its operator; nothing was encrypted",
        )
    findings = [*_parameters(plan), *_sights(plan)]
    if max_error is not None and plan.error_bound > max_error:
        findings.append(
            f"its error bound is {plan.error_bound:.3g}, over the {max_error:.3g} that you accept"
        )
    if plan.is_measured and not measured:
        findings.append(
            "its error bound is measured on the provider's data and not proven: `measured=True` accepts that"
        )
    for what, bytes_ in (("a request", plan.request_bytes), ("an answer", largest_response(plan))):
        if bytes_ > MAX_FRAME_BYTES:
            findings.append(
                f"{what} takes {format_bytes(bytes_)}, over the limit of {format_bytes(MAX_FRAME_BYTES)}"
            )
    size = plan.evaluation_key_bytes
    if size > max_key_bytes:
        findings.append(
            f"it asks for {format_bytes(size)} of keys, over the limit of {format_bytes(max_key_bytes)}"
        )
    if findings:
        raise PlanRefusedError(
            f"the plan {plan_id[:12]} is refused: {'; '.join(findings)}",
            findings=tuple(findings),
            hint="nothing was encrypted; ask the provider for another plan",
        )
    return plan


def trusted(offered: Sequence[str], pinned: Sequence[str], *, place: str) -> tuple[str, ...]:
    """The plans that may be used: those offered, once some are pinned only these.

    Raises ``PlanChangedError`` when the provider offers none of the pinned ones any more.
    """
    if not pinned:
        return tuple(offered)
    known = tuple(plan for plan in offered if plan in set(pinned))
    if not known:
        raise PlanChangedError(
            f"the plans of {place} changed: it offers {_short(offered)}, your keys are for {_short(pinned)}",
            hint="ask the provider what changed; `tacit keys new URL` trusts the plans of now and makes new keys",
        )
    return known


def _parameters(plan: PublicPlan) -> list[str]:
    try:
        Parameters.from_literal(plan.log_n, plan.log_q, plan.log_p, log_scale=plan.log_scale)
    except (InsecureParameterError, InvalidParameterError) as error:
        return [str(error)]
    return []


def _sights(plan: PublicPlan) -> list[str]:
    """What the plan itself says of who sees what; what it leaves open counts as seen."""
    findings = []
    said = plan.who_sees
    missing = [what for what in SUBJECTS if what not in said]
    if missing:
        findings.append(f"it does not say who sees {', '.join(missing)}")
    if len(plan.sights) != len(said):
        findings.append("it says twice who sees the same thing")
    for what, who in said.items():
        strangers = sorted(set(who) - set(ROLES))
        if strangers:
            findings.append(f"somebody who is neither owner nor provider sees {_cut(what)}")
        elif "provider" in who and what not in PROVIDER_TOO:
            findings.append(f"the provider would see {_cut(what)}")
    return findings


def _cut(text: str) -> str:
    """A text of the provider, fit to be shown."""
    return "".join(letter for letter in text[:40] if letter.isprintable())


def _short(plans: Sequence[str]) -> str:
    return ", ".join(f"`{plan[:12]}`" for plan in plans[:4]) or "none"
