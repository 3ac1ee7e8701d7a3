"""A compiled model in one file: its plans with their weights, and what they were chosen by. The provider's secret.

A server that has the file needs neither the model nor calibration data, and offers the same plans after every start.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from tacit.backends.ckks.compiled import Compiled
from tacit.backends.ckks.envelope import open_envelope, seal
from tacit.backends.ckks.owner import Owner
from tacit.backends.ckks.public import PublicPlan
from tacit.errors import InvalidParameterError, MalformedMessageError, NoAdmissiblePlanError, PlanError
from tacit.ir.graph import Graph
from tacit.planner.plan import Plan
from tacit.roles.arguments import checked_batch, checked_check, checked_threads
from tacit.roles.compilation import CHECKED_SAMPLES, compile_model, load, tried
from tacit.roles.machine import Progress
from tacit.roles.provider import Provider

__all__ = ["NAME_FORM", "THROUGHPUT_BATCH", "Offer", "Package", "compile_package", "model_name"]

THROUGHPUT_BATCH = 1000
"""Samples that a request of the second plan should carry where nobody says how many."""
MODEST_SECONDS = 30.0
MODEST_MEMORY_BYTES = 2 << 30
"""What the second plan may cost where nobody asked for it; else there is only the first."""

NAME_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One plan of a model. ``bundle``: plan and weights, secret; ``declared``: what was declared, as JSON has it."""

    plan_id: str
    public_plan: bytes
    bundle: bytes
    batch: int
    layout: str
    declared: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"<Offer of plan {self.plan_id[:12]}>"

    def row(self) -> dict[str, Any]:
        """What ``GET …/plans`` says of it: bytes of one request, seconds as predicted for the provider's machine."""
        declared = self.declared
        return {
            "plan_id": self.plan_id,
            "batch": self.batch,
            "layout": self.layout,
            "request_bytes": declared["bytes_up"],
            "response_bytes": declared["bytes_down"],
            "key_bytes": declared["key_bytes"],
            "seconds": declared["seconds"],
            "error_bound": declared["error_bound"],
            "checked_samples": declared.get("checked_samples", 0),
        }


@dataclass(frozen=True, kw_only=True)
class Package:
    """``offers``: plans for few samples first. ``refusals``: plans that were asked for and cannot be, and why."""

    model: str
    offers: tuple[Offer, ...]
    refusals: tuple[Mapping[str, Any], ...] = ()

    def __repr__(self) -> str:
        return f"<Package of {self.model!r}: {len(self.offers)} plans>"

    def to_bytes(self) -> bytes:
        """Plans and weights: the provider's secret."""
        return seal(
            "package",
            {
                "model": self.model,
                "offers": [
                    {"bundle": offer.bundle, "declared": json.dumps(offer.declared)} for offer in self.offers
                ],
                "refusals": json.dumps(list(self.refusals)),
            },
        )

    @staticmethod
    def from_bytes(data: bytes) -> Package:
        """Reads ``to_bytes``. Raises ``MalformedMessageError`` or ``PeerIncompatibleError``."""
        fields = open_envelope(data, "package")
        try:
            offers = tuple(
                _offer(found["bundle"], json.loads(found["declared"])) for found in fields["offers"]
            )
            refusals = tuple(dict(found) for found in json.loads(fields["refusals"]))
            if not isinstance(fields["model"], str) or not offers:
                raise ValueError
            return Package(model=fields["model"], offers=offers, refusals=refusals)
        except (KeyError, TypeError, ValueError, RecursionError):
            raise MalformedMessageError(
                "the package is not valid: a field is missing or of a wrong type",
                hint="make it again with `tacit compile`",
            ) from None


def compile_package(
    model: object,
    *,
    calibration: npt.ArrayLike | None,
    batches: Sequence[int] = (),
    max_error: float | None = None,
    check: int = CHECKED_SAMPLES,
    memory_bytes: int | None = None,
    measured: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Package:
    """Compiles a model under `ckks` for one or more numbers of samples per request.

    ``batches``: by default 1, and many where that costs little. Each plan is tried on ``check`` samples of the
    calibration data under a key that is thrown away. Raises as ``tacit.protect`` does where the first plan is refused.
    """
    report = progress or (lambda phase, done: None)
    graph = load(model)
    asked = [checked_batch(batch) for batch in batches] or [1, THROUGHPUT_BATCH]
    offers: list[Offer] = []
    refusals: list[Mapping[str, Any]] = []
    for number, batch in enumerate(dict.fromkeys(asked)):
        report(f"plan for {batch} samples", number / len(asked))
        try:
            offer = _compiled(
                graph,
                calibration,
                batch,
                modest=not batches and number > 0,
                max_error=max_error,
                check=checked_check(check),
                memory_bytes=memory_bytes,
                measured=measured,
                threads=threads,
            )
        except PlanError as error:
            if number == 0:
                raise
            refusals.append({"batch": batch, "reason": str(error), "hint": error.hint})
            continue
        if (offer.layout, offer.batch) not in [(other.layout, other.batch) for other in offers]:
            offers.append(offer)
    report("ready", 1.0)
    return Package(model=graph.name, offers=tuple(offers), refusals=tuple(refusals))


def model_name(path: Path) -> str:
    """The name under which a file is served: its own without the suffix. Raises ``InvalidParameterError``."""
    name = path.stem
    if not NAME_FORM.fullmatch(name):
        raise InvalidParameterError(
            f"`{path.name}` cannot be the name of a model",
            hint="use letters, digits, dots, dashes and underscores, at most 100",
        )
    return name


def _compiled(
    graph: Graph,
    calibration: npt.ArrayLike | None,
    batch: int,
    *,
    modest: bool,
    max_error: float | None,
    check: int,
    memory_bytes: int | None,
    measured: bool,
    threads: int | None,
) -> Offer:
    plan, compiled = compile_model(
        graph, "ckks", calibration, batch, max_error, threads, memory_bytes, measured
    )
    if not isinstance(compiled, Compiled):
        raise NoAdmissiblePlanError("`ckks` gave no compiled model")
    cost = plan.declaration.cost
    if modest and (cost.seconds > MODEST_SECONDS or cost.memory_bytes > MODEST_MEMORY_BYTES):
        raise NoAdmissiblePlanError(
            f"a request of {batch} samples would take {cost.seconds:.3g} s and {cost.memory_bytes} bytes",
            hint=f"`--batch 1 --batch {batch}` makes this plan nevertheless",
        )
    if check:
        provider = Provider(compiled, threads=checked_threads(threads), plan=plan)
        owner = Owner(provider.public_plan(), threads=checked_threads(threads))
        provider.load_keys(owner.evaluation_keys())
        plan = tried(graph, plan, compiled, owner, provider, calibration, check)
    return _offer(compiled.to_bytes(), _declared(plan))


def _declared(plan: Plan) -> dict[str, Any]:
    """The declaration in types that JSON knows, and nothing of the machine's folders."""
    found: dict[str, Any] = json.loads(json.dumps(plan.to_dict(), default=_plain))
    return found


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _offer(bundle: bytes, declared: Mapping[str, Any]) -> Offer:
    public_plan = bytes(open_envelope(bundle, "bundle")["plan"])
    public = PublicPlan.from_bytes(public_plan)
    offer = Offer(
        plan_id=public.plan_id,
        public_plan=public_plan,
        bundle=bundle,
        batch=public.batch,
        layout=public.layout,
        declared=declared,
    )
    numbers = [value for value in offer.row().values() if not isinstance(value, str)]
    if not all(isinstance(value, int | float) for value in numbers):
        raise MalformedMessageError("the package is not valid: a declared number is missing")
    return offer
