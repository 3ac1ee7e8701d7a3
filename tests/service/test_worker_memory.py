"""Memory of the worker processes: weights are shared, keys are bounded however many clients come, and nothing grows."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import hashlib
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from tacit.backends.ckks.owner import Owner
from tacit.backends.ckks.provider import Provider
from tacit.errors import BusyError
from tacit.service import worker as worker_module
from tacit.service.frames import Frame, pair, receive, send
from tacit.service.pool import KeyFile, Limits, Pool
from tacit.service.worker import Worker
from tests.backends.dense import dense, samples
from tests.backends.reference import candidate_of
from tests.patience import PATIENCE_S, until

MIB = 1 << 20


def memory(process: int) -> dict[str, int]:
    """Bytes by kind, as the kernel counts them: `Pss` shares a page among those who have it."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) << 10 for line in lines}


async def quiet(pool: Pool) -> int:
    """Bytes that the workers have for themselves alone, once they do nothing more: the same in two looks."""
    before, found = -1, 0
    while found != before:
        before = found
        await asyncio.sleep(0.5)  # longer than a worker waits until it tidies up
        found = sum(memory(worker.process)["Private_Dirty"] for worker in pool.state().workers)
    return found


def family_of(worker: int) -> int:
    stat = Path(f"/proc/{worker}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


@pytest.fixture(scope="module")
def wide() -> Provider:
    """A model whose encoded weights take some 60 MB."""
    return Provider(candidate_of(dense((2048, 512, 4)), samples(60, 2048)).compile())


@pytest.fixture(scope="module")
def small() -> Provider:
    return Provider(candidate_of(dense((8, 6, 3)), samples(60, 8)).compile())


def file_of(keys: bytes, folder: Path, number: int = 0) -> KeyFile:
    path = folder / "keys"
    path.write_bytes(keys)
    return KeyFile(number.to_bytes(32, "big"), hashlib.sha256(keys).digest(), path)


def test_workers_share_the_encoded_weights(wide: Provider, tmp_path: Path) -> None:
    x = samples(1, 2048)
    owner = Owner(wide.public_plan())
    keys = owner.evaluation_keys()

    async def story() -> None:
        async with Pool(Limits(workers=2)) as pool:
            offered = await pool.offer("ckks", wide.to_bytes())
            files = [file_of(keys, tmp_path, number) for number in range(2)]
            while len(pool.state().workers) < 2 or min(w.keys for w in pool.state().workers) < 1:
                requests = [pool.run(offered.program_id, owner.encrypt(x), file) for file in files]
                await asyncio.gather(*requests)
            while min(worker.process for worker in pool.state().workers) < 0:
                await asyncio.sleep(0.02)
            workers = [worker.process for worker in pool.state().workers]
            family = family_of(workers[0])
            zygote = family_of(family)
            encoded = memory(family)["Rss"] - memory(zygote)["Rss"]
            assert encoded > 40 * MIB
            assert family_of(workers[1]) == family
            for worker in workers:
                found = memory(worker)
                print({kind: size // MIB for kind, size in found.items()}, encoded // MIB)
                held = sum(w.keys for w in pool.state().workers if w.process == worker)
                assert found["Private_Dirty"] < held * offered.key_memory_bytes + encoded
                assert found["Rss"] - found["Pss"] > encoded / 2

    asyncio.run(asyncio.wait_for(story(), 300))


def test_five_hundred_clients_stay_within_the_memory(small: Provider, tmp_path: Path) -> None:
    """Each with keys of its own: what workers hold never passes the limit, and neither does what the kernel counts."""
    owner = Owner(small.public_plan())
    keys = owner.evaluation_keys()
    one = small.read_keys(keys).memory_bytes
    limit = 20 * one

    async def story() -> None:
        limits = Limits(workers=2, key_memory_bytes=limit, queue_count=1000, principal_count=1000)
        async with Pool(limits) as pool:
            offered = await pool.offer("ckks", small.to_bytes())
            files = [file_of(keys, tmp_path, number) for number in range(500)]

            async def come(file: KeyFile) -> None:
                await pool.check_keys(offered.program_id, file)
                assert pool.state().key_bytes <= limit

            await asyncio.gather(*[come(file) for file in files[:100]])
            while len(pool.state().workers) < 2 or min(w.process for w in pool.state().workers) < 0:
                await asyncio.sleep(0.02)
            before = await quiet(pool)
            for start in range(100, 500, 100):
                await asyncio.gather(*[come(file) for file in files[start : start + 100]])
            state = pool.state()
            after = await quiet(pool)
            assert state.key_bytes == limit and state.key_count == 20 and state.restarts == 0
            assert sum(worker.keys for worker in state.workers) == 20
            # Four hundred came and went. What an allocator keeps for later is its affair, but not a quarter of that.
            assert after - before < 100 * one, (before, after, one)
            owner_is_served = await pool.run(offered.program_id, owner.encrypt(samples(1, 8)), files[0])
            assert np.asarray(owner.decrypt(owner_is_served)).shape == (1, 3)

    asyncio.run(asyncio.wait_for(story(), 300))


def test_a_worker_does_not_grow(small: Provider, tmp_path: Path) -> None:
    owner = Owner(small.public_plan())
    keys = owner.evaluation_keys()

    async def story() -> None:
        async with Pool(Limits(workers=1)) as pool:
            offered = await pool.offer("ckks", small.to_bytes())
            file, request = file_of(keys, tmp_path), owner.encrypt(samples(1, 8))
            descriptors = []
            sizes = []
            for _ in range(3):
                for _ in range(100):
                    await pool.run(offered.program_id, request, file)
                worker = pool.state().workers[0].process
                sizes.append(memory(worker)["Rss"])
                descriptors.append((len(os.listdir(f"/proc/{worker}/fd")), len(os.listdir("/proc/self/fd"))))
            # Two hundred requests came and went: one in ten would be seen, whatever the allocator keeps for later.
            assert sizes[2] - sizes[0] < 20 * len(request), (sizes, len(request))
            # A worker may still be closing the file of its last answer when that has arrived.
            assert all(abs(a - b) <= 1 for a, b in zip(descriptors[0], descriptors[2], strict=True))

    asyncio.run(asyncio.wait_for(story(), 300))


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="the C library is not glibc, and keeps what is freed",
)
def test_memory_of_forgotten_keys_is_given_back(small: Provider, tmp_path: Path) -> None:
    """What is dropped because others need the room is not kept for later."""
    keys = Owner(small.public_plan()).evaluation_keys()
    count = 40

    async def story() -> None:
        async with Pool(Limits(workers=1)) as pool:
            offered = await pool.offer("ckks", small.to_bytes())
            files = [file_of(keys, tmp_path, number) for number in range(count + 1)]
            await pool.check_keys(offered.program_id, files[-1])
            worker = pool.state().workers[0].process
            before = memory(worker)["Private_Dirty"]
            for file in files[:count]:
                await pool.check_keys(offered.program_id, file)
            held = memory(worker)["Private_Dirty"] - before
            assert held > 0.5 * count * offered.key_memory_bytes
            for file in files[:count]:
                pool.forget_keys(file)
            await asyncio.to_thread(until, lambda: memory(worker)["Private_Dirty"] - before < held / 4)
            assert [(found.process, found.keys) for found in pool.state().workers] == [(worker, 1)]

    asyncio.run(asyncio.wait_for(story(), 300))


def test_memory_of_keys_that_a_request_dropped_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that make room for others of the same worker go with the request that needs it, in no frame of their own."""

    class Ended(BaseException):
        pass

    def end(status: int) -> None:
        raise Ended

    returned = threading.Event()
    monkeypatch.setattr(worker_module, "return_free_pages", returned.set)
    monkeypatch.setattr(worker_module, "os", SimpleNamespace(_exit=end))
    front, back = pair()
    worker = Worker(back, cast(Any, SimpleNamespace(predict=lambda arrays: {})))
    worker.keys = {name: cast(Any, object()) for name in (b"a", b"b", b"c")}

    def serve() -> None:
        with contextlib.suppress(Ended):
            worker.serve()

    def ask(*drop: bytes) -> None:
        send(front, Frame("predict", {"ticket": 0, "drop": list(drop), "arrays": []}))
        reply = receive(front)
        assert reply is not None and reply.kind == "done", reply

    thread = threading.Thread(target=serve, daemon=True)
    with front, back:
        thread.start()
        ask(b"d")
        assert not worker._has_forgotten and not returned.is_set()  # nothing went
        ask(b"b", b"d")
        assert set(worker.keys) == {b"a", b"c"}
        assert returned.wait(PATIENCE_S)
        front.close()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_a_worker_that_wants_too_much_is_told_no(wide: Provider, tmp_path: Path) -> None:
    """Its memory limit is less than one owner's keys: a typed error, whether it was told no or ended by it."""
    keys = Owner(wide.public_plan()).evaluation_keys()

    async def story() -> None:
        async with Pool(Limits(workers=1, worker_bytes=16 * MIB)) as pool:
            offered = await pool.offer("ckks", wide.to_bytes())
            for _ in range(2):
                with pytest.raises(BusyError):
                    await pool.check_keys(offered.program_id, file_of(keys, tmp_path))
            assert pool.ready

    asyncio.run(asyncio.wait_for(story(), 300))
