"""The load of `serving.py`, in a process of its own: many owners, each with its own keys, who ask over HTTPS at once.

Samples are encrypted beforehand, so that the cores are the server's; what an owner must do for each request (a new id,
time and tag of the frame, TLS, checking the tag of the answer) is done for each. Some answers are decrypted and
compared with the clear ones during the run, all of the first round before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import ssl
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from tacit.backends.ckks.owner import Owner
from tacit.net import envelope, wire
from tacit.net.tensors import InferRequest, InferResponse, Tensor

__all__ = ["Connection", "Job", "Reply"]

PIECE_BYTES = 4 << 20
CHECK_EVERY = 50
LEAST_BURST, LARGEST_BURST = 16, 64
"""Requests of one owner at once, twice as many as workers: one that finds nothing else to do beside those that
wait copies the owner's keys. The server takes no more of one client than the largest."""
FILL_S = 60.0
"""Most time for that."""


@dataclass(frozen=True)
class Job:
    """What `serving.py` asks for. ``samples``: .npy, whose answers in the clear are in ``expected``."""

    address: str
    authority: str
    model: str
    plan_id: str
    samples: str
    expected: str
    clients: int
    seconds: float
    warm_s: float
    requests_each: int = 2
    workers: int = 1
    full_bytes: int = 0
    """Keys in the memory of the workers when each has those of each owner. 0: that is not waited for."""


