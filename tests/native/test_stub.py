"""The stubs are the modules: names, signatures and documentation."""

import ast
import importlib.util
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tacit import _native

MODULES = (_native, _native.points, _native.shares)


def stub(module: ModuleType) -> ast.Module:
    spec = importlib.util.find_spec("tacit")
    assert spec is not None and spec.origin is not None
    name = "__init__" if module is _native else module.__name__.rpartition(".")[2]
    return ast.parse((Path(spec.origin).parent / "_native" / f"{name}.pyi").read_text(encoding="utf-8"))


def test_stub_matches_the_module() -> None:
    """mypy's stubtest imports the module and compares every name, parameter, default and kind in both directions."""
    environment = {"PYTHONPATH": ":".join(sys.path), "MYPYPATH": str(Path(_native.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "tacit._native"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_is_documented(module: ModuleType) -> None:
    # Plain facts whose name says all.
    obvious = {"level", "scale", "params", "threads", "has_relinearization", "has_conjugation"}
    for node in ast.walk(stub(module)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            if node.name in obvious or (node.name.startswith("__") and node.name != "__new__"):
                continue
            assert ast.get_docstring(node), node.name


@pytest.mark.parametrize("module", MODULES)
def test_exports(module: ModuleType) -> None:
    names = {n.name for n in stub(module).body if isinstance(n, ast.ClassDef | ast.FunctionDef)}
    if module is _native:
        names |= {"SECURITY_SOURCE"} | {each.__name__.rpartition(".")[2] for each in MODULES[1:]}
    assert set(module.__all__) == {name for name in names if not name.startswith("_")}
    constants = [name for name in module.__all__ if name.isupper()]
    classes = [name for name in module.__all__ if name[0].isupper() and not name.isupper()]
    functions = [name for name in module.__all__ if name[0].islower()]
    assert module.__all__ == sorted(constants) + sorted(classes) + sorted(functions)


def test_facts() -> None:
    assert _native.security_table() == {12: 106, 13: 214, 14: 430, 15: 868, 16: 1747}
    assert "2024/463" in _native.SECURITY_SOURCE
    seconds, prime, root, checksum = _native._bench_ntt(12, 3, bits=40)
    assert 0 < seconds < 1 and prime.bit_length() == 40
    assert pow(root, 1 << 12, prime) == prime - 1
    assert checksum == _native._bench_ntt(12, 1, "portable", bits=40)[3]
    params = _native.Parameters.from_literal(14, [50, 40, 40], [50, 50], log_scale=40)
    assert (params.n, params.slots, params.max_level, params.alpha) == (1 << 14, 1 << 13, 2, 2)
    assert (params.dnum(0), params.dnum(2), params.max_log_qp, params.error_std) == (1, 2, 430, 3.2)
    assert params.log_qp == sum(math.log2(q) for q in params.q + params.p)
    assert len(set(params.q + params.p)) == 5
    assert [params.galois_element(k) for k in (0, 1, -1)] == [1, 5, pow(5, params.slots - 1, 2 * params.n)]
