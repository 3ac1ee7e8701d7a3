"""A company has a network that looks at skin, a clinic has images: each image is looked at, and nobody shows what is
theirs, neither the image nor the network.

Three processes compute on shares. This process plays the company and the clinic, who deal shares to them and hold
nothing else in common; to check the promise afterwards it also runs the network in the clear.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tacit
from tacit.stories.lesion_network import to_onnx, train
from tacit.stories.lesions import KINDS, Lesions, draw, read
from tacit.stories.shared import Progress, Story, ask

__all__ = ["tell"]

ONE, ALL = "one image", "all images"
SINGLE_RUNS = 5
CALIBRATION = 200
EPOCHS = 8


def tell(*, data: Path | None = None, epochs: int = EPOCHS, progress: Progress | None = None) -> Story:
    """Run the story, on drawn images or on those of a table. Raises what `tacit.protect` raises, and ``DataError``."""
    report = progress or (lambda what, part: None)
    report("images", 0.0)
    lesions: Lesions = draw() if data is None else read(data)
    report("the company trains its network", 0.05)
    parameters = train(lesions.known, lesions.known_labels, epochs=epochs)
    model = tacit.load(to_onnx(parameters, lesions.known.shape[1:]))
    known = lesions.known[:CALIBRATION]
    parts = []
    assumptions: dict[str, None] = {}
    clear = tacit.protect(model, "clear").predict(lesions.new)
    for place, (what, pieces) in enumerate(
        ((ONE, np.split(lesions.new[:SINGLE_RUNS], SINGLE_RUNS)), (ALL, [lesions.new]))
    ):
        count = sum(map(len, pieces))
        report(f"{what}: among three parties", 0.4 + 0.3 * place)
        with tacit.protect(model, "mpc", calibration=known, batch=len(pieces[0])) as private:
            parts.append(
                ask(
                    private,
                    pieces,
                    model="network",
                    what=what,
                    clear=np.asarray(clear)[:count],
                    clear_labels=np.asarray(clear.labels)[:count],
                    truth=lesions.new_labels[:count],
                )
            )
            plan = private.plan.declaration
            assumptions |= dict.fromkeys(plan.assumptions)
    return Story(
        name="skin",
        variant=plan.variant,
        data=f"{lesions.origin}; {len(lesions.known)} known to the company, {len(lesions.new)} new at the clinic; "
        f"each {KINDS[0]} or {KINDS[1]}",
        parts=tuple(parts),
        sees=(
            ("the clinic", "its images and their answers. No weight of the network but what answers tell."),
            ("the company", "its weights. No image, no answer."),
            (
                "each party",
                "random numbers, and the network's structure and sizes. No image, weight or answer.",
            ),
        ),
        assumptions=tuple(assumptions),
    )
