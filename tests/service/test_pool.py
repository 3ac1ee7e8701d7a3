"""The pool with real processes: right answers, killed and stopped workers, other owners' keys, limits and deadlines."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tacit.backends.ckks.envelope import open_envelope, seal
from tacit.backends.ckks.owner import Owner
from tacit.backends.ckks.provider import Provider
from tacit.errors import (
    BusyError,
    MalformedMessageError,
    MemoryLimitError,
    MissingKeyError,
    ModelError,
    NotServedError,
    PeerIncompatibleError,
    PeerTimeoutError,
    PrecisionError,
    RateLimitError,
    ShapeError,
    TacitError,
    UsageError,
    WorkerLostError,
)
from tacit.ir.interpret import interpret
from tacit.service.pool import KeyFile, Limits, Pool
from tests.backends.dense import dense, samples
from tests.backends.reference import candidate_of
from tests.patience import PATIENCE_S, SOON_S

X = samples(60, 8)
GRAPH = dense((8, 6, 3))
LONG = dense((16, 8, 8, 3), "Sigmoid")
"""A model with many stages, and requests of four samples: some tenths of a second."""


@dataclass(frozen=True)
class Client:
    """An owner, its keys in a file, and what the pool is told of them."""

    owner: Owner
    file: KeyFile

    @staticmethod
    def of(provider: Provider, folder: Path, name: str) -> Client:
        owner = Owner(provider.public_plan())
        keys = owner.evaluation_keys()
        path = folder / name
        path.write_bytes(keys)
        return Client(owner, KeyFile(name.encode().ljust(32), hashlib.sha256(keys).digest(), path))

    def answer(self, response: bytes) -> np.ndarray[Any, Any]:
        return np.asarray(self.owner.decrypt(response))


@dataclass(frozen=True)
class Scene:
    provider: Provider
    bundle: bytes
    program: str
    a: Client
    b: Client


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    provider = Provider(candidate_of(GRAPH, X).compile())
    folder = tmp_path_factory.mktemp("keys")
    clients = [Client.of(provider, folder, name) for name in "ab"]
    program = hashlib.sha256(provider.public_plan()).hexdigest()
    return Scene(provider, provider.to_bytes(), program, *clients)


@contextlib.asynccontextmanager
async def serving(scene: Scene, **limits: Any) -> AsyncIterator[Pool]:
    async with Pool(Limits(**{"workers": 2, **limits})) as pool:
        offered = await pool.offer("ckks", scene.bundle)
        assert offered.program_id == scene.program
        yield pool


def run(story: Callable[[], Awaitable[None]], limit_s: float = 2 * PATIENCE_S) -> None:
    """A story on an event loop of its own. It may not hang, and leaves no process behind."""

    async def limited() -> None:
        await asyncio.wait_for(story(), limit_s)

    asyncio.run(limited())


def in_clear(x: Any) -> np.ndarray[Any, Any]:
    return next(iter(interpret(GRAPH, x).values()))


async def started(pool: Pool, count: int = 1) -> list[int]:
    """Processes of workers, once so many are there."""
    while len(found := [w.process for w in pool.state().workers if w.process > 0]) < count:
        await asyncio.sleep(0.01)
    return found


@contextlib.contextmanager
def unwatched(pool: Pool) -> Iterator[None]:
    """Nobody looks at the processes in the block: what it does to a worker is found out after it, and not half way."""
    crew = pool._crew
    crew.look_after = lambda is_stuck: None
    try:
        yield
    finally:
        del crew.look_after


def test_answers_are_those_of_the_provider(scene: Scene) -> None:
    async def story() -> None:
        async with serving(scene) as pool:
            await pool.check_keys(scene.program, scene.a.file)
            clients = [scene.a, scene.b] * 4
            requests = [
                pool.run(scene.program, client.owner.encrypt(X[i : i + 1]), client.file)
                for i, client in enumerate(clients)
            ]
            for i, (client, response) in enumerate(
                zip(clients, await asyncio.gather(*requests), strict=True)
            ):
                assert np.abs(client.answer(response) - in_clear(X[i : i + 1])).max() < 1e-3
            state = pool.state()
            assert state.is_ready and state.restarts == 0 and state.queued == 0 and state.queue_bytes == 0
            assert state.key_count >= 2 and 1 <= len(state.workers) <= 2

    run(story)


def test_the_memory_of_keys_is_known_before_they_are_read(scene: Scene) -> None:
    async def story() -> None:
        async with Pool() as pool:
            offered = await pool.offer("ckks", scene.bundle)
            keys = scene.provider.read_keys(scene.a.file.path.read_bytes())
            assert offered.key_memory_bytes == keys.memory_bytes
            assert offered.public_plan == scene.provider.public_plan()

    run(story)


def test_nobody_computes_under_keys_of_another(scene: Scene, tmp_path: Path) -> None:
    """The same content under two owners is two entries; a request of A under B's keys is a missing key."""

    async def story() -> None:
        async with serving(scene) as pool:
            request = scene.a.owner.encrypt(X[:1])
            await pool.check_keys(scene.program, scene.a.file)
            with pytest.raises(MissingKeyError):
                await pool.run(scene.program, request, scene.b.file)
            # B claims A's digest, but the store has no such file for B: A's copy in memory is not used.
            claimed = KeyFile(scene.b.file.owner, scene.a.file.sha256, tmp_path / "absent")
            with pytest.raises(MissingKeyError):
                await pool.run(scene.program, request, claimed)
            # B uploads its own keys under the name of A's key: they are B's, and A's answers stay A's.
            fields = open_envelope(scene.b.file.path.read_bytes(), "keys")
            forged = seal("keys", {**fields, "key": bytes.fromhex(scene.a.owner.key_id)})
            (tmp_path / "forged").write_bytes(forged)
            file = KeyFile(scene.b.file.owner, hashlib.sha256(forged).digest(), tmp_path / "forged")
            await pool.check_keys(scene.program, file)
            wrong = await pool.run(scene.program, request, file)
            with pytest.raises(PrecisionError):
                scene.a.answer(wrong)
            response = await pool.run(scene.program, request, scene.a.file)
            assert np.abs(scene.a.answer(response) - in_clear(X[:1])).max() < 1e-3

    run(story)