@dataclass
class Tally:
    """What happened while it was measured."""

    latencies_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    checked: int = 0
    max_error: float = 0.0


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One kept-alive connection of HTTP/1.1. As little as the load needs: a client library would take the cores."""

    def __init__(self, address: str, context: ssl.SSLContext | None) -> None:
        parts = urlsplit(address)
        self._host, self._port = parts.hostname or "", parts.port or 443
        self._context = context if parts.scheme == "https" else None
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, headers: dict[str, str], *body: bytes | memoryview) -> Reply:
        """One call. Raises ``OSError`` or ``asyncio.IncompleteReadError`` where the connection breaks."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(
                self._host, self._port, ssl=self._context, limit=1 << 20
            )
        reader, writer = self._streams
        given = {"host": f"{self._host}:{self._port}", "content-length": str(sum(map(len, body))), **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items()), "", ""]
        writer.write("\r\n".join(lines).encode("ascii"))
        for part in body:
            writer.write(part)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        found = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        status = int(head[0].split()[1])
        length = 0 if method == "HEAD" or status == 204 else int(found.get("content-length", "0"))
        content = await reader.readexactly(length)
        if found.get("connection", "").lower() == "close":
            self.close()
        return Reply(status, found, content)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Client:
    """One owner: keys, a secret, encrypted samples, a connection."""

    def __init__(self, job: Job, plan: bytes, number: int, context: ssl.SSLContext | None) -> None:
        self.job = job
        self.owner = Owner(plan)
        self.secret = envelope.new_client_secret()
        self.connection = Connection(job.address, context)
        keys = self.owner.evaluation_keys()
        self.digest = hashlib.sha256(keys).digest()
        self.keys: bytes | None = keys
        samples = np.load(job.samples)
        count = len(samples)
        self.places = [(number * job.requests_each + step) % count for step in range(job.requests_each)]
        self.samples = [samples[place : place + 1] for place in self.places]
        self.requests = [self.owner.encrypt(sample) for sample in self.samples]
        self.headers = {wire.CLIENT.lower(): envelope.client_header(self.secret)}

    async def upload(self) -> None:
        """Sends the keys in pieces. Raises ``RuntimeError`` where the server refuses."""
        keys, self.keys = self.keys or b"", None
        path = wire.PATHS["keys"].format(digest=self.digest.hex())
        for offset in range(0, len(keys), PIECE_BYTES):
            piece = memoryview(keys)[offset : offset + PIECE_BYTES]
            headers = {
                **self.headers,
                "content-type": "application/octet-stream",
                wire.UPLOAD_OFFSET.lower(): str(offset),
                wire.UPLOAD_LENGTH.lower(): str(len(keys)),
                wire.MODEL.lower(): self.job.model,
                wire.PLAN.lower(): self.job.plan_id,
            }
            reply = await self.connection.ask("PATCH", path, headers, piece)
            if reply.status not in (201, 204):
                raise RuntimeError(f"keys were refused: {reply.status} {reply.body[:300]!r}")

    def encrypt(self, step: int) -> bytes:
        """A request of its own for an answer that is decrypted: an owner takes one answer for each."""
        return self.owner.encrypt(self.samples[step])

    async def predict(self, request: bytes, connection: Connection | None = None) -> bytes:
        """One prediction; the answer still encrypted, its tag checked. Raises ``RuntimeError`` for an error."""
        facts: dict[str, Any] = {"client": self.secret, "model": self.job.model}
        facts |= {"plan": bytes.fromhex(self.job.plan_id), "key": self.digest}
        message, id_ = envelope.seal_request(request, now_ms=time.time_ns() // 1_000_000, **facts)
        parts, length = InferRequest(inputs=(Tensor.of_bytes("request", [message]),), binary=True).encode()
        headers = {
            **self.headers,
            "content-type": "application/octet-stream",
            wire.CONTENT_LENGTH_OF_JSON.lower(): str(length),
        }
        path = wire.PATHS["infer"].format(model=self.job.model)
        reply = await (connection or self.connection).ask("POST", path, headers, *parts)
        if reply.status != 200:
            raise RuntimeError(f"{reply.status} {reply.body[:300]!r}")
        text = reply.headers.get(wire.CONTENT_LENGTH_OF_JSON.lower())
        found = InferResponse.decode(reply.body, int(text) if text else None)
        body = envelope.open_response(bytes(found.outputs[0].elements()[0]), id=id_, **facts)
        return bytes(body)


async def fill(clients: Sequence[Client], job: Job, context: ssl.SSLContext | None) -> int:
    """Asks in bursts until the workers hold ``job.full_bytes`` of keys. Returns what they hold in the end."""
    count = min(max(LEAST_BURST, 2 * job.workers), LARGEST_BURST)
    connections = [Connection(job.address, context) for _ in range(count)]

    async def held() -> int:
        found = json.loads((await connections[0].ask("GET", wire.PATHS["load"], {})).body)
        return int(found["memory"]["keys_bytes"])

    end = time.monotonic() + FILL_S
    while (now := await held()) < job.full_bytes and time.monotonic() < end:
        for client in clients:
            await asyncio.gather(*(client.predict(client.requests[0], each) for each in connections))
    for connection in connections:
        connection.close()
    return now


async def run(job: Job) -> None:
    context = ssl.create_default_context(cafile=job.authority) if job.address.startswith("https") else None
    fetch = Connection(job.address, context)
    plan = (await fetch.ask("GET", wire.PATHS["plan"].format(model=job.model, plan_id=job.plan_id), {})).body
    fetch.close()
    clients = [Client(job, plan, number, context) for number in range(job.clients)]
    expected = np.load(job.expected)
    tally = Tally()

    def check(client: Client, step: int, response: bytes) -> None:
        answer = np.asarray(client.owner.decrypt(response), dtype=np.float64)
        place = client.places[step]
        error = float(np.abs(answer - expected[place : place + 1]).max())
        tally.checked += 1
        tally.max_error = max(tally.max_error, error)

    start = time.monotonic()
    for client in clients:
        await client.upload()
    say("uploaded", seconds=time.monotonic() - start)
    for client in clients:
        for step in range(job.requests_each):
            check(client, step, await client.predict(client.encrypt(step)))
    say("checked", checked=tally.checked, max_error=tally.max_error)
    if job.full_bytes:
        start = time.monotonic()
        say("filled", held_bytes=await fill(clients, job, context), seconds=time.monotonic() - start)

    async def ask_on(client: Client, end: float, measured: bool) -> None:
        number = 0
        while time.monotonic() < end:
            step = number % job.requests_each
            is_checked = number % CHECK_EVERY == CHECK_EVERY - 1
            request = client.encrypt(step) if is_checked else client.requests[step]
            begin = time.monotonic()
            try:
                response = await client.predict(request)
            except Exception as error:
                if measured:
                    tally.failures.append(f"{type(error).__name__}: {error}"[:300])
                client.connection.close()
                await asyncio.sleep(0.05)
            else:
                if measured:
                    tally.latencies_s.append(time.monotonic() - begin)
                    if is_checked:
                        check(client, step, response)
            number += 1

    async def everybody(seconds: float, measured: bool) -> float:
        begin = time.monotonic()
        await asyncio.gather(*(ask_on(client, begin + seconds, measured) for client in clients))
        return time.monotonic() - begin

    await everybody(job.warm_s, measured=False)
    say("measuring")
    cpu = time.process_time()
    wall = await everybody(job.seconds, measured=True)
    say(
        "done",
        seconds=wall,
        cpu_seconds=time.process_time() - cpu,
        latencies_s=[round(value, 6) for value in tally.latencies_s],
        failures=tally.failures,
        checked=tally.checked,
        max_error=tally.max_error,
    )
    for client in clients:
        client.connection.close()


def say(event: str, **facts: object) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(Job(**json.loads(Path(sys.argv[1]).read_text()))))
