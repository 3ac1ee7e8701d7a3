"""A hospital has patients, a company has a model: every new patient is predicted, and nobody shows what is
theirs.

The company is `tacit serve` in a process of its own; this process is the hospital, which has its address and
nothing else of it. Between them goes HTTPS. To check the promise afterwards, this process also fits the
company's model and asks scikit-learn, in the clear.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tacit
from tacit.errors import PeerError
from tacit.stories.company import Company
from tacit.stories.ward import MODELS, Ward, admit, fit

__all__ = ["Part", "Story", "tell"]

ONE, ALL = "one patient", "all patients"
SINGLE_REQUESTS = 20

Progress = Callable[[str, float], None]
"""Called with what is being done and the part of the story that is behind, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One model under one plan. Seconds are medians over the requests; bytes are of one request.

    ``seconds_provider``: from the first byte that leaves to the last that comes, HTTPS and all.
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
        """Time at the provider and on the way."""
        return self.seconds_provider * self.requests / self.patients


@dataclass(frozen=True, kw_only=True)
class Story:
    """What happened. ``provider``: what the other process says that it received, over all owners."""

    parts: tuple[Part, ...]
    known_patients: int
    new_patients: int
    assumptions: tuple[str, ...]
    url: str
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
    """Run the story. Raises PeerError when the company's server fails, and what `tacit.Remote` raises."""
    report = progress or (lambda what, part: None)
    ward = admit()
    parts: list[Part] = []
    assumptions: dict[str, None] = {}
    steps = 3 * len(models) + 1
    with tempfile.TemporaryDirectory(prefix="tacit-hospital-") as place:
        company_folder, keys = Path(place) / "company", Path(place) / "hospital" / "keys"
        company_folder.mkdir()
        report("the company compiles its models and serves them", 0.0)
        with Company(company_folder, models=models) as company:
            try:
                for number, model in enumerate(models):
                    report(f"{model}: fitting in the clear, to compare", (3 * number + 1) / steps)
                    clear = fit(model, ward)
                    with tacit.connect(
                        company.url, model=model, ca=company.authority, keyring=keys
                    ) as remote:
                        for half, what in enumerate((ONE, ALL)):
                            report(f"{model}: {what}, encrypted", (3 * number + 2 + half) / steps)
                            parts.append(predict(remote, ward, clear, model=model, what=what))
                            plan = remote.public_plan(1 if what == ONE else len(ward.new))
                            assumptions |= dict.fromkeys(plan.assumptions)
                        load = remote.load()
            except PeerError as error:
                raise company.check(error) from error
            return Story(
                parts=tuple(parts),
                known_patients=len(ward.known),
                new_patients=len(ward.new),
                assumptions=tuple(assumptions),
                url=company.url,
                process=company.process.pid,
                provider={"requests": load["requests"], "keys": load["keys"]},
                bytes_up=sum(part.requests * part.bytes_up + part.bytes_keys for part in parts),
                bytes_down=sum(part.requests * part.bytes_down for part in parts),
            )


def predict(remote: tacit.Remote, ward: Ward, clear: Any, *, model: str, what: str) -> Part:
    """Predict new patients: one at a time, or all in as few requests as the company's plan allows."""
    patients = ward.new[:SINGLE_REQUESTS] if what == ONE else ward.new
    plan = remote.public_plan(1 if what == ONE else len(patients))
    start = time.perf_counter()
    remote.prepare(1 if what == ONE else len(patients))
    seconds_keys = time.perf_counter() - start
    answers = [
        remote.predict(chunk) for chunk in (np.split(patients, len(patients)) if what == ONE else [patients])
    ]
    # A prediction of all patients may take several requests: its report has their sums.
    each = [-(-len(answer) // plan.batch) for answer in answers]
    spent = [
        [answer.report.seconds[phase] / count for phase in ("encrypt", "server", "decrypt")]
        for answer, count in zip(answers, each, strict=True)
    ]
    sizes = [
        [answer.report.bytes_up / count, answer.report.bytes_down / count]
        for answer, count in zip(answers, each, strict=True)
    ]
    encrypt, run, decrypt = np.median(spent, axis=0)
    up, down = np.median(sizes, axis=0)
    labels = np.concatenate([np.asarray(answer.labels) for answer in answers])
    values = np.concatenate([np.asarray(answer) for answer in answers])
    return Part(
        model=model,
        what=what,
        patients=len(patients),
        requests=sum(each),
        labels_differ=int(np.sum(labels != clear.predict(patients))),
        largest_error=float(np.max(np.abs(values - clear.predict_proba(patients)))),
        error_bound=float(plan.error_bound),
        seconds_keys=seconds_keys,
        seconds_encrypt=float(encrypt),
        seconds_provider=float(run),
        seconds_decrypt=float(decrypt),
        bytes_up=int(up),
        bytes_down=int(down),
        bytes_keys=answers[0].report.key_bytes,
        plan_id=str(plan.plan_id),
    )
