"""Metrics: the exposition parses, counts what happened, and cannot be made to grow or to name a user."""

from __future__ import annotations

import re

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tacit.service.metrics import GAUGES, KEY_EVENTS, REASONS, Metrics, application
from tests.rules.tree import ROOT

LOAD: dict[str, object] = {
    "version": "1",
    "ready": True,
    "draining": False,
    "requests": {"running": 1, "done": 5, "failed": 0},
    "queue": {"waiting": 2, "capacity": 64, "bytes": 10, "capacity_bytes": 100},
    "workers": {"alive": 2, "wanted": 2, "busy": 1, "restarts": 3},
    "keys": {"count": 4, "bytes": 5, "capacity_bytes": 6, "evictions": 7, "expired": 2},
    "memory": {"keys_bytes": 8, "keys_capacity_bytes": 9},
}


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    body, kind = metrics.text()
    assert kind.startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_what_happened_is_counted() -> None:
    metrics = Metrics()
    metrics.request("m", "rest", 200, 0.02)
    metrics.request("m", "rest", 200, 0.02)
    metrics.request("m", "grpc", "UNAVAILABLE", 0.5)
    metrics.route("/v2/models/{model}", 404)
    metrics.route("/v2/models/{model}/infer", 413)
    metrics.rejected("rate")
    metrics.keys("uploaded")
    found = samples(metrics)
    labels = (("model", "m"), ("protocol", "rest"), ("status", "200"))
    assert found["tacit_requests_total", labels] == 2
    assert (
        found["tacit_requests_total", (("model", "m"), ("protocol", "grpc"), ("status", "UNAVAILABLE"))] == 1
    )
    assert found["tacit_request_seconds_count", (("model", "m"),)] == 3
    assert found["tacit_request_seconds_bucket", (("le", "0.025"), ("model", "m"))] == 2
    assert found["tacit_calls_total", (("route", "/v2/models/{model}"), ("status", "404"))] == 1
    assert found["tacit_rejected_total", (("reason", "rate"),)] == 1
    assert found["tacit_rejected_total", (("reason", "size"),)] == 1
    assert found["tacit_key_events_total", (("event", "uploaded"),)] == 1


def test_gauges_are_read_when_scraped() -> None:
    metrics = Metrics()
    document = dict(LOAD)
    metrics.watch(lambda: document)
    for (section, name), (metric, _) in GAUGES.items():
        assert samples(metrics)[metric, ()] == LOAD[section][name]  # type: ignore[index]
    assert samples(metrics)["tacit_worker_restarts_total", ()] == 3
    assert samples(metrics)["tacit_key_evictions_total", ()] == 7
    assert samples(metrics)["tacit_key_expirations_total", ()] == 2
    assert samples(metrics)["tacit_ready", ()] == 1
    document["queue"] = {"waiting": 9}
    document["ready"] = False
    assert samples(metrics)["tacit_queue_waiting", ()] == 9
    assert ("tacit_queue_capacity", ()) not in samples(metrics)
    assert samples(metrics)["tacit_ready", ()] == 0


def test_a_load_that_cannot_be_read_does_not_stop_the_scrape() -> None:
    metrics = Metrics()

    def broken() -> dict[str, object]:
        raise RuntimeError("away")

    metrics.watch(broken)
    metrics.rejected("queue")
    found = samples(metrics)
    assert found["tacit_load_readable", ()] == 0
    assert found["tacit_rejected_total", (("reason", "queue"),)] == 1


def series(metrics: Metrics) -> int:
    """How many numbers of our own there are; what is known of the process comes and goes."""
    return sum(name.startswith("tacit_") for name, _ in samples(metrics))


def test_names_from_outside_cannot_make_it_grow() -> None:
    metrics = Metrics()
    for number in range(3000):
        metrics.request(f"model-{number}", f"protocol-{number}", number, 0.1)
        metrics.route(f"/v2/{number}", f"status-{number}")
        metrics.rejected(f"reason-{number}")
        metrics.keys(f"event-{number}")
    before = series(metrics)
    for number in range(3000, 3500):
        metrics.request(f"model-{number}", "rest", 999, 0.1)
        metrics.route(f"/v2/{number}", 999)
        metrics.rejected(f"reason-{number}")
    assert series(metrics) <= before + 2


def test_no_label_names_a_user() -> None:
    metrics = Metrics()
    metrics.watch(lambda: LOAD)
    metrics.request("m", "rest", 200, 0.1)
    metrics.route("/v2", 200)
    names = {label for _, labels in samples(metrics) for label, _ in labels}
    assert names == {"event", "le", "model", "protocol", "reason", "route", "status"}


@pytest.mark.parametrize("reason", REASONS)
def test_reasons_are_there_before_they_happen(reason: str) -> None:
    """A rate over a series that does not exist yet misses its first event."""
    assert samples(Metrics())["tacit_rejected_total", (("reason", reason),)] == 0


@pytest.mark.parametrize("event", KEY_EVENTS)
def test_key_events_are_there_before_they_happen(event: str) -> None:
    assert samples(Metrics())["tacit_key_events_total", (("event", event),)] == 0


def test_two_servers_in_one_process_do_not_mix() -> None:
    first, second = Metrics(), Metrics()
    first.rejected("rate")
    assert samples(second)["tacit_rejected_total", (("reason", "rate"),)] == 0


def test_the_page_names_every_metric() -> None:
    text = (ROOT / "docs" / "guides" / "operations.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(tacit_\w+)`", text.split("What is worth an alert")[0]))
    metrics = Metrics()
    metrics.watch(lambda: LOAD)
    metrics.request("m", "rest", 200, 0.1)
    metrics.route("/v2", 200)
    body, _ = metrics.text()
    families = {family.name for family in text_string_to_metric_families(body.decode())}
    suffixed = {name if name in families else name.removesuffix("_total") for name in named}
    counted = {name for name in families if not name.endswith("_created")}
    assert suffixed == {name for name in counted if name.startswith("tacit_")}


class Health:
    ready = True

    def is_live(self) -> bool:
        return True

    def is_ready(self) -> bool:
        return self.ready


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_the_operators_address_has_metrics_and_probes_only() -> None:
    health, metrics = Health(), Metrics()
    metrics.rejected("rate")
    transport = httpx.ASGITransport(application(metrics, health))
    async with httpx.AsyncClient(transport=transport, base_url="http://operator") as client:
        answer = await client.get("/metrics")
        assert answer.status_code == 200
        assert 'tacit_rejected_total{reason="rate"} 1.0' in answer.text
        assert (await client.get("/v2/health/live")).status_code == 200
        assert (await client.get("/v2/health/ready")).status_code == 200
        health.ready = False
        assert (await client.get("/v2/health/ready")).status_code == 503
        for path in ("/", "/v2", "/v2/load", "/v2/repository/index"):
            assert (await client.get(path)).status_code == 404
        assert (await client.post("/metrics")).status_code == 405
