"""One chain and packing for one graph, priced and ready to be compiled."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from tacit.backends.base import Declaration
from tacit.backends.ckks.compiled import Compiled
from tacit.backends.ckks.flag import flag_noise
from tacit.backends.ckks.layout import ColumnLayout
from tacit.backends.ckks.levels import Chain, moduli
from tacit.backends.ckks.noise import NoiseModel
from tacit.backends.ckks.normal import Model
from tacit.backends.ckks.partition import Partition
from tacit.backends.ckks.program import Program
from tacit.backends.ckks.public import Flag, PublicPlan
from tacit.backends.ckks.region import Region
from tacit.backends.ckks.selection import Selection
from tacit.errors import PrecisionError
from tacit.ir.graph import Graph

__all__ = ["CkksCandidate", "flag_of"]

MAX_FLAG_NOISE = 0.5
"""Of a range flag, whose alarm is at 1 and which calibration samples keep below a quarter."""


@dataclass(frozen=True, eq=False)
class CkksCandidate:
    """One chain and packing for one graph. ``compile`` is cheap: everything was fixed by the search."""

    graph: Graph
    part: Partition
    region: Region
    model: Model | Selection
    chain: Chain
    program: Program
    declaration: Declaration
    slot_noise: float
    score_error: float
    batch: int
    margin: float = 0.0

    @property
    def layout(self) -> str:
        """``latency`` or ``throughput``."""
        return "throughput" if isinstance(self.program.input, ColumnLayout) else "latency"

    def compile(self, *, salt: bytes | None = None) -> Compiled:
        """The compiled model. ``salt``: 16 bytes, random by default, that hide the model in the plan's commitment."""
        salt = secrets.token_bytes(16) if salt is None else salt
        program, chain = self.program, self.chain
        public = PublicPlan(
            model=self.graph.name,
            commitment=hashlib.sha256(salt + self.graph.digest().encode()).hexdigest(),
            log_n=chain.log_n,
            log_q=chain.log_q,
            log_p=chain.log_p,
            log_scale=chain.log_scale,
            layout=self.layout,
            input=program.input,
            output=program.output,
            input_shape=self.part.input_shape,
            batch=self.batch,
            level=program.level,
            scale=program.scale,
            output_scale=program.output_scale,
            unit=self.model.unit,
            rotations=program.rotations(),
            relinearize=program.relinearize(),
            conjugate=program.conjugate(),
            region=self.region,
            low=self.model.low,
            high=self.model.high,
            slot_noise=self.slot_noise,
            score_error=self.score_error,
            error_bound=self.declaration.error_bound,
            tail=self.part.tail,
            doubt=self.slot_noise if isinstance(self.model, Selection) else None,
            margin=self.margin or None,
            flag=flag_of(program, chain),
            is_measured=self.declaration.details.get("promise") == "measured",
            sights=self.declaration.sights,
            assumptions=self.declaration.assumptions,
        )
        return Compiled(public, self.model, chain, salt, program.keeps_maps)


def flag_of(program: Program, chain: Chain) -> Flag | None:
    """What the owner must know of a program's range flag. Raises ``PrecisionError`` where noise would drown it."""
    stage = program.flag
    if stage is None:
        return None
    q, p = moduli(chain.log_n, chain.log_q, chain.log_p)
    model = NoiseModel(chain.log_n, tuple(map(float, q)), tuple(map(float, p)))
    noise = flag_noise(model, stage, program.scale)
    if noise > MAX_FLAG_NOISE:
        raise PrecisionError(f"the noise of the range flag may be {noise:.2g} of its limit")
    return Flag(stage.scale, 1.0 - noise, noise)
