"""Every example is run, every link resolves."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.docs.pages import PAGES, ROOT, Block, anchors, blocks, links

LANGUAGES = {"python", "console", "text", "toml", "rust", "json", "make"}
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
RUNNABLE = [page for page in PAGES if any(block.language in {"python", "console"} for block in blocks(page))]


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_runs(page: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The python blocks of a page are one program, run in an empty folder; console lines run between them.

    Word for word but for the port 8443, which becomes a free one; the user's folders are new and empty.
    """
    monkeypatch.chdir(tmp_path)
    for name in ("CONFIG", "CACHE", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / f".{name.lower()}"))
    namespace: dict[str, Any] = {"__name__": "__main__"}
    port = str(free_port())
    with contextlib.ExitStack() as servers:
        for block in blocks(page):
            text = block.text.replace("8443", port)
            if block.language == "python":
                source = "\n" * (block.line - 1) + text
                exec(compile(source, str(page), "exec"), namespace)  # noqa: S102 our own page
            elif block.language == "console":
                run_console(Block(block.language, text, block.line), tmp_path, servers)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def beside(words: list[str], folder: pathlib.Path, sign: str) -> Iterator[None]:
    """A server or party in another terminal, from the line that says that it is there to the end of the page."""
    command = [sys.executable, "-m", *words]
    name = "-".join(word.replace("/", "-") for word in words[1:4]) + ".log"
    with (
        (folder / name).open("w+") as log,
        subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT) as server,
    ):
        try:
            end = time.monotonic() + 300
            while sign not in (told := (folder / name).read_text()):
                assert server.poll() is None and time.monotonic() < end, told
                time.sleep(0.05)
            yield
        finally:
            server.terminate()


def run_console(block: Block, folder: pathlib.Path, servers: contextlib.ExitStack) -> None:
    """Run the `$ tacit …` lines; a `$ make …` line must name a target. Other lines are output.

    Before the `$` may stand who types. `tacit serve` and `tacit party up` run until the end of the page.
    """
    for line in block.text.splitlines():
        typed = re.match(r"\w*\$ +(.+)", line)
        if typed is None:
            continue
        words = shlex.split(typed[1], comments=True)
        if words[:2] == ["tacit", "serve"]:
            servers.enter_context(beside(words, folder, "serving at"))
        elif words[:3] == ["tacit", "party", "up"]:
            servers.enter_context(beside(words, folder, "is up at"))
        elif words[0] == "make":
            targets = re.findall(
                r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
            )
            assert set(words[1:]) <= set(targets), line
        else:
            assert words[0] == "tacit", f"not runnable here, mark the block `text`: {line}"
            done = subprocess.run(
                [sys.executable, "-m", *words],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=600,
                env={**os.environ, "NO_COLOR": "1"},
            )
            assert done.returncode == 0, f"line {block.line}: {line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_resolve(page: pathlib.Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{target} leads nowhere"
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_blocks_name_their_language(page: pathlib.Path) -> None:
    """A block without a language would be skipped without anybody noticing."""
    for block in blocks(page):
        assert block.language in LANGUAGES, f"line {block.line}: `{block.language}`"


def test_every_page_can_be_reached() -> None:
    """From the README, by links."""
    reached: set[pathlib.Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached:
            continue
        reached.add(page)
        ahead += [
            found
            for target in links(page)
            if (found := (page.parent / target.partition("#")[0]).resolve()).suffix == ".md"
            and found.is_file()
        ]
    assert not [str(page.relative_to(ROOT)) for page in PAGES if page not in reached]
