"""Bytes that no honest client sends, against a real server: no 500, no hang, no death, no growth.

    PYTHONPATH=src:. python scripts/fuzz_serving.py --minutes 10
    PYTHONPATH=src:. python scripts/fuzz_serving.py --seconds 20 --only bytes
    PYTHONPATH=src:. python scripts/fuzz_serving.py --mutants 1000 --only bytes --seed 3

Two halves, one after the other, on one server: `bytes` mutates whole messages that were valid (binary tensors, frames,
evaluation keys, gRPC, raw HTTP), and `schema` lets Schemathesis (an independent tool) make calls from the server's own
OpenAPI document. Between the rounds an honest client asks and must get the right answer.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from tacit.backends.ckks.owner import Owner
from tacit.net import envelope, wire
from tacit.net.tensors import InferRequest, InferResponse, Tensor

if TYPE_CHECKING:
    from benches.serving_tree import Server

PATIENCE_S = 60.0
EXPECTED_5XX = {501, 503, 504, 505, 507}
"""Of these a client is to blame, or the server says that it is full."""
GROWTH_BYTES = 128 << 20
WARM_S = 10.0

Send = Callable[[random.Random], None]


@dataclass
class Findings:
    """What went wrong, and how often what was answered."""

    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def answer(self, kind: str, status: int | str, detail: str = "") -> None:
        self.answers[f"{kind} {status}"] += 1
        if isinstance(status, int) and status >= 500 and status not in EXPECTED_5XX:
            self.wrong.append(f"{kind}: {status} {detail[:300]}")


def mutated(message: bytes, dice: random.Random) -> bytes:
    """A message with some bytes changed, cut, doubled, or grown; sometimes as it was."""
    found = bytearray(message)
    for _ in range(dice.choice((0, 1, 1, 1, 2, 4, 16))):
        place = dice.randrange(len(found) + 1)
        size = dice.choice((1, 1, 2, 4, 8, 64, 4096))
        match dice.randrange(6):
            case 0 if place < len(found):
                found[place] ^= 1 << dice.randrange(8)
            case 1:
                found[place : place + size] = dice.randbytes(size)
            case 2:
                del found[place : place + size]
            case 3:
                found[place:place] = found[place : place + size]
            case 4:
                del found[place:]
            case _:
                found[place : place + size] = dice.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * size
    return bytes(found)


class Target:
    """The server with an honest client of it."""

    def __init__(self, server: Server, model: LogisticRegression, samples: np.ndarray[Any, Any]) -> None:
        self.server = server
        self.http = httpx.Client(base_url=server.address, timeout=PATIENCE_S, trust_env=False)
        self.samples = samples
        names = {row["name"]: self.http.get(f"/v2/models/{row['name']}").json() for row in self._index()}
        self.encrypted = next(name for name, facts in names.items() if facts["platform"] == "tacit_ckks")
        self.clear = next(name for name, facts in names.items() if facts["platform"] != "tacit_ckks")
        self.input = names[self.clear]["inputs"][0]
        plans = self.http.get(f"/v2/models/{self.encrypted}/plans").json()["plans"]
        self.plan_id = min(plans, key=lambda plan: plan["batch"])["plan_id"]
        self.owner = Owner(self.http.get(f"/v2/models/{self.encrypted}/plans/{self.plan_id}").content)
        self.secret = envelope.new_client_secret()
        self.keys = self.owner.evaluation_keys()
        self.request = self.owner.encrypt(samples[:1])
        self.expected = model.predict_proba(samples[:1])
        reply = self.upload(self.keys)
        if reply.status_code != 201:
            raise RuntimeError(f"honest keys were refused: {reply.status_code} {reply.text}")

    def _index(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = self.http.post("/v2/repository/index", json={}).json()
        return found

    def upload(self, keys: bytes, **headers: str) -> httpx.Response:
        given = {
            wire.CLIENT: envelope.client_header(self.secret),
            wire.MODEL: self.encrypted,
            wire.PLAN: self.plan_id,
            wire.UPLOAD_OFFSET: "0",
            wire.UPLOAD_LENGTH: str(len(keys)),
            "Content-Type": "application/octet-stream",
        }
        path = wire.PATHS["keys"].format(digest=hashlib.sha256(keys).hexdigest())
        return self.http.patch(path, content=keys, headers={**given, **headers})

    def frame(self, body: bytes) -> tuple[bytes, bytes]:
        return envelope.seal_request(
            body,
            client=self.secret,
            model=self.encrypted,
            plan=bytes.fromhex(self.plan_id),
            key=hashlib.sha256(self.keys).digest(),
            now_ms=time.time_ns() // 1_000_000,
        )

    def infer(self, model: str, parts: list[bytes | memoryview], length: int | None) -> httpx.Response:
        headers = {
            wire.CLIENT: envelope.client_header(self.secret),
            "Content-Type": "application/octet-stream" if length is not None else "application/json",
        }
        if length is not None:
            headers[wire.CONTENT_LENGTH_OF_JSON] = str(length)
        return self.http.post(
            wire.PATHS["infer"].format(model=model), content=b"".join(parts), headers=headers
        )

    def is_right(self) -> bool:
        """Whether an honest prediction gives the right answer."""
        message, id_ = self.frame(self.owner.encrypt(self.samples[:1]))
        parts, length = InferRequest(inputs=(Tensor.of_bytes("request", [message]),), binary=True).encode()
        reply = self.infer(self.encrypted, parts, length)
        if reply.status_code != 200:
            return False
        text = reply.headers.get(wire.CONTENT_LENGTH_OF_JSON)
        found = InferResponse.decode(reply.content, int(text) if text else None)
        body = envelope.open_response(
            bytes(found.outputs[0].elements()[0]),
            client=self.secret,
            model=self.encrypted,
            plan=bytes.fromhex(self.plan_id),
            key=hashlib.sha256(self.keys).digest(),
            id=id_,
        )
        answer = np.asarray(self.owner.decrypt(bytes(body)), dtype=np.float64).reshape(-1)
        labels = np.argmax(self.expected)
        return bool(answer.size == 1 and answer[0] == labels) or bool(
            answer.size == self.expected.size and np.abs(answer - self.expected.reshape(-1)).max() < 0.05
        )


def senders(target: Target, findings: Findings) -> dict[str, Send]:
    """Each sends one mutant of a kind."""

    def told(kind: str, reply: httpx.Response) -> None:
        findings.answer(kind, reply.status_code, reply.text if reply.status_code >= 500 else "")

    def tensors(dice: random.Random) -> None:
        array = np.asarray(
            target.samples[:1], dtype=np.float64 if "64" in target.input["datatype"] else np.float32
        )
        whole = InferRequest(inputs=(Tensor.of(target.input["name"], array),), binary=dice.random() < 0.5)
        parts, length = whole.encode(binary=dice.random() < 0.7)
        joined = b"".join(parts)
        if dice.random() < 0.2 and length is not None:
            length = dice.choice((0, 1, length - 1, length + 1, len(joined) + 1, 1 << 31))
        told("tensors", target.infer(target.clear, [mutated(joined, dice)], length))

    def frames(dice: random.Random) -> None:
        sealed, _ = target.frame(target.request)
        message = mutated(sealed, dice)
        parts, length = InferRequest(inputs=(Tensor.of_bytes("request", [message]),), binary=True).encode()
        told("frames", target.infer(target.encrypted, parts, length))

    def requests(dice: random.Random) -> None:
        """What is inside is changed, and the frame around it is right: the reader of ciphertexts gets it."""
        sealed, _ = target.frame(mutated(target.request, dice))
        parts, length = InferRequest(inputs=(Tensor.of_bytes("request", [sealed]),), binary=True).encode()
        told("requests", target.infer(target.encrypted, parts, length))

    def keys(dice: random.Random) -> None:
        """Whole uploads with the right digest, so that the reader of keys gets them."""
        changed = mutated(target.keys, dice)
        if changed and changed != target.keys:
            told("keys", target.upload(changed))

    def pieces(dice: random.Random) -> None:
        headers = {
            wire.UPLOAD_OFFSET: dice.choice(("0", "1", "-1", "9" * 30, "x", "18446744073709551616")),
            wire.UPLOAD_LENGTH: dice.choice(("0", "5", "6", "-5", "1e3", str(1 << 62))),
            wire.PLAN: dice.choice((target.plan_id, "0" * 64, "../..", "")),
            wire.MODEL: dice.choice((target.encrypted, target.clear, "none", "a" * 5000)),
        }
        told(
            "pieces",
            target.upload(b"12345", **dict(dice.sample(sorted(headers.items()), dice.randint(1, 4)))),
        )

    def lines(dice: random.Random) -> None:
        findings.answer("lines", raw(target.server.address, dice))

    return {
        "tensors": tensors,
        "frames": frames,
        "requests": requests,
        "keys": keys,
        "pieces": pieces,
        "lines": lines,
    }


RAW = (
    b"POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n{}...",
    b"POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"PATCH /v2/keys/"
    + b"0" * 64
    + b" HTTP/1.1\r\nHost: h\r\nUpload-Offset: 0\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /v2/models/%2e%2e%2f%00 HTTP/1.1\r\nHost: h\r\nX-Request-Id: \xff\xfe\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: b\r\n" * 200 + b"\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
)


def raw(address: str, dice: random.Random) -> int | str:
    """Mutated lines of HTTP on a connection of their own; the status, or how the connection ended."""
    url = httpx.URL(address)
    message = mutated(dice.choice(RAW), dice)
    with (
        socket.create_connection((url.host, url.port), timeout=PATIENCE_S) as connection,
        contextlib.suppress(OSError),
    ):
        connection.sendall(message)
        connection.shutdown(socket.SHUT_WR)
        words = connection.recv(64).split()
        if len(words) > 1 and words[1].isdigit():
            return int(words[1])
    return "closed"


def grpc_sender(port: int, target: Target, findings: Findings) -> tuple[Send, Callable[[], None]]:
    """Sends mutants of `ModelInfer`; and closes the channel."""
    import grpc

    from tacit.service.grpc_messages import classes

    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

    def send(dice: random.Random) -> None:
        message = classes()["ModelInferRequest"](model_name=dice.choice((target.clear, target.encrypted)))
        tensor = message.inputs.add(name=target.input["name"], datatype=target.input["datatype"])
        tensor.shape.extend((1, target.samples.shape[1]))
        dtype = np.float64 if "64" in target.input["datatype"] else np.float32
        message.raw_input_contents.append(np.asarray(target.samples[:1], dtype=dtype).tobytes())
        try:
            call(mutated(message.SerializeToString(), dice), timeout=PATIENCE_S)
            findings.answer("grpc", "OK")
        except grpc.RpcError as error:
            findings.answer("grpc", error.code().name)
            if error.code().name in ("INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED"):
                findings.wrong.append(f"grpc: {error.code().name} {error.details()}"[:300])

    return send, channel.close


def bytes_half(target: Target, findings: Findings, seconds: float, seed: int, mutants: int) -> None:
    """Mutants until the time is over, or until so many were sent where ``mutants`` is not 0; an honest call and a look
    at the memory every few seconds."""
    dice = random.Random(seed)  # noqa: S311 mutants, not secrets
    kinds = senders(target, findings)
    close: Callable[[], None] = lambda: None  # noqa: E731 replaced below where there is gRPC
    if target.server.started.get("grpc"):
        port = int(str(target.server.started["grpc"]).rpartition(":")[2])
        kinds["grpc"], close = grpc_sender(port, target, findings)
    start = time.monotonic()
    looked, warm, sent = start, 0, 0
    while (sent < mutants or not mutants) and (now := time.monotonic()) < start + seconds:
        sent += 1
        kind = dice.choice(sorted(kinds))
        try:
            kinds[kind](dice)
        except httpx.TimeoutException:
            findings.wrong.append(f"{kind}: no answer within {PATIENCE_S:g} s")
        except httpx.TransportError as error:
            findings.answer(kind, type(error).__name__)
        if (took := time.monotonic() - now) > PATIENCE_S / 2:
            findings.wrong.append(f"{kind}: {took:.1f} s")
        if now - looked > 2:
            looked = now
            check(target, findings)
            size = target.server.memory().pss_bytes
            warm = warm or (size if now - start > min(WARM_S, seconds / 4) else 0)
            if warm and size > warm + GROWTH_BYTES:
                findings.wrong.append(f"memory grew from {warm >> 20} to {size >> 20} MiB")
                warm = size
    close()
    check(target, findings)


def check(target: Target, findings: Findings) -> None:
    if target.server.process.poll() is not None:
        raise SystemExit(f"the server died:\n{target.server.log.read_text(errors='replace')[-2000:]}")
    if not target.is_right():
        findings.wrong.append("an honest prediction was not answered rightly")


def schema_half(
    target: Target, findings: Findings, seconds: float, seed: int, folder: Path, examples: int
) -> None:
    """Schemathesis in rounds, with names that exist in every other one."""
    program = shutil.which(
        "schemathesis", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if program is None:
        raise SystemExit("schemathesis is not installed: pip install -e '.[dev]'")
    end = time.monotonic() + seconds
    rounds = 0
    before = target.server.memory().pss_bytes
    while (left := end - time.monotonic()) > 1:
        settings = folder / f"round-{rounds}"
        settings.mkdir()
        client = envelope.client_header(target.secret)
        known = (
            f'[parameters]\n"path.model" = "{(target.encrypted, target.clear)[rounds // 2 % 2]}"\n'
            f'"path.plan_id" = "{target.plan_id}"\n"header.{wire.CLIENT}" = "{client}"\n'
            f'"header.{wire.MODEL}" = "{target.encrypted}"\n"header.{wire.PLAN}" = "{target.plan_id}"\n'
        )
        (settings / "schemathesis.toml").write_text(known if rounds % 2 else "")
        done = subprocess.run(  # noqa: S603 our own command
            [
                *(program, "--config-file", str(settings / "schemathesis.toml"), "run"),
                f"{target.server.address}/openapi.json",
                *("--checks", "not_a_server_error,response_schema_conformance,content_type_conformance"),
                *(
                    "--max-examples",
                    str(examples),
                    "--seed",
                    str(seed + rounds),
                    "--request-timeout",
                    str(PATIENCE_S),
                ),
                *("--no-color", "--generation-database", "none", "--max-failures", "20"),
            ],
            cwd=settings,
            capture_output=True,
            text=True,
            timeout=max(120.0, left + 300.0),
        )
        rounds += 1
        findings.answer("schema", f"round {'passed' if done.returncode == 0 else 'failed'}")
        if done.returncode:
            told = done.stdout.partition("= FAILURES =")[2] or done.stdout[-3000:]
            findings.wrong.append(f"schemathesis: {told[:6000]}{done.stderr[-500:]}")
            break
        check(target, findings)
    grown = target.server.memory().pss_bytes - before
    if grown > GROWTH_BYTES:
        findings.wrong.append(f"memory grew by {grown >> 20} MiB under schemathesis")


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Target]:
    """A server with one model under both protections, and an honest client of it."""
    from skl2onnx import to_onnx

    from benches.serving_tree import Server

    x, y = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=500).fit(x, y)
    source, data = folder / "iris.onnx", folder / "iris.calibration.npy"
    source.write_bytes(
        to_onnx(model, x[:1].astype(np.float32), options={"zipmap": False}).SerializeToString()
    )
    np.save(data, x)
    options = [
        "--protection=ckks",
        "--protection=clear",
        f"--calibration={data}",
        "--batch=1",
        "--insecure-http",
    ]
    options += ["--rate=1000000", "--grpc-listen=127.0.0.1:0", "--store-bytes=200000000"]
    with Server([source], folder, *options) as server:
        target = Target(server, model, x)
        try:
            yield target
        finally:
            target.http.close()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of both halves together")
    parser.add_argument("--seconds", type=float, help="instead of minutes")
    parser.add_argument(
        "--mutants", type=int, default=0, help="end after so many, if the time is not over before"
    )
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--examples", type=int, default=30, help="of each call, in a round of Schemathesis")
    parser.add_argument("--only", choices=("bytes", "schema"))
    chosen = parser.parse_args()
    seconds = chosen.seconds or 60 * chosen.minutes
    findings = Findings()
    print(json.dumps({"seed": chosen.seed, "seconds": seconds}), flush=True)
    with tempfile.TemporaryDirectory(prefix="tacit-fuzz-") as name, started(Path(name)) as target:
        if chosen.only != "schema":
            share = seconds if chosen.only else seconds / 2
            bytes_half(target, findings, share, chosen.seed, chosen.mutants)
        if chosen.only != "bytes":
            schema_half(
                target,
                findings,
                seconds if chosen.only else seconds / 2,
                chosen.seed,
                Path(name),
                chosen.examples,
            )
        memory = target.server.memory()
        if (status := target.server.stop()) != 0:
            findings.wrong.append(f"the server ended with status {status}")
    print(json.dumps({"answers": dict(sorted(findings.answers.items())), "pss_mib": memory.pss_bytes >> 20}))
    for line in findings.wrong[:20]:
        print(f"wrong: {line}", file=sys.stderr)
    return 1 if findings.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
