"""Workers that are still being forked: a slow fork is waited for, and what forks nothing any more is replaced."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import Any

import numpy as np
import pytest

from tacit.errors import WorkerLostError
from tacit.service import crew
from tacit.service.pool import Pool
from tacit.service.processes import Family, Member, Process
from tests.patience import SOON_S
from tests.service.test_pool import Scene, X, answered, in_clear, run, scene, serving, started, unwatched

__all__ = ["scene"]


@pytest.fixture(autouse=True)
def forks_take_their_time() -> None:
    """Not here: these are the pool's own limits."""


def family_of(pool: Pool) -> Family:
    (family,) = pool._crew.families.values()
    return family


async def told(family: Family) -> Process:
    """The process that forks workers, once the pool was told of it."""
    while family.process is None:
        await asyncio.sleep(0.01)
    return family.process


async def without_worker(pool: Pool) -> None:
    """The only worker is gone, and another one may be forked."""
    (worker,) = await started(pool)
    os.kill(worker, signal.SIGKILL)
    while pool.state().workers:
        await asyncio.sleep(0.01)
    family = family_of(pool)
    while asyncio.get_running_loop().time() < family.not_before_s:
        await asyncio.sleep(0.01)


def unborn(pool: Pool) -> Member:
    """The worker that has work and is not there."""
    (member,) = pool._crew.members
    assert member.process is None and len(member.flying) == 1
    return member


def test_a_slow_fork_is_waited_for(scene: Scene) -> None:
    """Ten seconds by the pool's clock: on a starved machine that is no fault, and the request is answered."""

    async def story() -> None:
        async with serving(scene, workers=1) as pool:
            parent = await told(family_of(pool))
            await without_worker(pool)
            with unwatched(pool):
                os.kill(parent.number, signal.SIGSTOP)
                asked = asyncio.create_task(
                    pool.run(scene.program, scene.a.owner.encrypt(X[:1]), scene.a.file)
                )
                while not pool.state().running:
                    await asyncio.sleep(0)
                member = unborn(pool)
                member.born_s = member.since_s = member.since_s - 10.0
                # As one that is slow looks, and not one that somebody stopped.
                parent.is_stopped = lambda: False  # type: ignore[method-assign]
                type(pool._crew).look_after(pool._crew, lambda _: False)
                assert unborn(pool) is member
                os.kill(parent.number, signal.SIGCONT)
            assert np.abs(scene.a.answer(await asked) - in_clear(X[:1])).max() < 1e-3
            assert pool.state().restarts == 1, "the worker that was killed"

    run(story)


def test_what_never_forks_is_replaced(scene: Scene) -> None:
    """It neither ended nor was it stopped: its request is given up after a while, and the next one is answered."""

    async def story() -> None:
        async with serving(scene, workers=1) as pool:
            parent = await told(family_of(pool))
            await without_worker(pool)
            with unwatched(pool):
                os.kill(parent.number, signal.SIGSTOP)
                asked = asyncio.create_task(
                    pool.run(scene.program, scene.a.owner.encrypt(X[:1]), scene.a.file)
                )
                while not pool.state().running:
                    await asyncio.sleep(0)
                member = unborn(pool)
                member.born_s = member.since_s = member.since_s - crew.FORK_S - 1.0
                parent.is_stopped = lambda: False  # type: ignore[method-assign]
                type(pool._crew).look_after(pool._crew, lambda _: False)
                with pytest.raises(WorkerLostError):
                    await asked
            await answered(pool, scene)

    run(story)


@pytest.mark.parametrize("fatal", [signal.SIGKILL, signal.SIGSTOP])
def test_work_for_a_worker_that_is_never_forked_is_refused_soon(scene: Scene, fatal: signal.Signals) -> None:
    """Whatever a fork may take: one that is dead or stopped forks nothing, and that is seen."""

    async def story() -> None:
        async with serving(scene, workers=1) as pool:
            parent = await told(family_of(pool))
            await without_worker(pool)
            with unwatched(pool):
                os.kill(parent.number, signal.SIGSTOP)
                asked = asyncio.create_task(
                    pool.run(scene.program, scene.a.owner.encrypt(X[:1]), scene.a.file)
                )
                while not pool.state().running:
                    await asyncio.sleep(0)
                unborn(pool)
            os.kill(parent.number, fatal)
            start = asyncio.get_running_loop().time()
            with pytest.raises(WorkerLostError):
                await asked
            assert asyncio.get_running_loop().time() - start < SOON_S < crew.FORK_S
            await answered(pool, scene)

    run(story)


def test_a_program_that_is_read_again_gets_no_work(scene: Scene) -> None:
    """However long that takes: requests wait, and what reads the program is not taken for something that hangs."""
    held: list[tuple[Family, socket.socket, dict[str, Any]]] = []

    def hold(family: Family, end: socket.socket, **fields: Any) -> None:
        held.append((family, end.dup(), fields))

    async def story() -> None:
        async with serving(scene, workers=1) as pool:
            parent = await told(family_of(pool))
            zygote = pool._crew._zygote
            zygote.load = hold  # type: ignore[method-assign]
            await without_worker(pool)
            os.kill(parent.number, signal.SIGKILL)
            while not held:
                await asyncio.sleep(0.01)
            asked = asyncio.create_task(pool.run(scene.program, scene.a.owner.encrypt(X[:1]), scene.a.file))
            await asyncio.sleep(0)
            pool._pump()
            state = pool.state()
            assert (state.queued, state.running, state.workers) == (1, 0, ())
            del zygote.load  # type: ignore[method-assign]
            again, end, fields = held[0]
            with end:
                zygote.load(again, end, **fields)
            assert np.abs(scene.a.answer(await asked) - in_clear(X[:1])).max() < 1e-3
            assert pool.state().restarts == 1, "the worker that was killed"

    run(story)
