"""`tacit demo`: a whole job on real data between separate processes."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tacit.cli import output
from tacit.stories.hospital import Part, Story, tell
from tacit.stories.ward import MODELS

__all__ = ["command"]


def command(
    story: Annotated[Literal["hospital"], typer.Argument(help="Which story.")] = "hospital",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run a story; the status is 1 when a label differs from the clear model or a promised bound is broken."""
    with output.progress(story) as bar:
        told = tell(progress=bar)
    if json:
        output.document(told.to_dict())
    else:
        output.show(view(told))
    if not told.kept:
        raise typer.Exit(1)


def view(story: Story) -> RenderableType:
    """The whole page."""
    opening = (
        f"A company has a model, fitted on {story.known_patients} patients; "
        f"a hospital has {story.new_patients} others.\n"
        "The hospital encrypts them, the company computes on ciphertexts, the hospital alone can decrypt.\n"
        f"Two processes: the hospital is this one, the company is `tacit serve`, process {story.process}.\n"
        "Between them goes HTTPS.\n" + "\n".join(f"Model {name}: {what}." for name, what in MODELS.items())
    )
    return Group(
        "",
        *section("hospital", opening),
        *section("answers, against scikit-learn in the clear", answers(story.parts)),
        *section("cost, median per request", costs(story.parts)),
        *section("what each side saw", sight(story)),
        *section("assumed", bullets(story.assumptions)),
        verdict(story),
        "",
    )


def section(title: str, body: RenderableType) -> tuple[RenderableType, ...]:
    return Text(title, style="bold"), Padding(body, (0, 0, 1, 2))


def answers(parts: tuple[Part, ...]) -> Table:
    table = plain_table("model", "plan", "patients", "same label", "largest error", "promised", "kept")
    for part in parts:
        table.add_row(
            part.model,
            part.what,
            str(part.patients),
            f"{part.patients - part.labels_differ} of {part.patients}",
            f"{part.largest_error:.1e}",
            f"<= {part.error_bound:.1e}",
            Text("yes", style="green") if part.kept else Text("NO", style="bold red"),
        )
    return table


def costs(parts: tuple[Part, ...]) -> Table:
    table = plain_table(
        "model", "plan", "encrypt", "provider", "decrypt", "per patient", "up", "down", "keys, once"
    )
    for part in parts:
        table.add_row(
            part.model,
            part.what,
            output.time_text(part.seconds_encrypt),
            output.time_text(part.seconds_provider),
            output.time_text(part.seconds_decrypt),
            output.time_text(part.seconds_per_patient),
            output.size_text(part.bytes_up),
            output.size_text(part.bytes_down),
            output.size_text(part.bytes_keys),
        )
    return table


def sight(story: Story) -> Table:
    requests, keys = story.provider["requests"], story.provider["keys"]
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column()
    table.add_row(
        "the company",
        f"{requests['done']} encrypted requests and {keys['count']} sets of evaluation keys "
        f"({output.size_text(keys['bytes'])}), {output.size_text(story.bytes_up)} in all. "
        "No patient, no answer; no key that decrypts was ever sent.",
    )
    table.add_row(
        "the hospital",
        f"{len(story.parts)} public plans and {requests['done']} encrypted answers "
        f"({output.size_text(story.bytes_down)}). No weight of the model but what answers tell; from the plans, the "
        "range and mean of each measurement among the patients that the company knows.",
    )
    return table


def bullets(lines: tuple[str, ...]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column()
    for line in lines:
        table.add_row("-", line)
    return table


def verdict(story: Story) -> Text:
    if story.kept:
        return Text(
            "every label is the one of the clear model, every error is within its promise", style="green"
        )
    return Text(
        "BROKEN: a label differs from the clear model or an error is over its promise", style="bold red"
    )


def plain_table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number < 2 else "right", no_wrap=True)
    return table
