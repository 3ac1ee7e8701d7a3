"""The stories under `mpc`: every answer within its promise, told with who sees what; a broken promise fails."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import pytest

from tacit.cli.main import guarded
from tacit.stories.clinic import tell
from tacit.stories.shared import Story
from tacit.stories.ward_shared import tell_shared
from tests.stories.test_lesions import table


@pytest.fixture(scope="module")
def skin() -> Story:
    return tell(epochs=2)


def test_the_skin_story_keeps_its_promises(tmp_path: pathlib.Path) -> None:
    """As it is typed; it leaves nothing behind in the folders of the user."""
    places = {"XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache", "XDG_STATE_HOME": "state"}
    environment = os.environ | {name: str(tmp_path / place) for name, place in places.items()}
    done = subprocess.run(
        [sys.executable, "-m", "tacit", "demo", "skin", "--json"],
        capture_output=True,
        text=True,
        timeout=600,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert not list(tmp_path.iterdir())
    story = json.loads(done.stdout)
    assert story["kept"] and story["protection"] == "mpc"
    assert "synthetic" in story["data"]
    assert [part["samples"] for part in story["parts"]] == [5, 60]
    for part in story["parts"]:
        assert part["labels_differ"] == 0
        assert 0 < part["largest_error"] <= part["error_bound"] < 0.05, part
        assert part["rounds"] > 10
        assert len(part["bytes_by_party"]) == 3
    everyone = story["parts"][1]
    assert everyone["accuracy"] == everyone["accuracy_clear"] > 0.8
    assert any("honest majority" in line for line in story["assumptions"])


def test_the_hospital_story_has_the_answers_of_the_clear_models() -> None:
    story = tell_shared(models=("logistic",))
    assert story.kept
    assert [part.samples for part in story.parts] == [5, 171]
    assert all(part.labels_differ == 0 for part in story.parts)


def test_a_table_of_images_can_be_asked(tmp_path: pathlib.Path) -> None:
    story = tell(data=table(tmp_path / "pixels.csv.gz", rows=120), epochs=1)
    assert story.kept
    assert "pixels.csv.gz" in story.data


def test_the_page_reads_well_without_colour(
    skin: Story, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tacit.cli.demo.tell_skin", lambda data, progress: skin)
    monkeypatch.setattr(sys, "argv", ["tacit", "demo", "skin"])
    assert guarded() == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "synthetic" in out
    assert "60 of 60" in out
    assert "honest majority" in out
    assert max(map(len, out.splitlines())) <= 110


@pytest.mark.parametrize("broken", [{"broken": 1, "labels_differ": 1}, {"largest_error": 1.0}])
def test_a_broken_promise_fails_the_demo(
    skin: Story,
    broken: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    parts = (dataclasses.replace(skin.parts[0], **broken), *skin.parts[1:])
    monkeypatch.setattr(
        "tacit.cli.demo.tell_skin", lambda data, progress: dataclasses.replace(skin, parts=parts)
    )
    monkeypatch.setattr(sys, "argv", ["tacit", "demo", "skin"])
    assert guarded() == 1
    out = capsys.readouterr().out
    assert "BROKEN" in out
    assert "NO" in out


@pytest.mark.parametrize(
    "words",
    [["skin", "--protection", "ckks"], ["hospital", "--data", "x.csv"], ["skin", "--data", "absent.csv"]],
)
def test_odd_wishes_are_refused(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tacit", "demo", *words])
    assert guarded() == 2
    assert capsys.readouterr().err.startswith("error: ")
