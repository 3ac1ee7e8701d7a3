"""When a server lets go of an owner's keys: only where their file is of no use, and not for a wrong request or a server
that is short of something."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from tacit.backends.ckks.owner import Owner
from tacit.errors import BusyError, MissingKeyError, StoreFailedError, TacitError
from tacit.net import envelope
from tacit.net.tensors import InferRequest, Tensor
from tacit.service import worker as worker_module
from tacit.service.access import Principal
from tacit.service.catalog import Row, Served
from tacit.service.endpoint import Endpoint, Settings
from tacit.service.failure import error_of
from tacit.service.frames import Frame, pair, receive, send
from tacit.service.metrics import Metrics
from tacit.service.pool import KeyFile
from tacit.service.program import CkksProgram
from tacit.service.store import Store, StoreLimits
from tacit.service.worker import Worker
from tests.service.models import data, estimator, package

NOBODY = Principal("open", "open")
SAMPLE = data()[:1]


class OneWorker:
    """A pool without processes: a worker that keeps no keys, and the frames between it and the front."""

    def __init__(self, program: CkksProgram) -> None:
        self.front, self.end = pair()
        self.worker = Worker(self.end, program)

    async def run(self, program: str, body: bytes | memoryview, keys: KeyFile, **_: object) -> bytes:
        self.worker.keys.clear()
        name = keys.name(program)
        fields = {"ticket": -1, "keys": name, "path": str(keys.path), "drop": [], "threads": 1}
        send(self.end, self.worker._reply(Frame("run", fields, bytes(body))))
        reply = receive(self.front)
        assert reply is not None
        if reply.kind == "failed":
            raise error_of(reply)
        return reply.content()

    def close(self) -> None:
        self.front.close()
        self.end.close()


class Scene:
    """A server's endpoint with a store on disk, and an owner who has sent keys."""

    def __init__(self, folder: Path) -> None:
        offer = package().offers[0]
        self.owner, self.other = Owner(offer.public_plan), Owner(offer.public_plan)
        self.keys, self.secret = self.owner.evaluation_keys(), envelope.new_client_secret()
        self.plan, self.digest = offer.plan_id, hashlib.sha256(self.keys).hexdigest()
        row = Row(program_id=self.plan, plan_id=self.plan, public_plan=offer.public_plan, facts={})
        served = Served(name="risk", version="1", protection="ckks", rows={self.plan: row})
        self.pool = OneWorker(CkksProgram(offer.bundle, 1))
        self.store = Store(folder, StoreLimits(free_bytes=0))
        self.endpoint = Endpoint(
            catalog=cast(Any, SimpleNamespace(find=lambda name, version="": served)),
            pool=cast(Any, self.pool),
            store=self.store,
            access=cast(Any, None),
            replay=cast(Any, SimpleNamespace(admit=lambda owner, request: None)),
            metrics=Metrics(),
            settings=Settings(version="0"),
        )
        self.name, _ = self.endpoint.owner(NOBODY, envelope.client_header(self.secret))
        self.upload()

    def upload(self) -> None:
        size = len(self.keys)
        facts = {"offset": 0, "length": size, "model": "risk", "plan": self.plan}
        with self.store.receive(self.name, "open", self.digest, **facts) as part:
            part.write(self.keys)
        with self.store.verify(self.name, self.digest) as lease:
            self.store.admit(lease)
            self.path = lease.path

    def infer(self, owner: Owner) -> np.ndarray[Any, Any]:
        """An answer to a request that ``owner`` encrypted, in a frame that names the keys that were sent."""
        plan, key = bytes.fromhex(self.plan), bytes.fromhex(self.digest)
        message, id = envelope.seal_request(
            owner.encrypt(SAMPLE),
            client=self.secret,
            model="risk",
            plan=plan,
            key=key,
            now_ms=time.time_ns() // 10**6,
        )
        asked = InferRequest(inputs=(Tensor.of_bytes("request", [message]),))
        header = envelope.client_header(self.secret)
        answer = asyncio.run(self.endpoint.infer("risk", "", asked, principal=NOBODY, client=header))
        sealed = answer.outputs[0].elements()[0]
        body = envelope.open_response(sealed, client=self.secret, model="risk", plan=plan, key=key, id=id)
        return np.asarray(owner.decrypt(bytes(body)))

    def is_served(self) -> None:
        assert np.allclose(self.infer(self.owner), estimator().predict_proba(SAMPLE), atol=0.01)

    def is_kept(self) -> None:
        assert self.store.state(self.name, self.digest).complete
        assert self.path.read_bytes() == self.keys

    def is_lost(self) -> None:
        with pytest.raises(MissingKeyError):
            self.store.state(self.name, self.digest)
        assert not self.path.exists()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path / "store")
    yield made
    made.store.close()
    made.pool.close()


def fault(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The worker's next calls to open a file fail."""

    def failing(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(worker_module, "open", failing, raising=False)


def test_a_request_under_another_key_costs_nobody_keys(scene: Scene) -> None:
    scene.is_served()
    with pytest.raises(MissingKeyError, match="under a key that was not loaded"):
        scene.infer(scene.other)
    scene.is_kept()
    scene.is_served()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EMFILE, BusyError),
        (errno.ENFILE, BusyError),
        (errno.ENOMEM, BusyError),
        (errno.EACCES, StoreFailedError),
    ],
    ids=lambda value: errno.errorcode[value] if isinstance(value, int) else value.__name__,
)
def test_a_worker_that_cannot_open_a_file_costs_nobody_keys(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[TacitError]
) -> None:
    with monkeypatch.context() as short:
        fault(short, number)
        with pytest.raises(TacitError) as error:
            scene.infer(scene.owner)
    assert type(error.value) is kind
    scene.is_kept()
    scene.is_served()


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EIO], ids=lambda number: errno.errorcode[number])
def test_keys_that_the_disk_does_not_give_back_are_let_go_of(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with monkeypatch.context() as disk:
        fault(disk, number)
        with pytest.raises(MissingKeyError, match="not in the store"):
            scene.infer(scene.owner)
    scene.is_lost()
    scene.upload()
    scene.is_served()


def test_damaged_keys_are_let_go_of(scene: Scene) -> None:
    scene.path.write_bytes(scene.keys[:-100] + bytes(100))
    with pytest.raises(MissingKeyError, match="damaged"):
        scene.infer(scene.owner)
    scene.is_lost()
    scene.upload()
    scene.is_served()
