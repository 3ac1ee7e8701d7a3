"""A provider small enough to misbehave on demand: the protocol over plain HTTP on a loopback port, in this
process.

It shows what an owner does when a provider cheats, forgets, breaks off or is busy, which `tacit serve` does
not do when it is asked.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tacit.backends.ckks.provider import Provider
from tacit.backends.ckks.public import PublicPlan
from tacit.errors import (
    AccessDeniedError,
    BusyError,
    MissingKeyError,
    NotServedError,
    OffsetError,
    PeerTimeoutError,
    TacitError,
)
from tacit.net import wire
from tacit.net.envelope import open_request, read_client_header, seal_response
from tacit.net.tensors import InferRequest, InferResponse, Tensor

MODEL = "diagnosis"


class Scripted(ThreadingHTTPServer):
    """``plans``: offered providers by plan id. The other attributes are what a test sets to make things go
    wrong."""

    daemon_threads = True

    def __init__(self, *providers: Provider) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plans = {PublicPlan.from_bytes(p.public_plan()).plan_id: p for p in providers}
        self.keys: dict[tuple[bytes, str], bytearray] = {}
        self.complete: set[tuple[bytes, str]] = set()
        self.calls: list[tuple[str, str]] = []
        self.seen: list[dict[str, str]] = []
        self.fail: list[TacitError] = []  # errors that the next predictions answer with
        self.cut_upload_after = -1  # bytes of a piece after which the connection ends
        self.crawls = False  # whether one byte is taken of every piece
        self.slow_pieces = 0  # pieces of which so many bytes are taken before the provider's patience ends
        self.taken_of_slow = 0
        self.drop_predictions = 0  # predictions whose connection ends without an answer
        self.change_plan = bytes  # what becomes of a plan before it is sent
        self.change_answer = bytes  # what becomes of a sealed answer
        self.change_response = bytes  # what becomes of a response before it is sealed
        self.server_document: dict[str, Any] = {
            "name": "tacit",
            "version": "0",
            "extensions": ["binary_tensor_data", "tacit"],
            "parameters": {"tacit_protocol": wire.PROTOCOL},
        }
        self.metadata: dict[str, Any] = {
            "name": MODEL,
            "platform": "tacit_ckks",
            "inputs": [{"name": "request", "datatype": "BYTES", "shape": [1]}],
            "outputs": [{"name": "response", "datatype": "BYTES", "shape": [1]}],
            "parameters": {"tacit_protection": "ckks"},
        }
        self.models = [MODEL]
        self.name = MODEL  # under which the plans are served
        self.in_the_clear: set[str] = set()  # names of models that are served without protection
        self.delay_s = 0.0
        self.ended = threading.Event()
        self.token = ""
        self.clock_s = 0.0  # by which the provider's clock is wrong

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that a test cuts is no news."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def count(self, method: str, part: str) -> int:
        return sum(found == method and part in path for found, path in self.calls)

    def rows(self) -> list[dict[str, Any]]:
        rows = []
        for plan_id, provider in self.plans.items():
            plan = PublicPlan.from_bytes(provider.public_plan())
            rows.append(
                {
                    "plan_id": plan_id,
                    "batch": plan.batch,
                    "layout": plan.layout,
                    "request_bytes": 1000,
                    "response_bytes": 1000,
                    "key_bytes": 1000,
                    "seconds": 0.001 if plan.layout == "latency" else 0.01,
                    "error_bound": plan.error_bound,
                }
            )
        return rows


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Scripted

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self) -> None:
        self.server.calls.append((self.command, self.path))
        self.server.seen.append({name.lower(): value for name, value in self.headers.items()})
        try:
            self.route()
        except TacitError as error:
            body = json.dumps(wire.error_body(error, "test")).encode()
            self.reply(body, wire.status_of(error), wire.error_headers(error))

    do_GET = do_POST = do_PATCH = do_HEAD = do_DELETE = answer  # noqa: N815

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(time.time() + self.server.clock_s)

    def reply(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def route(self) -> None:
        server, path = self.server, self.path
        body = b"" if self.command == "PATCH" else self.body()
        if path == "/v2/health/live":
            return self.reply(b"")
        if server.token and self.headers.get("Authorization") != f"Bearer {server.token}":
            raise AccessDeniedError("who asks is not known here", hint="send a token")
        if path == "/v2":
            return self.reply(json.dumps(server.server_document).encode())
        if path == "/v2/repository/index":
            return self.reply(
                json.dumps([{"name": name, "state": "READY"} for name in server.models]).encode()
            )
        if path.startswith("/v2/keys/"):
            return self.route_keys(path.rpartition("/")[2])
        if path == f"/v2/models/{server.name}":
            return self.reply(json.dumps(server.metadata).encode())
        if path.rpartition("/")[2] in server.in_the_clear:
            return self.reply(b'{"parameters": {"tacit_protection": "clear"}}')
        if path == f"/v2/models/{server.name}/plans":
            return self.reply(json.dumps({"plans": server.rows()}).encode())
        if path.startswith(f"/v2/models/{server.name}/plans/"):
            plan = server.plans[path.rpartition("/")[2]].public_plan()
            return self.reply(server.change_plan(plan))
        if path == f"/v2/models/{server.name}/infer":
            return self.infer(body)
        raise NotServedError("nothing is there")

    def route_keys(self, digest: str) -> None:
        server = self.server
        name = (read_client_header(self.headers.get(wire.CLIENT, "")), digest)
        if self.command == "PATCH":
            return self.receive(name)
        if name not in server.keys:
            raise MissingKeyError("no such keys")
        if self.command == "DELETE":
            server.keys.pop(name)
            server.complete.discard(name)
            return self.reply(b"", 204)
        state = "?1" if name in server.complete else "?0"
        return self.reply(
            b"", 200, {wire.UPLOAD_OFFSET: str(len(server.keys[name])), wire.UPLOAD_COMPLETE: state}
        )

    def receive(self, name: tuple[bytes, str]) -> None:
        server, length = self.server, int(self.headers["Content-Length"])
        kept = server.keys.setdefault(name, bytearray())
        if int(self.headers[wire.UPLOAD_OFFSET]) != len(kept):
            self.rfile.read(length)
            raise OffsetError("another place", offset=len(kept))
        if 0 <= server.cut_upload_after < length:
            kept += self.rfile.read(server.cut_upload_after)
            server.cut_upload_after = -1
            self.connection.close()
            self.close_connection = True
            return
        if server.crawls:
            kept += self.rfile.read(length)[:1]
            return self.reply(b"", 204, {wire.UPLOAD_OFFSET: str(len(kept))})
        if server.slow_pieces:
            server.slow_pieces -= 1
            kept += self.rfile.read(length)[: server.taken_of_slow]
            raise PeerTimeoutError("too slow")
        kept += self.rfile.read(length)
        if len(kept) < int(self.headers[wire.UPLOAD_LENGTH]):
            return self.reply(b"", 204, {wire.UPLOAD_OFFSET: str(len(kept))})
        assert hashlib.sha256(kept).hexdigest() == name[1]
        server.plans[self.headers[wire.PLAN]].load_keys(bytes(kept))
        server.complete.add(name)
        self.reply(b"", 201, {wire.UPLOAD_OFFSET: str(len(kept)), wire.UPLOAD_COMPLETE: "?1"})

    def infer(self, body: bytes) -> None:
        server = self.server
        server.ended.wait(server.delay_s)
        if server.drop_predictions:
            server.drop_predictions -= 1
            self.connection.close()
            self.close_connection = True
            return
        if server.fail:
            raise server.fail.pop(0)
        request = InferRequest.decode(body, int(self.headers[wire.CONTENT_LENGTH_OF_JSON]))
        client = read_client_header(self.headers[wire.CLIENT])
        sealed = request.inputs[0].elements()[0]
        opened = open_request(sealed, client=client, model=server.name)
        if (client, opened.key.hex()) not in server.complete:
            raise MissingKeyError("the keys of this request are not here")
        response = server.change_response(server.plans[opened.plan.hex()].run(bytes(opened.body)))
        answer = seal_response(response, client=client, request=opened, now_ms=opened.sent_at_ms)
        tensor = Tensor.of_bytes("response", [server.change_answer(answer)])
        parts, length = InferResponse(model=server.name, version="1", outputs=(tensor,)).encode()
        self.reply(b"".join(parts), 200, {wire.CONTENT_LENGTH_OF_JSON: str(length)})


@contextlib.contextmanager
def scripted(*providers: Provider) -> Iterator[Scripted]:
    """A running provider; it ends with the block."""
    server = Scripted(*providers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


BUSY = BusyError("full", retry_after_s=0.0)
