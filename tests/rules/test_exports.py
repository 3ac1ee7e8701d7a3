"""The public surface is a list: every public module has a literal, sorted `__all__` of names that exist."""

from __future__ import annotations

import ast
import importlib
import pathlib
import re

import pytest

from tests.rules.tree import modules, name_of, parse

PUBLIC = [path for path in modules() if not path.stem.startswith("_") or path.stem == "__init__"]


def exported(path: pathlib.Path) -> list[str] | None:
    """The value of `__all__`, or None when it is missing or not a literal list."""
    for node in parse(path).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "__all__":
            try:
                return list(ast.literal_eval(node.value))  # type: ignore[attr-defined]
            except ValueError:
                return None
    return None


def order(name: str) -> tuple[int, list[tuple[int, int | str]]]:
    """Constants, classes, functions; within each in natural order (the order of ruff's RUF022)."""
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name.lstrip("_")[:1].isupper() else 2
    parts = [part for part in re.split(r"(\d+)", name) if part]
    return kind, [(0, int(part)) if part.isdigit() else (1, part) for part in parts]


@pytest.mark.parametrize("path", PUBLIC, ids=lambda path: name_of(path) or "tacit")
def test_exports_are_a_sorted_list(path: pathlib.Path) -> None:
    tree = parse(path)
    if path.name == "__init__.py" and not tree.body[1:]:
        return  # a docstring alone exports nothing
    names = exported(path)
    assert names is not None, "no literal `__all__`"
    assert names == sorted(names, key=order)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("path", PUBLIC, ids=lambda path: name_of(path) or "tacit")
def test_exported_names_exist(path: pathlib.Path) -> None:
    module = importlib.import_module(f"tacit.{name_of(path)}".rstrip("."))
    missing = [name for name in exported(path) or [] if not hasattr(module, name)]
    assert not missing
