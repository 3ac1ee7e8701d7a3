"""What the source may not contain, and how large a file may grow."""

from __future__ import annotations

import ast
import pathlib
import re
import statistics
import subprocess

import pytest

from tests.rules.tree import PACKAGE, ROOT, modules, parse, rust_sources

LONGEST = 600
MEDIAN = 200

SOURCES = [*modules(), *rust_sources()]
TEXT = {".md", ".py", ".pyi", ".rs", ".toml", ".json", ".yml", ".yaml", ".txt", ""}


def lines(path: pathlib.Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def tracked() -> list[pathlib.Path]:
    """Every text file that belongs to the repository (outside a git checkout: none)."""
    done = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    files = [ROOT / name for name in done.stdout.splitlines()]
    return [path for path in files if path.suffix in TEXT and path.is_file()]


def hits(pattern: str, paths: list[pathlib.Path]) -> list[str]:
    found = re.compile(pattern)
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(lines(path), 1)
        if found.search(line)
    ]


def test_no_file_is_too_long() -> None:
    assert not [(str(path), len(lines(path))) for path in SOURCES if len(lines(path)) > LONGEST]


def test_the_median_file_is_short() -> None:
    assert statistics.median(len(lines(path)) for path in SOURCES) < MEDIAN


def test_no_drawers() -> None:
    """A file is a noun of the theory."""
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
    assert not [str(path) for path in SOURCES if drawers & set(path.with_suffix("").parts[len(ROOT.parts) :])]


def test_nothing_is_left_over() -> None:
    words = "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK", "NotImplemented" + "Error"])
    assert not hits(rf"\b({words})\b|\b(unimplemented|todo)!", SOURCES)


def test_insecure_parameters_stay_in_the_tests() -> None:
    """The binding defines `insecure_…`; nothing in the Python package calls it."""
    assert not hits(r"\binsecure_", modules())
    native = [path for path in rust_sources() if "native" in path.parts]
    defined = hits(r"fn insecure_", native)
    called = hits(r"\binsecure_\w+\(", native)
    allowed = re.compile(r"fn insecure_|::insecure_from_|signature|text_signature")
    assert not [line for line in called if not allowed.search(line)], (defined, called)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_unsafe_is_called(path: pathlib.Path) -> None:
    """No pickle, no eval, no shell; no `assert` where input is checked."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & {
                "pickle",
                "marshal",
                "shelve",
                "dill",
            }
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in {"pickle", "marshal", "shelve", "dill", "joblib"}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec", "__import__"}, node.lineno
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                truth = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
                assert not (keyword.arg in {"shell", "allow_pickle"} and truth), node.lineno
        assert not isinstance(node, ast.Assert), f"line {node.lineno}: `python -O` removes it"


def test_unsafe_rust_says_why_it_is_sound() -> None:
    bad = []
    for path in rust_sources():
        text = lines(path)
        for number, line in enumerate(text):
            if re.search(r"\bunsafe\s*\{|\bunsafe impl\b", line.split("//")[0]):
                before = "\n".join(text[max(0, number - 8) : number + 2])
                if "SAFETY:" not in before:
                    bad.append(f"{path.relative_to(ROOT)}:{number + 1}")
    assert not bad, bad


def test_unsafe_rust_stays_in_the_kernels() -> None:
    """SIMD and aligned storage live in `ring`, SIMD in the kernels of `share`, the hand-over of work in one file; all
    else is safe code."""
    share = ROOT / "crates/share/src"
    kernels = {"conv", "dcf", "gemm", "prg", "bits"}
    allowed = {ROOT / "crates/team/src/posting.rs", share / "compiled.rs"}
    outside = [
        path
        for path in rust_sources()
        if "ring" not in path.relative_to(ROOT).parts
        and path not in allowed
        and not (path.is_relative_to(share) and kernels & {*path.parts, path.stem})
    ]
    assert not hits(r"^[^/]*\bunsafe\s*(\{|impl\b|fn\b)", outside)


def test_no_private_path_is_named() -> None:
    """An absolute path is of the system, never of somebody's machine."""
    system = "usr|dev|proc|etc|tmp|bin|sys|lib|lib64|var"
    found = hits(rf"(?<![\w./:>)\]}}<*-])/(?!(?:{system})/)[a-z]+/\w", tracked())
    assert not found, "\n".join(found)
