"""Memory of providers: plans that take little, with weights encoded for every request, and what is freed given back."""

from __future__ import annotations

import ctypes
from dataclasses import replace

from tacit._native import release_pool
from tacit.backends.base import Declaration
from tacit.backends.ckks.costs import predict
from tacit.backends.ckks.levels import Chain, moduli
from tacit.backends.ckks.machine import Machine
from tacit.backends.ckks.program import Program

__all__ = ["return_free_pages", "return_freed_memory", "without_maps"]

_M_MMAP_THRESHOLD = -3
"""Of glibc's malloc.h."""
_LARGE_BYTES = 1 << 18


def without_maps(
    program: Program, chain: Chain, declaration: Declaration, batch: int, threads: int, machine: Machine
) -> tuple[Program, Declaration]:
    """The same program with maps that are encoded when they are needed and dropped, and what it costs then.

    An encoded diagonal takes up to 2·(level + 1 + special primes) times the bytes of its cleartext.
    """
    leaner = replace(program, keeps_maps=False)
    q, _ = moduli(chain.log_n, chain.log_q, chain.log_p)
    return leaner, replace(
        declaration,
        cost=predict(leaner, chain, q, batch=batch, threads=threads, machine=machine),
        variant=f"{declaration.variant}, weights encoded for every request",
        details={**declaration.details, "keeps_maps": False},
    )


def return_freed_memory() -> bool:
    """Makes this process give large blocks back to the operating system when they are freed; whether it can.

    For processes that do nothing but provide. The allocator of glibc learns to keep blocks of up to 32 MiB in its heap,
    where those of another size do not fit: a third more memory for batches of forests. A fixed threshold ends that
    (mallopt(3), ``M_MMAP_THRESHOLD``). It holds for the whole process, so no library should set it for its callers.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES))
    except (AttributeError, OSError, TypeError):
        return False


def return_free_pages() -> bool:
    """Gives memory in which nothing lives back to the operating system, once and now; whether there was any.

    What an owner's keys took stays with the process when they are dropped: the core keeps up to 256 MiB of buffers for
    their next use (``release_pool``), and the allocator of glibc the pages of what is freed (malloc_trim(3)). Takes
    some ten milliseconds for a gigabyte, and the next request as long as it takes to fetch fresh pages.
    """
    freed = release_pool()
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0)) or freed > 0
    except (AttributeError, OSError, TypeError):
        return freed > 0
