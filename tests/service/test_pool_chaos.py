"""Processes of the pool die at random under load: no wrong answer, no untyped error, nothing left over."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import hashlib
import os
import random
import signal
from pathlib import Path

import numpy as np

from tacit.backends.ckks.owner import Owner
from tacit.backends.ckks.provider import Provider
from tacit.errors import BusyError, PeerTimeoutError
from tacit.ir.interpret import interpret
from tacit.service.pool import KeyFile, Limits, Pool
from tests.backends.dense import dense, samples
from tests.backends.reference import candidate_of
from tests.patience import PATIENCE_S

HITS = 25
OWNERS = 4
GRAPH = dense((8, 6, 3))
X = samples(60, 8)
CLEAR = next(iter(interpret(GRAPH, X).values()))


def processes(pool: Pool, chance: random.Random) -> tuple[int, signal.Signals] | None:
    """Whom to hit next, and with what: mostly workers, now and then the processes that fork them."""
    dice = chance.random()
    if dice < 0.8:
        found = [worker.process for worker in pool.state().workers if worker.process > 0]
        fatal = chance.choice([signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV])
    else:
        crew = pool._crew
        found = [family.process.number for family in crew.families.values() if family.process is not None]
        found += [crew._zygote.process] if dice > 0.95 else []
        fatal = signal.SIGKILL
    return (chance.choice(found), fatal) if found else None


def test_any_process_may_die_at_any_time(tmp_path: Path) -> None:
    provider = Provider(candidate_of(GRAPH, X).compile())
    owners = []
    for number in range(OWNERS):
        owner = Owner(provider.public_plan())
        keys = owner.evaluation_keys()
        (tmp_path / str(number)).write_bytes(keys)
        file = KeyFile(bytes([number]) * 32, hashlib.sha256(keys).digest(), tmp_path / str(number))
        owners.append((owner, file))
    room = 3 * provider.read_keys((tmp_path / "0").read_bytes()).memory_bytes
    seen: collections.Counter[str] = collections.Counter()

    async def story() -> None:
        loop = asyncio.get_running_loop()
        async with Pool(Limits(workers=2, key_memory_bytes=room, grace_s=0.5)) as pool:
            program = (await pool.offer("ckks", provider.to_bytes())).program_id
            over = asyncio.Event()

            async def ask(number: int) -> None:
                (owner, file), chance = owners[number % OWNERS], random.Random(number)
                while not over.is_set():
                    row = chance.randrange(len(X))
                    request = owner.encrypt(X[row : row + 1])
                    work = pool.run(program, request, file, deadline=loop.time() + chance.choice([0.01, 5]))
                    try:
                        response = await asyncio.wait_for(work, 0.01 if chance.random() < 0.1 else 30)
                    except (BusyError, PeerTimeoutError) as error:
                        seen[error.code] += 1
                    except TimeoutError:
                        seen["left"] += 1
                    else:
                        assert np.abs(np.asarray(owner.decrypt(response)) - CLEAR[row : row + 1]).max() < 1e-3
                        seen["right"] += 1

            async def hit() -> None:
                chance = random.Random(1)
                while seen["hit"] < HITS:
                    await asyncio.sleep(0.4 * chance.random())
                    target = processes(pool, chance)
                    if target is not None:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(*target)
                            seen["hit"] += 1
                    assert pool.state().key_bytes <= room
                before = seen["right"]
                while (
                    seen["right"] == before
                ):  # what is left of the pool answers, however slow the machine is
                    await asyncio.sleep(0.02)
                over.set()

            await asyncio.gather(hit(), *(ask(number) for number in range(2 * OWNERS)))
            assert await pool.drain(PATIENCE_S)
            state = pool.state()
            assert (state.queued, state.queue_bytes, state.running) == (0, 0, 0)

    before = set(os.listdir("/proc/self/fd"))
    asyncio.run(asyncio.wait_for(story(), 300))
    print(dict(seen))
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1, "descriptors are left open"
