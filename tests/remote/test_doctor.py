"""What the doctor finds, for each thing that can be in the way."""

from __future__ import annotations

import pathlib
import socket
from collections.abc import Callable
from typing import Any

import pytest
from sklearn.linear_model import LogisticRegression

import tacit
from tacit.errors import QuotaError
from tacit.remote.doctor import STEPS, Step, examine
from tests.patience import soon
from tests.remote.conftest import X
from tests.remote.provider import MODEL, Scripted


def examined(server: Scripted, ring: pathlib.Path, **options: Any) -> dict[str, Step]:
    url = f"{server.url}/{MODEL}"
    return {step.name: step for step in examine(url, keyring=ring, threads=1, **options)}


def test_a_healthy_provider_is_green_and_left_as_it_was(server: Scripted, ring: pathlib.Path) -> None:
    steps = examined(server, ring)
    assert tuple(steps) == STEPS
    assert {step.state for step in steps.values()} == {"ok"}, steps
    assert not server.keys, "the keys of the examination are deleted at the provider"
    assert not ring.exists(), "no key is left here"
    assert "no key yet" in steps["plan"].detail


def test_keys_of_the_user_are_not_touched(server: Scripted, ring: pathlib.Path) -> None:
    with tacit.connect(f"{server.url}/{MODEL}", keyring=ring) as remote:
        remote.predict(X[:1])
    before = {path: path.read_bytes() for path in ring.iterdir()}
    steps = examined(server, ring)
    assert {step.state for step in steps.values()} == {"ok"}
    assert "trusted by your keys" in steps["plan"].detail
    assert {path: path.read_bytes() for path in ring.iterdir()} == before
    assert len(server.keys) == 1


def no_tacit(server: Scripted) -> None:
    server.server_document["extensions"] = ["binary_tensor_data"]


def other_version(server: Scripted) -> None:
    server.server_document["parameters"] = {"tacit_protocol": 99}


def late_clock(server: Scripted) -> None:
    server.clock_s = -600.0


def fast_clock(server: Scripted) -> None:
    server.clock_s = 600.0


def token_wanted(server: Scripted) -> None:
    server.token = "sesame"  # noqa: S105 made up


def clear_only(server: Scripted) -> None:
    server.metadata["parameters"] = {"tacit_protection": "clear"}


def wrong_plan(server: Scripted) -> None:
    plans = [provider.public_plan() for provider in server.plans.values()]
    server.change_plan = lambda data: plans[plans.index(data) - 1]


def no_room(server: Scripted) -> None:
    def refuse(*_: object) -> None:
        raise QuotaError("the store is full")

    for provider in server.plans.values():
        provider.load_keys = refuse  # type: ignore[method-assign,assignment]


def wrong_answer(server: Scripted) -> None:
    server.change_answer = lambda data: data[:-1] + bytes([data[-1] ^ 1])


CASES: list[tuple[Callable[[Scripted], None], str, str, str]] = [
    (no_tacit, "protocol", "peer-incompatible", "under encryption"),
    (other_version, "protocol", "peer-incompatible", "version"),
    (late_clock, "clock", "clock-skew", "600 s ahead of"),
    (fast_clock, "clock", "clock-skew", "s behind"),
    (token_wanted, "access", "access-denied", "not known"),
    (clear_only, "model", "not-served", "not served under"),
    (wrong_plan, "plan", "peer-misbehaved", "another plan"),
    (no_room, "keys", "quota", "full"),
    (wrong_answer, "prediction", "malformed-message", "not authentic"),
]


@pytest.mark.parametrize(("harm", "name", "code", "words"), CASES, ids=[case[0].__name__ for case in CASES])
def test_each_fault_is_found_at_its_step(
    server: Scripted, ring: pathlib.Path, harm: Callable[[Scripted], None], name: str, code: str, words: str
) -> None:
    harm(server)
    steps = examined(server, ring)
    assert (steps[name].state, steps[name].code) == ("failed", code), steps
    assert words in steps[name].cause
    assert steps[name].fix
    place = STEPS.index(name)
    assert all(steps[before].state == "ok" for before in STEPS[:place])
    assert all(steps[after].state == "skipped" for after in STEPS[place + 1 :])
    assert not server.complete


def test_a_token_opens(server: Scripted, ring: pathlib.Path) -> None:
    token_wanted(server)
    steps = examined(server, ring, token=server.token)
    assert {step.state for step in steps.values()} == {"ok"}
    assert server.token not in repr(steps)


def test_a_changed_plan_is_found(server: Scripted, ring: pathlib.Path) -> None:
    with tacit.connect(f"{server.url}/{MODEL}", keyring=ring) as remote:
        remote.predict(X[:1])
    other = tacit.Provider.from_model(LogisticRegression().fit(X, X[:, 1] > 0), calibration=X, check=0)
    server.plans = {tacit.PublicPlan.from_bytes(other.public_plan()).plan_id: other}
    step = examined(server, ring)["plan"]
    assert (step.state, step.code) == ("failed", "plan-changed")
    assert "tacit keys new" in step.fix


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://127.0.0.1:1/m", "connection"),
        ("https://no-such-host.invalid/m", "name"),
        ("ftp://x/m", "address"),
        ("http://provider.example/m", "address"),
    ],
)
def test_what_is_not_there_is_found_soon(
    url: str, name: str, ring: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def resolved(host: Any, *more: Any, **named: Any) -> Any:
        """As `socket.getaddrinfo`, but no name leads out of this machine, whatever its network does."""
        if str(host).endswith((".invalid", ".example")):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    with soon():
        steps = {step.name: step for step in examine(url, keyring=ring)}
    assert steps[name].state == "failed"
    assert steps[name].fix
