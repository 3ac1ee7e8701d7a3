"""The tables of which the pages of stories are made."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

__all__ = ["bullets", "pairs", "plain_table", "section", "verdict"]


def section(title: str, body: RenderableType) -> tuple[RenderableType, ...]:
    return Text(title, style="bold"), Padding(body, (0, 0, 1, 2))


def bullets(lines: Sequence[str]) -> Table:
    return pairs([("-", line) for line in lines])


def pairs(rows: Sequence[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column()
    for name, text in rows:
        table.add_row(name, text)
    return table


def verdict(kept: bool) -> Text:
    if kept:
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
