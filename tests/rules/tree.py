"""The files that the rules speak of."""

from __future__ import annotations

import ast
import pathlib

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "tacit"
CRATES = ROOT / "crates"


def modules() -> list[pathlib.Path]:
    """Every Python source file of the package, sorted."""
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def rust_sources() -> list[pathlib.Path]:
    """Every Rust source file of the crates without their test, bench and example folders, sorted."""
    return sorted(
        path for path in CRATES.glob("*/src/**/*.rs") if path.name != "tests.rs" and "tests" not in path.parts
    )


def name_of(path: pathlib.Path) -> str:
    """Dotted name inside the package: ``ir.graph``; ``ckks`` for ``ckks/__init__.py``; '' for the package."""
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def parse(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
