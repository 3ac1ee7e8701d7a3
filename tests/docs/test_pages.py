"""Every example is run, every link resolves."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest

from tests.docs.pages import PAGES, ROOT, Block, anchors, blocks, links

LANGUAGES = {"python", "console", "text", "toml", "rust", "json", "make"}
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
RUNNABLE = [page for page in PAGES if any(block.language in {"python", "console"} for block in blocks(page))]


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_runs(page: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The python blocks of a page are one program, run in an empty folder; console lines run between them."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language == "python":
            source = "\n" * (block.line - 1) + block.text
            exec(compile(source, str(page), "exec"), namespace)  # noqa: S102 our own page
        elif block.language == "console":
            run_console(block, tmp_path)


def run_console(block: Block, folder: pathlib.Path) -> None:
    """Run the `$ tacit …` lines; a `$ make …` line must name a target. Other lines are output."""
    for line in block.text.splitlines():
        if not line.startswith("$ "):
            continue
        words = shlex.split(line[2:], comments=True)
        if words[0] == "make":
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
                timeout=120,
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
