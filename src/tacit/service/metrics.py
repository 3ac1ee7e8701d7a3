"""What an operator counts: Prometheus metrics of one server, with bounded labels and none that names a user.

Names follow the Prometheus conventions (base units, ``_total``, ``_bytes``, ``_seconds``). Counters are raised where
things happen; gauges are read when somebody asks, from the document of ``GET /v2/load``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from prometheus_client.core import Metric
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["GAUGES", "KEY_EVENTS", "REASONS", "Health", "Metrics", "application"]

# Seconds: encrypted predictions take from a millisecond (logistic regression) to minutes (deep networks).
_BUCKETS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
)
# A series is memory; whatever names come, there are never more label sets than these.
_MODELS_LIMIT = 1000
_ROUTES_LIMIT = 100

REASONS = ("access", "deadline", "draining", "queue", "rate", "replay", "size")
KEY_EVENTS = ("refused", "removed", "uploaded")
PROTOCOLS = ("grpc", "rest")

# Section and name in the document of load → metric and help text.
GAUGES: Mapping[tuple[str, str], tuple[str, str]] = {
    ("requests", "running"): ("tacit_requests_running", "Predictions that are being computed."),
    ("queue", "waiting"): ("tacit_queue_waiting", "Predictions that wait for a worker."),
    ("queue", "capacity"): ("tacit_queue_capacity", "Predictions that may wait before the server says 503."),
    ("queue", "bytes"): ("tacit_queue_bytes", "Bytes of the predictions that wait or run."),
    ("queue", "capacity_bytes"): ("tacit_queue_capacity_bytes", "Limit of tacit_queue_bytes."),
    ("workers", "alive"): ("tacit_workers_alive", "Compute processes that are alive."),
    ("workers", "wanted"): ("tacit_workers_wanted", "Compute processes that the configuration asks for."),
    ("workers", "busy"): ("tacit_workers_busy", "Compute processes that are working."),
    ("keys", "count"): ("tacit_keys_count", "Evaluation keys in the store, parts of uploads included."),
    ("keys", "bytes"): ("tacit_keys_bytes", "Bytes of the key store on disk."),
    ("keys", "capacity_bytes"): ("tacit_keys_capacity_bytes", "Limit of tacit_keys_bytes."),
    ("memory", "keys_bytes"): ("tacit_memory_keys_bytes", "Bytes of evaluation keys held in memory."),
    ("memory", "keys_capacity_bytes"): (
        "tacit_memory_keys_capacity_bytes",
        "Limit of tacit_memory_keys_bytes.",
    ),
}
_COUNTS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("workers", "restarts"): ("tacit_worker_restarts", "Compute processes that died and were replaced."),
    ("keys", "evictions"): ("tacit_key_evictions", "Keys that made room for others."),
    ("keys", "expired"): (
        "tacit_key_expirations",
        "Keys and parts of uploads that nobody used for too long.",
    ),
}


class Metrics:
    """The counters of one server, in a registry of its own (so that two servers in one process do not mix)."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

        self._registry = CollectorRegistry()
        self._requests = Counter(
            "tacit_requests",
            "Predictions by model, protocol and status.",
            ("model", "protocol", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "tacit_request_seconds",
            "Seconds from the first byte of a prediction's request to the last of its answer.",
            ("model",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._routes = Counter(
            "tacit_calls",
            "Calls over HTTP, by route and status.",
            ("route", "status"),
            registry=self._registry,
        )
        self._rejected = Counter(
            "tacit_rejected",
            "Calls that were refused, by reason.",
            ("reason",),
            registry=self._registry,
        )
        self._keys = Counter(
            "tacit_key_events",
            "What clients did with evaluation keys.",
            ("event",),
            registry=self._registry,
        )
        for reason in REASONS:
            self._rejected.labels(reason)
        for event in KEY_EVENTS:
            self._keys.labels(event)
        self._models: set[str] = set()
        self._known_routes: set[str] = set()
        self._started_at = time.time()
        self._load: Callable[[], Mapping[str, object]] = dict
        self._registry.register(_Gauges(self))
        ProcessCollector(registry=self._registry)

    def watch(self, load: Callable[[], Mapping[str, object]]) -> None:
        """``load``: gives the document of ``GET /v2/load``; called at every scrape, from the scraping thread."""
        self._load = load

    def request(self, model: str, protocol: str, status: int | str, seconds: float) -> None:
        """One prediction has ended. ``model``: the name of a model that is served, or empty for any other name."""
        name = _bounded(model, self._models, _MODELS_LIMIT)
        known = protocol if protocol in PROTOCOLS else "other"
        self._requests.labels(name, known, _status(status)).inc()
        self._seconds.labels(name).observe(max(0.0, seconds))

    def route(self, route: str, status: int | str) -> None:
        """One call over HTTP has ended. ``route``: the template (`/v2/models/{model}`), never the path as it came."""
        self._routes.labels(_bounded(route, self._known_routes, _ROUTES_LIMIT), _status(status)).inc()
        if status == 413:
            self.rejected("size")

    def rejected(self, reason: str) -> None:
        """``reason``: one of ``REASONS``; anything else counts as ``other``."""
        self._rejected.labels(reason if reason in REASONS else "other").inc()

    def keys(self, event: str) -> None:
        """``event``: one of ``KEY_EVENTS``; anything else counts as ``other``."""
        self._keys.labels(event if event in KEY_EVENTS else "other").inc()

    def text(self) -> tuple[bytes, str]:
        """Body and content type of an answer to a scraper: text exposition format 0.0.4."""
        from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

    def read_load(self) -> Iterator[tuple[tuple[str, str], float]]:
        """The numbers of the document of load; what is no number is left out."""
        for section, fields in self._load().items():
            if isinstance(fields, Mapping):
                for name, value in fields.items():
                    if isinstance(value, (int, float)) and not isinstance(value, bool):
                        yield (section, str(name)), float(value)

    def state(self) -> Mapping[str, float]:
        """What is known without numbers of their own: readiness, draining, the time of the start."""
        load = self._load()
        return {
            "ready": float(load.get("ready") is True),
            "draining": float(load.get("draining") is True),
            "started_at": self._started_at,
        }


class Health(Protocol):
    """What probes ask."""

    def is_live(self) -> bool: ...
    def is_ready(self) -> bool: ...


def application(metrics: Metrics, health: Health) -> Starlette:
    """What may be asked without saying who one is, for an address that only the operator reaches: metrics and probes.

    `/metrics`, `/v2/health/live` and `/v2/health/ready`; the two answer 200, or 503 where they are not.
    """
    import asyncio

    from starlette.applications import Starlette
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    async def scraped(request: Request) -> Response:
        content, media_type = await asyncio.to_thread(metrics.text)
        return Response(content, media_type=media_type)

    async def live(request: Request) -> Response:
        found = health.is_live()
        return JSONResponse({"live": found}, 200 if found else 503)

    async def ready(request: Request) -> Response:
        found = health.is_ready()
        return JSONResponse({"ready": found}, 200 if found else 503)

    answers = {"/metrics": scraped, "/v2/health/live": live, "/v2/health/ready": ready}
    return Starlette(routes=[Route(path, answer, methods=["GET"]) for path, answer in answers.items()])


class _Gauges:
    """Reads the load when scraped; a load that cannot be read costs its gauges, not the scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        """Nothing: what is collected depends on what the server knows."""
        return ()

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        try:
            values, state = dict(self._metrics.read_load()), self._metrics.state()
        except Exception:
            # The scrape goes on, and says that it is not whole.
            yield GaugeMetricFamily("tacit_load_readable", "Whether the server could tell its load.", value=0)
            return
        yield GaugeMetricFamily("tacit_load_readable", "Whether the server could tell its load.", value=1)
        yield GaugeMetricFamily("tacit_ready", "Whether the server takes predictions.", value=state["ready"])
        yield GaugeMetricFamily(
            "tacit_draining", "Whether the server is being shut down.", value=state["draining"]
        )
        yield GaugeMetricFamily(
            "tacit_started_at_seconds", "Unix time of the start.", value=state["started_at"]
        )
        for key, (name, text) in GAUGES.items():
            if key in values:
                yield GaugeMetricFamily(name, text, value=values[key])
        for key, (name, text) in _COUNTS.items():
            if key in values:
                yield CounterMetricFamily(name, text, value=values[key])


def _bounded(name: str, known: set[str], limit: int) -> str:
    """The name itself while there are few of them; afterwards all new ones share one label."""
    if name not in known:
        if len(known) >= limit:
            return "other"
        known.add(name)
    return name


def _status(status: int | str) -> str:
    """An HTTP status in 100 to 599, or the name of a gRPC status."""
    if isinstance(status, int):
        return str(status) if 100 <= status <= 599 else "other"
    return status if status.isupper() and len(status) <= 24 else "other"
