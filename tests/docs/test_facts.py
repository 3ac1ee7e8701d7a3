"""Numbers that the pages state are the numbers of the core."""

from __future__ import annotations

import re

from tacit import _native
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
