"""Uploads of evaluation keys: pieces go to the store as they come; a worker reads whole keys before they count."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tacit.errors import (
    BusyError,
    InvalidParameterError,
    MalformedMessageError,
    PeerIncompatibleError,
    PeerMisbehavedError,
    PlanError,
    TooLargeError,
)
from tacit.service.access import Principal
from tacit.service.pool import KeyFile

if TYPE_CHECKING:
    from tacit.service.endpoint import Endpoint
    from tacit.service.store import Upload

__all__ = ["Keys"]

WRITTEN_BYTES = 1 << 18
"""Bytes that are collected before they are written: neither a call per packet nor a piece in memory."""

REFUSALS = (MalformedMessageError, PeerIncompatibleError, PeerMisbehavedError, PlanError)
"""Errors that say that the keys themselves are of no use; after any other they may be sent on."""


class Keys:
    """What the key calls do. Every owner sees their own keys only; those of others look absent."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def state(self, principal: Principal, client: str | None, digest: str) -> Upload:
        """How much is there. Raises ``MissingKeyError``."""
        owner, _ = self._endpoint.owner(principal, client)
        return self._endpoint.store.state(owner, digest)

    async def remove(self, principal: Principal, client: str | None, digest: str) -> None:
        """Removes keys or a part of them. Raises ``MissingKeyError``."""
        owner, _ = self._endpoint.owner(principal, client)
        await asyncio.to_thread(self._endpoint.store.remove, owner, digest)
        self._endpoint.metrics.keys("removed")

    async def take(
        self,
        principal: Principal,
        client: str | None,
        digest: str,
        *,
        offset: int,
        length: int,
        model: str,
        plan: str,
        body: AsyncIterator[bytes],
    ) -> tuple[int, bool]:
        """Takes one piece; gives the new offset, and whether the keys are whole and fit the plan.

        Raises ``NotServedError`` for another plan, ``TooLargeError`` for more than its keys take, and what the store
        and the worker that reads the keys raise.
        """
        endpoint = self._endpoint
        if endpoint.is_draining:
            raise BusyError("the server is about to end", retry_after_s=1.0)
        owner, _ = endpoint.owner(principal, client)
        program = endpoint.program_of(model, plan)
        if length > endpoint.key_limit(model, plan):
            raise TooLargeError("the keys are larger than those of the plan can be")
        if not length > 0 or offset > length:
            raise InvalidParameterError("an upload has at least one byte, and no piece begins after its end")
        part = await asyncio.to_thread(
            endpoint.store.receive,
            owner,
            principal.account,
            digest,
            offset=offset,
            length=length,
            model=model,
            plan=plan,
        )
        try:
            async for block in _blocks(body):
                await asyncio.to_thread(part.write, block)
            reached = part.offset
        finally:
            # It waits for whoever writes or makes the files of this upload, which may be a while on a busy disk.
            await asyncio.to_thread(part.close)
        if reached < length:
            return reached, False
        with ExitStack() as stack:
            try:
                lease = await asyncio.to_thread(stack.enter_context, endpoint.store.verify(owner, digest))
                await self._check(program, principal, owner, digest, lease.path)
            except REFUSALS:
                endpoint.metrics.keys("refused")
                raise
            await asyncio.to_thread(endpoint.store.admit, lease)
        endpoint.metrics.keys("uploaded")
        return reached, True

    async def _check(self, program: str, principal: Principal, owner: str, digest: str, path: Path) -> None:
        endpoint = self._endpoint
        keys = KeyFile(owner=bytes.fromhex(owner), sha256=bytes.fromhex(digest), path=path)
        deadline = asyncio.get_running_loop().time() + endpoint.settings.request_s
        try:
            await endpoint.pool.check_keys(program, keys, principal=principal.account, deadline=deadline)
        except REFUSALS:
            await asyncio.to_thread(endpoint.store.remove, owner, digest)
            raise


async def _blocks(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in blocks of a size that is worth a call."""
    held: list[bytes] = []
    size = 0
    try:
        async for piece in body:
            held.append(piece)
            size += len(piece)
            if size >= WRITTEN_BYTES:
                yield b"".join(held)
                held, size = [], 0
    except GeneratorExit:
        raise
    except BaseException:
        # What came before a connection was cut is kept: the upload goes on from there.
        if held:
            yield b"".join(held)
        raise
    if held:
        yield b"".join(held)
