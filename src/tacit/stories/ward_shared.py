"""The hospital story under `mpc`: the same patients and models, shared among three parties of this machine."""

from __future__ import annotations

import numpy as np

import tacit
from tacit.stories.shared import Part, Progress, Story, ask
from tacit.stories.ward import MODELS, admit, fit

__all__ = ["tell_shared"]

ONE, ALL = "one patient", "all patients"
SINGLE_RUNS = 5


def tell_shared(*, models: tuple[str, ...] = tuple(MODELS), progress: Progress | None = None) -> Story:
    """Run the story. Raises what `tacit.protect` raises."""
    report = progress or (lambda what, part: None)
    ward = admit()
    parts: list[Part] = []
    assumptions: dict[str, None] = {}
    variant = ""
    for number, model in enumerate(models):
        report(f"{model}: the company fits its model", number / len(models))
        fitted = fit(model, ward)
        singles = np.split(ward.new[:SINGLE_RUNS], SINGLE_RUNS)
        with tacit.protect(fitted, "mpc", calibration=ward.known, batch=len(ward.new)) as private:
            for what, pieces in ((ONE, singles), (ALL, [ward.new])):
                report(f"{model}: {what}, among three parties", (number + 0.5) / len(models))
                patients = np.concatenate(pieces)
                parts.append(
                    ask(
                        private,
                        pieces,
                        model=model,
                        what=what,
                        clear=fitted.predict_proba(patients),
                        clear_labels=fitted.predict(patients),
                        truth=ward.new_diagnosis[: len(patients)],
                    )
                )
            variant = private.plan.declaration.variant
            assumptions |= dict.fromkeys(private.plan.declaration.assumptions)
    return Story(
        name="hospital",
        variant=variant,
        data=f"{len(ward.known)} patients known to the company, {len(ward.new)} new at the hospital, by scikit-learn",
        parts=tuple(parts),
        sees=(
            ("the hospital", "its patients and their answers. No weight of the model but what answers tell."),
            ("the company", "its weights. No patient, no answer."),
            (
                "each party",
                "random numbers, and structure and sizes of the model. No patient, weight or answer.",
            ),
        ),
        assumptions=tuple(assumptions),
    )
