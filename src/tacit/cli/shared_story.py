"""How a story under `mpc` looks: answers, cost, who saw what, what is assumed."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tacit.cli import output
from tacit.cli.story_tables import bullets, pairs, plain_table, section, verdict
from tacit.stories.shared import Part, Story

__all__ = ["view"]

OPENINGS = {
    "hospital": "A company has a model, a hospital has patients.",
    "skin": "A company has a network that looks at skin, a clinic has images.",
}


def view(story: Story) -> RenderableType:
    """The whole page."""
    opening = (
        f"{OPENINGS[story.name]}\nModel and data become shares among processes of this machine, which compute on them, "
        "with TLS 1.3\nbetween them. Any one of them holds nothing but random numbers.\n"
        f"Protocol: {story.variant}.\nData: {story.data}."
    )
    return Group(
        "",
        *section(f"{story.name}, under mpc", opening),
        *section("answers, against the model in the clear", answers(story.parts)),
        *section("cost, median of a run", costs(story.parts)),
        *section("who sees what", pairs(story.sees)),
        *section("assumed", bullets(story.assumptions)),
        verdict(story.kept),
        "",
    )


def answers(parts: tuple[Part, ...]) -> Table:
    table = plain_table(
        "model", "asked", "samples", "same label", "right", "in the clear", "error", "promised", "kept"
    )
    for part in parts:
        table.add_row(
            part.model,
            part.what,
            str(part.samples),
            f"{part.samples - part.labels_differ} of {part.samples}",
            f"{100 * part.accuracy:.3g} %",
            f"{100 * part.accuracy_clear:.3g} %",
            f"{part.largest_error:.1e}",
            f"<= {part.error_bound:.1e}",
            Text("yes", style="green") if part.kept else Text("NO", style="bold red"),
        )
    return table


def costs(parts: tuple[Part, ...]) -> Table:
    table = plain_table("model", "asked", *parts[0].seconds, "per sample", "rounds", "sent by each party")
    for part in parts:
        each = part.samples / part.runs
        table.add_row(
            part.model,
            part.what,
            *(output.time_text(seconds) for seconds in part.seconds.values()),
            output.time_text(sum(part.seconds.values()) / each),
            str(part.rounds),
            ", ".join(output.size_text(count) for count in part.bytes_by_party.values()),
        )
    return table
