"""The API that the status page reads, with made-up facts, on a port of its own: the page is tested without a model."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tacit.service import page
from tests.patience import PATIENCE_S, until

PLAN = "ab" * 32
SIGHT = {"inputs": {"who": ["owner"], "note": ""}, "model weights": {"who": ["provider"], "note": "here"}}
EXPLAIN = {
    "model": "iris",
    "batch": 1,
    "plans": [
        {
            "protection": "ckks",
            "parameters": "N = 2^12",
            "error_bound": 0.00118,
            "seconds": 0.000344,
            "owner_seconds": 0.0008,
            "bytes_up": 34541,
            "bytes_down": 36046,
            "key_bytes": 187292,
            "memory_bytes": 61381076,
            "sees": SIGHT,
            "assumptions": ["RLWE is hard"],
        }
    ],
    "refusals": [{"protection": "mpc", "reason": "no parties", "hint": ""}],
}
PLANS = {
    "plans": [
        {
            "plan_id": PLAN,
            "batch": 1,
            "layout": "latency",
            "request_bytes": 34541,
            "response_bytes": 36046,
            "key_bytes": 187292,
            "seconds": 0.000344,
            "error_bound": 0.00118,
        }
    ]
}


@dataclass
class Facts:
    """What the stand-in says; tests change it while it runs."""

    token: str = ""
    index: list[dict[str, str]] = field(
        default_factory=lambda: [
            {"name": "iris", "version": "1", "state": "READY", "reason": ""},
            {
                "name": "<img src=x onerror=alert(1)>",
                "version": "1",
                "state": "UNAVAILABLE",
                "reason": "<b>no</b>",
            },
        ]
    )
    load: dict[str, Any] = field(
        default_factory=lambda: {
            "version": "0.1.0",
            "started_at": time.time() - 7260,
            "ready": True,
            "draining": False,
            "requests": {"running": 1, "done": 1234, "failed": 0},
            "queue": {"waiting": 3, "capacity": 64},
            "workers": {"alive": 2, "wanted": 2, "busy": 1, "restarts": 0},
            "keys": {"count": 5, "bytes": 54_000_000, "capacity_bytes": 10_000_000_000, "evictions": 0},
        }
    )


def application(facts: Facts) -> Starlette:
    def guarded(content: Callable[[], object]) -> Callable[[Request], Response]:
        def answer(request: Request) -> Response:
            if facts.token and request.headers.get("authorization") != f"Bearer {facts.token}":
                return JSONResponse({"error": "who are you", "code": "access-denied"}, 401)
            return JSONResponse(content())

        return answer

    model = {"name": "iris", "platform": "tacit_ckks", "parameters": {"tacit_protection": "ckks"}}
    return Starlette(
        routes=[
            *page.routes(),
            Route("/v2/load", guarded(lambda: facts.load)),
            Route("/v2/repository/index", guarded(lambda: facts.index), methods=["POST"]),
            Route("/v2/models/iris", guarded(lambda: model)),
            Route("/v2/models/iris/plans", guarded(lambda: PLANS)),
            Route("/v2/models/iris/explain", guarded(lambda: EXPLAIN)),
        ]
    )


@contextlib.contextmanager
def running(facts: Facts) -> Iterator[str]:
    """The address of the stand-in while the block runs."""
    config = uvicorn.Config(application(facts), host="127.0.0.1", port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
