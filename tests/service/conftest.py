"""A browser for the tests of the status page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tacit.service import crew
from tests.patience import PATIENCE_S


@pytest.fixture(autouse=True)
def forks_take_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools of this process wait for a worker that is being forked for as long as tests wait for anything."""
    monkeypatch.setattr(crew, "FORK_S", PATIENCE_S)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium of the machine, driven by Playwright."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on this machine")
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with api.sync_playwright() as playwright:
        # A container's root has no user namespaces for the sandbox; the pages are ours.
        launched = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A tab that remembers what went wrong in it."""
    context = browser.new_context()
    made = context.new_page()
    made.set_default_timeout(90_000)
    made.wrong = []
    made.on(
        "console", lambda line: made.wrong.append(line.text) if line.type in {"error", "warning"} else None
    )
    made.on("pageerror", lambda failure: made.wrong.append(str(failure)))
    yield made
    context.close()
