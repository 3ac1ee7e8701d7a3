"""A hospital has patients, a company has a model: every new patient is predicted, and nobody shows what is theirs.

The company is a process of its own (`provider_process`); this process is the hospital and gets its public plan only.
To check the promise afterwards, this process also fits the company's model and asks scikit-learn, in the clear.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import tacit
from tacit.stories.remote import Remote
from tacit.stories.ward import MODELS, Ward, admit, fit

__all__ = ["Part", "Story", "tell"]

ONE, ALL = "one patient", "all patients"
SINGLE_REQUESTS = 20

Progress = Callable[[str, float], None]
"""Called with what is being done and the part of the story that is behind, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One model under one plan. Seconds are medians over the requests; bytes are of one request.

    ``labels_differ`` counts patients whose label is not the one that scikit-learn gives in the clear.
    ``largest_error`` is over all probabilities of all patients; ``error_bound`` was promised before.
    """

    model: str
    what: str
    patients: int
    requests: int
    labels_differ: int
    largest_error: float
    error_bound: float
    seconds_keys: float
    seconds_encrypt: float
    seconds_provider: float
    seconds_decrypt: float
    bytes_up: int
    bytes_down: int
    bytes_keys: int
    plan_id: str

    @property
    def kept(self) -> bool:
        """Whether every label is the one of the clear model and the promised bound holds."""
        return self.labels_differ == 0 and self.largest_error <= self.error_bound

    @property
    def seconds_per_patient(self) -> float:
        """Time at the provider."""
        return self.seconds_provider * self.requests / self.patients


@dataclass(frozen=True, kw_only=True)
class Story:
    """What happened. ``provider``: what the other process says that it received, by kind of message."""

    parts: tuple[Part, ...]
    known_patients: int
    new_patients: int
    assumptions: tuple[str, ...]
    process: int
    provider: dict[str, Any]
    bytes_up: int
    bytes_down: int

    @property
    def kept(self) -> bool:
        return all(part.kept for part in self.parts)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        parts = [asdict(part) | {"kept": part.kept} for part in self.parts]
        return asdict(self) | {"kept": self.kept, "parts": parts}


def tell(*, models: tuple[str, ...] = tuple(MODELS), progress: Progress | None = None) -> Story:
    """Run the story. Raises PeerError when the provider's process fails, and what `Owner` raises."""
    report = progress or (lambda what, part: None)
    ward = admit()
    parts: list[Part] = []
    assumptions: dict[str, None] = {}
    with Remote() as remote:
        for number, model in enumerate(models):
            report(f"{model}: fitting in the clear, to compare", number / len(models))
            clear = fit(model, ward)
            for half, what in enumerate((ONE, ALL)):
                report(f"{model}: {what}, encrypted", (number + half / 2) / len(models))
                part, assumed = predict(remote, ward, clear, model=model, what=what, service=len(parts))
                parts.append(part)
                assumptions |= dict.fromkeys(assumed)
        ledger = remote.ledger()
        return Story(
            parts=tuple(parts),
            known_patients=len(ward.known),
            new_patients=len(ward.new),
            assumptions=tuple(assumptions),
            process=remote.process.pid,
            provider=ledger,
            bytes_up=remote.bytes_up,
            bytes_down=remote.bytes_down,
        )


def predict(
    remote: Remote, ward: Ward, clear: Any, *, model: str, what: str, service: int
) -> tuple[Part, tuple[str, ...]]:
    """Predict new patients under one plan: one per request, or all in as few requests as the plan allows."""
    patients = ward.new[:SINGLE_REQUESTS] if what == ONE else ward.new
    owner = tacit.Owner(remote.offer(service, model=model, batch=1 if what == ONE else len(patients)))
    start = time.perf_counter()
    keys = owner.evaluation_keys()
    seconds_keys = time.perf_counter() - start
    remote.load_keys(service, keys)

    spent: list[tuple[float, float, float]] = []
    sizes: list[tuple[int, int]] = []
    values: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for chunk in np.split(patients, len(patients)) if what == ONE else owner.batches(patients):
        t0 = time.perf_counter()
        request = owner.encrypt(chunk)
        t1 = time.perf_counter()
        response = remote.run(service, request)
        t2 = time.perf_counter()
        answer = owner.decrypt(response)
        spent.append((t1 - t0, t2 - t1, time.perf_counter() - t2))
        sizes.append((len(request), len(response)))
        values.append(np.asarray(answer))
        labels.append(np.asarray(answer.labels))

    encrypt, run, decrypt = np.median(spent, axis=0)
    up, down = np.median(sizes, axis=0)
    return Part(
        model=model,
        what=what,
        patients=len(patients),
        requests=len(spent),
        labels_differ=int(np.sum(np.concatenate(labels) != clear.predict(patients))),
        largest_error=float(np.max(np.abs(np.concatenate(values) - clear.predict_proba(patients)))),
        error_bound=float(owner.plan.error_bound),
        seconds_keys=seconds_keys,
        seconds_encrypt=float(encrypt),
        seconds_provider=float(run),
        seconds_decrypt=float(decrypt),
        bytes_up=int(up),
        bytes_down=int(down),
        bytes_keys=len(keys),
        plan_id=str(owner.plan.plan_id),
    ), tuple(owner.plan.assumptions)
