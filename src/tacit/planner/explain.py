"""The price list: one column per protection, one row per question, as plain text or plain data."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

from tacit.backends.base import Declaration, Refusal
from tacit.planner.cost import format_bytes, format_seconds
from tacit.planner.plan import declaration_to_dict
from tacit.planner.visibility import SUBJECTS, who_sees

__all__ = ["Explanation"]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What every protection would cost for one model. ``str()`` is the table; ``to_dict()`` is the same for JSON."""

    model: str
    batch: int
    plans: tuple[Declaration, ...]
    refusals: tuple[Refusal, ...]

    def rows(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The table: a question and one answer per column (``plans`` first, then ``refusals``)."""
        plans = self.plans
        extra = [s.what for plan in plans for s in plan.sights if s.what not in SUBJECTS]
        subjects = (*SUBJECTS, *dict.fromkeys(extra))

        def line(title: str, cells: list[str]) -> tuple[str, tuple[str, ...]]:
            return title, (*cells, *("-" for _ in self.refusals))

        costs = [plan.cost for plan in plans]
        table = [line(f"sees {what}", [who_sees(plan, what) for plan in plans]) for what in subjects]
        table += [
            line("how", [plan.variant for plan in plans]),
            line("parameters", [plan.parameters or "-" for plan in plans]),
            line("samples per request", [str(cost.samples) for cost in costs]),
            line("provider time", [format_seconds(cost.seconds) for cost in costs]),
            line("owner time", [format_seconds(cost.owner_seconds) for cost in costs]),
            line("time per sample", [format_seconds(cost.seconds_per_sample) for cost in costs]),
            line("key generation, once", [format_seconds(cost.setup_seconds) for cost in costs]),
            line("bytes up", [format_bytes(cost.bytes_up) for cost in costs]),
            line("bytes down", [format_bytes(cost.bytes_down) for cost in costs]),
            line("keys, once", [format_bytes(cost.key_bytes) for cost in costs]),
            line("provider memory", [format_bytes(cost.memory_bytes) for cost in costs]),
            line("times are of", [str(plan.details.get("machine", "-")) for plan in plans]),
            line(
                "error promised",
                [_promise(plan) for plan in plans],
            ),
        ]
        if any(plan.details.get("alternatives") for plan in plans):
            table.append(line("at another price", [_alternatives(plan) for plan in plans]))
        if any("rounds" in plan.details for plan in plans):
            table += [
                line("rounds between parties", [str(plan.details.get("rounds", "-")) for plan in plans]),
                line("sent by each party", [_sent(plan) for plan in plans]),
                line("provider time by network", [_networks(plan) for plan in plans]),
            ]
        if any("comparison_margin" in plan.details for plan in plans):
            table += [
                line("comparison margin", [_margin(plan) for plan in plans]),
                line("calibration rows within it", [_close_rows(plan) for plan in plans]),
            ]
        refused = [f"{r.reason}; {r.hint}" if r.hint else r.reason for r in self.refusals]
        if refused:
            table.append(("refused", (*("no" for _ in plans), *refused)))
        return tuple(table)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: ``model``, ``batch``, ``plans`` and ``refusals``."""
        return {
            "model": self.model,
            "batch": self.batch,
            "plans": [declaration_to_dict(plan) for plan in self.plans],
            "refusals": [
                {"protection": r.protection, "reason": r.reason, "hint": r.hint} for r in self.refusals
            ],
        }

    def __str__(self) -> str:
        heads = [plan.protection for plan in self.plans] + [r.protection for r in self.refusals]
        title_width = max(len(title) for title, _ in self.rows())
        width = max(16, min(44, (110 - title_width) // max(1, len(heads)) - 2))
        lines = [f"{self.model}, {'one sample' if self.batch == 1 else f'batch of {self.batch}'}", ""]
        lines += _wrapped("", tuple(heads), title_width, width)
        lines.append("-" * (title_width + (width + 2) * len(heads)))
        for title, cells in self.rows():
            lines += _wrapped(title, cells, title_width, width)
        for plan in self.plans:
            lines += ["", f"{plan.protection} assumes:"]
            for assumption in plan.assumptions:
                lines += textwrap.wrap(assumption, 110, initial_indent="  - ", subsequent_indent="    ")
            if note := plan.details.get("machine_note"):
                lines += textwrap.wrap(f"Times of `{plan.protection}`: {note}.", 110, initial_indent="  ")
        return "\n".join(lines)

    def __repr__(self) -> str:
        names = [plan.protection for plan in self.plans]
        refused = [refusal.protection for refusal in self.refusals]
        return f"<Explanation of {self.model!r}: {', '.join(names) or 'no plan'}" + (
            f"; refused: {', '.join(refused)}>" if refused else ">"
        )


def _promise(plan: Declaration) -> str:
    if not plan.error_bound:
        return "0"
    span = plan.details.get("output_span")
    measured = (
        ", measured on calibration data, not proven" if plan.details.get("promise") == "measured" else ""
    )
    return f"<= {plan.error_bound:.2g}" + (f" of answers that span {span:.2g}" if span else "") + measured


def _alternatives(plan: Declaration) -> str:
    """The other chains, each with its seconds and key bytes against those of the plan."""
    found = [
        f"{format_seconds(other['seconds'])} with {format_bytes(other['key_bytes'])} of keys"
        for other in plan.details.get("alternatives", ())
    ]
    return "; ".join(found) or "-"


def _sent(plan: Declaration) -> str:
    """Bytes of each party; one number where all send the same."""
    sent = plan.details.get("bytes_by_party", {})
    if len(set(sent.values())) == 1:
        return format_bytes(next(iter(sent.values())))
    return ", ".join(f"{party}: {format_bytes(count)}" for party, count in sent.items()) or "-"


def _networks(plan: Declaration) -> str:
    found = plan.details.get("seconds_by_network", {})
    return ", ".join(f"{network} {format_seconds(seconds)}" for network, seconds in found.items()) or "-"


def _margin(plan: Declaration) -> str:
    margin = plan.details.get("comparison_margin")
    if margin is None:
        return "-"
    return f"<= {100 * margin:.2g} % of a feature's range" if margin else "none: every comparison is decided"


def _close_rows(plan: Declaration) -> str:
    rows = plan.details.get("calibration_rows")
    return "-" if rows is None else f"{plan.details['calibration_rows_within_margin']} of {rows}"


def _wrapped(title: str, cells: tuple[str, ...], title_width: int, width: int) -> list[str]:
    columns = [textwrap.wrap(cell, width) or [""] for cell in cells]
    lines = []
    for index in range(max((len(column) for column in columns), default=1)):
        parts = [(title if index == 0 else "").ljust(title_width)]
        parts += [(column[index] if index < len(column) else "").ljust(width) for column in columns]
        lines.append("  ".join(parts).rstrip())
    return lines
