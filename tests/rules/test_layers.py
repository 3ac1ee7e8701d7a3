"""Import direction is a table: a module imports its own package and what the table grants, nothing else."""

from __future__ import annotations

import ast
import re
import tomllib

import pytest

from tests.rules.tree import CRATES, PACKAGE, modules, name_of, parse, rust_sources

GROUND = ("errors", "_native")
MODEL = (*GROUND, "ir", "ckks", "importers", "planner", "backends")

# The most specific key counts. A grant is a module or a package; '' is the public face `tacit` itself.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "": ("errors",),
    "errors": (),
    "ir": GROUND,
    "ckks": GROUND,
    "importers": (*GROUND, "ir"),
    "backends": (*GROUND, "ir"),
    "backends.ckks": (*GROUND, "ir", "ckks"),
    "backends.mpc": (*GROUND, "ir", "net.channel"),
    "planner": (*GROUND, "ir", "backends.base"),
    "net": GROUND,
    "runtime": (*MODEL, "net"),
    "roles": (*MODEL, "runtime"),
    "client": (*MODEL, "roles"),
    "remote": (*MODEL, "net", "roles"),
    "service": (*MODEL, "net", "roles"),
    "stories": (*MODEL, "net", "runtime", "roles", "client", "remote", "service", ""),
    "cli": (*MODEL, "net", "runtime", "roles", "client", "remote", "service", "stories", ""),
    "__main__": ("cli",),
}


def imports(tree: ast.Module) -> list[str]:
    """What a module imports of ours, as dotted names inside the package ('' = the package itself)."""
    targets = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "tacit":
            targets += [f"tacit.{alias.name}" if is_module(alias.name) else "tacit" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            targets.append(node.module)
    return [
        target.removeprefix("tacit").removeprefix(".")
        for target in targets
        if re.match(r"tacit(\.|$)", target)
    ]


def is_module(name: str) -> bool:
    return name == "_native" or (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


def row(module: str) -> str:
    """The most specific key of the table for a module."""
    parts = module.split(".")
    keys = (".".join(parts[:size]) for size in range(len(parts), 0, -1))
    return next((key for key in keys if key in MAY_IMPORT), "?") if module else ""


def granted(module: str, target: str) -> bool:
    own = module.split(".")[0]
    if own and (target == own or target.startswith(f"{own}.")):
        return True
    return any(
        target == grant or (grant and target.startswith(f"{grant}.")) for grant in MAY_IMPORT[row(module)]
    )


def test_every_module_has_a_row() -> None:
    assert not [name_of(path) for path in modules() if row(name_of(path)) == "?"]


def test_imports_follow_the_table() -> None:
    bad = [
        f"{name} imports {target or 'tacit'}"
        for path in modules()
        if row(name := name_of(path)) != "?"
        for target in imports(parse(path))
        if name and not granted(name, target)
    ]
    assert not bad, "\n".join(bad)


def test_the_package_itself_imports_late() -> None:
    """`tacit/__init__` may name the client only under TYPE_CHECKING or inside a function."""
    tree = parse(PACKAGE / "__init__.py")
    at_import = ast.Module(
        body=[node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))], type_ignores=[]
    )
    assert set(imports(at_import)) <= {"errors"}


def test_no_relative_imports() -> None:
    """Relative imports would escape the scan above."""
    bad = [
        f"{name_of(path)}:{node.lineno}"
        for path in modules()
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not bad, bad


@pytest.mark.parametrize(
    ("module", "target", "allowed"),
    [
        ("planner.choose", "backends.base", True),
        ("planner.choose", "backends.ckks.executor", False),
        ("backends.ckks.linear", "ckks.keys", True),
        ("backends.clear", "ckks", False),
        ("client", "runtime.session", False),
        ("runtime.local", "roles", False),
        ("ir.graph", "importers", False),
        ("ir.graph", "ir.ops", True),
        ("stories.hospital", "cli.output", False),
    ],
)
def test_the_table_bites(module: str, target: str, allowed: bool) -> None:
    assert granted(module, target) is allowed


CRATE_MAY_IMPORT = {
    "ring": set(),
    "team": set(),
    "ckks": {"tacit-ring", "tacit-team"},
    "share": {"tacit-team"},
    "native": {"tacit-ring", "tacit-team", "tacit-ckks", "tacit-share"},
}


def test_crates_follow_the_table() -> None:
    """`ring ← ckks ← native`, `team ← ckks, share ← native`; only `native` knows Python."""
    for manifest in CRATES.glob("*/Cargo.toml"):
        crate = manifest.parent.name
        dependencies = set(tomllib.loads(manifest.read_text(encoding="utf-8")).get("dependencies", {}))
        ours = {name for name in dependencies if name.startswith("tacit-")}
        assert ours <= CRATE_MAY_IMPORT[crate], f"{crate} depends on {sorted(ours)}"
        assert crate == "native" or not dependencies & {"pyo3", "numpy"}, f"{crate} knows Python"


def test_the_core_is_pure() -> None:
    """`ring`, `ckks` and `share` depend on their arguments alone: no I/O, clock, environment or global randomness."""
    world = re.compile(
        r"\bstd::(fs|net|time|env|process)\b|\bthread_rng\b|\bOsRng\b|\bgetrandom\b|\bprintln!|\beprintln!"
    )
    bad = [
        f"{path.relative_to(CRATES)}:{number}"
        for path in rust_sources()
        if path.relative_to(CRATES).parts[0] in {"ring", "ckks", "share"}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if world.search(line.split("//")[0])
    ]
    assert not bad, bad
