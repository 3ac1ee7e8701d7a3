"""The status page: what it sends by plain HTTP, and what a reader sees in a real browser."""

from __future__ import annotations

import itertools
import re
from importlib import resources
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from tacit.service import page
from tests.service.stand_in import Facts, running


def file(name: str) -> str:
    return (resources.files("tacit.service") / "page_files" / name).read_text(encoding="utf-8")


@pytest.mark.anyio
@pytest.mark.parametrize("path", page.FILES)
async def test_files_are_served_with_a_strict_policy(path: str) -> None:
    transport = httpx.ASGITransport(Starlette(routes=page.routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
        answer = await client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == page.FILES[path][1]
        assert (await client.head(path)).status_code == 200
        assert (await client.post(path)).status_code == 405
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    html = file("index.html")
    assert not re.search(r"\son\w+=|<style|style=|javascript:", html)
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    targets = re.findall(r"(?:src|href)=\"([^\"]+)\"", html)
    assert all(target.startswith(("/", "#")) for target in targets)
    assert {target for target in targets if "." in target} == {*page.FILES, "/openapi.json"} - {"/"}
    for name in ("page.js", "page.css"):
        assert not re.search(r"https?:|@import|url\(", file(name))
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Storage", file("page.js")
    )


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb`, WCAG 2.2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_has_contrast(theme: int) -> None:
    blocks = re.findall(r":root \{(.*?)\}", file("page.css"), re.DOTALL)
    colours = dict(re.findall(r"--(\w+): (#\w{6})", blocks[theme]))
    for ground in ("paper", "panel"):
        for ink in ("ink", "quiet", "accent", "good", "warn", "bad"):
            one, two = sorted((luminance(colours[ink]), luminance(colours[ground])), reverse=True)
            assert (one + 0.05) / (two + 0.05) >= 4.5, f"{ink} on {ground}"


# By locators and not by `wait_for_function`, which needs the `unsafe-eval` that the policy forbids.
def rows(tab: Any, count: int) -> None:
    tab.locator("#models tbody tr").nth(count - 1).wait_for()
    assert tab.locator("#models tbody tr").count() == count


def says(tab: Any, where: str, text: str) -> None:
    tab.locator(where, has_text=text).wait_for()


def test_a_reader_sees_load_models_and_prices(tab: Any) -> None:
    with running(Facts()) as address:
        tab.goto(address)
        rows(tab, 2)
        assert tab.inner_text("#state") == "Ready, version 0.1.0"
        load = tab.inner_text("#load")
        for text in (
            "Waiting\n3 of 64",
            "Predictions\n1,234",
            "Keys on disk\n54.0 MB of 10.0 GB",
            "Up for\n2 h 1 min",
        ):
            assert text in load
        tab.get_by_role("button", name="Show iris").press("Enter")
        tab.wait_for_selector("#details:not([hidden])")
        assert tab.evaluate("document.activeElement.id") == "details-title"
        assert "one sample\t344 µs\t34.5 kB\t36.0 kB\t187 kB\t0.00118\tabababababab" in tab.inner_text(
            "#plans"
        )
        prices = tab.inner_text("#prices")
        assert "who sees inputs\towner" in prices
        assert "refused\t\u2013\tno parties" in prices
        assert "RLWE is hard" in tab.inner_text("#assumptions")
        assert tab.get_by_role("button", name="Show iris").get_attribute("aria-pressed") == "true"
        assert tab.wrong == []


def test_names_are_text_and_never_markup(tab: Any) -> None:
    with running(Facts()) as address:
        tab.goto(address)
        rows(tab, 2)
        assert tab.locator("#models img, #models b").count() == 0
        assert "<img src=x onerror=alert(1)>" in tab.inner_text("#models")
        assert "UNAVAILABLE: <b>no</b>" in tab.inner_text("#models")
        assert tab.wrong == []


def test_the_token_is_asked_for_and_not_kept(tab: Any) -> None:
    with running(Facts(token="right")) as address:  # noqa: S106 made up
        tab.goto(address)
        tab.wait_for_selector("#access:not([hidden])")
        tab.get_by_label("Token").fill("wrong")
        tab.get_by_role("button", name="Use it").click()
        says(tab, "#refused", "The server does not know this token")
        tab.get_by_label("Token").fill("right")
        tab.get_by_label("Token").press("Enter")
        says(tab, "#state", "Ready")
        assert not tab.is_visible("#access")
        assert tab.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
        assert address + "/" == tab.url


@pytest.mark.parametrize(
    ("ready", "draining", "text"), [(False, False, "Not ready"), (False, True, "Shutting down")]
)
def test_the_state_is_said_in_words(tab: Any, ready: bool, draining: bool, text: str) -> None:
    facts = Facts()
    facts.load.update(ready=ready, draining=draining)
    with running(facts) as address:
        tab.goto(address)
        says(tab, "#state", text)


def test_a_server_that_went_away_is_said(tab: Any) -> None:
    with running(Facts()) as address:
        tab.goto(address)
        says(tab, "#state", "Ready")
    says(tab, "#state", "The server does not answer")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_and_a_narrow_screen(tab: Any, scheme: str) -> None:
    tab.emulate_media(color_scheme=scheme)
    tab.set_viewport_size({"width": 360, "height": 700})
    with running(Facts()) as address:
        tab.goto(address)
        rows(tab, 2)
        ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 22, 20)"}[scheme]
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_what_a_screen_reader_is_told(tab: Any) -> None:
    """Every control has a name, headings go down one step at a time, the state is announced."""
    with running(Facts()) as address:
        tab.goto(address)
        tab.get_by_role("button", name="Show iris").click()
        tab.wait_for_selector("#details:not([hidden])")
        levels = tab.evaluate(
            "[...document.querySelectorAll('h1,h2,h3')].filter(h => h.offsetParent).map(h => +h.tagName[1])"
        )
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
        assert tab.evaluate("document.documentElement.lang") == "en"
        assert tab.get_by_role("status").count() == 1
        assert tab.get_by_role("main").count() == 1
        controls = "[...document.querySelectorAll('button,input')]"
        nameless = "e => !(e.ariaLabel || e.textContent || e.labels?.length)"
        assert tab.evaluate(f"{controls}.filter({nameless}).length") == 0
