"""The options of commands that go to a provider: who asks, whom to trust, where keys are."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

import tacit
from tacit.errors import DataError, InvalidParameterError

__all__ = [
    "Authority",
    "Certificate",
    "CertificateKey",
    "Connection",
    "KeyFolder",
    "PassphraseFile",
    "Timeout",
    "TokenFile",
    "is_url",
]

MAX_LINE_BYTES = 4096

TokenFile = Annotated[
    pathlib.Path | None,
    typer.Option(help="File with a bearer token; else TACIT_TOKEN, if set.", show_default=False),
]
Authority = Annotated[
    pathlib.Path | None,
    typer.Option("--ca", help="Authority that the provider's certificate must be of.", show_default=False),
]
Certificate = Annotated[
    pathlib.Path | None, typer.Option("--cert", help="Certificate of this client.", show_default=False)
]
CertificateKey = Annotated[
    pathlib.Path | None, typer.Option("--key", help="Key of this client's certificate.", show_default=False)
]
KeyFolder = Annotated[
    pathlib.Path | None,
    typer.Option("--keyring", help="Folder of key files; default ~/.config/tacit/keys.", show_default=False),
]
PassphraseFile = Annotated[
    pathlib.Path | None,
    typer.Option(
        help="File with the passphrase of key files; else TACIT_PASSPHRASE, if set.", show_default=False
    ),
]
Timeout = Annotated[float, typer.Option(help="Seconds that one request may take, with its repetitions.")]


@dataclass(frozen=True, kw_only=True)
class Connection:
    """What the options say. A token or passphrase is never an option itself: others see the words of a
    command."""

    token_file: pathlib.Path | None = None
    ca: pathlib.Path | None = None
    cert: pathlib.Path | None = None
    key: pathlib.Path | None = None
    keyring: pathlib.Path | None = None
    passphrase_file: pathlib.Path | None = None
    timeout: float = 300.0

    @property
    def token(self) -> str | None:
        return line_of(self.token_file, "TACIT_TOKEN")

    @property
    def passphrase(self) -> str | None:
        return line_of(self.passphrase_file, "TACIT_PASSPHRASE")

    @property
    def pair(self) -> tuple[pathlib.Path, pathlib.Path] | None:
        """Certificate and key of the client. Raises ``InvalidParameterError`` for one without the other."""
        if (self.cert is None) != (self.key is None):
            raise InvalidParameterError("`--cert` and `--key` go together", hint="give the files of one pair")
        return None if self.cert is None or self.key is None else (self.cert, self.key)

    def connect(
        self,
        url: str,
        *,
        protection: Literal["ckks", "clear"] = "ckks",
        plan: str | None = None,
        max_error: float | None = None,
        measured: bool = False,
        progress: Callable[[str, float], None] | None = None,
    ) -> tacit.Remote:
        return tacit.connect(
            url,
            protection=protection,
            plan=plan,
            max_error=max_error,
            measured=measured,
            progress=progress,
            **self.options(),
        )

    def given(self) -> dict[str, Any]:
        """Options that were given, by their names."""
        names = {"--token-file": self.token_file, "--ca": self.ca, "--cert": self.cert, "--key": self.key}
        return names | {"--keyring": self.keyring, "--passphrase-file": self.passphrase_file}

    def options(self) -> dict[str, Any]:
        """As keywords of `tacit.connect`."""
        return {
            "token": self.token,
            "ca": self.ca,
            "cert": self.pair,
            "keyring": self.keyring,
            "passphrase": self.passphrase,
            "timeout_s": self.timeout,
        }


def is_url(text: str) -> bool:
    """Whether an argument means a provider and not a file."""
    return text.startswith(("https://", "http://"))


def line_of(path: pathlib.Path | None, variable: str) -> str | None:
    """The first line of a file, else what the environment has, else nothing."""
    if path is None:
        return os.environ.get(variable) or None
    try:
        with path.open("rb") as file:
            line = file.read(MAX_LINE_BYTES + 1).splitlines()
    except OSError as error:
        raise DataError(f"cannot read `{path}`: {(error.strerror or 'failed').lower()}") from None
    try:
        text = line[0].decode().strip()
    except (IndexError, UnicodeDecodeError):
        text = ""
    if not text or len(text) > MAX_LINE_BYTES // 2:
        raise DataError(f"`{path}` does not begin with a line of text", hint="write one line into it")
    return text
