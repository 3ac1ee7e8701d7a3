"""Plans for providers with little memory: weights stay cleartext and are encoded for every request."""

from __future__ import annotations

from dataclasses import replace

from tacit.backends.base import Declaration
from tacit.backends.ckks.costs import predict
from tacit.backends.ckks.levels import Chain, moduli
from tacit.backends.ckks.machine import Machine
from tacit.backends.ckks.program import Program

__all__ = ["without_maps"]


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
