"""What `mpc` declares of a run before it begins: who sees what, what is assumed, and what it takes where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tacit.backends.base import Sight
from tacit.backends.mpc.machine import Amounts, Machine
from tacit.backends.mpc.network import NETWORKS
from tacit.backends.mpc.program import Program

__all__ = ["SIGHTS", "VARIANTS", "assumptions_of", "parameters_of", "prices_in_words"]

VARIANTS: Mapping[str, str] = {
    "replicated3": "replicated3: three parties, honest majority",
    "dealer2": "dealer2: two parties, and a dealer that deals randomness to them",
}
"""How values are shared. The dealer is a party that must be named: it is never chosen for anybody."""

PARTIES: Mapping[str, tuple[str, ...]] = {
    "replicated3": ("party-0", "party-1", "party-2"),
    "dealer2": ("party-0", "party-1", "dealer"),
}

SIGHTS = (
    Sight("inputs", ("owner",)),
    Sight("model weights", ("provider",)),
    Sight("model structure", ("owner", "provider", "parties")),
    Sight("outputs", ("owner",)),
    Sight("calibrated region", ("owner", "provider", "parties"), "the ends of the features are in the plan"),
)

_TRUST: Mapping[str, tuple[str, ...]] = {
    "replicated3": (
        "honest majority: no two of the three parties put together what they hold; any two that do have inputs, "
        "weights and answers",
    ),
    "dealer2": (
        "the two computing parties do not put together what they hold, and the dealer does so with neither: any two of "
        "the three have inputs, weights and answers",
        "the dealer deals as the protocol says; it holds no input and gets no message; a false deal falsifies answers",
    ),
}
_ALL = (
    "every party is semi-honest: it follows the protocol; one that does not may falsify answers unnoticed and, by what "
    "becomes of them, learn about values",
    "AES-128 is a pseudorandom function: to one party shares are as good as random",
    "public to all parties: structure and sizes of the model, numbers of samples, widths of what is compared and cut, "
    "and when each step runs; none of it depends on a value",
    "when a party stops, the run ends without an answer and the others name the party; nothing has been opened by then",
    "parties meet over TLS 1.3 with pinned certificates, and each keeps its key to itself",
    "who may ask often enough learns of the weights what answers tell",
)


def assumptions_of(variant: str, program: Program) -> tuple[str, ...]:
    """What must hold for the declaration to be true."""
    region = "samples outside the calibrated region are refused before they are shared; "
    if program.saturations:
        nodes = ", ".join(dict.fromkeys(f"`{each.node}`" for each in program.saturations))
        region += f"hidden values at {nodes} saturate at what calibration data showed, and nobody sees whether one did"
    else:
        region += "inside it no hidden value saturates or wraps around"
    margin = program.comparison_margin
    compared = (
        f"the error bound is of samples whose compared numbers are farther than {margin:.2g} from their thresholds",
    )
    return (*_TRUST[variant], *_ALL, region, *(compared if margin else ()))


def parameters_of(program: Program) -> str:
    return f"ring of 2^64, {program.frac_bits} fractional bits; opens {len(program.outputs)} values"


def prices_in_words(variant: str, amounts: Amounts, bits: Sequence[int], machine: Machine) -> dict[str, Any]:
    """What only parties take, for `explain`."""
    return {
        "rounds": int(amounts.rounds),
        "bytes_by_party": dict(zip(PARTIES[variant], (-(-each // 8) for each in bits), strict=True)),
        "seconds_by_network": {n.name: machine.seconds(variant, amounts, n) for n in NETWORKS},
    }
