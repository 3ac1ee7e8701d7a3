"""The reference page of operators is the one that the tables give, and the tables name only ops of the graph."""

from __future__ import annotations

import runpy
from pathlib import Path

from tacit.importers.onnx_ops import RULES
from tacit.ir import OPS

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_current() -> None:
    module = runpy.run_path(str(ROOT / "scripts" / "operators_table.py"))
    current = (ROOT / "docs" / "reference" / "operators.md").read_text(encoding="utf-8")
    assert current == module["page"](), "run scripts/operators_table.py"


def test_rules_become_ops_of_the_graph() -> None:
    for rule in RULES.values():
        words = rule.to.replace(",", " ").replace(" or ", " ").split()
        assert set(words) <= OPS.keys(), rule.op