def test_poisoned_files_are_errors_of_their_sender(scene: Scene, tmp_path: Path) -> None:
    good = scene.a.file.path.read_bytes()
    other = Provider(candidate_of(dense((4, 3)), samples(60, 4)).compile())
    files = {
        "empty": b"",
        "cut": good[: len(good) // 2],
        "flipped": good[:-2000] + bytes([good[-2000] ^ 1]) + good[-1999:],
        "noise": os.urandom(50_000),
        "nested": b"\x81" * 50_000,
        "of another plan": Owner(other.public_plan()).evaluation_keys(),
    }

    async def story() -> None:
        async with serving(scene) as pool:
            for name, content in files.items():
                path = tmp_path / name
                path.write_bytes(content)
                file = KeyFile(b"m" * 32, hashlib.sha256(content).digest(), path)
                wanted = PeerIncompatibleError if name == "of another plan" else MalformedMessageError
                with pytest.raises(wanted):
                    await pool.check_keys(scene.program, file)
            with pytest.raises(MissingKeyError):
                await pool.check_keys(scene.program, KeyFile(b"m" * 32, b"s" * 32, tmp_path))
            with pytest.raises(MalformedMessageError):
                await pool.run(scene.program, b"no request", scene.a.file)
            state = pool.state()
            assert state.restarts == 0 and state.key_count == 1, "what could not be read is not held"
            await pool.run(scene.program, scene.a.owner.encrypt(X[:1]), scene.a.file)

    run(story)


@pytest.mark.parametrize("fatal", [signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV])
def test_a_worker_that_dies_fails_its_request_only(scene: Scene, fatal: signal.Signals) -> None:
    """Killed, crashed or stopped in the middle of a request: a typed error soon, and the next one is answered."""

    async def story() -> None:
        async with serving(scene, workers=1) as pool:
            await pool.check_keys(scene.program, scene.a.file)
            worker = (await started(pool))[0]
            requests = [scene.a.owner.encrypt(X[:1]), scene.b.owner.encrypt(X[1:2])]
            with unwatched(pool):
                os.kill(
                    worker, signal.SIGSTOP
                )  # so that the request is surely under way when the worker dies
                first = asyncio.create_task(pool.run(scene.program, requests[0], scene.a.file))
                while not pool.state().running:
                    await asyncio.sleep(0)
                second = asyncio.create_task(pool.run(scene.program, requests[1], scene.b.file))
                start = time.monotonic()
                if fatal != signal.SIGSTOP:
                    os.kill(worker, fatal)
                if fatal == signal.SIGSEGV:
                    os.kill(worker, signal.SIGCONT)
            with pytest.raises(WorkerLostError) as lost:
                await first
            assert time.monotonic() - start < SOON_S
            assert lost.value.retry_after_s is not None and lost.value.retry_after_s >= 1
            assert np.abs(scene.b.answer(await second) - in_clear(X[1:2])).max() < 1e-3
            again = scene.a.owner.encrypt(X[:1])
            assert scene.a.answer(await pool.run(scene.program, again, scene.a.file)).shape == (1, 3)
            state = pool.state()
            assert state.restarts == 1 and worker not in {w.process for w in state.workers}
            assert not Path(f"/proc/{worker}/root").exists() or is_gone(worker)

    run(story)


def is_gone(process: int) -> bool:
    """Whether a process ended: gone, or only its status is left to be read."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def children(process: int) -> list[int]:
    """Those below a process, without those that ended."""
    found: list[int] = []
    with contextlib.suppress(OSError):  # one that ended while it was looked at has nobody below it
        for child in map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()):
            found += [child, *children(child)]
    return [child for child in found if not is_gone(child)]


def test_what_forks_workers_may_die_too(scene: Scene) -> None:
    """The family and the root are killed: running workers work on, and new ones can be made."""

    async def story() -> None:
        async with serving(scene, workers=1) as pool:
            await pool.check_keys(scene.program, scene.a.file)
            worker = (await started(pool))[0]
            zygote = next(p for p in children(os.getpid()) if name_of(p) == "tacit-zygote")
            for process in [*[p for p in children(zygote) if p != worker], zygote]:
                os.kill(process, signal.SIGKILL)
            await pool.run(scene.program, scene.a.owner.encrypt(X[:1]), scene.a.file)
            os.kill(worker, signal.SIGKILL)
            await answered(pool, scene)
            assert pool.ready and (await started(pool))[0] != worker

    run(story)


async def answered(pool: Pool, scene: Scene) -> None:
    """A request of A is answered, also where the first tries meet a worker that is about to die."""
    while True:
        with contextlib.suppress(WorkerLostError):
            response = await pool.run(scene.program, scene.a.owner.encrypt(X[:1]), scene.a.file)
            assert scene.a.answer(response).shape == (1, 3)
            return


def name_of(process: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/comm").read_text().strip()
    return ""


def test_owners_spread_over_the_workers(scene: Scene) -> None:
    """Who comes when nothing else goes on is read by the worker with fewest keys, even if that has to be started."""

    async def story() -> None:
        async with serving(scene, workers=3) as pool:
            files = [
                KeyFile(bytes([number]) * 32, scene.a.file.sha256, scene.a.file.path) for number in range(6)
            ]
            for file in files:
                await pool.check_keys(scene.program, file)
            state = pool.state()
            assert [worker.keys for worker in state.workers] == [2, 2, 2] and state.key_count == 6
            for file in files:  # and each is answered where its keys are
                await pool.run(scene.program, scene.a.owner.encrypt(X[:1]), file)
            assert pool.state().key_count == 6

    run(story)


def test_memory_of_keys_is_bounded(scene: Scene) -> None:
    """Room for one owner's keys: two owners take turns and are both answered; half of one owner's is refused."""

    async def story() -> None:
        one = scene.provider.read_keys(scene.a.file.path.read_bytes()).memory_bytes
        async with serving(scene, key_memory_bytes=one) as pool:
            for _ in range(3):
                for client in (scene.a, scene.b):
                    response = await pool.run(scene.program, client.owner.encrypt(X[:1]), client.file)
                    assert client.answer(response).shape == (1, 3)
                    assert pool.state().key_bytes == one and pool.state().key_count == 1
            pool.forget_keys(scene.b.file)
            assert pool.state().key_bytes == 0
        async with serving(scene, key_memory_bytes=one // 2) as pool:
            with pytest.raises(MemoryLimitError) as refused:
                await pool.check_keys(scene.program, scene.a.file)
            assert refused.value.wanted_bytes == one

    run(story)


def test_limits_refuse_and_tell_when_to_come_back(scene: Scene) -> None:
    async def story() -> None:
        async with serving(scene, workers=1, queue_count=4, principal_count=2) as pool:
            await pool.check_keys(scene.program, scene.a.file)
            worker = (await started(pool))[0]

            def ask(principal: str) -> asyncio.Task[bytes]:
                request = scene.a.owner.encrypt(X[:1])
                return asyncio.create_task(
                    pool.run(scene.program, request, scene.a.file, principal=principal)
                )

            with unwatched(pool):
                os.kill(worker, signal.SIGSTOP)
                tasks = [ask(name) for name in ("alice", "alice", "bob", "bob")]
                await asyncio.sleep(0)
                with pytest.raises(RateLimitError) as limited:
                    await ask("alice")
                with pytest.raises(BusyError) as full:
                    await ask("carol")
            assert not isinstance(full.value, RateLimitError)
            assert limited.value.retry_after_s and full.value.retry_after_s
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert sum(isinstance(result, WorkerLostError) for result in results) == 1, "the one that ran"
            assert sum(isinstance(result, bytes) for result in results) == 3

    run(story)


def test_other_systems_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        monkeypatch.delattr(os, "pidfd_open")
        with pytest.raises(UsageError, match="need Linux"):
            await Pool().start()

    run(story)


@pytest.mark.parametrize("size", [100_000, 3_000_000])
def test_a_front_without_files_is_busy(scene: Scene, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """No descriptor is left in the front: the request is refused, and no worker is blamed for it."""

    def none_left(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def story() -> None:
        async with serving(scene, workers=1) as pool:
            await pool.check_keys(scene.program, scene.a.file)
            with monkeypatch.context() as without:
                without.setattr(os, "memfd_create", none_left)
                with pytest.raises(BusyError):
                    await pool.run(scene.program, bytes(size), scene.a.file)
            with pytest.raises(MalformedMessageError):
                await pool.run(scene.program, bytes(size), scene.a.file)
            assert pool.state().restarts == 0 and pool.state().queue_bytes == 0

    run(story)


def test_deadlines_drop_what_was_not_begun(scene: Scene) -> None:
    async def story() -> None:
        async with serving(scene, workers=1, grace_s=0.2) as pool:
            await pool.check_keys(scene.program, scene.a.file)
            worker = (await started(pool))[0]
            requests = [(client.owner.encrypt(X[:1]), client.file) for client in (scene.a, scene.b)]
            now = asyncio.get_running_loop().time()
            with unwatched(pool):
                os.kill(worker, signal.SIGSTOP)
                tasks = [
                    asyncio.create_task(pool.run(scene.program, request, file, deadline=now + 0.1))
                    for request, file in requests
                ]
                for task in tasks:
                    with pytest.raises(PeerTimeoutError):
                        await task
            assert asyncio.get_running_loop().time() - now < SOON_S
            await answered(pool, scene)
            with pytest.raises(PeerTimeoutError):
                await pool.run(scene.program, scene.a.owner.encrypt(X[:1]), scene.a.file, deadline=now)

    run(story)


def test_who_leaves_stops_the_work(scene: Scene, tmp_path: Path) -> None:
    """Work that nobody waits for stops at the next stage: the worker lives, keeps its keys, and is free.

    Where the worker was done before it was stopped, that is tried again: one that never heeds ends at the limit of the
    story.
    """
    data = samples(60, 16)
    provider = Provider(candidate_of(LONG, data, max_error=0.05).compile())
    client = Client.of(provider, tmp_path, "c")

    async def story() -> None:
        async with Pool(Limits(workers=1, grace_s=PATIENCE_S)) as pool:
            program = (await pool.offer("ckks", provider.to_bytes())).program_id
            await pool.check_keys(program, client.file)
            worker = (await started(pool))[0]
            kinds = told_kinds(pool)
            request = client.owner.encrypt(data[:4])
            while kinds != ["stopped"]:
                with unwatched(pool):
                    left = await under_way(pool.run, program, request, client.file, worker=worker)
                    kinds.clear()
                    left.cancel()
                    os.kill(worker, signal.SIGCONT)
                    with pytest.raises(asyncio.CancelledError):
                        await left
                while not kinds:
                    await asyncio.sleep(0.01)
            response = await pool.run(program, client.owner.encrypt(data[:1]), client.file)
            assert client.answer(response).shape == (1, 3)
            state = pool.state()
            assert kinds == ["stopped", "done"] and state.restarts == 0 and state.key_count == 1
            assert state.queue_bytes == 0

    run(story)


async def under_way(run: Callable[..., Any], *request: Any, worker: int) -> asyncio.Task[bytes]:
    """A request that a worker is in the middle of; the worker is stopped there."""
    while True:
        before = ticks_of(worker)
        task = asyncio.create_task(run(*request))
        while ticks_of(worker) < before + 2 and not task.done():
            await asyncio.sleep(0)
        os.kill(worker, signal.SIGSTOP)
        for _ in range(20):  # an answer that was on its way is here after that
            await asyncio.sleep(0)
        if not task.done():
            return task
        os.kill(worker, signal.SIGCONT)  # it was quicker than this process had its turn


def ticks_of(process: int) -> int:
    """Processor time of a process, in hundredths of a second."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def told_kinds(pool: Pool) -> list[str]:
    """The kinds of frames that workers answer with from now on."""
    kinds: list[str] = []
    crew = pool._crew
    answered = crew._answered

    def listen(member: Any, frame: Any) -> None:
        kinds.append(frame.kind)
        answered(member, frame)

    crew._answered = listen
    return kinds


def test_bad_bundles_hurt_nobody(scene: Scene) -> None:
    others = set(children(os.getpid()))  # of tests before: the language's resource tracker stays to the end

    async def story() -> None:
        async with serving(scene) as pool:
            for kind, body in (("ckks", scene.bundle[:-1]), ("clear", b"no model"), ("ckks", b"")):
                with pytest.raises(TacitError):
                    await pool.offer(kind, body)
            assert (await pool.offer("ckks", scene.bundle)).program_id == scene.program
            response = await pool.run(scene.program, scene.a.owner.encrypt(X[:1]), scene.a.file)
            assert scene.a.answer(response).shape == (1, 3)
            while (
                len(set(children(os.getpid())) - others) > 4
            ):  # a zygote, one family, its workers: the failed end
                await asyncio.sleep(0.02)

    run(story)


def test_a_reader_that_is_killed_is_an_error(scene: Scene) -> None:
    async def story() -> None:
        async with Pool() as pool:
            offer = asyncio.create_task(pool.offer("ckks", scene.bundle))
            while True:
                await asyncio.sleep(0)
                family = [p for p in children(os.getpid()) if name_of(p) == "tacit-family"]
                if family:
                    os.kill(family[0], signal.SIGKILL)
                    break
            with contextlib.suppress(ModelError):  # it may have been quick enough
                await offer
            assert (await pool.offer("ckks", scene.bundle)).program_id == scene.program

    run(story)


def test_a_program_that_is_retired_can_be_offered_again_at_once(scene: Scene) -> None:
    async def story() -> None:
        async with serving(scene) as pool:
            request = scene.a.owner.encrypt(X[:1])
            running = asyncio.create_task(pool.run(scene.program, request, scene.a.file))
            await asyncio.sleep(0)
            retiring = asyncio.create_task(pool.retire(scene.program))
            await asyncio.sleep(0)
            offered = await pool.offer("ckks", scene.bundle)
            assert retiring.done() and running.done()
            again = await pool.run(offered.program_id, scene.a.owner.encrypt(X[:1]), scene.a.file)
            assert scene.a.answer(again).shape == (1, 3)

    run(story)


def test_models_come_and_go(scene: Scene) -> None:
    async def story() -> None:
        async with serving(scene) as pool:
            graph = dense((8, 3), seed=5)
            provider = Provider(candidate_of(graph, X).compile())
            offered = await pool.offer("ckks", provider.to_bytes())
            request = scene.a.owner.encrypt(X[:1])
            with pytest.raises(PeerIncompatibleError):
                await pool.check_keys(offered.program_id, scene.a.file)
            # What is no key of this plan was not accepted, so the disk must have changed it.
            with pytest.raises(MissingKeyError, match="damaged"):
                await pool.run(offered.program_id, request, scene.a.file)
            running = asyncio.create_task(pool.run(scene.program, request, scene.a.file))
            await asyncio.sleep(0)
            await pool.retire(scene.program)
            assert scene.a.answer(await running).shape == (1, 3), "what was admitted is finished"
            with pytest.raises(NotServedError):
                await pool.run(scene.program, scene.a.owner.encrypt(X[:1]), scene.a.file)
            assert {w.program_id for w in pool.state().workers} == {offered.program_id}
            assert pool.state().key_bytes == 0
            await pool.offer("ckks", scene.bundle)
            again = scene.a.owner.encrypt(X[:1])
            assert scene.a.answer(await pool.run(scene.program, again, scene.a.file)).shape == (1, 3)

    run(story)


def test_draining_finishes_and_refuses(scene: Scene) -> None:
    async def story() -> None:
        async with serving(scene, workers=1) as pool:
            tasks = [
                asyncio.create_task(pool.run(scene.program, scene.a.owner.encrypt(X[:1]), scene.a.file))
                for _ in range(3)
            ]
            await asyncio.sleep(0)
            draining = asyncio.create_task(pool.drain(PATIENCE_S))
            await asyncio.sleep(0)
            assert not pool.ready
            with pytest.raises(BusyError):
                await pool.run(scene.program, scene.a.owner.encrypt(X[:1]), scene.a.file)
            assert await draining
            assert all(task.done() and isinstance(task.result(), bytes) for task in tasks)

    run(story)


def test_the_end_of_the_pool_is_an_answer(scene: Scene) -> None:
    others = set(children(os.getpid()))  # of tests before: the language's resource tracker stays to the end

    async def story() -> None:
        async with serving(scene, workers=1) as pool:
            await pool.check_keys(scene.program, scene.a.file)
            worker = (await started(pool))[0]
            with unwatched(pool):
                os.kill(worker, signal.SIGSTOP)
                tasks = [
                    asyncio.create_task(pool.run(scene.program, scene.a.owner.encrypt(X[:1]), scene.a.file))
                    for _ in range(3)
                ]
                await asyncio.sleep(0)
                assert not await pool.drain(0.05)
                await pool.close()
            for task in tasks:
                with pytest.raises(BusyError):
                    await task
        assert not [p for p in set(children(os.getpid())) - others if not is_gone(p)], "no process is left"

    run(story)


def test_clear_models(tmp_path: Path) -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.linear_model import LogisticRegression

    x = samples(60, 4).astype(np.float32)
    y = np.where(x[:, 0] > 0, "yes", "no")
    model = LogisticRegression().fit(x, y)
    onnx = skl2onnx.to_onnx(model, x[:1], options={"zipmap": False}).SerializeToString()

    async def story() -> None:
        async with Pool(Limits(workers=2)) as pool:
            offered = await pool.offer("clear", onnx)
            assert offered.inputs[0].shape == (None, 4) and offered.public_plan == b""
            by_dtype = {spec.dtype: spec.name for spec in offered.outputs}
            outputs = await pool.predict(offered.program_id, {offered.inputs[0].name: x[:5]})
            assert list(outputs[by_dtype["str"]].ravel()) == list(model.predict(x[:5]))
            difference = np.abs(outputs[by_dtype["float64"]] - model.predict_proba(x[:5])).max()
            assert difference < 1e-5
            with pytest.raises(ShapeError):
                await pool.predict(offered.program_id, {offered.inputs[0].name: x[:5, :3]})
            with pytest.raises(NotServedError):
                await pool.predict("0" * 64, {})

    run(story)


FRONT = """
import asyncio, sys
from pathlib import Path
from tacit.service.pool import Limits, Pool

async def main():
    async with Pool(Limits(workers=1)) as pool:
        await pool.offer("ckks", Path(sys.argv[1]).read_bytes())
        while not any(worker.process > 0 for worker in pool.state().workers):
            await asyncio.sleep(0.01)
        print(pool.state().workers[0].process, flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


def test_no_process_outlives_the_front(scene: Scene, tmp_path: Path) -> None:
    """The front is killed: everything that it started ends by itself."""
    (tmp_path / "bundle").write_bytes(scene.bundle)
    front = subprocess.Popen(
        [sys.executable, "-c", FRONT, str(tmp_path / "bundle")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert front.stdout is not None
        worker = int(front.stdout.readline())
        started = [worker, *children(front.pid)]
        assert len(started) >= 3
    finally:
        front.kill()
        front.wait()
        front.stdout.close() if front.stdout else None
    end = time.monotonic() + PATIENCE_S
    while not all(is_gone(process) for process in started):
        assert time.monotonic() < end, "a process outlived the front"
        time.sleep(0.02)
