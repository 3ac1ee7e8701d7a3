"""`tacit demo`: a whole job on real data between separate processes."""

from __future__ import annotations

import pathlib
from typing import Annotated, Literal

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tacit.cli import output, shared_story
from tacit.cli.story_tables import bullets, pairs, plain_table, section, verdict
from tacit.errors import InvalidParameterError
from tacit.stories.clinic import tell as tell_skin
from tacit.stories.hospital import Part, Story, tell
from tacit.stories.shared import Story as SharedStory
from tacit.stories.ward import MODELS
from tacit.stories.ward_shared import tell_shared

__all__ = ["command"]


def command(
    story: Annotated[Literal["hospital", "skin"], typer.Argument(help="Which story.")] = "hospital",
    protection: Annotated[
        Literal["ckks", "mpc"] | None,
        typer.Option(
            help="How it is protected; default: `ckks` for hospital, `mpc` for skin.", show_default=False
        ),
    ] = None,
    data: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="For skin: a table of 8 by 8 grey pixels instead of drawn images, .csv or .csv.gz.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run a story; the status is 1 when a label differs from the clear model or a promised bound is broken."""
    if story == "skin" and protection == "ckks":
        raise InvalidParameterError("the story of the skin runs under `mpc`: it hides the network from all")
    if story == "hospital" and data is not None:
        raise InvalidParameterError("`--data` is for the story of the skin")
    told: Story | SharedStory
    with output.progress(story) as bar:
        if story == "skin":
            told = tell_skin(data=data, progress=bar)
        elif protection == "mpc":
            told = tell_shared(progress=bar)
        else:
            told = tell(progress=bar)
    if json:
        output.document(told.to_dict())
    else:
        output.show(view(told) if isinstance(told, Story) else shared_story.view(told))
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
        verdict(story.kept),
        "",
    )


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
    company = (
        f"{requests['done']} encrypted requests and {keys['count']} sets of evaluation keys "
        f"({output.size_text(keys['bytes'])}), {output.size_text(story.bytes_up)} in all. "
        "No patient, no answer; no key that decrypts was ever sent."
    )
    hospital = (
        f"{len(story.parts)} public plans and {requests['done']} encrypted answers "
        f"({output.size_text(story.bytes_down)}). No weight of the model but what answers tell; from the plans, the "
        "range and mean of each measurement among the patients that the company knows."
    )
    return pairs([("the company", company), ("the hospital", hospital)])
