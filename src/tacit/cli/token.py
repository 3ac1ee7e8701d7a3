"""`tacit keys token`: a bearer token for one client of a server."""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer

from tacit.cli import output
from tacit.service.tokens import add_token, new_token, token_line

__all__ = ["command"]


def command(
    name: Annotated[str, typer.Argument(help="Whom the token is for.", show_default=False)],
    tokens: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="File of tokens to add it to, as `tacit serve --tokens` reads it.", show_default=False
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make a token and show it once: the file keeps a digest only."""
    token = new_token()
    line = token_line(name, token)
    if tokens is not None:
        add_token(tokens, name, token)
    if json:
        output.document({"name": name, "token": token, "line": line, "file": tokens})
        return
    output.write(f"{token}\n")
    where = f"the digest is in {tokens}" if tokens is not None else f"line for the file of tokens:\n{line}"
    typer.echo(f"give this token to {name}; it is not shown again; {where}", err=True)
