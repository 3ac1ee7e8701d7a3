"""Every error has a stable code of its own and a row in the reference."""

from __future__ import annotations

import inspect
import re

import pytest

from tacit import errors
from tests.rules.tree import ROOT

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, errors.TacitError)
]
PAGE = ROOT / "docs" / "reference" / "errors.md"


def rows() -> dict[str, str]:
    """Class name to code, from the table of the page."""
    found = re.findall(r"^\| `(\w+)` \| `([\w-]+)` \| .+ \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(found) == len(dict(found)), "a class has two rows"
    return dict(found)


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_error_is_documented(error: type[errors.TacitError]) -> None:
    assert "code" in vars(error), "inherits the code of its parent"
    assert rows().get(error.__name__) == error.code
    assert error.__name__ in errors.__all__
    assert re.search(rf"\b{error.__name__}\b", errors.__doc__ or ""), (
        "not in the tree of the module docstring"
    )
    assert inspect.getdoc(error)


def test_codes_are_unique() -> None:
    codes = [error.code for error in CLASSES]
    assert len(set(codes)) == len(codes)


def test_the_page_names_no_error_that_is_gone() -> None:
    assert set(rows()) <= {error.__name__ for error in CLASSES}
