"""The provider's role, made from a model: what a service holds. No secret key of an owner is ever here."""

from __future__ import annotations

import numpy.typing as npt

from tacit.backends.ckks.compiled import Compiled
from tacit.backends.ckks.owner import Owner
from tacit.backends.ckks.provider import Provider as CkksProvider
from tacit.errors import InvalidParameterError
from tacit.planner.plan import Plan
from tacit.roles.arguments import checked_check, checked_threads
from tacit.roles.compilation import CHECKED_SAMPLES, compile_model, load, tried

__all__ = ["Provider"]


class Provider(CkksProvider):
    """The provider's role on its own: a model, evaluation keys of any number of owners, and nothing that decrypts.

    ``plan``: the decision with its declaration, where this object was made from a model; ``None`` from a bundle.
    """

    def __init__(self, bundle: bytes | Compiled, *, threads: int = 1, plan: Plan | None = None) -> None:
        super().__init__(bundle, threads=threads)
        self.plan = plan

    @classmethod
    def from_model(
        cls,
        model: object,
        *,
        protection: str = "ckks",
        calibration: npt.ArrayLike | None = None,
        batch: int | None = 1,
        max_error: float | None = None,
        check: int = CHECKED_SAMPLES,
        memory_bytes: int | None = None,
        measured: bool = False,
        threads: int | None = None,
    ) -> Provider:
        """Compiles a model for owners elsewhere. Raises as ``protect`` does.

        ``check``: the plan is tried on so many of the calibration samples, under a key that is made for it and thrown
        away: no key of an owner is ever here. With 0 no secret key is made at all.
        """
        count, graph = checked_check(check), load(model)
        plan, compiled = compile_model(
            graph, protection, calibration, batch, max_error, threads, memory_bytes, measured
        )
        if not isinstance(compiled, Compiled):
            why = "nothing is protected" if compiled is None else "several parties compute"
            raise InvalidParameterError(f"`{protection}` has no provider of its own: {why}")
        provider = cls(compiled, threads=checked_threads(threads), plan=plan)
        if count:
            owner = Owner(provider.public_plan(), threads=checked_threads(threads))
            key_id = provider.load_keys(owner.evaluation_keys())
            provider.plan = tried(graph, plan, compiled, owner, provider, calibration, count)
            provider.forget_keys(key_id)
        return provider
