"""Numbers that the pages state are the numbers of the core."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer.main

import tacit
from tacit import _native, ckks
from tacit.cli.commands import app
from tests.docs.pages import ROOT


def test_the_security_table_is_the_one_of_the_core() -> None:
    page = (ROOT / "docs" / "reference" / "security.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \|$", page, re.MULTILINE)
    assert {int(log_n): int(limit) for _, log_n, limit in rows} == _native.security_table()
    assert all(int(degree) == 2 ** int(log_n) for degree, log_n, _ in rows)


def test_the_security_policy_states_the_same_limits() -> None:
    text = " ".join((ROOT / "SECURITY.md").read_text(encoding="utf-8").split())
    stated = re.findall(r"2\^(\d+): (\d+)", text)
    assert {int(log_n): int(limit) for log_n, limit in stated} == _native.security_table()
    assert "2024/463" in text
    assert "2024/463" in _native.SECURITY_SOURCE


def test_the_tests_that_the_security_policy_names_are_there() -> None:
    named = re.findall(r"`(tests/[\w/.]+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).is_file()] == []


def words(page: str) -> set[str]:
    text = (ROOT / "docs" / "reference" / page).read_text(encoding="utf-8")
    return set(re.findall(r"[\w-]+", " ".join(re.findall(r"`[^`\n]+`", text))))


@pytest.mark.parametrize("module", [tacit, ckks], ids=lambda module: module.__name__)
def test_every_public_name_is_in_the_reference(module: object) -> None:
    names = {name for name in module.__all__ if not name.startswith("_")}  # type: ignore[attr-defined]
    assert names - words("api.md") == set()


def flat(command: Any, prefix: str = "") -> dict[str, Any]:
    """Every command by its words: `keys list` for one below another."""
    if not hasattr(command, "commands"):
        return {prefix.strip(): command}
    found: dict[str, Any] = {}
    for name, below in command.commands.items():
        found |= flat(below, f"{prefix} {name}")
    return found


def test_every_command_and_option_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    commands = flat(typer.main.get_command(app))
    lines = [line for line in page.splitlines() if line.startswith("tacit ")]
    usage = {
        next((n for n in commands if f"{line} ".startswith(f"tacit {n} ")), line): line for line in lines
    }
    assert len(usage) == len(lines)
    assert set(usage) == set(commands)
    for name, command in commands.items():
        names = [name for param in command.params for name in (*param.opts, *param.secondary_opts)]
        options = {name for name in names if name.startswith("--")}
        told = set(re.findall(r"--[\w-]+", usage[name])) | ({"--out"} if "-o OUT" in usage[name] else set())
        assert options == told, name
